package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/models"
)

const statement = "seen on the bank statement"

// say patches an operation as a token, with a reason unless it is empty.
func (w *world) say(t testing.TB, token, typ, id, attributes, reason string) reply {
	t.Helper()
	body := patchBody(typ, id, attributes)
	if reason != "" {
		body = strings.TrimSuffix(body, "}") + fmt.Sprintf(`,"meta":{"reason":%q,"by":"Ada"}}`, reason)
	}
	return w.send(t, token, http.MethodPatch, "/api/"+typ+"/"+id, body)
}

// wire is an approved order that is paid by wire transfer: a person was asked for
// its capture, and has not said anything.
func (w *world) wire(t testing.TB) (purchase, string) {
	t.Helper()
	if _, err := w.store.EnsureGateway(t.Context(), "manual", manual.Provider, models.Test); err != nil {
		t.Fatal(err)
	}
	p := purchase{}
	p.method = w.post(t, "payment_methods", `{"name":"Wire","payment_source_type":"wire_transfers","currency_code":"EUR","auto_capture":true}`, `{}`).want(t, 201, nil).id(t)
	p.order = w.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", p.method)).want(t, 201, nil).id(t)
	p.hold = "INV-" + p.order
	p.authorization = w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, p.hold), to("order", "orders", p.order)).want(t, 201, nil).id(t)
	id := w.approve(t, p)
	w.run(t, models.Capture, id)
	return p, id
}

// audit fails on any broken invariant.
func (w *world) audit(t testing.TB) {
	t.Helper()
	found, err := w.store.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if i.BrokenCount != 0 {
			t.Errorf("%s is broken: %s: %v", i.ID, i.Rule, i.Broken)
		}
	}
}

// TestWireTransfer: a person is asked, is called by the report, and their word
// pays the order; a refund waits for their word as well.
func TestWireTransfer(t *testing.T) {
	w := newWorld(t)
	p, id := w.wire(t)
	w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{
		"data.attributes.state": "submitted", "data.attributes.succeeded": false, "data.attributes.needs_attention": "word_needed",
		"data.attributes.next_actions.0": "assert", "data.attributes.next_actions.1": nil,
	})
	w.get(t, "/api/report").want(t, 200, map[string]any{
		"data.attributes.needs_person.count": 1, "data.attributes.needs_person.first.0.id": id, "data.attributes.needs_person.first.0.reason": "word_needed",
		"data.attributes.needs_person.first.0.payment_gateway": "manual", "data.attributes.needs_person.first.0.next_actions.0": "assert",
	})
	for _, trigger := range []string{`{"succeeded":true}`, `{"_forward":true}`} {
		w.say(t, operator, "captures", id, trigger, statement).want(t, 401, map[string]any{"errors.0.code": "UNAUTHORIZED"})
		w.say(t, admin, "captures", id, trigger, "").want(t, 422, map[string]any{"errors.0.source.pointer": "/meta/reason"})
	}
	w.say(t, admin, "captures", id, `{"succeeded":true}`, statement).want(t, 200, map[string]any{
		"data.attributes.state": "succeeded", "data.attributes.asserted_by": "api:admin (Ada)", "data.attributes.capture_mechanism": nil, "data.attributes.needs_attention": nil,
	})
	w.say(t, operator, "captures", id, `{"succeeded":true}`, "").want(t, 200, map[string]any{"data.attributes.asserted_by": "api:admin (Ada)"}) // it is so already
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
	w.get(t, "/api/report").want(t, 200, map[string]any{"data.attributes.needs_person.count": 0})

	w.patch(t, "captures", id, `{"_refund_amount_cents":400}`).want(t, 200, nil)
	refund, _ := w.get(t, "/api/captures/"+id+"/refunds").at(t, "data.0.id").(string)
	w.run(t, models.Refund, refund)
	w.get(t, "/api/refunds/"+refund).want(t, 200, map[string]any{"data.attributes.state": "submitted", "data.attributes.next_actions.0": "assert"})
	w.say(t, admin, "refunds", refund, `{"succeeded":true}`, statement).want(t, 200, map[string]any{"data.attributes.succeeded": true, "data.attributes.refund_mechanism": nil})
	// One that a person made before anybody asked for it.
	w.say(t, admin, "captures", id, `{"_refund":true,"refund_mechanism":"manual"}`, "cash").want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 0})
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "refunded"})
	w.audit(t)
}

