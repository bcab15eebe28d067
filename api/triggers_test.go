package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

func TestRefundByHand(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	w.patch(t, "captures", capture, `{"_refund":false,"_forward":false,"_cancel":false,"_refund_amount_cents":400}`).want(t, 200, map[string]any{"data.attributes.refund_amount_cents": 0})
	w.patch(t, "captures", capture, `{"_refund":true,"_refund_amount_cents":400}`).want(t, 200, map[string]any{
		"data.attributes.refund_amount_cents": 400, "data.attributes.formatted_refund_amount": "€4,00", "data.attributes.refund_balance_cents": 1100,
	})
	first, _ := w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{"data.0.attributes.cause": "manual", "data.0.attributes.succeeded": false}).at(t, "data.0.id").(string)
	w.run(t, models.Refund, first)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "partially_refunded", "data.attributes.refunded_amount_cents": 400})
	w.patch(t, "captures", capture, `{"_refund":true}`).want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 0})
	rest, _ := w.get(t, "/api/orders/"+p.order+"/refunds?sort=-id").want(t, 200, map[string]any{"meta.record_count": 2, "data.0.attributes.amount_cents": 1100}).at(t, "data.0.id").(string)
	w.run(t, models.Refund, rest)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "refunded"})
	w.patch(t, "captures", capture, `{"_refund":true}`).want(t, 422, map[string]any{"errors.0.code": "NOTHING_LEFT", "errors.0.source.pointer": "/data/attributes/_refund"})
	w.get(t, "/api/refunds/"+rest+"/reference_capture").want(t, 200, map[string]any{"data.id": capture})
	if book := w.sandbox.BookOf(p.hold); len(book.Refunds) != 2 || len(book.Violations) != 0 {
		t.Errorf("the gateway booked %+v", book)
	}
}

// The mismatch of the domain: captured while the order was open, then the order
// changed. Cancel gives the money back and leaves the order unpaid.
func TestCancelOfAMismatchedCapture(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, `,"capture_trigger":"authorization"`), 1500, 1500, "")
	capture, _ := w.get(t, "/api/orders/"+p.order+"/captures").want(t, 200, map[string]any{"data.0.attributes.cause": "authorization"}).at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	w.patch(t, "captures", capture, `{"_cancel":true}`).want(t, 422, map[string]any{"errors.0.code": "NO_MISMATCH"})
	w.patch(t, "orders", p.order, `{"total_amount_cents":1200}`).want(t, 200, map[string]any{"data.attributes.total_amount_cents": 1200, "data.attributes.payment_status": "paid"})
	w.patch(t, "captures", capture, `{"_cancel":true}`).want(t, 200, nil)
	refund, _ := w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{"data.0.attributes.cause": "cancel", "data.0.attributes.amount_cents": 1500}).at(t, "data.0.id").(string)
	w.run(t, models.Refund, refund)
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{
		"data.attributes.state": "reset", "data.attributes.succeeded": true, "data.attributes.refund_balance_cents": 0, "data.attributes.formatted_refund_balance": "€0,00",
	})
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.status": "pending", "data.attributes.payment_status": "unpaid"})
	w.send(t, admin, "PATCH", "/api/captures/"+capture+"?include=order,refunds", patchBody("captures", capture, `{}`)).
		want(t, 200, map[string]any{"data.relationships.order.data.id": p.order, "included.0.id": p.order, "included.1.id": refund})
	w.get(t, "/api/verdicts?filter[q][operation_id_eq]="+capture+"&filter[q][verdict_eq]=cancel").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.actor": "api:admin"})
}

// The other repair: booked at the gateway, lost here. Forward records it with
// proof and moves no money.
func TestForward(t *testing.T) {
	for _, trigger := range []string{"_forward", "succeeded"} {
		t.Run(trigger, func(t *testing.T) {
			w := newWorld(t)
			p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
			capture := w.approve(t, p)
			w.run(t, models.Capture, capture)
			w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "unknown", "data.attributes.succeeded": false})
			body := fmt.Sprintf(`{"data":{"type":"captures","id":%q,"attributes":{%q:true}},"meta":{"reason":"the\u0009customer called"}}`, capture, trigger)
			w.send(t, operator, "PATCH", "/api/captures/"+capture, body).want(t, 200, map[string]any{"data.attributes.state": "succeeded", "data.attributes.succeeded": true})
			w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
			if book := w.sandbox.BookOf(p.hold); len(book.Captures) != 1 {
				t.Errorf("the gateway booked %+v", book.Captures)
			}
			history := string(w.get(t, "/api/captures/"+capture+"/events").want(t, 200, map[string]any{"data.0.attributes.name": "captures.created"}).body)
			for _, part := range []string{"api:operator", "the customer called", "captures.confirmed"} {
				if !strings.Contains(history, part) {
					t.Errorf("the history lacks %q: %s", part, history)
				}
			}
			w.get(t, "/api/verdicts?filter[q][operation_id_eq]="+capture).want(t, 200, map[string]any{"data.0.attributes.verdict": "forward"})
			again := w.send(t, operator, "PATCH", "/api/captures/"+capture, patchBody("captures", capture, `{"succeeded":true}`))
			again.want(t, 200, map[string]any{"data.attributes.succeeded": true})
		})
	}
}

