package worker_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
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

// purchase is one order with its hold, and the operation a test is about.
type purchase struct {
	orderID, authID string
	hold            string // the PaymentIntent
	op              models.Operation
}

// place makes a hold at the gateway, an order and registers the one with the other.
func (w *world) place(t testing.TB, fault string) purchase {
	t.Helper()
	return w.placeFor(t, fault, total, total)
}

func (w *world) placeFor(t testing.TB, fault string, orderCents, holdCents int64) purchase {
	t.Helper()
	return w.placeUntil(t, fault, orderCents, holdCents, nil)
}

// placeUntil is place with a hold that ends.
func (w *world) placeUntil(t testing.TB, fault string, orderCents, holdCents int64, end *time.Time) purchase {
	t.Helper()
	p := purchase{hold: w.authorize(t, fault, holdCents)}
	o, _, err := w.store.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: w.method.ID, CurrencyCode: "EUR", TotalAmountCents: orderCents})
	if err != nil {
		t.Fatal(err)
	}
	p.orderID = o.ID
	made, err := w.enqueuer.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		made, hold, _, err := w.enqueuer.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: o.ID, PaymentGatewayID: w.gateway.ID, GatewayTransactionID: p.hold, CurrencyCode: "EUR", AmountCents: holdCents,
			CaptureBefore: end,
		}, "shop")
		p.authID = hold.ID
		return made, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Operations) > 0 {
		p.op = made.Operations[0]
	}
	return p
}

// order is place, approved: its capture is published.
func (w *world) order(t testing.TB, fault string) purchase {
	t.Helper()
	p := w.place(t, fault)
	made := w.approve(t, p)
	if len(made) != 1 {
		t.Fatalf("approval made %d captures, want 1", len(made))
	}
	p.op = made[0]
	return p
}

func (w *world) approve(t testing.TB, p purchase) []models.Operation {
	t.Helper()
	return w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Approve(ctx, tx, models.Test, p.orderID, "shop")
	})
}

func (w *world) do(t testing.TB, fn func(context.Context, store.Tx) (enqueuer.Published, error)) []models.Operation {
	t.Helper()
	made, err := w.enqueuer.Do(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return made.Operations
}

// captured is a purchase whose capture succeeded, made without the queue.
func (w *world) captured(t testing.TB, fault string) purchase {
	t.Helper()
	p := w.order(t, fault)
	runner := w.runner(t, staff{name: "setup"})
	// Again where a busy machine was too slow for the tests' short deadlines.
	eventually(t, "the capture for the setup", func() (bool, any) {
		err := runner.Run(t.Context(), models.Capture, p.op.ID)
		return w.reread(t, p).State == models.Succeeded, err
	})
	return p
}

// refund asks for a part of a purchase's money back.
func (w *world) refund(t testing.TB, p purchase) purchase {
	t.Helper()
	made := w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Refund(ctx, tx, models.Test, p.op.ID, returned, "shop")
	})
	p.op = made[0]
	return p
}

// void asks for a purchase's hold to be released.
func (w *world) void(t testing.TB, p purchase) purchase {
	t.Helper()
	made := w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Void(ctx, tx, models.Test, p.authID, "shop")
	})
	p.op = made[0]
	return p
}

func (w *world) cancel(t testing.TB, p purchase) models.Order {
	t.Helper()
	var order models.Order
	w.do(t, func(ctx context.Context, tx store.Tx) (made enqueuer.Published, err error) {
		order, err = w.enqueuer.Cancel(ctx, tx, models.Test, p.orderID, "shop")
		return made, err
	})
	return order
}

func (w *world) changeTotal(t testing.TB, p purchase, cents int64) models.Order {
	t.Helper()
	var order models.Order
	w.do(t, func(ctx context.Context, tx store.Tx) (made enqueuer.Published, err error) {
		order, err = w.enqueuer.ChangeTotal(ctx, tx, models.Test, p.orderID, cents, "shop")
		return made, err
	})
	return order
}

