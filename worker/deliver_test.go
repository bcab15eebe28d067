package worker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/tasks"
	"github.com/capstan-pay/capstan/worker"
)

const (
	endpoint     = "default"
	rawSecret    = "a-secret-of-at-least-16"
	sharedSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // the one of Standard Webhooks' own example
)

// receiver is somebody's endpoint: it keeps what it got and answers as told.
type receiver struct {
	mu     sync.Mutex
	got    []letter
	answer func(w http.ResponseWriter, r *http.Request, nth int)
}

type letter struct {
	id     string
	header http.Header
	body   []byte
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.got = append(r.got, letter{id: req.Header.Get("Webhook-Id"), header: req.Header.Clone(), body: body})
	nth := len(r.got)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(w, req, nth)
	}
}

func (r *receiver) letters() []letter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]letter(nil), r.got...)
}

func status(code int) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(code) }
}

// listening starts a receiver and a world that tells it.
func listening(t *testing.T, r *receiver) *world {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return newWorld(t, setup{webhooks: map[string]string{endpoint: server.URL}})
}

func secret(s string) map[string]gateway.Secret {
	return map[string]gateway.Secret{endpoint: gateway.Secret(s)}
}

func (w *world) delivered(t *testing.T) int {
	t.Helper()
	return w.count(t, `SELECT count(*) FROM deliveries WHERE delivered_at IS NOT NULL`)
}

// TestWebhookIsSigned: a receiver's own library takes it, and nothing that was
// changed on the way.
func TestWebhookIsSigned(t *testing.T) {
	t.Parallel()
	raw, err := standardwebhooks.NewWebhookRaw([]byte(rawSecret))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := standardwebhooks.NewWebhook(sharedSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		secret   string
		verifier *standardwebhooks.Webhook
	}{{rawSecret, raw}, {sharedSecret, shared}} {
		t.Run(tt.secret, func(t *testing.T) {
			t.Parallel()
			r := &receiver{}
			w := listening(t, r)
			p := w.order(t, "")
			w.start(t, staff{secrets: secret(tt.secret)})
			eventually(t, "the webhook is delivered", func() (bool, any) { n := w.delivered(t); return n == 1, n })
			got := r.letters()
			if len(got) != 1 {
				t.Fatalf("%d letters came, want one", len(got))
			}
			if err := tt.verifier.Verify(got[0].body, got[0].header); err != nil {
				t.Errorf("verify: %v", err)
			}
			if err := tt.verifier.Verify([]byte(strings.Replace(string(got[0].body), "1500", "1501", 1)), got[0].header); err == nil {
				t.Errorf("a changed amount verifies")
			}
			forged := got[0].header.Clone()
			forged.Set("Webhook-Id", "another")
			if err := tt.verifier.Verify(got[0].body, forged); err == nil {
				t.Errorf("another id verifies")
			}
			var message struct {
				Type string `json:"type"`
				Data struct {
					ID       string       `json:"id"`
					OrderID  string       `json:"order_id"`
					State    models.State `json:"state"`
					Amount   int64        `json:"amount_cents"`
					Currency string       `json:"currency_code"`
				} `json:"data"`
			}
			if err := json.Unmarshal(got[0].body, &message); err != nil {
				t.Fatal(err)
			}
			d := message.Data
			if message.Type != "captures.succeeded" || d.ID != p.op.ID || d.OrderID != p.orderID || d.State != models.Succeeded || d.Amount != total || d.Currency != "EUR" {
				t.Errorf("message = %+v", message)
			}
		})
	}
}

// TestWebhookIsRetried under the same id, whatever the receiver does, and the
// payments do not wait for it.
func TestWebhookIsRetried(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	release := make(chan struct{})
	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	t.Cleanup(free)
	for name, bad := range map[string]func(http.ResponseWriter, *http.Request, int){
		"500": status(http.StatusInternalServerError),
		"404": status(http.StatusNotFound),
		"304": status(http.StatusNotModified),
		"redirect": func(w http.ResponseWriter, r *http.Request, _ int) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"no answer": func(http.ResponseWriter, *http.Request, int) {
			panic(http.ErrAbortHandler)
		},
		"slow": func(_ http.ResponseWriter, r *http.Request, _ int) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &receiver{}
			r.answer = func(w http.ResponseWriter, req *http.Request, nth int) {
				if nth <= 2 {
					bad(w, req, nth)
				}
			}
			w := listening(t, r)
			p := w.order(t, "")
			w.start(t, staff{secrets: secret(rawSecret)})
			w.settle(t)
			w.check(t, p, truth{captured: total})
			eventually(t, "the webhook is delivered", func() (bool, any) { n := w.delivered(t); return n == 1, r.letters() })
			got := r.letters()
			if len(got) != 3 {
				t.Errorf("%d letters came, want two that failed and one more", len(got))
			}
			for _, l := range got {
				if l.id == "" || l.id != got[0].id || string(l.body) != string(got[0].body) {
					t.Errorf("letter %s %s, want always %s %s", l.id, l.body, got[0].id, got[0].body)
				}
			}
			if tries := w.count(t, `SELECT tries FROM deliveries`); tries != 3 {
				t.Errorf("%d tries are noted, want 3", tries)
			}
		})
	}
}

