package paypal_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// TestReauthorize: only between the honor period and the end, under a new id,
// and the old one is what a void must name.
func TestReauthorize(t *testing.T) {
	clock := sandboxtest.NewClock()
	var at http.Handler
	w := newWorldBehind(t, sandbox.Config{Now: clock.Now, PayPal: sandbox.PayPalConfig{TokenLife: 1000 * time.Hour}}, func(h http.Handler) http.Handler {
		at = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // the gateway's own clock
			w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat))
			h.ServeHTTP(w, r)
		})
		return at
	})
	hold := w.hold(t, 1500, "")
	again := func(n int, hold string) gateway.Request {
		r := request(models.Void, hold, 1500)
		r.Kind, r.Key = "", fmt.Sprintf("renew_%s_%d", hold, n)
		return r
	}
	clock.Add(2 * 24 * time.Hour)
	if ev := w.Reauthorize(t.Context(), again(1, hold)); ev.Outcome != models.OutcomeRefused || ev.HoldGone || ev.ErrorCode != "reauthorize_too_early" ||
		!strings.Contains(ev.Message, "guarantees") {
		t.Fatalf("on day 2: %s", ev.JSON())
	}
	clock.Add(3 * 24 * time.Hour)
	first := must(t, w.Reauthorize(t.Context(), again(2, hold)), models.OutcomeConfirmed, 1500)
	repeated := must(t, w.Reauthorize(t.Context(), again(2, hold)), models.OutcomeConfirmed, 1500)
	if first.GatewayTransactionID == hold || first.GatewayTransactionID != repeated.GatewayTransactionID || first.HoldEndsAt == nil {
		t.Fatalf("on day 5: %s and %s", first.JSON(), repeated.JSON())
	}
	renewed := first.GatewayTransactionID
	if ev := w.Reauthorize(t.Context(), again(3, renewed)); ev.Outcome != models.OutcomeRefused || ev.ErrorCode != "reauthorize_too_early" {
		t.Fatalf("the renewed hold at once: %s", ev.JSON())
	}
	void := request(models.Void, renewed, 1500)
	if ev := must(t, w.Void(t.Context(), void), models.OutcomeConfirmed, 1500); ev.GatewayTransactionID != renewed || !strings.Contains(ev.Message, hold) {
		t.Fatalf("void of the renewed hold: %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), void), models.OutcomeConfirmed, 1500)

	late := w.hold(t, 1500, "")
	clock.Add(30 * 24 * time.Hour)
	if ev := w.Reauthorize(t.Context(), again(4, late)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "reauthorize_too_late" || ev.NextAction != "cancel" {
		t.Fatalf("on day 30: %s", ev.JSON())
	}
	facts, err := w.Describe(t.Context(), late)
	if err != nil || facts.Open {
		t.Fatalf("describe the ended hold: %+v, %v", facts, err)
	}
	capture := request(models.Capture, late, 1500)
	if ev := w.Capture(t.Context(), capture); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "AUTHORIZATION_EXPIRED" {
		t.Fatalf("capture of the ended hold: %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), request(models.Void, late, 1500)), models.OutcomeConfirmed, 1500)
}

// TestMoneyOnTheWire: what is asked for in minor units is booked in minor units.
func TestMoneyOnTheWire(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for _, tt := range []struct {
		currency, value string
		cents           int64
	}{{"EUR", "15.00", 1500}, {"JPY", "1500", 1500}, {"HUF", "15", 1500}, {"TWD", "15", 1500}, {"TND", "1.500", 1500}} {
		hold := w.checkout(t, tt.value, tt.currency, "")
		r := request(models.Capture, hold, tt.cents)
		r.CurrencyCode = tt.currency
		ev := must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, tt.cents)
		book := w.sandbox.BookOf(hold)
		if ev.CurrencyCode != tt.currency || len(book.Captures) != 1 || book.Captures[0].Amount != tt.cents {
			t.Errorf("%s: %s, booked %+v", tt.currency, ev.JSON(), book.Captures)
		}
	}
	r := request(models.Capture, w.hold(t, 1500, ""), 1550)
	r.CurrencyCode = "HUF"
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeRefused || ev.ErrorCode != "amount_not_representable" {
		t.Errorf("half a forint: %s", ev.JSON())
	}
}

// TestUnknownIDs: an id that PayPal does not know, and one that cannot be its.
func TestUnknownIDs(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for _, hold := range []string{"NOSUCHAUTH0000000", "pi_3abc", "", "../../v1/oauth2", "A B"} {
		known := hold == "NOSUCHAUTH0000000"
		for _, kind := range models.Kinds {
			r := request(kind, hold, 1500)
			r.Capture = "NOSUCHCAPTURE0000"
			var ev models.Evidence
			switch kind {
			case models.Capture:
				ev = w.Capture(t.Context(), r)
			case models.Refund:
				ev = w.Refund(t.Context(), r)
			default:
				ev = w.Void(t.Context(), r)
			}
			if known && (ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig) || !known && ev.Outcome != models.OutcomeRefused {
				t.Errorf("%s of %q: %s", kind, hold, ev.JSON())
			}
			if ev := w.LookUp(t.Context(), r); ev.Outcome != models.OutcomeLost || ev.Source != models.FromLookUp {
				t.Errorf("look-up of %s of %q: %s", kind, hold, ev.JSON())
			}
		}
		if _, err := w.Describe(t.Context(), hold); !errors.Is(err, gateway.ErrNoSuchHold) {
			t.Errorf("describe %q: %v", hold, err)
		}
	}
	if _, err := w.List(t.Context(), gateway.ListRequest{}); !errors.Is(err, gateway.ErrUnsupported) {
		t.Errorf("list: %v", err)
	}
	if ev := w.Authorize(t.Context(), gateway.AuthorizeRequest{}); ev.Outcome != models.OutcomeRefused {
		t.Errorf("authorize: %s", ev.JSON())
	}
}

// TestRestart: the sandbox's book keeps PayPal's side over a restart, keys and
// declined tries included.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var hold string
	r := gateway.Request{}
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, sandbox.Config{Dir: dir})
		hold = w.hold(t, 1500, "decline:1")
		r = request(models.Capture, hold, 1500)
		must(t, w.Capture(t.Context(), r), models.OutcomeDeclined, 0)
		r.Key = models.IdempotencyKey(r.Reference, 1)
		must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	})
	w := newWorld(t, sandbox.Config{Dir: dir})
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	if n := len(w.sandbox.BookOf(hold).Captures); n != 1 {
		t.Errorf("%d captures booked", n)
	}
}

