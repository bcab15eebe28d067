package checkoutcom_test

import (
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
	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

const secretKey = "sk_sbox_hunter2hunter2hunter2abcd"

// world is a sandbox behind a real listener and an adapter that calls it.
type world struct {
	*checkoutcom.Adapter
	sandbox *sandbox.Server
	root    string
	url     string // of Checkout.com's wire
}

// quick decides at once what was accepted, as far as a test can tell.
var quick = sandbox.CheckoutComConfig{Moment: time.Millisecond}

func newWorld(t *testing.T, c sandbox.Config) *world {
	t.Helper()
	s, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	w := &world{sandbox: s, root: srv.URL, url: srv.URL + "/checkoutcom"}
	w.Adapter = w.adapter(t, checkoutcom.Config{})
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
func (w *world) adapter(t *testing.T, c checkoutcom.Config) *checkoutcom.Adapter {
	t.Helper()
	c.Account = "checkoutcom"
	if c.SecretKey == "" {
		c.SecretKey = secretKey
	}
	if c.BaseURL == "" {
		c.BaseURL = w.url
	}
	a := checkoutcom.New(c)
	t.Cleanup(a.Close)
	return a
}

// ask calls the wire as another program would.
func (w *world) ask(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.root+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secretKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// checkout requests a payment with capture false, in the wire's units.
func (w *world) checkout(t *testing.T, amount int64, currency, fault string) string {
	t.Helper()
	payment := map[string]any{"amount": amount, "currency": currency, "capture": false, "reference": "ORD-7", "source": map[string]string{"type": "token", "token": "tok_x"}}
	if fault != "" {
		payment["metadata"] = map[string]string{"fault": fault}
	}
	raw, err := json.Marshal(payment)
	if err != nil {
		t.Fatal(err)
	}
	status, body := w.ask(t, "POST", "/checkoutcom/payments", string(raw))
	var made struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 201 || made.Status != "Authorized" || !strings.HasPrefix(made.ID, "pay_") {
		t.Fatalf("payment: %d %s", status, body)
	}
	return made.ID
}

func (w *world) hold(t *testing.T, cents int64, fault string) string {
	t.Helper()
	return w.checkout(t, cents, "EUR", fault)
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	return nth(kind, hold, cents, 1)
}

func nth(kind models.Kind, hold string, cents int64, n int) gateway.Request {
	ref := models.GatewayReference("checkoutcom", hold, kind, n)
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

// done is an operation that was accepted, and what a look-up says once it is
// decided.
func (w *world) done(t *testing.T, r gateway.Request) models.Evidence {
	t.Helper()
	call := map[models.Kind]func() models.Evidence{
		models.Capture: func() models.Evidence { return w.Capture(t.Context(), r) },
		models.Refund:  func() models.Evidence { return w.Refund(t.Context(), r) },
		models.Void:    func() models.Evidence { return w.Void(t.Context(), r) },
	}[r.Kind]
	ev := must(t, call(), models.OutcomeAccepted, 0)
	if ev.GatewayTransactionID == "" || ev.RequestID == "" || ev.Token != r.Hold || ev.Status != 202 {
		t.Fatalf("accepted as %s", ev.JSON())
	}
	seen := w.decided(t, r)
	if seen.GatewayTransactionID != ev.GatewayTransactionID {
		t.Fatalf("the call names %q, the look-up %s", ev.GatewayTransactionID, seen.JSON())
	}
	return seen
}

func (w *world) decided(t *testing.T, r gateway.Request) models.Evidence {
	t.Helper()
	for {
		ev := w.LookUp(t.Context(), r)
		if ev.Outcome != models.OutcomeAccepted {
			return ev
		}
	}
}

func TestHappyPath(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir(), CheckoutCom: quick})
	if err := w.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	hold := w.hold(t, 1500, "")
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.AmountCents != 1500 || facts.CurrencyCode != "EUR" || !facts.Open || facts.Status != "Authorized" || facts.Network != "visa" || facts.CaptureBefore == nil {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	capture := request(models.Capture, hold, 1200)
	must(t, w.LookUp(t.Context(), capture), models.OutcomeNone, 0)
	first := must(t, w.done(t, capture), models.OutcomeConfirmed, 1200)
	if first.CurrencyCode != "EUR" || first.Foreign || first.Source != models.FromLookUp || first.HoldEndsAt == nil || first.Token != hold {
		t.Fatalf("look-up: %s", first.JSON())
	}
	if again := must(t, w.Capture(t.Context(), capture), models.OutcomeAccepted, 0); again.GatewayTransactionID != first.GatewayTransactionID {
		t.Fatalf("the key answered %s", again.JSON())
	}
	refund := request(models.Refund, hold, 500)
	refund.Capture = first.GatewayTransactionID
	must(t, w.LookUp(t.Context(), refund), models.OutcomeNone, 0)
	must(t, w.done(t, refund), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), capture), models.OutcomeConfirmed, 1200)
	other := w.hold(t, 900, "")
	must(t, w.done(t, request(models.Void, other, 900)), models.OutcomeConfirmed, 900)
	if ev := w.Capture(t.Context(), request(models.Capture, other, 900)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "payment_voided" || ev.Status != 403 || ev.Source != models.FromAnswer {
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

// TestSeveralCaptures: each is found by its own reference; a void releases what
// they left.
func TestSeveralCaptures(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "")
	part := func(n int, cents int64) gateway.Request {
		r := nth(models.Capture, hold, cents, n)
		r.Final, r.OnlyOne, r.HoldCents = false, false, 1500
		return r
	}
	first, second, third := part(1, 500), part(2, 300), part(3, 700)
	must(t, w.done(t, first), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(t.Context(), second), models.OutcomeNone, 0)
	must(t, w.done(t, second), models.OutcomeConfirmed, 300)
	must(t, w.LookUp(t.Context(), first), models.OutcomeConfirmed, 500)
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.CapturedCents != 800 || facts.AmountCents != 1500 || !facts.Open || facts.Status != "Partially Captured" {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	void := request(models.Void, hold, 700)
	void.HoldCents = 1500
	must(t, w.done(t, void), models.OutcomeConfirmed, 700)
	must(t, w.LookUp(t.Context(), first), models.OutcomeConfirmed, 500)
	if ev := w.Capture(t.Context(), third); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Fatalf("a capture after the void: %s", ev.JSON())
	}
}

// TestFinalReleasesTheRest: after it nothing can be captured, and nothing voided.
func TestFinalReleasesTheRest(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "")
	first := request(models.Capture, hold, 1000)
	first.HoldCents = 1500
	must(t, w.done(t, first), models.OutcomeConfirmed, 1000)
	second := nth(models.Capture, hold, 100, 2)
	if ev := w.Capture(t.Context(), second); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Fatalf("our second capture: %s", ev.JSON())
	}
	second.OnlyOne = true // a database that has forgotten the first
	if ev := w.LookUp(t.Context(), second); ev.Outcome != models.OutcomeConfirmed || !ev.Foreign || ev.AmountCents != 1000 {
		t.Fatalf("look-up by one who knows no sibling: %s", ev.JSON())
	}
	void := request(models.Void, hold, 500)
	must(t, w.LookUp(t.Context(), void), models.OutcomeConfirmed, 500) // what the void is for has happened
	if facts, err := w.Describe(t.Context(), hold); err != nil || facts.Open || facts.CapturedCents != 1000 {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
}

// TestPending: an accepted capture is pending until it is decided, and its key
// answers with the acceptance.
func TestPending(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now})
	hold := w.hold(t, 1500, "pending=48h")
	r := request(models.Capture, hold, 1500)
	ids := map[string]bool{}
	for what, ev := range map[string]models.Evidence{"call": w.Capture(t.Context(), r), "again": w.Capture(t.Context(), r), "look-up": w.LookUp(t.Context(), r)} {
		if ev.Outcome != models.OutcomeAccepted {
			t.Errorf("%s: %s", what, ev.JSON())
		}
		ids[ev.GatewayTransactionID] = true
	}
	if len(ids) != 1 {
		t.Errorf("one action has the ids %v", ids)
	}
	if ev := w.LookUp(t.Context(), nth(models.Capture, hold, 100, 2)); ev.Outcome != models.OutcomeLost {
		t.Errorf("look-up of another while one is pending: %s", ev.JSON())
	}
	clock.Add(49 * time.Hour)
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
}

