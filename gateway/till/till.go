package till

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Config is what a Till needs. The zero value answers at once and never fails.
type Config struct {
	// Latency is how long every call takes.
	Latency time.Duration
	Plan    Plan
	// AtOnce is how many calls it takes at once; more wait. 0 is any number.
	AtOnce int
	// NoBook keeps nothing, so that the till's own memory does not grow.
	NoBook bool
}

// quiet is how long nothing must happen, once everything was tried, for the
// time to count as waiting.
const quiet = 20 * time.Millisecond

// shards keeps the book's locks out of what is measured.
const shards = 64

// Till implements [gateway.Gateway]. It is safe for concurrent use.
type Till struct {
	c    Config
	room chan struct{} // nil: no bound
	seed maphash.Seed
	book [shards]struct {
		sync.Mutex
		rows map[string]*row
	}
	booked, twice, tried atomic.Int64
	calls, most          atomic.Int64

	expected  int64
	last      atomic.Int64 // when something happened, in nanoseconds
	waited    atomic.Int64
	untouched time.Time // what last counts from
}

// row is what the till knows of one reference.
type row struct {
	sends int
	key   string // under which it was booked
	taken bool
}

// New returns a Till that expects so many captures.
func New(c Config, expected int) *Till {
	t := &Till{c: c, seed: maphash.MakeSeed(), expected: int64(expected), untouched: time.Now()}
	if c.AtOnce > 0 {
		t.room = make(chan struct{}, c.AtOnce)
	}
	for i := range t.book {
		t.book[i].rows = make(map[string]*row, expected/shards+1)
	}
	return t
}

var _ gateway.Gateway = (*Till)(nil)

// Capabilities are those of a gateway that can be asked and forgets nothing.
func (t *Till) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{Provider: "till", IdempotencyWindow: 24 * time.Hour, LookUp: true, HoldLife: 7 * 24 * time.Hour}
}

// Authorize is not offered: holds come with the data.
func (t *Till) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "the till makes no holds"}
}

// Refund is not offered.
func (t *Till) Refund(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "the till gives nothing back"}
}

// Void is not offered.
func (t *Till) Void(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "the till releases no holds"}
}

// Reauthorize is not offered.
func (t *Till) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "the till renews no holds"}
}

// Describe is not offered.
func (t *Till) Describe(context.Context, string) (gateway.HoldFacts, error) {
	return gateway.HoldFacts{}, fmt.Errorf("describe a hold at the till: %w", gateway.ErrUnsupported)
}

// List is not offered.
func (t *Till) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what the till booked: %w", gateway.ErrUnsupported)
}

// Probe always succeeds.
func (t *Till) Probe(context.Context) error { return nil }

// Capture takes the money, or meets the reference's fate.
func (t *Till) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	if err := t.enter(ctx); err != nil {
		return models.Evidence{Outcome: models.OutcomeLost, Message: err.Error()}
	}
	defer t.leave()
	fate := t.c.Plan.Fate(r.Reference)
	if t.c.NoBook {
		return confirmed(r)
	}
	shard := &t.book[maphash.String(t.seed, r.Reference)%shards]
	shard.Lock()
	defer shard.Unlock()
	e := shard.rows[r.Reference]
	if e == nil {
		e = &row{}
		shard.rows[r.Reference] = e
		t.tried.Add(1)
	}
	e.sends++
	if e.sends > 1 {
		fate = Fine
	}
	switch fate {
	case Refused:
		return models.Evidence{Outcome: models.OutcomeRefused, Status: 402, ErrorCode: "card_declined", ErrorDetail: "The card was declined for good.", Message: "declined"}
	case Unsent:
		return models.Evidence{Outcome: models.OutcomeNotSent, Message: "connection refused"}
	case Lost:
		return models.Evidence{Outcome: models.OutcomeLost, Message: "connection reset"}
	case Took:
		t.take(e, r)
		return models.Evidence{Outcome: models.OutcomeLost, Message: "time-out awaiting the answer"}
	}
	t.take(e, r)
	return confirmed(r)
}

// take books a capture. The same key again moves no more money.
func (t *Till) take(e *row, r gateway.Request) {
	switch {
	case !e.taken:
		e.taken, e.key = true, r.Key
		t.booked.Add(1)
	case e.key != r.Key:
		t.twice.Add(1)
	}
}

// LookUp tells what the book has.
func (t *Till) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	if err := t.enter(ctx); err != nil {
		return models.Evidence{Outcome: models.OutcomeLost, Message: err.Error()}
	}
	defer t.leave()
	shard := &t.book[maphash.String(t.seed, r.Reference)%shards]
	shard.Lock()
	defer shard.Unlock()
	if e := shard.rows[r.Reference]; e != nil && e.taken {
		return confirmed(r)
	}
	return models.Evidence{Outcome: models.OutcomeNone, Status: 404, Message: "no such capture"}
}

// TransactionID is what the till calls the capture with a reference.
func TransactionID(reference string) string { return "till_" + reference }

func confirmed(r gateway.Request) models.Evidence {
	return models.Evidence{
		Outcome: models.OutcomeConfirmed, Status: 200, AmountCents: r.AmountCents, CurrencyCode: r.CurrencyCode, GatewayTransactionID: TransactionID(r.Reference),
	}
}

var errGone = errors.New("the caller went away")

// enter counts a call and lets its latency pass.
func (t *Till) enter(ctx context.Context) error {
	if t.room != nil {
		select {
		case t.room <- struct{}{}:
		case <-ctx.Done():
			return errGone
		}
	}
	t.Touch()
	under := t.calls.Add(1)
	for most := t.most.Load(); under > most && !t.most.CompareAndSwap(most, under); most = t.most.Load() {
	}
	if t.c.Latency == 0 {
		return nil
	}
	timer := time.NewTimer(t.c.Latency)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		t.leave()
		return errGone
	}
}

func (t *Till) leave() {
	t.Touch() // first: a call under way is no waiting
	t.calls.Add(-1)
	if t.room != nil {
		<-t.room
	}
}

// Touch says that something happens now: a call, or an outcome recorded. Once
// every capture was tried, a longer pause than 20 ms between two touches is
// waiting for a time that a failed one was put off to.
func (t *Till) Touch() {
	now := int64(time.Since(t.untouched))
	last := t.last.Swap(now)
	if gap := now - last; gap > int64(quiet) && t.tried.Load() >= t.expected && t.expected > 0 && t.calls.Load() == 0 {
		t.waited.Add(gap)
	}
}

// Sums is what the till counted.
type Sums struct {
	// Booked is how many captures were taken, Twice how many of them were taken
	// again under another key: money that moved twice.
	Booked, Twice int
	// InFlight is the most calls that were under way at once.
	InFlight int
	// Waited is the time in which nothing was to be done: see [Till.Touch].
	Waited time.Duration
}

// Sums returns what was counted until now.
func (t *Till) Sums() Sums {
	return Sums{Booked: int(t.booked.Load()), Twice: int(t.twice.Load()), InFlight: int(t.most.Load()), Waited: time.Duration(t.waited.Load())}
}
