package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
)

// world is a sandbox behind a real listener and an adapter that calls it.
type world struct {
	*stripe.Adapter
	sandbox *sandbox.Server
	url     string
}

func newWorld(t *testing.T, c sandbox.Config) *world {
	t.Helper()
	return newWorldBehind(t, c, func(h http.Handler) http.Handler { return h })
}

// newWorldBehind is newWorld with something between adapter and sandbox.
func newWorldBehind(t *testing.T, c sandbox.Config, between func(http.Handler) http.Handler) *world {
	t.Helper()
	s, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(between(s.Handler()))
	a := stripe.New(stripe.Config{Account: "stripe", SecretKey: "sk_test_key", BaseURL: srv.URL, Timeout: 10 * time.Second})
	t.Cleanup(func() {
		a.Close()
		srv.CloseClientConnections()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{Adapter: a, sandbox: s, url: srv.URL}
}

func (w *world) hold(t *testing.T, cents int64, currency, fault string) string {
	t.Helper()
	r := gateway.AuthorizeRequest{AmountCents: cents, CurrencyCode: currency, Source: "pm_card_visa", Metadata: map[string]string{}}
	if fault != "" {
		r.Metadata["fault"] = fault
	}
	ev := w.Authorize(t.Context(), r)
	if ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != cents || ev.CurrencyCode != currency {
		t.Fatalf("authorize: %+v", ev)
	}
	return ev.GatewayTransactionID
}

func request(kind models.Kind, hold string, cents int64) gateway.Request {
	ref := models.GatewayReference("stripe", hold, kind, 1)
	return gateway.Request{
		Kind: kind, Reference: ref, Key: models.IdempotencyKey(ref, 0), AmountCents: cents, CurrencyCode: "EUR",
		Hold: hold, Final: true, OnlyOne: true, HoldCents: cents,
	}
}

func TestHappyPath(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	if err := w.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	hold := w.hold(t, 1500, "EUR", "")
	capture := request(models.Capture, hold, 1200)
	if ev := w.LookUp(t.Context(), capture); ev.Outcome != models.OutcomeNone {
		t.Fatalf("look-up before: %+v", ev)
	}
	first := w.Capture(t.Context(), capture)
	if first.Outcome != models.OutcomeConfirmed || first.AmountCents != 1200 || first.CurrencyCode != "EUR" || first.GatewayTransactionID != hold || first.RequestID == "" {
		t.Fatalf("capture: %+v", first)
	}
	if again := w.Capture(t.Context(), capture); again.Outcome != models.OutcomeConfirmed || again.AmountCents != 1200 {
		t.Fatalf("capture again: %+v", again)
	}
	if ev := w.LookUp(t.Context(), capture); ev.Outcome != models.OutcomeConfirmed || ev.Foreign || ev.AmountCents != 1200 || ev.Source != models.FromLookUp {
		t.Fatalf("look-up after: %+v", ev)
	}
	refund := request(models.Refund, hold, 500)
	if ev := w.LookUp(t.Context(), refund); ev.Outcome != models.OutcomeNone {
		t.Fatalf("refund look-up before: %+v", ev)
	}
	if ev := w.Refund(t.Context(), refund); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 500 {
		t.Fatalf("refund: %+v", ev)
	}
	if ev := w.LookUp(t.Context(), refund); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 500 {
		t.Fatalf("refund look-up after: %+v", ev)
	}
	other := w.hold(t, 900, "EUR", "")
	void := request(models.Void, other, 900)
	if ev := w.Void(t.Context(), void); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 900 {
		t.Fatalf("void: %+v", ev)
	}
	if ev := w.Capture(t.Context(), request(models.Capture, other, 900)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone {
		t.Fatalf("capture of a voided hold: %+v", ev)
	}
	book := w.sandbox.Book()
	if len(book.Captures) != 1 || len(book.Refunds) != 1 || len(book.Cancels) != 1 || len(book.Violations) != 0 {
		t.Fatalf("book: %+v", book)
	}
	if book.Captures[0].Reference != capture.Reference || book.Captures[0].Key != capture.Key {
		t.Fatalf("booked under other names: %+v", book.Captures[0])
	}
}

func TestChargeThenDrop(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "EUR", "charge_then_drop")
	r := request(models.Capture, hold, 1500)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if ev := w.Capture(ctx, r); ev.Outcome != models.OutcomeLost || ev.Answered {
		t.Fatalf("capture: %+v", ev)
	}
	if ev := w.LookUp(ctx, r); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 1500 || ev.Foreign {
		t.Fatalf("look-up: %+v", ev)
	}
	if n := len(w.sandbox.BookOf(hold).Captures); n != 1 {
		t.Fatalf("%d captures booked", n)
	}
}

func TestProbeTellsBadCredentials(t *testing.T) {
	w := newWorld(t, sandbox.Config{Keys: []gateway.Secret{"sk_test_right"}})
	bad := stripe.New(stripe.Config{Account: "shop", SecretKey: "sk_test_wrong", BaseURL: w.url})
	err := bad.Probe(t.Context())
	if !errors.Is(err, gateway.ErrCredentials) || !strings.Contains(err.Error(), `"shop"`) || strings.Contains(err.Error(), "sk_test") {
		t.Errorf("a wrong key: %v", err)
	}
	r := request(models.Capture, "pi_1", 100)
	if ev := bad.Capture(t.Context(), r); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig {
		t.Errorf("capture with a wrong key: %s", ev.JSON())
	}
	if err := stripe.New(stripe.Config{SecretKey: "sk_test_right", BaseURL: w.url}).Probe(t.Context()); err != nil {
		t.Errorf("the right key: %v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for name, url := range map[string]string{"nobody": "http://127.0.0.1:1", "not Stripe": other.URL, "no address": "gopher://x"} {
		if err := stripe.New(stripe.Config{SecretKey: "sk_test_right", BaseURL: url}).Probe(t.Context()); err == nil || errors.Is(err, gateway.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	a := stripe.New(stripe.Config{SecretKey: "sk_test", BaseURL: srv.URL})
	good := request(models.Capture, "pi_1", 1500)
	for name, change := range map[string]func(*gateway.Request){
		"third decimal":      func(r *gateway.Request) { r.CurrencyCode, r.AmountCents = "KWD", 1501 },
		"zero":               func(r *gateway.Request) { r.AmountCents = 0 },
		"negative":           func(r *gateway.Request) { r.AmountCents = -5 },
		"unknown currency":   func(r *gateway.Request) { r.CurrencyCode = "XXX" },
		"no hold":            func(r *gateway.Request) { r.Hold = "" },
		"a path as hold":     func(r *gateway.Request) { r.Hold = "pi_/../../v1/refunds" },
		"a query as hold":    func(r *gateway.Request) { r.Hold = "pi_1?expand[]=x" },
		"another kind of id": func(r *gateway.Request) { r.Hold = "ch_1" },
	} {
		r := good
		change(&r)
		for what, ev := range map[string]models.Evidence{"capture": a.Capture(t.Context(), r), "refund": a.Refund(t.Context(), r)} {
			if ev.Outcome != models.OutcomeRefused || ev.HoldGone || ev.ErrorCode == "" || ev.Message == "" {
				t.Errorf("%s, %s: %s", name, what, ev.JSON())
			}
		}
		if r.Hold != good.Hold {
			if ev := a.LookUp(t.Context(), r); ev.Outcome != models.OutcomeLost {
				t.Errorf("%s, look-up: %s", name, ev.JSON())
			}
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d requests went out", n)
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.QueryUnescape(string(body))
		got = append(got, strings.TrimSpace(strings.Join([]string{r.Method, r.URL.Path, form, r.Header.Get("Authorization"), r.Header.Get("Stripe-Version"), r.Header.Get("Idempotency-Key")}, " ")))
	}))
	defer srv.Close()
	a := stripe.New(stripe.Config{SecretKey: "sk_test_k", BaseURL: srv.URL})
	a.Authorize(t.Context(), gateway.AuthorizeRequest{Reference: "auth_1", Key: "k0", AmountCents: 5, CurrencyCode: "ISK", Source: "pm_1", Metadata: map[string]string{"order": "A"}})
	r := gateway.Request{Reference: "cap_1", Key: "cap_1_e0", AmountCents: 1500, CurrencyCode: "EUR", Hold: "pi_1"}
	a.Capture(t.Context(), r)
	a.Refund(t.Context(), r)
	a.Void(t.Context(), r)
	a.LookUp(t.Context(), r)
	if err := a.Probe(t.Context()); err == nil {
		t.Error("an empty answer passed the probe")
	}
	tail := " Bearer sk_test_k " + stripe.DefaultVersion
	want := []string{
		"POST /v1/payment_intents amount=500&capture_method=manual&confirm=true&currency=isk&metadata[capstan_authorization]=auth_1&metadata[order]=A&payment_method=pm_1&payment_method_types[]=card" + tail + " k0",
		"POST /v1/payment_intents/pi_1/capture amount_to_capture=1500&metadata[capstan_reference]=cap_1" + tail + " cap_1_e0",
		"POST /v1/refunds amount=1500&metadata[capstan_reference]=cap_1&payment_intent=pi_1" + tail + " cap_1_e0",
		"POST /v1/payment_intents/pi_1/cancel cancellation_reason=requested_by_customer" + tail + " cap_1_e0",
		"GET /v1/payment_intents/pi_1 " + tail,
		"GET /v1/balance " + tail,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestOldRefundIsFound: a refund is found behind more than a page of others.
func TestOldRefundIsFound(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 100_000, "EUR", "")
	if ev := w.Capture(t.Context(), request(models.Capture, hold, 100_000)); ev.Outcome != models.OutcomeConfirmed {
		t.Fatal(ev)
	}
	ask := func(n int) gateway.Request {
		r := request(models.Refund, hold, 100)
		r.Reference = models.GatewayReference("stripe", hold, models.Refund, n)
		r.Key = models.IdempotencyKey(r.Reference, 0)
		return r
	}
	for n := range 230 {
		if ev := w.Refund(t.Context(), ask(n)); ev.Outcome != models.OutcomeConfirmed {
			t.Fatalf("refund %d: %s", n, ev.JSON())
		}
	}
	for _, n := range []int{0, 100, 229} {
		if ev := w.LookUp(t.Context(), ask(n)); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 100 {
			t.Errorf("refund %d: %s", n, ev.JSON())
		}
	}
	if ev := w.LookUp(t.Context(), ask(500)); ev.Outcome != models.OutcomeNone {
		t.Errorf("a refund never asked for: %s", ev.JSON())
	}
}

// TestForgottenKeyRefundsTwiceAndIsSeen: when Stripe has forgotten a key and
// nobody looked first, the look-up tells both refunds.
func TestForgottenKeyRefundsTwiceAndIsSeen(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "EUR", "refund.amnesia:*")
	w.Capture(t.Context(), request(models.Capture, hold, 1500))
	r := request(models.Refund, hold, 500)
	w.Refund(t.Context(), r)
	w.Refund(t.Context(), r)
	if ev := w.LookUp(t.Context(), r); ev.Outcome != models.OutcomeConfirmed || ev.AmountCents != 1000 {
		t.Errorf("got %s", ev.JSON())
	}
}

// TestSandboxEventsAreUnderstood: what the sandbox sends, the parser proves.
func TestSandboxEventsAreUnderstood(t *testing.T) {
	var mu sync.Mutex
	var notices []gateway.Notice
	refused := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, err := stripe.ParseWebhook(body, r.Header, []gateway.Secret{"whsec_now"}, time.Now(), 0)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refused++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		notices = append(notices, n)
	}))
	defer srv.Close()
	w := newWorld(t, sandbox.Config{Webhooks: []sandbox.Endpoint{{URL: srv.URL, Secret: "whsec_now"}}})
	hold := w.hold(t, 1500, "EUR", "webhook_forged")
	capture, refund := request(models.Capture, hold, 1200), request(models.Refund, hold, 300)
	w.Capture(t.Context(), capture)
	w.Refund(t.Context(), refund)
	void := w.hold(t, 900, "EUR", "")
	w.Void(t.Context(), request(models.Void, void, 900))
	if err := w.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	proven := map[string]int64{}
	for _, n := range notices {
		if n.Evidence.Outcome == models.OutcomeConfirmed {
			proven[string(n.Kind)+" "+n.Hold+" "+n.Reference] = n.Evidence.AmountCents
		}
	}
	want := map[string]int64{
		"capture " + hold + " " + capture.Reference: 1200,
		"refund " + hold + " " + refund.Reference:   300,
		"void " + void + " ":                        900,
	}
	for name, cents := range want {
		if proven[name] != cents {
			t.Errorf("%s: %d proven, want %d", name, proven[name], cents)
		}
	}
	// charge.captured comes with the PaymentIntent's metadata in the sandbox.
	if len(proven) != len(want) || refused == 0 {
		t.Errorf("proven %v, %d forged events refused", proven, refused)
	}
}

func TestAdapterIsNotPrintedWithItsKey(t *testing.T) {
	a := stripe.New(stripe.Config{Account: "shop", SecretKey: "sk_live_hunter2"})
	if s := fmt.Sprintf("%v %+v %#v", a, a, *a); strings.Contains(s, "hunter2") {
		t.Errorf("leaked: %s", s)
	}
}
