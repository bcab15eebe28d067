package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/external"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

const externalSecret = "shared-secret-of-the-merchant"

// merchant is an external gateway that accepts everything it is told to, and a
// world whose orders are paid through it.
type merchant struct {
	*world
	answers atomic.Value // what it answers: status and body
	account string       // the payment gateway's id
}

type answer struct {
	status int
	body   string
}

func newMerchant(t *testing.T) *merchant {
	t.Helper()
	m := &merchant{world: newWorld(t)}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := m.answers.Load().(answer)
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	t.Cleanup(gate.Close)
	for slug, mode := range map[string]models.Mode{"external": models.Test, "external-live": models.Live} {
		g, err := m.store.EnsureGateway(t.Context(), slug, external.Provider, mode)
		if err != nil {
			t.Fatal(err)
		}
		if mode == models.Test {
			m.account = g.ID
		}
	}
	adapter := external.New(external.Config{
		Account: "external", CaptureURL: gate.URL + "/capture?code=hunter2", VoidURL: gate.URL + "/void", RefundURL: gate.URL + "/refund", AllowPrivate: true,
		SharedSecrets: []gateway.Secret{externalSecret}, Timeout: tempo.Budget(),
		Describe: func(_ context.Context, r gateway.Request) (external.Document, error) {
			return external.Document{
				Mode: models.Test, OperationID: "1", Order: external.Order{ID: "2", CurrencyCode: r.CurrencyCode}, Authorization: external.Authorization{ID: "3", CurrencyCode: r.CurrencyCode},
				Capture: &external.Capture{ID: "4", CurrencyCode: r.CurrencyCode},
			}, nil
		},
	})
	t.Cleanup(adapter.Close)
	m.runner = worker.NewRunner(worker.RunnerConfig{Store: m.store, Accounts: gateway.Accounts{"external": adapter}, Name: "worker", Log: m.log})
	hooks, err := webhooks.New(webhooks.Config{
		Store: m.store, Enqueuer: m.enqueuer, Settle: m.runner.Settle, CompareTold: m.runner.CompareTold, Now: time.Now, Log: m.log, Registerer: prometheus.NewRegistry(),
		Sources: []webhooks.Source{{Slug: "external", Mode: models.Test, Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
			return external.ParseWebhook(body, header, []gateway.Secret{externalSecret}, false, now)
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dialect := commercelayer.New(commercelayer.Config{
		Store: m.store, Enqueuer: m.enqueuer, Forward: m.runner.Forward, Settle: m.runner.Settle, Now: time.Now, Accounts: []commercelayer.Account{{SourceType: "external_payments", Slug: "external"}},
		External: []commercelayer.ExternalGateway{
			{Slug: "external", CaptureURL: "https://pay.example/capture?code=hunter2", VoidURL: "https://pay.example/void", Includes: []string{"order"}}, {Slug: "external-live"},
		},
	})
	var tokens []api.Token
	for name, scope := range map[string]api.Scope{reader: api.ScopeRead, operator: api.ScopeOperate, admin: api.ScopeAdmin, livery: api.ScopeAdmin} {
		mode := models.Test
		if name == livery {
			mode = models.Live
		}
		tokens = append(tokens, api.Token{Name: name, Secret: gateway.Secret(secretOf(name)), Scope: scope, Mode: mode})
	}
	server, err := api.New(api.Config{Tokens: tokens, Log: m.log, Registerer: prometheus.NewRegistry(), Now: time.Now}, dialect.Dialect(), hooks.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	m.hooks, m.api, m.url = hooks, server, listen(t, server)
	return m
}

// submitted is a capture of 1,500 that the merchant accepted as act_<hold>.
func (m *merchant) submitted(t *testing.T, method, hold string) string {
	t.Helper()
	m.answers.Store(answer{202, fmt.Sprintf(`{"success":true,"data":{"transaction_token":"tok_%s","amount_cents":1500,"action_id":"act_%s","metadata":{"psp":"theirs","nested":{}}}}`, hold, hold)})
	capture := m.pending(t, method, hold)
	m.run(t, models.Capture, capture)
	m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "submitted", "data.attributes.token": "act_" + hold, "data.attributes.metadata.psp": "theirs", "data.attributes.metadata.nested": nil, "data.attributes.gateway_transaction_id": "tok_" + hold})
	return capture
}

func (m *merchant) pending(t *testing.T, method, hold string) string {
	t.Helper()
	p := purchase{method: method, hold: hold}
	p.order = m.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", method)).want(t, 201, nil).id(t)
	p.authorization = m.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, hold), to("order", "orders", p.order)).want(t, 201, nil).id(t)
	return m.approve(t, p)
}

func (m *merchant) method(t *testing.T) string {
	t.Helper()
	return m.post(t, "payment_methods", `{"name":"Theirs","payment_source_type":"external_payments","currency_code":"EUR","auto_capture":true}`, `{}`).want(t, 201, nil).id(t)
}

func (m *merchant) callBack(t *testing.T, body string) reply {
	t.Helper()
	r := m.send(t, "", http.MethodPost, "/webhooks/external", body, "X-CommerceLayer-Signature", signCL(externalSecret, body), "Content-Type", "application/json")
	if r.status == 200 {
		m.process(t)
	}
	return r
}

// TestExternalCallbacks: what was accepted ends as its callback says, with the
// amount and the token that were answered, however often it is told.
func TestExternalCallbacks(t *testing.T) {
	t.Parallel()
	m := newMerchant(t)
	method := m.method(t)
	for _, row := range []struct {
		name, data string
		success    bool
		want       map[string]any
	}{
		{"success", `"action_id":"ACT","message":"all fine"`, true, map[string]any{"state": "succeeded", "confirmed_amount_cents": 1500, "token": "tok_success", "message": "all fine", "needs_attention": nil}},
		{"error", `"action_id":"ACT","error":{"code":"TOO_LATE","message":"sorry"}`, false, map[string]any{"state": "failed", "error_code": "TOO_LATE", "message": "sorry"}},
		{"amount", `"action_id":"ACT","amount_cents":900,"transaction_token":"tok_other"`, true, map[string]any{"state": "succeeded", "confirmed_amount_cents": 1500, "gateway_transaction_id": "tok_amount", "needs_attention": nil}},
		{"currency", `"action_id":"ACT","amount_cents":1500,"currency_code":"USD"`, true, map[string]any{"state": "succeeded", "confirmed_amount_cents": 1500, "currency_code": "EUR"}},
		{"reference", `"metadata":{"capstan_reference":"REF"}`, true, map[string]any{"state": "succeeded", "confirmed_amount_cents": 1500}},
	} {
		t.Run(row.name, func(t *testing.T) {
			capture := m.submitted(t, method, row.name)
			data := strings.NewReplacer("ACT", "act_"+row.name, "REF", m.reference(t, capture)).Replace(row.data)
			body := fmt.Sprintf(`{"success":%t,"data":{%s}}`, row.success, data)
			for range 2 {
				m.callBack(t, body).want(t, 200, nil)
				seen := map[string]any{}
				for name, v := range row.want {
					seen["data.attributes."+name] = v
				}
				m.get(t, "/api/captures/"+capture).want(t, 200, seen)
			}
			if outcome, reason := m.inboxOf(t, body); outcome != "applied" || strings.Contains(reason, "ignored") != (row.name == "amount" || row.name == "currency") {
				t.Errorf("%s: %s", outcome, reason)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		body := `{"success":true,"data":{"action_id":"act_of_nobody","amount_cents":1500}}`
		m.callBack(t, body).want(t, 200, nil)
		if outcome, reason := m.inboxOf(t, body); outcome != "" || !strings.Contains(reason, "act_of_nobody") {
			t.Errorf("%q, %s; it waits", outcome, reason)
		}
	})
	t.Run("before the answer is known", func(t *testing.T) {
		m.answers.Store(answer{500, ""})
		capture := m.pending(t, method, "early")
		m.run(t, models.Capture, capture)
		m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "unknown"})
		// By an action that nobody has answered it waits; by our reference it counts, with its own figures.
		m.callBack(t, `{"success":true,"data":{"action_id":"act_early","transaction_token":"tok_early","amount_cents":1500}}`)
		m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "unknown"})
		m.callBack(t, fmt.Sprintf(`{"success":true,"data":{"action_id":"act_early","transaction_token":"tok_early","amount_cents":1500,"metadata":{"capstan_reference":%q}}}`, m.reference(t, capture)))
		m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded", "data.attributes.gateway_transaction_id": "tok_early"})
	})
	t.Run("forged", func(t *testing.T) {
		capture := m.submitted(t, method, "forged")
		body := `{"success":true,"data":{"action_id":"act_forged"}}`
		before := m.rows(t)
		for _, signature := range []string{"", signCL("guess", body), signCL("", body), signCL(externalSecret, body+" "), signCL(externalSecret, body)[:20]} {
			m.send(t, "", http.MethodPost, "/webhooks/external", body, "X-CommerceLayer-Signature", signature, "Content-Type", "application/json").want(t, 401, nil)
		}
		if after := m.rows(t); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("something was written: %v, before %v", after, before)
		}
		m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "submitted"})
	})
}

