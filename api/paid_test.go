package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// clPaid is an order of 15.00 as Commerce Layer sends it once its money was
// taken there: status says how far, transactions are what it lists of it.
func clPaid(ref, status, hold string, transactions ...map[string]any) clDocument {
	d := clOrder(func(o, _, a map[string]any) {
		o["id"], o["payment_status"] = ref, status
		a["gateway_transaction_id"], a["capture_balance_cents"] = hold, 0
	})
	links := map[string][]any{}
	included := d["included"].([]any)
	for _, x := range transactions {
		included = append(included, x)
		links[x["type"].(string)] = append(links[x["type"].(string)], map[string]any{"type": x["type"], "id": x["id"]})
	}
	d["included"] = included
	for typ, names := range links {
		d["data"].(map[string]any)["relationships"].(map[string]any)[typ] = map[string]any{"data": names}
	}
	return d
}

// clTransaction is a capture or a refund of it there.
func clTransaction(typ, id, leadsTo, gatewayID string, cents int64) map[string]any {
	relationship, to := "reference_authorization", "authorizations"
	if typ == "refunds" {
		relationship, to = "reference_capture", "captures"
	}
	return map[string]any{
		"type": typ, "id": id, "attributes": map[string]any{
			"number": "4242/T/002", "currency_code": "EUR", "amount_cents": cents, "succeeded": true, "message": "Accepted", "token": gatewayID, "gateway_transaction_id": gatewayID,
			"created_at": "2030-01-01T00:00:00Z",
		},
		"relationships": map[string]any{relationship: map[string]any{"data": map[string]any{"type": to, "id": leadsTo}}},
	}
}

// ordered is an order that is known here under a reference of Commerce Layer's.
type ordered struct{ ref, hold, order, capture string }

// ordered makes one: approved by a webhook, or with manual registered over the
// API with nothing to capture it.
func (w *world) ordered(t testing.TB, ref, fault, manual string) ordered {
	t.Helper()
	o := ordered{ref: ref, hold: w.paymentIntent(t, 1500, fault)}
	if manual != "" {
		o.order = w.post(t, "orders", fmt.Sprintf(`{"reference":%q,"currency_code":"EUR","total_amount_cents":1500}`, ref), to("payment_method", "payment_methods", manual)).want(t, 201, nil).id(t)
		w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, o.hold), to("order", "orders", o.order)).want(t, 201, nil)
		return o
	}
	body := clOrder(func(d, _, a map[string]any) { d["id"], a["gateway_transaction_id"] = ref, o.hold }).body(t)
	w.clHook(t, "orders.approve", body).want(t, 200, nil)
	w.process(t)
	o.order, _ = w.get(t, "/api/orders?filter[q][reference_eq]="+ref).want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	o.capture, _ = w.get(t, "/api/orders/"+o.order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	return o
}

// behind does something in the gateway's dashboard.
func (w *world) behind(t testing.TB, action, hold string, cents int64) {
	t.Helper()
	res, err := http.Post(w.sandboxURL+"/_sandbox/dashboard", "application/json", strings.NewReader(fmt.Sprintf(`{"action":%q,"hold":%q,"amount":%d}`, action, hold, cents)))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s in the dashboard: %v %v", action, res, err)
	}
	_ = res.Body.Close()
}

// tell sends a message of Commerce Layer's and says what became of it.
func (w *world) tell(t testing.TB, topic string, d clDocument) (outcome, reason string) {
	t.Helper()
	body := d.body(t)
	w.clHook(t, topic, body).want(t, 200, nil)
	w.process(t)
	return w.inbox(t, "commercelayer", clEvent(topic, body))
}

