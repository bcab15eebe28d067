package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/store"
)

// bad is one request that must be refused with nothing written.
type bad struct {
	name, method, path, body string
	headers                  []string
	status                   int
	code                     string
	// source is the pointer, the parameter or the header that must be named;
	// empty when there is none to name.
	source string
}

// Whatever is wrong with a request is named, with the right status, and leaves
// the ledger as it was.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	dollars := w.post(t, "payment_methods", `{"name":"USD","payment_source_type":"stripe_payments","currency_code":"USD"}`, `{}`).want(t, 201, nil).id(t)
	p, capture := w.captured(t, method)
	open := w.place(t, method, 1500, 1500, "")
	named := w.post(t, "orders", `{"reference":"taken","currency_code":"EUR","total_amount_cents":700}`, to("payment_method", "payment_methods", method)).want(t, 201, nil).id(t)
	nobody := store.NewID()
	deep := strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)
	toMethod, toOrder := to("payment_method", "payment_methods", method), to("order", "orders", open.order)
	order := func(attributes string) string {
		return `{"data":{"type":"orders","attributes":` + attributes + `,"relationships":` + toMethod + `}}`
	}
	hold := func(attributes string) string {
		return `{"data":{"type":"authorizations","attributes":` + attributes + `,"relationships":` + toOrder + `}}`
	}
	change := func(attributes string) string { return patchBody("orders", open.order, attributes) }
	paymentMethod := func(attributes string) string {
		return `{"data":{"type":"payment_methods","attributes":` + attributes + `}}`
	}
	const usual = `"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR"`
	const orders, holds, methods = "/api/orders", "/api/authorizations", "/api/payment_methods"
	theOrder, theCapture, theHold := orders+"/"+open.order, "/api/captures/"+capture, holds+"/"+open.authorization
	attr := func(name string) string { return "/data/attributes/" + name }

	rows := []bad{
		// The document.
		{"no body", "POST", orders, " ", nil, 400, "INVALID_DOCUMENT", ""},
		{"no JSON", "POST", orders, `{"data":`, nil, 400, "INVALID_DOCUMENT", ""},
		{"a trailing comma", "POST", orders, `{"data":{"type":"orders",}}`, nil, 400, "INVALID_DOCUMENT", ""},
		{"something behind the end", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1}`) + `{}`, nil, 400, "INVALID_DOCUMENT", ""},
		{"a member twice", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"total_amount_cents":2}`), nil, 400, "INVALID_DOCUMENT", attr("total_amount_cents")},
		{"a member twice, escaped", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"total_amount_c\u0065nts":2}`), nil, 400, "INVALID_DOCUMENT", attr("total_amount_cents")},
		{"nested too deep", "POST", orders, order(`{"metadata":` + deep + `}`), nil, 400, "INVALID_DOCUMENT", "*"},
		{"not UTF-8", "POST", orders, order("{\"reference\":\"\xff\"}"), nil, 400, "INVALID_DOCUMENT", ""},
		{"a NUL in a string", "POST", orders, order(`{"reference":"a\u0000b"}`), nil, 400, "INVALID_DOCUMENT", attr("reference")},
		{"a NUL in metadata", "POST", orders, order(`{"metadata":{"a":["\u0000"]}}`), nil, 400, "INVALID_DOCUMENT", attr("metadata") + "/a/0"},
		{"a NUL in a metadata name", "POST", orders, order(`{"metadata":{"\u0000":1}}`), nil, 400, "INVALID_DOCUMENT", attr("metadata")},
		{"a number out of range", "POST", orders, order(`{"metadata":{"a":1e999999}}`), nil, 400, "INVALID_DOCUMENT", attr("metadata") + "/a"},
		{"a number too long", "POST", orders, order(`{"metadata":{"a":` + strings.Repeat("1", 200) + `}}`), nil, 400, "INVALID_DOCUMENT", attr("metadata") + "/a"},
		{"an array", "POST", orders, `[]`, nil, 400, "INVALID_DOCUMENT", ""},
		{"no data", "POST", orders, `{}`, nil, 400, "INVALID_DOCUMENT", "/data"},
		{"data is a list", "POST", orders, `{"data":[]}`, nil, 400, "INVALID_DOCUMENT", "/data"},
		{"no type", "POST", orders, `{"data":{}}`, nil, 400, "INVALID_DOCUMENT", "/data/type"},
		{"another type", "POST", orders, `{"data":{"type":"captures"}}`, nil, 409, "CONFLICT", "/data/type"},
		{"an id of the client's", "POST", orders, `{"data":{"type":"orders","id":"1"}}`, nil, 403, "CLIENT_ID_NOT_ALLOWED", "/data/id"},
		{"attributes are a list", "POST", orders, `{"data":{"type":"orders","attributes":[]}}`, nil, 400, "INVALID_DOCUMENT", "/data/attributes"},
		{"attributes are null", "POST", orders, `{"data":{"type":"orders","attributes":null}}`, nil, 400, "INVALID_DOCUMENT", "/data/attributes"},
		{"relationships are text", "POST", orders, `{"data":{"type":"orders","relationships":"x"}}`, nil, 400, "INVALID_DOCUMENT", "/data/relationships"},
		{"too large", "POST", orders, order(`{"metadata":{"a":"` + strings.Repeat("x", 300<<10) + `"}}`), nil, 413, "PAYLOAD_TOO_LARGE", ""},

		// Headers.
		{"no content type", "POST", orders, order(`{}`), []string{"Content-Type", ""}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"a form", "POST", orders, order(`{}`), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"a media type parameter", "POST", orders, order(`{}`), []string{"Content-Type", "application/vnd.api+json; charset=utf-8"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"an unknown extension", "POST", orders, order(`{}`), []string{"Content-Type", `application/vnd.api+json; ext="https://example.com"`}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"another charset", "POST", orders, order(`{}`), []string{"Content-Type", "application/json; charset=latin1"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"compressed", "POST", orders, order(`{}`), []string{"Content-Encoding", "gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"wants HTML", "GET", orders, "", []string{"Accept", "text/html"}, 406, "NOT_ACCEPTABLE", "Accept"},
		{"wants a version of JSON:API", "POST", orders, order(`{}`), []string{"Accept", "application/vnd.api+json; version=2"}, 406, "NOT_ACCEPTABLE", "Accept"},

		// Orders.
		{"nothing given", "POST", orders, `{"data":{"type":"orders"}}`, nil, 422, "VALIDATION_ERROR", attr("currency_code")},
		{"no payment method", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1}}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/payment_method"},
		{"an unknown attribute", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"colour":"red"}`), nil, 422, "VALIDATION_ERROR", attr("colour")},
		{"an attribute with a slash", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"a/b~c":1}`), nil, 422, "VALIDATION_ERROR", attr("a~1b~0c")},
		{"a read-only attribute", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"payment_status":"paid"}`), nil, 422, "VALIDATION_ERROR", attr("payment_status")},
		{"an amount in quotes", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":"1500"}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a fraction", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":15.5}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a whole fraction", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1500.0}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"an exponent", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":15e2}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a negative amount", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":-1}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a huge amount", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1000000000001}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"beyond 64 bits", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":99999999999999999999}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"below 64 bits", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":-99999999999999999999}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a null amount", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":null}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"a boolean amount", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":true}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"an unknown currency", "POST", orders, order(`{"currency_code":"XYZ","total_amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("currency_code")},
		{"no currency", "POST", orders, order(`{"currency_code":null,"total_amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("currency_code")},
		{"another currency than the method's", "POST", orders, order(`{"currency_code":"USD","total_amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("currency_code")},
		{"a reference too long", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"reference":"` + strings.Repeat("x", 256) + `"}`), nil, 422, "VALIDATION_ERROR", attr("reference")},
		{"a control character", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"reference":"a\nb"}`), nil, 422, "VALIDATION_ERROR", attr("reference")},
		{"metadata is a list", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"metadata":[]}`), nil, 422, "VALIDATION_ERROR", attr("metadata")},
		{"capture_at in the past", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"capture_at":"2001-01-01T00:00:00Z"}`), nil, 422, "VALIDATION_ERROR", attr("capture_at")},
		{"capture_at is no time", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":1,"capture_at":"tomorrow"}`), nil, 422, "VALIDATION_ERROR", attr("capture_at")},
		{"the reference with another total", "POST", orders, order(`{"currency_code":"EUR","total_amount_cents":701,"reference":"taken"}`), nil, 422, "REFERENCE_TAKEN", attr("reference")},
		{"an unknown payment method", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":` + to("payment_method", "payment_methods", nobody) + `}}`, nil, 404, "RECORD_NOT_FOUND", "/data/relationships/payment_method"},
		{"a relationship of another type", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":` + to("payment_method", "orders", method) + `}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/payment_method/data/type"},
		{"a relationship without an id", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":{"payment_method":{"data":{"type":"payment_methods"}}}}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/payment_method/data/id"},
		{"a relationship that is text", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":{"payment_method":"x"}}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/payment_method"},
		{"a method of another currency's order", "POST", orders, `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":` + to("payment_method", "payment_methods", dollars) + `}}`, nil, 422, "VALIDATION_ERROR", attr("currency_code")},

		// Changes of orders.
		{"another id", "PATCH", theOrder, patchBody("orders", nobody, `{"_approve":true}`), nil, 409, "CONFLICT", "/data/id"},
		{"another type in a change", "PATCH", theOrder, patchBody("captures", open.order, `{"_approve":true}`), nil, 409, "CONFLICT", "/data/type"},
		{"no id in a change", "PATCH", theOrder, `{"data":{"type":"orders","attributes":{"_approve":true}}}`, nil, 400, "INVALID_DOCUMENT", "/data/id"},
		{"a trigger in quotes", "PATCH", theOrder, change(`{"_approve":"true"}`), nil, 422, "VALIDATION_ERROR", attr("_approve")},
		{"a trigger that is a number", "PATCH", theOrder, change(`{"_approve":1}`), nil, 422, "VALIDATION_ERROR", attr("_approve")},
		{"approve and cancel", "PATCH", theOrder, change(`{"_approve":true,"_cancel":true}`), nil, 422, "VALIDATION_ERROR", attr("_cancel")},
		{"approve and fulfill", "PATCH", theOrder, change(`{"_approve":true,"_fulfill":true}`), nil, 422, "VALIDATION_ERROR", attr("_fulfill")},
		{"cancel and a total", "PATCH", theOrder, change(`{"_cancel":true,"total_amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"status by hand", "PATCH", theOrder, change(`{"status":"approved"}`), nil, 422, "VALIDATION_ERROR", attr("status")},
		{"payment status by hand", "PATCH", theOrder, change(`{"payment_status":"paid"}`), nil, 422, "VALIDATION_ERROR", attr("payment_status")},
		{"an unknown trigger", "PATCH", theOrder, change(`{"_explode":true}`), nil, 422, "VALIDATION_ERROR", attr("_explode")},
		{"a negative total", "PATCH", theOrder, change(`{"total_amount_cents":-5}`), nil, 422, "VALIDATION_ERROR", attr("total_amount_cents")},
		{"the reference of another order", "PATCH", theOrder, change(`{"_approve":true,"reference":"taken"}`), nil, 422, "REFERENCE_TAKEN", attr("reference")},
		{"fulfill before approval", "PATCH", theOrder, change(`{"_fulfill":true}`), nil, 422, "ORDER_NOT_APPROVED", attr("_fulfill")},
		{"an unknown order", "PATCH", orders + "/" + nobody, patchBody("orders", nobody, `{"_approve":true}`), nil, 404, "RECORD_NOT_FOUND", ""},
		{"an id that is none", "PATCH", orders + "/x", patchBody("orders", "x", `{"_approve":true}`), nil, 404, "RECORD_NOT_FOUND", ""},

		// Authorizations.
		{"no amount", "POST", holds, hold(`{"gateway_transaction_id":"pi_1"}`), nil, 422, "VALIDATION_ERROR", attr("amount_cents")},
		{"no transaction", "POST", holds, hold(`{"amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("gateway_transaction_id")},
		{"an empty transaction", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":""}`), nil, 422, "VALIDATION_ERROR", attr("gateway_transaction_id")},
		{"a transaction with blanks", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":"pi 1/../x"}`), nil, 422, "VALIDATION_ERROR", attr("gateway_transaction_id")},
		{"a hold of nothing", "POST", holds, hold(`{"amount_cents":0,"gateway_transaction_id":"pi_1"}`), nil, 422, "VALIDATION_ERROR", attr("amount_cents")},
		{"a hold that ended", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":"pi_1","capture_before":"2020-01-01T00:00:00Z"}`), nil, 422, "VALIDATION_ERROR", attr("capture_before")},
		{"capture_before is a number", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":"pi_1","capture_before":1893456000}`), nil, 422, "VALIDATION_ERROR", attr("capture_before")},
		{"a hold in another currency", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":"pi_1","currency_code":"USD"}`), nil, 422, "CURRENCY_MISMATCH", attr("currency_code")},
		{"a hold of another order", "POST", holds, hold(fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, p.hold)), nil, 422, "GATEWAY_TRANSACTION_TAKEN", attr("gateway_transaction_id")},
		{"a hold of another amount", "POST", holds, hold(fmt.Sprintf(`{"amount_cents":1400,"gateway_transaction_id":%q}`, open.hold)), nil, 422, "GATEWAY_TRANSACTION_TAKEN", attr("gateway_transaction_id")},
		{"no order", "POST", holds, `{"data":{"type":"authorizations","attributes":{"amount_cents":1,"gateway_transaction_id":"pi_1"}}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/order"},
		{"an unknown order for a hold", "POST", holds, `{"data":{"type":"authorizations","attributes":{"amount_cents":1,"gateway_transaction_id":"pi_1"},"relationships":` + to("order", "orders", nobody) + `}}`, nil, 404, "RECORD_NOT_FOUND", "/data/relationships/order"},
		{"succeeded by hand", "POST", holds, hold(`{"amount_cents":1,"gateway_transaction_id":"pi_1","succeeded":true}`), nil, 422, "VALIDATION_ERROR", attr("succeeded")},
		{"capture and void", "PATCH", theHold, patchBody("authorizations", open.authorization, `{"_capture":true,"_void":true}`), nil, 422, "VALIDATION_ERROR", attr("_void")},
		{"more than the hold", "PATCH", theHold, patchBody("authorizations", open.authorization, `{"_capture":true,"_capture_amount_cents":1501}`), nil, 422, "CAPTURE_EXCEEDS_HOLD", attr("_capture_amount_cents")},
		{"a capture of nothing", "PATCH", theHold, patchBody("authorizations", open.authorization, `{"_capture":true,"_capture_amount_cents":0}`), nil, 422, "VALIDATION_ERROR", attr("_capture_amount_cents")},
		{"void of what was captured", "PATCH", holds + "/" + p.authorization, patchBody("authorizations", p.authorization, `{"_void":true}`), nil, 422, "HOLD_CLOSED", attr("_void")},

		// Captures.
		{"a capture without an order", "POST", "/api/captures", `{"data":{"type":"captures"}}`, nil, 422, "VALIDATION_ERROR", "/data/relationships/order"},
		{"a capture of an order without a hold", "POST", "/api/captures", `{"data":{"type":"captures","relationships":` + to("order", "orders", named) + `}}`, nil, 422, "NO_AUTHORIZATION", "/data/relationships/order"},
		{"a capture of what was captured", "POST", "/api/captures", `{"data":{"type":"captures","relationships":` + to("order", "orders", p.order) + `}}`, nil, 422, "NOTHING_LEFT", "/data/relationships/order"},
		{"a capture's amount", "POST", "/api/captures", `{"data":{"type":"captures","attributes":{"amount_cents":1},"relationships":` + to("order", "orders", open.order) + `}}`, nil, 422, "VALIDATION_ERROR", attr("amount_cents")},
		{"forward what succeeded", "PATCH", theCapture, patchBody("captures", capture, `{"_forward":true}`), nil, 422, "ALREADY_SUCCEEDED", attr("_forward")},
		{"cancel what fits", "PATCH", theCapture, patchBody("captures", capture, `{"_cancel":true}`), nil, 422, "ORDER_APPROVED", attr("_cancel")},
		{"refund more than there is", "PATCH", theCapture, patchBody("captures", capture, `{"_refund":true,"_refund_amount_cents":1501}`), nil, 422, "REFUND_EXCEEDS_BALANCE", attr("_refund_amount_cents")},
		{"refund and cancel", "PATCH", theCapture, patchBody("captures", capture, `{"_refund":true,"_cancel":true}`), nil, 422, "VALIDATION_ERROR", attr("_refund")},
		{"a negative refund", "PATCH", theCapture, patchBody("captures", capture, `{"_refund_amount_cents":-1}`), nil, 422, "VALIDATION_ERROR", attr("_refund_amount_cents")},
		{"take a success back", "PATCH", theCapture, patchBody("captures", capture, `{"succeeded":false}`), nil, 422, "VALIDATION_ERROR", attr("succeeded")},
		{"write a capture's amount", "PATCH", theCapture, patchBody("captures", capture, `{"amount_cents":1}`), nil, 422, "VALIDATION_ERROR", attr("amount_cents")},
		{"write a capture's state", "PATCH", theCapture, patchBody("captures", capture, `{"state":"failed"}`), nil, 422, "VALIDATION_ERROR", attr("state")},
		{"a refund cannot be cancelled", "PATCH", "/api/refunds/" + nobody, patchBody("refunds", nobody, `{"_cancel":true}`), nil, 422, "VALIDATION_ERROR", attr("_cancel")},
		{"an unknown void", "PATCH", "/api/voids/" + nobody, patchBody("voids", nobody, `{"_forward":true}`), nil, 404, "RECORD_NOT_FOUND", ""},

		// Payment methods.
		{"a method without a name", "POST", methods, paymentMethod(`{"payment_source_type":"stripe_payments","currency_code":"EUR"}`), nil, 422, "VALIDATION_ERROR", attr("name")},
		{"a source type nobody serves", "POST", methods, paymentMethod(`{"name":"x","payment_source_type":"paypal_payments","currency_code":"EUR"}`), nil, 422, "VALIDATION_ERROR", attr("payment_source_type")},
		{"an unknown gateway", "POST", methods, `{"data":{"type":"payment_methods","attributes":{` + usual + `},"relationships":` + to("payment_gateway", "payment_gateways", nobody) + `}}`, nil, 404, "RECORD_NOT_FOUND", "/data/relationships/payment_gateway"},
		{"a trigger nobody knows", "POST", methods, paymentMethod(`{` + usual + `,"capture_trigger":"someday"}`), nil, 422, "VALIDATION_ERROR", attr("capture_trigger")},
		{"a delay of nothing", "POST", methods, paymentMethod(`{` + usual + `,"capture_trigger":"delay"}`), nil, 422, "VALIDATION_ERROR", attr("capture_delay_seconds")},
		{"a negative limit", "POST", methods, paymentMethod(`{` + usual + `,"auto_capture_max_amount_cents":-1}`), nil, 422, "VALIDATION_ERROR", attr("auto_capture_max_amount_cents")},
		{"auto_capture in quotes", "POST", methods, paymentMethod(`{` + usual + `,"auto_capture":"yes"}`), nil, 422, "VALIDATION_ERROR", attr("auto_capture")},
		{"last chance of nothing", "POST", methods, paymentMethod(`{` + usual + `,"last_chance_seconds":0}`), nil, 422, "VALIDATION_ERROR", attr("last_chance_seconds")},
		{"a contradiction by change", "PATCH", methods + "/" + method, patchBody("payment_methods", method, `{"capture_trigger":"delay"}`), nil, 422, "VALIDATION_ERROR", attr("capture_delay_seconds")},
		{"a method's currency", "PATCH", methods + "/" + method, patchBody("payment_methods", method, `{"currency_code":"USD"}`), nil, 422, "VALIDATION_ERROR", attr("currency_code")},

		// Queries.
		{"an unknown filter", "GET", "/api/captures?filter[q][colour_eq]=red", "", nil, 400, "FILTER_NOT_ALLOWED", "filter[q][colour_eq]"},
		{"a filter of another shape", "GET", "/api/captures?filter[order]=1", "", nil, 400, "FILTER_NOT_ALLOWED", "filter[order]"},
		{"SQL in a filter's name", "GET", "/api/captures?filter[q][" + url.QueryEscape("id_eq]=1;drop table captures;--") + "]=1", "", nil, 400, "FILTER_NOT_ALLOWED", "*"},
		{"no truth", "GET", "/api/captures?filter[q][succeeded_eq]=maybe", "", nil, 400, "FILTER_NOT_ALLOWED", "filter[q][succeeded_eq]"},
		{"page zero", "GET", "/api/captures?page[number]=0", "", nil, 400, "INVALID_PAGE_VALUE", "page[number]"},
		{"a page far away", "GET", "/api/captures?page[number]=99999999999999999999", "", nil, 400, "INVALID_PAGE_VALUE", "page[number]"},
		{"a page too large", "GET", "/api/captures?page[size]=26", "", nil, 400, "INVALID_PAGE_VALUE", "page[size]"},
		{"sort by anything", "GET", "/api/captures?sort=amount_cents;drop", "", nil, 400, "BAD_REQUEST", ""},
		{"sort by a column", "GET", "/api/captures?sort=amount_cents", "", nil, 400, "INVALID_SORT_CRITERIA", "sort"},
		{"an unknown include", "GET", "/api/captures?include=order.nothing", "", nil, 400, "INVALID_INCLUDE", "include"},
		{"an include too deep", "GET", "/api/captures?include=order.captures.order.captures", "", nil, 400, "INVALID_INCLUDE", "include"},
		{"an unknown parameter", "GET", "/api/captures?limit=5", "", nil, 400, "PARAM_NOT_ALLOWED", "limit"},
		{"a parameter twice", "GET", "/api/captures?page[size]=5&page[size]=6", "", nil, 400, "PARAM_NOT_ALLOWED", "page[size]"},
		{"a query that is none", "GET", "/api/captures?filter=%zz", "", nil, 400, "BAD_REQUEST", ""},
		{"a NUL in a filter", "GET", "/api/captures?filter[q][reference_eq]=%00", "", nil, 400, "PARAM_NOT_ALLOWED", "filter[q][reference_eq]"},
		{"bad UTF-8 in a filter", "GET", "/api/captures?filter[q][reference_eq]=%ff", "", nil, 400, "PARAM_NOT_ALLOWED", "filter[q][reference_eq]"},

		// Paths and methods.
		{"an unknown path", "GET", "/api/nothing", "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"an unknown capture", "GET", "/api/captures/" + nobody, "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"no id at all", "GET", "/api/captures/'%20OR%201=1", "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"the captures of no order", "GET", "/api/orders/" + nobody + "/captures", "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"a capture cannot be deleted", "DELETE", theCapture, "", nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"refunds are not made so", "POST", "/api/refunds", `{"data":{"type":"refunds"}}`, nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"PUT is not PATCH", "PUT", theCapture, patchBody("captures", capture, `{"_forward":true}`), nil, 405, "METHOD_NOT_ALLOWED", ""},
	}
	before := w.rows(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { w.refuses(t, row) })
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

func (w *world) refuses(t *testing.T, row bad) {
	t.Helper()
	r := w.send(t, admin, row.method, row.path, row.body, row.headers...)
	if r.status != row.status {
		t.Fatalf("status %d, want %d: %s", r.status, row.status, r.body)
	}
	if got := r.header.Get("Content-Type"); got != "application/vnd.api+json" {
		t.Errorf("Content-Type = %q", got)
	}
	if code := r.at(t, "errors.0.code"); code != row.code {
		t.Errorf("code = %v, want %s: %s", code, row.code, r.body)
	}
	if status := r.at(t, "errors.0.status"); status != fmt.Sprint(row.status) {
		t.Errorf("errors.0.status = %v", status)
	}
	for _, member := range []string{"title", "detail"} {
		if text, _ := r.at(t, "errors.0."+member).(string); text == "" || strings.Contains(text, "SQL") || strings.Contains(text, "pgx") {
			t.Errorf("%s = %q", member, text)
		}
	}
	if row.status == http.StatusMethodNotAllowed && r.header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	source := ""
	for _, kind := range []string{"pointer", "parameter", "header"} {
		if s, _ := r.at(t, "errors.0.source."+kind).(string); s != "" {
			source = s
		}
	}
	if row.source != source && !(row.source == "*" && source != "") {
		t.Errorf("source = %q, want %q: %s", source, row.source, r.body)
	}
}
