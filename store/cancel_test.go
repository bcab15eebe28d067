package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// refundOf is the one refund of an order.
func (b bench) refundOf(t *testing.T, orderID string) models.Operation {
	t.Helper()
	refunds, err := b.OperationsBy(t.Context(), models.Test, models.Refund, store.ByOrder, []string{orderID}, 10)
	must(t, err)
	if len(refunds) != 1 {
		t.Fatalf("%d refunds, want 1", len(refunds))
	}
	return refunds[0]
}

// counted checks how many verdicts of a kind a sweep came to.
func counted(t *testing.T, r store.SweepReport, v models.Verdict, want int) {
	t.Helper()
	if r.Counts[v] != want {
		t.Errorf("%d verdicts %s, want %d: %+v", r.Counts[v], v, want, r.Findings)
	}
}

// An open order that was captured and edited gets its money back, after the
// pause, once; the capture is reset and the order unpaid again.
func TestCancelOfAnEditedOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	hold, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, made[0]), confirmed(made[0]))
	must(t, b.changeTotal(o.ID, 1600))
	counted(t, b.sweep(t), models.Cancel, 0)
	b.pass(t, cancelAfter-time.Minute)
	counted(t, b.sweep(t), models.Cancel, 0)
	b.pass(t, 2*time.Minute)
	counted(t, b.sweep(t), models.Cancel, 1)

	refund := b.refundOf(t, o.ID)
	if refund.AmountCents != 1500 || refund.Cause != models.CauseCancel {
		t.Fatalf("the refund is of %d for %s", refund.AmountCents, refund.Cause)
	}
	counted(t, b.sweep(t), models.Cancel, 0)
	b.record(t, b.claim(t, refund), confirmed(refund))
	if got := b.reread(t, made[0]); got.State != models.Reset {
		t.Errorf("the capture is %s", got.State)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Unpaid || got.ResetCents != 1500 || got.CapturedCents != 0 || got.RefundedCents != 0 {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, got.Sums())
	}
	if got := b.holdNow(t, hold.ID); got.ReturnedCents != 1500 || got.ConfirmedCents != 1500 || got.Left() != 0 {
		t.Errorf("the hold: %+v", got)
	}
	b.pass(t, time.Hour)
	counted(t, b.sweep(t), models.Cancel, 0)
	b.verify(t)
	b.audited(t)
}

// An order that was edited back in time keeps its payment.
func TestEditedBack(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	_, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, made[0]), confirmed(made[0]))
	must(t, b.changeTotal(o.ID, 1600))
	must(t, b.changeTotal(o.ID, 1500))
	b.pass(t, time.Hour)
	counted(t, b.sweep(t), models.Cancel, 0)

	// An approved order shows the difference and keeps its payment, too.
	must(t, b.changeTotal(o.ID, 1200))
	_, err = b.approveOrder(o.ID)
	must(t, err)
	b.pass(t, time.Hour)
	counted(t, b.sweep(t), models.Cancel, 0)
	b.verify(t)
}

// A cancelled order gives back what was captured and releases what is held.
func TestCancelOfACancelledOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 1500)
	b.hold(t, o.ID, 1000)
	second, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1000, MultiCapture: true})
	must(t, err)
	for _, op := range b.approve(t, o.ID) {
		b.record(t, b.claim(t, op), confirmed(op))
	}
	must(t, b.cancelOrder(o.ID))
	live := b.live(t, o.ID)
	if len(live) != 3 {
		t.Fatalf("two refunds and a void are wanted, found %+v", live)
	}
	for _, op := range live {
		if op.Kind == models.Void && (op.AuthorizationID != second.ID || op.AmountCents != 500) {
			t.Errorf("the void is of %d of %s", op.AmountCents, op.AuthorizationID)
		}
		b.record(t, b.claim(t, op), confirmed(op))
		b.verify(t)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Refunded || got.ResetCents != 1500 || got.HeldCents != 0 {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, got.Sums())
	}
	b.pass(t, time.Hour)
	if report := b.sweep(t); len(report.Findings) != 0 {
		t.Errorf("still found: %+v", report.Findings)
	}
	b.audited(t)
}

