package worker_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

func (w *world) settleOrder(t *testing.T, r *worker.Runner, p purchase) {
	t.Helper()
	if err := r.Settle(t.Context(), models.Test, p.orderID, "olga"); err != nil {
		t.Fatal(err)
	}
}

// TestSettleSendsNothing: what the gateway conclusively does not have goes back,
// and its own task sends it.
func TestSettleSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "drop_before")
	w.stuck(t, p)
	w.settledAtTheGateway(t, p)
	w.settleOrder(t, w.runner(t, staff{name: "api"}), p)
	if op := w.reread(t, p); op.State != models.Pending {
		t.Errorf("capture = %+v, want pending", op)
	}
	if b := w.book(t, p.hold); len(b.Captures) != 0 {
		t.Errorf("settling moved money: %+v", b.Captures)
	}
	looks := func() int { _, looks := w.claims(t, p.op.ID); return looks }
	before := looks()
	w.settleOrder(t, w.runner(t, staff{name: "api"}), p)
	if looks() != before {
		t.Error("what a look has just proven is looked up again")
	}
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
	if got := w.verdicts(t, p.op.ID); slices.Contains(got, models.Republish) {
		t.Errorf("verdicts %v: its task was lost until a sweep", got)
	}
}

// TestSettleLeavesOthersAlone: a claim that is alive, another's gateway, and
// what was never sent.
func TestSettleLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	claimed, lost, fresh := w.order(t, ""), w.order(t, "charge_then_drop"), w.order(t, "")
	if claims, err := w.store.ClaimAll(t.Context(), models.Capture, []string{claimed.op.ID}, "somebody"); err != nil || len(claims) != 1 {
		t.Fatalf("claim: %v %v", claims, err)
	}
	w.stuck(t, lost)
	elsewhere := worker.NewRunner(worker.RunnerConfig{Store: w.store, Name: "without adapters", Log: w.log})
	for _, ask := range []struct {
		p purchase
		r *worker.Runner
	}{{claimed, w.runner(t, staff{})}, {lost, elsewhere}, {fresh, w.runner(t, staff{})}} {
		before := w.reread(t, ask.p)
		w.settleOrder(t, ask.r, ask.p)
		if diff := cmp.Diff(before, w.reread(t, ask.p)); diff != "" {
			t.Errorf("the row changed: %s", diff)
		}
	}
	if err := w.runner(t, staff{}).Settle(t.Context(), models.Live, lost.orderID, "olga"); err != nil || w.reread(t, lost).State != models.Unknown {
		t.Errorf("an order of the other mode was settled: %v", err)
	}
}

// TestSettleAtOnce: many ask at the same time; one look is made, and no error.
func TestSettleAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "charge_then_drop")
	w.stuck(t, p)
	r := w.runner(t, staff{name: "api"})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if err := r.Settle(t.Context(), models.Test, p.orderID, "olga"); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	w.check(t, p, truth{captured: total})
	if op := w.reread(t, p); op.State != models.Succeeded {
		t.Errorf("capture = %+v, want succeeded", op)
	}
	if _, looks := w.claims(t, p.op.ID); looks != 1 {
		t.Errorf("%d looks, want one", looks)
	}
}
