package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/hellgate"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// hellgateOf serves the dialect over a world's ledger, as another process would.
func hellgateOf(t testing.TB, w *world) string {
	t.Helper()
	dialect := hellgate.New(hellgate.Config{Store: w.store, Enqueuer: w.enqueuer, Settle: w.runner.Settle, Describe: w.runner.Describe, Now: time.Now})
	tokens := make([]api.Token, 0, 3)
	for name, scope := range map[string]api.Scope{reader: api.ScopeRead, operator: api.ScopeOperate} {
		tokens = append(tokens, api.Token{Name: name, Secret: gateway.Secret(secretOf(name)), Scope: scope, Mode: models.Test})
	}
	tokens = append(tokens, api.Token{Name: livery, Secret: gateway.Secret(secretOf(livery)), Scope: api.ScopeAdmin, Mode: models.Live})
	server, err := api.New(api.Config{Tokens: tokens, Store: w.store, Log: w.log, Now: time.Now}, dialect.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, server)
}

// ask makes a request as clients of Hellgate do.
func ask(t testing.TB, base, token, method, path, body string) reply {
	t.Helper()
	return send(t, base, "", method, path, body, "X-API-Key", secretOf(token), "Content-Type", "application/json", "x-hellgate-version", "2.0")
}

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("hellgate", "testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func object(t testing.TB, raw string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

// flowOf makes a payment method under the sample's name.
func (w *world) flowOf(t testing.TB, name, more string) string {
	t.Helper()
	return w.post(t, "payment_methods", fmt.Sprintf(`{"name":%q,"payment_source_type":"stripe_payments","currency_code":"EUR"%s}`, name, more), `{}`).want(t, 201, nil).id(t)
}

const (
	byHandFlow    = `,"auto_capture":true,"capture_trigger":"manual"`
	automaticFlow = `,"auto_capture":true`
)

func paymentBody(flow, reference, transaction string, amount int64) string {
	return fmt.Sprintf(`{"amount":%d,"currency_code":"EUR","flow":%q,"reference":%q,"source":{"type":"card","transaction_id":%q}}`, amount, flow, reference, transaction)
}

func (r reply) paymentID(t testing.TB) string {
	t.Helper()
	id, _ := r.want(t, 200, nil).at(t, "id").(string)
	if !store.ValidID(id) {
		t.Fatalf("no payment: %s", r.body)
	}
	return id
}

// pay makes a payment over the dialect.
func (w *world) pay(t testing.TB, base, flow, reference string, amount int64) (id, hold string) {
	t.Helper()
	hold = w.paymentIntent(t, amount, "")
	return ask(t, base, operator, "POST", "/payments", paymentBody(flow, reference, hold, amount)).paymentID(t), hold
}

// onlyCapture is the id of a payment's one capture, as the other dialect has it.
func (w *world) onlyCapture(t testing.TB, payment string) string {
	t.Helper()
	id, _ := w.get(t, "/api/authorizations/"+payment+"/captures").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	return id
}

// The published samples: what is sent stands in the request, and the answers are
// equal member by member; only the id and the time are ours.
func TestHellgateSamples(t *testing.T) {
	w := newWorld(t)
	base := hellgateOf(t, w)
	w.flowOf(t, "e-commerce flow", byHandFlow)
	want := object(t, sample(t, "capturing_response"))
	hold := w.paymentIntent(t, 1000, "")
	source := want["source"].(map[string]any)
	source["transaction_id"] = hold
	request, err := json.Marshal(map[string]any{"amount": 1000, "currency_code": "EUR", "flow": want["flow"], "reference": want["reference"], "source": source})
	if err != nil {
		t.Fatal(err)
	}
	delete(source, "transaction_id") // it is the hold's, and not told with the source
	same := func(r reply, status string, amount map[string]any) {
		t.Helper()
		if r.status != 200 || r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Hellgate-Version") != "2.0" {
			t.Fatalf("status %d, %v: %s", r.status, r.header, r.body)
		}
		got := object(t, string(r.body))
		if _, err := uuid.Parse(fmt.Sprint(got["id"])); err != nil {
			t.Errorf("id: %v", err)
		}
		if _, err := time.Parse("2006-01-02T15:04:05Z", fmt.Sprint(got["created_at"])); err != nil {
			t.Errorf("created_at: %v", err)
		}
		got["id"], got["created_at"] = want["id"], want["created_at"]
		want["status"], want["amount"] = status, amount
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-sample +answer):\n%s", status, diff)
		}
	}
	whole := want["amount"].(map[string]any)
	created := ask(t, base, operator, "POST", "/payments", string(request))
	same(created, "authorized", whole)
	id := created.paymentID(t)
	same(ask(t, base, operator, "POST", "/payments/"+id+"/capture", sample(t, "partial_capture_request")), "capturing", whole)
	capture := w.onlyCapture(t, id)
	w.run(t, models.Capture, capture)
	done := object(t, sample(t, "captured_response"))
	after := ask(t, base, reader, "GET", "/payments/"+id, "")
	same(after, done["status"].(string), done["amount"].(map[string]any))
	if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 || book.Captures[0].Amount != 800 {
		t.Errorf("the gateway booked %+v", book.Captures)
	}
	// The same through the other dialect, with the reference of the request.
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{
		"data.attributes.succeeded": true, "data.attributes.amount_cents": 800, "data.attributes.reference": "Partial capture order #12345",
	})
	// Commerce does not support several captures: the rest of the hold is released.
	ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"again"}`).want(t, 422, map[string]any{"code": "CAPTURED_ONCE"})
	w.patch(t, "authorizations", id, `{"_capture":true}`).want(t, 422, nil)

	// Refunds: two parts, seen on both sides.
	refund := ask(t, base, operator, "POST", "/payments/"+id+"/refunds", `{"amount":500,"currency_code":"EUR","reference":"Refund order #12345"}`).want(t, 200, map[string]any{
		"amount": 500, "currency_code": "EUR", "payment_id": id, "reference": "Refund order #12345", "status": "processing",
	})
	refundID, _ := refund.at(t, "id").(string)
	w.run(t, models.Refund, refundID)
	ask(t, base, reader, "GET", "/refunds/"+refundID, "").want(t, 200, map[string]any{"status": "completed", "failure_details": nil, "reference": "Refund order #12345"})
	ask(t, base, reader, "GET", "/payments/"+id, "").want(t, 200, map[string]any{"status": "captured", "amount.captured": 800, "amount.refunded": 500})
	w.patch(t, "captures", capture, `{"_refund_amount_cents":100}`).want(t, 200, nil)
	ask(t, base, operator, "POST", "/payments/"+id+"/refunds", `{"amount":201,"currency_code":"EUR","reference":"too much"}`).want(t, 422, map[string]any{"code": "REFUND_EXCEEDS_BALANCE", "parameter": "amount"})
	rest := ask(t, base, operator, "POST", "/payments/"+id+"/refund", `{"reference":"the rest"}`).want(t, 200, map[string]any{"amount": 200})
	w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{"meta.record_count": 3})
	ask(t, base, reader, "GET", "/payments/"+id+"/refunds?limit=2", "").want(t, 200, map[string]any{
		"data.0.id": rest.at(t, "id"), "data.1.amount": 100, "data.2": nil, "pagination.current_page": 1, "pagination.page_size": 2, "pagination.total_items": 3, "pagination.total_pages": 2,
	})
	ask(t, base, reader, "GET", "/payments/"+id+"/refunds?limit=2&page=2", "").want(t, 200, map[string]any{"data.0.id": refundID, "data.1": nil})
}

// What one dialect did the other tells, either way round; an automatic flow
// captures by itself, and nobody else does.
func TestHellgateAcrossDialects(t *testing.T) {
	w := newWorld(t)
	base := hellgateOf(t, w)
	byHand, automatic := w.flowOf(t, "by hand", byHandFlow), w.flowOf(t, "automatic", automaticFlow)
	show := func(id string) reply { t.Helper(); return ask(t, base, reader, "GET", "/payments/"+id, "") }

	t.Run("an automatic flow", func(t *testing.T) {
		id, hold := w.pay(t, base, automatic, "Order #1", 1500)
		show(id).want(t, 200, map[string]any{"status": "processing", "flow": "automatic", "source.type": "card"})
		w.get(t, "/api/orders?filter[q][reference_eq]=Order%20%231").want(t, 200, map[string]any{"data.0.attributes.status": "approved", "data.0.attributes.payment_status": "authorized"})
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 409, map[string]any{"code": "OPERATION_UNDER_WAY"})
		w.run(t, models.Capture, w.onlyCapture(t, id))
		show(id).want(t, 200, map[string]any{"status": "captured", "amount.captured": 1500})
		if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
		ask(t, base, operator, "POST", "/payments/"+id+"/void", "").want(t, 422, map[string]any{"code": "HOLD_CLOSED"})
	})
	t.Run("automatic, not yet", func(t *testing.T) {
		later := w.flowOf(t, "on delivery", automaticFlow+`,"capture_trigger":"fulfillment"`)
		id, _ := w.pay(t, base, later, "Order #2", 1500)
		show(id).want(t, 200, map[string]any{"status": "processing"})
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 422, map[string]any{"code": "CAPTURES_BY_ITSELF"})
	})
	t.Run("captured by the other", func(t *testing.T) {
		id, _ := w.pay(t, base, byHand, "Order #3", 1500)
		w.patch(t, "authorizations", id, `{"_capture":true}`).want(t, 200, nil)
		show(id).want(t, 200, map[string]any{"status": "capturing"})
		w.run(t, models.Capture, w.onlyCapture(t, id))
		show(id).want(t, 200, map[string]any{"status": "captured", "amount.captured": 1500})
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 422, map[string]any{"code": "CAPTURED_ONCE"})
	})
	t.Run("made by the other", func(t *testing.T) {
		p := w.place(t, byHand, 1500, 1500, "")
		show(p.authorization).want(t, 200, map[string]any{"status": "authorized", "source": nil, "reference": nil, "use_case": "ONE_OFF"})
		ask(t, base, operator, "POST", "/payments/"+p.authorization+"/capture", `{"reference":"mine"}`).want(t, 200, map[string]any{"status": "capturing"})
		w.get(t, "/api/captures/"+w.onlyCapture(t, p.authorization)).want(t, 200, map[string]any{"data.attributes.reference": "mine"})
	})
	t.Run("void", func(t *testing.T) {
		id, hold := w.pay(t, base, byHand, "Order #4", 1500)
		ask(t, base, operator, "POST", "/payments/"+id+"/void", "").want(t, 200, map[string]any{"status": "voiding"})
		void, _ := w.get(t, "/api/authorizations/"+id+"/voids").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
		w.run(t, models.Void, void)
		show(id).want(t, 200, map[string]any{"status": "voided"})
		if book := w.sandbox.BookOf(hold); len(book.Captures) != 0 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 422, map[string]any{"code": "HOLD_CLOSED"})
		ask(t, base, operator, "POST", "/payments/"+id+"/refunds", `{"reference":"mine"}`).want(t, 422, map[string]any{"code": "NOT_SUCCEEDED"})
	})
	t.Run("a lost answer", func(t *testing.T) {
		hold := w.paymentIntent(t, 1500, "charge_then_drop")
		id := ask(t, base, operator, "POST", "/payments", paymentBody(byHand, "Order #7", hold, 1500)).paymentID(t)
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 200, map[string]any{"status": "capturing"})
		w.run(t, models.Capture, w.onlyCapture(t, id))
		show(id).want(t, 200, map[string]any{"status": "capturing", "amount.captured": nil})
		// Asking again asks the gateway what became of the first, and takes nothing.
		ask(t, base, operator, "POST", "/payments/"+id+"/capture", `{"reference":"mine"}`).want(t, 422, map[string]any{"code": "CAPTURED_ONCE"})
		show(id).want(t, 200, map[string]any{"status": "captured", "amount.captured": 1500})
		if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
	})
	t.Run("under a key", func(t *testing.T) {
		id, hold := w.pay(t, base, byHand, "Order #8", 1500)
		again := func() reply {
			t.Helper()
			return send(t, base, "", "POST", "/payments/"+id+"/capture", `{"amount":500,"currency_code":"EUR","reference":"mine"}`,
				"X-API-Key", secretOf(operator), "Content-Type", "application/json", "X-Idempotency-Key", "one")
		}
		first := again().want(t, 200, map[string]any{"status": "capturing"})
		if diff := cmp.Diff(string(first.body), string(again().want(t, 200, nil).body)); diff != "" {
			t.Errorf("the same request is answered otherwise:\n%s", diff)
		}
		w.run(t, models.Capture, w.onlyCapture(t, id))
		if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 || book.Captures[0].Amount != 500 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
	})
	t.Run("the same again", func(t *testing.T) {
		hold := w.paymentIntent(t, 700, "")
		body := paymentBody(automatic, "Order #5", hold, 700)
		first := ask(t, base, operator, "POST", "/payments", body)
		again := ask(t, base, operator, "POST", "/payments", body)
		if first.paymentID(t) != again.paymentID(t) {
			t.Errorf("two payments: %s and %s", first.body, again.body)
		}
		w.onlyCapture(t, again.paymentID(t))
		ask(t, base, operator, "POST", "/payments", paymentBody(automatic, "Order #5", hold, 600)).want(t, 422, map[string]any{"code": "REFERENCE_TAKEN", "parameter": "reference"})
		ask(t, base, operator, "POST", "/payments", paymentBody(automatic, "Order #6", hold, 700)).want(t, 422, map[string]any{"code": "GATEWAY_TRANSACTION_TAKEN", "parameter": "source.transaction_id"})
		ask(t, base, operator, "POST", "/payments", paymentBody(byHand, "Order #5", w.paymentIntent(t, 700, ""), 700)).want(t, 422, map[string]any{"code": "REFERENCE_TAKEN"})
	})
	t.Run("an order that nobody approved stays so", func(t *testing.T) {
		w.post(t, "orders", `{"reference":"theirs","currency_code":"EUR","total_amount_cents":900}`, to("payment_method", "payment_methods", automatic)).want(t, 201, nil)
		id, _ := w.pay(t, base, automatic, "theirs", 900)
		show(id).want(t, 200, map[string]any{"status": "processing"})
		w.get(t, "/api/authorizations/"+id+"/captures").want(t, 200, map[string]any{"meta.record_count": 0})
	})
	t.Run("lists", func(t *testing.T) {
		all := ask(t, base, reader, "GET", "/payments?limit=3&page=2", "").want(t, 200, map[string]any{"data.3": nil, "pagination.current_page": 2, "pagination.page_size": 3, "pagination.total_items": 9, "pagination.total_pages": 3})
		if all.at(t, "data.2.id") == nil {
			t.Errorf("the page is short: %s", all.body)
		}
		send(t, base, livery, "GET", "/payments", "").want(t, 200, map[string]any{"data.0": nil, "pagination.total_items": 0, "pagination.total_pages": 1})
		id, _ := all.at(t, "data.0.id").(string)
		send(t, base, livery, "GET", "/payments/"+id, "").want(t, 404, map[string]any{"code": "RECORD_NOT_FOUND"})
		send(t, base, livery, "GET", "/payments/"+id+"/refunds", "").want(t, 404, nil)
	})
}

// Twenty captures of one payment at once: one wins, and the gateway has one. The
// same payment made twenty times at once is one.
func TestHellgateConcurrency(t *testing.T) {
	w := newWorld(t)
	base := hellgateOf(t, w)
	flow := w.flowOf(t, "by hand", byHandFlow)
	hold := w.paymentIntent(t, 3000, "")
	at := func(path, body string) (counts map[int]int, ids map[string]bool) {
		counts, ids = map[int]int{}, map[string]bool{}
		var mu sync.Mutex
		var running sync.WaitGroup
		for range 20 {
			running.Go(func() {
				r := ask(t, base, operator, http.MethodPost, path, body)
				mu.Lock()
				defer mu.Unlock()
				counts[r.status]++
				if r.status == 200 {
					ids[fmt.Sprint(r.at(t, "id"))] = true
				}
			})
		}
		running.Wait()
		return counts, ids
	}
	counts, ids := at("/payments", paymentBody(flow, "one", hold, 3000))
	if counts[200] != 20 || len(ids) != 1 {
		t.Fatalf("the same payment twenty times: statuses %v, payments %v", counts, ids)
	}
	id := ask(t, base, operator, "POST", "/payments", paymentBody(flow, "one", hold, 3000)).paymentID(t)
	counts, _ = at("/payments/"+id+"/capture", `{"amount":1000,"currency_code":"EUR","reference":"a third"}`)
	if counts[200] != 1 || counts[409] != 19 {
		t.Errorf("statuses of twenty captures: %v", counts)
	}
	w.run(t, models.Capture, w.onlyCapture(t, id))
	if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 || book.Captures[0].Amount != 1000 {
		t.Errorf("the gateway booked %+v", book.Captures)
	}
	counts, _ = at("/payments/"+id+"/capture", `{"reference":"the rest"}`)
	if counts[422] != 20 {
		t.Errorf("statuses of twenty more captures: %v", counts)
	}
	counts, _ = at("/payments/"+id+"/refunds", `{"amount":300,"currency_code":"EUR","reference":"r"}`)
	if counts[200] != 3 || counts[422] != 17 {
		t.Errorf("statuses of twenty refunds of 300 of 1,000: %v", counts)
	}
}

// Whatever is wrong with a request is named, with the right status, and leaves
// the ledger as it was.
func TestHellgateBadInput(t *testing.T) {
	w := newWorld(t)
	base := hellgateOf(t, w)
	flow := w.flowOf(t, "by hand", byHandFlow)
	w.flowOf(t, "twin", byHandFlow)
	w.flowOf(t, "twin", byHandFlow)
	id, _ := w.pay(t, base, flow, "there", 1500)
	hold, smaller := w.paymentIntent(t, 1500, ""), w.paymentIntent(t, 100, "")
	nobody := store.NewID()
	with := func(change string) string {
		m := object(t, paymentBody(flow, "new", hold, 1500))
		for name, v := range object(t, change) {
			m[name] = v
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	source := func(members string) string {
		return with(`{"source":{"type":"card","transaction_id":"` + hold + `"` + members + `}}`)
	}
	const payments = "/payments"
	capture, refunds := payments+"/"+id+"/capture", payments+"/"+id+"/refunds"
	rows := []bad{
		{"no body", "POST", payments, " ", nil, 400, "INVALID_DOCUMENT", ""},
		{"no JSON", "POST", payments, `{"amount":`, nil, 400, "INVALID_DOCUMENT", ""},
		{"an array", "POST", payments, `[]`, nil, 400, "INVALID_DOCUMENT", ""},
		{"a member twice", "POST", payments, `{"amount":1,"amount":2}`, nil, 400, "INVALID_DOCUMENT", "amount"},
		{"a NUL", "POST", payments, with(`{"reference":"a\u0000"}`), nil, 400, "INVALID_DOCUMENT", "reference"},
		{"nested too deep", "POST", payments, strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40), nil, 400, "INVALID_DOCUMENT", "*"},
		{"too large", "POST", payments, source(`,"a":"` + strings.Repeat("x", 300<<10) + `"`), nil, 413, "PAYLOAD_TOO_LARGE", ""},
		{"no content type", "POST", payments, with(`{}`), []string{"Content-Type", ""}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"a form", "POST", payments, with(`{}`), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},
		{"compressed", "POST", payments, with(`{}`), []string{"Content-Encoding", "gzip"}, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type"},

		{"a card number", "POST", payments, source(`,"number":"4242424242424242"`), nil, 400, "CARD_DATA", "source.number"},
		{"a card number in groups", "POST", payments, source(`,"number":"4242 4242 4242 4242"`), nil, 400, "CARD_DATA", "source.number"},
		{"a card number as a number", "POST", payments, source(`,"card":{"number":4242424242424242}`), nil, 400, "CARD_DATA", "source.card.number"},
		{"a card number deep inside", "POST", payments, source(`,"a":[{"b":["x 378282246310005 y"]}]`), nil, 400, "CARD_DATA", "source.a.b"},
		{"a card number as a name", "POST", payments, source(`,"4242424242424242":true`), nil, 400, "CARD_DATA", "source"},
		{"a card number as the reference", "POST", payments, with(`{"reference":"4242424242424242"}`), nil, 400, "CARD_DATA", "reference"},
		{"a card number in what nobody reads", "POST", payments, with(`{"additional_information":{"x":"5555555555554444"}}`), nil, 400, "CARD_DATA", "additional_information.x"},
		{"a card number as a name, twice", "POST", payments, `{"4242424242424242":1,"4242424242424242":2}`, nil, 400, "INVALID_DOCUMENT", ""},
		{"a card number as a parameter", "GET", payments + "?4242424242424242=1", "", nil, 400, "INVALID_PARAMETER", ""},
		{"a card's secret", "POST", payments, source(`,"security_code":"123"`), nil, 400, "CARD_DATA", "source.security_code"},
		{"a card number with a capture", "POST", capture, `{"reference":"4242424242424242"}`, nil, 400, "CARD_DATA", "reference"},

		{"nothing given", "POST", payments, `{}`, nil, 422, "VALIDATION_ERROR", "amount"},
		{"no amount", "POST", payments, with(`{"amount":null}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"nothing", "POST", payments, with(`{"amount":0}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"less than nothing", "POST", payments, with(`{"amount":-1}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"a fraction", "POST", payments, with(`{"amount":1.5}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"in quotes", "POST", payments, with(`{"amount":"1500"}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"a huge amount", "POST", payments, `{"amount":99999999999999999999,"currency_code":"EUR","reference":"a","source":{"type":"card","transaction_id":"x"}}`, nil, 422, "VALIDATION_ERROR", "amount"},
		{"less than a huge amount", "POST", payments, `{"amount":-99999999999999999999,"currency_code":"EUR","reference":"a","source":{"type":"card","transaction_id":"x"}}`, nil, 422, "VALIDATION_ERROR", "amount"},
		{"no currency", "POST", payments, with(`{"currency_code":null}`), nil, 422, "VALIDATION_ERROR", "currency_code"},
		{"an unknown currency", "POST", payments, with(`{"currency_code":"XYZ"}`), nil, 422, "VALIDATION_ERROR", "currency_code"},
		{"another currency than the flow's", "POST", payments, with(`{"currency_code":"USD"}`), nil, 422, "VALIDATION_ERROR", "currency_code"},
		{"no reference", "POST", payments, with(`{"reference":null}`), nil, 422, "VALIDATION_ERROR", "reference"},
		{"an empty reference", "POST", payments, with(`{"reference":""}`), nil, 422, "VALIDATION_ERROR", "reference"},
		{"a long reference", "POST", payments, with(`{"reference":"` + strings.Repeat("ä", 81) + `"}`), nil, 422, "VALIDATION_ERROR", "reference"},
		{"an unknown use case", "POST", payments, with(`{"use_case":"SOMETIMES"}`), nil, 422, "VALIDATION_ERROR", "use_case"},
		{"no flow, and several that fit", "POST", payments, with(`{"flow":null}`), nil, 422, "VALIDATION_ERROR", "flow"},
		{"an unknown flow", "POST", payments, with(`{"flow":"nobody's"}`), nil, 422, "VALIDATION_ERROR", "flow"},
		{"an unknown flow's id", "POST", payments, with(`{"flow":"` + nobody + `"}`), nil, 422, "VALIDATION_ERROR", "flow"},
		{"a flow's name that two have", "POST", payments, with(`{"flow":"twin"}`), nil, 422, "VALIDATION_ERROR", "flow"},
		{"no source", "POST", payments, with(`{"source":null}`), nil, 422, "VALIDATION_ERROR", "source"},
		{"a source without a type", "POST", payments, with(`{"source":{"transaction_id":"` + hold + `"}}`), nil, 422, "VALIDATION_ERROR", "source.type"},
		{"a checkout of the original's", "POST", payments, with(`{"source":{"type":"checkout"}}`), nil, 422, "VALIDATION_ERROR", "source.transaction_id"},
		{"a hold's id with blanks", "POST", payments, with(`{"source":{"type":"card","transaction_id":"pi 1/../x"}}`), nil, 422, "VALIDATION_ERROR", "source.transaction_id"},
		{"a source too large", "POST", payments, source(`,"a":"` + strings.Repeat("x", 9<<10) + `"`), nil, 422, "VALIDATION_ERROR", "source"},
		{"a hold that the gateway does not have", "POST", payments, with(`{"source":{"type":"card","transaction_id":"pi_nobodys"}}`), nil, 422, "VALIDATION_ERROR", "source.transaction_id"},
		{"more than the gateway holds", "POST", payments, with(`{"source":{"type":"card","transaction_id":"` + smaller + `"}}`), nil, 422, "VALIDATION_ERROR", "amount"},
		{"the reference of another amount", "POST", payments, with(`{"reference":"there","amount":1400}`), nil, 422, "REFERENCE_TAKEN", "reference"},

		{"a capture without a reference", "POST", capture, `{}`, nil, 422, "VALIDATION_ERROR", "reference"},
		{"a part without a currency", "POST", capture, `{"amount":1,"reference":"a"}`, nil, 422, "VALIDATION_ERROR", "currency_code"},
		{"a part in another currency", "POST", capture, `{"amount":1,"currency_code":"USD","reference":"a"}`, nil, 422, "CURRENCY_MISMATCH", "currency_code"},
		{"more than is authorized", "POST", capture, `{"amount":1501,"currency_code":"EUR","reference":"a"}`, nil, 422, "CAPTURE_EXCEEDS_HOLD", "amount"},
		{"a part of nothing", "POST", capture, `{"amount":0,"currency_code":"EUR","reference":"a"}`, nil, 422, "VALIDATION_ERROR", "amount"},
		{"a refund before a capture", "POST", refunds, `{"reference":"a"}`, nil, 422, "NOT_SUCCEEDED", ""},
		{"a refund in another currency", "POST", refunds, `{"amount":1,"currency_code":"USD","reference":"a"}`, nil, 422, "VALIDATION_ERROR", "currency_code"},
		{"a refund without a reference", "POST", refunds, `{"amount":1,"currency_code":"EUR"}`, nil, 422, "VALIDATION_ERROR", "reference"},

		{"a payment that is not there", "GET", payments + "/" + nobody, "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"an id that is none", "GET", payments + "/'%20OR%201=1", "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"a capture of nothing", "POST", payments + "/" + nobody + "/capture", `{"reference":"a"}`, nil, 404, "RECORD_NOT_FOUND", ""},
		{"a void of nothing", "POST", payments + "/" + nobody + "/void", "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"a refund of nothing", "POST", payments + "/" + nobody + "/refunds", `{"reference":"a"}`, nil, 404, "RECORD_NOT_FOUND", ""},
		{"a refund that is not there", "GET", "/refunds/" + nobody, "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"a payment is no refund", "GET", "/refunds/" + id, "", nil, 404, "RECORD_NOT_FOUND", ""},
		{"DELETE", "DELETE", payments + "/" + id, "", nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"page zero", "GET", payments + "?page=0", "", nil, 400, "INVALID_PARAMETER", "page"},
		{"a page far away", "GET", payments + "?page=99999999999999999999", "", nil, 400, "INVALID_PARAMETER", "page"},
		{"a page too large", "GET", payments + "?limit=501", "", nil, 400, "INVALID_PARAMETER", "limit"},
		{"a parameter twice", "GET", refunds + "?limit=5&limit=6", "", nil, 400, "INVALID_PARAMETER", "limit"},
		{"a filter that is not there", "GET", payments + "?status=captured", "", nil, 400, "INVALID_PARAMETER", "status"},
		{"a query that is none", "GET", payments + "?page=%zz", "", nil, 400, "BAD_REQUEST", ""},
	}
	before := w.rows(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			headers := append([]string{"X-API-Key", secretOf(operator), "Content-Type", "application/json"}, row.headers...)
			r := send(t, base, "", row.method, row.path, row.body, headers...)
			r.want(t, row.status, map[string]any{"code": row.code, "errors.0.code": row.code})
			if got, _ := r.at(t, "parameter").(string); got != row.source && !(row.source == "*" && got != "") {
				t.Errorf("parameter = %q, want %q: %s", got, row.source, r.body)
			}
			if text, _ := r.at(t, "message").(string); text == "" || strings.Contains(string(r.body), "SQL") || strings.Contains(string(r.body), "4242424242424242") {
				t.Errorf("the answer is %s", r.body)
			}
		})
	}
	ask(t, base, reader, "POST", payments, with(`{}`)).want(t, 403, map[string]any{"code": "UNAUTHORIZED"})
	send(t, base, "", "GET", payments, "").want(t, 401, map[string]any{"code": "UNAUTHORIZED"})
	send(t, base, "", "GET", payments, "", "X-API-Key", "nobody").want(t, 401, map[string]any{"code": "INVALID_TOKEN"})
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}
