package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

var hookTime = time.Unix(1_800_000_000, 0)

func signature(body, secret string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return hex.EncodeToString(mac.Sum(nil))
}

func signed(body, secret string, at time.Time) http.Header {
	return http.Header{SignatureHeader: {fmt.Sprintf("t=%d,v1=%s", at.Unix(), signature(body, secret, at))}}
}

func eventBody(kind, object string) string {
	return fmt.Sprintf(`{"id":"evt_1","object":"event","type":%q,"created":1799999990,"livemode":false,"request":{"id":"req_9"},"data":{"object":%s}}`, kind, object)
}

func TestWebhookSignature(t *testing.T) {
	body := eventBody("payment_intent.succeeded", intentBody(statusSucceeded, 1500, ourRef))
	both := []gateway.Secret{"whsec_new", "whsec_old"}
	good := signature(body, "whsec_new", hookTime)
	stamp := fmt.Sprintf("t=%d", hookTime.Unix())
	for _, tt := range []struct {
		name    string
		body    string
		header  http.Header
		secrets []gateway.Secret
		now     time.Time
		ok      bool
	}{
		{"good", body, signed(body, "whsec_new", hookTime), both, hookTime, true},
		{"the old secret during rotation", body, signed(body, "whsec_old", hookTime), both, hookTime, true},
		{"the old secret afterwards", body, signed(body, "whsec_old", hookTime), both[:1], hookTime, false},
		{"two signatures, the second fits", body, http.Header{SignatureHeader: {stamp + ",v1=" + strings.Repeat("00", 32) + ",v1=" + good}}, both, hookTime, true},
		{"a signature of another scheme beside it", body, http.Header{SignatureHeader: {stamp + ",v0=" + strings.Repeat("00", 32) + ",v1=" + good}}, both, hookTime, true},
		{"299 s old", body, signed(body, "whsec_new", hookTime), both, hookTime.Add(299 * time.Second), true},
		{"301 s old", body, signed(body, "whsec_new", hookTime), both, hookTime.Add(301 * time.Second), false},
		{"301 s early", body, signed(body, "whsec_new", hookTime), both, hookTime.Add(-301 * time.Second), false},
		{"forged", body, signed(body, "whsec_guess", hookTime), both, hookTime, false},
		{"changed body", strings.Replace(body, "1500", "1501", 1), signed(body, "whsec_new", hookTime), both, hookTime, false},
		{"truncated body", body[:len(body)-1], signed(body, "whsec_new", hookTime), both, hookTime, false},
		{"space added", body + " ", signed(body, "whsec_new", hookTime), both, hookTime, false},
		{"other time than signed", body, http.Header{SignatureHeader: {fmt.Sprintf("t=%d,v1=%s", hookTime.Unix()+1, good)}}, both, hookTime, false},
		{"two times", body, http.Header{SignatureHeader: {stamp + "," + stamp + ",v1=" + good}}, both, hookTime, false},
		{"no time", body, http.Header{SignatureHeader: {"v1=" + good}}, both, hookTime, false},
		{"a time that is no number", body, http.Header{SignatureHeader: {"t=soon,v1=" + good}}, both, hookTime, false},
		{"v0 only", body, http.Header{SignatureHeader: {stamp + ",v0=" + good}}, both, hookTime, false},
		{"short signature", body, http.Header{SignatureHeader: {stamp + ",v1=" + good[:62]}}, both, hookTime, false},
		{"empty signature", body, http.Header{SignatureHeader: {stamp + ",v1="}}, both, hookTime, false},
		{"no header", body, http.Header{}, both, hookTime, false},
		{"two headers", body, http.Header{SignatureHeader: {stamp + ",v1=" + good, stamp + ",v1=" + good}}, both, hookTime, false},
		{"no secrets", body, signed(body, "whsec_new", hookTime), nil, hookTime, false},
		{"an empty secret signs nothing", body, signed(body, "", hookTime), []gateway.Secret{""}, hookTime, false},
		{"huge", body + strings.Repeat(" ", maxWebhook), signed(body+strings.Repeat(" ", maxWebhook), "whsec_new", hookTime), both, hookTime, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := ParseWebhook([]byte(tt.body), tt.header, tt.secrets, tt.now, 0)
			if tt.ok {
				if err != nil || n.EventID != "evt_1" {
					t.Fatalf("got %+v, %v", n, err)
				}
				return
			}
			if !errors.Is(err, gateway.ErrSignature) {
				t.Fatalf("got %v, want %v", err, gateway.ErrSignature)
			}
			if diff := cmp.Diff(gateway.Notice{}, n); diff != "" {
				t.Errorf("something of an unproven message was kept:\n%s", diff)
			}
			if strings.Contains(err.Error(), good) || strings.Contains(err.Error(), "whsec") {
				t.Errorf("the error helps a forger: %v", err)
			}
		})
	}
}

