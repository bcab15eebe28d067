package adyen_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

func TestHappyPath(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	if err := w.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	hold := w.hold(t, 1500, "")
	capture := request(models.Capture, hold, 1200)
	ev := w.settle(t, capture, models.OutcomeConfirmed, 1200)
	if ev.CurrencyCode != "EUR" || ev.Foreign || ev.Token == "" {
		t.Fatalf("capture: %s", ev.JSON())
	}
	again := w.Capture(t.Context(), capture) // the look-up, such as it is
	if again.Outcome != models.OutcomeAccepted || again.GatewayTransactionID != ev.GatewayTransactionID || again.AmountCents != 1200 {
		t.Fatalf("repeated: %s", again.JSON())
	}
	refund := request(models.Refund, hold, 500)
	refund.Capture = ev.GatewayTransactionID
	w.settle(t, refund, models.OutcomeConfirmed, 500)
	other := w.hold(t, 900, "")
	w.settle(t, request(models.Void, other, 900), models.OutcomeConfirmed, 900)
	if ev := w.settle(t, request(models.Capture, other, 900), models.OutcomeRefused, 0); ev.ErrorCode != "CAPTURE" || ev.ErrorDetail == "" || ev.NextAction == "" {
		t.Fatalf("capture of a voided hold: %s", ev.JSON())
	}
	book := w.sandbox.Book()
	if len(book.Captures) != 1 || len(book.Refunds) != 1 || len(book.Cancels) != 1 || len(book.Violations) != 0 {
		t.Fatalf("book: %+v", book)
	}
	if book.Captures[0].Reference != capture.Reference || book.Captures[0].Key != capture.Key || book.Captures[0].ID != ev.GatewayTransactionID {
		t.Fatalf("booked under other names: %+v", book.Captures[0])
	}
	for _, ev := range []models.Evidence{w.LookUp(t.Context(), capture), gateway.Unasked("adyen")} {
		if diff := cmp.Diff(gateway.Unasked("adyen"), ev); diff != "" {
			t.Error(diff)
		}
	}
}

// TestRestAfterAPart: without several captures the first takes what it takes and
// cancels the rest; with them a cancel releases what they left, and a reversal
// never gives back what was taken.
func TestRestAfterAPart(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	w.settle(t, request(models.Capture, hold, 500), models.OutcomeConfirmed, 500)
	w.settle(t, nth(models.Capture, hold, 300, 2), models.OutcomeRefused, 0)

	w = newWorld(t, sandbox.Config{Adyen: sandbox.AdyenConfig{MultiCapture: true}})
	if !w.Capabilities().MultiCapture {
		t.Error("several captures are enabled, and the adapter does not say so")
	}
	hold = w.hold(t, 1500, "")
	w.settle(t, request(models.Capture, hold, 500), models.OutcomeConfirmed, 500)
	w.settle(t, nth(models.Capture, hold, 300, 2), models.OutcomeConfirmed, 300)
	w.settle(t, nth(models.Capture, hold, 1000, 3), models.OutcomeRefused, 0)
	rest := request(models.Void, hold, 700)
	rest.HoldCents, rest.CaptureAsked = 1500, true
	w.settle(t, rest, models.OutcomeConfirmed, 700)
	if book := w.sandbox.BookOf(hold); len(book.Refunds) != 0 || len(book.Captures) != 2 || len(book.Cancels) != 1 {
		t.Fatalf("book: %+v", book)
	}
}

// TestReversal: of a hold of which a capture was asked, nobody knows whether it
// is captured. A void undoes either.
func TestReversal(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for _, captured := range []bool{false, true} {
		hold := w.hold(t, 1500, "capture.decline:1")
		w.settle(t, request(models.Capture, hold, 1500), models.OutcomeRefused, 0)
		if captured { // by somebody else, or by a call that was thought lost
			w.settle(t, nth(models.Capture, hold, 1500, 2), models.OutcomeConfirmed, 1500)
		}
		void := request(models.Void, hold, 1500)
		void.CaptureAsked = true
		w.settle(t, void, models.OutcomeConfirmed, 1500)
		book := w.sandbox.BookOf(hold)
		if captured != (len(book.Refunds) == 1) || captured == (len(book.Cancels) == 1) {
			t.Errorf("captured %t: book %+v", captured, book)
		}
	}
	hold := w.hold(t, 1500, "")
	w.settle(t, request(models.Capture, hold, 1500), models.OutcomeConfirmed, 1500)
	w.settle(t, request(models.Void, hold, 1500), models.OutcomeRefused, 0) // a cancel gives nothing back
	if n := len(w.sandbox.BookOf(hold).Refunds); n != 0 {
		t.Errorf("a void gave %d captures back", n)
	}
}