// What Commerce Layer says of an order's money is compared with the ledger and
// with the gateway: what we did agrees, what somebody else took is recorded or
// shown, and nothing is taken twice.
func TestPaidAtCommerceLayer(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	manual := w.post(t, "payment_methods", `{"name":"By hand","payment_source_type":"stripe_payments","currency_code":"EUR","auto_capture":false}`, `{}`).want(t, 201, nil).id(t)
	capture := func(hold string, cents int64) map[string]any {
		return clTransaction("captures", "capCap0001", "authAuth01", hold, cents)
	}
	for n, row := range []struct {
		name, fault string
		byHand      bool
		before      func(t *testing.T, o ordered) // what happened until then
		doc         func(o ordered) clDocument
		outcome     string
		reason      string
		flag        any    // of the capture, at once
		state       string // of the capture, once it is worked
		status      string // of the order then
		booked      int    // captures in the gateway's book then
	}{
		{
			name: "ours", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "in_sync", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "ours, under a name of the sender's own", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture("cl_token_1", 1500)) },
			outcome: "in_sync", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "ours, without the transactions", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold) },
			outcome: "in_sync", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "ours, and refunded since", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "partially_refunded", o.hold, capture(o.hold, 1500)) },
			outcome: "in_sync", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "ours, and another amount there", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 900)) },
			outcome: "in_sync", state: "succeeded", status: "paid", booked: 1, // the gateway was asked, and agrees with us
		},
		{
			name: "ours, and its answer was lost", fault: "charge_then_drop", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "in_sync compared", state: "succeeded", status: "paid", booked: 1, // on a slow machine the look comes later
		},
		{
			name: "taken there before it was sent here", before: func(t *testing.T, o ordered) { w.behind(t, "capture", o.hold, 1500) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "compared", reason: "not sent until", flag: "foreign_operation", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name:    "told there, and taken nowhere",
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold) },
			outcome: "compared", reason: "not sent until", flag: "foreign_operation", state: "pending", status: "authorized", booked: 0,
		},
		{
			name: "in another currency there",
			doc: func(o ordered) clDocument {
				d := clPaid(o.ref, "paid", o.hold)
				d["data"].(map[string]any)["attributes"].(map[string]any)["currency_code"] = "USD"
				return d
			},
			outcome: "parked", reason: "currency_mismatch", flag: "foreign_operation", state: "pending", status: "authorized", booked: 0,
		},
		{
			name:    "a capture that cannot be",
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, -5)) },
			outcome: "parked", reason: "amounts_do_not_fit", flag: "foreign_operation", state: "pending", status: "authorized", booked: 0,
		},
		{
			name: "taken there, and nothing was to be sent here", byHand: true, before: func(t *testing.T, o ordered) { w.behind(t, "capture", o.hold, 1500) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "compared", reason: "adopted", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "the same, without the transactions", byHand: true, before: func(t *testing.T, o ordered) { w.behind(t, "capture", o.hold, 1500) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold) },
			outcome: "compared", reason: "adopted", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name: "told there, taken nowhere, and nothing was to be sent", byHand: true,
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "compared", reason: "a person has to act", status: "authorized", booked: 0,
		},
		{
			name: "taken there from a hold that we do not have", byHand: true,
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", "pi_another", capture("pi_another", 1500)) },
			outcome: "compared", reason: "not in our book", status: "authorized", booked: 0,
		},
		{
			name: "given up here, and taken nowhere", fault: "decline_hard", before: func(t *testing.T, o ordered) { w.run(t, models.Capture, o.capture) },
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold) },
			outcome: "parked", reason: "the gateway does not have it either", state: "failed", status: "authorized", booked: 0,
		},
		{
			name: "given up here, and taken there", fault: "decline_hard",
			before: func(t *testing.T, o ordered) {
				w.run(t, models.Capture, o.capture)
				w.behind(t, "capture", o.hold, 1500)
			},
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "paid", o.hold, capture(o.hold, 1500)) },
			outcome: "compared", reason: "late_success", state: "succeeded", status: "paid", booked: 1,
		},
		{
			name:    "not paid there",
			doc:     func(o ordered) clDocument { return clPaid(o.ref, "authorized", o.hold, capture(o.hold, 1500)) },
			outcome: "refused", reason: "not_paid_there", state: "succeeded", status: "paid", booked: 1,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			method := ""
			if row.byHand {
				method = manual
			}
			o := w.ordered(t, fmt.Sprintf("clRef%05d", n), row.fault, method)
			if row.before != nil {
				row.before(t, o)
			}
			for i, doc := range []clDocument{row.doc(o), row.doc(o)} { // and once more in other words
				doc["data"].(map[string]any)["attributes"].(map[string]any)["updated_at"] = i
				outcome, reason := w.tell(t, "orders.pay", doc)
				if i > 0 {
					continue
				}
				if !strings.Contains(row.outcome, outcome) || !strings.Contains(reason, row.reason) {
					t.Errorf("outcome %q: %s", outcome, reason)
				}
				if o.capture != "" && row.fault == "" {
					w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": row.flag})
				}
			}
			found, _ := w.get(t, "/api/orders/"+o.order+"/captures").at(t, "data.0.id").(string)
			if found != "" {
				w.run(t, models.Capture, found)
				w.get(t, "/api/captures/"+found).want(t, 200, map[string]any{"data.attributes.state": row.state})
			} else if row.state != "" {
				t.Error("there is no capture")
			}
			w.get(t, "/api/orders/"+o.order).want(t, 200, map[string]any{"data.attributes.payment_status": row.status})
			if book := w.sandbox.BookOf(o.hold); len(book.Captures) != row.booked || len(book.Violations) != 0 {
				t.Errorf("the gateway booked %+v", book.Captures)
			}
		})
	}
}