// TestDeclineRotates: the key of a declined capture answers 202 for ever; another
// one asks anew, and the old decline is no news then.
func TestDeclineRotates(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "decline:1")
	r := request(models.Capture, hold, 1500)
	ev := must(t, w.done(t, r), models.OutcomeDeclined, 0)
	if ev.ErrorCode != "20051" || ev.ErrorDetail != "Insufficient funds" || !ev.Answered || ev.NextAction != "retry" {
		t.Fatalf("got %s", ev.JSON())
	}
	must(t, w.Capture(t.Context(), r), models.OutcomeAccepted, 0)
	must(t, w.decided(t, r), models.OutcomeDeclined, 0)
	r.Key = models.IdempotencyKey(r.Reference, 1)
	must(t, w.LookUp(t.Context(), r), models.OutcomeNone, 0)
	must(t, w.done(t, r), models.OutcomeConfirmed, 1500)
	if n := len(w.sandbox.BookOf(hold).Captures); n != 1 {
		t.Errorf("%d captures booked", n)
	}
}

// TestServerErrorKeepsNoKey: after a 5xx the key protects nothing, so that only
// the look-up stands between us and a second capture.
func TestServerErrorKeepsNoKey(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "charge_then_500")
	r := request(models.Capture, hold, 500)
	r.Final, r.HoldCents = false, 1500
	must(t, w.Capture(t.Context(), r), models.OutcomeLost, 0)
	must(t, w.decided(t, r), models.OutcomeConfirmed, 500)
	must(t, w.Capture(t.Context(), r), models.OutcomeAccepted, 0) // what nobody must do
	for w.LookUp(t.Context(), r).Outcome == models.OutcomeAccepted {
	}
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1000) // and it is seen
}

// TestStaleReading: a payment and actions of different moments prove nothing.
func TestStaleReading(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "ok,lookup_stale:1")
	first := request(models.Capture, hold, 500)
	first.Final, first.HoldCents = false, 1500
	must(t, w.Capture(t.Context(), first), models.OutcomeAccepted, 0)
	if ev := w.LookUp(t.Context(), nth(models.Capture, hold, 500, 2)); ev.Outcome != models.OutcomeLost {
		t.Fatalf("got %s", ev.JSON())
	}
	must(t, w.decided(t, first), models.OutcomeConfirmed, 500)
}

func TestAdapterIsNotPrintedWithItsSecret(t *testing.T) {
	a := checkoutcom.New(checkoutcom.Config{SecretKey: secretKey})
	if s := fmt.Sprintf("%v %+v %#v", a, a, *a); strings.Contains(s, "hunter2") {
		t.Errorf("leaked: %s", s)
	}
}

func TestCapabilities(t *testing.T) {
	got := checkoutcom.New(checkoutcom.Config{}).Capabilities()
	want := gateway.Capabilities{
		Provider: "checkoutcom", IdempotencyWindow: 24 * time.Hour, ReplaysErrors: true, LookUp: true, SettleAfter: 2 * time.Minute,
		MultiCapture: true, HoldLife: 7 * 24 * time.Hour, Async: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
