package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/elasticpath"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// newElastic is a world whose API speaks Elastic Path beside Commerce Layer. Its
// account other is worded as the one whose errors have a document of their own.
// An answer waits for its outcome as long as wait.
func newElastic(t *testing.T, wait time.Duration) *world {
	t.Helper()
	w := newWorld(t)
	if _, err := w.store.EnsureGateway(t.Context(), "manual", manual.Provider, models.Test); err != nil {
		t.Fatal(err)
	}
	accounts := gateway.Accounts{"manual": manual.New()}
	for _, slug := range []string{"stripe", "other"} {
		a := stripe.New(stripe.Config{Account: slug, SecretKey: "sk_test_key", BaseURL: w.sandboxURL, Timeout: tempo.Budget(), SettleAfter: tempo.Of(10 * time.Second)})
		t.Cleanup(a.Close)
		accounts[slug] = a
	}
	w.runner = worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: accounts, Name: "worker", Log: w.log})
	layer := commercelayer.New(commercelayer.Config{
		Store: w.store, Enqueuer: w.enqueuer, Forward: w.runner.Forward, Person: w.runner, Settle: w.runner.Settle, Now: time.Now,
		Accounts: []commercelayer.Account{{SourceType: "stripe_payments", Slug: "stripe"}, {SourceType: "paypal_payments", Slug: "other"}, {SourceType: "wire_transfers", Slug: "manual", MultiCapture: true}},
	})
	elastic := elasticpath.New(elasticpath.Config{
		Engine:   api.Engine{Store: w.store, Enqueuer: w.enqueuer, Settle: w.runner.Settle, Person: w.runner},
		Describe: w.runner.Describe, Wait: wait, Now: time.Now,
		Accounts: []elasticpath.Account{
			{Slug: "stripe", Gateways: []string{"elastic_path_payments_stripe", "stripe"}}, {Slug: "other", Gateways: []string{"paypal_express_checkout"}, Refuses: "paypal"},
			{Slug: "manual", Gateways: []string{"manual"}, MultiCapture: true, ByHand: true},
		},
	})
	var tokens []api.Token
	for name, scope := range map[string]api.Scope{reader: api.ScopeRead, operator: api.ScopeOperate, admin: api.ScopeAdmin} {
		tokens = append(tokens, api.Token{Name: name, Secret: gateway.Secret(secretOf(name)), Scope: scope, Mode: models.Test})
	}
	tokens = append(tokens, api.Token{Name: livery, Secret: gateway.Secret(secretOf(livery)), Scope: api.ScopeAdmin, Mode: models.Live})
	server, err := api.New(api.Config{Tokens: tokens, Store: w.store, Log: w.log, Registerer: prometheus.NewRegistry(), Now: time.Now}, layer.Dialect(), elastic.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	w.api, w.url = server, listen(t, server)
	return w
}

// v2 sends as a published client does.
func (w *world) v2(t testing.TB, token, method, path, body string) reply {
	t.Helper()
	return w.send(t, token, method, "/v2/orders/"+path, body, "Content-Type", "application/json")
}

// methodOf makes a payment method that captures nothing by itself.
func (w *world) methodOf(t testing.TB, source, currency string) string {
	t.Helper()
	return w.post(t, "payment_methods", fmt.Sprintf(`{"name":"EP","payment_source_type":%q,"currency_code":%q,"auto_capture":false}`, source, currency), `{}`).want(t, 201, nil).id(t)
}

func (w *world) orderOf(t testing.TB, method, currency string, cents int64) string {
	t.Helper()
	return w.post(t, "orders", fmt.Sprintf(`{"currency_code":%q,"total_amount_cents":%d}`, currency, cents), to("payment_method", "payment_methods", method)).want(t, 201, nil).id(t)
}