// A refund there is ours, or a person is shown it and may record it; nothing is
// refunded twice, and what was not sent yet is in doubt.
func TestRefundedAtCommerceLayer(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	refund := func(gatewayID string, cents int64) []map[string]any {
		return []map[string]any{clTransaction("refunds", "refRef0001", "capCap0001", gatewayID, cents), clTransaction("captures", "capCap0001", "authAuth01", "", 1500)}
	}
	expect := func(t *testing.T, d clDocument, outcome, reason string) {
		t.Helper()
		if got, why := w.tell(t, "orders.refund", d); got != outcome || !strings.Contains(why, reason) {
			t.Errorf("outcome %q: %s", got, why)
		}
	}
	t.Run("ours", func(t *testing.T) {
		o := w.ordered(t, "clRefund01", "", "")
		w.run(t, models.Capture, o.capture)
		w.patch(t, "captures", o.capture, `{"_refund":true,"_refund_amount_cents":500}`).want(t, 200, nil)
		id, _ := w.get(t, "/api/captures/"+o.capture+"/refunds").at(t, "data.0.id").(string)
		w.run(t, models.Refund, id)
		re, _ := w.get(t, "/api/refunds/"+id).want(t, 200, map[string]any{"data.attributes.succeeded": true}).at(t, "data.attributes.gateway_transaction_id").(string)
		expect(t, clPaid(o.ref, "partially_refunded", o.hold, refund(re, 500)...), "in_sync", "")
		expect(t, clPaid(o.ref, "partially_refunded", o.hold), "in_sync", "")
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": nil, "data.attributes.refund_balance_cents": 1000})
	})
	t.Run("made there", func(t *testing.T) {
		o := w.ordered(t, "clRefund02", "", "")
		w.run(t, models.Capture, o.capture)
		w.behind(t, "refund", o.hold, 300)
		doc := clPaid(o.ref, "partially_refunded", o.hold, refund(w.sandbox.BookOf(o.hold).Refunds[0].ID, 300)...)
		expect(t, doc, "compared", "not by us")
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": models.FlagForeignRefund})
		found := w.verdictIDs(t, operator, "operation_id_eq="+o.capture, "status_eq=open")
		if len(found) != 1 {
			t.Fatalf("%d verdicts", len(found))
		}
		w.resolve(t, operator, found[0], "_apply", `{"reason":"the shop did it"}`).want(t, http.StatusOK, nil)
		doc["data"].(map[string]any)["attributes"].(map[string]any)["updated_at"] = "later"
		if got, why := w.tell(t, "orders.refund", doc); got == "applied" || got == "parked" {
			t.Errorf("told again: %q: %s", got, why)
		}
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": nil, "data.attributes.refund_balance_cents": 1200})
		if book := w.sandbox.BookOf(o.hold); len(book.Refunds) != 1 {
			t.Errorf("the gateway booked %+v", book.Refunds)
		}
	})
	t.Run("before it was captured here", func(t *testing.T) {
		o := w.ordered(t, "clRefund03", "", "")
		expect(t, clPaid(o.ref, "refunded", o.hold, refund("re_1", 1500)...), "compared", "not sent until")
		w.run(t, models.Capture, o.capture)
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.state": "pending", "data.attributes.needs_attention": models.FlagForeign})
		if book := w.sandbox.BookOf(o.hold); len(book.Captures) != 0 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
		// A person knows better: it is looked up once more, and sent.
		w.patch(t, "captures", o.capture, `{"_retry":true}`).want(t, 200, nil)
		w.run(t, models.Capture, o.capture)
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
	})
	t.Run("not refunded there", func(t *testing.T) {
		o := w.ordered(t, "clRefund04", "", "")
		expect(t, clPaid(o.ref, "paid", o.hold, refund("re_1", 1500)...), "refused", "not_refunded_there")
		w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": nil})
	})
}

