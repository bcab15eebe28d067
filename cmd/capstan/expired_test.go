package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// What Stripe and PayPal answer to the capture of an authorization that has
// expired, as the documents of Elastic Path show it; %s is the hold.
const (
	stripeExpiredWords = "This PaymentIntent could not be captured because it has a status of canceled. Only a PaymentIntent with one of the following statuses may be captured: requires_capture."
	stripeExpired      = `{"error":{"code":"payment_intent_unexpected_state","doc_url":"","message":"` + stripeExpiredWords + `",
		"payment_intent":{"id":%q,"object":"payment_intent","amount":10000,"amount_capturable":0,"amount_details":{"tip":{}},"amount_received":0,"application":"ca_XXXXXXXXXXXXXXXXX",
			"canceled_at":1678903544,"cancellation_reason":"automatic","capture_method":"manual","currency":"usd","latest_charge":"ch_XXXXXXXXXXXXXXXXXXX","livemode":false,
			"metadata":{"email":"","ip_address":"","order_id":"bb4e20d2-c691-45ba-9194-3b56889a8a89"},"status":"canceled"},
		"request_log_url":"","type":"invalid_request_error"}}`
	paypalExpiredWords = "The requested action could not be performed, semantically incorrect, or failed business validation."
	paypalExpired      = `{"name":"UNPROCESSABLE_ENTITY","message":"` + paypalExpiredWords + `","debug_id":"cf56b76ac5b8d",
		"details":[{"issue":"AUTHORIZATION_EXPIRED","description":"Authorization has expired."}]}`
)

// TestExpiredAuthorizations: the words, codes and ids of the provider stand on
// the capture as they came, for whoever shows them in a dialect of their own; the
// hold is closed, and a new payment is all that is offered.
func TestExpiredAuthorizations(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	answers := http.NewServeMux()
	answers.HandleFunc("POST /v1/payment_intents/{hold}/capture", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Request-Id", "req_expired")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, stripeExpired, r.PathValue("hold"))
	})
	answers.HandleFunc("POST /v1/oauth2/token", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"A21AA","token_type":"Bearer","expires_in":32400,"scope":"https://uri.paypal.com/services/payments/payment/authcapture"}`)
	})
	answers.HandleFunc("POST /v2/payments/authorizations/{hold}/capture", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Paypal-Debug-Id", "cf56b76ac5b8d")
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, paypalExpired)
	})
	provider := httptest.NewServer(answers)
	t.Cleanup(provider.Close)
	d.runner = worker.NewRunner(worker.RunnerConfig{Store: d.store, Name: "worker", Log: d.log, Accounts: gateway.Accounts{
		"stripe": stripe.New(stripe.Config{Account: "stripe", SecretKey: "sk_test_key", BaseURL: provider.URL, Timeout: 10 * time.Second}),
		"paypal": paypal.New(paypal.Config{Account: "paypal", ClientID: "id", Secret: "secret", BaseURL: provider.URL, Timeout: 10 * time.Second}),
	}})
	for _, tt := range []struct {
		slug, message, code, detail, token, request string
		ownID                                       bool
	}{
		{"stripe", stripeExpiredWords, "payment_intent_unexpected_state", "automatic", "ch_XXXXXXXXXXXXXXXXXXX", "req_expired", true},
		{"paypal", paypalExpiredWords, "AUTHORIZATION_EXPIRED", "Authorization has expired.", "", "cf56b76ac5b8d", false},
	} {
		t.Run(tt.slug, func(t *testing.T) {
			o, id := d.captured(t, tt.slug, "expired-"+tt.slug, "")
			var c resource
			if err := call(t.Context(), d.shop.api, http.MethodGet, "/api/captures/"+id, nil, &c); err != nil {
				t.Fatal(err)
			}
			transaction := any(nil)
			if tt.ownID {
				transaction = o.Hold
			}
			for name, want := range map[string]any{
				"state": "failed", "succeeded": false, "message": tt.message, "error_code": tt.code, "error_detail": tt.detail, "token": orNil(tt.token), "gateway_transaction_id": transaction,
			} {
				if got := c.Attributes[name]; got != want {
					t.Errorf("%s = %v, want %v", name, got, want)
				}
			}
			next := fmt.Sprint(c.Attributes["next_actions"])
			for _, never := range []string{"capture", "retry", "reauthorize"} {
				if slices.Contains(strings.Fields(strings.Trim(next, "[]")), never) {
					t.Errorf("next_actions = %s: the hold has expired", next)
				}
			}
			if !strings.Contains(next, "new_authorization") {
				t.Errorf("next_actions = %s", next)
			}
			op, err := d.store.Operation(t.Context(), models.Test, models.Capture, id)
			if err != nil || op.GatewayRequestID != tt.request {
				t.Errorf("the request's id is %q, %v", op.GatewayRequestID, err)
			}
			var hold resource
			if err := call(t.Context(), d.shop.api, http.MethodGet, "/api/authorizations/"+o.AuthID, nil, &hold); err != nil {
				t.Fatal(err)
			}
			if next := fmt.Sprint(hold.Attributes["next_actions"]); next != "[new_authorization]" || hold.Attributes["closed_reason"] != string(models.ClosedGone) {
				t.Errorf("the hold is closed as %v, and offers %s", hold.Attributes["closed_reason"], next)
			}
		})
	}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
