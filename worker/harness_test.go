package worker_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

const (
	account = "stripe"
	total   = int64(1500)
	// returned is what refunds by hand ask for: little enough that a gateway
	// would give it back a second and a third time.
	returned = int64(500)
	scale    = 20 // a lease of 60 s is 3 s
	// patience is how long any condition may take on a busy machine.
	patience = 90 * time.Second
)

var tempo = models.Tempo{Scale: scale}

var onApproval = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}

// world is one installation: a ledger, a queue, a gateway with a book of its
// own and the network in front of it. Workers are started by the tests.
type world struct {
	stack       *devstack.Stack // nil where the servers are shared
	databaseURL string
	redisURL    string
	store       *store.Store
	db          *sql.DB // a rival of the store's, for what it does not tell
	redis       redis.UniversalClient
	inspector   *asynq.Inspector
	sandbox     *sandbox.Server
	front       *front
	enqueuer    *enqueuer.Enqueuer
	gateway     models.PaymentGateway
	method      models.PaymentMethod
	cancelAfter time.Duration
	log         *slog.Logger
}

// setup is where a world's servers are; the zero value is a fresh database on
// the shared Postgres and a Redis of its own.
type setup struct {
	stack *devstack.Stack
	// databaseURL and redisURL name servers that are there already.
	databaseURL, redisURL string

	tempo *models.Tempo // nil: the one of all tests
	// cancelAfter is how long a changed total must stand; 0 is a moment.
	cancelAfter time.Duration
	policy      *models.Policy
	sandbox     sandbox.Config
	webhooks    map[string]string // endpoint to URL
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{stack: s.stack, databaseURL: s.databaseURL, redisURL: s.redisURL, log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))}
	switch {
	case s.stack != nil:
		w.databaseURL, w.redisURL = s.stack.DatabaseURL, s.stack.RedisURL
		if err := migrate(t.Context(), w.databaseURL); err != nil {
			t.Fatal(err)
		}
	case s.databaseURL == "":
		w.databaseURL = devstacktest.NewDatabase(t, migrate)
	}
	if w.redisURL == "" {
		w.redisURL = devstacktest.NewRedis(t)
	}
	at := tempo
	if s.tempo != nil {
		at = *s.tempo
	}
	var err error
	if w.db, err = sql.Open("pgx", w.databaseURL); err != nil {
		t.Fatal(err)
	}
	w.db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = w.db.Close() })
	if s.stack == nil { // nothing here crashes the shared Postgres: commits need not wait for its disk
		w.exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	}
	w.store = openStore(t, w.databaseURL, at)
	w.redis = openRedis(t, w.redisURL)
	w.inspector = asynq.NewInspectorFromRedisClient(w.redis)
	book, err := sandbox.New(s.sandbox)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	w.sandbox, w.front = book, newFront(t, book.Handler())
	if w.gateway, err = w.store.EnsureGateway(t.Context(), account, stripe.Provider, models.Test); err != nil {
		t.Fatal(err)
	}
	for name, target := range s.webhooks {
		if err := w.store.EnsureWebhook(t.Context(), name, target); err != nil {
			t.Fatal(err)
		}
	}
	policy := onApproval
	if s.policy != nil {
		policy = *s.policy
	}
	w.method, err = w.store.CreatePaymentMethod(t.Context(), models.PaymentMethod{
		Mode: models.Test, PaymentGatewayID: w.gateway.ID, Name: "card", PaymentSourceType: "stripe_payments", CurrencyCode: "EUR", Policy: policy,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.cancelAfter = s.cancelAfter
	if w.cancelAfter == 0 {
		w.cancelAfter = 200 * time.Millisecond
	}
	w.enqueuer = enqueuer.New(enqueuer.Config{Store: w.store, Redis: w.redis, CancelAfter: w.cancelAfter, Log: w.log})
	return w
}

func openStore(t testing.TB, url string, at models.Tempo) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Tempo: at, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openRedis(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// another opens further clients of the Redis that r is connected to.
func another(r redis.UniversalClient) func() redis.UniversalClient {
	return func() redis.UniversalClient {
		options := *r.(*redis.Client).Options()
		return redis.NewClient(&options)
	}
}

func newAdapter(base string, at models.Tempo, log *slog.Logger) *stripe.Adapter {
	return stripe.New(stripe.Config{Account: account, SecretKey: "sk_test_key", BaseURL: base, Timeout: at.Budget(), Log: log})
}

// staff is how a worker is set up; the zero value is an ordinary one.
type staff struct {
	name      string
	store     *store.Store // nil: the world's
	at        func(worker.Step)
	wrap      func(worker.Ledger) worker.Ledger
	perSecond float64
	tasks     int
	servers   int // Asynq servers; 0 is two
	secrets   map[string]gateway.Secret
	noRelay   bool
	sweep     time.Duration
	listing   *store.ListingSpan
	lists     time.Duration // between comparisons with the gateway's list; 0 is never
}

func (w *world) runner(t testing.TB, s staff) *worker.Runner {
	t.Helper()
	if s.name == "" {
		s.name = "worker"
	}
	if s.store == nil {
		s.store = w.store
	}
	adapter := newAdapter(w.front.url(), s.store.Tempo(), w.log)
	t.Cleanup(adapter.Close)
	r := worker.NewRunner(worker.RunnerConfig{
		Store: s.store, Accounts: gateway.Accounts{account: adapter}, Name: s.name, Log: w.log, RatePerSecond: s.perSecond, AtStep: s.at, Listing: s.listing,
	})
	if s.wrap != nil {
		r.Wrap(s.wrap)
	}
	return r
}

// server makes a worker that is not started.
func (w *world) server(t testing.TB, s staff, r redis.UniversalClient) *worker.Server {
	t.Helper()
	runner := w.runner(t, s)
	if s.tasks == 0 {
		s.tasks = 8
	}
	if s.servers == 0 {
		s.servers = 2
	}
	if s.sweep == 0 {
		s.sweep = sweepEvery
	}
	return worker.NewServer(worker.Config{
		Runner: runner, Redis: r, Connect: another(r), Concurrency: s.tasks, Servers: s.servers, SweepEvery: s.sweep, ListingEvery: s.lists, CancelAfter: w.cancelAfter, PollEvery: pollEvery,
		Deliverer: worker.NewDeliverer(w.store, s.secrets, time.Now).Anywhere(),
		Metrics:   worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: w.log,
	})
}

const (
	sweepEvery = 800 * time.Millisecond
	pollEvery  = 100 * time.Millisecond
	relayEvery = 250 * time.Millisecond
)

// start starts a worker and a relay beside it. They end with the test, or when
// stop is called.
func (w *world) start(t testing.TB, s staff) (stop func()) {
	t.Helper()
	server := w.server(t, s, w.redis)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	relaying := make(chan struct{})
	go func() {
		defer close(relaying)
		if !s.noRelay {
			enqueuer.NewRelay(w.enqueuer, relayEvery).Run(ctx)
		}
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		server.Shutdown()
		cancel()
		<-relaying
	}
	t.Cleanup(stop)
	return stop
}

// book is what the gateway says it booked for a hold; "" for all.
func (w *world) book(t testing.TB, hold string) sandbox.Snapshot {
	t.Helper()
	var s sandbox.Snapshot
	w.call(t, http.MethodGet, "/_sandbox/book?hold="+hold, nil, &s)
	return s
}

// setFault puts a fault on everything that happens at the gateway from now on.
func (w *world) setFault(t testing.TB, fault, call string, times int) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"fault": fault, "call": call, "times": times})
	if err != nil {
		t.Fatal(err)
	}
	w.call(t, http.MethodPut, "/_sandbox/fault", strings.NewReader(string(body)), nil)
}