func (m *merchant) inboxOf(t *testing.T, body string) (outcome, reason string) {
	t.Helper()
	notices, err := external.ParseWebhook([]byte(body), http.Header{"X-Commercelayer-Signature": {signCL(externalSecret, body)}}, []gateway.Secret{externalSecret}, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m.inbox(t, "external", notices[0].EventID)
}

// TestExternalGateways: the resource, its three triggers, who may send them, and
// what is wrong about a request.
func TestExternalGateways(t *testing.T) {
	t.Parallel()
	m := newMerchant(t)
	path := "/api/external_gateways/" + m.account
	attributes := func(more map[string]any) map[string]any {
		out := map[string]any{}
		for name, v := range more {
			out["data.attributes."+name] = v
		}
		return out
	}
	r := m.get(t, path).want(t, 200, attributes(map[string]any{
		"name": "external", "capture_url": "https://pay.example/capture", "void_url": "https://pay.example/void", "refund_url": nil, "circuit_state": "closed",
		"circuit_failure_count": 0, "force_payments": false, "disabled_at": nil, "external_includes.0": "order",
	}))
	if text := string(r.body); strings.Contains(text, "secret") || strings.Contains(text, "hunter2") || strings.Contains(text, externalSecret) {
		t.Errorf("a secret is shown: %s", text)
	}
	m.get(t, "/api/external_gateways").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.id": m.account})
	m.get(t, "/api/external_gateways?page[number]=2").want(t, 200, map[string]any{"meta.record_count": 1, "data.0": nil})
	m.send(t, livery, http.MethodGet, "/api/external_gateways", "").want(t, 200, map[string]any{"data.0.attributes.name": "external-live"})
	for range 31 {
		if _, _, err := m.store.CircuitFailed(t.Context(), "external", 30); err != nil {
			t.Fatal(err)
		}
	}
	m.get(t, path).want(t, 200, attributes(map[string]any{"circuit_state": "open", "circuit_failure_count": 31}))
	stripe, err := m.store.GatewayBySlug(t.Context(), "stripe")
	if err != nil {
		t.Fatal(err)
	}
	reset := patchBody("external_gateways", m.account, `{"_reset_circuit":true}`)
	for _, row := range []struct {
		name, token, path, body string
		status                  int
	}{
		{"no token", "", path, reset, 401},
		{"a reader", reader, path, reset, 401},
		{"the other mode", livery, path, reset, 404},
		{"an operator who stops it", operator, path, patchBody("external_gateways", m.account, `{"_disable":true}`), 401},
		{"another kind of gateway", admin, "/api/external_gateways/" + stripe.ID, patchBody("external_gateways", stripe.ID, `{"_reset_circuit":true}`), 404},
		{"nobody", admin, "/api/external_gateways/0", patchBody("external_gateways", "0", `{"_reset_circuit":true}`), 404},
		{"another type", admin, path, patchBody("orders", m.account, `{"_reset_circuit":true}`), 409},
		{"two at once", admin, path, patchBody("external_gateways", m.account, `{"_enable":true,"_disable":true}`), 422},
		{"a word", admin, path, patchBody("external_gateways", m.account, `{"_reset_circuit":"yes"}`), 422},
		{"its URL", admin, path, patchBody("external_gateways", m.account, `{"capture_url":"https://169.254.169.254/"}`), 422},
		{"its secret", admin, path, patchBody("external_gateways", m.account, `{"shared_secret":"x"}`), 422},
		{"its state", admin, path, patchBody("external_gateways", m.account, `{"circuit_state":"closed"}`), 422},
		{"no JSON", admin, path, `{`, 400},
	} {
		if got := m.send(t, row.token, http.MethodPatch, row.path, row.body); got.status != row.status {
			t.Errorf("%s: status %d, want %d: %s", row.name, got.status, row.status, got.body)
		}
	}
	m.send(t, admin, http.MethodPost, "/api/external_gateways", `{}`).want(t, 405, nil)
	m.send(t, admin, http.MethodDelete, path, "").want(t, 405, nil)
	m.get(t, path).want(t, 200, attributes(map[string]any{"circuit_state": "open", "disabled_at": nil}))

	m.send(t, operator, http.MethodPatch, path, patchBody("external_gateways", m.account, `{"_reset_circuit":false}`)).want(t, 200, attributes(map[string]any{"circuit_state": "open"}))
	m.send(t, operator, http.MethodPatch, path, reset).want(t, 200, attributes(map[string]any{"circuit_state": "closed", "circuit_failure_count": 0}))
	stop, _ := json.Marshal(map[string]any{"data": map[string]any{"type": "external_gateways", "id": m.account, "attributes": map[string]bool{"_disable": true}}, "meta": map[string]string{"reason": "they moved"}})
	stopped := m.send(t, admin, http.MethodPatch, path, string(stop)).want(t, 200, nil)
	if why, _ := stopped.at(t, "data.attributes.paused_reason").(string); !strings.Contains(why, "they moved") || !strings.Contains(why, "admin") {
		t.Errorf("stopped for %q", why)
	}
	m.answers.Store(answer{200, `{"success":true,"data":{"transaction_token":"tok","amount_cents":1500}}`})
	capture := m.pending(t, m.method(t), "while-stopped")
	m.run(t, models.Capture, capture)
	m.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "pending"})
	m.patch(t, "external_gateways", m.account, `{"_enable":true}`).want(t, 200, attributes(map[string]any{"disabled_at": nil, "paused_reason": nil}))
	until(t, "the capture succeeds", func() bool {
		m.run(t, models.Capture, capture)
		return m.get(t, "/api/captures/"+capture).at(t, "data.attributes.succeeded") == true
	})
}
