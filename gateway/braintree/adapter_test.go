package braintree_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// world is a sandbox behind a real listener and an adapter that calls it.
type world struct {
	*braintree.Adapter
	sandbox *sandbox.Server
	url     string // of the sandbox
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
	w := &world{sandbox: s, url: srv.URL}
	w.Adapter = w.adapter(t, braintree.Config{})
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
func (w *world) adapter(t *testing.T, c braintree.Config) *braintree.Adapter {
	t.Helper()
	c.Account, c.MerchantID = "braintree", "shop"
	if c.PublicKey == "" {
		c.PublicKey, c.PrivateKey = "public", "hunter2"
	}
	if c.BaseURL == "" {
		c.BaseURL = w.url + "/braintree"
	}
	a := braintree.New(c)
	t.Cleanup(a.Close)
	return a
}

// call makes a request of the wire as a shop's server would, and returns the
// transaction's id and status.
func (w *world) call(t *testing.T, method, path, body string) (id, status string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+"/braintree/merchants/shop/transactions"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("public", "hunter2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s %s: status %d, %v: %s", method, path, resp.StatusCode, err, raw)
	}
	var shown struct {
		ID     string `xml:"id"`
		Status string `xml:"status"`
	}
	if err := xml.Unmarshal(raw, &shown); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return shown.ID, shown.Status
}

// sale makes a hold as a checkout's server does.
func (w *world) sale(t *testing.T, cents int64, currency, nonce, fault string) string {
	t.Helper()
	id, status := w.call(t, http.MethodPost, "", "<transaction><type>sale</type><amount>"+models.Decimal(cents, currency)+"</amount><order-id>SHOP-1</order-id>"+
		"<payment-method-nonce>"+nonce+"</payment-method-nonce><merchant-account-id>"+currency+"</merchant-account-id>"+
		"<custom-fields><fault>"+fault+"</fault></custom-fields></transaction>")
	if status != "authorized" {
		t.Fatalf("the sale is %s", status)
	}
	return id
}

func (w *world) hold(t *testing.T, cents int64, fault string) string {
	t.Helper()
	return w.sale(t, cents, "EUR", "fake-valid-visa-nonce", fault)
}

// captured makes a hold that is captured.
func (w *world) captured(t *testing.T, cents int64) string {
	t.Helper()
	id := w.hold(t, cents, "")
	must(t, w.Capture(t.Context(), request(models.Capture, id, cents)), models.OutcomeConfirmed, cents)
	return id
}

// behind does something in the control panel.
func (w *world) behind(t *testing.T, action, hold string) {
	t.Helper()
	resp, err := http.Post(w.url+"/_sandbox/dashboard", "application/json", strings.NewReader(`{"action":"`+action+`","hold":"`+hold+`"}`))
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
	ref := models.GatewayReference("braintree", hold, kind, n)
	r := gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: "EUR",
		Hold: hold, Final: true, OnlyOne: n == 1, HoldCents: cents,
	}
	if kind == models.Refund {
		r.Capture = hold
	}
	return r
}

// whole is a cancel: all of the capture goes back.
func whole(hold string, cents int64) gateway.Request {
	r := request(models.Refund, hold, cents)
	r.Whole = true
	return r
}

func must(t *testing.T, ev models.Evidence, want models.Outcome, cents int64) models.Evidence {
	t.Helper()
	if ev.Outcome != want || ev.AmountCents != cents {
		t.Fatalf("got %s, want %d %s", ev.JSON(), cents, want)
	}
	return ev
}

