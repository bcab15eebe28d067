package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
)

// Config describes a sandbox. The zero value is one in memory without webhooks.
type Config struct {
	// Dir holds the book; empty keeps it in memory only.
	Dir string
	// HoldLife is how long a hold lives uncaptured. Default 7 days.
	HoldLife time.Duration
	// KeyLife is how long an idempotency key is remembered. Default 24 hours.
	KeyLife time.Duration
	// MaxAmount is the largest amount taken. Default 99,999,999, as at Stripe.
	MaxAmount int64
	// MaxRequests bounds the log of requests. Default 100,000.
	MaxRequests int
	// MaxHang bounds how long a hanging call is held. Default 2 minutes.
	MaxHang time.Duration
	// Webhooks receive events. WebhookRetry is the pause after the first failed
	// delivery, doubling; default 1 s. WebhookTries defaults to 8.
	Webhooks     []Endpoint
	WebhookRetry time.Duration
	WebhookTries int
	// Keys are the secret keys that are good; empty takes any sk_… or rk_….
	Keys []gateway.Secret
	// PayPal is how PayPal's wire behaves.
	PayPal PayPalConfig
	// Klarna is how Klarna's wire behaves.
	Klarna KlarnaConfig
	// External is how the merchant's external gateway behaves.
	External ExternalConfig
	// CheckoutCom is how Checkout.com's wire behaves.
	CheckoutCom CheckoutComConfig
	// Braintree is how Braintree's wire behaves.
	Braintree BraintreeConfig
	// Adyen is how Adyen's wire behaves.
	Adyen AdyenConfig
	// Seed makes faults with a probability repeatable.
	Seed       uint64
	Now        func() time.Time
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Server is a sandbox. It is safe for concurrent use.
type Server struct {
	config  Config
	book    *book
	faults  *engine
	hooks   *sender
	calls   *requestLog
	mux     *http.ServeMux
	metrics serverMetrics
	paypal  *paypalTokens

	stop   context.Context // ends hanging calls and late bookings
	cancel context.CancelFunc
	work   sync.WaitGroup
	once   sync.Once
}

type serverMetrics struct {
	bookings *prometheus.CounterVec
	faults   *prometheus.CounterVec
	webhooks *prometheus.CounterVec
}

// New reads the book and starts the senders of webhooks. Close ends it.
func New(c Config) (*Server, error) {
	c = withDefaults(c)
	s := &Server{config: c, calls: newRequestLog(c.MaxRequests), metrics: newServerMetrics(c.Registerer)}
	s.faults = newEngine(c.Seed, func(mode string) { s.metrics.faults.WithLabelValues(mode).Inc() })
	b, err := newBook(c, s.faults.setHold, func(kind string) { s.metrics.bookings.WithLabelValues(kind).Inc() })
	if err != nil {
		return nil, err
	}
	s.book = b
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.hooks = newSender(c, func(result string) { s.metrics.webhooks.WithLabelValues(result).Inc() })
	s.paypal = newPayPalTokens(s.config.PayPal)
	s.mux = s.routes()
	s.work.Go(s.expireLoop)
	return s, nil
}

func withDefaults(c Config) Config {
	if c.HoldLife <= 0 {
		c.HoldLife = 7 * 24 * time.Hour
	}
	if c.KeyLife <= 0 {
		c.KeyLife = 24 * time.Hour
	}
	if c.MaxAmount <= 0 {
		c.MaxAmount = 99_999_999
	}
	if c.MaxRequests <= 0 {
		c.MaxRequests = 100_000
	}
	if c.MaxHang <= 0 {
		c.MaxHang = 2 * time.Minute
	}
	if c.WebhookRetry <= 0 {
		c.WebhookRetry = time.Second
	}
	if c.WebhookTries <= 0 {
		c.WebhookTries = 8
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.PayPal = c.PayPal.withDefaults()
	c.Klarna = c.Klarna.withDefaults()
	c.External = c.External.withDefaults()
	c.CheckoutCom = c.CheckoutCom.withDefaults()
	c.Braintree = c.Braintree.withDefaults()
	c.Adyen = c.Adyen.withDefaults()
	return c
}

func newServerMetrics(reg prometheus.Registerer) serverMetrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		if reg != nil {
			reg.MustRegister(v)
		}
		return v
	}
	return serverMetrics{
		bookings: counter("capstan_sandbox_entries_total", "Entries of the sandbox's book; violation must stay 0.", "kind"),
		faults:   counter("capstan_sandbox_faults_total", "Faults that met a call.", "mode"),
		webhooks: counter("capstan_sandbox_webhooks_total", "Deliveries of webhooks, by result.", "result"),
	}
}

// Handler serves the wire and the admin calls.
func (s *Server) Handler() http.Handler { return s.mux }

// Book is what GET /_sandbox/book answers, for programs that run the sandbox
// themselves. Everything in it is durable.
func (s *Server) Book() Snapshot { return s.bookOf("") }

// BookOf is the part of the book that belongs to one hold.
func (s *Server) BookOf(hold string) Snapshot { return s.bookOf(hold) }

func (s *Server) bookOf(hold string) Snapshot {
	snap, last := s.book.snapshot(hold)
	if err := last.wait(); err != nil {
		s.config.Log.Error("the book shows what is not on disk", "error", err)
	}
	snap.Requests = s.calls.list(hold)
	return snap
}

// Late returns how many bookings a book_after fault has put off for the hold
// and not yet made.
func (s *Server) Late(hold string) int {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if h := s.book.holds[hold]; h != nil {
		return h.late
	}
	return 0
}

// SetWebhooks replaces the endpoints for events to come.
func (s *Server) SetWebhooks(endpoints []Endpoint) { s.hooks.setEndpoints(endpoints) }

// Flush sends every waiting event now and returns when none waits or ctx ends.
func (s *Server) Flush(ctx context.Context) error { return s.hooks.flush(ctx) }

// Close ends hanging calls and put-off bookings, gives waiting webhooks a
// moment, and closes the book. Stop the HTTP server first.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		s.cancel()
		s.work.Wait()
		s.hooks.close()
		err = s.book.journal.close()
	})
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}

// expireLoop ends holds whose life is over, so that their events go out even
// when nobody asks.
func (s *Server) expireLoop() {
	tick := time.NewTicker(max(10*time.Millisecond, min(time.Second, s.config.HoldLife/4)))
	defer tick.Stop()
	for {
		select {
		case <-s.stop.Done():
			return
		case <-tick.C:
			for _, i := range s.book.expireDue() {
				s.hooks.send(s.expiredEvents(i), s.faults.pickHooks(i.id))
			}
		}
	}
}

// newID makes an id as Stripe's look: a prefix and 24 characters.
func newID(prefix string) string {
	var b [15]byte
	_, _ = rand.Read(b[:])
	return prefix + "_" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