func TestForwardIsRefusedByName(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	open := w.place(t, method, 1500, 1500, "")
	pending := w.approve(t, open)
	for attribute, pointer := range map[string]string{`{"_forward":true}`: "/data/attributes/_forward", `{"succeeded":true}`: "/data/attributes/succeeded"} {
		w.patch(t, "captures", pending, attribute).want(t, 422, map[string]any{"errors.0.code": "NOT_FOUND_AT_GATEWAY", "errors.0.source.pointer": pointer})
	}
	w.get(t, "/api/captures/"+pending).want(t, 200, map[string]any{"data.attributes.state": "pending"})
	w.run(t, models.Capture, pending)
	w.get(t, "/api/captures/"+pending).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})

	// A capture that was refused for good, on an order that was paid otherwise.
	p := w.place(t, method, 1500, 1500, "decline_hard")
	refused := w.approve(t, p)
	w.run(t, models.Capture, refused)
	w.get(t, "/api/captures/"+refused).want(t, 200, map[string]any{"data.attributes.state": "failed"})
	w.sql(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour' WHERE id = '`+refused+`'`)
	w.patch(t, "captures", refused, `{"_forward":true}`).want(t, 422, map[string]any{"errors.0.code": "NOT_FOUND_AT_GATEWAY"})
	w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), to("order", "orders", p.order)).want(t, 201, nil)
	second, _ := w.get(t, "/api/orders/"+p.order+"/captures?sort=-id").want(t, 200, map[string]any{"meta.record_count": 2}).at(t, "data.0.id").(string)
	w.run(t, models.Capture, second)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
	w.sql(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour' WHERE id = '`+refused+`'`)
	w.patch(t, "captures", refused, `{"_forward":true}`).want(t, 422, map[string]any{"errors.0.code": "ORDER_NOT_ELIGIBLE", "errors.0.source.pointer": "/data/attributes/_forward"})
}

func TestCaptureAndVoidByHand(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, `,"capture_trigger":"manual"`)
	p := w.place(t, method, 1500, 1500, "")
	w.patch(t, "authorizations", p.authorization, `{"_capture":false,"_void":false}`).want(t, 200, map[string]any{"data.attributes.capture_balance_cents": 1500, "data.attributes.void_balance_cents": 1500})
	w.patch(t, "authorizations", p.authorization, `{"_capture_amount_cents":900}`).want(t, 200, map[string]any{"data.attributes.capture_amount_cents": 900, "data.attributes.void_balance_cents": 0})
	w.patch(t, "authorizations", p.authorization, `{"_capture":true}`).want(t, 409, map[string]any{"errors.0.code": "OPERATION_UNDER_WAY", "errors.0.source.pointer": "/data/attributes/_capture"})
	capture, _ := w.get(t, "/api/authorizations/"+p.authorization+"/captures").at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "partially_paid", "data.attributes.captured_amount_cents": 900})

	v := w.place(t, method, 700, 700, "")
	w.patch(t, "authorizations", v.authorization, `{"_void":true}`).want(t, 200, nil)
	void, _ := w.get(t, "/api/authorizations/"+v.authorization+"/voids").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.run(t, models.Void, void)
	w.get(t, "/api/voids/"+void).want(t, 200, map[string]any{"data.attributes.succeeded": true})
	w.get(t, "/api/orders/"+v.order).want(t, 200, map[string]any{"data.attributes.payment_status": "voided"})
	w.get(t, "/api/authorizations/"+v.authorization).want(t, 200, map[string]any{"data.attributes.closed_reason": "voided", "data.attributes.capture_balance_cents": 0})

	m := w.place(t, method, 800, 1000, "")
	made := w.post(t, "captures", `{"reference":"mine","reference_origin":"erp","metadata":{"foo":"bar"}}`, to("order", "orders", m.order)).want(t, 201, map[string]any{
		"data.attributes.amount_cents": 800, "data.attributes.reference": "mine", "data.attributes.reference_origin": "erp", "data.attributes.metadata.foo": "bar",
		"data.attributes.cause": "manual", "data.attributes.succeeded": false,
	})
	if made.header.Get("Location") == "" || made.header.Get("Location") != made.at(t, "data.links.self") {
		t.Errorf("Location = %q", made.header.Get("Location"))
	}
	w.post(t, "captures", `{}`, to("order", "orders", m.order)).want(t, 409, map[string]any{"errors.0.code": "OPERATION_UNDER_WAY"})
}

