package checkoutcom_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const (
	signing = gateway.Secret("cko-signature-key")
	older   = gateway.Secret("cko-signature-key-before")
	pay     = "pay_vti5layihapu5bhbn5tjtk6eem"
	act     = "act_uqlj3642dyyuroivzdwfg2fysq"
	capRef  = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	refRef  = "ref_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	voidRef = "void_aaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func sign(body string, secret gateway.Secret) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func signed(body string, secret gateway.Secret) http.Header {
	return http.Header{"Cko-Signature": {sign(body, secret)}}
}

func event(kind, reference, code string, amount int) string {
	return fmt.Sprintf(`{"id":"evt_1","source":"gwc","type":%q,"timestamp":"2026-03-01T09:59:58.1234567Z","version":"1.0.29","data":{"id":%q,"action_id":%q,
		"reference":%q,"amount":%d,"currency":"EUR","response_code":%q,"response_summary":"Words"},"_links":{"self":{"href":"https://api.sandbox.checkout.com/workflows/events/evt_1"}}}`,
		kind, pay, act, reference, amount, code)
}

func TestSignatures(t *testing.T) {
	body := event("payment_captured", capRef, "10000", 1500)
	both := []gateway.Secret{signing, older}
	good := sign(body, signing)
	raw, _ := hex.DecodeString(good)
	for _, tt := range []struct {
		name    string
		body    string
		header  http.Header
		secrets []gateway.Secret
		ok      bool
	}{
		{"good", body, signed(body, signing), both, true},
		{"by the other secret", body, signed(body, older), both, true},
		{"in capital letters", body, http.Header{"Cko-Signature": {strings.ToUpper(good)}}, both, true},
		{"by a guessed secret", body, signed(body, "guess"), both, false},
		{"by the empty secret", body, signed(body, ""), []gateway.Secret{""}, false},
		{"no secret", body, signed(body, signing), nil, false},
		{"an old secret that was taken away", body, signed(body, older), []gateway.Secret{signing}, false},
		{"of another body", body + " ", signed(body, signing), both, false},
		{"of the body written anew", strings.ReplaceAll(body, "\n\t\t", ""), signed(body, signing), both, false},
		{"no header", body, http.Header{}, both, false},
		{"an empty header", body, http.Header{"Cko-Signature": {""}}, both, false},
		{"two headers", body, http.Header{"Cko-Signature": {good, good}}, both, false},
		{"truncated", body, http.Header{"Cko-Signature": {good[:62]}}, both, false},
		{"too long", body, http.Header{"Cko-Signature": {good + "00"}}, both, false},
		{"odd", body, http.Header{"Cko-Signature": {good[:63]}}, both, false},
		{"in base64", body, http.Header{"Cko-Signature": {base64.StdEncoding.EncodeToString(raw)}}, both, false},
		{"with a scheme", body, http.Header{"Cko-Signature": {"sha256=" + good}}, both, false},
		{"in another header", body, http.Header{"Stripe-Signature": {good}}, both, false},
		{"too large", body + strings.Repeat(" ", 1<<20), signed(body+strings.Repeat(" ", 1<<20), signing), both, false},
		{"of nothing", "", signed("", "guess"), both, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := checkoutcom.ParseWebhook([]byte(tt.body), tt.header, tt.secrets, false)
			if tt.ok != (err == nil) || !tt.ok && !errors.Is(err, gateway.ErrSignature) {
				t.Fatalf("got %+v, %v", n, err)
			}
			if err != nil && (n != (gateway.Notice{}) || strings.Contains(err.Error(), good)) {
				t.Errorf("told too much: %+v, %v", n, err)
			}
		})
	}
}

