package braintree_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

var (
	hookTime = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	hookKeys = []braintree.Key{{Public: "public", Private: "hunter2"}}
)

const hookReference = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"

func notification(kind, subject string) string {
	return `<notification><timestamp type="datetime">2026-03-01T10:00:00Z</timestamp><kind>` + kind + `</kind><subject>` + subject + `</subject></notification>`
}

func saleNotice(status, more string) string {
	return `<transaction><id>ezc3pr8w</id><status>` + status + `</status><type>sale</type><currency-iso-code>EUR</currency-iso-code><amount>15.00</amount>` + more + `</transaction>`
}

func creditNotice(status, more string) string {
	return `<transaction><id>b7k2m9qd</id><status>` + status + `</status><type>credit</type><currency-iso-code>EUR</currency-iso-code><amount>5.00</amount><refunded-transaction-id>ezc3pr8w</refunded-transaction-id>` + more + `</transaction>`
}

func disputeNotice(status, kind, amount string) string {
	return `<dispute><id>dp1</id><amount-disputed>` + amount + `</amount-disputed><currency-iso-code>EUR</currency-iso-code><kind>` + kind + `</kind><status>` + status +
		`</status><reason>fraud</reason><transaction><id>ezc3pr8w</id><amount>15.00</amount><order-id>` + hookReference + `</order-id></transaction></dispute>`
}

func signed(xml string) []byte { return sandbox.BraintreeForm([]byte(xml), "public:hunter2") }

func form(pairs ...string) []byte {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return []byte(v.Encode())
}

func TestWebhookSignature(t *testing.T) {
	xml := notification("transaction_settled", saleNotice("settled", ""))
	good := signed(xml)
	fields, err := url.ParseQuery(string(good))
	if err != nil {
		t.Fatal(err)
	}
	signature, payload := fields.Get("bt_signature"), fields.Get("bt_payload")
	both := []braintree.Key{{Public: "newer", Private: "hunter3"}, hookKeys[0]}
	for _, tt := range []struct {
		name string
		body []byte
		keys []braintree.Key
		now  time.Time
		want error
	}{
		{"good", good, hookKeys, hookTime, nil},
		{"while keys are replaced", good, both, hookTime, nil},
		{"signed by both keys", form("bt_signature", "newer|"+strings.Repeat("0", 40)+"&"+signature, "bt_payload", payload), hookKeys, hookTime, nil},
		{"without its last newline", form("bt_signature", signature, "bt_payload", strings.TrimSuffix(payload, "\n")), hookKeys, hookTime, nil},
		{"a day late", good, hookKeys, hookTime.Add(24 * time.Hour), nil},

		{"no key", good, nil, hookTime, gateway.ErrSignature},
		{"another private key", good, []braintree.Key{{Public: "public", Private: "other"}}, hookTime, gateway.ErrSignature},
		{"another public key", good, []braintree.Key{{Public: "other", Private: "hunter2"}}, hookTime, gateway.ErrSignature},
		{"an empty private key", sandbox.BraintreeForm([]byte(xml), "public:"), []braintree.Key{{Public: "public"}}, hookTime, gateway.ErrSignature},
		{"an empty public key", sandbox.BraintreeForm([]byte(xml), ":hunter2"), []braintree.Key{{Private: "hunter2"}}, hookTime, gateway.ErrSignature},
		{"forged", sandbox.BraintreeForm([]byte(xml), "public:guessed"), hookKeys, hookTime, gateway.ErrSignature},
		{"another payload", form("bt_signature", signature, "bt_payload", base64.StdEncoding.EncodeToString([]byte(strings.Replace(xml, "15.00", "99.00", 1)))+"\n"), hookKeys, hookTime, gateway.ErrSignature},
		{"stale", good, hookKeys, hookTime.Add(26 * time.Hour), gateway.ErrSignature},
		{"from the future", good, hookKeys, hookTime.Add(-6 * time.Minute), gateway.ErrSignature},
		{"without a time", signed(strings.Replace(xml, "2026-03-01T10:00:00Z", "", 1)), hookKeys, hookTime, gateway.ErrSignature},
		{"truncated", good[:len(good)/2], hookKeys, hookTime, gateway.ErrSignature},
		{"truncated signature", form("bt_signature", signature[:len(signature)-2], "bt_payload", payload), hookKeys, hookTime, gateway.ErrSignature},
		{"a signature that is not hex", form("bt_signature", "public|"+strings.Repeat("z", 40), "bt_payload", payload), hookKeys, hookTime, gateway.ErrSignature},
		{"the signature in capitals", form("bt_signature", "public|"+strings.ToUpper(strings.TrimPrefix(signature, "public|")), "bt_payload", payload), hookKeys, hookTime, nil},
		{"no signature", form("bt_payload", payload), hookKeys, hookTime, gateway.ErrSignature},
		{"an empty signature", form("bt_signature", "", "bt_payload", payload), hookKeys, hookTime, gateway.ErrSignature},
		{"no payload", form("bt_signature", signature), hookKeys, hookTime, gateway.ErrSignature},
		{"two payloads", append(append([]byte{}, good...), "&bt_payload=x"...), hookKeys, hookTime, gateway.ErrSignature},
		{"two signatures", append(append([]byte{}, good...), "&bt_signature=x"...), hookKeys, hookTime, gateway.ErrSignature},
		{"a payload that is not base64's", form("bt_signature", signature, "bt_payload", "<xml>"), hookKeys, hookTime, gateway.ErrSignature},
		{"JSON", []byte(`{"bt_signature":"x"}`), hookKeys, hookTime, gateway.ErrSignature},
		{"nothing", nil, hookKeys, hookTime, gateway.ErrSignature},
		{"oversized", append([]byte("x="+strings.Repeat("y", 1<<20)+"&"), good...), hookKeys, hookTime, gateway.ErrSignature},

		{"no notification", signed("<html/>"), hookKeys, hookTime, gateway.ErrUnreadable},
		{"no kind", signed(notification("", "")), hookKeys, hookTime, gateway.ErrUnreadable},
		{"half of one", signed(xml[:len(xml)-20]), hookKeys, hookTime, gateway.ErrUnreadable},
		{"signed, and not base64", sandbox.BraintreePayload("====", "public:hunter2"), hookKeys, hookTime, gateway.ErrUnreadable},
	} {
		n, err := braintree.ParseWebhook(tt.body, nil, tt.keys, false, tt.now, 0)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && (!cmp.Equal(n, gateway.Notice{}) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: told %+v, %v", tt.name, n, err)
		}
	}
}

