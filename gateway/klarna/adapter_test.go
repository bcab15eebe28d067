package klarna_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/klarna"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// world is a sandbox behind a real listener and an adapter that calls it.
type world struct {
	*klarna.Adapter
	sandbox *sandbox.Server
	url     string // of Klarna's wire
}

func newWorld(t *testing.T, c sandbox.Config) *world {
	t.Helper()
	return newWorldBehind(t, c, func(h http.Handler) http.Handler { return h })
}

// newWorldBehind puts something between the adapter and the sandbox.
func newWorldBehind(t *testing.T, c sandbox.Config, between func(http.Handler) http.Handler) *world {
	t.Helper()
	s, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(between(s.Handler()))
	w := &world{sandbox: s, url: srv.URL + "/klarna"}
	w.Adapter = w.adapter(t, klarna.Config{})
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// adapter is another adapter of the same account.
func (w *world) adapter(t *testing.T, c klarna.Config) *klarna.Adapter {
	t.Helper()
	c.Account, c.Username = "klarna", "user"
	if c.Password == "" {
		c.Password = "hunter2"
	}
	if c.BaseURL == "" {
		c.BaseURL = w.url
	}
	a := klarna.New(c)
	t.Cleanup(a.Close)
	return a
}

// hold makes an order as a checkout does, with the token of the payer's consent.
func (w *world) hold(t *testing.T, cents int64, fault string) string {
	t.Helper()
	body := map[string]any{
		"purchase_country": "DE", "purchase_currency": "EUR", "locale": "de-DE", "order_amount": cents, "merchant_reference1": "1001",
		"order_lines": []any{map[string]any{"type": "physical", "name": "Tomatoes", "quantity": 1, "unit_price": cents, "total_amount": cents}},
	}
	if fault != "" {
		body["merchant_data"] = "fault=" + fault
	}
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		ID    string `json:"order_id"`
		Fraud string `json:"fraud_status"`
	}
	w.send(t, http.MethodPost, "/payments/v1/authorizations/b4bd3423-24e3/order", raw, 200, &made)
	if made.ID == "" || made.Fraud != "ACCEPTED" {
		t.Fatalf("no order: %+v", made)
	}
	return made.ID
}

func (w *world) send(t *testing.T, method, path string, body []byte, status int, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("user", "hunter2")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: status %d, %v: %s", method, path, resp.StatusCode, err, raw)
	}
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	return nth(kind, hold, cents, 1)
}

func nth(kind models.Kind, hold string, cents int64, n int) gateway.Request {
	ref := models.GatewayReference("klarna", hold, kind, n)
	return gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: "EUR",
		Hold: hold, Final: true, OnlyOne: n == 1, HoldCents: cents,
	}
}

func must(t *testing.T, ev models.Evidence, want models.Outcome, cents int64) models.Evidence {
	t.Helper()
	if ev.Outcome != want || ev.AmountCents != cents {
		t.Fatalf("got %s, want %d %s", ev.JSON(), cents, want)
	}
	return ev
}

