package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// clDocument is an order as Commerce Layer sends it.
type clDocument map[string]any

// clOrder makes the document of an approved order of 15.00 with one hold, and
// lets change spoil it.
func clOrder(change func(order, method, authorization map[string]any)) clDocument {
	order := map[string]any{
		"number": 4242, "status": "approved", "payment_status": "authorized", "fulfillment_status": "unfulfilled", "currency_code": "EUR",
		"total_amount_cents": 1500, "total_amount_with_taxes_cents": 1500, "formatted_total_amount": "€15,00", "unknown_member": map[string]any{"a": 1},
	}
	method := map[string]any{"payment_source_type": "stripe_payments", "name": "Stripe", "currency_code": "EUR", "auto_capture": false, "require_capture": true}
	authorization := map[string]any{
		"number": "4242/T/001", "currency_code": "EUR", "amount_cents": 1500, "succeeded": true, "message": "Accepted",
		"token": "tok_1", "gateway_transaction_id": "pi_cl_1", "capture_balance_cents": 1500,
	}
	if change != nil {
		change(order, method, authorization)
	}
	id, _ := order["id"].(string)
	if id == "" {
		id = "wBXVhKzrnq"
	}
	delete(order, "id")
	linked := func(typ, id string) map[string]any {
		return map[string]any{"links": map[string]any{"self": "https://x"}, "data": map[string]any{"type": typ, "id": id}}
	}
	return clDocument{
		"data": map[string]any{
			"id": id, "type": "orders", "links": map[string]any{"self": "https://x"}, "attributes": order, "meta": map[string]any{"mode": "test", "organization_id": "x"},
			"relationships": map[string]any{
				"payment_method": linked("payment_methods", "pmMethod01"),
				"authorizations": map[string]any{"data": []any{map[string]any{"type": "authorizations", "id": "authAuth01"}}},
				"captures":       map[string]any{"data": []any{}},
			},
		},
		"included": []any{
			map[string]any{"id": "pmMethod01", "type": "payment_methods", "attributes": method, "meta": map[string]any{"mode": "test"}},
			map[string]any{"id": "authAuth01", "type": "authorizations", "attributes": authorization, "meta": map[string]any{"mode": "test"}},
			map[string]any{"id": "psSource01", "type": "stripe_payments", "attributes": map[string]any{"client_secret": "x"}},
		},
	}
}

func (d clDocument) body(t testing.TB) string {
	t.Helper()
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func clEvent(topic, body string) string {
	sum := sha256.Sum256([]byte(body))
	return topic + ":" + hex.EncodeToString(sum[:])
}

// The real document in, the money taken, all in one transaction.
func TestOrderApprovedAtCommerceLayer(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	hold := w.paymentIntent(t, 1500, "")
	body := clOrder(func(_, _, a map[string]any) { a["gateway_transaction_id"] = hold }).body(t)
	for range 3 {
		w.clHook(t, "orders.approve", body).want(t, 200, nil)
	}
	w.process(t)
	if outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", body)); outcome != "applied" {
		t.Fatalf("outcome %q: %s", outcome, reason)
	}
	order, _ := w.get(t, "/api/orders?filter[q][reference_eq]=wBXVhKzrnq").want(t, 200, map[string]any{
		"meta.record_count": 1, "data.0.attributes.status": "approved", "data.0.attributes.payment_status": "authorized",
		"data.0.attributes.reference_origin": "commercelayer", "data.0.attributes.metadata.number": "4242",
	}).at(t, "data.0.id").(string)
	capture, _ := w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	w.get(t, "/api/orders/"+order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid"})
	if history := string(w.get(t, "/api/captures/"+capture+"/events").body); !strings.Contains(history, "webhook:commercelayer") {
		t.Errorf("the history does not say who: %s", history)
	}

	// Told again in other words: nothing happens twice.
	again := clOrder(func(o, _, a map[string]any) {
		a["gateway_transaction_id"] = hold
		o["updated_at"] = "2030-01-01T00:00:00Z"
	}).body(t)
	w.clHook(t, "orders.approve", again).want(t, 200, nil)
	w.process(t)
	if outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", again)); outcome != "in_sync" {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
	w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1})

	// And cancelled there: the money goes back here.
	cancel := clOrder(func(o, _, _ map[string]any) { o["status"] = "cancelled" }).body(t)
	w.send(t, "", http.MethodPost, "/webhooks/commercelayer", cancel, "X-CommerceLayer-Signature", signCL(oldCLSecret, cancel), "X-CommerceLayer-Topic", "orders.cancel").want(t, 200, nil)
	w.process(t)
	w.get(t, "/api/orders/"+order).want(t, 200, map[string]any{"data.attributes.status": "cancelled"})
	w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "cancel"})
}