func TestNotices(t *testing.T) {
	inMetadata := strings.Replace(event("payment_captured", "ORD-7", "10000", 1500), `"amount"`, `"metadata":{"capstan_reference":"`+capRef+`","capstan_key":"`+capRef+`_e0"},"amount"`, 1)
	twice := strings.Replace(inMetadata, "ORD-7", strings.Replace(capRef, "_a", "_b", 1), 1)
	lost, confirmed, refused := models.OutcomeLost, models.OutcomeConfirmed, models.OutcomeRefused
	for _, tt := range []struct {
		name, body      string
		kind            models.Kind
		hold, reference string
		outcome         models.Outcome
		unreadable      bool
	}{
		{"captured", event("payment_captured", capRef, "10000", 1500), models.Capture, pay, capRef, confirmed, false},
		{"captured, named by its metadata", inMetadata, models.Capture, pay, capRef, confirmed, false},
		{"captured, and named twice", twice, models.Capture, pay, "", lost, false},
		{"captured by somebody", event("payment_captured", "ORD-7", "10000", 1500), models.Capture, pay, "", lost, false},
		{"captured under a refund's name", event("payment_captured", refRef, "10000", 1500), models.Capture, pay, "", lost, false},
		{"captured under a name that is too long", event("payment_captured", capRef+"a", "10000", 1500), models.Capture, pay, "", lost, false},
		{"captured without an amount", event("payment_captured", capRef, "10000", 0), models.Capture, pay, capRef, lost, false},
		{"captured with a negative amount", event("payment_captured", capRef, "10000", -1500), models.Capture, pay, capRef, lost, false},
		{"captured with the code of a decline", event("payment_captured", capRef, "20051", 1500), models.Capture, pay, capRef, lost, false},
		{"captured without a code", event("payment_captured", capRef, "", 1500), models.Capture, pay, capRef, lost, false},
		{"captured, and settled later", event("payment_captured", capRef, "10200", 1500), models.Capture, pay, capRef, lost, false},
		{"captured in a currency that is none", strings.Replace(event("payment_captured", capRef, "10000", 1500), `"EUR"`, `"XTS"`, 1), models.Capture, pay, capRef, lost, false},
		{"captured by no action", strings.Replace(event("payment_captured", capRef, "10000", 1500), act, "", 1), models.Capture, pay, capRef, lost, false},
		{"declined for now", event("payment_capture_declined", capRef, "20051", 1500), models.Capture, pay, capRef, lost, false},
		{"declined for good", event("payment_capture_declined", capRef, "30041", 1500), models.Capture, pay, capRef, refused, false},
		{"declined by somebody", event("payment_capture_declined", "ORD-7", "30041", 1500), models.Capture, pay, "", lost, false},
		{"declined with a good code", event("payment_capture_declined", capRef, "10000", 1500), models.Capture, pay, capRef, lost, false},
		{"declined for a reason nobody knows", event("payment_capture_declined", capRef, "99999", 1500), models.Capture, pay, capRef, lost, false},
		{"pending", event("payment_capture_pending", capRef, "10000", 1500), models.Capture, pay, capRef, lost, false},
		{"voided", event("payment_voided", voidRef, "10000", 1500), models.Void, pay, voidRef, confirmed, false},
		{"voided by somebody", event("payment_voided", "", "10000", 1500), models.Void, pay, "", lost, false},
		{"void declined", event("payment_void_declined", voidRef, "20111", 1500), models.Void, pay, voidRef, refused, false},
		{"expired", event("payment_expired", "ORD-7", "", 1500), models.Void, pay, "", lost, false},
		{"refunded", event("payment_refunded", refRef, "10000", 1500), models.Refund, pay, refRef, confirmed, false},
		{"refund declined for now", event("payment_refund_declined", refRef, "50003", 1500), models.Refund, pay, refRef, lost, false},
		{"refund declined for good", event("payment_refund_declined", refRef, "20158", 1500), models.Refund, pay, refRef, refused, false},
		{"approved", event("payment_approved", "ORD-7", "10000", 1500), "", pay, "", lost, false},
		{"a type that is not used", event("dispute_received", capRef, "10000", 1500), "", "", "", lost, false},
		{"data that is none", `{"id":"evt_1","type":"payment_captured","data":17}`, "", "", "", lost, false},
		{"an id that is none", strings.Replace(event("payment_captured", capRef, "10000", 1500), pay, "../x", 1), "", "", "", lost, false},
		{"no json", `hello`, "", "", "", lost, true},
		{"empty", ``, "", "", "", lost, true},
		{"no event", `{"id":"evt_1"}`, "", "", "", lost, true},
		{"very deep", strings.Repeat(`{"a":`, 20_000) + strings.Repeat("}", 20_000), "", "", "", lost, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := checkoutcom.ParseWebhook([]byte(tt.body), signed(tt.body, signing), []gateway.Secret{signing}, true)
			if tt.unreadable {
				if !errors.Is(err, gateway.ErrUnreadable) || errors.Is(err, gateway.ErrSignature) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil || n.Kind != tt.kind || n.Hold != tt.hold || n.Reference != tt.reference || n.Evidence.Outcome != tt.outcome || n.EventID != "evt_1" || n.Evidence.Source != models.FromWebhook {
				t.Fatalf("got %+v, %v", n, err)
			}
			switch ev := n.Evidence; ev.Outcome {
			case models.OutcomeConfirmed:
				if ev.AmountCents != 1500 || ev.CurrencyCode != "EUR" || ev.GatewayTransactionID != act || ev.Token != pay || ev.Foreign {
					t.Errorf("confirmed as %s", ev.JSON())
				}
			case models.OutcomeRefused:
				if ev.ErrorCode == "" || ev.ErrorDetail != "Words" || ev.GatewayTransactionID != act {
					t.Errorf("refused as %s", ev.JSON())
				}
			default:
				if ev.AmountCents != 0 || ev.ErrorCode != "" {
					t.Errorf("a hint that says something: %s", ev.JSON())
				}
			}
			if strings.Contains(tt.body, "timestamp") && !n.At.Equal(time.Date(2026, 3, 1, 9, 59, 58, 123456700, time.UTC)) {
				t.Errorf("at %s", n.At)
			}
		})
	}
}