func chargeBody(captured bool, amountCaptured int64, reference string) string {
	return fmt.Sprintf(`{"id":"ch_1","object":"charge","amount":1500,"amount_captured":%d,"captured":%t,"currency":"eur","payment_intent":"pi_hold","metadata":{"capstan_reference":%q}}`,
		amountCaptured, captured, reference)
}

func refundBody(status, reference, reason string) string {
	return fmt.Sprintf(`{"id":"re_1","object":"refund","amount":500,"currency":"eur","status":%q,"reason":%q,"payment_intent":"pi_hold","charge":"ch_1","metadata":{"capstan_reference":%q}}`,
		status, reason, reference)
}

func TestWebhookEvents(t *testing.T) {
	for _, tt := range []struct {
		name, kind, object string
		wantKind           models.Kind
		wantReference      string
		want               models.Outcome
		cents              int64
	}{
		{"our capture", "payment_intent.succeeded", intentBody(statusSucceeded, 1400, ourRef), models.Capture, ourRef, models.OutcomeConfirmed, 1400},
		{"a capture nobody named", "payment_intent.succeeded", intentBody(statusSucceeded, 1500, ""), models.Capture, "", models.OutcomeLost, 0},
		{"a success without money", "payment_intent.succeeded", intentBody(statusSucceeded, 0, ourRef), models.Capture, ourRef, models.OutcomeLost, 0},
		{"a success in another state", "payment_intent.succeeded", intentBody(statusProcessing, 1500, ourRef), models.Capture, ourRef, models.OutcomeLost, 0},
		{"cancelled", "payment_intent.canceled", intentBody(statusCanceled, 0, ""), models.Void, "", models.OutcomeConfirmed, 1500},
		{"cancelled after a part", "payment_intent.canceled", intentBody(statusCanceled, 100, ""), models.Void, "", models.OutcomeLost, 0},
		{"payment failed", "payment_intent.payment_failed", intentBody(statusRequiresCapture, 0, ""), models.Capture, "", models.OutcomeLost, 0},
		{"hold made", "payment_intent.amount_capturable_updated", intentBody(statusRequiresCapture, 0, ""), "", "", models.OutcomeLost, 0},
		{"charge captured, named", "charge.captured", chargeBody(true, 1500, ourRef), models.Capture, ourRef, models.OutcomeConfirmed, 1500},
		{"charge captured", "charge.captured", chargeBody(true, 1500, ""), models.Capture, "", models.OutcomeLost, 0},
		{"charge expired", "charge.expired", chargeBody(false, 0, ""), models.Void, "", models.OutcomeConfirmed, 1500},
		{"charge refunded", "charge.refunded", chargeBody(true, 1500, ourRef), models.Refund, "", models.OutcomeLost, 0},
		{"charge released", "charge.refunded", chargeBody(false, 0, ""), "", "", models.OutcomeLost, 0},
		{"refund made", "refund.created", refundBody("succeeded", "ref_1", ""), models.Refund, "ref_1", models.OutcomeConfirmed, 500},
		{"refund under way", "refund.created", refundBody("pending", "ref_1", ""), models.Refund, "ref_1", models.OutcomeAccepted, 500},
		{"refund updated", "refund.updated", refundBody("succeeded", "ref_1", ""), models.Refund, "ref_1", models.OutcomeConfirmed, 500},
		{"refund failed", "refund.failed", refundBody("failed", "ref_1", ""), models.Refund, "ref_1", models.OutcomeRefused, 0},
		{"refund updated, old name", "charge.refund.updated", refundBody("canceled", "ref_1", ""), models.Refund, "ref_1", models.OutcomeRefused, 0},
		{"refund nobody named", "refund.created", refundBody("succeeded", "", ""), models.Refund, "", models.OutcomeLost, 0},
		{"release of a hold", "refund.created", refundBody("succeeded", "", reasonExpired), "", "", models.OutcomeLost, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := eventBody(tt.kind, tt.object)
			n, err := ParseWebhook([]byte(body), signed(body, "whsec_s", hookTime), []gateway.Secret{"whsec_s"}, hookTime, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n.Type != tt.kind || n.Hold != testHold || n.Kind != tt.wantKind || n.Reference != tt.wantReference {
				t.Errorf("notice: %+v", n)
			}
			ev := n.Evidence
			if ev.Outcome != tt.want || ev.AmountCents != tt.cents || ev.Source != models.FromWebhook || ev.RequestID != "req_9" || ev.Foreign {
				t.Errorf("evidence: %s", ev.JSON())
			}
			if want := time.Unix(1799999990, 0).UTC(); !n.At.Equal(want) {
				t.Errorf("at %s, want %s", n.At, want)
			}
		})
	}
}

