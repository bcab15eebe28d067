package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestElasticPathBadInput: whatever is wrong is named, in a document of Elastic
// Path's form, and nothing is written.
func TestElasticPathBadInput(t *testing.T) {
	w := newElastic(t, time.Second)
	method := w.methodOf(t, "stripe_payments", "EUR")
	order, path, hold := w.paidBy(t, "stripe", method, "EUR", 1500, "")
	other, otherPath, _ := w.paidBy(t, "stripe", method, "EUR", 1500, "")
	taken := w.place(t, method, 1500, 1500, "")
	w.patch(t, "authorizations", taken.authorization, `{"_capture":true}`).want(t, 200, nil)
	capture, _ := w.get(t, "/api/orders/"+taken.order+"/captures").at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	done := taken.order + "/transactions/" + taken.authorization
	id, otherID, nobody := path[len(path)-36:], otherPath[len(otherPath)-36:], store.NewID()
	free, dear := w.intentIn(t, 100, "EUR", ""), w.intentIn(t, 100, "USD", "")
	pays := func(members string) string {
		return `{"data":{"gateway":"stripe","method":"authorize",` + members + `}}`
	}
	before := w.rows(t)
	for _, c := range []struct {
		name, token, method, path, body string
		status                          int
		code, pointer                   string
	}{
		{"no token", "", "POST", path + "/capture", "", 401, "UNAUTHORIZED", ""},
		{"a reader", reader, "POST", path + "/capture", "", 403, "UNAUTHORIZED", ""},
		{"the other mode", livery, "GET", path, "", 404, "RECORD_NOT_FOUND", ""},
		{"the other mode's list", livery, "GET", order + "/transactions", "", 404, "RECORD_NOT_FOUND", ""},
		{"another method", admin, "DELETE", path, "", 405, "METHOD_NOT_ALLOWED", ""},
		{"no such order", admin, "GET", nobody + "/transactions", "", 404, "RECORD_NOT_FOUND", ""},
		{"an order that is no id", admin, "GET", "x%27--/transactions", "", 404, "RECORD_NOT_FOUND", ""},
		{"no such transaction", admin, "POST", order + "/transactions/" + nobody + "/capture", "", 404, "RECORD_NOT_FOUND", ""},
		{"a transaction that is no id", admin, "GET", order + "/transactions/1", "", 404, "RECORD_NOT_FOUND", ""},
		{"another order's transaction", admin, "POST", order + "/transactions/" + otherID + "/capture", "", 404, "RECORD_NOT_FOUND", ""},
		{"this one under the other order", admin, "POST", other + "/transactions/" + id + "/cancel", "", 404, "RECORD_NOT_FOUND", ""},

		{"no JSON", admin, "POST", path + "/capture", `{"data":`, 400, "INVALID_DOCUMENT", ""},
		{"no data", admin, "POST", path + "/capture", `{"custom_reference":"x"}`, 400, "INVALID_DOCUMENT", "/data"},
		{"data is a list", admin, "POST", path + "/capture", `{"data":[]}`, 400, "INVALID_DOCUMENT", "/data"},
		{"a member twice", admin, "POST", path + "/capture", `{"data":{"custom_reference":"a","custom_reference":"b"}}`, 400, "INVALID_DOCUMENT", "/data/custom_reference"},
		{"too large", admin, "POST", path + "/capture", `{"data":{"custom_reference":"` + strings.Repeat("x", 300_000) + `"}}`, 413, "PAYLOAD_TOO_LARGE", ""},
		{"a number for a reference", admin, "POST", path + "/capture", `{"data":{"custom_reference":7}}`, 422, "VALIDATION_ERROR", "/data/custom_reference"},
		{"a long reference", admin, "POST", path + "/capture", `{"data":{"custom_reference":"` + strings.Repeat("x", 256) + `"}}`, 422, "VALIDATION_ERROR", "/data/custom_reference"},
		{"a control character", admin, "POST", path + "/capture", `{"data":{"custom_reference":"a\nb"}}`, 422, "VALIDATION_ERROR", "/data/custom_reference"},
		{"another mechanism", admin, "POST", path + "/capture", `{"data":{"capture_mechanism":"automatic"}}`, 422, "VALIDATION_ERROR", "/data/capture_mechanism"},
		{"an amount of a capture", admin, "POST", path + "/capture", `{"data":{"amount":1}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"manual, by an operator", operator, "POST", path + "/capture", `{"data":{"capture_mechanism":"manual"}}`, 403, "UNAUTHORIZED", ""},

		{"a refund of nothing captured", admin, "POST", path + "/refund", `{"data":{"amount":1}}`, 422, "NOT_CAPTURED", "/data/amount"},
		{"nothing captured, marked", admin, "POST", path + "/refund", "", 422, "NOT_CAPTURED", ""},
		{"more than there is", admin, "POST", done + "/refund", `{"data":{"amount":1501}}`, 422, "REFUND_EXCEEDS_BALANCE", "/data/amount"},
		{"no amount", admin, "POST", done + "/refund", `{"data":{"amount":0}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"less than none", admin, "POST", done + "/refund", `{"data":{"amount":-1}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"a fraction", admin, "POST", done + "/refund", `{"data":{"amount":1.5}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"in quotes", admin, "POST", done + "/refund", `{"data":{"amount":"100"}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"null is not all", admin, "POST", done + "/refund", `{"data":{"amount":null}}`, 422, "VALIDATION_ERROR", "/data/amount"},
		{"misspelt is not all", admin, "POST", done + "/refund", `{"data":{"amuont":100}}`, 422, "VALIDATION_ERROR", "/data/amuont"},
		{"beside data is not all", admin, "POST", done + "/refund", `{"amount":100}`, 400, "INVALID_DOCUMENT", "/data"},
		{"marked, by an operator", operator, "POST", done + "/refund", "", 403, "UNAUTHORIZED", ""},
		{"a cancel of what was captured", admin, "POST", done + "/cancel", "", 422, "HOLD_CLOSED", ""},
		{"an unknown reason", admin, "POST", path + "/cancel", `{"data":{"options":{"reason":"bored"}}}`, 422, "VALIDATION_ERROR", "/data/options/reason"},

		{"no body", admin, "POST", order + "/payments", "", 422, "VALIDATION_ERROR", "/data/gateway"},
		{"no method", admin, "POST", order + "/payments", `{"data":{"gateway":"stripe"}}`, 422, "VALIDATION_ERROR", "/data/method"},
		{"no gateway", admin, "POST", order + "/payments", `{"data":{"method":"authorize"}}`, 422, "VALIDATION_ERROR", "/data/gateway"},
		{"another gateway", admin, "POST", order + "/payments", `{"data":{"gateway":"manual","method":"authorize"}}`, 422, "VALIDATION_ERROR", "/data/gateway"},
		{"a purchase", admin, "POST", order + "/payments", `{"data":{"gateway":"stripe","method":"purchase","payment":"` + free + `"}}`, 422, "VALIDATION_ERROR", "/data/method"},
		{"no hold", admin, "POST", order + "/payments", `{"data":{"gateway":"stripe","method":"authorize"}}`, 422, "VALIDATION_ERROR", "/data/payment"},
		{"a hold that is none", admin, "POST", order + "/payments", pays(`"payment":"pi_nothing","amount":1`), 422, "VALIDATION_ERROR", "/data/payment"},
		{"a hold in blanks", admin, "POST", order + "/payments", pays(`"payment":"p i","amount":1`), 422, "VALIDATION_ERROR", "/data/payment"},
		{"more than is held", admin, "POST", order + "/payments", pays(`"amount":101,"payment":"` + free + `"`), 422, "VALIDATION_ERROR", "/data/amount"},
		{"another currency", admin, "POST", order + "/payments", pays(`"amount":100,"payment":"` + dear + `"`), 422, "VALIDATION_ERROR", "/data/payment"},
		{"everything is held", admin, "POST", order + "/payments", pays(`"payment":"` + free + `"`), 422, "NOTHING_LEFT", ""},
		{"another order's hold", admin, "POST", other + "/payments", pays(`"amount":1500,"payment":"` + hold + `"`), 422, "GATEWAY_TRANSACTION_TAKEN", "/data/amount"},
		{"a card", admin, "POST", order + "/payments", pays(`"number":"4242424242424242","payment":"` + free + `"`), 422, "VALIDATION_ERROR", "/data/number"},
		{"a name that is none", admin, "POST", order + "/payments", pays(`"paymentmethod_meta":{"name":1},"payment":"` + free + `"`), 422, "VALIDATION_ERROR", "/data/paymentmethod_meta/name"},
	} {
		r := w.v2(t, c.token, c.method, c.path, c.body)
		if r.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, r.status, c.status, r.body)
			continue
		}
		var pointer any
		if c.pointer != "" {
			pointer = c.pointer
		}
		for at, want := range map[string]any{"errors.0.status": c.status, "errors.0.meta.code": c.code, "errors.0.meta.pointer": pointer} {
			if got := r.at(t, at); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %s is %v, want %v: %s", c.name, at, got, want, r.body)
			}
		}
		if r.at(t, "errors.0.title") == nil || strings.Contains(string(r.body), "4242") || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s", c.name, r.header.Get("Content-Type"), r.body)
		}
	}
	w.send(t, admin, "POST", "/v2/orders/"+path+"/capture", `{"data":{}}`, "Content-Type", "text/xml").want(t, 415, map[string]any{"errors.0.meta.header": "Content-Type"})
	for _, route := range w.api.Routes() {
		at, ours := strings.CutPrefix(route.Pattern, "/v2/orders/")
		if !ours {
			continue
		}
		at = strings.NewReplacer("{order}", order, "{transaction}", id).Replace(at)
		w.v2(t, "", route.Method, at, "").want(t, 401, map[string]any{"errors.0.status": 401, "errors.0.title": "Unauthorized"})
		want := 403
		if route.Scope == api.ScopeRead {
			want = 200
		}
		w.v2(t, reader, route.Method, at, "").want(t, want, nil)
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}
