package external

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

var (
	hookSecrets = []gateway.Secret{"new", "", "old"}
	hookNow     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func signedBy(body string, secret gateway.Secret) http.Header {
	return http.Header{http.CanonicalHeaderKey(SignatureHeader): {Sign([]byte(body), secret)}}
}

// TestSignature: forged, truncated, oversized, wrongly encoded. The scheme has no
// time in it, so that nothing is stale.
func TestSignature(t *testing.T) {
	right := Sign([]byte(later), "new")
	raw, _ := base64.StdEncoding.DecodeString(right)
	big := `{"success":true,"data":{"action_id":"` + strings.Repeat("x", maxWebhook) + `"}}`
	set := func(values ...string) http.Header {
		return http.Header{http.CanonicalHeaderKey(SignatureHeader): values}
	}
	for name, header := range map[string]http.Header{
		"none": {}, "empty": set(""), "twice": set(right, right), "another secret": signedBy(later, "guess"), "an empty secret": signedBy(later, ""),
		"of another body": signedBy(good, "new"), "truncated": set(right[:20]), "in hex": set(strings.Repeat("ab", 32)), "URL base64": set(base64.URLEncoding.EncodeToString(raw)),
		"without padding": set(strings.TrimRight(right, "=")), "with a blank": set(right + " "), "with a line": set(right[:10] + "\n" + right[10:]), "long": set(strings.Repeat("A", 4096)),
		"with more bytes": set(base64.StdEncoding.EncodeToString(append(raw, 0))), "with a prefix": set("sha256=" + right),
	} {
		// A base64 alphabet of its own only differs where the bytes make it so.
		if name == "URL base64" && header.Get(SignatureHeader) == right {
			continue
		}
		if _, err := ParseWebhook([]byte(later), header, hookSecrets, false, hookNow); !errors.Is(err, gateway.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseWebhook([]byte(big), signedBy(big, "new"), hookSecrets, false, hookNow); !errors.Is(err, gateway.ErrSignature) {
		t.Errorf("oversized: %v", err)
	}
	if _, err := ParseWebhook([]byte(later), signedBy(later, ""), []gateway.Secret{""}, false, hookNow); !errors.Is(err, gateway.ErrSignature) {
		t.Errorf("an empty secret verifies: %v", err)
	}
	for _, secret := range []gateway.Secret{"new", "old"} {
		if _, err := ParseWebhook([]byte(later), signedBy(later, secret), hookSecrets, false, hookNow); err != nil {
			t.Errorf("signed with %q: %v", secret.Reveal(), err)
		}
	}
}

// TestCallback: what a genuine one says.
func TestCallback(t *testing.T) {
	parse := func(body string) (gateway.Notice, error) {
		ns, err := ParseWebhook([]byte(body), signedBy(body, "new"), hookSecrets, true, hookNow)
		if err != nil {
			return gateway.Notice{}, err
		}
		if len(ns) != 1 {
			t.Fatalf("%d notices", len(ns))
		}
		return ns[0], nil
	}
	n, err := parse(`{"success":true,"data":{"action_id":"act_1","transaction_token":"tok","amount_cents":900,"message":"done","error_detail":"d"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if n.Transaction != "act_1" || !n.AsAnswered || n.Reference != "" || !n.Live || n.Evidence.Outcome != models.OutcomeConfirmed || n.Evidence.AmountCents != 900 ||
		n.Evidence.Token != "tok" || n.Evidence.Message != "done" || n.Evidence.ErrorDetail != "d" || n.Evidence.GatewayTransactionID != "" || !strings.HasPrefix(n.EventID, "act_1:") {
		t.Errorf("success: %+v", n)
	}
	again, _ := parse(`{"success":true,"data":{"action_id":"act_1","transaction_token":"tok","amount_cents":900,"message":"done","error_detail":"d"}}`)
	other, _ := parse(`{"success":true,"data":{"action_id":"act_1","transaction_token":"tok","amount_cents":901,"message":"done","error_detail":"d"}}`)
	if again.EventID != n.EventID || other.EventID == n.EventID {
		t.Errorf("the same bytes are %q and %q, others %q", n.EventID, again.EventID, other.EventID)
	}
	n, err = parse(`{"success":false,"data":{"action_id":"act_1","error":{"code":"LATE","message":"too late"}}}`)
	if err != nil || n.Evidence.Outcome != models.OutcomeRefused || n.Evidence.ErrorCode != "LATE" || n.Evidence.Message != "too late" {
		t.Errorf("error: %+v, %v", n, err)
	}
	reference := models.GatewayReference("external", "hold", models.Refund, 1)
	n, err = parse(`{"success":true,"data":{"metadata":{"capstan_reference":"` + reference + `"}}}`)
	if err != nil || n.Reference != reference || n.Kind != models.Refund || n.Transaction != "" {
		t.Errorf("by our reference: %+v, %v", n, err)
	}
	n, err = parse(`{"success":true,"data":{"action_id":"a","metadata":{"capstan_reference":"cap_../../etc"}}}`)
	if err != nil || n.Reference != "" || n.Kind != "" {
		t.Errorf("what is no reference of ours: %+v, %v", n, err)
	}
	for _, body := range []string{
		"", "{}", "null", `{"success":true}`, `{"success":true,"data":{}}`, `{"success":true,"data":{"action_id":""}}`, `{"success":true,"data":{"action_id":7}}`,
		`{"success":false,"data":{"action_id":"a"}}`, `{"success":true,"data":{"action_id":"a","error":{"code":"x","message":"y"}}}`, later + later,
		`{"success":true,"success":false,"data":{"action_id":"a"}}`, `{"success":true,"data":{"action_id":"a","amount_cents":1.5}}`,
	} {
		if n, err := parse(body); !errors.Is(err, gateway.ErrUnreadable) {
			t.Errorf("%s: %+v, %v", body, n, err)
		}
	}
}

// FuzzParseWebhook: never a panic, and nothing unsigned.
func FuzzParseWebhook(f *testing.F) {
	f.Add([]byte(later), Sign([]byte(later), "new"))
	f.Add([]byte(bad), "x")
	f.Add([]byte(`{"success":true,"data":{"action_id":"a","metadata":{"capstan_reference":"cap_abcdefghijklmnopqrstuvwxyz"}}}`), "")
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		ns, err := ParseWebhook(body, http.Header{http.CanonicalHeaderKey(SignatureHeader): {signature}}, hookSecrets, false, hookNow)
		if err == nil && signature != Sign(body, "new") && signature != Sign(body, "old") {
			t.Fatalf("believed: %+v", ns)
		}
		signed, err := ParseWebhook(body, signedBy(string(body), "new"), hookSecrets, false, hookNow)
		switch {
		case err != nil && !errors.Is(err, gateway.ErrUnreadable) && len(body) <= maxWebhook:
			t.Fatalf("%v", err)
		case err == nil && (len(signed) != 1 || !signed[0].AsAnswered || signed[0].Transaction == "" && signed[0].Reference == ""):
			t.Fatalf("%+v", signed)
		}
	})
}