func TestHappyPath(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	if err := w.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	hold := w.hold(t, 1500, "")
	capture := request(models.Capture, hold, 1200)
	must(t, w.LookUp(t.Context(), capture), models.OutcomeNone, 0)
	first := must(t, w.Capture(t.Context(), capture), models.OutcomeConfirmed, 1200)
	if first.CurrencyCode != "EUR" || first.GatewayTransactionID == "" || first.GatewayTransactionID == hold || first.RequestID == "" ||
		first.Source != models.FromAnswer || first.Status != 201 || first.HoldEndsAt == nil || first.Token == "" {
		t.Fatalf("capture: %s", first.JSON())
	}
	again := must(t, w.Capture(t.Context(), capture), models.OutcomeConfirmed, 1200)
	looked := must(t, w.LookUp(t.Context(), capture), models.OutcomeConfirmed, 1200)
	if looked.Foreign || looked.Source != models.FromLookUp || looked.GatewayTransactionID != first.GatewayTransactionID || again.GatewayTransactionID != first.GatewayTransactionID {
		t.Fatalf("look-up: %s", looked.JSON())
	}
	refund := request(models.Refund, hold, 500)
	refund.Capture = first.GatewayTransactionID
	must(t, w.LookUp(t.Context(), refund), models.OutcomeNone, 0)
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), refund), models.OutcomeConfirmed, 500)
	other := w.hold(t, 900, "")
	must(t, w.Void(t.Context(), request(models.Void, other, 900)), models.OutcomeConfirmed, 900)
	if ev := w.Capture(t.Context(), request(models.Capture, other, 900)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "ORDER_CANCELLED" || ev.NextAction != "cancel" {
		t.Fatalf("capture of a cancelled order: %s", ev.JSON())
	}
	book := w.sandbox.Book()
	if len(book.Captures) != 1 || len(book.Refunds) != 1 || len(book.Cancels) != 1 || len(book.Violations) != 0 {
		t.Fatalf("book: %+v", book)
	}
	if book.Captures[0].Reference != capture.Reference || book.Captures[0].Key != capture.Key {
		t.Fatalf("booked under other names: %+v", book.Captures[0])
	}
}

// TestSeveralCaptures: each is found by its own reference, and a void releases
// what they left, by Klarna's other call.
func TestSeveralCaptures(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	part := func(n int, cents int64) gateway.Request {
		r := nth(models.Capture, hold, cents, n)
		r.Final, r.OnlyOne, r.HoldCents = false, false, 1500
		return r
	}
	first, second, third := part(1, 500), part(2, 300), part(3, 700)
	must(t, w.Capture(t.Context(), first), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), second), models.OutcomeNone, 0)
	must(t, w.Capture(t.Context(), second), models.OutcomeConfirmed, 300)
	must(t, w.LookUp(t.Context(), first), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), second), models.OutcomeConfirmed, 300)
	if ev := w.Capture(t.Context(), part(4, 900)); ev.Outcome != models.OutcomeRefused || ev.HoldGone {
		t.Fatalf("more than is left: %s", ev.JSON())
	}
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.CapturedCents != 800 || facts.AmountCents != 1500 || !facts.Open || facts.Status != "PART_CAPTURED" || facts.CaptureBefore == nil {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	void := request(models.Void, hold, 700)
	void.HoldCents = 1500
	must(t, w.Void(t.Context(), void), models.OutcomeConfirmed, 700)
	must(t, w.Void(t.Context(), void), models.OutcomeConfirmed, 700)
	must(t, w.LookUp(t.Context(), void), models.OutcomeConfirmed, 700)
	must(t, w.LookUp(t.Context(), first), models.OutcomeConfirmed, 500)
	for what, ev := range map[string]models.Evidence{"look-up": w.LookUp(t.Context(), third), "call": w.Capture(t.Context(), third)} {
		if ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
			t.Errorf("%s of a capture never made on a released order: %s", what, ev.JSON())
		}
	}
	if book := w.sandbox.BookOf(hold); len(book.Captures) != 2 || len(book.Cancels) != 1 || book.Cancels[0].Amount != 700 {
		t.Fatalf("book: %+v", book)
	}
}

