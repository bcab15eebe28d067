package sandbox_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

func TestBadInput(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t)
	taken := b.hold(t)
	b.call(t, "POST", "/v1/payment_intents/"+taken+"/capture")
	create := func(pairs ...string) []string { return append([]string{"POST", "/v1/payment_intents"}, pairs...) }
	capture := func(pairs ...string) []string {
		return append([]string{"POST", "/v1/payment_intents/" + id + "/capture"}, pairs...)
	}
	refund := func(pairs ...string) []string {
		return append([]string{"POST", "/v1/refunds", "payment_intent", taken}, pairs...)
	}
	entries := len(b.Book().Holds)
	for _, tt := range []struct {
		name   string
		call   []string
		status int
		code   string
		param  string
	}{
		{"no amount", create("currency", "eur"), 400, "parameter_missing", "amount"},
		{"empty amount", create("amount", "", "currency", "eur"), 400, "parameter_invalid_empty", "amount"},
		{"zero", create("amount", "0", "currency", "eur"), 400, "parameter_invalid_integer", "amount"},
		{"negative", create("amount", "-1", "currency", "eur"), 400, "parameter_invalid_integer", "amount"},
		{"a fraction", create("amount", "1.5", "currency", "eur"), 400, "parameter_invalid_integer", "amount"},
		{"words", create("amount", "ten", "currency", "eur"), 400, "parameter_invalid_integer", "amount"},
		{"nine digits", create("amount", "100000000", "currency", "eur"), 400, "amount_too_large", "amount"},
		{"beyond 64 bits", create("amount", "99999999999999999999", "currency", "eur"), 400, "amount_too_large", "amount"},
		{"no currency", create("amount", "1"), 400, "parameter_missing", "currency"},
		{"unknown currency", create("amount", "1", "currency", "xxx"), 400, "", "currency"},
		{"third decimal", create("amount", "1001", "currency", "kwd"), 400, "", "amount"},
		{"half a krona", create("amount", "150", "currency", "isk"), 400, "", "amount"},
		{"unknown parameter", create("amount", "1", "currency", "eur", "amuont", "2"), 400, "parameter_unknown", "amuont"},
		{"unknown capture method", create("amount", "1", "currency", "eur", "capture_method", "later"), 400, "", "capture_method"},
		{"unknown fault", create("amount", "1", "currency", "eur", "metadata[fault]", "explode"), 400, "", "metadata[fault]"},
		{"metadata too long", create("amount", "1", "currency", "eur", "metadata[a]", strings.Repeat("x", 501)), 400, "", "metadata[a]"},
		{"metadata without a name", create("amount", "1", "currency", "eur", "metadata[]", "x"), 400, "", "metadata[]"},
		{"key too long", create("amount", "1", "currency", "eur", "Idempotency-Key", strings.Repeat("k", 256)), 400, "", ""},
		{"capture zero", capture("amount_to_capture", "0"), 400, "parameter_invalid_integer", "amount_to_capture"},
		{"capture beyond 64 bits", capture("amount_to_capture", "99999999999999999999"), 400, "amount_too_large", "amount_to_capture"},
		{"several captures", capture("final_capture", "false"), 400, "", "final_capture"},
		{"capture with an unknown parameter", capture("amount", "100"), 400, "parameter_unknown", "amount"},
		{"cancel for no known reason", []string{"POST", "/v1/payment_intents/" + id + "/cancel", "cancellation_reason", "boredom"}, 400, "", "cancellation_reason"},
		{"refund of nothing named", []string{"POST", "/v1/refunds", "amount", "1"}, 400, "parameter_missing", ""},
		{"refund of an unknown charge", []string{"POST", "/v1/refunds", "charge", "ch_no"}, 404, "resource_missing", "charge"},
		{"refund too large", refund("amount", "1501"), 400, "amount_too_large", "amount"},
		{"refund negative", refund("amount", "-1"), 400, "parameter_invalid_integer", "amount"},
		{"refund for no known reason", refund("reason", "boredom"), 400, "", "reason"},
		{"read an unknown hold", []string{"GET", "/v1/payment_intents/pi_no"}, 404, "resource_missing", "intent"},
		{"read an unknown charge", []string{"GET", "/v1/charges/ch_no"}, 404, "resource_missing", "id"},
		{"read an unknown refund", []string{"GET", "/v1/refunds/re_no"}, 404, "resource_missing", "id"},
		{"page too large", []string{"GET", "/v1/payment_intents", "limit", "101"}, 400, "parameter_invalid_integer", "limit"},
		{"a path that is none", []string{"POST", "/v1/coffee", "a", "b"}, 404, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := b.call(t, tt.call[0], tt.call[1], tt.call[2:]...)
			if a.status != tt.status || a.str("error", "type") != "invalid_request_error" || a.str("error", "code") != tt.code || a.str("error", "param") != tt.param || a.str("error", "message") == "" {
				t.Errorf("got %d %s", a.status, a.raw)
			}
		})
	}
	book := b.Book()
	if len(book.Holds) != entries || len(book.Captures) != 1 || len(book.Refunds) != 0 || len(book.Cancels) != 0 {
		t.Errorf("something was booked: %+v", book)
	}
}

