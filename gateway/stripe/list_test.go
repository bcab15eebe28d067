package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
)

// dashboard does something at the gateway behind our back.
func (w *world) dashboard(t *testing.T, action, hold string, cents int64) {
	t.Helper()
	body := fmt.Sprintf(`{"action":%q,"hold":%q,"amount":%d}`, action, hold, cents)
	resp, err := http.Post(w.url+"/_sandbox/dashboard", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("%s %s: status %d", action, hold, resp.StatusCode)
	}
}

// listAll reads a span to its end, and how many pages that took.
func listAll(t *testing.T, g gateway.Gateway, from, to time.Time) (all []models.Movement, pages int) {
	t.Helper()
	r := gateway.ListRequest{From: from, To: to}
	for {
		page, err := g.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		all, pages = append(all, page.Movements...), pages+1
		if page.Next == "" {
			return all, pages
		}
		r.Cursor = page.Next
	}
}

func TestListTellsWhatWasBooked(t *testing.T) {
	var now atomic.Int64
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	tick := func(n int64) { now.Add(n * int64(time.Second)) }
	w := newWorld(t, sandbox.Config{Now: func() time.Time { return begin.Add(time.Duration(now.Load())) }})
	hold := w.hold(t, 1500, "EUR", "")
	capture := request(models.Capture, hold, 1500)
	if ev := w.Capture(t.Context(), capture); ev.Outcome != models.OutcomeConfirmed {
		t.Fatalf("capture: %+v", ev)
	}
	tick(2)
	refund := request(models.Refund, hold, 200)
	refunded := w.Refund(t.Context(), refund)
	tick(60)
	w.dashboard(t, "refund", hold, 300)
	tick(3600)
	w.dashboard(t, "dispute", hold, 0)
	tick(1)
	w.dashboard(t, "dispute_won", hold, 0)
	tick(1)

	var got []string
	all, _ := listAll(t, w, begin, begin.Add(2*time.Hour))
	for _, m := range all {
		got = append(got, fmt.Sprintf("%s %d %s %q at %d", m.Kind, m.AmountCents, m.CurrencyCode, m.Reference, m.At.Unix()-begin.Unix()))
		if m.Hold != hold {
			t.Errorf("%+v is of another hold", m)
		}
	}
	want := []string{
		`captured 1500 EUR "" at 0`, fmt.Sprintf(`refunded 200 EUR %q at 2`, refund.Reference), `refunded 300 EUR "" at 62`,
		`taken_back 1000 EUR "" at 3662`, `reinstated 1000 EUR "" at 3663`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if all[0].TransactionID != w.LookUp(t.Context(), capture).GatewayTransactionID || all[1].TransactionID != refunded.GatewayTransactionID {
		t.Errorf("the list names other ids than a look-up: %+v", all[:2])
	}
	// The borders: the first second belongs to the span, the last does not.
	for _, tt := range []struct {
		from, to time.Duration
		want     int
	}{{0, time.Second, 1}, {time.Second, 2 * time.Second, 0}, {2 * time.Second, 3 * time.Second, 1}, {0, 2 * time.Second, 1}, {0, 2*time.Second + time.Millisecond, 2}, {0, 0, 0}} {
		if some, _ := listAll(t, w, begin.Add(tt.from), begin.Add(tt.to)); len(some) != tt.want {
			t.Errorf("from %s to %s: %d movements, want %d", tt.from, tt.to, len(some), tt.want)
		}
	}
}

// TestListPages divides a span whose lines do not fit on a page, down to a
// second that does not, and goes on from every cursor.
func TestListPages(t *testing.T) {
	var now atomic.Int64
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, sandbox.Config{Now: func() time.Time { return begin.Add(time.Duration(now.Load())) }})
	hold := w.hold(t, 100_000, "EUR", "")
	w.dashboard(t, "capture", hold, 0)
	const n = 330
	for i := range n {
		if i < 90 || i >= 240 { // 150 lines of one second lie in between
			now.Add(int64(time.Second))
		}
		w.dashboard(t, "refund", hold, int64(i+1))
	}
	all, pages := listAll(t, w, begin, begin.Add(time.Hour))
	if len(all) != n+1 || pages < 4 {
		t.Fatalf("%d movements on %d pages", len(all), pages)
	}
	seen := map[string]bool{}
	for i, m := range all {
		if seen[m.ID] = true; i > 0 && m.At.Before(all[i-1].At) {
			t.Fatalf("%s comes after %s", m.At, all[i-1].At)
		}
	}
	if len(seen) != n+1 {
		t.Errorf("%d different lines", len(seen))
	}
	for _, cursor := range []string{"x", "1.2", "1795176000", "1795176000.0", fmt.Sprintf("%d.60", begin.Add(2*time.Hour).Unix())} {
		if page, err := w.List(t.Context(), gateway.ListRequest{From: begin, To: begin.Add(time.Hour), Cursor: cursor}); err == nil {
			t.Errorf("the cursor %q gave %d movements", cursor, len(page.Movements))
		}
	}
}

// TestListSaysWhyNot: no error hides a rate limit, bad credentials or silence.
func TestListSaysWhyNot(t *testing.T) {
	for _, tt := range []struct {
		name, body                        string
		status                            int
		throttled, unanswered, credential bool
		text                              string
	}{
		{"a rate limit", `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"slow down"}}`, 429, true, false, false, "asks to slow down (status 429): rate_limit slow down"},
		{"a bad key", `{"error":{"type":"invalid_request_error","message":"Invalid API Key"}}`, 401, false, false, true, "status 401"},
		{"an error of theirs", `<html>`, 502, false, true, false, "status 502: no list came"},
		{"something else", `{"object":"balance"}`, 200, false, false, false, "the answer is no list of balance transactions"},
		{"half an answer", `{"object":"list","data":[{"id":"txn_1","obj`, 200, false, false, false, "the answer is no list of balance transactions"},
		{"a list of other things", `{"object":"list","data":[{"id":"ch_1","object":"charge"}]}`, 200, false, false, false, "something that is no balance transaction"},
		{"a promise of more", `{"object":"list","data":[],"has_more":true}`, 200, false, false, false, "promises more"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		}))
		a := stripe.New(stripe.Config{Account: "acme", SecretKey: "sk_test_key", BaseURL: srv.URL})
		_, err := a.List(t.Context(), gateway.ListRequest{From: time.Unix(0, 0), To: time.Unix(1, 0)})
		call, ok := errors.AsType[*gateway.CallError](err)
		if !ok || call.Throttled != tt.throttled || call.Unanswered() != tt.unanswered || errors.Is(err, gateway.ErrCredentials) != tt.credential ||
			!strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), `stripe account "acme"`) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if ok && tt.throttled && call.RetryAfter != 7*time.Second {
			t.Errorf("%s: wait %s", tt.name, call.RetryAfter)
		}
		a.Close()
		srv.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := a.List(ctx, gateway.ListRequest{From: time.Unix(0, 0), To: time.Unix(1, 0)}); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who gave up: %v", err)
		}
	}
}
