package checkoutcom_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// TestMoneyOnTheWire: what is asked for in minor units is booked in minor units.
func TestMoneyOnTheWire(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	for _, tt := range []struct {
		currency    string
		wire, cents int64
	}{{"EUR", 1500, 1500}, {"JPY", 1500, 1500}, {"CLP", 150000, 1500}, {"KWD", 1500, 1500}, {"UGX", 1500, 1500}} {
		hold := w.checkout(t, tt.wire, tt.currency, "")
		r := request(models.Capture, hold, tt.cents)
		r.CurrencyCode = tt.currency
		ev := must(t, w.done(t, r), models.OutcomeConfirmed, tt.cents)
		book := w.sandbox.BookOf(hold)
		if ev.CurrencyCode != tt.currency || len(book.Captures) != 1 || book.Captures[0].Amount != tt.cents || book.Requests[len(book.Requests)-1].Hold != hold {
			t.Errorf("%s: %s, booked %+v", tt.currency, ev.JSON(), book.Captures)
		}
	}
	r := request(models.Capture, w.checkout(t, 1500, "KWD", ""), 1501)
	r.CurrencyCode = "KWD"
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeRefused || ev.ErrorCode != "amount_not_representable" {
		t.Errorf("a thousandth of a dinar: %s", ev.JSON())
	}
}

// TestUnknownIDs: an id that Checkout.com does not know, and one that cannot be
// its.
func TestUnknownIDs(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	for _, hold := range []string{"pay_nosuchpaymentaaaaaaaaaaaaaa", "", "../x", "A B", "pay-1", "abc"} {
		known := strings.HasPrefix(hold, "pay_")
		for _, kind := range models.Kinds {
			r := request(kind, hold, 1500)
			var ev models.Evidence
			switch kind {
			case models.Capture:
				ev = w.Capture(t.Context(), r)
			case models.Refund:
				ev = w.Refund(t.Context(), r)
			default:
				ev = w.Void(t.Context(), r)
			}
			if known && (ev.Outcome != models.OutcomeLost || ev.Class != models.ClassBadRequest || ev.ErrorCode != "payment_not_found") || !known && ev.Outcome != models.OutcomeRefused {
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
	for _, ev := range []models.Evidence{w.Authorize(t.Context(), gateway.AuthorizeRequest{}), w.Reauthorize(t.Context(), gateway.Request{})} {
		if ev.Outcome != models.OutcomeRefused || ev.Message == "" {
			t.Errorf("not offered: %s", ev.JSON())
		}
	}
}

// TestAccounts: test and live keys do not see each other's payments, and a key
// that is none is refused as such.
func TestAccounts(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "")
	live := w.adapter(t, checkoutcom.Config{SecretKey: "sk_hunter2hunter2hunter2hunterab"})
	if _, err := live.Describe(t.Context(), hold); !errors.Is(err, gateway.ErrNoSuchHold) {
		t.Errorf("the other mode sees it: %v", err)
	}
	bad := w.adapter(t, checkoutcom.Config{SecretKey: "pk_sbox_x"})
	if err := bad.Probe(t.Context()); !errors.Is(err, gateway.ErrCredentials) {
		t.Errorf("probe with a public key: %v", err)
	}
	r := request(models.Capture, hold, 1500)
	if ev := bad.Capture(t.Context(), r); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig || ev.ErrorCode != "unauthorized" {
		t.Errorf("capture with a public key: %s", ev.JSON())
	}
	if err := w.adapter(t, checkoutcom.Config{BaseURL: w.root}).Probe(t.Context()); err == nil || errors.Is(err, gateway.ErrCredentials) {
		t.Errorf("probe of something else: %v", err)
	}
}

// TestRestart: the sandbox's book keeps Checkout.com's side over a restart, keys
// and declined tries included.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var hold string
	r := gateway.Request{}
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, sandbox.Config{Dir: dir, CheckoutCom: quick})
		hold = w.hold(t, 1500, "decline:1")
		r = request(models.Capture, hold, 1500)
		must(t, w.done(t, r), models.OutcomeDeclined, 0)
		r.Key = models.IdempotencyKey(r.Reference, 1)
		must(t, w.done(t, r), models.OutcomeConfirmed, 1500)
	})
	w := newWorld(t, sandbox.Config{Dir: dir, CheckoutCom: quick})
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeAccepted, 0)
	r.Key = models.IdempotencyKey(r.Reference, 0)
	must(t, w.Capture(t.Context(), r), models.OutcomeAccepted, 0)
	if n := len(w.sandbox.BookOf(hold).Captures); n != 1 {
		t.Errorf("%d captures booked", n)
	}
}

