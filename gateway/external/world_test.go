package external_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/external"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const secret = gateway.Secret("shared-secret-of-a-test")

// world is a merchant's external gateway behind a real listener, an adapter that
// calls it, and a listener for its callbacks.
type world struct {
	*external.Adapter
	sandbox *sandbox.Server
	url     string

	mu    sync.Mutex
	heard []gateway.Notice
	// accepted are the answers to what was accepted, by the operation's reference.
	accepted map[string]models.Evidence
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := sandbox.New(sandbox.Config{External: sandbox.ExternalConfig{Secrets: []gateway.Secret{secret}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	w := &world{sandbox: s, url: srv.URL + "/external", accepted: map[string]models.Evidence{}}
	hooks := httptest.NewServer(http.HandlerFunc(w.hear))
	s.SetWebhooks([]sandbox.Endpoint{{URL: hooks.URL, Secret: secret, OldSecret: "replaced", Wire: external.Provider}})
	w.Adapter = w.adapter(t, w.url)
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

// hear is the callback's receiver.
func (w *world) hear(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	notices, err := external.ParseWebhook(body, r.Header, []gateway.Secret{"replaced-later", secret}, false, time.Now())
	if err != nil {
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, notices...)
}

// adapter is another adapter of the same gateway.
func (w *world) adapter(t *testing.T, base string) *external.Adapter {
	t.Helper()
	a := external.New(external.Config{
		Account: "external", CaptureURL: base + "/capture", VoidURL: base + "/void", RefundURL: base + "/refund?tenant=a%2Fb",
		SharedSecrets: []gateway.Secret{secret}, AllowPrivate: true, Describe: described,
	})
	t.Cleanup(a.Close)
	return a
}

// described is what a ledger would tell about a request.
func described(_ context.Context, r gateway.Request) (external.Document, error) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := external.Document{
		Mode: models.Test, OperationID: "op-" + r.Reference,
		Order:         external.Order{ID: "order-of-" + r.Hold, Number: "42", CurrencyCode: r.CurrencyCode, TotalCents: r.HoldCents, CreatedAt: at},
		Authorization: external.Authorization{ID: "auth-of-" + r.Hold, Number: "42/T/001", CurrencyCode: r.CurrencyCode, AmountCents: r.HoldCents, CreatedAt: at},
	}
	if r.Kind == models.Refund {
		d.Capture = &external.Capture{ID: "capture-of-" + r.Hold, Number: "42/T/002", CurrencyCode: r.CurrencyCode, AmountCents: r.HoldCents, CreatedAt: at}
	}
	return d, nil
}

// hold makes a hold as a checkout does. async is empty where answers come at once.
func (w *world) hold(t *testing.T, cents int64, async, fault string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"amount_cents": cents, "currency_code": "EUR", "async": async, "metadata": map[string]string{"fault": fault}})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(w.url+"/holds", "application/json", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var made struct {
		Data struct {
			Token string `json:"transaction_token"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&made); err != nil || resp.StatusCode != 201 || made.Data.Token == "" {
		t.Fatalf("status %d, %v: %+v", resp.StatusCode, err, made)
	}
	return made.Data.Token
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	ref := models.GatewayReference("external", hold, kind, 1)
	return gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: "EUR", Hold: hold, Final: true, OnlyOne: true, HoldCents: cents,
	}
}