func TestWebhookContents(t *testing.T) {
	ours := "<order-id>" + hookReference + "</order-id>"
	theirs := "<order-id>SHOP-1</order-id>"
	taken := models.Evidence{Outcome: models.OutcomeTakenBack, AmountCents: 1500, TookCents: 1500, CurrencyCode: "EUR"}
	back := models.Evidence{Outcome: models.OutcomeTakenBack, AmountCents: 500, TookCents: 500, CurrencyCode: "EUR"}
	for _, tt := range []struct {
		name, xml string
		kind      models.Kind
		hold, ref string
		want      models.Evidence
	}{
		{"settled", notification("transaction_settled", saleNotice("settled", ours)), models.Capture, "ezc3pr8w", hookReference, models.Evidence{Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR"}},
		{"settled, the shop's order id", notification("transaction_settled", saleNotice("settled", theirs)), models.Capture, "ezc3pr8w", "", models.Evidence{Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR"}},
		{"settled, and it says it is not", notification("transaction_settled", saleNotice("voided", ours)), models.Capture, "ezc3pr8w", hookReference, models.Evidence{}},
		{"declined", notification("transaction_settlement_declined", saleNotice("settlement_declined", ours)), models.Capture, "ezc3pr8w", hookReference, taken},
		{"declined, and it says it settled", notification("transaction_settlement_declined", saleNotice("settled", ours)), models.Capture, "ezc3pr8w", hookReference, models.Evidence{}},
		{"disbursed", notification("transaction_disbursed", `<transaction><id>ezc3pr8w</id><amount>15.00</amount></transaction>`), models.Capture, "ezc3pr8w", "", models.Evidence{}},
		{"refund settled", notification("transaction_settled", creditNotice("settled", "<order-id>ref_aaaaaaaaaaaaaaaaaaaaaaaaaa</order-id>")), models.Refund, "ezc3pr8w", "ref_aaaaaaaaaaaaaaaaaaaaaaaaaa",
			models.Evidence{Outcome: models.OutcomeConfirmed, AmountCents: 500, CurrencyCode: "EUR"}},
		// Of which try they are, nothing says: they take back the one whose id is recorded, and are a reason to look at one that is open.
		{"refund declined", notification("transaction_settlement_declined", creditNotice("settlement_declined", "")), models.Refund, "ezc3pr8w", "", back},
		{"refund failed", notification("refund_failed", creditNotice("processor_declined", "")), models.Refund, "ezc3pr8w", "", back},
		{"refund failed, and it says it did not", notification("refund_failed", creditNotice("settled", "")), models.Refund, "ezc3pr8w", "", models.Evidence{}},
		{"dispute opened", notification("dispute_opened", disputeNotice("open", "chargeback", "15.00")), models.Capture, "ezc3pr8w", hookReference, taken},
		{"dispute of a part", notification("dispute_opened", disputeNotice("open", "chargeback", "5.00")), models.Capture, "ezc3pr8w", hookReference,
			models.Evidence{Outcome: models.OutcomeTakenBack, AmountCents: 500, TookCents: 1500, CurrencyCode: "EUR"}},
		{"dispute lost", notification("dispute_lost", disputeNotice("lost", "chargeback", "15.00")), models.Capture, "ezc3pr8w", hookReference, taken},
		{"dispute won", notification("dispute_won", disputeNotice("won", "chargeback", "15.00")), models.Capture, "ezc3pr8w", hookReference, models.Evidence{}},
		{"a question", notification("dispute_opened", disputeNotice("open", "retrieval", "15.00")), models.Capture, "ezc3pr8w", hookReference, models.Evidence{}},
		{"a dispute without an amount", notification("dispute_opened", disputeNotice("open", "chargeback", "")), models.Capture, "ezc3pr8w", hookReference, models.Evidence{}},
		{"a test", notification("check", `<check type="boolean">true</check>`), "", "", "", models.Evidence{}},
		{"something else", notification("subscription_canceled", `<subscription><id>x</id></subscription>`), "", "", "", models.Evidence{}},
		{"an id that is none", notification("transaction_settled", strings.Replace(saleNotice("settled", ours), "ezc3pr8w", "../x", 1)), models.Capture, "", hookReference, models.Evidence{}},
	} {
		n, err := braintree.ParseWebhook(signed(tt.xml), nil, hookKeys, true, hookTime, 0)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		ev := n.Evidence
		got := models.Evidence{Outcome: ev.Outcome, AmountCents: ev.AmountCents, TookCents: ev.TookCents, CurrencyCode: ev.CurrencyCode}
		if !cmp.Equal(got, tt.want) || n.Kind != tt.kind || n.Hold != tt.hold || n.Reference != tt.ref || ev.Source != models.FromWebhook {
			t.Errorf("%s: %+v", tt.name, n)
		}
		if !n.Live || !n.At.Equal(hookTime) || !strings.HasPrefix(n.EventID, "bt_") || n.Type == "" {
			t.Errorf("%s: %+v", tt.name, n)
		}
		if again, err := braintree.ParseWebhook(signed(tt.xml), nil, hookKeys, true, hookTime, 0); err != nil || again.EventID != n.EventID {
			t.Errorf("%s: the same again is another event", tt.name)
		}
	}
}

func TestChallenge(t *testing.T) {
	if got, ok := braintree.Challenge("20f9f8ed05f77439fe955c977e4c8a53", braintree.Key{Public: "integration_public_key", Private: "integration_private_key"}); !ok ||
		got != "integration_public_key|d9b899556c966b3f06945ec21311865d35df3ce4" {
		t.Errorf("%q, %v", got, ok)
	}
	for _, bad := range []string{"", "20f9", "20F9F8ED05F77439FE955C977E4C8A53", strings.Repeat("a", 33), "20f9f8ed05f77439fe955c977e4c8a5\n"} {
		if got, ok := braintree.Challenge(bad, hookKeys[0]); ok {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// TestWebhooksOverHTTP: what the sandbox sends is read, forged and replaced keys
// are refused.
func TestWebhooksOverHTTP(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	var mu sync.Mutex
	var told []gateway.Notice
	refused := 0
	inbox := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, err := braintree.ParseWebhook(body, r.Header, hookKeys, false, time.Now(), 0)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refused++
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		told = append(told, n)
	}))
	defer inbox.Close()
	w.sandbox.SetWebhooks([]sandbox.Endpoint{{URL: inbox.URL, Secret: "public:hunter2", Wire: braintree.Provider}})
	hold := w.hold(t, 1500, "webhook_forged:1,webhook_dup=2:1")
	capture := request(models.Capture, hold, 1500)
	must(t, w.Capture(t.Context(), capture), models.OutcomeConfirmed, 1500)
	w.behind(t, "settle", hold)
	w.behind(t, "dispute", hold)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.sandbox.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 3 || refused != 1 || told[0].EventID != told[1].EventID {
		t.Fatalf("told %+v, refused %d", told, refused)
	}
	for i, want := range []models.Outcome{models.OutcomeConfirmed, models.OutcomeConfirmed, models.OutcomeTakenBack} {
		if n := told[i]; n.Evidence.Outcome != want || n.Reference != capture.Reference || n.Kind != models.Capture || n.Evidence.AmountCents != 1500 {
			t.Errorf("%d: %+v", i, n)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add([]byte(notification("transaction_settled", saleNotice("settled", ""))), true)
	f.Add([]byte(notification("transaction_settlement_declined", creditNotice("settlement_declined", ""))), true)
	f.Add([]byte(notification("dispute_opened", disputeNotice("open", "chargeback", "15.00"))), true)
	f.Add([]byte(notification("check", "")), false)
	f.Add([]byte("bt_signature=public%7C00&bt_payload=PA%3D%3D"), false)
	f.Fuzz(func(t *testing.T, raw []byte, genuine bool) {
		body := raw
		if genuine {
			body = sandbox.BraintreeForm(raw, "public:hunter2")
		}
		n, err := braintree.ParseWebhook(body, nil, hookKeys, false, hookTime, 0)
		if err != nil {
			if !errors.Is(err, gateway.ErrSignature) && !errors.Is(err, gateway.ErrUnreadable) {
				t.Fatalf("%v", err)
			}
			return
		}
		if !genuine {
			t.Fatalf("forged: %q", raw)
		}
		if ev := n.Evidence; ev.Outcome == models.OutcomeConfirmed && (ev.AmountCents <= 0 || len(ev.CurrencyCode) != 3) || ev.Outcome == models.OutcomeTakenBack && ev.AmountCents <= 0 {
			t.Fatalf("%q proves %s", raw, ev.JSON())
		}
	})
}
