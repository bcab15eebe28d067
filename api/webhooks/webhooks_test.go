package webhooks

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// A notice comes out of the inbox as it went in, whatever it says.
func TestStoredNotice(t *testing.T) {
	for _, outcome := range models.Outcomes {
		n := gateway.Notice{
			EventID: "evt_1", Type: "payment_intent.succeeded", At: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Live: true, Hold: "pi_1", Kind: models.Capture, Reference: "cap_x",
			Evidence: models.Evidence{
				Source: models.FromWebhook, Outcome: outcome, HoldGone: true, AmountCents: 1500, CurrencyCode: "EUR", GatewayTransactionID: "pi_1",
				Message: "event", Token: "ch_1", RetryAfter: time.Second,
			},
		}
		raw, err := wrap(n, []byte("\xff the body as it came"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unwrap(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(n, got); diff != "" {
			t.Errorf("%s: %s", outcome, diff)
		}
	}
	n, err := unwrap([]byte(`{"event_id":"e","evidence":{"outcome":"moved"}}`))
	if err != nil || n.Evidence.Outcome != models.OutcomeLost {
		t.Errorf("an outcome nobody knows: %v, %v", n.Evidence.Outcome, err)
	}
	if _, err := unwrap([]byte(`{`)); err == nil {
		t.Error("half a notice was read")
	}
}

// What one message says of many things weighs as much as the message, not as
// much for each.
func TestManyNoticesWeighLittle(t *testing.T) {
	for _, row := range []struct{ notices, body, with int }{{1, api.MaxWebhook, 1}, {2, 1000, 2}, {6, 100 << 10, 6}, {6, 200 << 10, 1}, {10_000, 1000, 1}} {
		messages, err := wrapAll(make([]gateway.Notice, row.notices), make([]byte, row.body))
		if err != nil {
			t.Fatal(err)
		}
		with := 0
		for _, m := range messages {
			if len(m.Body) > row.body {
				with++
			}
		}
		if len(messages) != row.notices || with != row.with {
			t.Errorf("%d notices of %d bytes: %d, of which %d have the message", row.notices, row.body, len(messages), with)
		}
	}
}

// Every word with which a message of Commerce Layer's is refused is explained to
// the people who set it up.
func TestEveryRefusalIsExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/commercelayer.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{"wrong_mode": true, "not_paid_there": true, "not_refunded_there": true}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bno\("([a-z_]+)"`).FindAllSubmatch(source, -1) {
			words[string(m[1])] = true
		}
	}
	if len(words) < 20 {
		t.Errorf("only %d words", len(words))
	}
	for word := range words {
		if !bytes.Contains(page, []byte("`"+word+"`")) {
			t.Errorf("docs/commercelayer.md does not say what %s means", word)
		}
	}
}

func TestWaitsGrow(t *testing.T) {
	last, total := time.Duration(0), time.Duration(0)
	for tries := range 40 {
		w := wait(tries)
		if w < last || w < firstWait || w > longest {
			t.Errorf("after %d tries: %s, before it %s", tries, w, last)
		}
		last = w
		if tries > 0 && tries < blindTries {
			total += w
		}
	}
	if total < time.Hour {
		t.Errorf("a message that names nothing of ours is given up after %s", total)
	}
}

// Whatever Commerce Layer may send, an order is read and checked, or refused
// with a rule; nothing panics, and no hold comes out that does not fit.
func FuzzOrder(f *testing.F) {
	for _, s := range []string{
		`{"data":{"type":"orders","id":"a","attributes":{"status":"approved","payment_status":"authorized","currency_code":"EUR","total_amount_cents":1500},` +
			`"relationships":{"payment_method":{"data":{"type":"payment_methods","id":"m"}},"authorizations":{"data":[{"type":"authorizations","id":"h"}]}}},` +
			`"included":[{"type":"payment_methods","id":"m","attributes":{"auto_capture":false}},{"type":"authorizations","id":"h","attributes":{"succeeded":true,"amount_cents":1500,"currency_code":"EUR","token":"t"}}]}`,
		`{"data":{"type":"orders","id":"a","attributes":{"payment_status":"refunded","currency_code":"EUR"},"relationships":{"refunds":{"data":[{"type":"refunds","id":"r"}]}}},"included":[` +
			`{"type":"refunds","id":"r","attributes":{"succeeded":true,"amount_cents":5,"currency_code":"EUR","token":"t"},"relationships":{"reference_capture":{"data":{"type":"refunds","id":"r"}}}},` +
			`{"type":"captures","id":"c","attributes":{"succeeded":true,"amount_cents":5,"currency_code":"EUR"},"relationships":{"reference_authorization":{"data":[1]}}}]}`,
		`{"data":{"type":"orders","id":"a","relationships":{"captures":null,"payment_method":{"data":1}}}}`, `{"included":[null]}`, `[]`, `{"data":{"type":"orders","id":"a","attributes":null}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := readOrder(body)
		if err != nil {
			return
		}
		for _, topic := range []string{topicPay, topicRefund} {
			lines, err := d.movements(topic, "EUR", []models.Authorization{{GatewayTransactionID: "pi_1"}})
			if _, ok := errors.AsType[*store.Refusal](err); err != nil && !ok {
				t.Fatalf("refused with %v", err)
			}
			for _, l := range lines {
				if l.AmountCents <= 0 || l.CurrencyCode != "EUR" || l.ID == "" || len(lines) > maxTransactions {
					t.Fatalf("line %+v of %d", l, len(lines))
				}
			}
		}
		holds, err := d.check()
		if err != nil {
			if _, ok := errors.AsType[*store.Refusal](err); !ok {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		sum := int64(0)
		for _, h := range holds {
			if h.AmountCents <= 0 || h.CurrencyCode != d.currency || h.GatewayTransactionID == "" {
				t.Fatalf("hold %+v", h)
			}
			sum += h.AmountCents
		}
		if sum < d.total || d.total <= 0 {
			t.Fatalf("%d is held for %d", sum, d.total)
		}
	})
}
