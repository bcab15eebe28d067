package sandbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// paypalWire calls PayPal's wire by hand.
type paypalWire struct {
	t     *testing.T
	url   string
	token string
}

func newPayPalWire(t *testing.T, c sandbox.Config) *paypalWire {
	t.Helper()
	w := &paypalWire{t: t, url: newBox(t, c).url + "/paypal"}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("client", "secret")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, body := w.send(req)
	w.token, _ = body["access_token"].(string)
	return w
}

func (w *paypalWire) send(req *http.Request) (int, map[string]any) {
	w.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var body map[string]any
	if len(raw) > 0 && json.Unmarshal(raw, &body) != nil {
		w.t.Fatalf("%s %s: %s", req.Method, req.URL.Path, raw)
	}
	return resp.StatusCode, body
}

// call sends one request; the key is left out when it is empty.
func (w *paypalWire) call(method, path, key, prefer, body string) (int, map[string]any) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("PayPal-Request-Id", key)
	}
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	return w.send(req)
}

func issueOf(body map[string]any) string {
	details, _ := body["details"].([]any)
	if len(details) == 0 {
		return ""
	}
	detail, _ := details[0].(map[string]any)
	issue, _ := detail["issue"].(string)
	return issue
}

// order makes an order and returns its id and that of its authorization.
func (w *paypalWire) order(extra string) (order, hold string) {
	w.t.Helper()
	status, body := w.call("POST", "/v2/checkout/orders", "", "", `{"intent":"AUTHORIZE","purchase_units":[{"amount":{"currency_code":"EUR","value":"15.00"}}]`+extra+`}`)
	if status != 201 {
		w.t.Fatalf("order: %d %v", status, body)
	}
	order, _ = body["id"].(string)
	raw, _ := json.Marshal(body)
	var shown struct {
		Units []struct {
			Payments struct{ Authorizations []struct{ ID string } }
		} `json:"purchase_units"`
	}
	_ = json.Unmarshal(raw, &shown)
	if len(shown.Units) == 1 && len(shown.Units[0].Payments.Authorizations) == 1 {
		hold = shown.Units[0].Payments.Authorizations[0].ID
	}
	return order, hold
}

func TestPayPalWireRefuses(t *testing.T) {
	w := newPayPalWire(t, sandbox.Config{})
	open, none := w.order("")
	_, hold := w.order(`,"payment_source":{"card":{}}`)
	if none != "" || hold == "" {
		t.Fatalf("an order that nobody approved has the hold %q, an approved one %q", none, hold)
	}
	capture := "/v2/payments/authorizations/" + hold + "/capture"
	money := func(currency, value string) string {
		return `{"amount":{"currency_code":"` + currency + `","value":"` + value + `"},"invoice_id":"I1"}`
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		issue              string
	}{
		{"POST", capture, `{`, 400, "INVALID_PARAMETER_SYNTAX"},
		{"POST", capture, money("EUR", "a lot"), 400, "INVALID_PARAMETER_SYNTAX"},
		{"POST", capture, money("EUR", "-1"), 400, "INVALID_PARAMETER_SYNTAX"},
		{"POST", capture, money("EUR", "0.00"), 422, "CANNOT_BE_ZERO_OR_NEGATIVE"},
		{"POST", capture, money("EUR", "1.001"), 422, "DECIMAL_PRECISION"},
		{"POST", capture, money("JPY", "1.5"), 422, "DECIMALS_NOT_SUPPORTED"},
		{"POST", capture, money("HUF", "1.50"), 422, "DECIMALS_NOT_SUPPORTED"},
		{"POST", capture, money("XXX", "1"), 422, "INVALID_CURRENCY_CODE"},
		{"POST", capture, money("USD", "1.00"), 422, "AUTH_CAPTURE_CURRENCY_MISMATCH"},
		{"POST", capture, money("EUR", "15.01"), 422, "MAX_CAPTURE_AMOUNT_EXCEEDED"},
		{"POST", capture, `{"invoice_id":"` + strings.Repeat("x", 128) + `"}`, 400, "INVALID_STRING_LENGTH"},
		{"POST", "/v2/payments/authorizations/NOSUCH/capture", money("EUR", "1.00"), 404, "INVALID_RESOURCE_ID"},
		{"POST", "/v2/payments/captures/NOSUCH/refund", money("EUR", "1.00"), 404, "INVALID_RESOURCE_ID"},
		{"POST", "/v2/payments/authorizations/" + hold + "/reauthorize", money("EUR", "15.00"), 422, "REAUTHORIZATION_NOT_SUPPORTED"},
		{"GET", "/v2/checkout/orders/NOSUCH", "", 404, "INVALID_RESOURCE_ID"},
		{"GET", "/v2/payments/refunds/NOSUCH", "", 404, "INVALID_RESOURCE_ID"},
		{"GET", "/v2/nothing", "", 404, "INVALID_RESOURCE_ID"},
		{"POST", "/v2/checkout/orders", `{"intent":"CAPTURE","purchase_units":[{}]}`, 400, "INVALID_PARAMETER_SYNTAX"},
		{"POST", "/v2/checkout/orders", `{"intent":"AUTHORIZE","purchase_units":[{"custom_id":"fault=nonsense","amount":{"currency_code":"EUR","value":"1"}}]}`, 422, "INVALID_PARAMETER_VALUE"},
		{"POST", "/v2/checkout/orders/NOSUCH/authorize", `{}`, 404, "INVALID_RESOURCE_ID"},
	} {
		if status, body := w.call(tt.method, tt.path, "", "", tt.body); status != tt.status || issueOf(body) != tt.issue || body["debug_id"] == "" {
			t.Errorf("%s %s %s: %d %v, want %d %s", tt.method, tt.path, tt.body, status, body, tt.status, tt.issue)
		}
	}
	if status, body := w.call("POST", "/v2/checkout/orders/"+open+"/authorize", "", "", `{}`); status != 201 {
		t.Errorf("authorize: %d %v", status, body)
	}
	if status, body := w.call("POST", "/v2/checkout/orders/"+open+"/authorize", "", "", `{}`); status != 422 || issueOf(body) != "ORDER_ALREADY_AUTHORIZED" {
		t.Errorf("authorize again: %d %v", status, body)
	}
	w.token = "A21AAnobody"
	if status, body := w.call("GET", "/v2/payments/authorizations/"+hold, "", "", ""); status != 401 || body["error"] != "invalid_token" {
		t.Errorf("a token that was never issued: %d %v", status, body)
	}
}