// TestRepeatedByteForByte: the same request is the same body under the same key.
func TestRepeatedByteForByte(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][]string{}
	w := newWorldBehind(t, sandbox.Config{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if key := r.Header.Get("Idempotency-Key"); key != "" {
				mu.Lock()
				seen[key] = append(seen[key], r.URL.Path+" "+r.Header.Get("X-API-Key")+" "+string(body))
				mu.Unlock()
			}
			next.ServeHTTP(rw, r)
		})
	})
	hold := w.hold(t, 1500, "")
	other := w.adapter(t, adyen.Config{})
	for _, kind := range models.Kinds {
		r := request(kind, hold, 1500)
		first := w.send(t.Context(), r)
		second := (&world{Adapter: other}).send(t.Context(), r)
		if first.GatewayTransactionID == "" || first.GatewayTransactionID != second.GatewayTransactionID {
			t.Errorf("%s: %s and then %s", kind, first.JSON(), second.JSON())
		}
		if all := seen[r.Key]; len(all) != 2 || all[0] != all[1] {
			t.Errorf("%s was sent as %q", kind, all)
		}
		if len(r.Key) > 64 || len(r.Reference) > 80 {
			t.Errorf("%s: key %q or reference %q is too long for Adyen", kind, r.Key, r.Reference)
		}
	}
}

// TestLastsNot: a capture may fail days after its success, and be taken again; a
// refund may come back. Each is told once, and under a name of its own.
func TestLastsNot(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now})
	hold := w.hold(t, 1500, "")
	capture := request(models.Capture, hold, 1500)
	ev := w.settle(t, capture, models.OutcomeConfirmed, 1500)
	for _, row := range []struct {
		action string
		want   models.Outcome
	}{{"capture_failed", models.OutcomeTakenBack}, {"recapture", models.OutcomeConfirmed}, {"capture_failed", models.OutcomeTakenBack}, {"recapture", models.OutcomeConfirmed}} {
		clock.Add(24 * time.Hour)
		w.dashboard(t, hold, row.action)
		told := w.flushed(t, capture)
		last := told[len(told)-1]
		if last.Outcome != row.want || last.AmountCents != 1500 || last.GatewayTransactionID != ev.GatewayTransactionID {
			t.Errorf("%s: %s", row.action, last.JSON())
		}
		if row.want == models.OutcomeTakenBack && last.TookCents != 1500 {
			t.Errorf("%s does not say what was taken: %s", row.action, last.JSON())
		}
	}
	refund := request(models.Refund, hold, 400)
	w.settle(t, refund, models.OutcomeConfirmed, 400)
	clock.Add(24 * time.Hour)
	w.dashboard(t, hold, "refund_failed")
	if told := w.flushed(t, refund); len(told) != 2 || told[1].Outcome != models.OutcomeTakenBack || told[1].AmountCents != 400 {
		t.Errorf("the refund that failed: %+v", told)
	}
	names := map[string]bool{}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.heard {
		if names[n.EventID] {
			t.Errorf("two events are called %s", n.EventID)
		}
		names[n.EventID] = true
	}
}

// TestBehindOurBack: what others do is told of the hold, and is nobody's success here.
func TestBehindOurBack(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for _, row := range []struct {
		actions []string
		kind    models.Kind
		want    models.Outcome
		foreign bool
	}{
		{[]string{"capture"}, models.Capture, models.OutcomeConfirmed, true},
		{[]string{"capture", "refund"}, models.Refund, models.OutcomeConfirmed, true},
		{[]string{"cancel"}, models.Void, models.OutcomeConfirmed, false},
		{[]string{"capture", "dispute"}, models.Capture, models.OutcomeTakenBack, false},
	} {
		hold := w.hold(t, 1500, "")
		for _, action := range row.actions {
			w.dashboard(t, hold, action)
		}
		if err := w.sandbox.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		n := w.heard[len(w.heard)-1]
		w.mu.Unlock()
		if n.Hold != hold || n.Kind != row.kind || n.Reference != "" || n.Evidence.Outcome != row.want || n.Evidence.Foreign != row.foreign || n.Evidence.AmountCents != 1500 {
			t.Errorf("%v: %+v", row.actions, n)
		}
	}
}

// TestBatches: the events of one change may come in one message, and forged ones
// or old keys are refused.
func TestBatches(t *testing.T) {
	w := newWorld(t, sandbox.Config{Adyen: sandbox.AdyenConfig{Batch: true}, WebhookRetry: time.Millisecond, WebhookTries: 2})
	hold := w.hold(t, 1500, "expired")
	r := request(models.Capture, hold, 1500)
	w.settle(t, r, models.OutcomeRefused, 0)
	if w.mu.Lock(); len(w.bodies) != 2 || len(w.heard) != 3 || w.heard[1].Type != "EXPIRE" || w.heard[1].Kind != models.Void || w.heard[1].Hold != hold {
		t.Errorf("%d messages with %+v", len(w.bodies), w.heard)
	}
	w.mu.Unlock()
	forged := request(models.Capture, w.hold(t, 1500, "webhook_forged"), 1500)
	w.settle(t, forged, models.OutcomeConfirmed, 1500)
	old := request(models.Capture, w.hold(t, 1500, "webhook_old_secret"), 1500)
	w.Capture(t.Context(), old)
	if told := w.flushed(t, old); len(told) != 0 {
		t.Errorf("an event under an old key was believed: %+v", told)
	}
	if w.mu.Lock(); w.refused < 3 {
		t.Errorf("%d refused", w.refused)
	}
	w.mu.Unlock()
}