// TestAWireThatNeverCame: the word that it failed frees the hold, which can be
// asked for again, and voided.
func TestAWireThatNeverCame(t *testing.T) {
	w := newWorld(t)
	p, id := w.wire(t)
	w.patch(t, "authorizations", p.authorization, `{"_void":true}`).want(t, 409, map[string]any{"errors.0.code": "OPERATION_UNDER_WAY"})
	w.say(t, operator, "captures", id, `{"succeeded":false}`, statement).want(t, 401, nil)
	w.say(t, admin, "captures", id, `{"succeeded":false}`, "").want(t, 422, map[string]any{"errors.0.source.pointer": "/meta/reason"})
	w.say(t, admin, "captures", id, `{"succeeded":false}`, "it never came").want(t, 200, map[string]any{
		"data.attributes.state": "failed", "data.attributes.asserted_by": "api:admin (Ada)", "data.attributes.needs_attention": nil,
	})
	w.say(t, admin, "captures", id, `{"succeeded":false}`, "").want(t, 200, nil) // it is so already
	w.say(t, operator, "captures", id, `{"_retry":true}`, "the payer promised").want(t, 401, nil)
	w.say(t, admin, "captures", id, `{"_retry":true}`, "the payer promised").want(t, 200, nil)
	again, _ := w.get(t, "/api/orders/"+p.order+"/captures?sort=-id").want(t, 200, map[string]any{"meta.record_count": 2}).at(t, "data.0.id").(string)
	w.say(t, admin, "captures", again, `{"succeeded":false}`, "nor now").want(t, 200, map[string]any{"data.attributes.state": "failed"}) // nobody was asked yet
	w.patch(t, "authorizations", p.authorization, `{"_void":true}`).want(t, 200, nil)
	void, _ := w.get(t, "/api/authorizations/"+p.authorization+"/voids").at(t, "data.0.id").(string)
	w.run(t, models.Void, void)
	w.say(t, admin, "voids", void, `{"succeeded":true}`, "told the payer").want(t, 200, map[string]any{"data.attributes.succeeded": true})
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "voided"})
	// It came after all.
	_, late := w.wire(t)
	w.say(t, admin, "captures", late, `{"succeeded":false}`, "it never came").want(t, 200, nil)
	w.say(t, admin, "captures", late, `{"_forward":true}`, "it came after all").want(t, 200, map[string]any{"data.attributes.state": "succeeded", "data.attributes.needs_attention": "late_success"})
	w.audit(t)
}