// intentIn makes a hold in any currency.
func (w *world) intentIn(t testing.TB, cents int64, currency, fault string) string {
	t.Helper()
	form := url.Values{"amount": {fmt.Sprint(cents)}, "currency": {strings.ToLower(currency)}, "capture_method": {"manual"}, "confirm": {"true"}}
	if fault != "" {
		form.Set("metadata[fault]", fault)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.sandboxURL+"/v1/payment_intents", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer sk_test_key")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var pi struct{ ID string }
	if err := json.NewDecoder(answer.Body).Decode(&pi); err != nil || pi.ID == "" {
		t.Fatalf("make a hold: %v, %+v", err, pi)
	}
	return pi.ID
}

// paidBy is an order with one transaction; it returns the path of the transaction
// and the gateway's id of the hold.
func (w *world) paidBy(t testing.TB, gatewayName, method, currency string, cents int64, fault string) (order, path, hold string) {
	t.Helper()
	order = w.orderOf(t, method, currency, cents)
	hold = w.intentIn(t, cents, currency, fault)
	r := w.v2(t, operator, "POST", order+"/payments", fmt.Sprintf(`{"data":{"gateway":%q,"method":"authorize","payment":%q}}`, gatewayName, hold)).
		want(t, 200, map[string]any{"data.transaction_type": "authorize", "data.status": "complete", "data.amount": cents, "data.reference": hold, "data.next_actions.1": "capture"})
	return order, order + "/transactions/" + r.id(t), hold
}

// golden compares an answer with a sample: every member of the sample is there,
// of its type, and of its value unless that varies. absent are members that an
// answer leaves out on purpose, extra those it has on top.
func golden(t *testing.T, r reply, status int, sample string, varies, absent, extra []string) {
	t.Helper()
	if r.status != status || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: status %d %s, want %d: %s", sample, r.status, r.header.Get("Content-Type"), status, r.body)
	}
	raw, err := os.ReadFile(filepath.Join("elasticpath", "testdata", sample))
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	for from, into := range map[*any][]byte{&want: raw, &got: r.body} {
		if err := json.Unmarshal(into, from); err != nil {
			t.Fatalf("%s: %v", sample, err)
		}
	}
	for _, line := range differences("", want, got, varies, absent, extra) {
		t.Errorf("%s: %s: %s", sample, line, r.body)
	}
}

func differences(at string, want, got any, varies, absent, extra []string) (lines []string) {
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		return []string{fmt.Sprintf("%s is a %T, not a %T", at, got, want)}
	}
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for name, v := range w {
			here := strings.TrimPrefix(at+"."+name, ".")
			if in, there := g[name]; there {
				lines = append(lines, differences(here, v, in, varies, absent, extra)...)
			} else if !slices.Contains(absent, here) {
				lines = append(lines, here+" is missing")
			}
		}
		for name := range g {
			if _, there := w[name]; !there && !slices.Contains(extra, strings.TrimPrefix(at+"."+name, ".")) {
				lines = append(lines, strings.TrimPrefix(at+"."+name, ".")+" is not in the sample")
			}
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			return []string{fmt.Sprintf("%s has %d elements, not %d", at, len(g), len(w))}
		}
		for i := range w {
			lines = append(lines, differences(fmt.Sprintf("%s.%d", at, i), w[i], g[i], varies, absent, extra)...)
		}
	default:
		if want != got && !slices.Contains(varies, at) {
			lines = append(lines, fmt.Sprintf("%s is %v, not %v", at, got, want))
		}
	}
	return lines
}

// varying are the members of a transaction that no two have alike.
func varying(at string) []string {
	var names []string
	for _, name := range []string{"id", "reference", "relationships.order.data.id", "meta.timestamps.created_at", "meta.timestamps.updated_at"} {
		names = append(names, at+name)
	}
	return names
}

