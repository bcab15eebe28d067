package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// chargedBackInPart takes 500 of a capture back.
func (b bench) chargedBackInPart(t *testing.T, op models.Operation) {
	t.Helper()
	part := evidence(op, models.FromLookUp, models.OutcomeTakenBack)
	part.AmountCents = 500
	b.observe(t, op, part)
	if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != models.FlagPartlyReversed {
		t.Fatalf("after a part of it: %s %q", got.State, got.NeedsAttention)
	}
}

func (b bench) refundsOf(t *testing.T, orderID string) int {
	t.Helper()
	return read[int](t, b, `SELECT count(*) FROM refunds WHERE order_id = $1`, orderID)
}

func (b bench) reviewAgain(t *testing.T, orderID string) store.SweepReport {
	t.Helper()
	b.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now()) ON CONFLICT (order_id) DO UPDATE SET due_at = now()`, orderID)
	return b.sweep(t)
}

// A cancelled order gives nothing of a capture back by itself that was charged
// back in part, flagged still or not; a person is called once.
func TestCancelIsWithheld(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for name, prepare := range map[string]func(op models.Operation){
		"flagged":      func(models.Operation) {},
		"acknowledged": func(op models.Operation) { b.acknowledge(t, op) },
		"flagged for something else since": func(op models.Operation) {
			other := evidence(op, models.FromWebhook, models.OutcomeTakenBack)
			other.GatewayTransactionID = "tx_other"
			b.observe(t, op, other)
		},
	} {
		o, op := b.paid(t)
		b.chargedBackInPart(t, op)
		prepare(op)
		must(t, b.cancelOrder(o.ID))
		counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0) // told when it was cancelled
		if n := b.refundsOf(t, o.ID); n != 0 {
			t.Errorf("%s: %d refunds were made", name, n)
		}
		if got := b.reread(t, op); got.NeedsAttention == "" {
			t.Errorf("%s: nobody is called", name)
		}
		if n := read[int](t, b, `SELECT count(*) FROM verdicts WHERE operation_id = $1 AND verdict = 'needs_attention' AND rule LIKE 'money of the capture went back%'`, op.ID); n != 1 {
			t.Errorf("%s: %d verdicts call a person, want 1", name, n)
		}
		b.acknowledge(t, op)
		b.reviewAgain(t, o.ID)
		if n := b.refundsOf(t, o.ID); n != 0 || b.reread(t, op).NeedsAttention != "" {
			t.Errorf("%s: acknowledged, %d refunds were made, flagged %q", name, n, b.reread(t, op).NeedsAttention)
		}
	}
	b.verify(t)
	b.audited(t)
}

// The same of a difference that the policy would give back, told for each total.
func TestDifferenceIsWithheld(t *testing.T) {
	t.Parallel()
	b := newBench(t, giveBack)
	o, op := b.paid(t)
	b.chargedBackInPart(t, op)
	must(t, b.changeTotal(o.ID, 1200))
	b.pass(t, cancelAfter+time.Minute)
	dry, err := b.RunSweep(t.Context(), store.Sweep{Owner: "dry", Source: "test", DryRun: true, CancelAfter: cancelAfter, Now: time.Now()})
	must(t, err)
	counted(t, dry, models.NeedsAttention, 1)
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 1)
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0)
	b.acknowledge(t, op)
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0)
	if n := b.refundsOf(t, o.ID); n != 0 {
		t.Errorf("%d refunds were made", n)
	}
	b.verify(t)
	b.audited(t)
}

// By hand it goes back once a person has acknowledged what was taken.
func TestTakenBackByHand(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.paid(t)
	b.chargedBackInPart(t, op)
	_, err := b.refund(op.ID, 100)
	refused(t, err, "taken_back")
	err = b.in(func(ctx context.Context, tx store.Tx) error {
		_, err := b.CancelCapture(ctx, tx, models.Test, op.ID, time.Now(), "person")
		return err
	})
	refused(t, err, "taken_back")
	b.acknowledge(t, op)
	_, err = b.refund(op.ID, 1000)
	must(t, err)
	b.verify(t)
}

// A refund that waits to be sent when the gateway takes its capture back is not
// sent: the payer has the money.
func TestRefundOfWhatWasTakenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	reverse := func(op models.Operation) { b.observe(t, op, evidence(op, models.FromLookUp, models.OutcomeTakenBack)) }
	wanted := func() (models.Order, models.Operation, models.Operation) {
		o, op := b.paid(t)
		refund, err := b.refund(op.ID, 1500)
		must(t, err)
		return o, op, refund
	}
	o, op, refund := wanted()
	reverse(op)
	if got := b.claims(t, refund, "w"); len(got) != 0 {
		t.Fatalf("claimed to be sent: %+v", got)
	}
	if err := b.unclaimed(t, refund); b.reread(t, refund).State != models.Cancelled {
		t.Errorf("the refund is %s (%v), want cancelled", b.reread(t, refund).State, err)
	}
	if got := b.orderNow(t, o.ID); got.LiveOperations != 0 || got.CapturedCents != 0 || got.RefundedCents != 0 {
		t.Errorf("the order: %+v", got.Sums())
	}

	// One that may have been sent is looked up, and withdrawn when nothing is there.
	_, op, refund = wanted()
	c := b.claim(t, refund)
	b.record(t, c, evidence(refund, models.FromAnswer, models.OutcomeLost))
	reverse(op)
	b.exec(t, `UPDATE refunds SET last_sent_at = now() - interval '1 hour', next_at = now() WHERE id = $1`, refund.ID)
	if d := b.lookNone(t, b.claim(t, refund)); d.Send || b.reread(t, refund).State != models.Cancelled {
		t.Errorf("after a look that found nothing it is %s: %+v", b.reread(t, refund).State, d)
	}

	// A part: it waits for a person, and goes on once the capture was dealt with.
	_, op, refund = wanted()
	b.chargedBackInPart(t, op)
	if got := b.claims(t, refund, "w"); len(got) != 0 {
		t.Fatalf("claimed to be sent: %+v", got)
	}
	if err := b.unclaimed(t, refund); b.reread(t, refund).State != models.Pending || b.reread(t, refund).NeedsAttention != models.FlagPartlyReversed {
		t.Errorf("the refund is %s %q (%v)", b.reread(t, refund).State, b.reread(t, refund).NeedsAttention, err)
	}
	b.acknowledge(t, op)
	must(t, b.Retry(t.Context(), nil, b.reread(t, refund), "person", "the rest is ours to give"))
	if c := b.claim(t, refund); !c.Look || !c.MaySend {
		t.Errorf("after the retry: look %t, may send %t", c.Look, c.MaySend)
	}
	b.verify(t)
	b.audited(t)
}
