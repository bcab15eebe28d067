package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func (b bench) fulfill(orderID string) (made []models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		_, made, err = b.Fulfill(ctx, tx, models.Test, orderID, time.Now(), "test")
		return err
	})
	return made, err
}

// An order's life from hold to fulfillment under every trigger: what is made when.
func TestTriggersOnTheLedger(t *testing.T) {
	t.Parallel()
	limit := func(cents int64) *int64 { return &cents }
	url := migrated(t)
	for _, c := range []struct {
		name   string
		policy models.Policy
		total  int64
		want   []string // on the hold, on approval, on fulfillment
	}{
		{"approval", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}, 1500, []string{"", "1500 approval", ""}},
		{"authorization", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization}, 1500, []string{"1500 authorization", "", ""}},
		{"fulfillment", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerFulfillment}, 1500, []string{"", "", "1500 fulfillment"}},
		{"manual", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerManual}, 1500, []string{"", "", ""}},
		{"off", models.Policy{CaptureTrigger: models.TriggerApproval}, 1500, []string{"", "", ""}},
		{"at the limit", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, AutoCaptureMaxAmountCents: limit(1500)}, 1500, []string{"", "1500 approval", ""}},
		{"above the limit", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, AutoCaptureMaxAmountCents: limit(1499)}, 1500, []string{"", "", ""}},
		{"free", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}, 0, []string{"", "", ""}},
		{"less than the hold", models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}, 700, []string{"", "700 approval", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := benchAt(t, c.policy, url)
			o := b.order(t, c.total)
			var got []string
			say := func(made []models.Operation, err error) {
				must(t, err)
				text := ""
				for _, op := range made {
					text += fmt.Sprintf("%d %s", op.AmountCents, op.Cause)
				}
				got = append(got, text)
			}
			_, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
			say(made, err)
			say(b.approveOrder(o.ID))
			say(b.fulfill(o.ID))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("made (-want +got):\n%s", diff)
			}
			if again, err := b.fulfill(o.ID); err != nil || len(again) != 0 {
				t.Errorf("fulfilled twice: %+v, %v", again, err)
			}
		})
	}
	benchAt(t, onApproval, url).verify(t)
}

// Delayed captures are made at approval and are due at their time.
func TestDelayedCapturesAreDueLater(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	for name, policy := range map[string]models.Policy{
		"delay": {AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3600},
		"at":    {AutoCapture: true, CaptureTrigger: models.TriggerAt},
	} {
		t.Run(name, func(t *testing.T) {
			b := benchAt(t, policy, url)
			o, _, err := b.CreateOrder(t.Context(), models.Order{
				Mode: models.Test, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: 1500, CaptureAt: ptr(time.Now().Add(time.Hour)),
			})
			must(t, err)
			b.hold(t, o.ID, 1500)
			op := b.approve(t, o.ID)[0]
			var notYet *store.NotYet
			if err := b.unclaimed(t, op); !errors.As(err, &notYet) || time.Until(notYet.At) < 59*time.Minute {
				t.Errorf("told %v", err)
			}
			b.pass(t, time.Hour)
			if c := b.claim(t, op); c.Look {
				t.Error("what was never sent is looked up")
			}
			b.verify(t)
		})
	}
}

// With require_capture nothing is delivered that is not paid.
func TestRequireCapture(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, RequireCapture: true})
	o := b.order(t, 1500)
	b.hold(t, o.ID, 1500)
	_, err := b.fulfill(o.ID)
	refused(t, err, "order_not_approved")
	op := b.approve(t, o.ID)[0]
	_, err = b.fulfill(o.ID)
	refused(t, err, "capture_required")
	b.record(t, b.claim(t, op), confirmed(op))
	_, err = b.fulfill(o.ID)
	must(t, err)
	if got := b.orderNow(t, o.ID); got.FulfillmentStatus != models.InProgress {
		t.Errorf("the order is %s", got.FulfillmentStatus)
	}
	free := b.order(t, 0)
	_, err = b.approveOrder(free.ID)
	must(t, err)
	_, err = b.fulfill(free.ID)
	must(t, err)
	b.verify(t)
}

// A mode sees its own rows only.
func TestModesAreApart(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	ctx := t.Context()
	tx := func(fn func(ctx context.Context, tx store.Tx) error) error { return b.in(fn) }
	for name, err := range map[string]error{
		"order":         func() error { _, err := b.Store.Order(ctx, models.Live, o.ID); return err }(),
		"capture":       func() error { _, err := b.Operation(ctx, models.Live, models.Capture, op.ID); return err }(),
		"authorization": func() error { _, err := b.Authorization(ctx, models.Live, op.AuthorizationID); return err }(),
		"method":        func() error { _, err := b.PaymentMethod(ctx, models.Live, b.method.ID); return err }(),
		"approval": tx(func(ctx context.Context, tx store.Tx) error {
			_, _, err := b.Approve(ctx, tx, models.Live, o.ID, "test")
			return err
		}),
		"cancel": tx(func(ctx context.Context, tx store.Tx) error {
			_, err := b.CancelOrder(ctx, tx, models.Live, o.ID, time.Now(), "test")
			return err
		}),
		"refund": tx(func(ctx context.Context, tx store.Tx) error {
			_, err := b.RefundByHand(ctx, tx, models.Live, op.ID, 0, "test")
			return err
		}),
		"hold": tx(func(ctx context.Context, tx store.Tx) error {
			_, _, _, err := b.RegisterHold(ctx, tx, models.Authorization{
				Mode: models.Live, OrderID: o.ID, PaymentGatewayID: b.gateway.ID, GatewayTransactionID: "pi_x", CurrencyCode: "EUR", AmountCents: 1,
			}, time.Now(), "test")
			return err
		}),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of the other mode: %v", name, err)
		}
	}
	if _, err := b.EnsureGateway(ctx, "stripe", "stripe", models.Live); !errors.Is(err, store.ErrConflict) {
		t.Errorf("an account changed its mode: %v", err)
	}
	b.verify(t)
}