// TestTwoWires: one sandbox, one book, and neither wire sees what the other made.
func TestTwoWires(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	root := strings.TrimSuffix(w.url, "/paypal")
	ask := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, root+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk_test_x")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
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
	hold := w.hold(t, 1500, "")
	must(t, w.Capture(t.Context(), request(models.Capture, hold, 1500)), models.OutcomeConfirmed, 1500)
	ended := w.hold(t, 700, "")
	if status, body := ask("POST", "/_sandbox/expire?hold="+ended, "x=1"); status != 200 {
		t.Fatalf("expire: %d %s", status, body)
	}
	if ev := w.Capture(t.Context(), request(models.Capture, ended, 700)); ev.ErrorCode != "AUTHORIZATION_EXPIRED" {
		t.Errorf("capture of the ended hold: %s", ev.JSON())
	}
	if status, body := ask("POST", "/v1/payment_intents", "amount=100&currency=eur&capture_method=manual&confirm=true"); status != 200 {
		t.Fatalf("Stripe's wire: %d %s", status, body)
	}
	for _, path := range []string{"/v1/payment_intents", "/v1/refunds", "/v1/balance_transactions"} {
		if status, body := ask("GET", path, ""); status != 200 || strings.Contains(body, hold) || strings.Contains(body, ended) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if book := w.sandbox.Book(); len(book.Holds) != 3 || len(book.Captures) != 1 || len(book.Violations) != 0 {
		t.Errorf("book: %+v", book)
	}
}
