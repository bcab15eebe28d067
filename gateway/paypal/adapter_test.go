package paypal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// world is a sandbox behind a real listener and an adapter that calls it.
type world struct {
	*paypal.Adapter
	sandbox *sandbox.Server
	url     string // of PayPal's wire
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
	w := &world{sandbox: s, url: srv.URL + "/paypal"}
	w.Adapter = w.adapter(t, paypal.Config{})
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
func (w *world) adapter(t *testing.T, c paypal.Config) *paypal.Adapter {
	t.Helper()
	c.Account, c.ClientID = "paypal", "client"
	if c.Secret == "" {
		c.Secret = "hunter2"
	}
	if c.BaseURL == "" {
		c.BaseURL = w.url
	}
	a := paypal.New(c)
	t.Cleanup(a.Close)
	return a
}

// token asks for an access token as a checkout would.
func (w *world) token(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("client", "hunter2")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var body struct {
		Token string `json:"access_token"`
	}
	call(t, req, 200, &body)
	return body.Token
}

func call(t *testing.T, req *http.Request, status int, into any) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: status %d, %v: %s", req.Method, req.URL.Path, resp.StatusCode, err, raw)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
}

// checkout makes an order and has it authorized, as the payer does at PayPal.
func (w *world) checkout(t *testing.T, value, currency, fault string) string {
	t.Helper()
	unit := map[string]any{"amount": map[string]string{"currency_code": currency, "value": value}}
	if fault != "" {
		unit["custom_id"] = "fault=" + fault
	}
	var order struct {
		ID    string `json:"id"`
		Units []struct {
			Payments struct {
				Authorizations []struct {
					ID     string `json:"id"`
					Status string `json:"status"`
				} `json:"authorizations"`
			} `json:"payments"`
		} `json:"purchase_units"`
	}
	token := w.token(t)
	post := func(path string, body any) {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+path, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		call(t, req, 201, &order)
	}
	post("/v2/checkout/orders", map[string]any{"intent": "AUTHORIZE", "purchase_units": []any{unit}})
	post("/v2/checkout/orders/"+order.ID+"/authorize", struct{}{})
	if len(order.Units) != 1 || len(order.Units[0].Payments.Authorizations) != 1 || order.Units[0].Payments.Authorizations[0].Status != "CREATED" {
		t.Fatalf("no authorization: %+v", order)
	}
	return order.Units[0].Payments.Authorizations[0].ID
}

func (w *world) hold(t *testing.T, cents int64, fault string) string {
	t.Helper()
	return w.checkout(t, models.Decimal(cents, "EUR"), "EUR", fault)
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	return nth(kind, hold, cents, 1)
}

func nth(kind models.Kind, hold string, cents int64, n int) gateway.Request {
	ref := models.GatewayReference("paypal", hold, kind, n)
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
	if first.CurrencyCode != "EUR" || first.GatewayTransactionID == "" || first.GatewayTransactionID == hold || first.RequestID == "" {
		t.Fatalf("capture: %s", first.JSON())
	}
	must(t, w.Capture(t.Context(), capture), models.OutcomeConfirmed, 1200)
	looked := must(t, w.LookUp(t.Context(), capture), models.OutcomeConfirmed, 1200)
	if looked.Foreign || looked.Source != models.FromLookUp || looked.GatewayTransactionID != first.GatewayTransactionID || looked.HoldEndsAt == nil {
		t.Fatalf("look-up: %s", looked.JSON())
	}
	refund := request(models.Refund, hold, 500)
	refund.Capture = first.GatewayTransactionID
	must(t, w.LookUp(t.Context(), refund), models.OutcomeNone, 0)
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), refund), models.OutcomeConfirmed, 500)
	other := w.hold(t, 900, "")
	must(t, w.Void(t.Context(), request(models.Void, other, 900)), models.OutcomeConfirmed, 900)
	if ev := w.Capture(t.Context(), request(models.Capture, other, 900)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Fatalf("capture of a voided hold: %s", ev.JSON())
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
// what they left.
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
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.CapturedCents != 800 || facts.AmountCents != 1500 || !facts.Open || facts.Status != "PARTIALLY_CAPTURED" || facts.CaptureBefore == nil {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	void := request(models.Void, hold, 700)
	void.HoldCents = 1500
	must(t, w.Void(t.Context(), void), models.OutcomeConfirmed, 700)
	must(t, w.LookUp(t.Context(), void), models.OutcomeConfirmed, 700)
	must(t, w.LookUp(t.Context(), first), models.OutcomeConfirmed, 500)
	if ev := w.LookUp(t.Context(), third); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "AUTHORIZATION_VOIDED" {
		t.Fatalf("a capture never made on a voided hold: %s", ev.JSON())
	}
}

// TestUsedUpBySiblings: our own earlier captures are no foreign ones.
func TestUsedUpBySiblings(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	must(t, w.Capture(t.Context(), request(models.Capture, hold, 1500)), models.OutcomeConfirmed, 1500)
	second := nth(models.Capture, hold, 100, 2)
	if ev := w.Capture(t.Context(), second); ev.Outcome != models.OutcomeLost || ev.ErrorCode != "AUTHORIZATION_ALREADY_CAPTURED" {
		t.Fatalf("call: %s", ev.JSON())
	}
	if ev := w.LookUp(t.Context(), second); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Fatalf("look-up: %s", ev.JSON())
	}
	second.OnlyOne = true // a database that has forgotten the first
	if ev := w.LookUp(t.Context(), second); ev.Outcome != models.OutcomeConfirmed || !ev.Foreign {
		t.Fatalf("look-up by one who knows no sibling: %s", ev.JSON())
	}
}