// books checks what the sandbox booked of a hold, each as a sum.
func (w *world) books(t *testing.T, hold string, captured, refunded, released int64) {
	t.Helper()
	book := w.sandbox.BookOf(hold)
	sum := func(all []sandbox.Booking) (n int64) {
		for _, b := range all {
			n += b.Amount
		}
		return n
	}
	if c, r, v := sum(book.Captures), sum(book.Refunds), sum(book.Cancels); c != captured || r != refunded || v != released || len(book.Violations) != 0 {
		t.Fatalf("captured %d, refunded %d, released %d (want %d, %d, %d): %+v", c, r, v, captured, refunded, released, book)
	}
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
	if first.CurrencyCode != "EUR" || first.GatewayTransactionID != hold || first.Token != hold || first.RequestID == "" || first.Foreign || first.Message != "submitted_for_settlement" {
		t.Fatalf("capture: %s", first.JSON())
	}
	again := must(t, w.Capture(t.Context(), capture), models.OutcomeConfirmed, 1200)
	if again.Source != models.FromAnswer || again.Status != 422 || again.Foreign {
		t.Fatalf("the second capture: %s", again.JSON())
	}
	looked := must(t, w.LookUp(t.Context(), capture), models.OutcomeConfirmed, 1200)
	if looked.Foreign || looked.Source != models.FromLookUp || looked.HoldEndsAt == nil {
		t.Fatalf("look-up: %s", looked.JSON())
	}
	w.books(t, hold, 1200, 0, 0)

	w.behind(t, "settle", hold)
	refund := request(models.Refund, hold, 500)
	must(t, w.LookUp(t.Context(), refund), models.OutcomeNone, 0)
	back := must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 500)
	if back.GatewayTransactionID == hold || back.GatewayTransactionID == "" || back.CurrencyCode != "EUR" {
		t.Fatalf("refund: %s", back.JSON())
	}
	if seen := must(t, w.LookUp(t.Context(), refund), models.OutcomeConfirmed, 500); seen.GatewayTransactionID != back.GatewayTransactionID {
		t.Fatalf("the look-up names %s", seen.JSON())
	}
	must(t, w.LookUp(t.Context(), capture), models.OutcomeConfirmed, 1200)
	w.books(t, hold, 1200, 500, 0)

	other := w.hold(t, 900, "")
	must(t, w.Void(t.Context(), request(models.Void, other, 900)), models.OutcomeConfirmed, 900)
	if ev := w.Capture(t.Context(), request(models.Capture, other, 900)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "voided" {
		t.Fatalf("capture of a voided hold: %s", ev.JSON())
	}
	w.books(t, other, 0, 0, 900)
	if b := w.sandbox.BookOf(hold).Captures[0]; b.Reference != capture.Reference {
		t.Fatalf("booked under another name: %+v", b)
	}
}