// TestElasticPathSamples runs the call of every sample of the seed.
func TestElasticPathSamples(t *testing.T) {
	w := newElastic(t, 20*time.Second)
	w.work(t)
	dollars, pounds, others := w.methodOf(t, "stripe_payments", "USD"), w.methodOf(t, "wire_transfers", "GBP"), w.methodOf(t, "paypal_payments", "USD")
	t.Run("capture", func(t *testing.T) {
		order := w.orderOf(t, pounds, "GBP", 60000)
		id := w.v2(t, operator, "POST", order+"/payments", `{"data":{"gateway":"manual","method":"authorize","paymentmethod_meta":{"custom_reference":"first","name":"Invoice"}}}`).
			want(t, 200, map[string]any{"data.custom_reference": "first", "data.name": "Invoice", "data.reference": "manual", "data.amount": 60000}).id(t)
		r := w.v2(t, admin, "POST", order+"/transactions/"+id+"/capture", `{"data":{"custom_reference":"my_custom_reference"}}`)
		golden(t, r, 200, "capture.json", varying("data."), nil, []string{"data.name", "data.refunded_amount", "data.meta.display_refunded_amount"})
		r.want(t, 200, map[string]any{"data.id": id, "data.reference": "manual", "data.relationships.order.data.id": order})
		w.get(t, "/api/orders/"+order).want(t, 200, map[string]any{"data.attributes.payment_status": "paid", "data.attributes.status": "approved"})
	})
	t.Run("capture, manual", func(t *testing.T) {
		_, path, hold := w.paidBy(t, "elastic_path_payments_stripe", dollars, "USD", 20000, "")
		const body = `{"data":{"capture_mechanism":"manual"}}`
		w.v2(t, operator, "POST", path+"/capture", body).want(t, 403, map[string]any{"errors.0.meta.code": "UNAUTHORIZED"})
		// The published example labels its body as curl does by itself.
		r := w.send(t, admin, "POST", "/v2/orders/"+path+"/capture", body, "Content-Type", "application/x-www-form-urlencoded")
		golden(t, r, 200, "capture_manual.json", varying("data."), nil, nil)
		r.want(t, 200, map[string]any{"data.reference": hold})
		golden(t, w.v2(t, operator, "POST", path+"/refund", `{"data":{"amount":20000}}`), 400, "refund_of_manual.json", nil, nil, nil)
		w.v2(t, admin, "POST", path+"/refund", "").want(t, 200, map[string]any{
			"data.transaction_type": "refund", "data.status": "complete", "data.refunded_amount": 20000, "data.refund_mechanism": "manual", "data.meta.display_refunded_amount.total.formatted": "$200.00",
		})
		for _, e := range w.sandbox.Book().Captures {
			if e.Hold == hold {
				t.Errorf("the gateway was asked: %+v", e)
			}
		}
	})
	t.Run("expired", func(t *testing.T) {
		order, path, _ := w.paidBy(t, "stripe", dollars, "USD", 10000, "expired")
		notKept := []string{}
		for _, name := range []string{"doc_url", "payment_intent", "request_log_url", "type"} {
			notKept = append(notKept, "errors.0.meta.error."+name)
		}
		for range 2 { // the second is not asked of the gateway any more
			golden(t, w.v2(t, operator, "POST", path+"/capture", ""), 400, "expired_stripe.json",
				[]string{"errors.0.detail", "errors.0.meta.error.message"}, notKept, []string{"errors.0.meta.error.detail", "errors.0.meta.error.request_id"})
		}
		golden(t, w.v2(t, reader, "GET", order+"/transactions", ""), 200, "expired_get.json", append(varying("data.0."), "data.0.gateway"), nil, nil)
		w.v2(t, operator, "POST", path+"/cancel", `{"data":{"options":{"reason":"abandoned"}}}`).want(t, 200, map[string]any{"data.payment_details.detailed_status": "expired_uncaptured_charge"})
		// A new transaction pays the order.
		again := w.intentIn(t, 10000, "USD", "")
		id := w.v2(t, operator, "POST", order+"/payments", fmt.Sprintf(`{"data":{"gateway":"stripe","method":"authorize","payment":%q}}`, again)).want(t, 200, nil).id(t)
		w.v2(t, operator, "POST", order+"/transactions/"+id+"/capture", "").want(t, 200, map[string]any{"data.transaction_type": "capture", "data.status": "complete", "data.gateway": "stripe"})
		w.v2(t, reader, "GET", order+"/transactions", "").want(t, 200, map[string]any{"data.0.transaction_type": "authorize", "data.1.transaction_type": "capture", "data.2": nil})
	})
	t.Run("expired, worded otherwise", func(t *testing.T) {
		_, path, _ := w.paidBy(t, "paypal_express_checkout", others, "USD", 10000, "expired")
		golden(t, w.v2(t, operator, "POST", path+"/capture", ""), 422, "expired_paypal.json",
			[]string{"errors.0.detail", "errors.0.meta.debug_id", "errors.0.meta.details.description"}, nil, []string{"errors.0.meta.details.issue"})
	})
	w.audit(t)
}

