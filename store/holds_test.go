package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
)

func (b bench) holdUntil(t *testing.T, orderID string, cents int64, in time.Duration) (models.Authorization, []models.Operation) {
	t.Helper()
	hold, made, err := b.register(models.Authorization{OrderID: orderID, AmountCents: cents, CaptureBefore: ptr(time.Now().Add(in))})
	must(t, err)
	return hold, made
}

// The last chance comes at its time, whenever the order was approved, and once.
func TestLastChance(t *testing.T) {
	t.Parallel()
	policy := models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerFulfillment, LastChanceSeconds: ptr(int64(3600))}
	approve := func(t *testing.T, b bench, id string) {
		_, err := b.approveOrder(id)
		must(t, err)
	}
	for name, play := range map[string]func(t *testing.T, b bench) models.Order{
		"approved before the hold": func(t *testing.T, b bench) models.Order {
			o := b.order(t, 1500)
			approve(t, b, o.ID)
			b.holdUntil(t, o.ID, 1500, 3*time.Hour)
			return o
		},
		"approved after the hold": func(t *testing.T, b bench) models.Order {
			o := b.order(t, 1500)
			b.holdUntil(t, o.ID, 1500, 3*time.Hour)
			approve(t, b, o.ID)
			return o
		},
		"approved after a first look": func(t *testing.T, b bench) models.Order {
			o := b.order(t, 1500)
			b.holdUntil(t, o.ID, 1500, 3*time.Hour)
			b.pass(t, 30*time.Minute)
			b.exec(t, `UPDATE order_checks SET due_at = now()`)
			b.sweep(t)
			approve(t, b, o.ID)
			return o
		},
		"approved in the last hour": func(t *testing.T, b bench) models.Order {
			o := b.order(t, 1500)
			b.holdUntil(t, o.ID, 1500, 3*time.Hour)
			b.pass(t, 2*time.Hour+10*time.Minute)
			b.sweep(t)
			approve(t, b, o.ID)
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy)
			o := play(t, b)
			if ends := read[time.Time](t, b, `SELECT capture_before FROM authorizations`); time.Until(ends) > time.Hour {
				b.sweep(t)
				if live := b.live(t, o.ID); len(live) != 0 {
					t.Fatalf("captured before the last chance: %+v", live)
				}
				b.pass(t, time.Until(ends)-59*time.Minute)
			}
			b.sweep(t)
			live := b.live(t, o.ID)
			if len(live) != 1 || live[0].Cause != models.CauseLastChance || live[0].AmountCents != 1500 {
				t.Fatalf("the last chance made %+v", live)
			}
			b.sweep(t)
			b.record(t, b.claim(t, live[0]), confirmed(live[0]))
			b.pass(t, 24*time.Hour)
			b.sweep(t)
			if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Paid {
				t.Errorf("the order is %s", got.PaymentStatus)
			}
			b.verify(t)
		})
	}
}

// Money that was given back is not taken again by itself, though a spare hold would cover it.
func TestASpareHoldIsNotCapturedAfterARefund(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, LastChanceSeconds: ptr(int64(3600))})
	o := b.order(t, 1500)
	b.hold(t, o.ID, 1500)
	b.holdUntil(t, o.ID, 1500, 2*time.Hour)
	op := b.approve(t, o.ID)[0]
	b.record(t, b.claim(t, op), confirmed(op))
	refund, err := b.refund(op.ID, 0)
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	for range 5 {
		b.exec(t, `UPDATE order_checks SET due_at = now()`)
		b.sweep(t)
		b.pass(t, 30*time.Minute)
	}
	if got := b.orderNow(t, o.ID); got.CapturedCents != 1500 || got.PaymentStatus != models.Refunded || len(b.live(t, o.ID)) != 0 {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, b.live(t, o.ID))
	}
	b.verify(t)
}