// TestWholeCaptures: what returns all of a fresh capture is a void; settled, it
// is a refund; and a part is never voided.
func TestWholeCaptures(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	ctx := t.Context()

	fresh := w.captured(t, 1500)
	r := whole(fresh, 1500)
	must(t, w.LookUp(ctx, r), models.OutcomeNone, 0)
	ev := must(t, w.Refund(ctx, r), models.OutcomeConfirmed, 1500)
	if ev.Message != "voided before it settled" || ev.Foreign || ev.GatewayTransactionID != fresh {
		t.Fatalf("fresh: %s", ev.JSON())
	}
	w.books(t, fresh, 1500, 1500, 0)
	for name, again := range map[string]models.Evidence{"sent again": w.Refund(ctx, r), "looked up": w.LookUp(ctx, r)} {
		if must(t, again, models.OutcomeConfirmed, 1500); again.Foreign || again.Message != ev.Message {
			t.Errorf("%s: %s", name, again.JSON())
		}
	}
	w.books(t, fresh, 1500, 1500, 0)
	// To the capture the same void says that it did not last; a part, or the second of
	// two refunds, cannot have been it.
	took := must(t, w.LookUp(ctx, request(models.Capture, fresh, 1500)), models.OutcomeTakenBack, 1500)
	if took.TookCents != 1500 || took.CurrencyCode != "EUR" {
		t.Errorf("the capture: %s", took.JSON())
	}
	second := nth(models.Refund, fresh, 1500, 2)
	second.Whole = true
	for name, other := range map[string]gateway.Request{"a part": request(models.Refund, fresh, 500), "all, by hand": request(models.Refund, fresh, 1500), "the second": second} {
		if ev := w.LookUp(ctx, other); ev.Outcome != models.OutcomeConfirmed || !ev.Foreign {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}

	settled := w.captured(t, 1500)
	w.behind(t, "settle", settled)
	if ev := must(t, w.Refund(ctx, whole(settled, 1500)), models.OutcomeConfirmed, 1500); ev.GatewayTransactionID == settled {
		t.Fatalf("settled: %s", ev.JSON())
	}
	must(t, w.Refund(ctx, whole(settled, 1500)), models.OutcomeConfirmed, 1500)
	w.books(t, settled, 1500, 1500, 0)

	for name, r := range map[string]func(hold string) gateway.Request{
		"a part":           func(h string) gateway.Request { return request(models.Refund, h, 500) },
		"a part, as whole": func(h string) gateway.Request { return whole(h, 500) },
		"all, by hand":     func(h string) gateway.Request { return request(models.Refund, h, 1500) },
	} {
		part := w.captured(t, 1500)
		ev := w.Refund(ctx, r(part))
		if ev.Outcome != models.OutcomeNotSent || ev.Class != "" || ev.RetryAfter.Hours() != 1 || ev.ErrorCode != "91506" {
			t.Errorf("%s: %s", name, ev.JSON())
		}
		w.books(t, part, 1500, 0, 0)
		w.behind(t, "settle", part)
		must(t, w.Refund(ctx, r(part)), models.OutcomeConfirmed, r(part).AmountCents)
		w.books(t, part, 1500, r(part).AmountCents, 0)
	}
}

// TestOvertaken: a transaction that begins to settle between the look and the
// void, or is captured between the look and the void of its hold.
func TestOvertaken(t *testing.T) {
	var before func()
	w := newWorldBehind(t, sandbox.Config{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if act := before; act != nil && strings.HasSuffix(r.URL.Path, "/void") {
				before = nil
				act()
			}
			next.ServeHTTP(rw, r)
		})
	})
	ctx := t.Context()
	hold := w.captured(t, 1500)
	before = func() { w.behind(t, "settling", hold) }
	if ev := w.Refund(ctx, whole(hold, 1500)); ev.Outcome != models.OutcomeNotSent || ev.ErrorCode != "91504" || ev.RetryAfter != 0 {
		t.Fatalf("it settles: %s", ev.JSON())
	}
	must(t, w.LookUp(ctx, whole(hold, 1500)), models.OutcomeNone, 0)
	must(t, w.Refund(ctx, whole(hold, 1500)), models.OutcomeConfirmed, 1500)
	w.books(t, hold, 1500, 1500, 0)

	// A void that comes after a capture returns it. It is told as what it released.
	hold = w.hold(t, 1500, "")
	before = func() {
		must(t, w.Capture(ctx, request(models.Capture, hold, 1000)), models.OutcomeConfirmed, 1000)
	}
	must(t, w.Void(ctx, request(models.Void, hold, 1500)), models.OutcomeConfirmed, 500)
	must(t, w.LookUp(ctx, request(models.Capture, hold, 1000)), models.OutcomeTakenBack, 1000)
	w.books(t, hold, 1000, 1000, 0)
}