// TestElasticPathTransaction: one transaction through its life, seen here and
// through /api/captures, whichever was asked.
func TestElasticPathTransaction(t *testing.T) {
	w := newElastic(t, 20*time.Second)
	w.work(t)
	method := w.methodOf(t, "stripe_payments", "USD")
	order, path, hold := w.paidBy(t, "stripe", method, "USD", 10000, "")
	id := path[strings.LastIndex(path, "/")+1:]
	w.get(t, "/api/authorizations/"+id).want(t, 200, map[string]any{"data.attributes.gateway_transaction_id": hold, "data.attributes.metadata.elastic_path.gateway": "stripe"})
	w.v2(t, operator, "POST", order+"/payments", fmt.Sprintf(`{"data":{"gateway":"stripe","method":"authorize","payment":%q}}`, hold)).want(t, 200, map[string]any{"data.id": id}) // the same again
	w.v2(t, operator, "POST", path+"/capture", `{"data":{"custom_reference":"inv-7"}}`).want(t, 200, map[string]any{
		"data.id": id, "data.transaction_type": "capture", "data.status": "complete", "data.custom_reference": "inv-7", "data.next_actions": nil, "data.capture_mechanism": nil,
	})
	list := w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.succeeded": true, "data.0.attributes.amount_cents": 10000, "data.0.attributes.reference": "inv-7"})
	capture, _ := list.at(t, "data.0.id").(string)
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 422, map[string]any{"errors.0.status": 422})
	w.v2(t, operator, "POST", path+"/cancel", "").want(t, 422, nil)
	w.v2(t, operator, "POST", path+"/refund", `{"data":{"amount":10001}}`).want(t, 422, map[string]any{"errors.0.meta.rule": "refund_exceeds_balance", "errors.0.meta.pointer": "/data/amount"})
	w.v2(t, operator, "POST", path+"/refund", `{"data":{"amount":4000,"options":{"note":"late"}}}`).want(t, 200, map[string]any{
		"data.id": id, "data.transaction_type": "refund", "data.status": "complete", "data.amount": 10000, "data.refunded_amount": 4000, "data.refund_mechanism": "automatic", "data.meta.display_refunded_amount.total.formatted": "$40.00",
	})
	w.patch(t, "captures", capture, `{"_refund_amount_cents":1000}`).want(t, 200, nil) // and the other way round
	until(t, "the refund to be seen here", func() bool {
		return w.v2(t, reader, "GET", path, "").at(t, "data.refunded_amount") == "5000"
	})
	w.v2(t, operator, "POST", path+"/refund", "").want(t, 403, nil)
	w.v2(t, admin, "POST", path+"/refund", "").want(t, 200, map[string]any{"data.refunded_amount": 10000, "data.refund_mechanism": "manual"})
	w.get(t, "/api/orders/"+order).want(t, 200, map[string]any{"data.attributes.payment_status": "refunded"})
	book := w.sandbox.Book()
	if len(book.Captures) != 1 || len(book.Refunds) != 2 {
		t.Errorf("the gateway's book has %d captures and %d refunds", len(book.Captures), len(book.Refunds))
	}

	// A capture made through Commerce Layer's API flips the transaction here.
	_, path, _ = w.paidBy(t, "stripe", method, "USD", 700, "")
	w.patch(t, "authorizations", path[strings.LastIndex(path, "/")+1:], `{"_capture":true}`).want(t, 200, nil)
	until(t, "the capture to be seen here", func() bool {
		r := w.v2(t, reader, "GET", path, "")
		return r.at(t, "data.transaction_type") == "capture" && r.at(t, "data.status") == "complete"
	})
	// A cancel releases, once.
	_, path, _ = w.paidBy(t, "stripe", method, "USD", 800, "")
	for range 2 {
		w.v2(t, operator, "POST", path+"/cancel", `{"data":{"reason":"duplicate"}}`).want(t, 200, map[string]any{
			"data.transaction_type": "authorize", "data.status": "failed", "data.payment_details.detailed_status": "canceled", "data.next_actions.0": nil,
		})
	}
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 422, map[string]any{"errors.0.meta.rule": "nothing_left"})

	// Asked for many times at once, it is captured once.
	_, path, hold = w.paidBy(t, "stripe", method, "USD", 900, "")
	statuses := make(chan int, 8)
	for range cap(statuses) {
		go func() { statuses <- w.v2(t, operator, "POST", path+"/capture", "").status }()
	}
	counts := map[int]int{}
	for range cap(statuses) {
		counts[<-statuses]++
	}
	if counts[200] != 1 || counts[200]+counts[409]+counts[422] != cap(statuses) {
		t.Errorf("statuses %v", counts)
	}
	booked := 0
	for _, e := range w.sandbox.Book().Captures {
		if e.Hold == hold {
			booked++
		}
	}
	if booked != 1 {
		t.Errorf("%d captures of one hold at the gateway", booked)
	}
	w.audit(t)
}