// A cancel that meets a call under way waits for its outcome.
func TestCancelWhileCapturing(t *testing.T) {
	t.Parallel()
	t.Run("it succeeded", func(t *testing.T) {
		b := newBench(t, onApproval)
		o, op := b.approved(t)
		c := b.claim(t, op)
		must(t, b.cancelOrder(o.ID))
		must(t, b.cancelOrder(o.ID)) // again is harmless
		if got := b.orderNow(t, o.ID); got.Status != models.OrderApproved || got.CancelRequestedAt == nil {
			t.Fatalf("the order is %s, cancel requested %v", got.Status, got.CancelRequestedAt)
		}
		b.record(t, c, confirmed(op))
		if got := b.orderNow(t, o.ID); got.Status != models.OrderCancelled || got.PaymentStatus != models.Paid {
			t.Fatalf("the order is %s and %s", got.Status, got.PaymentStatus)
		}
		counted(t, b.sweep(t), models.Cancel, 1)
		refund := b.refundOf(t, o.ID)
		b.record(t, b.claim(t, refund), confirmed(refund))
		if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Refunded || b.reread(t, op).State != models.Reset {
			t.Errorf("the order is %s, the capture %s", got.PaymentStatus, b.reread(t, op).State)
		}
		b.verify(t)
		b.audited(t)
	})
	t.Run("it was lost and nothing is there", func(t *testing.T) {
		b := newBench(t, onApproval)
		o, op := b.unknownCapture(t)
		must(t, b.cancelOrder(o.ID))
		c := b.claim(t, op)
		if !c.Look || !c.Closing || c.MaySend {
			t.Fatalf("look %v, closing %v, may send %v", c.Look, c.Closing, c.MaySend)
		}
		d := b.record(t, c, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
		if got := b.reread(t, op); d.Verdict != models.Cancel || got.State != models.Cancelled || got.FinishedAt == nil {
			t.Fatalf("%+v: the capture is %s", d, got.State)
		}
		if got := b.orderNow(t, o.ID); got.Status != models.OrderCancelled {
			t.Fatalf("the order is %s", got.Status)
		}
		b.verify(t)
		b.sweep(t)
		live := b.live(t, o.ID)
		if len(live) != 1 || live[0].Kind != models.Void {
			t.Fatalf("the hold is not released: %+v", live)
		}
		b.record(t, b.claim(t, live[0]), confirmed(live[0]))
		if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Voided {
			t.Errorf("the order is %s", got.PaymentStatus)
		}
		b.sweep(t)
		if n := read[int](t, b, `SELECT count(*) FROM order_checks`); n != 0 {
			t.Errorf("%d orders are still looked at", n)
		}
		// And yet it took effect: the truth is recorded, and given back.
		b.observe(t, op, evidence(op, models.FromWebhook, models.OutcomeConfirmed))
		if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != models.FlagLateSuccess {
			t.Fatalf("the capture is %s %q", got.State, got.NeedsAttention)
		}
		b.verify(t)
		counted(t, b.sweep(t), models.Cancel, 1)
		refund := b.refundOf(t, o.ID)
		b.record(t, b.claim(t, refund), confirmed(refund))
		if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Refunded {
			t.Errorf("the order is %s", got.PaymentStatus)
		}
		b.verify(t)
		b.audited(t)
	})
}

// A late success on an open order that was edited meanwhile starts no refund by
// itself: the next sweep does, once the edit has stood.
func TestLateSuccessOfAnEditedOrder(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	_, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, made[0]), evidence(made[0], models.FromAnswer, models.OutcomeRefused))
	must(t, b.changeTotal(o.ID, 1600))
	b.pass(t, cancelAfter+time.Minute)
	counted(t, b.sweep(t), models.Cancel, 0)
	b.observe(t, made[0], evidence(made[0], models.FromWebhook, models.OutcomeConfirmed))
	if live := b.live(t, o.ID); len(live) != 0 {
		t.Fatalf("the success itself started %+v", live)
	}
	counted(t, b.sweep(t), models.Cancel, 1)
	refund := b.refundOf(t, o.ID)
	b.record(t, b.claim(t, refund), confirmed(refund))
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Unpaid || b.reread(t, made[0]).State != models.Reset {
		t.Errorf("the order is %s, the capture %s", got.PaymentStatus, b.reread(t, made[0]).State)
	}
	b.verify(t)
}

