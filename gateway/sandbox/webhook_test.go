package sandbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// receiver is an endpoint that verifies with Stripe's own library.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []string // types of events that verified
	ids    []string
	bad    int // that did not
	refuse int // answers 500 so many times
	onPost func()
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		_, err := webhook.ConstructEventWithOptions(body, req.Header.Get("Stripe-Signature"), "whsec_now", webhook.ConstructEventOptions{IgnoreAPIVersionMismatch: true})
		var e struct {
			ID, Type string
		}
		_ = json.Unmarshal(body, &e)
		if r.onPost != nil {
			r.onPost()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err != nil:
			r.bad++
			w.WriteHeader(http.StatusUnauthorized)
		case r.refuse > 0:
			r.refuse--
			w.WriteHeader(http.StatusInternalServerError)
		default:
			r.got, r.ids = append(r.got, e.Type), append(r.ids, e.ID)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) seen() ([]string, []string, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got), slices.Clone(r.ids), r.bad
}

func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got, r.ids, r.bad = nil, nil, 0
}

func hookBox(t *testing.T) (*box, *receiver) {
	r := newReceiver(t)
	b := newBox(t, sandbox.Config{
		Webhooks:     []sandbox.Endpoint{{URL: r.URL, Secret: "whsec_now", OldSecret: "whsec_before"}},
		WebhookRetry: 10 * time.Millisecond, WebhookTries: 4,
	})
	return b, r
}

const captureEvents = "charge.captured payment_intent.succeeded"

func TestWebhooks(t *testing.T) {
	b, r := hookBox(t)
	for _, tt := range []struct {
		fault string
		want  string
		bad   int
	}{
		{"", captureEvents, 0},
		{"charge_then_drop", captureEvents, 0},
		{"charge_then_500", captureEvents, 0},
		{"webhook_drop", "", 0},
		{"webhook_dup=3", "charge.captured charge.captured charge.captured payment_intent.succeeded payment_intent.succeeded payment_intent.succeeded", 0},
		{"webhook_forged", captureEvents, 2},
		{"webhook_old_secret", "", 8}, // each is tried four times
		{"webhook_delay=24h", captureEvents, 0},
		{"webhook_before_answer", captureEvents, 0},
		{"decline", "payment_intent.payment_failed", 0},
		{"webhook_drop:1", captureEvents, 0}, // it met the events of the hold itself
	} {
		t.Run(tt.fault, func(t *testing.T) {
			id := b.hold(t, "metadata[fault]", tt.fault)
			if err := b.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.reset()
			b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
			if err := b.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, _, bad := r.seen()
			if strings.Join(got, " ") != tt.want || bad != tt.bad {
				t.Errorf("got %v and %d that do not verify, want %s and %d", got, bad, tt.want, tt.bad)
			}
		})
	}
}

func TestWebhookReorder(t *testing.T) {
	b, r := hookBox(t)
	id := b.hold(t, "metadata[fault]", "webhook_reorder")
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reset()
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
	waitFor(t, "both events", func() bool { got, _, _ := r.seen(); return len(got) == 2 })
	if got, _, _ := r.seen(); got[0] != "payment_intent.succeeded" || got[1] != "charge.captured" {
		t.Errorf("got %v", got)
	}
}

func TestWebhookBeforeTheAnswer(t *testing.T) {
	b, r := hookBox(t)
	id := b.hold(t, "metadata[fault]", "webhook_before_answer")
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reset()
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
	if got, _, _ := r.seen(); strings.Join(got, " ") != captureEvents {
		t.Errorf("before the answer came %v", got)
	}
}

func TestWebhooksAreRetried(t *testing.T) {
	b, r := hookBox(t)
	id := b.hold(t)
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reset()
	r.mu.Lock()
	r.refuse = 3
	r.mu.Unlock()
	b.call(t, "POST", "/v1/payment_intents/"+id+"/cancel")
	waitFor(t, "the event", func() bool { got, _, _ := r.seen(); return len(got) == 1 })
	if _, ids, _ := r.seen(); !strings.HasPrefix(ids[0], "evt_") {
		t.Errorf("ids %v", ids)
	}
}

func TestAllEvents(t *testing.T) {
	b, r := hookBox(t)
	flush := func() string {
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, _, _ := r.seen()
		r.reset()
		return strings.Join(got, " ")
	}
	id := b.hold(t)
	if got := flush(); got != "payment_intent.amount_capturable_updated" {
		t.Errorf("hold: %s", got)
	}
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture")
	if got := flush(); got != captureEvents {
		t.Errorf("capture: %s", got)
	}
	b.call(t, "POST", "/v1/refunds", "payment_intent", id, "amount", "10")
	if got := flush(); got != "refund.created charge.refunded" {
		t.Errorf("refund: %s", got)
	}
	gone := b.hold(t)
	flush()
	b.call(t, "POST", "/v1/payment_intents/"+gone+"/cancel")
	if got := flush(); got != "payment_intent.canceled" {
		t.Errorf("cancel: %s", got)
	}
	b.call(t, "POST", "/v1/payment_intents/"+gone+"/cancel")
	if got := flush(); got != "" {
		t.Errorf("nothing happened, and there came %s", got)
	}
	ended := b.hold(t)
	flush()
	b.admin(t, "POST", "/_sandbox/expire?hold="+ended, "")
	if got := flush(); got != "charge.expired payment_intent.canceled" {
		t.Errorf("expired: %s", got)
	}
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "again")
	b.call(t, "POST", "/v1/payment_intents/"+id+"/capture", "Idempotency-Key", "again")
	if got := flush(); got != "" {
		t.Errorf("a repeated answer sent %s", got)
	}
}

func TestEndpointsCanChange(t *testing.T) {
	first := newReceiver(t)
	b := newBox(t, sandbox.Config{})
	b.hold(t) // to nobody
	if a := b.admin(t, "PUT", "/_sandbox/webhooks", fmt.Sprintf(`[{"url":%q,"secret":"whsec_now"}]`, first.URL)); a.status != 200 {
		t.Fatalf("put: %+v", a)
	}
	b.hold(t)
	if a := b.admin(t, "POST", "/_sandbox/webhooks/flush", ""); a.status != 200 || a.num("waiting") != 0 {
		t.Fatalf("flush: %+v", a)
	}
	if got, _, _ := first.seen(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestClosedWhileTheEndpointHangs: shutdown does not wait for a dead endpoint.
func TestClosedWhileTheEndpointHangs(t *testing.T) {
	stuck := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(stuck) })
	s, err := sandbox.New(sandbox.Config{Webhooks: []sandbox.Endpoint{{URL: srv.URL, Secret: "whsec_now"}}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	(&box{Server: s, url: web.URL}).hold(t)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error("closing twice:", err)
	}
}
