package api_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }

// patience is how long any condition may take on a busy machine.
const patience = 60 * time.Second

var tempo = models.Tempo{Scale: 20}

// The tokens of every test, by name.
const (
	reader   = "reader"
	operator = "operator"
	admin    = "admin"
	livery   = "livery" // admin of the other mode
)

func secretOf(name string) string { return "secret-of-" + name }

// The secrets of the senders of webhooks.
const (
	stripeSecret    = "whsec_new"
	oldStripeSecret = "whsec_old"
	clSecret        = "shared-secret-new"
	oldCLSecret     = "shared-secret-old"
)

// world is one installation: a ledger, a queue, a gateway with a book of its
// own, and an API over HTTP. Workers are started by the tests that need them.
type world struct {
	databaseURL string
	redisURL    string
	store       *store.Store
	redis       redis.UniversalClient
	enqueuer    *enqueuer.Enqueuer
	runner      *worker.Runner
	hooks       *webhooks.Webhooks
	api         *api.Server
	url         string
	sandbox     *sandbox.Server
	sandboxURL  string
	metrics     *prometheus.Registry
	log         *slog.Logger
}

func migrate(ctx context.Context, databaseURL string) error {
	s, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Migrate(ctx)
	return err
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{databaseURL: devstacktest.NewDatabase(t, migrate), redisURL: devstacktest.NewRedis(t)}
	w.log = slog.New(slog.NewTextHandler(t.Output(), nil))
	w.store, w.redis = openStore(t, w.databaseURL), openRedis(t, w.redisURL)
	for slug, mode := range map[string]models.Mode{"stripe": models.Test, "stripe-live": models.Live, "other": models.Test} {
		if _, err := w.store.EnsureGateway(t.Context(), slug, stripe.Provider, mode); err != nil {
			t.Fatal(err)
		}
	}
	book, err := sandbox.New(sandbox.Config{Log: w.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	gatewayServer := httptest.NewServer(book.Handler())
	t.Cleanup(gatewayServer.Close)
	w.sandbox, w.sandboxURL = book, gatewayServer.URL
	adapter := stripe.New(stripe.Config{Account: "stripe", SecretKey: "sk_test_key", BaseURL: w.sandboxURL, Timeout: tempo.Budget(), SettleAfter: tempo.Of(10 * time.Second)})
	t.Cleanup(adapter.Close)
	w.runner = worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{"stripe": adapter, "manual": manual.New()}, Name: "worker", Log: w.log})
	w.enqueuer = enqueuer.New(enqueuer.Config{Store: w.store, Redis: w.redis, CancelAfter: time.Hour, Log: w.log})
	w.metrics = prometheus.NewRegistry()
	w.api, w.hooks = w.serve(t, w.store, w.enqueuer, w.metrics)
	w.url = listen(t, w.api)
	return w
}