// TestElasticPathOpenOutcome: what is not known yet is pending, and no error; a
// capture that is asked for again meanwhile moves nothing twice.
func TestElasticPathOpenOutcome(t *testing.T) {
	w := newElastic(t, 100*time.Millisecond) // and nobody works
	_, path, hold := w.paidBy(t, "stripe", w.methodOf(t, "stripe_payments", "USD"), "USD", 10000, "")
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 200, map[string]any{"data.transaction_type": "capture", "data.status": "pending"})
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 409, map[string]any{"errors.0.meta.rule": "operation_under_way"})
	w.v2(t, operator, "POST", path+"/refund", `{"data":{"amount":1}}`).want(t, 422, map[string]any{"errors.0.meta.rule": "not_succeeded"})
	w.v2(t, operator, "POST", path+"/cancel", "").want(t, 409, nil)
	w.work(t)
	until(t, "the outcome", func() bool { return w.v2(t, reader, "GET", path, "").at(t, "data.status") == "complete" })
	if book := w.sandbox.Book(); len(book.Captures) != 1 || book.Captures[0].Hold != hold {
		t.Errorf("the gateway's book has %+v", book.Captures)
	}
}

// TestElasticPathCustomReference: absent keeps, different overwrites, empty clears.
func TestElasticPathCustomReference(t *testing.T) {
	w := newElastic(t, 20*time.Second)
	method := w.methodOf(t, "wire_transfers", "EUR")
	for _, c := range []struct{ body, want string }{
		{"", "first"}, {`{"data":{}}`, "first"}, {`{"data":{"custom_reference":null}}`, "first"}, {`{"data":{"custom_reference":"first"}}`, "first"},
		{`{"data":{"custom_reference":"second"}}`, "second"}, {`{"data":{"custom_reference":""}}`, ""},
	} {
		order := w.orderOf(t, method, "EUR", 500)
		id := w.v2(t, operator, "POST", order+"/payments", `{"data":{"method":"manual","custom_reference":"first"}}`).want(t, 200, nil).id(t)
		path := order + "/transactions/" + id
		var want any
		if c.want != "" {
			want = c.want
		}
		w.v2(t, admin, "POST", path+"/capture", c.body).want(t, 200, map[string]any{"data.custom_reference": want, "data.transaction_type": "capture"})
		w.v2(t, reader, "GET", path, "").want(t, 200, map[string]any{"data.custom_reference": want})
		w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{"data.0.attributes.reference": want})
	}
}

