package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// breakAfter is how many calls in a row must go unanswered to open the breaker.
const breakAfter = 10

// defaultCalls is how many calls to one account are under way at most.
const defaultCalls = 256

// account is one gateway account as this process uses it: adapter, circuit
// breaker, pace and room. A breaker that is open, like a limit that is reached,
// defers: it never fails a capture.
type account struct {
	slug    string
	gateway gateway.Gateway
	caps    gateway.Capabilities
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	circuit *circuit // instead of the breaker, where the gateway cannot be tried without effect
	limiter *rate.Limiter
	slots   chan struct{} // a token for each call under way
	room    *room
	store   *store.Store
	tempo   models.Tempo
	log     *slog.Logger

	mu        sync.Mutex
	notBefore time.Time // set by the gateway's own throttling
}

func newAccount(slug string, g gateway.Gateway, c RunnerConfig) *account {
	limit, tempo := rate.Inf, c.Store.Tempo()
	if c.RatePerSecond > 0 {
		limit = rate.Limit(c.RatePerSecond)
	}
	a := &account{
		slug: slug, gateway: g, caps: g.Capabilities(), limiter: rate.NewLimiter(limit, max(1, int(c.RatePerSecond))), store: c.Store, tempo: tempo, log: c.Log,
		slots: make(chan struct{}, c.CallsAtOnce), room: newRoom(c.CallsAtOnce, c.RatePerSecond, tempo),
		breaker: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name: slug, Timeout: tempo.Of(time.Minute), ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
		}),
	}
	if after := a.caps.CircuitAfter; after > 0 {
		a.circuit = &circuit{slug: slug, after: after, store: c.Store, tempo: tempo, log: c.Log}
	}
	return a
}

// errUnanswered counts against the breaker: the gateway did not answer.
var errUnanswered = errors.New("unanswered")

// broken says why no call may be made at all. A breaker that is half open tries
// the gateway first.
func (a *account) broken(ctx context.Context) (why string) {
	if a.circuit != nil {
		return a.circuit.enter(ctx)
	}
	switch a.breaker.State() {
	case gobreaker.StateOpen:
		return "the gateway does not answer: its circuit breaker is open"
	case gobreaker.StateHalfOpen:
		if err := a.halfOpen(ctx, true); err != nil {
			return "the gateway does not answer: its circuit breaker is half open"
		}
	}
	return ""
}

// enter waits for a place among the account's calls and for its pace, until a
// moment at most, and returns how to leave again, which may be called twice. Else
// it says how long to wait and why.
func (a *account) enter(ctx context.Context, until time.Time) (leave func(), wait time.Duration, why string) {
	if !a.await(ctx, until) {
		return nil, 0, "the account has as many calls under way as it may"
	}
	leave = sync.OnceFunc(func() { <-a.slots })
	if why = a.broken(ctx); why != "" {
		leave()
		return nil, a.tempo.Of(30 * time.Second), why
	}
	for {
		wait, why = a.pace()
		if why == "" {
			return leave, 0, ""
		}
		if time.Now().Add(wait).After(until) || !pause(ctx, wait) {
			leave()
			return nil, wait, why
		}
	}
}

// await takes a place among the account's calls, and reports false when it came
// too late.
func (a *account) await(ctx context.Context, until time.Time) bool {
	select {
	case a.slots <- struct{}{}:
		return true
	default: // wait, though not for a place that is free
	}
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	select {
	case a.slots <- struct{}{}:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// pace says how long the account's own rhythm wants a call to wait, and why.
func (a *account) pace() (wait time.Duration, why string) {
	a.mu.Lock()
	wait = time.Until(a.notBefore)
	a.mu.Unlock()
	if wait > 0 {
		return wait, "the gateway asked to slow down"
	}
	reservation := a.limiter.Reserve()
	if wait = reservation.Delay(); wait > 0 {
		reservation.Cancel()
		return wait, "the account's rate limit is reached"
	}
	return 0, ""
}

// halfOpen tries the gateway with a call that moves nothing. One goroutine at a
// time gets to: the breaker turns the others away. If it answers again, and
// wake says so, its open rows are due at once.
func (a *account) halfOpen(ctx context.Context, wake bool) error {
	done, err := a.breaker.Allow()
	if err != nil {
		return err
	}
	err = a.probe(ctx)
	done(err)
	if err != nil {
		return err
	}
	a.log.InfoContext(ctx, "gateway answers again", "gateway", a.slug)
	if !wake {
		return nil
	}
	return a.store.WakeGateway(ctx, a.slug)
}

func (a *account) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.tempo.Budget())
	defer cancel()
	return a.gateway.Probe(ctx)
}

// call makes the operation's one call.
func (a *account) call(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.guarded(func() models.Evidence {
		switch r.Kind {
		case models.Refund:
			return a.gateway.Refund(ctx, r)
		case models.Void:
			return a.gateway.Void(ctx, r)
		}
		return a.gateway.Capture(ctx, r)
	})
	ev.Source = models.FromAnswer
	if a.circuit != nil {
		a.circuit.saw(ctx, ev)
	}
	if ev.Class == models.ClassThrottled {
		a.slowDown(ev.RetryAfter)
	}
	return ev
}

// lookUp asks what became of it. Where the breaker is open, or the account's
// pace does not allow it, nothing is asked, and nothing is known.
func (a *account) lookUp(ctx context.Context, r gateway.Request, until time.Time) models.Evidence {
	return a.ask(ctx, r, until, true)
}

// ask is lookUp that leaves the ledger alone unless it may wake the account's rows.
func (a *account) ask(ctx context.Context, r gateway.Request, until time.Time, wake bool) models.Evidence {
	if !a.caps.LookUp {
		return gateway.Unasked(a.caps.Provider)
	}
	if !a.await(ctx, until) {
		return models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNotSent, Message: "the account has as many calls under way as it may"}
	}
	defer func() { <-a.slots }()
	if a.breaker.State() == gobreaker.StateHalfOpen {
		if err := a.halfOpen(ctx, wake); err != nil {
			return models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNotSent, Message: "the gateway does not answer: its circuit breaker is half open"}
		}
	}
	if wait, why := a.pace(); why != "" {
		return models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNotSent, RetryAfter: wait, Message: why}
	}
	ev := a.guarded(func() models.Evidence { return a.gateway.LookUp(ctx, r) })
	ev.Source = models.FromLookUp
	if ev.Class == models.ClassThrottled {
		a.slowDown(ev.RetryAfter)
	}
	return ev
}

// guarded runs a call under the breaker. What the breaker does not let through
// has not left.
func (a *account) guarded(fn func() models.Evidence) models.Evidence {
	if a.circuit != nil {
		began := time.Now()
		defer func() { a.room.observe(time.Since(began)) }()
		return fn()
	}
	done, err := a.breaker.Allow()
	if err != nil {
		return models.Evidence{Outcome: models.OutcomeNotSent, Message: "the gateway does not answer: its circuit breaker is open"}
	}
	began := time.Now()
	ev := fn()
	a.room.observe(time.Since(began))
	if ev.Status == 0 && (ev.Outcome == models.OutcomeLost || ev.Outcome == models.OutcomeNotSent) || ev.Status >= 500 {
		done(errUnanswered)
	} else {
		done(nil)
	}
	return ev
}

func (a *account) slowDown(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until := time.Now().Add(max(d, a.tempo.Of(time.Second))); until.After(a.notBefore) {
		a.notBefore = until
	}
}