func openStore(t testing.TB, databaseURL string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), databaseURL, store.Options{Tempo: tempo})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openRedis(t testing.TB, redisURL string) redis.UniversalClient {
	t.Helper()
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve makes an API over a store: what one process would have.
func (w *world) serve(t testing.TB, s *store.Store, e *enqueuer.Enqueuer, reg prometheus.Registerer) (*api.Server, *webhooks.Webhooks) {
	t.Helper()
	parse := func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
		return webhooks.One(stripe.ParseWebhook(body, header, []gateway.Secret{stripeSecret, oldStripeSecret}, now, 0))
	}
	hooks, err := webhooks.New(webhooks.Config{
		Store: s, Enqueuer: e, Settle: w.runner.Settle, CompareTold: w.runner.CompareTold, Now: time.Now, Log: w.log, Registerer: reg,
		Sources:       []webhooks.Source{{Slug: "stripe", Mode: models.Test, Parse: parse}, {Slug: "other", Mode: models.Test, Parse: parse}, {Slug: "stripe-live", Mode: models.Live}},
		CommerceLayer: webhooks.CommerceLayer{Secrets: []gateway.Secret{clSecret, oldCLSecret}, Mode: models.Test},
	})
	if err != nil {
		t.Fatal(err)
	}
	dialect := commercelayer.New(commercelayer.Config{
		Store: s, Enqueuer: e, Forward: w.runner.Forward, Inspect: w.runner.Inspect, AdoptRefund: w.runner.AdoptRefund, Person: w.runner, Settle: w.runner.Settle, Now: time.Now,
		Accounts: []commercelayer.Account{{SourceType: "stripe_payments", Slug: "stripe"}, {SourceType: "stripe_payments", Slug: "stripe-live"}, {SourceType: "wire_transfers", Slug: "manual", MultiCapture: true}},
	})
	server, err := api.New(api.Config{
		Tokens: []api.Token{
			{Name: reader, Secret: gateway.Secret(secretOf(reader)), Scope: api.ScopeRead, Mode: models.Test},
			{Name: operator, Secret: gateway.Secret(secretOf(operator)), Scope: api.ScopeOperate, Mode: models.Test},
			{Name: admin, Secret: gateway.Secret(secretOf(admin)), Scope: api.ScopeAdmin, Mode: models.Test},
			{Name: livery, Secret: gateway.Secret(secretOf(livery)), Scope: api.ScopeAdmin, Mode: models.Live},
		},
		Checks: []api.Check{
			{Name: "postgres", Check: s.Ping},
			{Name: "redis", Check: func(ctx context.Context) error { return w.redis.Ping(ctx).Err() }},
		},
		Store: s, Log: w.log, Registerer: reg, Now: time.Now,
	}, dialect.Dialect(), hooks.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	return server, hooks
}

// listen serves a handler as the program does, with all its limits.
func listen(t testing.TB, h http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config = api.HTTPServer("", h, slog.New(slog.DiscardHandler))
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// work starts a worker and a relay. They end with the test.
func (w *world) work(t testing.TB) {
	t.Helper()
	server := worker.NewServer(worker.Config{
		Runner: w.runner, Redis: w.redis, Connect: func() redis.UniversalClient { return openRedis(t, w.redisURL) }, Concurrency: 8, SweepEvery: 300 * time.Millisecond, CancelAfter: time.Hour, PollEvery: 30 * time.Millisecond,
		Deliverer: worker.NewDeliverer(w.store, nil, time.Now), Metrics: worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: w.log,
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	relaying := make(chan struct{})
	go func() {
		defer close(relaying)
		enqueuer.NewRelay(w.enqueuer, 50*time.Millisecond).Run(ctx)
	}()
	t.Cleanup(func() {
		server.Shutdown()
		cancel()
		<-relaying
	})
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// at walks the answer: "data.attributes.status", "errors.0.code". Numbers stay
// as they were written.
func (r reply) at(t testing.TB, path string) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("status %d, no JSON: %v: %s", r.status, err, r.body)
	}
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i := 0
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	if n, ok := v.(json.Number); ok {
		return string(n)
	}
	return v
}

func (r reply) id(t testing.TB) string {
	t.Helper()
	id, _ := r.at(t, "data.id").(string)
	if id == "" {
		t.Fatalf("status %d without an id: %s", r.status, r.body)
	}
	return id
}

// want fails unless the answer has the status and, by path, the values.
func (r reply) want(t testing.TB, status int, values map[string]any) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	for path, want := range values {
		if got := r.at(t, path); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s = %v, want %v: %s", path, got, want, r.body)
		}
	}
	return r
}

// send makes one request as a token; an empty token sends none.
func (w *world) send(t testing.TB, token, method, path, body string, headers ...string) reply {
	t.Helper()
	return send(t, w.url, token, method, path, body, headers...)
}

func send(t testing.TB, base, token, method, path, body string, headers ...string) reply {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", api.MediaType)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+secretOf(token))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Del(headers[i])
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, raw}
}

func (w *world) get(t testing.TB, path string) reply {
	t.Helper()
	return w.send(t, reader, http.MethodGet, path, "")
}

// post and patch write the document around the attributes.
func (w *world) post(t testing.TB, typ, attributes, relationships string) reply {
	t.Helper()
	return w.send(t, admin, http.MethodPost, "/api/"+typ, fmt.Sprintf(`{"data":{"type":%q,"attributes":%s,"relationships":%s}}`, typ, attributes, relationships))
}

func (w *world) patch(t testing.TB, typ, id, attributes string) reply {
	t.Helper()
	return w.send(t, admin, http.MethodPatch, "/api/"+typ+"/"+id, patchBody(typ, id, attributes))
}