// TestElasticPathWord: where a capture waits for a person's word, the capture call
// is that word, and no second capture.
func TestElasticPathWord(t *testing.T) {
	w := newElastic(t, 100*time.Millisecond)
	method := w.post(t, "payment_methods", `{"name":"EP","payment_source_type":"wire_transfers","currency_code":"EUR","auto_capture":true}`, `{}`).want(t, 201, nil).id(t)
	order := w.orderOf(t, method, "EUR", 500)
	path := order + "/transactions/" + w.v2(t, operator, "POST", order+"/payments", `{"data":{"gateway":"manual","method":"authorize"}}`).want(t, 200, map[string]any{"data.status": "pending"}).id(t)
	capture, _ := w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1}).at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 403, nil)
	w.v2(t, admin, "POST", path+"/capture", `{"data":{"custom_reference":"statement 7"}}`).want(t, 200, map[string]any{"data.status": "complete", "data.transaction_type": "capture", "data.capture_mechanism": nil})
	w.get(t, "/api/orders/"+order+"/captures").want(t, 200, map[string]any{
		"meta.record_count": 1, "data.0.attributes.succeeded": true, "data.0.attributes.asserted_by": "api:admin", "data.0.attributes.reference": "statement 7",
	})
	// A refund of it is a word as well.
	w.v2(t, operator, "POST", path+"/refund", `{"data":{"amount":200}}`).want(t, 403, nil)
	w.v2(t, admin, "POST", path+"/refund", `{"data":{"amount":200}}`).want(t, 200, map[string]any{"data.refunded_amount": 200, "data.refund_mechanism": "manual", "data.status": "complete"})
	w.audit(t)

	// Of a gateway that can be asked nobody is believed about what may have been sent.
	_, path, _ = w.paidBy(t, "stripe", w.methodOf(t, "stripe_payments", "EUR"), "EUR", 700, "charge_then_drop")
	w.v2(t, operator, "POST", path+"/capture", "").want(t, 200, map[string]any{"data.status": "pending"})
	capture, _ = w.get(t, "/api/authorizations/"+path[len(path)-36:]+"/captures").at(t, "data.0.id").(string)
	w.run(t, models.Capture, capture)
	w.v2(t, admin, "POST", path+"/capture", `{"data":{"capture_mechanism":"manual"}}`).want(t, 422, map[string]any{"errors.0.meta.rule": "may_have_been_sent"})
}

// TestElasticPathOrderReference: a shop's own order id, kept as the reference,
// names the order here.
func TestElasticPathOrderReference(t *testing.T) {
	w := newElastic(t, 20*time.Second)
	const theirs = "239f104c-0b56-433c-a5f8-b73349196269"
	method := w.methodOf(t, "wire_transfers", "EUR")
	order := w.post(t, "orders", `{"reference":"`+theirs+`","currency_code":"EUR","total_amount_cents":500}`, to("payment_method", "payment_methods", method)).want(t, 201, nil).id(t)
	id := w.v2(t, operator, "POST", theirs+"/payments", `{"data":{"gateway":"manual","method":"authorize","amount":200}}`).
		want(t, 200, map[string]any{"data.relationships.order.data.id": theirs, "data.amount": 200}).id(t)
	w.v2(t, reader, "GET", theirs+"/transactions/"+id, "").want(t, 200, map[string]any{"data.relationships.order.data.id": theirs})
	w.v2(t, reader, "GET", order+"/transactions/"+id, "").want(t, 200, map[string]any{"data.relationships.order.data.id": order})
	w.v2(t, operator, "POST", theirs+"/payments", `{"data":{"gateway":"manual","method":"authorize"}}`).want(t, 200, map[string]any{"data.amount": 300}) // the rest
	w.v2(t, operator, "POST", theirs+"/payments", `{"data":{"gateway":"manual","method":"authorize"}}`).want(t, 422, map[string]any{"errors.0.meta.rule": "nothing_left"})
}
