package worker_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// calls counts what the gateway saw, by the name of the call.
func (w *world) calls(t *testing.T) map[string]int {
	t.Helper()
	n := map[string]int{}
	for _, r := range w.book(t, "").Requests {
		n[r.Call]++
	}
	return n
}

// TestBreakerOpensAfterTen: ten calls in a row without an answer, and no more
// are made until a probe gets one. Nothing fails by it. At real time, so that
// the breaker stays open for the minute it has.
func TestBreakerOpensAfterTen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var bought []purchase
	for range 15 {
		bought = append(bought, w.order(t, "500_unbooked"))
	}
	r := w.runner(t, staff{store: openStore(t, w.databaseURL, models.Tempo{})})
	for _, p := range bought {
		if err := r.Run(t.Context(), models.Capture, p.op.ID); err == nil {
			t.Fatalf("a capture that was not made ended its task: %+v", w.reread(t, p))
		}
	}
	// What may have been sent is not looked up either.
	w.exec(t, `UPDATE captures SET next_at = now()`)
	_ = r.Run(t.Context(), models.Capture, bought[0].op.ID)
	if n := w.calls(t); n["capture"] != worker.BreakAfter || n["look_up"] != 0 || n["other"] != 0 {
		t.Errorf("the gateway was called %v, want %d captures and nothing else", n, worker.BreakAfter)
	}
	for i, p := range bought {
		op := w.reread(t, p)
		switch {
		case i < worker.BreakAfter && (op.State != models.Unknown || op.Tries != 1 || op.LookUps != 0):
			t.Errorf("capture %d = %+v, want unknown after one try, not looked up", i, op)
		case i >= worker.BreakAfter && (op.State != models.Pending || op.Tries != 0 || op.SentVersion != nil || !strings.Contains(op.Message, "circuit breaker is open")):
			t.Errorf("capture %d = %+v, want pending, never sent, and told why", i, op)
		}
	}
	w.exec(t, `UPDATE captures SET next_at = now()`)
	w.exec(t, `UPDATE work SET due_at = now(), published_at = NULL, generation = generation + 1`)
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestProbeHalfOpens: when the breaker's time is over, the first call is one
// that moves nothing, and its success wakes what waits.
func TestProbeHalfOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	sleeper := w.order(t, "charge_then_drop")
	r := w.runner(t, staff{})
	_ = r.Run(t.Context(), models.Capture, sleeper.op.ID)
	// Its next look is hours away, as after a long outage.
	w.exec(t, `UPDATE captures SET next_at = now() + interval '5 hours' WHERE id = $1`, sleeper.op.ID)
	w.exec(t, `UPDATE work SET due_at = now() + interval '5 hours' WHERE operation_id = $1`, sleeper.op.ID)
	var bought []purchase
	for range worker.BreakAfter + 1 {
		bought = append(bought, w.order(t, ""))
	}
	last := bought[worker.BreakAfter]
	w.front.down()
	for _, p := range bought[:worker.BreakAfter] {
		_ = r.Run(t.Context(), models.Capture, p.op.ID)
	}
	again := func() models.Operation {
		w.exec(t, `UPDATE captures SET next_at = now() WHERE id = $1 AND state IN ('pending', 'unknown')`, last.op.ID)
		_ = r.Run(t.Context(), models.Capture, last.op.ID)
		return w.reread(t, last)
	}
	eventually(t, "the open breaker has half opened and found nobody", func() (bool, any) {
		op := again()
		return strings.Contains(op.Message, "half open"), op.Message
	})
	seen := len(w.sandbox.Book().Requests)
	w.front.up(t)
	eventually(t, "the capture is made", func() (bool, any) {
		op := again()
		return op.State == models.Succeeded, op
	})
	if fresh := w.book(t, "").Requests[seen:]; fresh[0].Call != "other" {
		t.Errorf("the first call after the outage moved something: %+v", fresh)
	}
	if op := w.reread(t, sleeper); op.NextAt == nil || time.Until(*op.NextAt) > time.Minute {
		t.Errorf("the row that slept is due at %v, want soon", op.NextAt)
	}
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, append(bought, sleeper))
}