// TestSettlementDeclined: what was submitted and does not settle is taken back,
// of a capture and of a refund.
func TestSettlementDeclined(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	ctx := t.Context()
	hold := w.captured(t, 1500)
	w.behind(t, "settlement_declined", hold)
	ev := must(t, w.LookUp(ctx, request(models.Capture, hold, 1500)), models.OutcomeTakenBack, 1500)
	if ev.TookCents != 1500 || ev.ErrorCode != "settlement_declined" || ev.ErrorDetail != "4001 Settlement Declined" || ev.GatewayTransactionID != hold {
		t.Errorf("the capture: %s", ev.JSON())
	}
	for name, ev := range map[string]models.Evidence{"refund": w.Refund(ctx, request(models.Refund, hold, 1500)), "cancel": w.Refund(ctx, whole(hold, 1500)), "look": w.LookUp(ctx, whole(hold, 1500))} {
		if ev.Outcome != models.OutcomeRefused || ev.HoldGone {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	if ev := w.Void(ctx, request(models.Void, hold, 1500)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Errorf("void: %s", ev.JSON())
	}
	w.books(t, hold, 1500, 0, 0)

	hold = w.captured(t, 1500)
	w.behind(t, "settle", hold)
	must(t, w.Refund(ctx, request(models.Refund, hold, 500)), models.OutcomeConfirmed, 500)
	w.behind(t, "refund_failed", hold)
	if ev := must(t, w.LookUp(ctx, request(models.Refund, hold, 500)), models.OutcomeTakenBack, 500); ev.ErrorCode != "refund_settlement_declined" {
		t.Errorf("the refund: %s", ev.JSON())
	}
	must(t, w.LookUp(ctx, nth(models.Refund, hold, 1500, 2)), models.OutcomeNone, 0)

	// A PayPal account is asked at once: nothing was ever taken.
	hold = w.sale(t, 1500, "EUR", "fake-paypal-one-time-nonce", "decline_hard")
	for name, ev := range map[string]models.Evidence{"call": w.Capture(ctx, request(models.Capture, hold, 1500)), "look": w.LookUp(ctx, request(models.Capture, hold, 1500))} {
		if ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	w.books(t, hold, 0, 0, 0)
}

// TestDisputes: a chargeback takes back what it withdrew, and gives it again
// when it is won.
func TestDisputes(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.captured(t, 1500)
	w.behind(t, "settle", hold)
	w.behind(t, "dispute", hold)
	if ev := must(t, w.LookUp(t.Context(), request(models.Capture, hold, 1500)), models.OutcomeTakenBack, 1500); ev.TookCents != 1500 || ev.ErrorDetail != "fraud" {
		t.Errorf("disputed: %s", ev.JSON())
	}
	w.behind(t, "dispute_won", hold)
	must(t, w.LookUp(t.Context(), request(models.Capture, hold, 1500)), models.OutcomeConfirmed, 1500)
}

// TestForeign: what somebody else did is not ours, unless only one was ever
// asked for.
func TestForeign(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	ctx := t.Context()
	taken := w.hold(t, 1500, "")
	w.behind(t, "capture", taken)
	must(t, w.LookUp(ctx, request(models.Capture, taken, 1500)), models.OutcomeConfirmed, 1500)
	if ev := must(t, w.LookUp(ctx, nth(models.Capture, taken, 1500, 2)), models.OutcomeConfirmed, 1500); !ev.Foreign {
		t.Errorf("somebody's capture: %s", ev.JSON())
	}
	w.behind(t, "settle", taken)
	w.behind(t, "refund", taken)
	if ev := must(t, w.LookUp(ctx, request(models.Refund, taken, 500)), models.OutcomeConfirmed, 1500); !ev.Foreign {
		t.Errorf("somebody's refund: %s", ev.JSON())
	}
	if ev := must(t, w.Refund(ctx, request(models.Refund, taken, 500)), models.OutcomeConfirmed, 1500); !ev.Foreign {
		t.Errorf("a refund after somebody's: %s", ev.JSON())
	}

	ours := w.captured(t, 1500)
	if ev := w.LookUp(ctx, nth(models.Capture, ours, 1500, 2)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Errorf("after our own first: %s", ev.JSON())
	}
	voided := w.captured(t, 1500)
	w.behind(t, "void", voided)
	must(t, w.LookUp(ctx, request(models.Capture, voided, 1500)), models.OutcomeTakenBack, 1500)
	if ev := must(t, w.Refund(ctx, request(models.Refund, voided, 500)), models.OutcomeConfirmed, 1500); !ev.Foreign {
		t.Errorf("a part of what somebody voided: %s", ev.JSON())
	}
	must(t, w.Refund(ctx, whole(voided, 1500)), models.OutcomeConfirmed, 1500)
	w.books(t, voided, 1500, 1500, 0)
}

// TestPending: PayPal may hold a settlement up.
func TestPending(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.sale(t, 1500, "EUR", "fake-paypal-one-time-nonce", "pending=1h")
	r := request(models.Capture, hold, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeAccepted, 1500)
	must(t, w.LookUp(t.Context(), r), models.OutcomeAccepted, 1500)
	must(t, w.Refund(t.Context(), whole(hold, 1500)), models.OutcomeConfirmed, 1500) // still voidable
	w.books(t, hold, 1500, 1500, 0)
}

func TestUnsendable(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	ctx := t.Context()
	kwd := func(cents int64) gateway.Request {
		r := request(models.Capture, "abc", cents)
		r.CurrencyCode = "KWD"
		return r
	}
	elsewhere := request(models.Refund, "abc", 100)
	elsewhere.Capture = "child"
	for name, ev := range map[string]models.Evidence{
		"three decimals":    w.Capture(ctx, kwd(1505)),
		"no amount":         w.Capture(ctx, request(models.Capture, "abc", 0)),
		"refund of nothing": w.Refund(ctx, request(models.Refund, "abc", 0)),
		"a path":            w.Capture(ctx, request(models.Capture, "../x", 100)),
		"a path to void":    w.Void(ctx, request(models.Void, "a/b", 100)),
		"a path to refund":  w.Refund(ctx, request(models.Refund, "a b", 100)),
		"another capture":   w.Refund(ctx, elsewhere),
		"a hold":            w.Authorize(ctx, gateway.AuthorizeRequest{}),
		"a renewal":         w.Reauthorize(ctx, request(models.Capture, "abc", 100)),
	} {
		if ev.Outcome != models.OutcomeRefused || ev.Status != 0 || ev.Message == "" {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	if ev := w.LookUp(ctx, request(models.Capture, "../x", 100)); ev.Outcome != models.OutcomeLost {
		t.Errorf("look-up: %s", ev.JSON())
	}
	if got := w.sandbox.Book().Requests; len(got) != 0 {
		t.Errorf("sent: %+v", got)
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, sandbox.Config{Braintree: sandbox.BraintreeConfig{Keys: map[string]gateway.Secret{"public": "hunter2"}}})
	bad := w.adapter(t, braintree.Config{PublicKey: "public", PrivateKey: "hunter3"})
	hold := w.hold(t, 1500, "")
	if err := bad.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), gateway.ErrCredentials.Error()) || strings.Contains(err.Error(), "hunter3") {
		t.Errorf("probe: %v", err)
	}
	for name, ev := range map[string]models.Evidence{
		"capture": bad.Capture(t.Context(), request(models.Capture, hold, 1500)), "void": bad.Void(t.Context(), request(models.Void, hold, 1500)),
		"refund": bad.Refund(t.Context(), request(models.Refund, hold, 1500)), "cancel": bad.Refund(t.Context(), whole(hold, 1500)),
	} {
		if ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig || ev.Status != 401 {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	w.books(t, hold, 0, 0, 0)
}

func TestDescribe(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.sale(t, 1500, "USD", "fake-valid-mastercard-nonce", "")
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.AmountCents != 1500 || facts.CurrencyCode != "USD" || !facts.Open || facts.Network != "mastercard" || facts.CaptureBefore == nil || facts.CapturedCents != 0 {
		t.Fatalf("%+v, %v", facts, err)
	}
	must(t, w.Capture(t.Context(), usd(request(models.Capture, hold, 700))), models.OutcomeConfirmed, 700)
	facts, err = w.Describe(t.Context(), hold)
	if err != nil || facts.AmountCents != 1500 || facts.CapturedCents != 700 || facts.Open {
		t.Fatalf("%+v, %v", facts, err)
	}
	for _, id := range []string{"nothere", "../x"} {
		if _, err := w.Describe(t.Context(), id); err == nil || !strings.Contains(err.Error(), gateway.ErrNoSuchHold.Error()) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if got := w.Capabilities().LifeOf("visa", models.ByMerchant).Hours(); got != 72 {
		t.Errorf("a Visa's hold by the merchant lives for %v hours", got)
	}
}

func usd(r gateway.Request) gateway.Request {
	r.CurrencyCode = "USD"
	return r
}
