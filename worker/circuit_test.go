package worker_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// fused is a gateway whose circuit opens after more than two failures.
type fused struct{ mute }

func (f fused) Capabilities() gateway.Capabilities {
	c := f.mute.Capabilities()
	c.CircuitAfter = 2
	return c
}

// fusedRunner is the work of another process on the same ledger.
func (w *world) fusedRunner(t *testing.T, at models.Tempo, name string) *worker.Runner {
	t.Helper()
	s := openStore(t, w.databaseURL, at)
	adapter := newAdapter(w.front.url(), at, w.log)
	t.Cleanup(adapter.Close)
	return worker.NewRunner(worker.RunnerConfig{Store: s, Accounts: gateway.Accounts{account: fused{mute{Gateway: adapter, window: 24 * time.Hour}}}, Name: name, Log: w.log})
}

// TestCircuitIsShared: failures that two processes meet open one circuit. It
// defers and fails nothing, lets one operation a minute through, and closes at the
// first answer; then everything ends as it should.
func TestCircuitIsShared(t *testing.T) {
	t.Parallel()
	at := models.Tempo{Scale: 15} // a minute is 4 s: time enough to find the circuit open
	w := newWorld(t, setup{tempo: &at})
	one, two := w.fusedRunner(t, at, "one"), w.fusedRunner(t, at, "two")
	run := func(r *worker.Runner, p purchase) { _ = r.Run(t.Context(), p.op.Kind, p.op.ID) } // its error is when to come again
	broken := []purchase{w.order(t, "500_unbooked"), w.order(t, "charge_then_drop"), w.order(t, "500_unbooked")}
	for i, r := range []*worker.Runner{one, two, one} {
		w.runs(t, r, broken[i], "its call was made", func(o models.Operation) bool { return o.SentVersion != nil })
	}
	if c, err := w.store.Circuit(t.Context(), account); err != nil || !c.Open || c.Failures != 3 {
		t.Fatalf("after three failures: %+v, %v", c, err)
	}
	waiting := []purchase{w.order(t, ""), w.order(t, ""), w.order(t, "")}
	var group sync.WaitGroup
	for i, p := range waiting {
		group.Go(func() { run([]*worker.Runner{one, two}[i%2], p) })
	}
	group.Wait()
	for _, p := range waiting {
		if op := w.reread(t, p); op.State != models.Pending || op.Unsent == 0 || op.SentVersion != nil || op.NeedsAttention != "" || len(w.book(t, p.hold).Requests) > 2 {
			t.Errorf("deferred: %s, %d times unsent, flagged %q", op.State, op.Unsent, op.NeedsAttention)
		}
	}
	// A minute later one of them tries it.
	for _, p := range append(waiting, broken...) {
		for _, r := range []*worker.Runner{two, one} {
			w.runs(t, r, p, "the capture succeeds", func(o models.Operation) bool { return o.State == models.Succeeded })
		}
		w.check(t, p, truth{captured: total})
	}
	if c, err := w.store.Circuit(t.Context(), account); err != nil || c.Open || c.Failures != 0 {
		t.Errorf("in the end: %+v, %v", c, err)
	}
}

// TestCircuitIsNoFailure: while it is open for long, one operation a minute is
// sent, whoever asks, and none is given up.
func TestCircuitIsNoFailure(t *testing.T) {
	t.Parallel()
	at := models.Tempo{Scale: 100}
	w := newWorld(t, setup{tempo: &at})
	r := w.fusedRunner(t, at, "one")
	w.setFault(t, "500_unbooked:*", "capture", 0)
	bought := []purchase{w.order(t, ""), w.order(t, ""), w.order(t, ""), w.order(t, ""), w.order(t, "")}
	calls := func() int {
		n := 0
		for _, q := range w.sandbox.Book().Requests {
			if q.Call == "capture" {
				n++
			}
		}
		return n
	}
	began := time.Now()
	eventually(t, "the open circuit is tried", func() (bool, any) {
		for _, p := range bought {
			_ = r.Run(t.Context(), p.op.Kind, p.op.ID)
		}
		return calls() > 3, calls()
	})
	minutes := int(time.Since(began)/at.Of(time.Minute)) + 1
	if n := calls(); n > 3+minutes {
		t.Errorf("%d calls in %d minutes with an open circuit", n, minutes)
	}
	for _, p := range bought {
		if op := w.reread(t, p); !op.State.Live() {
			t.Errorf("given up: %s %s", op.State, op.ErrorCode)
		}
	}
	w.call(t, http.MethodDelete, "/_sandbox/fault", nil, nil)
	for _, p := range bought {
		w.runs(t, r, p, "the capture succeeds", func(o models.Operation) bool { return o.State == models.Succeeded })
		w.check(t, p, truth{captured: total})
	}
}