func patchBody(typ, id, attributes string) string {
	return fmt.Sprintf(`{"data":{"type":%q,"id":%q,"attributes":%s}}`, typ, id, attributes)
}

func to(name, typ, id string) string {
	return fmt.Sprintf(`{%q:{"data":{"type":%q,"id":%q}}}`, name, typ, id)
}

// paymentIntent makes a hold at the gateway.
func (w *world) paymentIntent(t testing.TB, cents int64, fault string) string {
	t.Helper()
	form := url.Values{"amount": {fmt.Sprint(cents)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}}
	if fault != "" {
		form.Set("metadata[fault]", fault)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.sandboxURL+"/v1/payment_intents", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer sk_test_key")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var pi struct{ ID, Status string }
	if err := json.NewDecoder(answer.Body).Decode(&pi); err != nil || pi.Status != "requires_capture" {
		t.Fatalf("make a hold: %v, %+v", err, pi)
	}
	return pi.ID
}

// method makes a payment method; attributes are added to the usual ones.
func (w *world) method(t testing.TB, more string) string {
	t.Helper()
	attributes := `{"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR","auto_capture":true` + more + `}`
	return w.post(t, "payment_methods", attributes, `{}`).want(t, http.StatusCreated, nil).id(t)
}

// purchase is one order with its hold.
type purchase struct {
	method, order, authorization, hold string
}

// place makes an order with its hold, over the API.
func (w *world) place(t testing.TB, method string, orderCents, holdCents int64, fault string) purchase {
	t.Helper()
	p := purchase{method: method, hold: w.paymentIntent(t, holdCents, fault)}
	p.order = w.post(t, "orders", fmt.Sprintf(`{"currency_code":"EUR","total_amount_cents":%d}`, orderCents), to("payment_method", "payment_methods", method)).
		want(t, http.StatusCreated, nil).id(t)
	p.authorization = w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":%d,"gateway_transaction_id":%q}`, holdCents, p.hold), to("order", "orders", p.order)).
		want(t, http.StatusCreated, nil).id(t)
	return p
}

// approve approves and returns the only capture.
func (w *world) approve(t testing.TB, p purchase) string {
	t.Helper()
	w.patch(t, "orders", p.order, `{"_approve":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "approved"})
	captures := w.get(t, "/api/orders/"+p.order+"/captures").want(t, http.StatusOK, map[string]any{"meta.record_count": 1})
	id, _ := captures.at(t, "data.0.id").(string)
	return id
}

// run works one operation at the gateway, without the queue.
func (w *world) run(t testing.TB, kind models.Kind, id string) {
	t.Helper()
	_ = w.runner.Run(t.Context(), kind, id) // what became of it is read from the ledger
}

// captured is a purchase of 1,500 whose capture succeeded.
func (w *world) captured(t testing.TB, method string) (purchase, string) {
	t.Helper()
	p := w.place(t, method, 1500, 1500, "")
	id := w.approve(t, p)
	w.run(t, models.Capture, id)
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{"data.attributes.succeeded": true})
	return p, id
}

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", patience, what)
		}
		<-tick.C
	}
}

// rows counts the rows of every table, to prove that nothing was written. The
// inbox counts too.
func (w *world) rows(t testing.TB) map[string]int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	counts := map[string]int{}
	for _, table := range []string{
		"payment_gateways", "payment_methods", "orders", "authorizations", "operations", "work", "order_checks", "events", "attempts",
		"attempt_results", "reconciliations", "verdicts", "resolutions", "inbox", "deliveries",
	} {
		var n, sum int
		// The sum of the rows' transaction ids changes with every update as well.
		if err := conn.QueryRow(t.Context(), "SELECT count(*), COALESCE(sum(xmin::text::bigint), 0) FROM "+table).Scan(&n, &sum); err != nil {
			t.Fatal(err)
		}
		counts[table], counts[table+" writes"] = n, sum
	}
	return counts
}

// inbox is what became of a webhook.
func (w *world) inbox(t testing.TB, source, eventID string) (outcome, reason string) {
	t.Helper()
	outcome, reason, err := w.store.InboxOutcome(t.Context(), source, eventID)
	if err != nil {
		t.Fatal(err)
	}
	return outcome, reason
}

// process works the inbox until nothing is due.
func (w *world) process(t testing.TB) {
	t.Helper()
	if _, err := w.hooks.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func signCL(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
