package api_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/worker"
)

// meter stands in front of Postgres and counts round trips: how often a client
// spoke after the server had answered. It reads nothing of what is said, so that
// whatever driver and pool add is counted, too.
type meter struct {
	trips atomic.Int64
	url   string
}

func newMeter(t *testing.T, databaseURL string) *meter {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	upstream := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listener.Addr().String()
	m := &meter{url: u.String()}
	var open sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		open.Wait() // cleanups run last to first: whoever connected has hung up
	})
	open.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { m.between(client, upstream) })
		}
	})
	return m
}

func (m *meter) between(client net.Conn, upstream string) {
	defer client.Close()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		return
	}
	defer server.Close()
	var asked atomic.Bool // the client spoke last
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(writer(func(p []byte) (int, error) {
			if !asked.Swap(true) {
				m.trips.Add(1)
			}
			return server.Write(p)
		}), client)
		_ = server.(*net.TCPConn).CloseWrite()
	})
	both.Go(func() {
		_, _ = io.Copy(writer(func(p []byte) (int, error) {
			asked.Store(false)
			return client.Write(p)
		}), server)
		_ = client.Close()
	})
	both.Wait()
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestRoundTrips: from the request that approves an order to the row that says
// it was captured, over HTTP, the queue and a worker, with nothing else to do:
// four round trips to Postgres. Connections were idle for longer than the driver
// trusts them by itself.
func TestRoundTrips(t *testing.T) {
	w := newWorld(t)
	m := newMeter(t, w.databaseURL)
	apiStore, workerStore := openStore(t, m.url), openStore(t, m.url)
	w.enqueuer = enqueuer.New(enqueuer.Config{Store: apiStore, Redis: w.redis, CancelAfter: time.Hour, Log: w.log})
	direct := w.url // for all that is not measured
	server, _ := w.serve(t, apiStore, w.enqueuer, prometheus.NewRegistry())
	metered := listen(t, server)
	adapter := stripe.New(stripe.Config{Account: "stripe", SecretKey: "sk_test_key", BaseURL: w.sandboxURL, Timeout: tempo.Budget()})
	t.Cleanup(adapter.Close)
	workers := worker.NewServer(worker.Config{
		Runner: worker.NewRunner(worker.RunnerConfig{Store: workerStore, Accounts: gateway.Accounts{"stripe": adapter}, Name: "worker", Log: w.log}),
		Redis:  w.redis, Connect: func() redis.UniversalClient { return openRedis(t, w.redisURL) }, Concurrency: 4,
		SweepEvery: time.Hour, CancelAfter: time.Hour, PollEvery: 30 * time.Millisecond,
		Deliverer: worker.NewDeliverer(w.store, nil, time.Now), Metrics: worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: w.log,
	})
	if err := workers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(workers.Shutdown)
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	holds := func(query string, args ...any) func() bool {
		return func() (yes bool) {
			if err := conn.QueryRow(t.Context(), query, args...).Scan(&yes); err != nil {
				t.Fatal(err)
			}
			return yes
		}
	}
	until(t, "the first sweep", holds(`SELECT EXISTS (SELECT 1 FROM reconciliations WHERE finished_at IS NOT NULL)`))
	method := w.method(t, "")
	var trips []int64
	for i := range 5 {
		w.url = direct
		p := w.place(t, method, 1500, 1500, "")
		measured := i >= 2 // the first ones open connections and prepare statements
		until(t, "a quiet second", holds(`SELECT NOT $1 OR bool_and(state_change < now() - interval '1.1 s') FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'capstan'`, measured))
		m.trips.Store(0)
		w.url = metered
		w.patch(t, "orders", p.order, `{"_approve":true}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "approved", "data.attributes.payment_status": "authorized"})
		until(t, "the capture", holds(`SELECT payment_status = 'paid' FROM orders WHERE id = $1`, p.order))
		if measured {
			trips = append(trips, m.trips.Load())
		}
	}
	slices.Sort(trips)
	// What a worker does by the clock, whatever there is to do, may come on top of one.
	if usual := trips[len(trips)/2]; usual > 4 {
		t.Errorf("%v round trips to Postgres for approval, claim and record, want 4", trips)
	}
	t.Logf("round trips to Postgres for approval, claim and record: %v", trips)
}
