package adyen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const (
	testAccount = "CapstanECOM"
	testKey     = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
	oldKey      = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
)

// world is a sandbox behind a real listener, an adapter that calls it, and an
// endpoint for its webhooks.
type world struct {
	*adyen.Adapter
	sandbox *sandbox.Server
	url     string // of Adyen's wire

	mu      sync.Mutex
	heard   []gateway.Notice
	bodies  [][]byte
	refused int
}

func newWorld(t *testing.T, c sandbox.Config) *world {
	t.Helper()
	return newWorldBehind(t, c, func(h http.Handler) http.Handler { return h })
}

// newWorldBehind puts something between the adapter and the sandbox.
func newWorldBehind(t *testing.T, c sandbox.Config, between func(http.Handler) http.Handler) *world {
	t.Helper()
	w := &world{}
	hooks := httptest.NewServer(http.HandlerFunc(w.hear))
	c.Webhooks = []sandbox.Endpoint{{URL: hooks.URL, Secret: testKey, OldSecret: oldKey, Wire: "adyen"}}
	s, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(between(s.Handler()))
	w.sandbox, w.url = s, srv.URL+"/adyen/v72"
	w.Adapter = w.adapter(t, adyen.Config{MultiCapture: c.Adyen.MultiCapture})
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		hooks.Close()
	})
	return w
}

// hear verifies and keeps what the sandbox sends.
func (w *world) hear(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	notices, err := adyen.ParseWebhook(body, r.Header, []gateway.Secret{testKey}, time.Now(), testAccount)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.refused++
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.heard, w.bodies = append(w.heard, notices...), append(w.bodies, body)
	_, _ = rw.Write([]byte(adyen.Accepted))
}

// told is what the webhooks that arrived so far say about an operation.
func (w *world) told(r gateway.Request) []models.Evidence {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []models.Evidence
	for _, n := range w.heard {
		if n.Kind == r.Kind && (n.Reference == r.Reference || n.Reference == "" && n.Hold == r.Hold && n.Kind == models.Void) {
			out = append(out, n.Evidence)
		}
	}
	return out
}

// flushed is told, when everything has arrived.
func (w *world) flushed(t *testing.T, r gateway.Request) []models.Evidence {
	t.Helper()
	if err := w.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.told(r)
}

// adapter is another adapter of the same account.
func (w *world) adapter(t *testing.T, c adyen.Config) *adyen.Adapter {
	t.Helper()
	c.Account = "adyen"
	if c.APIKey == "" {
		c.APIKey = "AQEhunter2"
	}
	if c.MerchantAccount == "" {
		c.MerchantAccount = testAccount
	}
	if c.BaseURL == "" {
		c.BaseURL = w.url
	}
	a := adyen.New(c)
	t.Cleanup(a.Close)
	return a
}

// pay makes an authorised payment as a checkout does.
func (w *world) pay(t *testing.T, value int64, currency, fault string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"merchantAccount": testAccount, "reference": "order 1", "amount": map[string]any{"currency": currency, "value": value},
		"paymentMethod": map[string]string{"type": "scheme"}, "returnUrl": "https://shop.example", "metadata": map[string]string{"fault": fault},
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/payments", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", "AQEhunter2")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var paid struct {
		PSP    string `json:"pspReference"`
		Result string `json:"resultCode"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&paid); err != nil || resp.StatusCode != 200 || paid.Result != "Authorised" {
		t.Fatalf("status %d, %v: %+v", resp.StatusCode, err, paid)
	}
	return paid.PSP
}

func (w *world) hold(t *testing.T, cents int64, fault string) string {
	t.Helper()
	return w.pay(t, cents, "EUR", fault)
}

// dashboard does something behind our back.
func (w *world) dashboard(t *testing.T, hold, action string) {
	t.Helper()
	body := fmt.Sprintf(`{"hold":%q,"action":%q}`, hold, action)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSuffix(w.url, "/adyen/v72")+"/_sandbox/dashboard", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if raw, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Fatalf("%s: status %d: %s", action, resp.StatusCode, raw)
	}
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	return nth(kind, hold, cents, 1)
}

func nth(kind models.Kind, hold string, cents int64, n int) gateway.Request {
	ref := models.GatewayReference("adyen", hold, kind, n)
	return gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: "EUR",
		Hold: hold, Final: true, OnlyOne: n == 1, HoldCents: cents,
	}
}

func (w *world) send(ctx context.Context, r gateway.Request) models.Evidence {
	switch r.Kind {
	case models.Refund:
		return w.Refund(ctx, r)
	case models.Void:
		return w.Void(ctx, r)
	}
	return w.Capture(ctx, r)
}

// settle sends an operation and returns what its webhook said.
func (w *world) settle(t *testing.T, r gateway.Request, want models.Outcome, cents int64) models.Evidence {
	t.Helper()
	before := len(w.flushed(t, r))
	answer := w.send(t.Context(), r)
	if answer.Outcome != models.OutcomeAccepted || answer.GatewayTransactionID == "" {
		t.Fatalf("answer: %s", answer.JSON())
	}
	told := w.flushed(t, r)
	if len(told) <= before {
		t.Fatalf("%s %s: no webhook told of it", r.Kind, r.Reference)
	}
	ev := told[len(told)-1]
	if ev.Outcome != want || ev.AmountCents != cents || ev.GatewayTransactionID != answer.GatewayTransactionID || ev.Source != models.FromWebhook {
		t.Fatalf("told %s after %s, want %d %s", ev.JSON(), answer.JSON(), cents, want)
	}
	return ev
}

func isCredentials(err error) bool { return errors.Is(err, gateway.ErrCredentials) }