func TestOrderChanges(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, `,"require_capture":true`)
	p := w.place(t, method, 1500, 2000, "")
	w.patch(t, "orders", p.order, `{"_approve":false,"_cancel":false,"_fulfill":false}`).want(t, 200, map[string]any{"data.attributes.status": "pending"})
	w.patch(t, "orders", p.order, `{"total_amount_cents":1800,"_approve":true,"reference":"R-1","metadata":{"a":{"b":[1,2.5,"<&>",null]}}}`).
		want(t, 200, map[string]any{"data.attributes.status": "approved", "data.attributes.total_amount_cents": 1800, "data.attributes.reference": "R-1", "data.attributes.metadata.a.b.2": "<&>"})
	capture, _ := w.get(t, "/api/orders/"+p.order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.amount_cents": 1800}).at(t, "data.0.id").(string)
	w.patch(t, "orders", p.order, `{"_fulfill":true}`).want(t, 422, map[string]any{"errors.0.code": "CAPTURE_REQUIRED", "errors.0.source.pointer": "/data/attributes/_fulfill"})
	// Lowered while nothing was sent: the capture follows.
	w.patch(t, "orders", p.order, `{"total_amount_cents":1000}`).want(t, 200, nil)
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.amount_cents": 1000})
	w.run(t, models.Capture, capture)
	w.patch(t, "orders", p.order, `{"_fulfill":true}`).want(t, 200, map[string]any{"data.attributes.fulfillment_status": "in_progress", "data.attributes.payment_status": "paid"})
	w.patch(t, "orders", p.order, `{"reference":null}`).want(t, 200, map[string]any{"data.attributes.reference": nil})
	w.get(t, "/api/orders?filter[q][payment_status_eq]=paid").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.id": p.order})

	// Cancelled before anything was sent: withdrawn, and the hold is voided.
	c := w.place(t, method, 500, 500, "")
	withdrawn := w.approve(t, c)
	w.patch(t, "orders", c.order, `{"_cancel":true}`).want(t, 200, map[string]any{"data.attributes.status": "cancelled"})
	w.get(t, "/api/captures/"+withdrawn).want(t, 200, map[string]any{"data.attributes.state": "cancelled", "data.attributes.succeeded": false})
	w.get(t, "/api/orders/"+c.order+"/voids").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "cancel"})
	w.patch(t, "orders", c.order, `{"_cancel":true}`).want(t, 200, map[string]any{"data.attributes.status": "cancelled"})
	w.patch(t, "orders", c.order, `{"_approve":true}`).want(t, 422, map[string]any{"errors.0.code": "ORDER_CANCELLED", "errors.0.source.pointer": "/data/attributes/_approve"})

	free := w.post(t, "orders", `{"currency_code":"eur","total_amount_cents":0}`, to("payment_method", "payment_methods", method)).want(t, 201, map[string]any{"data.attributes.payment_status": "free", "data.attributes.currency_code": "EUR"}).id(t)
	w.patch(t, "orders", free, `{"_approve":true}`).want(t, 200, map[string]any{"data.attributes.status": "approved", "data.attributes.payment_status": "free"})
	w.get(t, "/api/orders/"+free+"/captures").want(t, 200, map[string]any{"meta.record_count": 0})
}

