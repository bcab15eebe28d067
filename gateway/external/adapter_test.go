package external_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/external"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// receiver keeps what arrived and answers as it is told.
type receiver struct {
	mu     sync.Mutex
	calls  []*http.Request
	bodies []string
	answer http.HandlerFunc
}

func newReceiver(t *testing.T, answer http.HandlerFunc) (*receiver, string) {
	t.Helper()
	rc := &receiver{answer: answer}
	srv := httptest.NewServer(rc)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return rc, srv.URL
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rc.mu.Lock()
	rc.calls, rc.bodies = append(rc.calls, r), append(rc.bodies, string(body))
	rc.mu.Unlock()
	rc.answer(w, r)
}

func fine(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"success":true,"data":{"transaction_token":"tok","amount_cents":1500}}`)
}

func config(base string) external.Config {
	return external.Config{
		Account: "external", CaptureURL: base + "/capture?code=a%2Fb", VoidURL: base, RefundURL: base + "/re%2Ffund", SharedSecrets: []gateway.Secret{secret, "older"},
		AllowPrivate: true, Describe: described,
	}
}

// TestWire: what leaves. The document is signed as it is sent, and is the same
// bytes each time, whatever of the request says more than the operation.
func TestWire(t *testing.T) {
	rc, base := newReceiver(t, fine)
	a := external.New(config(base))
	defer a.Close()
	r := request(models.Capture, "tok<auth>&", 1500)
	if ev := a.Capture(t.Context(), r); ev.Outcome != models.OutcomeConfirmed {
		t.Fatalf("%s", ev.JSON())
	}
	r.OnlyOne, r.CaptureAsked = false, true
	a.Capture(t.Context(), r)
	r.Kind, r.Reference = models.Void, models.GatewayReference("external", r.Hold, models.Void, 1)
	a.Void(t.Context(), r)
	r.Kind, r.Reference, r.Capture = models.Refund, models.GatewayReference("external", r.Hold, models.Refund, 1), "tok_cap"
	a.Refund(t.Context(), r)
	var paths []string
	for i, c := range rc.calls {
		paths = append(paths, c.Method+" "+c.RequestURI)
		if got, want := c.Header.Get("X-CommerceLayer-Signature"), external.Sign([]byte(rc.bodies[i]), secret); got != want || len(c.Header.Values("X-CommerceLayer-Signature")) != 1 {
			t.Errorf("call %d is signed %q, want %q", i, got, want)
		}
		if c.Header.Get("Content-Type") != "application/json" || c.Header.Get("Idempotency-Key") != r.Key {
			t.Errorf("call %d: %v", i, c.Header)
		}
	}
	if diff := cmp.Diff([]string{"POST /capture?code=a%2Fb", "POST /capture?code=a%2Fb", "POST /", "POST /re%2Ffund"}, paths); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if rc.bodies[0] != rc.bodies[1] {
		t.Errorf("the same operation made two documents:\n%s\n%s", rc.bodies[0], rc.bodies[1])
	}
	capture := strings.NewReplacer("REF", models.GatewayReference("external", r.Hold, models.Capture, 1), "KEY", r.Key).Replace(`{
		"data":{"id":"auth-of-tok<auth>&","type":"authorizations","attributes":{
			"amount_cents":1500,"amount_float":15,"formatted_amount":"€15,00","capture_amount_cents":1500,"capture_amount_float":15,"formatted_capture_amount":"€15,00",
			"created_at":"2026-03-01T12:00:00.000Z","currency_code":"EUR","gateway_transaction_id":"tok<auth>&","number":"42/T/001","succeeded":true,"token":"tok<auth>&",
			"metadata":{"capstan_idempotency_key":"KEY","capstan_operation":"capture","capstan_operation_id":"op-REF","capstan_reference":"REF"}},
			"relationships":{"order":{"data":{"id":"order-of-tok<auth>&","type":"orders"}}},"meta":{"mode":"test"}},
		"included":[{"id":"order-of-tok<auth>&","type":"orders","attributes":{"created_at":"2026-03-01T12:00:00.000Z","currency_code":"EUR","number":"42",
			"formatted_total_amount":"€15,00","total_amount_cents":1500,"total_amount_float":15},"meta":{"mode":"test"}}]}`)
	same(t, capture, rc.bodies[0])
	if !strings.Contains(rc.bodies[0], "tok<auth>&") {
		t.Errorf("escaped beyond need: %s", rc.bodies[0])
	}
	var refund struct {
		Data struct {
			Type       string
			Attributes map[string]any
		}
		Included []struct{ Type string }
	}
	if err := json.Unmarshal([]byte(rc.bodies[3]), &refund); err != nil {
		t.Fatal(err)
	}
	if refund.Data.Type != "captures" || refund.Data.Attributes["token"] != "tok_cap" || refund.Data.Attributes["refund_amount_cents"] != 1500.0 ||
		len(refund.Included) != 2 || refund.Included[0].Type != "orders" || refund.Included[1].Type != "authorizations" {
		t.Errorf("refund: %s", rc.bodies[3])
	}
	if !strings.Contains(rc.bodies[2], `"void_balance_cents":1500`) || strings.Contains(rc.bodies[2], "capture_amount") {
		t.Errorf("void: %s", rc.bodies[2])
	}
}

func same(t *testing.T, want, got string) {
	t.Helper()
	var w, g any
	if err := errors.Join(json.Unmarshal([]byte(want), &w), json.Unmarshal([]byte(got), &g)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestAmounts: minor units of any currency, as they are.
func TestAmounts(t *testing.T) {
	for _, tt := range []struct {
		currency string
		cents    int64
		want     string
	}{
		{"EUR", 1550, `"amount_cents":1550,"amount_float":15.5,`}, {"JPY", 1500, `"amount_cents":1500,"amount_float":1500,`},
		{"KWD", 1501, `"amount_cents":1501,"amount_float":1.501,`}, {"EUR", 1, `"amount_cents":1,"amount_float":0.01,`}, {"KWD", 1000, `"amount_cents":1000,"amount_float":1,`},
	} {
		rc, base := newReceiver(t, fine)
		a := external.New(config(base))
		r := request(models.Capture, "hold", tt.cents)
		r.CurrencyCode = tt.currency
		if ev := a.Capture(t.Context(), r); ev.CurrencyCode != tt.currency {
			t.Errorf("%s: %s", tt.currency, ev.JSON())
		}
		a.Close()
		if !strings.Contains(rc.bodies[0], tt.want) {
			t.Errorf("%s %d: %s", tt.currency, tt.cents, rc.bodies[0])
		}
	}
}

// TestNothingLeaves: what cannot be described, may not be called or is not signed
// is not sent, and what has no URL is refused.
func TestNothingLeaves(t *testing.T) {
	rc, base := newReceiver(t, fine)
	for name, change := range map[string]func(*external.Config){
		"the ledger does not answer": func(c *external.Config) {
			c.Describe = func(context.Context, gateway.Request) (external.Document, error) {
				return external.Document{}, errors.New("the ledger is away")
			}
		},
		"it describes nothing": func(c *external.Config) {
			c.Describe = func(context.Context, gateway.Request) (external.Document, error) { return external.Document{}, nil }
		},
		"it describes another currency": func(c *external.Config) {
			c.Describe = func(ctx context.Context, r gateway.Request) (external.Document, error) {
				r.CurrencyCode = "USD"
				return described(ctx, r)
			}
		},
		"no secret":              func(c *external.Config) { c.SharedSecrets = nil },
		"an empty secret":        func(c *external.Config) { c.SharedSecrets = []gateway.Secret{"", "b"} },
		"a private address":      func(c *external.Config) { c.AllowPrivate = false },
		"a private one by https": func(c *external.Config) { c.AllowPrivate, c.CaptureURL = false, "https://127.0.0.1/capture" },
		"a name of this machine": func(c *external.Config) { c.AllowPrivate, c.CaptureURL = false, "https://localhost/" },
		"no URL":                 func(c *external.Config) { c.CaptureURL = "capture" },
		"a password in it":       func(c *external.Config) { c.CaptureURL = "http://u:hunter2@" + base[len("http://"):] },
		"semicolons":             func(c *external.Config) { c.CaptureURL = base + "/?a=1;b=2" },
	} {
		c := config(base)
		change(&c)
		a := external.New(c)
		ev := a.Capture(t.Context(), request(models.Capture, "hold", 1500))
		a.Close()
		if ev.Outcome != models.OutcomeNotSent || ev.Message == "" || strings.Contains(ev.Message, "hunter2") {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	c := config(base)
	c.CaptureURL, c.VoidURL, c.RefundURL = "", "", ""
	a := external.New(c)
	defer a.Close()
	for name, ev := range map[string]models.Evidence{
		"capture": a.Capture(t.Context(), request(models.Capture, "h", 1)), "void": a.Void(t.Context(), request(models.Void, "h", 1)),
		"refund": a.Refund(t.Context(), request(models.Refund, "h", 1)), "authorize": a.Authorize(t.Context(), gateway.AuthorizeRequest{}),
		"reauthorize": a.Reauthorize(t.Context(), request(models.Capture, "h", 1)),
	} {
		if ev.Outcome != models.OutcomeRefused || ev.ErrorCode != name+"_unsupported" {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	if _, err := a.Describe(t.Context(), "h"); !errors.Is(err, gateway.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := a.List(t.Context(), gateway.ListRequest{}); !errors.Is(err, gateway.ErrUnsupported) {
		t.Error(err)
	}
	if len(rc.calls) != 0 {
		t.Errorf("%d calls arrived", len(rc.calls))
	}
}

// TestHostileAnswers: redirects are not followed, floods are cut, and nothing
// that was answered proves anything.
func TestHostileAnswers(t *testing.T) {
	var elsewhere atomic.Int32
	_, trap := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		fine(w, r)
	})
	redirect := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, trap+"/latest/meta-data", status) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"301": redirect(301), "302": redirect(302), "303": redirect(303), "307": redirect(307), "308": redirect(308),
		"a redirect to itself": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		},
		"a refresh": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Refresh", "0; url="+trap)
			w.WriteHeader(200)
		},
		"a body without end": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"success":true,"data":{"transaction_token":"tok","amount_cents":1500,"metadata":{"x":"`)
			_, _ = w.Write(bytes.Repeat([]byte("x"), gateway.DefaultMaxBody))
			_, _ = io.WriteString(w, `"}}}`)
		},
		"a header without end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Flood", strings.Repeat("x", gateway.DefaultMaxHeader+1))
			fine(w, r)
		},
		"compressed": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fine(w, r)
		},
		"another protocol": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) },
	} {
		rc, base := newReceiver(t, answer)
		a := external.New(config(base))
		ev := a.Capture(t.Context(), request(models.Capture, "hold", 1500))
		a.Close()
		if ev.Outcome != models.OutcomeLost || len(rc.calls) != 1 || strings.Contains(ev.Message, trap) {
			t.Errorf("%s: %d calls, %s", name, len(rc.calls), ev.JSON())
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// TestSecretsStayHidden: neither a print nor a log shows one.
func TestSecretsStayHidden(t *testing.T) {
	var logged bytes.Buffer
	_, base := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	c := config(base)
	c.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := external.New(c)
	defer a.Close()
	ev := a.Capture(t.Context(), request(models.Capture, "hold", 1500))
	shown := fmt.Sprintf("%+v %#v %s %s %v", a, a, logged.String(), ev.JSON(), a.Probe(t.Context()))
	if strings.Contains(shown, secret.Reveal()) || strings.Contains(shown, "older") {
		t.Error("a secret is shown")
	}
	if logged.Len() == 0 {
		t.Error("nothing was logged")
	}
}

// TestProbe: it connects and says nothing.
func TestProbe(t *testing.T) {
	rc, base := newReceiver(t, fine)
	a := external.New(config(base))
	defer a.Close()
	if err := a.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if len(rc.calls) != 0 {
		t.Errorf("%d calls arrived", len(rc.calls))
	}
	for name, change := range map[string]func(*external.Config){
		"nobody listens": func(c *external.Config) { c.VoidURL = sandboxtest.Nobody(t) },
		"no TLS there":   func(c *external.Config) { c.VoidURL = strings.Replace(base, "http:", "https:", 1) },
		"a private one":  func(c *external.Config) { c.AllowPrivate = false },
		"no URL":         func(c *external.Config) { c.CaptureURL, c.VoidURL, c.RefundURL = "", "", "" },
		"no secret":      func(c *external.Config) { c.SharedSecrets = nil },
	} {
		c := config(base)
		change(&c)
		b := external.New(c)
		if err := b.Probe(t.Context()); err == nil || errors.Is(err, gateway.ErrCredentials) {
			t.Errorf("%s: %v", name, err)
		}
		b.Close()
	}
}