// Each way in which an order must not be captured here is told by name, and
// leaves nothing but the message itself.
func TestOrdersRefused(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	w.method(t, `,"auto_capture_max_amount_cents":5,"reference":"dollars"`)
	w.send(t, admin, http.MethodPost, "/api/payment_methods", `{"data":{"type":"payment_methods","attributes":{"name":"a","payment_source_type":"stripe_payments","currency_code":"GBP","auto_capture":true}}}`).want(t, 201, nil)
	type change = func(o, m, a map[string]any)
	spoil := func(d clDocument, f func(data map[string]any, included []any) []any) clDocument {
		data, _ := d["data"].(map[string]any)
		included, _ := d["included"].([]any)
		d["included"] = f(data, included)
		return d
	}
	drop := func(typ string) clDocument {
		return spoil(clOrder(nil), func(_ map[string]any, included []any) (kept []any) {
			for _, o := range included {
				if o.(map[string]any)["type"] != typ {
					kept = append(kept, o)
				}
			}
			return kept
		})
	}
	of := func(c change) clDocument { return clOrder(c) }
	rows := []struct {
		rule string
		doc  clDocument
	}{
		{"not_approved_there", of(func(o, _, _ map[string]any) { o["status"] = "placed" })},
		{"not_authorized_there", of(func(o, _, _ map[string]any) { o["payment_status"] = "paid" })},
		{"not_authorized_there", of(func(o, _, _ map[string]any) { o["payment_status"] = "partially_authorized" })},
		{"not_authorized_there", of(func(o, _, _ map[string]any) { delete(o, "payment_status") })},
		{"captured_there", spoil(of(nil), func(data map[string]any, in []any) []any {
			data["relationships"].(map[string]any)["captures"] = map[string]any{"data": []any{map[string]any{"type": "captures", "id": "c1"}}}
			return in
		})},
		{"captured_there", spoil(of(nil), func(_ map[string]any, in []any) []any {
			return append(in, map[string]any{"type": "captures", "id": "c1", "attributes": map[string]any{"succeeded": false}})
		})},
		{"captured_there", of(func(_, _, a map[string]any) { a["capture_balance_cents"] = 100 })},
		{"captures_by_itself", of(func(_, m, _ map[string]any) { m["auto_capture"] = true })},
		{"captures_by_itself", of(func(_, m, _ map[string]any) { m["auto_capture"] = true; m["auto_capture_max_amount_cents"] = 1500 })},
		{"payment_method_missing", drop("payment_methods")},
		{"payment_method_unreadable", of(func(_, m, _ map[string]any) { delete(m, "auto_capture") })},
		{"payment_method_unreadable", of(func(_, m, _ map[string]any) { m["auto_capture"] = "no" })},
		{"no_authorization", drop("authorizations")},
		{"no_authorization", of(func(_, _, a map[string]any) { a["succeeded"] = false })},
		{"no_authorization", of(func(_, _, a map[string]any) { a["gateway_transaction_id"] = ""; a["token"] = nil })},
		{"no_authorization", of(func(_, _, a map[string]any) { a["gateway_transaction_id"] = "pi 1/../../x" })},
		{"authorization_unreadable", of(func(_, _, a map[string]any) { a["amount_cents"] = "1500" })},
		{"unknown_currency", of(func(o, _, _ map[string]any) { o["currency_code"] = "XYZ" })},
		{"currency_mismatch", of(func(_, _, a map[string]any) { a["currency_code"] = "USD" })},
		{"amounts_do_not_fit", of(func(_, _, a map[string]any) { a["amount_cents"] = 1499; a["capture_balance_cents"] = 1499 })},
		{"amounts_do_not_fit", of(func(_, _, a map[string]any) { a["amount_cents"] = -1500; a["capture_balance_cents"] = nil })},
		{"amounts_do_not_fit", of(func(o, _, _ map[string]any) { o["total_amount_with_taxes_cents"] = 1900 })},
		{"amounts_do_not_fit", of(func(o, _, _ map[string]any) { o["total_amount_with_taxes_cents"] = 0 })},
		{"wrong_mode", spoil(of(nil), func(data map[string]any, in []any) []any { data["meta"] = map[string]any{"mode": "live"}; return in })},
		{"payment_method_ambiguous", of(nil)}, // two of that type and currency capture automatically
		{"no_payment_method", of(func(o, m, a map[string]any) { o["currency_code"] = "CHF"; a["currency_code"] = "CHF" })},
		{"no_payment_method", of(func(_, m, _ map[string]any) { delete(m, "payment_source_type") })},
	}
	before := w.rows(t)
	delete(before, "inbox")
	delete(before, "inbox writes")
	for i, row := range rows {
		t.Run(fmt.Sprintf("%02d %s", i, row.rule), func(t *testing.T) {
			body := row.doc.body(t)
			w.clHook(t, "orders.approve", body).want(t, 200, nil)
			w.process(t)
			outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", body))
			if outcome != "refused" || !strings.HasPrefix(reason, row.rule+": ") {
				t.Errorf("outcome %q: %s", outcome, reason)
			}
		})
	}
	for topic, outcome := range map[string]string{"orders.pay": "refused", "orders.refund": "refused", "orders.place": "ignored", "captures.create": "ignored"} {
		body := clOrder(func(o, _, _ map[string]any) { o["x"] = topic }).body(t)
		w.clHook(t, topic, body).want(t, 200, nil)
		w.process(t)
		if got, reason := w.inbox(t, "commercelayer", clEvent(topic, body)); got != outcome {
			t.Errorf("%s: %q: %s", topic, got, reason)
		}
	}
	for _, body := range []string{`{`, `[]`, `{"data":null}`, `{"data":{"type":"captures","id":"x"}}`, `{"data":{"type":"orders","id":"x","attributes":"x"}}`, `{"data":{"type":"orders","id":"../x","attributes":{}}}`, "\xff\xfe"} {
		w.clHook(t, "orders.approve", body).want(t, 200, nil)
		w.process(t)
		if got, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", body)); got != "unreadable" {
			t.Errorf("%q: %q: %s", body, got, reason)
		}
	}
	after := w.rows(t)
	delete(after, "inbox")
	delete(after, "inbox writes")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