// booked is how often each kind of operation stands in the hold's book.
func booked(b *box, id string) string {
	s := b.BookOf(id)
	return fmt.Sprintf("%d/%d/%d", len(s.Captures), len(s.Refunds), len(s.Cancels))
}

// TestFaultsOnTheWire: what a caller sees under each fault, what is booked, and
// what the same key answers afterwards.
func TestFaultsOnTheWire(t *testing.T) {
	b := newBox(t, sandbox.Config{Dir: t.TempDir()})
	for _, tt := range []struct {
		fault  string
		status int // 0: no whole answer
		booked bool
		again  int // the same key again
		after  bool
	}{
		{"", 200, true, 200, true},
		{"drop_before", 0, false, 200, true},
		{"charge_then_drop", 0, true, 200, true},
		{"charge_then_drop:2", 0, true, 0, true},
		{"charge_then_rst", 0, true, 200, true},
		{"charge_then_500", 500, true, 500, true},
		{"charge_then_502html", 502, true, 200, true},
		{"truncated", 0, true, 200, true},
		{"empty200", 200, true, 200, true},
		{"sticky_500", 500, false, 500, false},
		{"500_unbooked", 500, false, 200, true},
		{"409_in_progress", 409, false, 200, true},
		{"429", 429, false, 200, true},
		{"401", 401, false, 200, true},
		{"lock_timeout", 429, false, 200, true},
		{"decline", 402, false, 402, false},
		{"decline:1", 402, false, 402, false}, // the answer is kept for the key
		{"decline_hard", 402, false, 402, false},
		{"wrong_amount", 200, true, 200, true},
		{"partial", 200, true, 200, true},
		{"wrong_currency", 200, true, 200, true},
		{"ok,drop_before", 200, true, 0, true},
	} {
		name := tt.fault
		if name == "" {
			name = "none"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := b.hold(t, "metadata[fault]", tt.fault)
			send := func() answer {
				return b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "amount_to_capture", "1001", "metadata[capstan_reference]", "cap_1", "Idempotency-Key", "k "+id)
			}
			for i, want := range []struct {
				status int
				booked bool
			}{{tt.status, tt.booked}, {tt.again, tt.after}} {
				a := send()
				if (a.err != nil) != (want.status == 0) || a.err == nil && a.status != want.status {
					t.Fatalf("call %d: got %d, %v, want %d", i+1, a.status, a.err, want.status)
				}
				if got := booked(b, id); got != map[bool]string{true: "1/0/0", false: "0/0/0"}[want.booked] {
					t.Fatalf("call %d: booked %s", i+1, got)
				}
			}
			captures := b.BookOf(id).Captures
			if len(captures) == 0 {
				return
			}
			amount, currency := int64(1001), "eur"
			switch tt.fault {
			case "wrong_amount":
				amount = 1000
			case "partial":
				amount = 500
			case "wrong_currency":
				currency = "usd"
			}
			if c := captures[0]; c.Amount != amount || c.Currency != currency || c.Reference != "cap_1" || c.Key != "k "+id {
				t.Errorf("booked %+v", c)
			}
		})
	}
}