// TestWebhookIsGivenUp after the last try of its schedule; it stays to be read.
func TestWebhookIsGivenUp(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: status(http.StatusServiceUnavailable)}
	w := listening(t, r)
	w.order(t, "")
	w.start(t, staff{secrets: secret(rawSecret)})
	eventually(t, "the first try failed", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM deliveries WHERE tries = 1`)
		return n == 1, n
	})
	w.exec(t, `UPDATE deliveries SET tries = $1, due_at = now()`, len(worker.DeliverySchedule))
	eventually(t, "it is given up", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM deliveries WHERE given_up_at IS NOT NULL AND last_status = 503 AND last_error <> ''`)
		return n == 1, n
	})
	eventually(t, "its task has ended", func() (bool, any) {
		info, err := w.inspector.ListRetryTasks(tasks.Webhooks)
		return err == nil && len(info) == 0, fmt.Sprint(len(info), err)
	})
	if n := len(r.letters()); n != 2 {
		t.Errorf("%d letters came, want two", n)
	}
}

// TestWebhookToNobody: nobody listens, or the secret is missing. Payments go on,
// and the reason is there to be read.
func TestWebhookToNobody(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r := &receiver{}
	for _, tt := range []struct {
		name, reason string
		world        func(*testing.T) *world
		secrets      map[string]gateway.Secret
	}{
		{"gone", "no answer", func(t *testing.T) *world { return newWorld(t, setup{webhooks: map[string]string{endpoint: gone.URL}}) }, secret(rawSecret)},
		{"no secret", "it has no secret", func(t *testing.T) *world { return listening(t, r) }, nil},
		{"no base64", "is not base64", func(t *testing.T) *world { return listening(t, r) }, secret("whsec_!!!")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := tt.world(t)
			p := w.order(t, "")
			w.start(t, staff{secrets: tt.secrets})
			w.settle(t)
			w.check(t, p, truth{captured: total})
			eventually(t, "the reason is told", func() (bool, any) {
				n := w.count(t, `SELECT count(*) FROM deliveries WHERE tries > 0 AND delivered_at IS NULL AND last_error LIKE '%' || $1 || '%'`, tt.reason)
				return n == 1, n
			})
			if n := len(r.letters()); n != 0 {
				t.Errorf("%d unsigned letters came", n)
			}
		})
	}
}

// TestHostileReceiver: an answer without an end does not hold a worker, and an
// answer is an answer.
func TestHostileReceiver(t *testing.T) {
	t.Parallel()
	r := &receiver{answer: func(w http.ResponseWriter, req *http.Request, _ int) {
		w.WriteHeader(http.StatusOK)
		junk := []byte(strings.Repeat("x", 4096))
		for req.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}}
	w := listening(t, r)
	w.order(t, "")
	w.start(t, staff{tasks: 1, secrets: secret(rawSecret)})
	eventually(t, "the webhook is delivered", func() (bool, any) { n := w.delivered(t); return n == 1, n })
	w.order(t, "")
	eventually(t, "the next one, too", func() (bool, any) { n := w.delivered(t); return n == 2, n })
}

// TestEveryEndIsTold exactly once, flags included.
func TestEveryEndIsTold(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	w := listening(t, r)
	w.order(t, "")
	w.order(t, "charge_then_drop")
	w.order(t, "decline_hard")
	w.order(t, "wrong_amount")
	refunded := w.refund(t, w.captured(t, "")) // captured without the queue, told by the relay
	w.cancel(t, w.place(t, ""))
	w.start(t, staff{secrets: secret(rawSecret)})
	w.settle(t)
	const want = 4 + 2 + 1
	eventually(t, "all is told", func() (bool, any) { n := w.delivered(t); return n == want, r.letters() })
	seen := map[string]int{}
	for _, l := range r.letters() {
		var message struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(l.body, &message); err != nil {
			t.Fatal(err)
		}
		seen[message.Type]++
	}
	if got := fmt.Sprint(seen); got != "map[captures.failed:1 captures.succeeded:4 refunds.succeeded:1 voids.succeeded:1]" {
		t.Errorf("told %s", got)
	}
	w.check(t, refunded, truth{captured: total, refunded: returned})
}