// TestMode: the host of an event's links tells its mode; without them the
// account does.
func TestMode(t *testing.T) {
	for _, tt := range []struct {
		link          string
		account, want bool
	}{
		{"https://api.sandbox.checkout.com/workflows/events/evt_1", true, false}, {"https://vkuhvk4v.api.sandbox.checkout.com/x", true, false},
		{"https://api.checkout.com/x", false, true}, {"https://vkuhvk4v.api.checkout.com/x", false, true}, {"", true, true}, {"", false, false},
		{"https://api.checkout.com.evil.example/x", false, false}, {"%%%", true, true}, {"https://notapi.checkout.com/x", false, false},
	} {
		body := fmt.Sprintf(`{"id":"evt_1","type":"payment_captured","created_on":"2026-03-01T09:59:58Z","_links":{"self":{"href":%q}}}`, tt.link)
		n, err := checkoutcom.ParseWebhook([]byte(body), signed(body, signing), []gateway.Secret{signing}, tt.account)
		if err != nil || n.Live != tt.want || n.At.IsZero() {
			t.Errorf("%q in an account with live %v: %+v, %v", tt.link, tt.account, n, err)
		}
	}
}

// TestSandboxEventsAreUnderstood: what the sandbox sends, the parser verifies,
// and it proves what the book says.
func TestSandboxEventsAreUnderstood(t *testing.T) {
	var mu sync.Mutex
	seen, refused := map[string]int{}, 0
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, err := checkoutcom.ParseWebhook(body, r.Header, []gateway.Secret{signing}, true)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refused++
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		if n.Live {
			t.Errorf("a sandbox's event says it is live: %+v", n)
		}
		seen[fmt.Sprintf("%s %s %s %s %d", n.Type, n.Hold, n.Reference, n.Evidence.Outcome, n.Evidence.AmountCents)]++
	}))
	defer srv.Close()
	w := newWorld(t, sandbox.Config{CheckoutCom: quick, Webhooks: []sandbox.Endpoint{
		{URL: srv.URL, Secret: signing, Wire: "checkoutcom"}, {URL: srv.URL + "/stripe", Secret: "whsec_x"},
	}})
	hold := w.hold(t, 1500, "webhook_forged,webhook_dup=2,decline:1")
	capture, refund := request(models.Capture, hold, 1200), request(models.Refund, hold, 300)
	must(t, w.done(t, capture), models.OutcomeDeclined, 0)
	capture.Key = models.IdempotencyKey(capture.Reference, 1)
	must(t, w.done(t, capture), models.OutcomeConfirmed, 1200)
	must(t, w.done(t, refund), models.OutcomeConfirmed, 300)
	other := w.hold(t, 900, "")
	void := request(models.Void, other, 900)
	must(t, w.done(t, void), models.OutcomeConfirmed, 900)
	ended := w.hold(t, 700, "")
	w.ask(t, "POST", "/_sandbox/expire?hold="+ended, "")
	if err := w.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{
		"payment_approved " + hold + "  lost 0":                                  2,
		"payment_capture_declined " + hold + " " + capture.Reference + " lost 0": 2,
		"payment_captured " + hold + " " + capture.Reference + " confirmed 1200": 2,
		"payment_refunded " + hold + " " + refund.Reference + " confirmed 300":   2,
		"payment_approved " + other + "  lost 0":                                 1,
		"payment_voided " + other + " " + void.Reference + " confirmed 900":      1,
		"payment_approved " + ended + "  lost 0":                                 1,
		"payment_expired " + ended + "  lost 0":                                  1,
	}
	if diff := cmp.Diff(want, seen); diff != "" || refused == 0 {
		t.Errorf("%d forged events refused\n%s", refused, diff)
	}
}

// FuzzParseWebhook: nothing unsigned is ever believed, and what is signed proves
// something only under a name of ours.
func FuzzParseWebhook(f *testing.F) {
	f.Add(event("payment_captured", capRef, "10000", 1500), sign("x", signing))
	f.Add(event("payment_capture_declined", capRef, "30041", 1500), "")
	f.Add("{}", "00")
	f.Add(`{"id":"e","type":"payment_voided","data":{"metadata":{"capstan_reference":7}}}`, "zz")
	f.Fuzz(func(t *testing.T, body, signature string) {
		if signature != sign(body, signing) {
			if _, err := checkoutcom.ParseWebhook([]byte(body), http.Header{"Cko-Signature": {signature}}, []gateway.Secret{signing, ""}, true); !errors.Is(err, gateway.ErrSignature) && !strings.EqualFold(signature, sign(body, signing)) {
				t.Fatalf("believed %q: %v", body, err)
			}
		}
		n, err := checkoutcom.ParseWebhook([]byte(body), signed(body, signing), []gateway.Secret{signing}, true)
		if err != nil {
			if !errors.Is(err, gateway.ErrUnreadable) && len(body) <= 1<<20 {
				t.Fatalf("signed and refused: %v", err)
			}
			return
		}
		proves := n.Evidence.Outcome != models.OutcomeLost
		if n.EventID == "" && !strings.Contains(body, "\\u") || proves && (n.Reference == "" || n.Hold == "" || n.Kind == "") ||
			proves && n.Evidence.Outcome != models.OutcomeConfirmed && n.Evidence.Outcome != models.OutcomeRefused {
			t.Fatalf("notice %+v of %q", n, body)
		}
	})
}