func TestFaultDetails(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t, "metadata[fault]", "429=7,empty200,lookup_404,lookup_500,lookup_stale")
	if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k1"); a.header.Get("Retry-After") != "7" {
		t.Errorf("429: %v", a.header)
	}
	if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k1"); a.status != 200 || a.raw != "" {
		t.Errorf("empty200: %d %q", a.status, a.raw)
	}
	if a := b.call(t, "GET", "/v1/payment_intents/"+id); a.status != 404 || a.str("error", "code") != "resource_missing" {
		t.Errorf("lookup_404: %+v", a)
	}
	if a := b.call(t, "GET", "/v1/payment_intents/"+id); a.status != 500 {
		t.Errorf("lookup_500: %+v", a)
	}
	if a := b.call(t, "GET", "/v1/payment_intents/"+id); a.str("status") != "requires_capture" {
		t.Errorf("lookup_stale: %+v", a)
	}
	if a := b.call(t, "GET", "/v1/payment_intents/"+id); a.str("status") != "succeeded" {
		t.Errorf("no fault left: %+v", a)
	}
	if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k1", "amount_to_capture", "1"); a.str("error", "type") != "idempotency_error" {
		t.Errorf("other parameters: %+v", a)
	}

	amnesiac := b.hold(t, "metadata[fault]", "refund.amnesia:*")
	b.call(t, "POST", "/v1/payment_intents/"+amnesiac+"/capture")
	for range 2 {
		b.call(t, "POST", "/v1/refunds", "payment_intent", amnesiac, "amount", "100", "Idempotency-Key", "k2")
	}
	if got := booked(b, amnesiac); got != "1/2/0" {
		t.Errorf("amnesia: booked %s, want both refunds", got)
	}
}

func TestHanging(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	for _, tt := range []struct {
		fault string
		want  string
	}{{"hang", "0/0/0"}, {"charge_then_hang", "1/0/0"}} {
		id := b.hold(t, "metadata[fault]", tt.fault)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan answer, 1)
		go func() {
			done <- b.callCtx(ctx, t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k "+id)
		}()
		waitFor(t, "the fault to meet the call", func() bool {
			r := b.BookOf(id).Requests
			return len(r) > 0 && r[0].Fault == tt.fault && booked(b, id) == tt.want
		})
		if tt.fault == "hang" {
			waitFor(t, "the key to be in use", func() bool {
				return b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k "+id).status == 409
			})
		}
		cancel()
		if a := <-done; a.err == nil {
			t.Errorf("%s was answered: %+v", tt.fault, a)
		}
		waitFor(t, "the same key to book", func() bool {
			return b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k "+id).status == 200
		})
		if got := booked(b, id); got != "1/0/0" {
			t.Errorf("%s: booked %s in the end", tt.fault, got)
		}
	}
}

func TestCloseEndsHangingCalls(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t, "metadata[fault]", "hang")
	done := make(chan answer, 1)
	go func() { done <- b.call(t, "POST", "/v1/payment_intents/"+id+"/capture") }()
	waitFor(t, "the call", func() bool { r := b.BookOf(id).Requests; return len(r) > 0 && r[0].Fault == "hang" })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.err == nil {
		t.Errorf("answered: %+v", a)
	}
}

func TestBookAfter(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t, "metadata[fault]", "book_after=100ms")
	send := func() answer {
		return b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "k", "metadata[capstan_reference]", "cap_1")
	}
	if a := send(); a.err == nil {
		t.Fatalf("answered: %+v", a)
	}
	for b.Late(id) > 0 {
		if a := send(); a.status != 409 && b.Late(id) > 0 {
			t.Fatalf("while it is put off: %+v", a)
		}
	}
	if got := booked(b, id); got != "1/0/0" {
		t.Fatalf("booked %s", got)
	}
	if a := send(); a.status != 200 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("afterwards: %+v", a)
	}
}

