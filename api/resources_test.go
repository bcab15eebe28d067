package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// captureFields is the published table of the capture object: every attribute
// with its type, read from an answer. Triggers are written, never read.
var captureFields = map[string]string{
	"number": "string", "payment_method_type": "string", "currency_code": "string",
	"amount_cents": "integer", "amount_float": "float", "formatted_amount": "string", "succeeded": "boolean",
	"message": "string or null", "error_code": "string or null", "error_detail": "string or null",
	"token": "string", "gateway_transaction_id": "string", "created_at": "time", "updated_at": "time",
	"reference": "string", "reference_origin": "string", "metadata": "object",
	"refund_amount_cents": "integer", "refund_amount_float": "float", "formatted_refund_amount": "string",
	"refund_balance_cents": "integer", "refund_balance_float": "float", "formatted_refund_balance": "string",
}

var captureRelationships = []string{"order", "payment_source", "attachments", "events", "event_stores", "reference_authorization", "refunds", "return"}

var momentForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

func typeFits(want string, v any) bool {
	s, isString := v.(string)
	n, isNumber := v.(json.Number)
	switch want {
	case "string":
		return isString && s != ""
	case "string or null":
		return isString || v == nil
	case "integer":
		return isNumber && !strings.ContainsAny(string(n), ".eE")
	case "float":
		return isNumber && strings.Contains(string(n), ".")
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "time":
		return isString && momentForm.MatchString(s)
	case "object":
		_, ok := v.(map[string]any)
		return ok
	}
	return false
}

