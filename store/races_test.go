package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// atOnce runs fns from a common start, and returns what each returned.
func atOnce(fns ...func() error) []error {
	errs := make([]error, len(fns))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() {
			<-start
			errs[i] = fn()
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// times is n of the same.
func times(n int, fn func() error) []func() error {
	fns := make([]func() error, n)
	for i := range fns {
		fns[i] = fn
	}
	return fns
}

// won counts who got through; the others must have been refused by a rule.
func won(t *testing.T, errs []error) int {
	t.Helper()
	n := 0
	for _, err := range errs {
		var refusal *store.Refusal
		switch {
		case err == nil:
			n++
		case !errors.As(err, &refusal):
			t.Errorf("%v", err)
		}
	}
	return n
}

func TestCapsAtOnce(t *testing.T) {
	b := sharedBench(t, models.Policy{CaptureTrigger: models.TriggerManual})
	o := b.order(t, 1500)
	hold, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, MultiCapture: true})
	must(t, err)
	capture := func(cents int64) func() error {
		return func() error { _, err := b.capture(hold.ID, cents); return err }
	}
	void := func() error { _, err := b.void(hold.ID); return err }

	if n := won(t, atOnce(append(times(4, capture(1000)), times(4, capture(800))...)...)); n != 1 {
		t.Fatalf("%d captures were made at once of one hold", n)
	}
	first := b.live(t, o.ID)[0]
	if n := won(t, atOnce(times(4, void)...)); n != 0 {
		t.Errorf("%d voids beside a capture", n)
	}
	b.record(t, b.claim(t, first), confirmed(first))
	left := 1500 - first.AmountCents
	if n := won(t, atOnce(times(4, capture(left+1))...)); n != 0 {
		t.Errorf("%d captures over what the hold has left", n)
	}
	if n := won(t, atOnce(times(4, capture(left))...)); n != 1 {
		t.Errorf("%d captures of what the hold has left", n)
	}
	refund := func() error { _, err := b.refund(first.ID, first.AmountCents-100); return err }
	if n := won(t, atOnce(times(8, refund)...)); n != 1 {
		t.Errorf("%d refunds of nearly all at once", n)
	}
	b.verify(t)
}

// live lists an order's live operations.
func (b bench) live(t *testing.T, orderID string) []models.Operation {
	t.Helper()
	var live []models.Operation
	for _, kind := range models.Kinds {
		ops, err := b.OperationsBy(t.Context(), models.Test, kind, store.ByOrder, []string{orderID}, 100)
		must(t, err)
		for _, op := range ops {
			if op.State.Live() {
				live = append(live, op)
			}
		}
	}
	return live
}

// The order's total is a cap over all of its holds.
func TestOrderCapAtOnce(t *testing.T) {
	b := sharedBench(t, models.Policy{CaptureTrigger: models.TriggerManual})
	o := b.order(t, 1500)
	var fns []func() error
	for range 6 {
		hold := b.hold(t, o.ID, 1000)
		fns = append(fns, func() error { _, err := b.capture(hold.ID, 700); return err })
	}
	if n := won(t, atOnce(fns...)); n != 2 {
		t.Errorf("%d captures of 700 on an order of 1,500", n)
	}
	b.verify(t)
}

func TestCaptureOrVoid(t *testing.T) {
	b := sharedBench(t, models.Policy{CaptureTrigger: models.TriggerManual})
	for range 20 {
		hold := b.hold(t, b.order(t, 1500).ID, 1500)
		errs := atOnce(
			func() error { _, err := b.capture(hold.ID, 0); return err },
			func() error { _, err := b.void(hold.ID); return err },
		)
		if n := won(t, errs); n != 1 {
			t.Fatalf("%d of a capture and a void were made: %v", n, errs)
		}
	}
	b.verify(t)
}

func TestApproveManyTimesAtOnce(t *testing.T) {
	b := sharedBench(t, onApproval)
	o := b.order(t, 1500)
	b.hold(t, o.ID, 3000)
	for _, err := range atOnce(times(200, func() error { _, err := b.approveOrder(o.ID); return err })...) {
		must(t, err)
	}
	if live := b.live(t, o.ID); len(live) != 1 || live[0].AmountCents != 1500 {
		t.Errorf("200 approvals made %d captures", len(live))
	}
	b.verify(t)
}

// rounds is how often each race is run.
const rounds = 125

// eachRace runs a race on many fresh orders, several at a time.
func eachRace(t *testing.T, b bench, race func(t *testing.T, b bench)) {
	t.Helper()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			for range rounds / 5 {
				if t.Failed() {
					return
				}
				race(t, b)
			}
		})
	}
	wg.Wait()
	b.verify(t)
}

// pending is an order of 1,500 with a hold, made from a goroutine.
func (b bench) pending() (models.Order, error) {
	o, _, err := b.CreateOrder(context.Background(), models.Order{Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: 1500})
	if err == nil {
		_, _, err = b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	}
	return o, err
}

// outcome is what a race left.
type outcome struct {
	order    models.Order
	captures []models.Operation
	voids    int
}

func (b bench) outcome(t *testing.T, orderID string) outcome {
	ctx := context.Background()
	o, err := b.Store.Order(ctx, models.Test, orderID)
	captures, err2 := b.OperationsBy(ctx, models.Test, models.Capture, store.ByOrder, []string{orderID}, 10)
	voids, err3 := b.OperationsBy(ctx, models.Test, models.Void, store.ByOrder, []string{orderID}, 10)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Error(err)
	}
	return outcome{o, captures, len(voids)}
}

func (o outcome) state() models.State {
	if len(o.captures) != 1 {
		return ""
	}
	return o.captures[0].State
}