func TestExpiry(t *testing.T) {
	b := newBox(t, sandbox.Config{HoldLife: 50 * time.Millisecond})
	id := b.hold(t)
	waitFor(t, "the hold to end", func() bool { return len(b.BookOf(id).Cancels) == 1 })
	a := b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
	if a.str("error", "code") != "payment_intent_unexpected_state" || a.str("error", "payment_intent", "status") != "canceled" || a.str("error", "payment_intent", "cancellation_reason") != "automatic" {
		t.Errorf("captured after its end: %s", a.raw)
	}
	if a := b.call(t, "GET", "/v1/refunds", "payment_intent", id); !strings.Contains(a.raw, "expired_uncaptured_charge") {
		t.Errorf("the release is not listed: %s", a.raw)
	}
	long := newBox(t, sandbox.Config{})
	id = long.hold(t)
	if a := long.admin(t, "POST", "/_sandbox/expire?hold="+id, ""); a.status != 200 {
		t.Fatalf("expire: %+v", a)
	}
	if a := long.admin(t, "POST", "/_sandbox/expire?hold="+id, ""); a.status != 409 {
		t.Errorf("expire twice: %+v", a)
	}
	if a := long.admin(t, "POST", "/_sandbox/expire?hold=pi_no", ""); a.status != 404 {
		t.Errorf("expire nothing: %+v", a)
	}
}

func TestGlobalFaults(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t)
	for name, body := range map[string]string{
		"no json": `hello`, "unknown mode": `{"fault":"explode"}`, "unknown call": `{"fault":"429","call":"tea"}`,
		"probability": `{"fault":"429","probability":2}`, "one of two": `[{"fault":"429"},{"fault":"explode"}]`, "empty": `{}`,
	} {
		if a := b.fault(t, body); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := b.admin(t, "GET", "/_sandbox/fault", ""); strings.TrimSpace(a.raw) != "[]" {
		t.Errorf("faults: %s", a.raw)
	}
	b.fault(t, `{"fault":"429","times":2,"call":"capture"}`)
	capture := func() int { return b.call(t, "POST", "/v1/payment_intents/"+id+"/capture").status }
	if a := b.call(t, "POST", "/v1/payment_intents/"+id+"/cancel", "cancellation_reason", "boredom"); a.status != 400 {
		t.Errorf("the fault met another call: %+v", a)
	}
	if s := []int{capture(), capture(), capture()}; s[0] != 429 || s[1] != 429 || s[2] != 200 {
		t.Errorf("statuses %v", s)
	}
	b.fault(t, `{"fault":"refund.500_unbooked"}`)
	for range 3 {
		if a := b.call(t, "POST", "/v1/refunds", "payment_intent", id); a.status != 500 {
			t.Fatalf("without a number it stays: %+v", a)
		}
	}
	b.admin(t, "DELETE", "/_sandbox/fault", "")
	if a := b.call(t, "POST", "/v1/refunds", "payment_intent", id); a.status != 200 {
		t.Errorf("after it was cleared: %+v", a)
	}
	other := b.hold(t)
	b.fault(t, fmt.Sprintf(`{"fault":"decline","hold":%q}`, other))
	if a := b.call(t, "POST", "/v1/payment_intents/"+other+"/capture"); a.status != 402 {
		t.Errorf("a fault put on one hold: %+v", a)
	}
	if a := b.call(t, "POST", "/v1/payment_intents/"+b.hold(t)+"/capture"); a.status != 200 {
		t.Errorf("another hold: %+v", a)
	}
}

func TestBookOverHTTP(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	id := b.hold(t)
	b.hold(t)
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "metadata[capstan_reference]", "cap_1")
	a := b.admin(t, "GET", "/_sandbox/book?hold="+id, "")
	for _, name := range []string{"holds", "captures", "refunds", "cancels", "violations", "requests"} {
		if _, ok := a.body[name].([]any); !ok {
			t.Errorf("%s is no list: %s", name, a.raw)
		}
	}
	if n := len(a.body["holds"].([]any)); n != 1 {
		t.Errorf("%d holds", n)
	}
	if a := b.admin(t, "GET", "/_sandbox/book", ""); len(a.body["holds"].([]any)) != 2 {
		t.Errorf("whole book: %s", a.raw)
	}
}