func TestCaptureObject(t *testing.T) {
	w := newWorld(t)
	p, id := w.captured(t, w.method(t, ""))
	w.patch(t, "captures", id, `{"reference":"ANY-EXTERNAL-REFEFERNCE","reference_origin":"ERP","metadata":{"foo":"bar"},"_refund_amount_cents":500}`).want(t, 200, nil)
	r := w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{
		"data.type": "captures", "data.id": id, "data.links.self": w.url + "/api/captures/" + id, "data.meta.mode": "test",
		"data.attributes.currency_code": "EUR", "data.attributes.amount_cents": 1500, "data.attributes.amount_float": "15.00", "data.attributes.formatted_amount": "€15,00",
		"data.attributes.refund_amount_cents": 500, "data.attributes.refund_balance_cents": 1000, "data.attributes.formatted_refund_balance": "€10,00",
		"data.attributes.gateway_transaction_id": p.hold, "data.attributes.payment_method_type": "stripe_payments",
		"data.attributes.reference": "ANY-EXTERNAL-REFEFERNCE", "data.attributes.metadata.foo": "bar",
	})
	var d struct {
		Data struct {
			Attributes    map[string]any
			Relationships map[string]struct{ Links map[string]string }
		}
	}
	decoder := json.NewDecoder(strings.NewReader(string(r.body)))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	for name, want := range captureFields {
		v, there := d.Data.Attributes[name]
		if !there || !typeFits(want, v) {
			t.Errorf("%s = %v (there: %t), want a %s", name, v, there, want)
		}
	}
	if ok, _ := regexp.MatchString(`^\d+/T/\d{3}$`, fmt.Sprint(d.Data.Attributes["number"])); !ok {
		t.Errorf("number = %v", d.Data.Attributes["number"])
	}
	for _, name := range captureRelationships {
		links := d.Data.Relationships[name].Links
		self := w.url + "/api/captures/" + id
		if diff := cmp.Diff(map[string]string{"self": self + "/relationships/" + name, "related": self + "/" + name}, links); diff != "" {
			t.Errorf("relationship %s: %s", name, diff)
		}
		for _, link := range links { // what is linked to answers
			if got := w.get(t, strings.TrimPrefix(link, w.url)); got.status != 200 {
				t.Errorf("%s: status %d: %s", link, got.status, got.body)
			}
		}
	}
	if len(d.Data.Relationships) != len(captureRelationships) {
		t.Errorf("%d relationships, want %d", len(d.Data.Relationships), len(captureRelationships))
	}
	for path, want := range map[string]any{
		"order": p.order, "reference_authorization": p.authorization, "relationships/order": p.order, "relationships/reference_authorization": p.authorization,
	} {
		w.get(t, "/api/captures/"+id+"/"+path).want(t, 200, map[string]any{"data.id": want})
	}
	for _, path := range []string{"return", "payment_source", "relationships/return"} {
		if body := string(w.get(t, "/api/captures/"+id+"/"+path).body); !strings.Contains(body, `"data":null`) {
			t.Errorf("%s: %s", path, body)
		}
	}
	for _, path := range []string{"attachments", "event_stores", "relationships/attachments"} {
		if body := string(w.get(t, "/api/captures/"+id+"/"+path).body); !strings.Contains(body, `"data":[]`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// The published sample of making a capture: the same members, and without an
// order the explained 422.
func TestCreatedCaptureHasTheSamplesMembers(t *testing.T) {
	w := newWorld(t)
	p := w.place(t, w.method(t, `,"capture_trigger":"manual"`), 1500, 1500, "")
	r := w.post(t, "captures", `{}`, to("order", "orders", p.order)).want(t, 201, nil)
	var d struct {
		Data map[string]json.RawMessage
	}
	if err := json.Unmarshal(r.body, &d); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"id", "type", "links", "attributes", "relationships", "meta"} {
		if d.Data[member] == nil {
			t.Errorf("no member %s: %s", member, r.body)
		}
	}
	w.send(t, admin, http.MethodPost, "/api/captures", `{"data":{"type":"captures"}}`).
		want(t, 422, map[string]any{"errors.0.source.pointer": "/data/relationships/order", "errors.0.code": "VALIDATION_ERROR"})
}

func TestLists(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	var captures, orders []string
	for i := range 12 {
		p := w.place(t, method, int64(100+i), int64(100+i), "")
		orders = append(orders, p.order)
		captures = append(captures, w.approve(t, p))
	}
	w.run(t, models.Capture, captures[3])
	first := w.get(t, "/api/captures").want(t, 200, map[string]any{
		"meta.record_count": 12, "meta.page_count": 2, "data.0.id": captures[11], "links.prev": nil,
		"links.first": w.url + "/api/captures?page%5Bnumber%5D=1", "links.last": w.url + "/api/captures?page%5Bnumber%5D=2", "links.next": w.url + "/api/captures?page%5Bnumber%5D=2",
	})
	next, _ := first.at(t, "links.next").(string)
	w.get(t, strings.TrimPrefix(next, w.url)).want(t, 200, map[string]any{"data.0.id": captures[1], "data.1.id": captures[0], "data.2": nil, "links.next": nil})
	w.get(t, "/api/captures?sort=created_at&page[size]=5&page[number]=2").want(t, 200, map[string]any{"data.0.id": captures[5], "meta.page_count": 3})
	w.get(t, "/api/captures?page[number]=9").want(t, 200, map[string]any{"data.0": nil, "meta.record_count": 12})
	for filter, want := range map[string]any{
		"filter[q][succeeded_true]=true": captures[3], "filter[q][succeeded_eq]=1": captures[3], "filter[q][id_eq]=" + captures[7]: captures[7],
		"filter[q][order_id_eq]=" + orders[2]: captures[2], "filter[q][order_id_eq]=" + orders[2] + "&filter[q][state_eq]=pending": captures[2],
	} {
		w.get(t, "/api/captures?"+filter).want(t, 200, map[string]any{"meta.record_count": 1, "data.0.id": want})
	}
	for _, filter := range []string{"filter[q][order_id_eq]=x", "filter[q][id_eq]=1%27%20OR%20%271%27=%271", "filter[q][reference_eq]=nobody", "filter[q][order_id_eq]=" + orders[2] + "&filter[q][succeeded_true]=true", "filter[q][needs_attention_present]=true"} {
		w.get(t, "/api/captures?"+filter).want(t, 200, map[string]any{"meta.record_count": 0, "meta.page_count": 1})
	}
	// A filter cannot lead out of a path.
	w.get(t, "/api/orders/"+orders[2]+"/captures?filter[q][order_id_eq]="+orders[3]).want(t, 200, map[string]any{"meta.record_count": 0})
	w.get(t, "/api/orders/"+orders[2]+"/authorizations").want(t, 200, map[string]any{"meta.record_count": 1})
	w.get(t, "/api/authorizations?filter[q][order_id_eq]="+orders[2]).want(t, 200, map[string]any{"meta.record_count": 1})
}

func TestIncludes(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	w.patch(t, "captures", capture, `{"_refund_amount_cents":500}`).want(t, 200, nil)
	r := w.get(t, "/api/captures?include=order.payment_method,reference_authorization.captures,refunds,return,attachments").want(t, 200, map[string]any{
		"data.0.relationships.order.data.id": p.order, "data.0.relationships.reference_authorization.data.id": p.authorization,
		"data.0.relationships.refunds.data.0.type": "refunds",
	})
	var d struct {
		Data []struct {
			Relationships map[string]map[string]json.RawMessage
		}
		Included []struct {
			Type, ID      string
			Relationships map[string]map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(r.body, &d); err != nil {
		t.Fatal(err)
	}
	var included []string
	for _, in := range d.Included {
		included = append(included, in.Type)
	}
	slices.Sort(included)
	if diff := cmp.Diff([]string{"authorizations", "orders", "payment_methods", "refunds"}, included); diff != "" {
		t.Errorf("included: %s", diff) // the capture itself is primary data, and there once
	}
	if got := string(d.Data[0].Relationships["return"]["data"]); got != "null" {
		t.Errorf("return data = %s", got)
	}
	if got := string(d.Data[0].Relationships["attachments"]["data"]); got != "[]" {
		t.Errorf("attachments data = %s", got)
	}
	for _, in := range d.Included {
		if in.Type == "authorizations" && !strings.Contains(string(in.Relationships["captures"]["data"]), capture) {
			t.Errorf("the authorization does not link back: %s", in.Relationships["captures"]["data"])
		}
	}
	if body := string(w.get(t, "/api/captures/"+capture).body); strings.Contains(body, `"included"`) || strings.Contains(body, `"data":{"type":"orders"`) {
		t.Errorf("linkage without an include: %s", body)
	}
}

func TestVerdictsAndReconciliations(t *testing.T) {
	w := newWorld(t)
	w.work(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "charge_then_drop")
	capture := w.approve(t, p)
	until(t, "the sweep to forward the capture", func() bool {
		return w.get(t, "/api/captures/"+capture).at(t, "data.attributes.succeeded") == true
	})
	verdict, _ := w.get(t, "/api/verdicts?filter[q][operation_id_eq]="+capture+"&filter[q][verdict_eq]=forward").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.get(t, "/api/verdicts/"+verdict).want(t, 200, map[string]any{"data.attributes.order_id": p.order, "data.attributes.kind": "capture"})
	until(t, "a sweep", func() bool {
		return w.get(t, "/api/reconciliations").want(t, 200, nil).at(t, "data.0.id") != nil
	})
	run, _ := w.get(t, "/api/reconciliations").at(t, "data.0.id").(string)
	w.get(t, "/api/reconciliations/"+run).want(t, 200, map[string]any{"data.type": "reconciliations", "data.meta": nil})
}
