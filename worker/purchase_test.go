package worker_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// purchase is one order with its hold, and the operation a test is about.
type purchase struct {
	orderID, authID string
	hold            string // the PaymentIntent
	op              models.Operation
}

// place makes a hold at the gateway, an order and registers the one with the other.
func (w *world) place(t testing.TB, fault string) purchase {
	t.Helper()
	return w.placeFor(t, fault, total, total)
}

func (w *world) placeFor(t testing.TB, fault string, orderCents, holdCents int64) purchase {
	t.Helper()
	return w.placeUntil(t, fault, orderCents, holdCents, nil)
}

// placeUntil is place with a hold that ends.
func (w *world) placeUntil(t testing.TB, fault string, orderCents, holdCents int64, end *time.Time) purchase {
	t.Helper()
	p := purchase{hold: w.authorize(t, fault, holdCents)}
	o, _, err := w.store.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: w.method.ID, CurrencyCode: "EUR", TotalAmountCents: orderCents})
	if err != nil {
		t.Fatal(err)
	}
	p.orderID = o.ID
	made, err := w.enqueuer.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		made, hold, _, err := w.enqueuer.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: o.ID, PaymentGatewayID: w.gateway.ID, GatewayTransactionID: p.hold, CurrencyCode: "EUR", AmountCents: holdCents,
			CaptureBefore: end,
		}, "shop")
		p.authID = hold.ID
		return made, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Operations) > 0 {
		p.op = made.Operations[0]
	}
	return p
}

// order is place, approved: its capture is published.
func (w *world) order(t testing.TB, fault string) purchase {
	t.Helper()
	p := w.place(t, fault)
	made := w.approve(t, p)
	if len(made) != 1 {
		t.Fatalf("approval made %d captures, want 1", len(made))
	}
	p.op = made[0]
	return p
}

func (w *world) approve(t testing.TB, p purchase) []models.Operation {
	t.Helper()
	return w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Approve(ctx, tx, models.Test, p.orderID, "shop")
	})
}

func (w *world) do(t testing.TB, fn func(context.Context, store.Tx) (enqueuer.Published, error)) []models.Operation {
	t.Helper()
	made, err := w.enqueuer.Do(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return made.Operations
}

// captured is a purchase whose capture succeeded, made without the queue.
func (w *world) captured(t testing.TB, fault string) purchase {
	t.Helper()
	p := w.order(t, fault)
	runner := w.runner(t, staff{name: "setup"})
	// Again where a busy machine was too slow for the tests' short deadlines.
	eventually(t, "the capture for the setup", func() (bool, any) {
		err := runner.Run(t.Context(), models.Capture, p.op.ID)
		return w.reread(t, p).State == models.Succeeded, err
	})
	return p
}

// refund asks for a part of a purchase's money back.
func (w *world) refund(t testing.TB, p purchase) purchase {
	t.Helper()
	made := w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Refund(ctx, tx, models.Test, p.op.ID, returned, "shop")
	})
	p.op = made[0]
	return p
}

// void asks for a purchase's hold to be released.
func (w *world) void(t testing.TB, p purchase) purchase {
	t.Helper()
	made := w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Void(ctx, tx, models.Test, p.authID, "shop")
	})
	p.op = made[0]
	return p
}

func (w *world) cancel(t testing.TB, p purchase) models.Order {
	t.Helper()
	var order models.Order
	w.do(t, func(ctx context.Context, tx store.Tx) (made enqueuer.Published, err error) {
		order, err = w.enqueuer.Cancel(ctx, tx, models.Test, p.orderID, "shop")
		return made, err
	})
	return order
}

func (w *world) changeTotal(t testing.TB, p purchase, cents int64) models.Order {
	t.Helper()
	var order models.Order
	w.do(t, func(ctx context.Context, tx store.Tx) (made enqueuer.Published, err error) {
		order, err = w.enqueuer.ChangeTotal(ctx, tx, models.Test, p.orderID, cents, "shop")
		return made, err
	})
	return order
}

// authorize makes the hold as a checkout would: over HTTP.
func (w *world) authorize(t testing.TB, fault string, cents int64) string {
	t.Helper()
	form := url.Values{"amount": {strconv.FormatInt(cents, 10)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}}
	if fault != "" {
		form.Set("metadata[fault]", fault)
	}
	var intent struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	w.call(t, http.MethodPost, "/v1/payment_intents", strings.NewReader(form.Encode()), &intent)
	if intent.Status != "requires_capture" {
		t.Fatalf("the hold is %+v, want requires_capture", intent)
	}
	return intent.ID
}