// TestWhoMaySayWhat is the table of a gateway that can be asked.
func TestWhoMaySayWhat(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	pending := func(t *testing.T) string { return w.approve(t, w.place(t, method, 1500, 1500, "")) }
	lost := func(t *testing.T) string { _, id := w.open(t, "charge_then_drop"); return id }
	paid := func(t *testing.T) string { _, id := w.captured(t, method); return id }
	told := func(t *testing.T) string {
		id := pending(t)
		w.say(t, admin, "captures", id, `{"succeeded":true,"capture_mechanism":"manual"}`, statement).want(t, 200, nil)
		return id
	}
	const elsewhere, yes, no = `{"succeeded":true,"capture_mechanism":"manual"}`, `{"succeeded":true}`, `{"succeeded":false}`
	for _, c := range []struct {
		name             string
		make             func(*testing.T) string
		token, says, why string
		status           int
		code             string
	}{
		{"done elsewhere, never sent", pending, admin, elsewhere, statement, 200, ""},
		{"by an operator", pending, operator, elsewhere, statement, 401, "UNAUTHORIZED"},
		{"without a reason", pending, admin, elsewhere, "", 422, "VALIDATION_ERROR"},
		{"done elsewhere, and sent", lost, admin, elsewhere, statement, 422, "MAY_HAVE_BEEN_SENT"},
		{"done elsewhere, and paid", paid, admin, elsewhere, statement, 422, "ALREADY_SUCCEEDED"},
		{"said twice", told, admin, elsewhere, statement, 200, ""},
		{"said, then said to be so", told, operator, yes, "", 200, ""},
		{"said, then taken back", told, admin, no, statement, 422, "VALIDATION_ERROR"},
		{"never sent, and it succeeded", pending, admin, yes, statement, 422, "NOT_FOUND_AT_GATEWAY"},
		{"never sent, and it failed", pending, admin, no, statement, 422, "CAN_BE_ASKED"},
		{"sent, and it failed", lost, admin, no, statement, 422, "CAN_BE_ASKED"},
		{"sent, and it failed, by an operator", lost, operator, no, statement, 401, "UNAUTHORIZED"},
		{"sent, and it succeeded there", lost, operator, yes, "", 200, ""},
		{"a mechanism that is none", pending, admin, `{"succeeded":true,"capture_mechanism":"magic"}`, statement, 422, "VALIDATION_ERROR"},
		{"a mechanism of nothing", pending, admin, `{"capture_mechanism":"manual"}`, statement, 422, "VALIDATION_ERROR"},
		{"none", pending, operator, `{"capture_mechanism":null,"refund_mechanism":null}`, "", 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := c.make(t)
			r := w.say(t, c.token, "captures", id, c.says, c.why)
			values := map[string]any{}
			if c.code != "" {
				values["errors.0.code"] = c.code
			}
			r.want(t, c.status, values)
			if c.says == elsewhere && c.status == 200 {
				r.want(t, 200, map[string]any{
					"data.attributes.state": "succeeded", "data.attributes.capture_mechanism": "manual", "data.attributes.asserted_by": "api:admin (Ada)", "data.attributes.gateway_transaction_id": nil,
				})
			}
		})
	}
	w.audit(t)
}

