package worker_test

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// TestAdoptRefund: a refund made in the gateway's dashboard is recorded by hand:
// the sums count it, the gateway is asked for nothing, and asked twice it is one.
func TestAdoptRefund(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	w.dashboard(t, "refund", p.hold, 300, "")
	r := w.lister(t, nil)
	w.compare(t, r)
	booked := w.book(t, p.hold).Refunds
	line := models.Movement{
		ID: "txn_1", Kind: models.MovedRefunded, Hold: p.hold, TransactionID: booked[0].ID, AmountCents: 300, CurrencyCode: "EUR",
	}
	adopt := func(r *worker.Runner, m models.Movement) (models.Operation, error) {
		return r.AdoptRefund(t.Context(), models.Test, p.op.ID, m, "anna", "our support did it")
	}
	for range 2 {
		op, err := adopt(r, line)
		if err != nil || op.State != models.Succeeded || op.Cause != models.CauseAdopted || op.GatewayTransactionID != booked[0].ID || op.NeedsAttention != "" {
			t.Fatalf("adopted: %+v, %v", op, err)
		}
	}
	if ops := w.operations(t, models.Refund, p); len(ops) != 1 {
		t.Errorf("%d refunds", len(ops))
	}
	if o, capture := w.orderNow(t, p), w.reread(t, p); o.RefundedCents != 300 || capture.RefundedCents != 300 || capture.NeedsAttention != "" {
		t.Errorf("the order has %d refunded, the capture %d, flagged %q", o.RefundedCents, capture.RefundedCents, capture.NeedsAttention)
	}
	for _, tt := range []struct {
		name, rule string
		change     func(*models.Movement)
	}{
		{"another currency", "other_currency", func(m *models.Movement) { m.CurrencyCode = "USD" }},
		{"more than is left", "refund_exceeds_balance", func(m *models.Movement) { m.TransactionID, m.AmountCents = "re_9", total }},
		{"no refund", "not_a_refund", func(m *models.Movement) { m.Kind = models.MovedCaptured }},
	} {
		m := line
		tt.change(&m)
		if _, err := adopt(r, m); err == nil {
			t.Errorf("%s was adopted", tt.name)
		} else if refusal, ok := refused(err); !ok || refusal.Rule != tt.rule {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if found := w.compare(t, r); len(found) != 0 {
		t.Errorf("found after the adoption: %+v", found)
	}
	if now := w.book(t, p.hold).Refunds; len(now) != 1 {
		t.Errorf("the gateway has %d refunds", len(now))
	}
	w.audit(t)
}
