package webhooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// Source is one payment gateway account that sends webhooks, to /webhooks/{Slug}.
type Source struct {
	Slug string
	Mode models.Mode
	// Parse verifies a message on its raw body and translates it: an adapter's
	// parser with the account's secrets. Its error wraps gateway.ErrSignature or
	// gateway.ErrUnreadable, and then there are no notices; a genuine message has
	// at least one. Nil while the account has no secret: nothing can be verified
	// then, so nothing is accepted.
	Parse func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error)
	// Reply is what the sender wants to read once its message is stored. Empty: a
	// small JSON object, for people.
	Reply Reply
	// TellsOnce: the account cannot be asked, so what proves something and comes
	// before it can be recorded is kept until then.
	TellsOnce bool
	// Challenge answers the query with which a sender tests, by a GET, whether the
	// address is ours, as plain text; false is a 404. Nil where senders do not.
	Challenge func(query url.Values) (string, bool)
}

// Reply is the answer to a message that was stored; its status is 200.
type Reply struct {
	ContentType string
	Body        []byte
}

// One makes a [Source].Parse of what reads a message as one notice.
func One(n gateway.Notice, err error) ([]gateway.Notice, error) {
	if err != nil {
		return nil, err
	}
	return []gateway.Notice{n}, nil
}

// CommerceLayer is how orders come in from Commerce Layer.
type CommerceLayer struct {
	// Secrets are the webhooks' shared secrets; several while one replaces
	// another, or one for each topic. None: nothing is accepted.
	Secrets []gateway.Secret
	// Mode is the mode of the orders that come this way.
	Mode models.Mode
}

// Config is what the webhooks need.
type Config struct {
	Store         *store.Store
	Enqueuer      *enqueuer.Enqueuer
	Sources       []Source
	CommerceLayer CommerceLayer
	// Settle is worker.Runner.Settle: it asks the gateway about an order's open
	// outcomes before the order is cancelled. Nil leaves them to their schedule.
	Settle func(ctx context.Context, mode models.Mode, orderID, actor string) error
	// CompareTold is worker.Runner.CompareTold, for what Commerce Layer says of an
	// order's money. Required with its secrets.
	CompareTold func(context.Context, worker.Told) (worker.Heard, error)
	Now         func() time.Time
	Log         *slog.Logger
	Registerer  prometheus.Registerer
}

// Webhooks receives and applies. It is safe for concurrent use.
type Webhooks struct {
	store    *store.Store
	enqueuer *enqueuer.Enqueuer
	sources  map[string]Source
	cl       CommerceLayer
	askFirst func(ctx context.Context, mode models.Mode, orderID, actor string) error
	listen   func(context.Context, worker.Told) (worker.Heard, error)
	tempo    models.Tempo
	now      func() time.Time
	log      *slog.Logger
	metrics  metrics
	wake     chan struct{}
}

// commerceLayer is the name of that sender: in the path, in the inbox and in
// the history. No gateway account may have it.
const commerceLayer = "commercelayer"

// New returns the webhooks of the configured senders.
func New(c Config) (*Webhooks, error) {
	m, err := newMetrics(c.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of webhooks: %w", err)
	}
	w := &Webhooks{
		store: c.Store, enqueuer: c.Enqueuer, sources: map[string]Source{}, cl: c.CommerceLayer, askFirst: c.Settle, listen: c.CompareTold, tempo: c.Store.Tempo(),
		now: c.Now, log: c.Log, metrics: m, wake: make(chan struct{}, 1),
	}
	if len(c.CommerceLayer.Secrets) > 0 && c.CompareTold == nil {
		return nil, errors.New("webhooks of Commerce Layer need CompareTold")
	}
	for _, s := range c.Sources {
		if _, twice := w.sources[s.Slug]; twice || s.Slug == commerceLayer || s.Slug == "" {
			return nil, fmt.Errorf("webhook source %q: its slug must be given once and not be %s", s.Slug, commerceLayer)
		}
		w.sources[s.Slug] = s
	}
	return w, nil
}

// Dialect is the table of routes. They take no token: a message proves itself
// by its signature.
func (w *Webhooks) Dialect() api.Dialect {
	d := api.Dialect{Name: "webhooks", Routes: []api.Route{
		{Method: http.MethodPost, Pattern: "/webhooks/" + commerceLayer, Handle: w.receiveOrder},
	}}
	for _, slug := range slices.Sorted(maps.Keys(w.sources)) {
		if s := w.sources[slug]; s.Challenge != nil {
			d.Routes = append(d.Routes, api.Route{Method: http.MethodGet, Pattern: "/webhooks/" + slug, Handle: challenged(s)})
		}
		d.Routes = append(d.Routes, api.Route{Method: http.MethodPost, Pattern: "/webhooks/" + slug, Handle: w.receiveNotice(w.sources[slug])})
	}
	return d
}

// metrics have closed sets of labels: sources are configured, words are constants.
type metrics struct {
	received *prometheus.CounterVec
	applied  *prometheus.CounterVec
}

// The words of the label result.
const (
	resultStored     = "stored"
	resultDuplicate  = "duplicate"
	resultUnverified = "unverified"
	resultUnfit      = "unfit" // too large, not whole, or without a topic
)

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_webhooks_received_total", Help: "Webhooks that arrived, by sender and what was done with them at the door.",
		}, []string{"source", "result"}),
		applied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_webhooks_applied_total", Help: "Webhooks worked from the inbox, by sender and outcome.",
		}, []string{"source", "outcome"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.received), reg.Register(m.applied))
}

// every is how often the inbox is looked at when nobody says that something came.
const every = 500 * time.Millisecond

// Run works the inbox until ctx ends.
func (w *Webhooks) Run(ctx context.Context) {
	ticker := time.NewTicker(w.tempo.Of(every))
	defer ticker.Stop()
	for {
		if _, err := w.RunOnce(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "the inbox could not be worked; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-w.wake:
		}
	}
}

// A batch is worked well within the minute for which the inbox keeps others away.
const (
	batch       = 20
	parallelism = 4
)

// RunOnce works everything that is due now, and returns how much that was.
func (w *Webhooks) RunOnce(ctx context.Context) (int, error) {
	total := 0
	for {
		events, err := w.store.NextInbox(ctx, batch)
		if err != nil || len(events) == 0 {
			return total, err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelism)
		for _, e := range events {
			g.Go(func() error { return w.settle(gctx, e) })
		}
		if err := g.Wait(); err != nil {
			return total, err
		}
		total += len(events)
	}
}

// nudge has the inbox looked at now.
func (w *Webhooks) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // somebody said so already
	}
}