// TestManualCaptureOfAHold: a hold with balance is captured elsewhere, which its
// gateway never hears of; and what may be done about such a capture afterwards.
func TestManualCaptureOfAHold(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, `,"capture_trigger":"manual"`)
	p := w.place(t, method, 1500, 1500, "")
	w.say(t, operator, "authorizations", p.authorization, `{"_capture":true,"capture_mechanism":"manual"}`, "cash").want(t, 401, nil)
	w.say(t, admin, "authorizations", p.authorization, `{"_capture_amount_cents":1501,"capture_mechanism":"manual"}`, "cash").want(t, 422, map[string]any{"errors.0.code": "CAPTURE_EXCEEDS_HOLD"})
	w.say(t, admin, "authorizations", p.authorization, `{"capture_mechanism":"manual"}`, "cash").want(t, 422, map[string]any{"errors.0.source.pointer": "/data/attributes/capture_mechanism"})
	w.say(t, admin, "authorizations", p.authorization, `{"_capture":true,"capture_mechanism":"manual"}`, "cash").want(t, 200, map[string]any{"data.attributes.capture_balance_cents": 0})
	capture, _ := w.get(t, "/api/orders/"+p.order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.capture_mechanism": "manual"}).at(t, "data.0.id").(string)
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.next_actions.0": "refund_by_hand", "data.attributes.next_actions.1": nil})

	r := w.patch(t, "captures", capture, `{"_refund":true}`).want(t, 422, map[string]any{"errors.0.code": "MANUALLY_CAPTURED", "errors.0.meta.rule": "manually_captured", "errors.0.source.pointer": "/data/attributes/_refund"})
	if detail := fmt.Sprint(r.at(t, "errors.0.detail")); !strings.HasPrefix(detail, models.DetailManual) || !strings.Contains(detail, "refund_mechanism") {
		t.Errorf("the refusal says %q", detail)
	}
	w.say(t, operator, "captures", capture, `{"_refund_amount_cents":500,"refund_mechanism":"manual"}`, "cash back").want(t, 401, nil)
	w.say(t, admin, "captures", capture, `{"refund_mechanism":"manual"}`, "cash back").want(t, 422, map[string]any{"errors.0.source.pointer": "/data/attributes/refund_mechanism"})
	w.say(t, admin, "captures", capture, `{"_refund_amount_cents":500,"refund_mechanism":"manual"}`, "cash back").want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 1000})
	w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{
		"meta.record_count": 1, "data.0.attributes.succeeded": true, "data.0.attributes.refund_mechanism": "manual", "data.0.attributes.asserted_by": "api:admin (Ada)",
	})
	w.patch(t, "orders", p.order, `{"_cancel":true}`).want(t, 200, map[string]any{"data.attributes.status": "cancelled"})
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.needs_attention": "cancel_failed", "data.attributes.next_actions.0": "refund_by_hand"})
	w.patch(t, "captures", capture, `{"_cancel":true}`).want(t, 422, map[string]any{"errors.0.code": "MANUALLY_CAPTURED"})
	w.say(t, admin, "captures", capture, `{"_cancel":true,"refund_mechanism":"manual"}`, "cash back").want(t, 200, map[string]any{"data.attributes.state": "reset"})
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "refunded"})

	// In one go, for an order; and a capture that waits is the one that is meant.
	waits := w.place(t, w.method(t, `,"capture_trigger":"delay","capture_delay_seconds":3600`), 1500, 1500, "")
	meant := w.approve(t, waits)
	body := fmt.Sprintf(`{"data":{"type":"captures","attributes":{"capture_mechanism":"manual"},"relationships":%s},"meta":{"reason":"cash"}}`, to("order", "orders", waits.order))
	w.send(t, operator, "POST", "/api/captures", body).want(t, 401, nil)
	w.send(t, admin, "POST", "/api/captures", body).want(t, 201, map[string]any{"data.id": meant, "data.attributes.capture_mechanism": "manual", "data.attributes.succeeded": true})
	for _, hold := range []string{p.hold, waits.hold} {
		if b := w.sandbox.BookOf(hold); len(b.Captures) != 0 || len(b.Refunds) != 0 || count(b, "capture") != 0 || count(b, "refund") != 0 {
			t.Errorf("the gateway heard of it: %+v %+v", b.Captures, b.Refunds)
		}
	}
	w.audit(t)
}

// TestManualRefundOfAGatewayCapture: what was captured at the gateway can be given
// back elsewhere, too, and never twice.
func TestManualRefundOfAGatewayCapture(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	w.say(t, admin, "captures", capture, `{"_refund_amount_cents":900,"refund_mechanism":"manual"}`, "cash").want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 600})
	w.patch(t, "captures", capture, `{"_refund_amount_cents":900}`).want(t, 422, map[string]any{"errors.0.code": "REFUND_EXCEEDS_BALANCE"})
	w.patch(t, "captures", capture, `{"_refund":true}`).want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 0})
	rest, _ := w.get(t, "/api/captures/"+capture+"/refunds?sort=-id").at(t, "data.0.id").(string)
	w.say(t, admin, "refunds", rest, `{"succeeded":true,"refund_mechanism":"manual"}`, "cash as well").want(t, 200, map[string]any{"data.attributes.refund_mechanism": "manual"})
	w.run(t, models.Refund, rest)
	if b := w.sandbox.BookOf(p.hold); len(b.Refunds) != 0 {
		t.Errorf("the gateway gave %+v back", b.Refunds)
	}
	w.get(t, "/api/orders/"+p.order).want(t, 200, map[string]any{"data.attributes.payment_status": "refunded"})
	w.audit(t)
}