// TestOnlyTheKeyMatters: the same key with another amount, as after a restore, is
// answered with what was made first. That, and not what was asked for, is told.
func TestOnlyTheKeyMatters(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	r := request(models.Capture, hold, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	r.AmountCents = 1200
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	other := request(models.Refund, hold, 100)
	other.Key = r.Key
	if ev := w.Refund(t.Context(), other); ev.Outcome != models.OutcomeLost {
		t.Fatalf("the key of a capture on a refund: %s", ev.JSON())
	}
	if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 || len(book.Refunds) != 0 {
		t.Fatalf("book: %+v", book)
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, sandbox.Config{Klarna: sandbox.KlarnaConfig{Users: map[string]gateway.Secret{"user": "hunter2"}}})
	if err := w.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad := w.adapter(t, klarna.Config{Password: "wrong-secret"})
	if err := bad.Probe(t.Context()); !errors.Is(err, gateway.ErrCredentials) || strings.Contains(err.Error(), "wrong-secret") {
		t.Fatalf("probe: %v", err)
	}
	hold := w.hold(t, 1500, "")
	if ev := bad.Capture(t.Context(), request(models.Capture, hold, 1500)); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig {
		t.Fatalf("capture: %s", ev.JSON())
	}
	if ev := bad.Void(t.Context(), request(models.Void, hold, 1500)); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig {
		t.Fatalf("void: %s", ev.JSON())
	}
	if _, err := w.Describe(t.Context(), "nosuchorder"); !errors.Is(err, gateway.ErrNoSuchHold) {
		t.Errorf("describe: %v", err)
	}
	if _, err := bad.Describe(t.Context(), hold); err == nil || errors.Is(err, gateway.ErrNoSuchHold) {
		t.Errorf("describe with bad credentials: %v", err)
	}
	wrongPlace := w.adapter(t, klarna.Config{BaseURL: strings.TrimSuffix(w.url, "/klarna")})
	if err := wrongPlace.Probe(t.Context()); err == nil || errors.Is(err, gateway.ErrCredentials) {
		t.Errorf("probe of another address: %v", err)
	}
}

// TestUnsendable: what the wire cannot express is refused, and nothing leaves.
func TestUnsendable(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	for name, change := range map[string]func(*gateway.Request){
		"yen":             func(r *gateway.Request) { r.CurrencyCode = "JPY" },
		"dinar":           func(r *gateway.Request) { r.CurrencyCode = "KWD" },
		"no currency":     func(r *gateway.Request) { r.CurrencyCode = "" },
		"nothing":         func(r *gateway.Request) { r.AmountCents = 0 },
		"less":            func(r *gateway.Request) { r.AmountCents = -1 },
		"too much":        func(r *gateway.Request) { r.AmountCents = 100_000_001 },
		"a path":          func(r *gateway.Request) { r.Hold = "../../x" },
		"an escaped path": func(r *gateway.Request) { r.Hold = hold + "%2fcancel" },
	} {
		for _, kind := range []models.Kind{models.Capture, models.Refund} {
			r := request(kind, hold, 1500)
			change(&r)
			ev := map[models.Kind]func() models.Evidence{
				models.Capture: func() models.Evidence { return w.Capture(t.Context(), r) }, models.Refund: func() models.Evidence { return w.Refund(t.Context(), r) },
			}[kind]()
			if ev.Outcome != models.OutcomeRefused || ev.HoldGone || ev.Message == "" || ev.NextAction != "cancel" {
				t.Errorf("%s, %s: %s", kind, name, ev.JSON())
			}
		}
	}
	if book := w.sandbox.BookOf(hold); len(book.Requests) != 0 {
		t.Errorf("asked: %+v", book.Requests)
	}
	if ev := w.Authorize(t.Context(), gateway.AuthorizeRequest{}); ev.Outcome != models.OutcomeRefused || ev.ErrorCode != "authorize_unsupported" {
		t.Errorf("authorize: %s", ev.JSON())
	}
	if _, err := w.List(t.Context(), gateway.ListRequest{}); !errors.Is(err, gateway.ErrUnsupported) {
		t.Errorf("list: %v", err)
	}
}

func TestAdapterIsNotPrintedWithItsSecret(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	s := fmt.Sprintf("%v %+v %#v", w.Adapter, w.Adapter, *w.Adapter)
	for _, secret := range []string{"hunter2", "dXNlcjpodW50ZXIy"} {
		if strings.Contains(s, secret) {
			t.Errorf("leaked: %s", secret)
		}
	}
}

func TestCapabilities(t *testing.T) {
	got := klarna.New(klarna.Config{}).Capabilities()
	want := gateway.Capabilities{
		Provider: "klarna", IdempotencyWindow: 24 * time.Hour, ReplaysErrors: true, LookUp: true, SettleAfter: 2 * time.Minute,
		MultiCapture: true, HoldLife: 28 * 24 * time.Hour, Reauthorize: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