// An open order that paid twice is approved: what is above its total is shown then.
func TestApprovedAboveItsTotal(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	_, first, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, first[0]), evidence(first[0], models.FromAnswer, models.OutcomeRefused))
	_, second, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, second[0]), confirmed(second[0]))
	b.observe(t, first[0], evidence(first[0], models.FromWebhook, models.OutcomeConfirmed))
	counted(t, b.sweep(t), models.NeedsAttention, 0)
	_, err = b.approveOrder(o.ID)
	must(t, err)
	counted(t, b.sweep(t), models.NeedsAttention, 1)
	if got := b.reread(t, second[0]); got.NeedsAttention != models.FlagAboveTotal {
		t.Errorf("the capture is %q", got.NeedsAttention)
	}
	b.verify(t)
}

// With several calls under way the last outcome closes the order.
func TestCancelWaitsForEveryOutcome(t *testing.T) {
	b := sharedBench(t, onApproval)
	o := b.order(t, 2000)
	b.hold(t, o.ID, 1000)
	b.hold(t, o.ID, 1000)
	var claims []store.Claim
	for _, op := range b.approve(t, o.ID) {
		claims = append(claims, b.claim(t, op))
	}
	must(t, b.cancelOrder(o.ID))
	b.record(t, claims[0], confirmed(claims[0].Operation))
	b.sweep(t)
	if got := b.orderNow(t, o.ID); got.Status != models.OrderApproved || len(b.live(t, o.ID)) != 1 {
		t.Fatalf("the order is %s with %d operations while a call is under way", got.Status, len(b.live(t, o.ID)))
	}
	b.record(t, claims[1], evidence(claims[1].Operation, models.FromAnswer, models.OutcomeRefused))
	if got := b.orderNow(t, o.ID); got.Status != models.OrderCancelled || got.CancelledAt == nil {
		t.Fatalf("the order is %s", got.Status)
	}
	b.pass(t, 2*time.Minute)
	counted(t, b.sweep(t), models.Cancel, 2) // a refund and a void
	b.verify(t)
}

// Nothing is asked of an order that closes.
func TestNothingNewForAClosedOrder(t *testing.T) {
	b := sharedBench(t, onApproval)
	closing, op := b.approved(t)
	b.claim(t, op)
	must(t, b.cancelOrder(closing.ID))
	closed := b.order(t, 1500)
	hold := b.hold(t, closed.ID, 1500)
	must(t, b.cancelOrder(closed.ID))
	for _, o := range []models.Order{closing, closed} {
		_, err := b.approveOrder(o.ID)
		refused(t, err, "order_cancelled")
		refused(t, b.changeTotal(o.ID, 100), "order_cancelled")
		_, _, err = b.register(models.Authorization{OrderID: o.ID, AmountCents: 1})
		refused(t, err, "order_cancelled")
	}
	_, err := b.capture(hold.ID, 0)
	refused(t, err, "order_cancelled")
	b.verify(t)
}