// Where a hold can be captured several times, the gateway does not say by itself
// that a capture is another's: what has none of our names is shown.
func TestSecondCaptureAtCommerceLayer(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	o := w.ordered(t, "clMulti001", "", "")
	w.run(t, models.Capture, o.capture)
	w.sql(t, `UPDATE authorizations SET multi_capture = true`)
	if outcome, reason := w.tell(t, "orders.pay", clPaid(o.ref, "paid", o.hold, clTransaction("captures", "c1", "authAuth01", o.hold, 1500))); outcome != "in_sync" {
		t.Errorf("ours: %q: %s", outcome, reason)
	}
	if outcome, reason := w.tell(t, "orders.pay", clPaid(o.ref, "paid", o.hold, clTransaction("captures", "c2", "authAuth01", "another", 1500))); outcome != "compared" || !strings.Contains(reason, "not ours") {
		t.Errorf("another's: %q: %s", outcome, reason)
	}
	w.get(t, "/api/captures/"+o.capture).want(t, 200, map[string]any{"data.attributes.needs_attention": models.FlagForeign})
}

// An order that nobody here knows is ignored, with the reason, and an approval
// that comes after it captures nothing: its money was taken there.
func TestPayOvertakesApprove(t *testing.T) {
	w := newWorld(t)
	w.method(t, "")
	hold := w.paymentIntent(t, 1500, "")
	for topic, status := range map[string]string{"orders.pay": "paid", "orders.refund": "refunded"} {
		ref := "early" + strings.TrimPrefix(topic, "orders.")
		early := clPaid(ref, status, hold, clTransaction("captures", "c1", "authAuth01", hold, 1500)).body(t)
		for range 2 {
			w.clHook(t, topic, early).want(t, 200, nil)
		}
		w.process(t)
		if outcome, reason := w.inbox(t, "commercelayer", clEvent(topic, early)); outcome != "" || !strings.Contains(reason, "known yet") {
			t.Errorf("%s: %q: %s", topic, outcome, reason)
		}
		approve := clOrder(func(o, _, a map[string]any) { o["id"], a["gateway_transaction_id"] = ref, hold })
		if outcome, reason := w.tell(t, "orders.approve", approve); outcome != "refused" || !strings.HasPrefix(reason, "paid_there") {
			t.Errorf("%s: the approval: %q: %s", topic, outcome, reason)
		}
		for range 3 {
			w.makeDue(t)
			w.process(t)
		}
		if outcome, reason := w.inbox(t, "commercelayer", clEvent(topic, early)); outcome != "ignored" || !strings.Contains(reason, "nothing of ours") {
			t.Errorf("%s: %q: %s", topic, outcome, reason)
		}
	}
	w.get(t, "/api/orders").want(t, 200, map[string]any{"meta.record_count": 0})
	// An order that is known, and its hold is not yet: the message waits for it.
	w.post(t, "orders", `{"reference":"noHold0001","currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", w.method(t, `,"reference":"pmMethod01"`))).want(t, 201, nil)
	if outcome, reason := w.tell(t, "orders.pay", clPaid("noHold0001", "paid", "pi_none")); outcome != "" || !strings.Contains(reason, "no hold of it") {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
	// The topic is not signed: an approved order sent as paid leaves no note.
	body := clOrder(func(o, _, a map[string]any) { o["id"], a["gateway_transaction_id"] = "approved01", hold })
	if outcome, _ := w.tell(t, "orders.pay", body); outcome != "refused" {
		t.Errorf("outcome %q", outcome)
	}
	if outcome, reason := w.tell(t, "orders.approve", body); outcome != "applied" {
		t.Errorf("outcome %q: %s", outcome, reason)
	}
}
