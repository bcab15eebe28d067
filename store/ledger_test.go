package store_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of the tests' own connections
	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// bench is a shop with a second door into its database, for looking behind the
// store and for making time pass.
type bench struct {
	shop
	url string
	db  *sql.DB
	// shared: other tests have rows here, too; this one's are those of its method.
	shared bool
}

func newBench(t *testing.T, p models.Policy) bench {
	t.Helper()
	return benchAt(t, p, migrated(t))
}

func benchAt(t *testing.T, p models.Policy, url string) bench {
	t.Helper()
	s := newShop(t, openAt(t, url, models.Tempo{}), p)
	return bench{s, url, openSQL(t, url), false}
}

// sharedBench is a shop in a database that tests share, for those that look at
// their own orders only: a database for each would cost more than the tests.
func sharedBench(t *testing.T, p models.Policy) bench {
	t.Helper()
	url := devstacktest.Shared(t).DatabaseURL
	s := openAt(t, url, models.Tempo{})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return bench{newShop(t, s, p), url, openSQL(t, url), true}
}

// orders are the ids of the test's orders.
func (b bench) orders(t tester) []string {
	t.Helper()
	return column[string](t, b, `SELECT id FROM orders WHERE NOT $1 OR payment_method_id = $2 ORDER BY id`, b.shared, b.method.ID)
}

func openSQL(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

var (
	_ tester = (*testing.T)(nil)
	_ tester = (*rapid.T)(nil)
)

// exec runs SQL behind the store's back.
func (b bench) exec(t tester, query string, args ...any) {
	t.Helper()
	if _, err := b.db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// read scans one value.
func read[T any](t tester, b bench, query string, args ...any) (v T) {
	t.Helper()
	if err := b.db.QueryRow(query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// column reads the first column of every row.
func column[T any](t tester, b bench, query string, args ...any) []T {
	t.Helper()
	rows, err := b.db.Query(query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all
}

// clocks are the columns that the passing of time is read from.
var clocks = map[string]string{
	"captures":       "lease_until next_at not_before last_sent_at unknown_since",
	"refunds":        "lease_until next_at not_before last_sent_at unknown_since",
	"voids":          "lease_until next_at not_before last_sent_at unknown_since",
	"work":           "due_at published_at deadline",
	"authorizations": "capture_before estimated_before renewing_since renewal_lease",
	"orders":         "total_changed_at approved_at",
	"order_checks":   "due_at deadline",
	"leases":         "lease_until",
	"inbox":          "due_at",
	"deliveries":     "due_at published_at",

	"payment_gateways": "look_first_since",
}

// pass makes d go by, as far as the ledger can tell.
func (b bench) pass(t tester, d time.Duration) {
	t.Helper()
	var all []string
	for table, columns := range clocks {
		var sets []string
		for _, c := range strings.Fields(columns) {
			sets = append(sets, c+" = "+c+" - "+quoteInterval(d))
		}
		all = append(all, "UPDATE "+table+" SET "+strings.Join(sets, ", "))
	}
	for _, statement := range all {
		b.exec(t, statement)
	}
}

func quoteInterval(d time.Duration) string {
	return "interval '" + d.String() + "'"
}

// in runs fn in a transaction of the store.
func (b bench) in(fn func(ctx context.Context, tx store.Tx) error) error {
	return b.InTx(context.Background(), fn)
}

// must is a statement that has to go through.
func must(t tester, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// refused checks that err is the refusal of a rule.
func refused(t tester, err error, rule string) {
	t.Helper()
	var r *store.Refusal
	if !errors.As(err, &r) || r.Rule != rule {
		t.Fatalf("got %v, want the refusal %s", err, rule)
	}
}

func (b bench) capture(holdID string, amount int64) (op models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		op, err = b.CaptureByHand(ctx, tx, models.Test, holdID, amount, "person", models.Labels{})
		return err
	})
	return op, err
}

func (b bench) refund(captureID string, amount int64) (op models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		op, err = b.RefundByHand(ctx, tx, models.Test, captureID, amount, "person")
		return err
	})
	return op, err
}

func (b bench) void(holdID string) (op models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		op, err = b.VoidByHand(ctx, tx, models.Test, holdID, "person")
		return err
	})
	return op, err
}

func (b bench) cancelOrder(orderID string) error {
	return b.in(func(ctx context.Context, tx store.Tx) error {
		_, err := b.CancelOrder(ctx, tx, models.Test, orderID, time.Now(), "person")
		return err
	})
}

func (b bench) changeTotal(orderID string, total int64) error {
	return b.in(func(ctx context.Context, tx store.Tx) error {
		_, err := b.ChangeTotal(ctx, tx, models.Test, orderID, total, time.Now(), cancelAfter, "person")
		return err
	})
}

// register stores a hold and returns what was captured of it at once.
func (b bench) register(a models.Authorization) (hold models.Authorization, made []models.Operation, err error) {
	a.Mode, a.PaymentGatewayID = models.Test, b.gateway.ID
	if a.CurrencyCode == "" {
		a.CurrencyCode = "EUR"
	}
	if a.GatewayTransactionID == "" {
		a.GatewayTransactionID = "pi_" + store.NewID()
	}
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		hold, made, _, err = b.RegisterHold(ctx, tx, a, time.Now(), "test")
		return err
	})
	return hold, made, err
}

func (b bench) approveOrder(orderID string) (made []models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		_, made, err = b.Approve(ctx, tx, models.Test, orderID, "test")
		return err
	})
	return made, err
}

const cancelAfter = 10 * time.Minute

func (b bench) sweep(t tester) store.SweepReport {
	t.Helper()
	report, err := b.RunSweep(context.Background(), store.Sweep{Owner: "sweeper", Source: "test", CancelAfter: cancelAfter, Now: time.Now()})
	must(t, err)
	if b.shared {
		own := b.orders(t)
		report.Findings = slices.DeleteFunc(report.Findings, func(f store.Finding) bool { return !slices.Contains(own, f.OrderID) })
		report.Counts = map[models.Verdict]int{}
		for _, f := range report.Findings {
			report.Counts[f.Verdict]++
		}
	}
	return report
}

// paid is an order whose capture of 1,500 succeeded.
func (b bench) paid(t *testing.T) (models.Order, models.Operation) {
	t.Helper()
	o, op := b.approved(t)
	b.record(t, b.claim(t, op), confirmed(op))
	return b.orderNow(t, o.ID), b.reread(t, op)
}

// evidence is what the gateway says about op with the right money.
func evidence(op models.Operation, by models.Source, o models.Outcome) models.Evidence {
	ev := confirmed(op)
	ev.Source, ev.Outcome = by, o
	return ev
}

func ptr[T any](v T) *T { return &v }