// A cancel whose refund fails calls a person, and is not tried again by itself.
func TestCancelThatFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, op := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	refund := b.refundOf(t, o.ID)
	b.record(t, b.claim(t, refund), evidence(refund, models.FromAnswer, models.OutcomeRefused))
	for range 3 {
		b.pass(t, time.Hour)
		b.sweep(t)
	}
	if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != store.FlagCancelFailed || got.RefundRequestedCents != 0 {
		t.Errorf("the capture is %s %q with %d requested", got.State, got.NeedsAttention, got.RefundRequestedCents)
	}
	b.refundOf(t, o.ID) // still one
	if n := read[int](t, b, `SELECT count(*) FROM events WHERE operation_id = $1 AND event = 'flagged'`, op.ID); n != 1 {
		t.Errorf("flagged %d times", n)
	}
	// A person gives it back, and the first refund turns out to have worked: told as it is.
	again, err := b.refund(op.ID, 0)
	must(t, err)
	b.record(t, b.claim(t, again), confirmed(again))
	b.observe(t, refund, confirmed(refund))
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Refunded {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, got.Sums())
	}
	b.verify(t)
	b.audited(t)
}

// A void that fails for a cancelled order calls a person, too.
func TestVoidThatFails(t *testing.T) {
	b := sharedBench(t, onApproval)
	o := b.order(t, 1500)
	hold := b.hold(t, o.ID, 1500)
	must(t, b.cancelOrder(o.ID))
	void := b.live(t, o.ID)[0]
	b.record(t, b.claim(t, void), evidence(void, models.FromAnswer, models.OutcomeRefused))
	for _, calls := range []int{1, 0, 0} { // a person is called once, not every minute
		b.pass(t, time.Hour)
		counted(t, b.sweep(t), models.NeedsAttention, calls)
	}
	if got := b.reread(t, void); got.State != models.Failed || got.NeedsAttention != store.FlagCancelFailed || len(b.live(t, o.ID)) != 0 {
		t.Errorf("the void is %s %q", got.State, got.NeedsAttention)
	}
	b.verify(t)
	// The gateway lets it go later: told by a webhook, and the order is voided.
	b.observe(t, void, confirmed(void))
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Voided || b.holdNow(t, hold.ID).ClosedReason != models.ClosedVoided {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	b.verify(t)
}

// A cancel that gives back less than all leaves the capture standing, and tells.
func TestCancelThatGivesBackLess(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	refund := b.refundOf(t, o.ID)
	less := confirmed(refund)
	less.AmountCents = 1000
	b.record(t, b.claim(t, refund), less)
	if got := b.reread(t, op); got.State != models.Succeeded || b.reread(t, refund).NeedsAttention != models.FlagAmount {
		t.Errorf("the capture is %s, the refund %q", got.State, b.reread(t, refund).NeedsAttention)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.PartiallyRefunded {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	b.verify(t)
}

// After a refund by hand the cancel gives back the rest, and the whole is reset.
func TestCancelAfterAPartialRefund(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	part, err := b.refund(op.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, part), confirmed(part))
	must(t, b.cancelOrder(o.ID))
	var rest models.Operation
	for _, live := range b.live(t, o.ID) {
		rest = live
	}
	if rest.AmountCents != 1100 {
		t.Fatalf("the rest is %d", rest.AmountCents)
	}
	b.record(t, b.claim(t, rest), confirmed(rest))
	if got := b.orderNow(t, o.ID); b.reread(t, op).State != models.Reset || got.PaymentStatus != models.Refunded || got.ResetCents != 1500 {
		t.Errorf("the capture is %s, the order %s", b.reread(t, op).State, got.PaymentStatus)
	}
	b.verify(t)
}

func TestCancelByHand(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	cancel := func(id string) error {
		return b.in(func(ctx context.Context, tx store.Tx) error {
			_, err := b.CancelCapture(ctx, tx, models.Test, id, time.Now(), "person")
			return err
		})
	}
	o := b.order(t, 1500)
	_, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	op := made[0]
	refused(t, cancel(op.ID), "not_succeeded")
	b.record(t, b.claim(t, op), confirmed(op))
	refused(t, cancel(op.ID), "no_mismatch")
	must(t, b.changeTotal(o.ID, 1600))
	part, err := b.refund(op.ID, 100)
	must(t, err)
	refused(t, cancel(op.ID), "operation_under_way")
	b.record(t, b.claim(t, part), confirmed(part))
	if n := won(t, atOnce(times(6, func() error { return cancel(op.ID) })...)); n != 1 {
		t.Fatalf("%d cancels by hand at once", n)
	}
	b.verify(t)
}

// A total that was raised or lowered before anything was sent is followed.
func TestEditBeforeTheSend(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 3000)
	b.hold(t, o.ID, 2000)
	b.hold(t, o.ID, 2000)
	made := b.approve(t, o.ID) // 2000 and 1000
	must(t, b.changeTotal(o.ID, 2500))
	if got := b.reread(t, made[1]); got.AmountCents != 500 || got.OrderVersion != 2 || got.OrderTotalCents != 2500 {
		t.Errorf("the newer capture is of %d for version %d", got.AmountCents, got.OrderVersion)
	}
	must(t, b.changeTotal(o.ID, 1800))
	if got := b.reread(t, made[1]); got.State != models.Cancelled {
		t.Errorf("the newer capture is %s", got.State)
	}
	if got := b.reread(t, made[0]); got.AmountCents != 1800 {
		t.Errorf("the older capture is of %d", got.AmountCents)
	}
	must(t, b.changeTotal(o.ID, 5000))
	c := b.claim(t, made[0])
	if c.AmountCents != 1800 || c.Look {
		t.Errorf("sent are %d", c.AmountCents)
	}
	refused(t, b.changeTotal(o.ID, 100), "operation_under_way")
	if got := b.orderNow(t, o.ID); got.TotalAmountCents != 5000 {
		t.Errorf("a refused edit left a total of %d", got.TotalAmountCents)
	}
	must(t, b.changeTotal(o.ID, 1800)) // still covers what is under way
	b.verify(t)
	b.audited(t)
}

// An edit that is refused has changed nothing, even if its caller commits.
func TestRefusedEditWritesNothing(t *testing.T) {
	b := sharedBench(t, onApproval)
	o := b.order(t, 2000)
	b.hold(t, o.ID, 1000)
	b.hold(t, o.ID, 1000)
	made := b.approve(t, o.ID)
	b.claim(t, made[0])
	must(t, b.in(func(ctx context.Context, tx store.Tx) error {
		_, err := b.ChangeTotal(ctx, tx, models.Test, o.ID, 500, time.Now(), cancelAfter, "person")
		refused(t, err, "operation_under_way")
		return nil
	}))
	if got := b.reread(t, made[1]); got.State != models.Pending || got.AmountCents != 1000 {
		t.Errorf("the capture that could be cut is %s of %d", got.State, got.AmountCents)
	}
	b.verify(t)
}

// TestResetNamesItsRefund: a claim brings along what the history of what follows
// from it says.
func TestResetNamesItsRefund(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	c := store.NewCommitter(b.Store, "worker")
	o, paid := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	refund := b.refundOf(t, o.ID)
	claims, err := c.ClaimAll(t.Context(), models.Refund, []string{refund.ID}, "worker")
	must(t, err)
	must(t, c.Record(t.Context(), b.judged(claims[0], confirmed(refund))))
	if got := b.reread(t, paid); got.State != models.Reset {
		t.Errorf("the capture is %s", got.State)
	}
	want := "given back by " + refund.Number
	if got := read[string](t, b, `SELECT reason FROM events WHERE operation_id = $1 AND event = 'returned'`, paid.ID); got != want || refund.Number == "" {
		t.Errorf("the capture was %q, want %q", got, want)
	}
	b.right(t)
}