// TestPayPalKeysAndPreferences: a key answers with the latest state, another
// request under it is refused, and less is shown unless more is asked for.
func TestPayPalKeysAndPreferences(t *testing.T) {
	w := newPayPalWire(t, sandbox.Config{})
	_, hold := w.order(`,"payment_source":{"paypal":{}}`)
	capture := "/v2/payments/authorizations/" + hold + "/capture"
	const part = `{"amount":{"currency_code":"EUR","value":"5.00"},"invoice_id":"I1"}`
	status, small := w.call("POST", capture, "key1", "", part)
	if status != 201 || small["status"] != "COMPLETED" || small["amount"] != nil {
		t.Fatalf("minimal: %d %v", status, small)
	}
	id, _ := small["id"].(string)
	if status, body := w.call("POST", "/v2/payments/captures/"+id+"/refund", "key2", "return=representation", `{"custom_id":"R1"}`); status != 201 || body["amount"] == nil {
		t.Fatalf("refund of all: %d %v", status, body)
	}
	if status, body := w.call("POST", capture, "key1", "return=representation", part); status != 201 || body["id"] != id || body["status"] != "REFUNDED" || body["amount"] == nil {
		t.Errorf("again, after the refund: %d %v", status, body)
	}
	if status, body := w.call("POST", capture, "key1", "", strings.Replace(part, "5.00", "6.00", 1)); status != 422 || issueOf(body) != "DUPLICATE_REQUEST_ID" {
		t.Errorf("another request under the key: %d %v", status, body)
	}
	if status, body := w.call("POST", capture, "key3", "", part); status != 422 || issueOf(body) != "DUPLICATE_INVOICE_ID" {
		t.Errorf("another key for the invoice: %d %v", status, body)
	}
	if status, body := w.call("GET", "/v2/payments/authorizations/"+hold, "", "", ""); status != 200 || body["status"] != "PARTIALLY_CAPTURED" || body["expiration_time"] == nil {
		t.Errorf("the hold: %d %v", status, body)
	}
	void := "/v2/payments/authorizations/" + hold + "/void"
	for range 2 {
		if status, body := w.call("POST", void, "key4", "", "{}"); status != 204 || body != nil {
			t.Errorf("void: %d %v", status, body)
		}
	}
	if status, body := w.call("POST", void, "key5", "", "{}"); status != 422 || issueOf(body) != "PREVIOUSLY_VOIDED" {
		t.Errorf("void under another key: %d %v", status, body)
	}
}