// TestDuplicateInvoice: a key that PayPal has forgotten takes no money twice,
// and what it answers then is no success by itself.
func TestDuplicateInvoice(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "amnesia:*")
	r := request(models.Capture, hold, 500)
	r.Final, r.HoldCents = false, 1500
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 500)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeLost || ev.ErrorCode != "DUPLICATE_INVOICE_ID" {
		t.Fatalf("got %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 500)
	if n := len(w.sandbox.BookOf(hold).Captures); n != 1 {
		t.Fatalf("%d captures booked", n)
	}
}

// TestPending: 201 may say PENDING; the key and the look-up then tell the rest.
func TestPending(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now, PayPal: sandbox.PayPalConfig{TokenLife: 1000 * time.Hour}})
	hold := w.hold(t, 1500, "pending=48h")
	r := request(models.Capture, hold, 1500)
	for what, ev := range map[string]models.Evidence{"call": w.Capture(t.Context(), r), "again": w.Capture(t.Context(), r), "look-up": w.LookUp(t.Context(), r)} {
		if ev.Outcome != models.OutcomeAccepted || ev.ErrorDetail != "PENDING_REVIEW" || ev.GatewayTransactionID == "" {
			t.Errorf("%s: %s", what, ev.JSON())
		}
	}
	refund := request(models.Refund, hold, 500)
	refund.Capture = w.LookUp(t.Context(), r).GatewayTransactionID
	if ev := w.Refund(t.Context(), refund); ev.Outcome != models.OutcomeDeclined || ev.ErrorCode != "PENDING_CAPTURE" {
		t.Errorf("refund of a pending capture: %s", ev.JSON())
	}
	clock.Add(49 * time.Hour)
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 500)
}

// TestDeclineRotates: the key of a declined capture answers DECLINED for ever,
// another one asks anew.
func TestDeclineRotates(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "decline:1")
	r := request(models.Capture, hold, 1500)
	for range 2 {
		if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeDeclined || ev.NextAction != "reauthorize" || ev.ErrorCode != "CAPTURE_DECLINED" {
			t.Fatalf("got %s", ev.JSON())
		}
	}
	must(t, w.LookUp(t.Context(), r), models.OutcomeNone, 0)
	r.Key = models.IdempotencyKey(r.Reference, 1)
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
}

func TestAdapterIsNotPrintedWithItsSecret(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	must(t, w.LookUp(t.Context(), request(models.Capture, w.hold(t, 100, ""), 100)), models.OutcomeNone, 0)
	s := fmt.Sprintf("%v %+v %#v", w.Adapter, w.Adapter, *w.Adapter)
	for _, secret := range []string{"hunter2", "Y2xpZW50Omh1bnRlcjI", "A21AA"} {
		if strings.Contains(s, secret) {
			t.Errorf("leaked: %s", secret)
		}
	}
}

func TestCapabilities(t *testing.T) {
	got := paypal.New(paypal.Config{}).Capabilities()
	want := gateway.Capabilities{
		Provider: "paypal", IdempotencyWindow: 45 * 24 * time.Hour, ReplaysErrors: true, LookUp: true, SettleAfter: 30 * time.Second,
		MultiCapture: true, HoldLife: 29 * 24 * time.Hour, Reauthorize: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