// An order that nobody approved has no last chance; its hold ends.
func TestNoLastChanceWithoutApproval(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, LastChanceSeconds: ptr(int64(3600))})
	o := b.order(t, 1500)
	b.holdUntil(t, o.ID, 1500, 2*time.Hour)
	for range 5 {
		b.pass(t, 30*time.Minute)
		b.sweep(t)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Voided || len(b.live(t, o.ID)) != 0 {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	b.verify(t)
}

// A hold that ended closes, and nothing more is made of it.
func TestExpiredHold(t *testing.T) {
	b := sharedBench(t, onApproval)
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, time.Hour)
	counted(t, b.sweep(t), models.Expiring, 1) // it is warned of: see TestWarnings
	counted(t, b.sweep(t), models.Expiring, 0)
	b.pass(t, 2*time.Hour)
	counted(t, b.sweep(t), models.Expiring, 1)
	if got := b.holdNow(t, hold.ID); got.ClosedReason != models.ClosedExpired {
		t.Fatalf("the hold is closed %q", got.ClosedReason)
	}
	if got := column[string](t, b, `SELECT verdict || ' ' || action FROM verdicts WHERE order_id = $1 AND action NOT LIKE 'warned %'`, o.ID); !slices.Equal(got, []string{"expiring closed the authorization " + hold.ID}) {
		t.Errorf("verdicts %q", got)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Voided || got.HeldCents != 0 || got.VoidedCents != 1500 {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, got.Sums())
	}
	made, err := b.approveOrder(o.ID)
	must(t, err)
	if len(made) != 0 {
		t.Errorf("captured of an expired hold: %+v", made)
	}
	_, err = b.capture(hold.ID, 100)
	refused(t, err, "hold_closed")
	_, err = b.void(hold.ID)
	refused(t, err, "hold_closed")
	counted(t, b.sweep(t), models.Expiring, 0)
	b.verify(t)
}

// A hold that ends under an operation stays open until its outcome is known.
func TestHoldEndsUnderACapture(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, time.Hour)
	op := b.approve(t, o.ID)[0]
	b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeLost))
	b.pass(t, 2*time.Hour)
	b.sweep(t)
	if got := b.holdNow(t, hold.ID); got.ClosedAt != nil {
		t.Fatalf("the hold was closed %q under a capture", got.ClosedReason)
	}
	c := b.claim(t, op)
	b.record(t, c, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
	if got := b.reread(t, op); got.State != models.Failed {
		t.Errorf("the capture is %s", got.State)
	}
	if got := b.holdNow(t, hold.ID); got.ClosedReason != models.ClosedExpired {
		t.Errorf("the hold is closed %q", got.ClosedReason)
	}
	b.verify(t)
	b.audited(t)
}

// Several captures of one hold: the last cent closes it.
func TestSeveralCapturesOfAHold(t *testing.T) {
	b := sharedBench(t, models.Policy{CaptureTrigger: models.TriggerManual})
	o := b.order(t, 1500)
	hold, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, MultiCapture: true})
	must(t, err)
	for i, c := range []struct {
		cents  int64
		status models.PaymentStatus
		closed string
	}{{500, models.PartiallyPaid, ""}, {900, models.PartiallyPaid, ""}, {100, models.Paid, models.ClosedCaptured}} {
		op, err := b.capture(hold.ID, c.cents)
		must(t, err)
		if op.Sequence != i+1 || op.GatewayReference != models.GatewayReference("stripe", hold.GatewayTransactionID, models.Capture, i+1) {
			t.Errorf("capture %d is the %d. with reference %s", i+1, op.Sequence, op.GatewayReference)
		}
		b.record(t, b.claim(t, op), confirmed(op))
		if got := b.orderNow(t, o.ID); got.PaymentStatus != c.status || b.holdNow(t, hold.ID).ClosedReason != c.closed {
			t.Errorf("after %d the order is %s, the hold closed %q", c.cents, got.PaymentStatus, b.holdNow(t, hold.ID).ClosedReason)
		}
	}
	b.verify(t)
}

// A hold of 3,000 on an order of 1,500, captured on authorization, then approved: once.
func TestAuthorizationThenApproval(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	o := b.order(t, 1500)
	hold, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 3000})
	must(t, err)
	again, err := b.approveOrder(o.ID)
	must(t, err)
	if len(made) != 1 || made[0].AmountCents != 1500 || len(again) != 0 {
		t.Fatalf("made %+v, then %+v", made, again)
	}
	same, none, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 3000, GatewayTransactionID: hold.GatewayTransactionID})
	must(t, err)
	if same.ID != hold.ID || len(none) != 0 {
		t.Errorf("the same hold again is %s with %+v", same.ID, none)
	}
	for _, other := range []models.Authorization{
		{OrderID: o.ID, AmountCents: 2999, GatewayTransactionID: hold.GatewayTransactionID},
		{OrderID: o.ID, AmountCents: 3000, GatewayTransactionID: hold.GatewayTransactionID, CurrencyCode: "USD"},
		{OrderID: b.order(t, 1500).ID, AmountCents: 3000, GatewayTransactionID: hold.GatewayTransactionID},
	} {
		_, _, err := b.register(other)
		refused(t, err, "gateway_transaction_taken")
	}
	_, _, err = b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, CurrencyCode: "USD"})
	refused(t, err, "currency_mismatch")
	b.verify(t)
}