// Two of the ledger's own refusals, which must undo the order as well.
func TestOrderRefusedByTheLedger(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, `,"reference":"pmMethod01"`)
	p := w.place(t, method, 1500, 1500, "")
	w.post(t, "orders", `{"reference":"sameRef","currency_code":"EUR","total_amount_cents":99}`, to("payment_method", "payment_methods", method)).want(t, 201, nil)
	before := w.rows(t)
	for rule, doc := range map[string]clDocument{
		"gateway_transaction_taken": clOrder(func(o, _, a map[string]any) { o["id"] = "newRef"; a["gateway_transaction_id"] = p.hold }),
		"reference_taken":           clOrder(func(o, _, _ map[string]any) { o["id"] = "sameRef" }),
	} {
		body := doc.body(t)
		w.clHook(t, "orders.approve", body).want(t, 200, nil)
		w.process(t)
		if outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", body)); outcome != "refused" || !strings.HasPrefix(reason, rule+": ") {
			t.Errorf("%s: outcome %q: %s", rule, outcome, reason)
		}
	}
	after := w.rows(t)
	for _, counts := range []map[string]int{before, after} {
		delete(counts, "inbox")
		delete(counts, "inbox writes")
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

// Webhooks come in any order: a cancellation that overtakes its approval still
// keeps the money where it is.
func TestCancelOvertakesApprove(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	cancel := clOrder(func(o, _, _ map[string]any) { o["status"] = "cancelled" }).body(t)
	w.clHook(t, "orders.cancel", cancel).want(t, 200, nil)
	w.process(t)
	if outcome, reason := w.inbox(t, "commercelayer", "orders.cancel:wBXVhKzrnq"); outcome != "" {
		t.Fatalf("outcome %q: %s", outcome, reason)
	}
	approve := clOrder(nil).body(t)
	w.clHook(t, "orders.approve", approve).want(t, 200, nil)
	w.process(t)
	if outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.approve", approve)); outcome != "refused" || !strings.HasPrefix(reason, "cancelled_there") {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
	w.get(t, "/api/orders").want(t, 200, map[string]any{"meta.record_count": 0})

	// The topic is not signed: an approved order sent as a cancellation is none,
	// and does not stand in the way of a real one.
	other := clOrder(func(o, _, _ map[string]any) { o["id"] = "otherOrder" }).body(t)
	w.clHook(t, "orders.cancel", other).want(t, 200, nil)
	w.process(t)
	if outcome, reason := w.inbox(t, "commercelayer", clEvent("orders.cancel", other)); outcome != "refused" {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
}
