package enqueuer_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

const total = int64(1500)

// shop is somebody's program with a database of its own, in which Capstan keeps
// its ledger, and the queue beside it.
type shop struct {
	servers
	db        *sql.DB // the shop's own connections
	store     *store.Store
	redis     redis.UniversalClient
	inspector *asynq.Inspector
	captures  *enqueuer.Enqueuer
	gateway   models.PaymentGateway
	method    models.PaymentMethod
}

func newShop(t *testing.T, p models.Policy) *shop {
	t.Helper()
	return newShopOn(t, p, devstacktest.NewRedis(t))
}

func newShopOn(t *testing.T, p models.Policy, redisURL string) *shop {
	t.Helper()
	s := &shop{servers: servers{Database: devstacktest.NewDatabase(t, migrate), Redis: redisURL}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.db, err = sql.Open("pgx", s.Database)
	must(err)
	t.Cleanup(func() { _ = s.db.Close() })
	s.store, err = store.Open(t.Context(), s.Database, store.Options{})
	must(err)
	t.Cleanup(func() { _ = s.store.Close() })
	options, err := redis.ParseURL(s.Redis)
	must(err)
	s.redis = redis.NewClient(options)
	t.Cleanup(func() { _ = s.redis.Close() })
	s.inspector = asynq.NewInspectorFromRedisClient(s.redis)
	s.captures = enqueuer.New(enqueuer.Config{
		Store: s.store, Redis: s.redis, CancelAfter: time.Hour, Log: s.log(t),
	})
	s.gateway, err = s.store.EnsureGateway(t.Context(), "stripe", "stripe", models.Test)
	must(err)
	s.method, err = s.store.CreatePaymentMethod(t.Context(), models.PaymentMethod{
		Mode: models.Test, PaymentGatewayID: s.gateway.ID, Name: "card", PaymentSourceType: "stripe_payments", CurrencyCode: "EUR", Policy: p,
	})
	must(err)
	s.exec(t, `CREATE TABLE parcels (order_id uuid PRIMARY KEY)`)
	return s
}

func (s *shop) log(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

var onApproval = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}

// held is an order with a hold that covers it, and the hold.
func (s *shop) held(t *testing.T) (orderID, authID string) {
	t.Helper()
	o, _, err := s.store.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: s.method.ID, CurrencyCode: "EUR", TotalAmountCents: total})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		made, hold, _, err := s.captures.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: o.ID, PaymentGatewayID: s.gateway.ID, GatewayTransactionID: "pi_" + o.ID, CurrencyCode: "EUR", AmountCents: total,
		}, "shop")
		authID = hold.ID
		return made, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o.ID, authID
}

func (s *shop) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := s.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func (s *shop) count(t *testing.T, query string, args ...any) int {
	t.Helper()
	var n int
	if err := s.db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// queued lists the tasks of a queue that wait, by name.
func (s *shop) queued(t *testing.T, queue string) []string {
	t.Helper()
	names, err := s.inspector.Queues()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(names) == "[]" {
		return nil
	}
	var out []string
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){s.inspector.ListPendingTasks, s.inspector.ListScheduledTasks} {
		tasks, err := list(queue, asynq.PageSize(10_000))
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range tasks {
			out = append(out, i.ID)
		}
	}
	return out
}

// eventually polls a condition until it holds.
func eventually(t *testing.T, what string, holds func() (bool, any)) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, saw := holds()
		if ok {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain until %s; last seen: %+v", what, saw)
		case <-tick.C:
		}
	}
}