// TestExpiry: what nobody captured in time is the payer's again.
func TestExpiry(t *testing.T) {
	w := newWorld(t, sandbox.Config{CheckoutCom: quick})
	hold := w.hold(t, 1500, "")
	if status, body := w.ask(t, "POST", "/_sandbox/expire?hold="+hold, ""); status != 200 {
		t.Fatalf("expire: %d %s", status, body)
	}
	r := request(models.Capture, hold, 1500)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "payment_expired" || ev.NextAction != "reauthorize" {
		t.Errorf("capture: %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), request(models.Void, hold, 1500)), models.OutcomeConfirmed, 1500)
	if facts, err := w.Describe(t.Context(), hold); err != nil || facts.Open || facts.Status != "Expired" {
		t.Errorf("describe: %+v, %v", facts, err)
	}
}

// TestSameBytes: the same request is the same body under the same key.
func TestSameBytes(t *testing.T) {
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Header.Get("Cko-Idempotency-Key")+" "+r.Header.Get("Authorization")+" "+r.URL.Path+" "+string(bytes.TrimSpace(body)))
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer srv.Close()
	a := checkoutcom.New(checkoutcom.Config{SecretKey: secretKey, BaseURL: srv.URL})
	defer a.Close()
	r := request(models.Capture, "pay_y3oqhf46pyzuxjbcn2giaqnb44", 1500)
	for range 2 {
		must(t, a.Capture(t.Context(), r), models.OutcomeLost, 0)
	}
	want := fmt.Sprintf(`%s Bearer %s /payments/%s/captures {"amount":1500,"capture_type":"Final","reference":%q,"metadata":{"capstan_reference":%q,"capstan_key":%q}}`,
		r.Key, secretKey, r.Hold, r.Reference, r.Reference, r.Key)
	if diff := cmp.Diff([]string{want, want}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestAnotherPayment: an answer about another payment than the one that was
// asked for proves nothing.
func TestAnotherPayment(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := `{"id":"pay_zzzzzzzzzzzzzzzzzzzzzzzzzz","status":"Authorized","amount":1500,"currency":"EUR","balances":{"total_authorized":1500,"available_to_void":1500,"available_to_capture":1500}}`
		if strings.HasSuffix(r.URL.Path, "/actions") {
			body = `[{"id":"act_1","type":"Authorization","amount":1500,"approved":true,"response_code":"10000"}]`
		}
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	a := checkoutcom.New(checkoutcom.Config{SecretKey: secretKey, BaseURL: srv.URL})
	defer a.Close()
	for _, kind := range models.Kinds {
		must(t, a.LookUp(t.Context(), request(kind, "pay_y3oqhf46pyzuxjbcn2giaqnb44", 1500)), models.OutcomeLost, 0)
		must(t, a.LookUp(t.Context(), request(kind, "pay_zzzzzzzzzzzzzzzzzzzzzzzzzz", 1500)), models.OutcomeNone, 0)
	}
	if facts, err := a.Describe(t.Context(), "pay_y3oqhf46pyzuxjbcn2giaqnb44"); err == nil || errors.Is(err, gateway.ErrNoSuchHold) {
		t.Errorf("described as %+v, %v", facts, err)
	}
}