func TestApproveAgainstCancel(t *testing.T) {
	eachRace(t, sharedBench(t, onApproval), func(t *testing.T, b bench) {
		o, err := b.pending()
		errs := atOnce(
			func() error { _, err := b.approveOrder(o.ID); return err },
			func() error { return b.cancelOrder(o.ID) },
		)
		end := b.outcome(t, o.ID)
		approvedFirst := errs[0] == nil && end.state() == models.Cancelled
		cancelledFirst := errs[0] != nil && len(end.captures) == 0
		if err != nil || errs[1] != nil || end.order.Status != models.OrderCancelled || end.voids != 1 || approvedFirst == cancelledFirst {
			t.Errorf("%v %v: the order is %s, captures %d %s, %d voids", err, errs, end.order.Status, len(end.captures), end.state(), end.voids)
		}
	})
}

// A cancel meets a claim: either nothing is ever sent, or the outcome decides.
func TestCancelAgainstClaim(t *testing.T) {
	eachRace(t, sharedBench(t, onApproval), func(t *testing.T, b bench) {
		o, err := b.pending()
		made, err2 := b.approveOrder(o.ID)
		if err := errors.Join(err, err2); err != nil || len(made) != 1 {
			t.Errorf("%v: %d captures", err, len(made))
			return
		}
		var claims []store.Claim
		errs := atOnce(
			func() error { return b.cancelOrder(o.ID) },
			func() (err error) {
				claims, err = b.ClaimAll(context.Background(), models.Capture, []string{made[0].ID}, "worker")
				return err
			},
		)
		end := b.outcome(t, o.ID)
		claimedFirst := len(claims) == 1 && !claims[0].Look && end.state() == models.Capturing && end.order.CancelRequestedAt != nil && end.captures[0].Version == claims[0].Version && end.voids == 0
		cancelledFirst := len(claims) == 0 && end.state() == models.Cancelled && end.order.Status == models.OrderCancelled && end.voids == 1
		if errors.Join(errs...) != nil || claimedFirst == cancelledFirst {
			t.Errorf("%v: %d claims, the capture is %s, the order %s, %d voids", errs, len(claims), end.state(), end.order.Status, end.voids)
		}
	})
}

// A lower total meets a claim: what is sent is never more than the order then costs.
func TestEditAgainstClaim(t *testing.T) {
	eachRace(t, sharedBench(t, onApproval), func(t *testing.T, b bench) {
		o, err := b.pending()
		made, err2 := b.approveOrder(o.ID)
		if err := errors.Join(err, err2); err != nil || len(made) != 1 {
			t.Errorf("%v: %d captures", err, len(made))
			return
		}
		var claims []store.Claim
		errs := atOnce(
			func() error { return b.changeTotal(o.ID, 1000) },
			func() (err error) {
				claims, err = b.ClaimAll(context.Background(), models.Capture, []string{made[0].ID}, "worker")
				return err
			},
		)
		end := b.outcome(t, o.ID)
		var refusal *store.Refusal
		claimedFirst := errors.As(errs[0], &refusal) && refusal.Busy && len(claims) == 1 && claims[0].AmountCents == 1500 && end.order.TotalAmountCents == 1500
		editedFirst := errs[0] == nil && end.order.TotalAmountCents == 1000 && len(end.captures) == 1 && end.captures[0].AmountCents == 1000 &&
			(len(claims) == 0 || claims[0].AmountCents == 1000)
		if errs[1] != nil || claimedFirst == editedFirst {
			t.Errorf("%v: %d claims, the order costs %d, captures %+v", errs, len(claims), end.order.TotalAmountCents, end.captures)
		}
	})
}

// A lower total meets an approval, and a hold one: one capture, of what the order costs.
func TestEditAndHoldAgainstApproval(t *testing.T) {
	eachRace(t, sharedBench(t, onApproval), func(t *testing.T, b bench) {
		o, err := b.pending()
		errs := atOnce(
			func() error { return b.changeTotal(o.ID, 1000) },
			func() error { _, err := b.approveOrder(o.ID); return err },
			func() error {
				_, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 900})
				return err
			},
		)
		end := b.outcome(t, o.ID)
		live := int64(0)
		for _, c := range end.captures {
			live += c.AmountCents
		}
		if err != nil || errors.Join(errs...) != nil || live != 1000 || end.order.LiveCents != 1000 {
			t.Errorf("%v %v: captures of %d on an order of %d", err, errs, live, end.order.TotalAmountCents)
		}
	})
}

// The same hold is registered by many: one row, whoever was first.
func TestOneHoldManyRegistrations(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, other := b.order(t, 1500), b.order(t, 1500)
	register := func(orderID string) func() error {
		return func() error {
			_, _, err := b.register(models.Authorization{OrderID: orderID, AmountCents: 1500, GatewayTransactionID: "pi_same"})
			return err
		}
	}
	errs := atOnce(append(times(6, register(o.ID)), times(6, register(other.ID))...)...)
	if n := won(t, errs); n != 6 {
		t.Errorf("%d registrations of one hold for two orders went through: %v", n, errs)
	}
	if n := read[int](t, b, `SELECT count(*) FROM authorizations`); n != 1 {
		t.Errorf("%d holds", n)
	}
	b.verify(t)
}

// A reference names one order, however many ask at once.
func TestOneReferenceManyOrders(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	create := func(total int64) func() error {
		return func() error {
			_, _, err := b.CreateOrder(context.Background(), models.Order{
				Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: total, Labels: models.Labels{Reference: "R1"},
			})
			return err
		}
	}
	if n := won(t, atOnce(append(times(6, create(1500)), times(6, create(1600))...)...)); n != 6 {
		t.Errorf("%d of twelve orders with two totals went through", n)
	}
	if n := read[int](t, b, `SELECT count(*) FROM orders`); n != 1 {
		t.Errorf("%d orders", n)
	}
}