func TestWebhookOddities(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		readable   bool
	}{
		{"a type that is not used", eventBody("customer.created", `{"id":"cus_1","object":"customer"}`), true},
		{"an object that is not the type's", eventBody("payment_intent.succeeded", `{"id":"ch_1","object":"charge"}`), true},
		{"an object that is no object", eventBody("refund.created", `17`), true},
		{"an old event with the request as a string", `{"id":"evt_1","object":"event","type":"x.y","request":"req_1"}`, true},
		{"an event without a request", `{"id":"evt_1","object":"event","type":"x.y","request":null}`, true},
		{"no json", `hello`, false},
		{"empty", ``, false},
		{"not an event", `{"id":"pi_1","object":"payment_intent"}`, false},
		{"no id", `{"object":"event","type":"x"}`, false},
		{"very deep", strings.Repeat(`{"a":`, 20_000) + strings.Repeat("}", 20_000), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := ParseWebhook([]byte(tt.body), signed(tt.body, "whsec_s", hookTime), []gateway.Secret{"whsec_s"}, hookTime, 0)
			if !tt.readable {
				if !errors.Is(err, gateway.ErrUnreadable) || errors.Is(err, gateway.ErrSignature) {
					t.Fatalf("got %v, want %v", err, gateway.ErrUnreadable)
				}
				return
			}
			if err != nil || n.Evidence.Outcome != models.OutcomeLost {
				t.Fatalf("got %+v, %v", n, err)
			}
		})
	}
}

// FuzzParseWebhook: nothing unsigned is ever believed, and nothing signed
// breaks the parser or confirms without figures.
func FuzzParseWebhook(f *testing.F) {
	for _, body := range []string{
		eventBody("payment_intent.succeeded", intentBody(statusSucceeded, 1500, ourRef)),
		eventBody("refund.updated", refundBody("succeeded", "ref_1", "")),
		eventBody("charge.expired", chargeBody(false, 0, "")), "{}", "",
	} {
		f.Add(body, signed(body, "whsec_s", hookTime).Get(SignatureHeader))
	}
	f.Add("{}", "t=1,v1=")
	f.Fuzz(func(t *testing.T, body, header string) {
		secrets := []gateway.Secret{"whsec_unknown_to_the_fuzzer"}
		if _, err := ParseWebhook([]byte(body), http.Header{SignatureHeader: {header}}, secrets, hookTime, 0); !errors.Is(err, gateway.ErrSignature) {
			t.Fatalf("believed %q under %q: %v", body, header, err)
		}
		n, err := ParseWebhook([]byte(body), signed(body, "whsec_s", hookTime), []gateway.Secret{"whsec_s"}, hookTime, 0)
		if err != nil {
			if !errors.Is(err, gateway.ErrUnreadable) {
				t.Fatalf("signed and refused: %v", err)
			}
			return
		}
		ev := n.Evidence
		if ev.Outcome == models.OutcomeConfirmed && (ev.AmountCents < 0 || len(ev.CurrencyCode) != 3 || ev.GatewayTransactionID == "" || n.Kind == "") {
			t.Fatalf("confirmed by %q: %s", body, ev.JSON())
		}
		if !json.Valid(ev.JSON()) || n.EventID == "" && strings.Contains(body, `"id":"e`) {
			t.Fatalf("notice %+v of %q", n, body)
		}
	})
}