// A change that is refused half-way changes nothing.
func TestChangesAreWhole(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	w.post(t, "orders", `{"reference":"taken","currency_code":"EUR","total_amount_cents":1}`, to("payment_method", "payment_methods", method)).want(t, 201, nil)
	p := w.place(t, method, 1500, 1500, "")
	before := w.rows(t)
	w.patch(t, "orders", p.order, `{"total_amount_cents":900,"_approve":true,"reference":"taken"}`).want(t, 422, map[string]any{"errors.0.code": "REFERENCE_TAKEN"})
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

func TestPaymentMethodChanges(t *testing.T) {
	w := newWorld(t)
	m := w.method(t, `,"auto_capture_max_amount_cents":1000,"reference":"card"`)
	w.patch(t, "payment_methods", m, `{"capture_trigger":"delay","capture_delay_seconds":3600,"name":"Later"}`).want(t, 200, map[string]any{
		"data.attributes.capture_trigger": "delay", "data.attributes.capture_delay_seconds": 3600, "data.attributes.name": "Later",
		"data.attributes.auto_capture_max_amount_cents": 1000, "data.attributes.reference": "card", "data.attributes.auto_capture": true,
	})
	w.patch(t, "payment_methods", m, `{"auto_capture_max_amount_cents":null,"last_chance_seconds":600}`).want(t, 200, map[string]any{
		"data.attributes.auto_capture_max_amount_cents": nil, "data.attributes.last_chance_seconds": 600, "data.attributes.capture_trigger": "delay",
	})
	w.get(t, "/api/payment_methods?filter[q][reference_eq]=card&filter[q][auto_capture_true]=true").want(t, 200, map[string]any{"meta.record_count": 1})
	p := w.place(t, m, 1500, 1500, "")
	id := w.approve(t, p)
	w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{"data.attributes.cause": "delay", "data.attributes.state": "pending"})
}

// An operator's retry: a capture that failed is looked up first, and asked for
// anew only when the gateway conclusively has nothing.
func TestRetryOfAFailedCapture(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "capture.decline_hard:1")
	failed := w.approve(t, p)
	w.run(t, models.Capture, failed)
	w.get(t, "/api/captures/"+failed).want(t, 200, map[string]any{"data.attributes.state": "failed"})
	w.patch(t, "captures", failed, `{"_retry":true}`).want(t, 409, map[string]any{"errors.0.code": "INCONCLUSIVE"}) // a call might still land
	w.sql(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour' WHERE id = '`+failed+`'`)
	w.patch(t, "captures", failed, `{"_retry":true}`).want(t, 200, nil)
	w.patch(t, "captures", failed, `{"_retry":true}`).want(t, 200, nil) // by a second operator: there is a successor already
	again, _ := w.get(t, "/api/orders/"+p.order+"/captures?sort=-id").want(t, 200, map[string]any{"meta.record_count": 2, "data.0.attributes.cause": "manual"}).at(t, "data.0.id").(string)
	w.run(t, models.Capture, again)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
	w.patch(t, "captures", again, `{"_retry":true}`).want(t, 422, map[string]any{"errors.0.code": "NOT_RETRYABLE", "errors.0.source.pointer": "/data/attributes/_retry"})
	w.patch(t, "captures", again, `{"_acknowledge":true}`).want(t, 422, map[string]any{"errors.0.code": "NOT_FLAGGED"})
	if book := w.sandbox.BookOf(p.hold); len(book.Captures) != 1 || book.Captures[0].Amount != 1500 {
		t.Errorf("the gateway booked %+v", book.Captures)
	}
}

// A person clears a flag: on a finished capture by acknowledging it, on an open
// one by having it looked at again.
func TestFlagsAreClearedByHand(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "capture.wrong_amount=1400:1")
	capture := w.approve(t, p)
	w.run(t, models.Capture, capture)
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.needs_attention": "amount_conflict", "data.attributes.confirmed_amount_cents": 1400})
	w.patch(t, "captures", capture, `{"_acknowledge":true}`).want(t, 200, map[string]any{"data.attributes.needs_attention": nil, "data.attributes.state": "succeeded"})

	open := w.approve(t, w.place(t, w.method(t, ""), 1500, 1500, ""))
	w.sql(t, `UPDATE captures SET needs_attention = 'bad_request', tries = 12 WHERE id = '`+open+`'`)
	w.patch(t, "captures", open, `{"_acknowledge":true}`).want(t, 422, map[string]any{"errors.0.code": "STILL_OPEN"})
	w.patch(t, "captures", open, `{"_retry":true}`).want(t, 200, map[string]any{"data.attributes.needs_attention": nil})
	w.run(t, models.Capture, open)
	w.get(t, "/api/captures/"+open).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
}