// authorize makes the hold as a checkout would: over HTTP.
func (w *world) authorize(t testing.TB, fault string, cents int64) string {
	t.Helper()
	form := url.Values{"amount": {strconv.FormatInt(cents, 10)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}}
	if fault != "" {
		form.Set("metadata[fault]", fault)
	}
	var intent struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	w.call(t, http.MethodPost, "/v1/payment_intents", strings.NewReader(form.Encode()), &intent)
	if intent.Status != "requires_capture" {
		t.Fatalf("the hold is %+v, want requires_capture", intent)
	}
	return intent.ID
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

func (w *world) reread(t testing.TB, p purchase) models.Operation {
	t.Helper()
	return w.operation(t, p.op.Kind, p.op.ID)
}

func (w *world) operation(t testing.TB, kind models.Kind, id string) models.Operation {
	t.Helper()
	op, err := w.store.Operation(context.WithoutCancel(t.Context()), models.Test, kind, id)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func (w *world) orderNow(t testing.TB, p purchase) models.Order {
	t.Helper()
	o, err := w.store.Order(t.Context(), models.Test, p.orderID)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (w *world) operations(t testing.TB, kind models.Kind, p purchase) []models.Operation {
	t.Helper()
	ops, _, err := w.store.Operations(t.Context(), kind, store.Filter{Mode: models.Test, OrderID: p.orderID}, store.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// verdicts lists the verdicts about an operation, oldest first.
func (w *world) verdicts(t testing.TB, id string) []models.Verdict {
	t.Helper()
	rows, _, err := w.store.FindVerdicts(t.Context(), store.VerdictFilter{Mode: models.Test, OperationID: id}, store.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	var out []models.Verdict
	for _, row := range rows {
		out = append(out, row.Verdict)
	}
	return out
}

// settle waits until no operation is open, and nothing is on its way at the gateway.
func (w *world) settle(t testing.TB) {
	t.Helper()
	eventually(t, "no operation is open", func() (bool, any) {
		open, err := w.open(t)
		return err == nil && open == "", []any{open, err}
	})
}

// open names the live operations, "" when there are none. It is asked again and
// again by every test at once, so it is as cheap as can be; the error is that of
// a database that is away.
func (w *world) open(t testing.TB) (ids string, err error) {
	t.Helper()
	err = w.db.QueryRowContext(t.Context(), `SELECT COALESCE(string_agg(kind || ' ' || operation_id, ', '), '') FROM work`).Scan(&ids)
	return ids, err
}

// reaches waits until an operation is in a state, and returns it.
func (w *world) reaches(t testing.TB, p purchase, want ...models.State) models.Operation {
	t.Helper()
	var op models.Operation
	eventually(t, "the operation reaches its state", func() (bool, any) {
		op = w.reread(t, p)
		for _, s := range want {
			if op.State == s {
				return true, nil
			}
		}
		return false, op
	})
	return op
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

// truth is what the gateway's own book must say about a hold.
type truth struct {
	captured, refunded, voided int64 // 0: none of it was ever booked
	currency                   string
}

// check asks the gateway's own book about a purchase, whatever our ledger
// believes: each booked at most once, the right amounts, nothing refused at
// booking time, every request preceded by its attempt. Then it audits the ledger.
func (w *world) check(t testing.TB, p purchase, want truth) {
	t.Helper()
	w.checkBook(t, p, want)
	w.audit(t)
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

func (w *world) checkBooked(t testing.TB, what string, got []sandbox.Booking, cents int64, currency string) {
	t.Helper()
	switch {
	case cents == 0 && len(got) == 0:
	case cents == 0 || len(got) != 1:
		t.Errorf("%s booked: %+v, want %d cents once", what, got, cents)
	case got[0].Amount != cents || got[0].Currency != currency:
		t.Errorf("%s booked: %d %s, want %d %s", what, got[0].Amount, got[0].Currency, cents, currency)
	}
}

// checkAttempts: every call that the gateway saw has an attempt with that key,
// committed before it arrived.
func (w *world) checkAttempts(t testing.TB, p purchase, b sandbox.Snapshot) {
	t.Helper()
	claimed := map[string]time.Time{}
	rows, err := w.db.QueryContext(t.Context(), `SELECT a.idempotency_key, min(a.claimed_at) FROM attempts AS a
		JOIN operations AS o ON o.id = a.operation_id WHERE a.call = 'send' AND o.order_id = $1 GROUP BY 1`, p.orderID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var at time.Time
		if err := rows.Scan(&key, &at); err != nil {
			t.Fatal(err)
		}
		claimed[key] = at
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.Requests {
		if r.Key == "" || (r.Call != "capture" && r.Call != "refund" && r.Call != "cancel") {
			continue
		}
		at, ok := claimed[r.Key]
		if !ok || at.After(r.At) {
			t.Errorf("request %+v has no attempt before it (first %v)", r, at)
		}
	}
}

// audit checks every invariant that the ledger alone can show.
func (w *world) audit(t testing.TB) {
	t.Helper()
	found, err := w.store.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if i.BrokenCount != 0 {
			t.Errorf("invariant %s is broken (%s): %v", i.ID, i.Rule, i.Broken)
		}
	}
}

// claims counts an operation's claims by what they were for.
func (w *world) claims(t testing.TB, id string) (sends, looks int) {
	t.Helper()
	return w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'send'`, id),
		w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'look_up'`, id)
}

// refused unwraps the rule that said no.
func refused(err error) (*store.Refusal, bool) {
	var r *store.Refusal
	return r, errors.As(err, &r)
}

// count runs a query that answers one number.
func (w *world) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := w.db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// exec changes the ledger behind the program's back, to save hours.
func (w *world) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := w.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
