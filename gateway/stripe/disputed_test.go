package stripe_test

import (
	"testing"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// TestLookUpOfADisputedCapture: only a capture that was ever disputed costs a
// second call, and what its look-up proves follows the disputes.
func TestLookUpOfADisputedCapture(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "EUR", "")
	capture := request(models.Capture, hold, 1500)
	if ev := w.Capture(t.Context(), capture); ev.Outcome != models.OutcomeConfirmed {
		t.Fatalf("capture: %+v", ev)
	}
	asked := func() (n int) {
		for _, r := range w.sandbox.BookOf(hold).Requests {
			if r.Call == "look_up" {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		action string
		cents  int64
		want   models.Outcome
		taken  int64
		calls  int
	}{
		{"", 0, models.OutcomeConfirmed, 1500, 1},
		{"dispute", 400, models.OutcomeTakenBack, 400, 2},
		{"dispute", 0, models.OutcomeTakenBack, 1500, 2},
		{"dispute_won", 0, models.OutcomeTakenBack, 1100, 2},
		{"dispute_won", 0, models.OutcomeConfirmed, 1500, 2},
	} {
		if step.action != "" {
			w.dashboard(t, step.action, hold, step.cents)
		}
		before := asked()
		ev := w.LookUp(t.Context(), capture)
		if ev.Outcome != step.want || ev.AmountCents != step.taken || ev.CurrencyCode != "EUR" || ev.GatewayTransactionID != hold || ev.Foreign {
			t.Errorf("after %s of %d: %+v, want %s of %d", step.action, step.cents, ev, step.want, step.taken)
		}
		if n := asked() - before; n != step.calls {
			t.Errorf("after %s of %d: %d calls, want %d", step.action, step.cents, n, step.calls)
		}
	}
	w.dashboard(t, "dispute", hold, 0)
	before := asked()
	if ev := w.LookUp(t.Context(), request(models.Void, hold, 1500)); ev.Outcome != models.OutcomeRefused || asked()-before != 1 {
		t.Errorf("look-up of a void: %+v in %d calls", ev, asked()-before)
	}
}
