package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// A delayed capture keeps its time whatever a look in between comes to.
func TestAnInconclusiveLookDoesNotHasten(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3 * 24 * 3600})
	_, op := b.approved(t)
	b.observe(t, op, evidence(op, models.FromWebhook, models.OutcomeAccepted))
	b.record(t, b.claim(t, op), models.Evidence{Source: models.FromLookUp}) // the gateway could not tell
	b.pass(t, time.Hour)
	c := b.claim(t, op)
	if d := b.record(t, c, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}); d.Send {
		t.Fatal("sent days early")
	}
	if got := b.reread(t, op); got.State != models.Pending || time.Until(*got.NextAt) < 2*24*time.Hour {
		t.Errorf("%s, due at %v", got.State, got.NextAt)
	}
	b.verify(t)
}

// A cancel that commits while a claim waits to send stops the send.
func TestCancelBeforeTheSecondClaim(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, op := b.approved(t)
	b.record(t, b.claim(t, op), models.Evidence{Source: models.FromAnswer}) // lost
	b.pass(t, time.Hour)
	look := b.claim(t, op)
	none := models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}
	d := models.Judge(look.Operation, none, look.Facts(b.Tempo(), 0, true))
	if !d.Send {
		t.Fatalf("not to be sent: %+v", d)
	}
	held, release := make(chan struct{}), make(chan struct{})
	cancelled := make(chan error, 1)
	go func() {
		cancelled <- b.InTx(context.Background(), func(ctx context.Context, tx store.Tx) error {
			_, err := b.CancelOrder(ctx, tx, models.Test, o.ID, time.Now(), "test")
			close(held)
			<-release
			return err
		})
	}()
	<-held
	sent := make(chan error, 1)
	go func() {
		_, err := b.ClaimSend(context.Background(), store.Outcome{Claim: look, Evidence: none, Decision: d, Worker: "worker"})
		sent <- err
	}()
	close(release)
	if err := <-cancelled; err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err == nil {
		t.Fatal("a claim to send was granted after the order was cancelled")
	}
	b.verify(t)
}

// What a cancelled order's capture comes back from is looked at at once, flagged
// or not, however late its next try was.
func TestClosingOrderDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, outcome := range []models.Outcome{models.OutcomeDeclined, models.OutcomeNotSent} {
		b := newBench(t, onApproval)
		o, op := b.approved(t)
		c := b.claim(t, op)
		must(t, b.cancelOrder(o.ID))
		b.record(t, c, evidence(op, models.FromAnswer, outcome))
		b.pass(t, time.Minute)
		b.record(t, b.claim(t, op), models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
		if got := b.orderNow(t, o.ID); got.Status != models.OrderCancelled || b.reread(t, op).State != models.Cancelled {
			t.Errorf("%s: the order is %s, its capture %s", outcome, got.Status, b.reread(t, op).State)
		}
		b.verify(t)
	}
}

// A capture that fits a lower total as it is was made for the lower total.
func TestLowerTotalThatFitsIsNoMismatch(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	b.hold(t, o.ID, 1000)
	b.hold(t, o.ID, 500)
	must(t, b.changeTotal(o.ID, 1200))
	for _, op := range b.live(t, o.ID) {
		b.record(t, b.claim(t, op), confirmed(b.reread(t, op)))
	}
	b.pass(t, 24*time.Hour)
	b.sweep(t)
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Paid || got.LiveOperations != 0 || got.CapturedCents != 1200 {
		t.Errorf("%s with %d captured and %d under way", got.PaymentStatus, got.CapturedCents, got.LiveOperations)
	}
	b.verify(t)
}

// An approval that met a hold in use captures it when it is free again.
func TestApprovalBesideAnotherOperation(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 1500)
	hold := b.hold(t, o.ID, 1500)
	var void models.Operation
	must(t, b.InTx(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		void, err = b.VoidByHand(ctx, tx, models.Test, hold.ID, "test")
		return err
	}))
	if made := b.approve(t, o.ID); len(made) != 0 {
		t.Fatal("captured beside a void")
	}
	b.record(t, b.claim(t, void), evidence(void, models.FromAnswer, models.OutcomeRefused))
	b.pass(t, time.Minute)
	b.sweep(t)
	if live := b.live(t, o.ID); len(live) != 1 || live[0].Kind != models.Capture || live[0].Cause != models.CauseApproval {
		t.Errorf("live: %+v", live)
	}
	b.verify(t)
}

// A refund that failed after it had succeeded gives its balance back to the
// capture, so that it can be refunded again.
func TestRefundTakenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, op := b.paid(t)
	refund, err := b.refund(op.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	b.observe(t, refund, evidence(refund, models.FromWebhook, models.OutcomeRefused))
	if got := b.reread(t, refund); got.State != models.Reversed || got.NeedsAttention != models.FlagReversed {
		t.Errorf("the refund is %s %q", got.State, got.NeedsAttention)
	}
	if got := b.reread(t, op); got.RefundBalance() != 1500 || b.orderNow(t, o.ID).PaymentStatus != models.Paid {
		t.Errorf("%d left to refund, the order is %s", got.RefundBalance(), b.orderNow(t, o.ID).PaymentStatus)
	}
	b.verify(t)
	again, err := b.refund(op.ID, 1500)
	must(t, err)
	b.record(t, b.claim(t, again), confirmed(again))
	b.verify(t)
	b.audited(t)
}

// Two operators retry one failed refund: one successor.
func TestRetryOfAFailedRefundOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.paid(t)
	refund, err := b.refund(op.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, refund), evidence(refund, models.FromAnswer, models.OutcomeRefused))
	made := 0
	for range 3 {
		must(t, b.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			ops, err := b.RetryFailed(ctx, tx, b.reread(t, refund), "person")
			made += len(ops)
			return err
		}))
	}
	if made != 1 {
		t.Errorf("made %d successors", made)
	}
	b.verify(t)
}

// Where the policy says so, a capture whose time comes after its hold's end is
// taken before it.
func TestLastChanceOfADelayedCapture(t *testing.T) {
	t.Parallel()
	day := int64(24 * 3600)
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 10 * day, LastChanceSeconds: &day})
	o := b.order(t, 1500)
	ends := time.Now().Add(36 * time.Hour)
	must(t, b.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, _, _, err := b.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: o.ID, PaymentGatewayID: b.gateway.ID, GatewayTransactionID: "pi_" + store.NewID(), CurrencyCode: "EUR", AmountCents: 1500, CaptureBefore: &ends,
		}, time.Now(), "test")
		return err
	}))
	op := b.approve(t, o.ID)[0]
	b.pass(t, time.Hour)
	b.sweep(t)
	b.unclaimed(t, op)
	b.pass(t, 20*time.Hour)
	b.sweep(t)
	b.record(t, b.claim(t, op), confirmed(op))
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Paid {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	b.verify(t)
}