// TestGatewayIsDown: connections are refused, then all is well again.
func TestGatewayIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.crowd(t, 30)
	w.front.down()
	w.start(t, staff{})
	eventually(t, "captures are deferred by the breaker", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM captures WHERE message LIKE '%circuit breaker%'`)
		return n > 10, n
	})
	if n := w.count(t, `SELECT count(*) FROM captures WHERE state NOT IN ('pending', 'capturing') OR tries > 0 OR needs_attention IS NOT NULL`); n != 0 {
		t.Errorf("%d captures were changed by a gateway that is down", n)
	}
	w.front.up(t)
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestRateLimitDefers: a limit makes captures wait, not fail, and holds for
// look-ups too.
func TestRateLimitDefers(t *testing.T) {
	t.Parallel()
	const perSecond = 4
	w := newWorld(t, setup{})
	var bought []purchase
	for i := range 14 {
		bought = append(bought, w.order(t, []string{"", "charge_then_drop"}[i%2]))
	}
	w.start(t, staff{perSecond: perSecond})
	w.settle(t)
	w.allCaptured(t, bought)
	var at []time.Time
	for _, r := range w.book(t, "").Requests {
		if r.Call == "capture" || r.Call == "look_up" {
			at = append(at, r.At)
		}
	}
	// A burst of one second's worth, then the pace.
	if least := time.Duration(len(at)-2*perSecond) * time.Second / perSecond; at[len(at)-1].Sub(at[0]) < least {
		t.Errorf("%d calls in %v, want at least %v", len(at), at[len(at)-1].Sub(at[0]), least)
	}
	if n := w.count(t, `SELECT count(*) FROM captures WHERE needs_attention IS NOT NULL OR key_epoch > 0`); n != 0 {
		t.Errorf("%d captures suffered from a rate limit", n)
	}
}

// TestThrottlingIsTheAccounts: after a 429 no row of the account is sent or
// looked up until the gateway's time is over.
func TestThrottlingIsTheAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	lost, throttled, other := w.order(t, "drop_before"), w.order(t, "429=60"), w.order(t, "")
	r := w.runner(t, staff{})
	for _, p := range []purchase{lost, throttled, other} {
		_ = r.Run(t.Context(), models.Capture, p.op.ID)
	}
	w.exec(t, `UPDATE captures SET next_at = now()`)
	_ = r.Run(t.Context(), models.Capture, lost.op.ID)
	if n := w.calls(t); n["capture"] != 2 || n["look_up"] != 0 {
		t.Errorf("calls %v, want the lost one, the throttled one and no more", n)
	}
	if op := w.reread(t, other); op.State != models.Pending || op.SentVersion != nil || !strings.Contains(op.Message, "slow down") {
		t.Errorf("the other capture = %+v, want pending, never sent, and told why", op)
	}
	if op := w.reread(t, lost); op.State != models.Unknown {
		t.Errorf("the lost capture = %+v, want unknown still", op)
	}
	w.audit(t)
}

// TestShutdownWaitsForCalls: a call under way ends and is recorded, or its
// outcome is unknown, and no task is begun that waited behind it.
func TestShutdownWaitsForCalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// at is the pace of the worker: its budget is how long the call may hang.
		at       models.Tempo
		answered bool
		want     models.State
	}{
		{"the gateway answers", models.Tempo{}, true, models.Succeeded},
		{"the gateway hangs", models.Tempo{Scale: 5}, false, models.Unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{tempo: &tt.at})
			bought := w.crowd(t, 6)
			gate := w.front.holdBack(http.MethodPost, "/capture")
			stop := w.start(t, staff{tasks: 1})
			eventually(t, "the call is under way", func() (bool, any) { return w.front.held(gate) == 1, nil })
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				stop()
			}()
			if tt.answered {
				eventually(t, "the server takes no more tasks", func() (bool, any) { return w.stopping(t), nil })
				w.front.release(gate)
			}
			<-stopped
			if n := w.count(t, `SELECT count(*) FROM attempts`); n != 1 {
				t.Errorf("%d claims were made, want only the one under way", n)
			}
			if n := w.count(t, `SELECT count(*) FROM captures WHERE state = $1`, tt.want); n != 1 {
				t.Errorf("%d captures are %s when the worker has stopped, want one", n, tt.want)
			}
			if !tt.answered {
				w.front.release(gate)
			}
			w.exec(t, `UPDATE captures SET next_at = now() WHERE state = 'unknown'`) // its schedule is that of the slow worker
			w.exec(t, `UPDATE work SET due_at = now(), generation = generation + 1, published_at = NULL`)
			w.start(t, staff{name: "second", store: openStore(t, w.databaseURL, tempo)})
			w.settle(t)
			w.allCaptured(t, bought)
		})
	}
}

// stopping reports whether the one server there is takes no more tasks, as its
// heartbeat tells every few seconds.
func (w *world) stopping(t *testing.T) bool {
	t.Helper()
	servers, err := w.inspector.Servers()
	if err != nil {
		t.Fatal(err)
	}
	return len(servers) == 1 && servers[0].Status != "active"
}

// TestNoAdapterConfigured: a row of an account that this process does not know
// waits for one that does.
func TestNoAdapterConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "")
	ignorant := worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{}, Name: "ignorant", Log: w.log})
	if err := ignorant.Run(t.Context(), models.Capture, p.op.ID); err == nil || !strings.Contains(err.Error(), "no adapter is configured") {
		t.Errorf("run: %v, want to come again and why", err)
	}
	if op := w.reread(t, p); op.State != models.Pending || op.SentVersion != nil {
		t.Errorf("capture = %+v, want pending, never sent", op)
	}
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
}
