package main

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// TestHearsay: what the shop's system says of money is never proof, least of all
// where the gateway cannot be asked: a person is shown it, and nothing moves.
func TestHearsay(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	o, id := d.captured(t, "adyen", "hearsay", "decline_hard")
	eventually(t, "the capture has failed", func() bool {
		for _, m := range d.taken(t) {
			d.post(t, m)
		}
		_, err := d.inbox.RunOnce(t.Context())
		op, failed := d.store.Operation(t.Context(), models.Test, models.Capture, id)
		return err == nil && failed == nil && op.State == models.Failed
	})
	told := worker.Told{
		Mode: models.Test, OrderID: o.OrderID, Source: "orders.pay of commercelayer", Captured: true,
		Lines: []worker.ToldLine{{Movement: models.Movement{ID: "commercelayer:c1", Kind: models.MovedCaptured, Hold: o.Hold, AmountCents: 1500, CurrencyCode: "EUR"}, Names: []string{"psp1"}}},
	}
	for range 2 {
		heard, err := d.runner.CompareTold(t.Context(), told)
		if err != nil || len(heard.Findings) != 1 || !strings.Contains(heard.Findings[0].Outcome, "cannot be asked") && !strings.Contains(heard.Findings[0].Outcome, "found before") {
			t.Errorf("heard %+v, %v", heard, err)
		}
	}
	op, err := d.store.Operation(t.Context(), models.Test, models.Capture, id)
	if err != nil || op.State != models.Failed || op.ConfirmedCents != nil {
		t.Errorf("the capture is %s, confirmed %v, %v", op.State, op.ConfirmedCents, err)
	}
}
