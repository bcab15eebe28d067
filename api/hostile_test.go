package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// describing is the API of a process that asks the gateway about a hold before
// it registers it, as the program does.
func (w *world) describing(t *testing.T) *world {
	t.Helper()
	dialect := commercelayer.New(commercelayer.Config{
		Store: w.store, Enqueuer: w.enqueuer, Forward: w.runner.Forward, Settle: w.runner.Settle, Describe: w.runner.Describe, Now: time.Now,
		Accounts: []commercelayer.Account{{SourceType: "stripe_payments", Slug: "stripe"}},
	})
	server, err := api.New(api.Config{
		Tokens: []api.Token{
			{Name: admin, Secret: gateway.Secret(secretOf(admin)), Scope: api.ScopeAdmin, Mode: models.Test},
			{Name: reader, Secret: gateway.Secret(secretOf(reader)), Scope: api.ScopeRead, Mode: models.Test},
		},
		Log: w.log, Registerer: prometheus.NewRegistry(), Now: time.Now,
	}, dialect.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	other := *w
	other.url = listen(t, server)
	return &other
}

// capture has the gateway take a hold under a reference, as a worker of the time
// that a restore has lost did.
func (w *world) capture(t *testing.T, hold, reference string, cents int64) {
	t.Helper()
	form := url.Values{"amount_to_capture": {fmt.Sprint(cents)}, "metadata[capstan_reference]": {reference}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/payment_intents/"+hold+"/capture", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer sk_test_key")
	answer := httptest.NewRecorder()
	w.sandbox.Handler().ServeHTTP(answer, r)
	if answer.Code != http.StatusOK {
		t.Fatalf("capture: %d %s", answer.Code, answer.Body)
	}
}

// TestRestoredHoldIsRegisteredAgain: a database was restored to before an order
// was made, and the shop sends it all again. Its hold is captured by then, by
// this very capture: it is registered all the same, and found, not refused.
func TestRestoredHoldIsRegisteredAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t).describing(t)
	method := w.method(t, "")
	hold := w.paymentIntent(t, 1500, "")
	w.capture(t, hold, models.GatewayReference("stripe", hold, models.Capture, 1), 1500)

	register := func() (order string, r reply) {
		order = w.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":1500}`, to("payment_method", "payment_methods", method)).want(t, http.StatusCreated, nil).id(t)
		return order, w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, hold), to("order", "orders", order))
	}
	_, r := register()
	r.want(t, http.StatusUnprocessableEntity, nil) // as ever: it cannot be captured

	if _, err := w.store.LookFirst(t.Context(), "", time.Now().Add(time.Hour), "test"); err != nil {
		t.Fatal(err)
	}
	order, r := register()
	r.want(t, http.StatusCreated, nil)
	id := w.approve(t, purchase{order: order})
	until(t, "the capture is found", func() bool {
		w.run(t, models.Capture, id)
		return w.get(t, "/api/captures/"+id).at(t, "data.attributes.state") == "succeeded"
	})
	w.get(t, "/api/orders/"+order).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "paid"})
	if b := w.sandbox.BookOf(hold); len(b.Captures) != 1 || len(b.Violations) != 0 {
		t.Errorf("the book has %+v and %+v, want the one capture", b.Captures, b.Violations)
	}
}
