package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/store"
)

// TestHoldIsAskedFor: before a hold is registered its gateway is asked. What it
// says completes the registration, what contradicts it is refused by name, and
// where it cannot tell the end is estimated.
func TestHoldIsAskedFor(t *testing.T) {
	t.Parallel()
	plain := newWorld(t)
	w := plain.describing(t)
	method := w.method(t, "")
	order := func() string {
		return w.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", method)).want(t, http.StatusCreated, nil).id(t)
	}
	register := func(attributes string) reply {
		return w.post(t, "authorizations", attributes, to("order", "orders", order()))
	}
	const plainly = `{"amount_cents":1500,"gateway_transaction_id":%q}`
	told := register(fmt.Sprintf(plainly, w.paymentIntent(t, 1500, ""))).want(t, http.StatusCreated, map[string]any{
		"data.attributes.capture_before_source": "gateway", "data.attributes.network": "visa", "data.attributes.next_actions.0": nil,
	})
	if ends, err := time.Parse(time.RFC3339, fmt.Sprint(told.at(t, "data.attributes.capture_before"))); err != nil || time.Until(ends) < 24*time.Hour {
		t.Errorf("the gateway said that it ends %s (%v)", ends, err)
	}
	register(fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q,"capture_before":"2999-01-01T00:00:00Z","network":"mastercard","initiator":"merchant"}`, w.paymentIntent(t, 1500, ""))).
		want(t, http.StatusCreated, map[string]any{
			"data.attributes.capture_before_source": "client", "data.attributes.capture_before": "2999-01-01T00:00:00.000Z",
			"data.attributes.network": "mastercard", "data.attributes.initiator": "merchant",
		})
	register(fmt.Sprintf(`{"amount_cents":1000,"gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, ""))).want(t, http.StatusCreated, nil)

	taken := w.paymentIntent(t, 1500, "")
	w.capture(t, taken, "somebody's", 1500)
	for _, c := range []struct{ attributes, pointer string }{
		{fmt.Sprintf(plainly, "pi_nobodys"), "gateway_transaction_id"},
		{fmt.Sprintf(plainly, "no-payment-intent"), "gateway_transaction_id"},
		{fmt.Sprintf(plainly, taken), "gateway_transaction_id"},
		{fmt.Sprintf(`{"amount_cents":1501,"gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), "amount_cents"},
		{fmt.Sprintf(`{"amount_cents":1500,"currency_code":"USD","gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), "currency_code"},
		{fmt.Sprintf(`{"amount_cents":1500,"initiator":"nobody","gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), "initiator"},
	} {
		register(c.attributes).want(t, http.StatusUnprocessableEntity, map[string]any{"errors.0.source.pointer": "/data/attributes/" + c.pointer})
	}

	// A process without the adapter asks nobody.
	if err := w.store.SetHoldLives(t.Context(), "stripe", []store.HoldLife{{Network: "visa", Initiator: "merchant", Life: 114 * time.Hour}, {Life: 168 * time.Hour}}); err != nil {
		t.Fatal(err)
	}
	estimated := plain.post(t, "authorizations", `{"amount_cents":1500,"gateway_transaction_id":"pi_nobodys","network":"visa","initiator":"merchant"}`, to("order", "orders", order())).
		want(t, http.StatusCreated, map[string]any{"data.attributes.capture_before_source": "estimate"})
	if ends, err := time.Parse(time.RFC3339, fmt.Sprint(estimated.at(t, "data.attributes.capture_before"))); err != nil || time.Until(ends) > 114*time.Hour || time.Until(ends) < 113*time.Hour {
		t.Errorf("estimated to end %s (%v)", ends, err)
	}
}

// TestDifferenceOverTheAPI: what an order's captures stand above its total is an
// attribute of the order at once, and its policy one of the method.
func TestDifferenceOverTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.post(t, "payment_methods", `{"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR","auto_capture":true,"refund_difference":true,"reauthorize":true}`, `{}`).
		want(t, http.StatusCreated, map[string]any{"data.attributes.refund_difference": true, "data.attributes.reauthorize": true}).id(t)
	w.patch(t, "payment_methods", method, `{"reauthorize":false}`).want(t, http.StatusOK, map[string]any{"data.attributes.refund_difference": true, "data.attributes.reauthorize": false})
	w.patch(t, "payment_methods", method, `{"refund_difference":1}`).want(t, http.StatusUnprocessableEntity, map[string]any{"errors.0.source.pointer": "/data/attributes/refund_difference"})

	p, capture := w.captured(t, method)
	w.get(t, "/api/orders/"+p.order).want(t, http.StatusOK, map[string]any{"data.attributes.overpaid_amount_cents": 0})
	w.patch(t, "orders", p.order, `{"total_amount_cents":1200}`).want(t, http.StatusOK, map[string]any{
		"data.attributes.overpaid_amount_cents": 300, "data.attributes.formatted_overpaid_amount": "€3,00", "data.attributes.payment_status": "paid",
	})
	report, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", CancelAfter: 0, Now: time.Now().Add(2 * time.Hour)})
	if err != nil || len(report.Findings) != 0 { // it is due in an hour, by the database's clock
		t.Fatalf("%+v, %v", report, err)
	}
	w.sql(t, `UPDATE order_checks SET due_at = now()`)
	if report, err = w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", CancelAfter: 0, Now: time.Now().Add(2 * time.Hour)}); err != nil || len(report.Findings) != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	refunds := w.get(t, "/api/captures/"+capture+"/refunds").want(t, http.StatusOK, map[string]any{
		"meta.record_count": 1, "data.0.attributes.amount_cents": 300, "data.0.attributes.cause": "difference",
	})
	id, _ := refunds.at(t, "data.0.id").(string)
	w.run(t, "refund", id)
	w.get(t, "/api/orders/"+p.order).want(t, http.StatusOK, map[string]any{"data.attributes.overpaid_amount_cents": 0, "data.attributes.refunded_amount_cents": 300})

	// By hand it is a refund, never a cancel: the guard is named.
	w.patch(t, "captures", capture, `{"_cancel":true}`).want(t, http.StatusUnprocessableEntity, map[string]any{"errors.0.meta.rule": "order_approved"})
	w.patch(t, "authorizations", p.authorization, `{"_reauthorize":true}`).want(t, http.StatusUnprocessableEntity, map[string]any{
		"errors.0.source.pointer": "/data/attributes/_reauthorize", "errors.0.meta.rule": "reauthorize_unsupported",
	})
}