func (w *world) clearFault(t testing.TB) {
	t.Helper()
	w.call(t, http.MethodDelete, "/_sandbox/fault", nil, nil)
}

// call asks the sandbox over HTTP. It retries nothing.
func (w *world) call(t testing.TB, method, path string, body io.Reader, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.front.url()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk_test_key")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("ask the sandbox: %v", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: status %d %s %v", method, path, res.StatusCode, raw, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// open names the live operations, "" when there are none. It is asked again and
// again by every test at once, so it is as cheap as can be; the error is that of
// a database that is away.
func (w *world) open(t testing.TB) (ids string, err error) {
	t.Helper()
	err = w.db.QueryRowContext(t.Context(), `SELECT COALESCE(string_agg(kind || ' ' || operation_id, ', '), '') FROM work`).Scan(&ids)
	return ids, err
}

// eventually polls a condition until it holds, soon at first and then less and
// less often: a dozen tests do so at once. What it last saw is told when it never
// does.
func eventually(t testing.TB, what string, holds func() (bool, any)) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	const soonest, latest = 20 * time.Millisecond, 120 * time.Millisecond
	pause := time.NewTimer(soonest)
	defer pause.Stop()
	for wait := soonest; ; wait = min(latest, wait*5/4) {
		ok, saw := holds()
		if ok {
			return
		}
		pause.Reset(wait)
		select {
		case <-deadline.C:
			t.Fatalf("waited %s in vain until %s; last seen: %+v", patience, what, saw)
		case <-pause.C:
		}
	}
}

// checkBook is check without the audit, for a ledger that is audited later.
func (w *world) checkBook(t testing.TB, p purchase, want truth) {
	t.Helper()
	eventually(t, "the gateway has booked what it put off", func() (bool, any) { return w.sandbox.Late(p.hold) == 0, nil })
	b := w.book(t, p.hold)
	for _, v := range b.Violations {
		t.Errorf("the gateway refused to be robbed: %+v", v)
	}
	if want.currency == "" {
		want.currency = "eur"
	}
	w.checkBooked(t, "captures", b.Captures, want.captured, want.currency)
	w.checkBooked(t, "refunds", b.Refunds, want.refunded, "eur")
	w.checkBooked(t, "releases", b.Cancels, want.voided, "eur")
	w.checkAttempts(t, p, b)
}
