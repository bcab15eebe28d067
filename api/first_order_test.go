package api_test

import (
	"fmt"
	"net/http"
	"testing"
)

// The contract that every check relies on, call by call.
func TestFirstOrder(t *testing.T) {
	w := newWorld(t)
	w.work(t)
	hold := w.paymentIntent(t, 1500, "")
	method := w.post(t, "payment_methods", `{"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR","auto_capture":true,"auto_capture_max_amount_cents":200000}`, `{}`).
		want(t, http.StatusCreated, map[string]any{
			"data.type": "payment_methods", "data.attributes.auto_capture": true, "data.attributes.capture_trigger": "approval",
			"data.attributes.auto_capture_max_amount_cents": 200000, "data.attributes.formatted_auto_capture_max_amount": "€2.000,00", "data.meta.mode": "test",
		}).id(t)
	attributes := `{"reference":"A-1","currency_code":"EUR","total_amount_cents":1500}`
	order := w.post(t, "orders", attributes, to("payment_method", "payment_methods", method)).
		want(t, http.StatusCreated, map[string]any{
			"data.attributes.status": "pending", "data.attributes.payment_status": "unpaid", "data.attributes.fulfillment_status": "unfulfilled",
			"data.attributes.formatted_total_amount": "€15,00", "data.attributes.total_amount_float": "15.00",
		}).id(t)
	w.post(t, "orders", attributes, to("payment_method", "payment_methods", method)).want(t, http.StatusOK, map[string]any{"data.id": order})

	held := fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q,"capture_before":"2999-01-01T00:00:00Z"}`, hold)
	authorization := w.post(t, "authorizations", held, to("order", "orders", order)).
		want(t, http.StatusCreated, map[string]any{"data.attributes.succeeded": true, "data.attributes.capture_balance_cents": 1500}).id(t)
	w.post(t, "authorizations", held, to("order", "orders", order)).want(t, http.StatusOK, map[string]any{"data.id": authorization})
	w.get(t, "/api/orders/"+order).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "authorized"})

	w.patch(t, "orders", order, `{"_approve":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "approved"})
	until(t, "the capture to succeed", func() bool {
		return w.get(t, "/api/orders/"+order+"/captures").at(t, "data.0.attributes.succeeded") == true
	})
	for _, path := range []string{"/api/orders/" + order + "/captures", "/api/captures?filter[q][order_id_eq]=" + order, "/api/captures?filter%5Bq%5D%5Border_id_eq%5D=" + order} {
		w.get(t, path).want(t, http.StatusOK, map[string]any{
			"meta.record_count": 1, "data.0.attributes.succeeded": true, "data.0.attributes.amount_cents": 1500, "data.0.attributes.state": "succeeded",
		})
	}
	w.get(t, "/api/orders/"+order).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "paid", "data.attributes.status": "approved"})
	if book := w.sandbox.BookOf(hold); len(book.Violations) > 0 {
		t.Errorf("the gateway complains: %v", book.Violations)
	}
}