func TestCannotBeSent(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	good := request(models.Capture, w.hold(t, 1500, ""), 1500)
	for name, change := range map[string]func(*gateway.Request){
		"no amount":          func(r *gateway.Request) { r.AmountCents = 0 },
		"a strange currency": func(r *gateway.Request) { r.CurrencyCode = "XXX" },
		"parts of a rupiah":  func(r *gateway.Request) { r.CurrencyCode = "IDR"; r.AmountCents = 150050 },
		"a path as hold":     func(r *gateway.Request) { r.Hold = "../payments" },
		"no hold":            func(r *gateway.Request) { r.Hold = "" },
		"no key":             func(r *gateway.Request) { r.Key = "" },
		"a long key":         func(r *gateway.Request) { r.Key = strings.Repeat("k", 65) },
		"a long reference":   func(r *gateway.Request) { r.Reference = strings.Repeat("r", 81) },
	} {
		r := good
		change(&r)
		if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeRefused || ev.Status != 0 || ev.ErrorCode == "" || ev.NextAction != "cancel" {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	for what, ev := range map[string]models.Evidence{
		"authorize": w.Authorize(t.Context(), gateway.AuthorizeRequest{}), "reauthorize": w.Reauthorize(t.Context(), good),
	} {
		if ev.Outcome != models.OutcomeRefused || ev.Message == "" {
			t.Errorf("%s: %s", what, ev.JSON())
		}
	}
	for what, err := range map[string]error{"describe": second(w.Describe(t.Context(), good.Hold)), "list": second(w.List(t.Context(), gateway.ListRequest{}))} {
		if err == nil || !strings.Contains(err.Error(), gateway.ErrUnsupported.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if calls := w.sandbox.Book().Requests; len(calls) != 1 {
		t.Errorf("%d calls were made", len(calls)-1)
	}
}

func second[T any](_ T, err error) error { return err }

// TestProbe: bad credentials are told from an account nobody can reach.
func TestProbe(t *testing.T) {
	w := newWorld(t, sandbox.Config{Adyen: sandbox.AdyenConfig{Accounts: []string{testAccount}}})
	if err := w.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	other := w.adapter(t, adyen.Config{MerchantAccount: "SomebodyElse"})
	if err := other.Probe(t.Context()); !isCredentials(err) {
		t.Errorf("another merchant account: %v", err)
	}
	if ev := other.Capture(t.Context(), request(models.Capture, w.hold(t, 1500, ""), 1500)); ev.Outcome != models.OutcomeNotSent || ev.Class != models.ClassConfig || ev.ErrorCode != "901" {
		t.Errorf("another merchant account: %s", ev.JSON())
	}
	for name, base := range map[string]string{"no address": " ", "no Adyen": strings.TrimSuffix(w.url, "/adyen/v72") + "/paypal"} {
		if err := w.adapter(t, adyen.Config{BaseURL: base}).Probe(t.Context()); err == nil || isCredentials(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAdapterIsNotPrintedWithItsSecret(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	if s := fmt.Sprintf("%v %+v %#v", w.Adapter, w.Adapter, *w.Adapter); strings.Contains(s, "hunter2") {
		t.Errorf("leaked: %s", s)
	}
}

func TestCapabilities(t *testing.T) {
	got := adyen.New(adyen.Config{}).Capabilities()
	want := gateway.Capabilities{
		Provider: "adyen", IdempotencyWindow: 7 * 24 * time.Hour, ReplaysErrors: true, RepeatIsLookUp: true, HoldLife: 28 * 24 * time.Hour, Async: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBookSurvives: a sandbox that starts again answers a repeated key as before,
// and books nothing twice.
func TestBookSurvives(t *testing.T) {
	dir, clock := t.TempDir(), sandboxtest.NewClock()
	hold, first := "", ""
	for round := range 2 {
		s, err := sandbox.New(sandbox.Config{Dir: dir, Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(s.Handler())
		w := &world{sandbox: s, url: srv.URL + "/adyen/v72"}
		w.Adapter = w.adapter(t, adyen.Config{})
		if round == 0 {
			hold = w.hold(t, 1500, "")
		}
		ev := w.Capture(t.Context(), request(models.Capture, hold, 1500))
		again := w.Capture(t.Context(), request(models.Capture, hold, 1500))
		if again.Outcome != models.OutcomeAccepted || first != "" && (again.GatewayTransactionID != first || ev.GatewayTransactionID != first) {
			t.Errorf("round %d: %s, %s, first %q", round, ev.JSON(), again.JSON(), first)
		}
		first = again.GatewayTransactionID
		if n := len(s.BookOf(hold).Captures); n != 1 {
			t.Errorf("round %d: %d captures booked", round, n)
		}
		srv.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clock.Add(24 * time.Hour)
	}
}
