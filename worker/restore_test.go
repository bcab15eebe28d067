package worker_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// sale is an order as the shop remembers it, whatever happens to our database.
type sale struct {
	reference, hold string
	// refunded and cancelled were asked for after the moment that is restored.
	refunded, cancelled bool
	// forgotten: the shop does not ask again for what was asked in the time that is
	// lost. vanished: not for the order, either.
	forgotten, vanished bool
}

// sellAgain does all that a shop does for an order, however often it is asked: the
// same order, the same hold, approved.
func (w *world) sellAgain(t *testing.T, s *sale, approve bool) models.Order {
	t.Helper()
	order, _, err := w.store.CreateOrder(t.Context(), models.Order{
		Mode: models.Test, PaymentMethodID: w.method.ID, CurrencyCode: "EUR", TotalAmountCents: total, Labels: models.Labels{Reference: s.reference},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.do(t, func(ctx context.Context, tx store.Tx) (made enqueuer.Published, err error) {
		made, _, _, err = w.enqueuer.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: order.ID, PaymentGatewayID: w.gateway.ID, GatewayTransactionID: s.hold, CurrencyCode: "EUR", AmountCents: total,
		}, "shop")
		return made, err
	})
	if approve {
		w.approve(t, purchase{orderID: order.ID})
	}
	return order
}

// giveBack refunds a part of a sale, or cancels its order: what a person does
// by hand, as often as the answer got lost.
func (w *world) giveBack(t *testing.T, s *sale) {
	t.Helper()
	order, err := w.store.OrderByReference(t.Context(), models.Test, s.reference)
	if err != nil {
		t.Fatal(err)
	}
	p := purchase{orderID: order.ID}
	if s.cancelled {
		w.cancel(t, p)
	}
	if s.refunded {
		p.op = w.operations(t, models.Capture, p)[0]
		w.refund(t, p)
	}
}

// onto is the same installation with another database: its queue, its gateway
// and the shop know nothing of the change.
func (w *world) onto(t *testing.T, databaseURL string) *world {
	t.Helper()
	other := *w
	other.databaseURL, other.store = databaseURL, openStore(t, databaseURL, tempo)
	db, err := sql.Open("pgx", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	other.db = db
	other.enqueuer = enqueuer.New(enqueuer.Config{Store: other.store, Redis: w.redis, CancelAfter: w.cancelAfter, Log: w.log})
	return &other
}

// drill is a restore to a point in time: what was sold before the backup,
// between it and the point, and in the time that is lost.
type drill struct {
	w     *world
	sales []*sale
	each  int // sales of each sort
}

func (d *drill) sell(t *testing.T, approve bool) []*sale {
	t.Helper()
	first := len(d.sales)
	for range d.each {
		s := &sale{reference: fmt.Sprintf("R-%d", len(d.sales)), hold: d.w.authorize(t, mixed[len(d.sales)%len(mixed)], total)}
		d.w.sellAgain(t, s, approve)
		d.sales = append(d.sales, s)
	}
	return d.sales[first:]
}

func (d *drill) captured(t *testing.T, sales []*sale) {
	t.Helper()
	eventually(t, "they are captured", func() (bool, any) {
		for _, s := range sales {
			order, err := d.w.store.OrderByReference(t.Context(), models.Test, s.reference)
			if err != nil || order.PaymentStatus != models.Paid {
				return false, fmt.Sprint(s.reference, order.PaymentStatus, err)
			}
		}
		return true, nil
	})
}

// TestRestoreToAnEarlierPoint: the database goes back to a moment at which
// captures were under way. What was captured, refunded and cancelled since then
// is at the gateway and not in the ledger; its keys are forgotten; Redis
// remembers tasks of rows that are gone. The workers notice by themselves, the
// shop sends nearly everything again, and nothing happens twice; the rest is
// found in the gateway's list.
func TestRestoreToAnEarlierPoint(t *testing.T) {
	t.Parallel()
	each := 3
	if *prove {
		each = 60
	}
	stack := devstacktest.NewStack(t, devstack.Options{})
	w := newWorld(t, setup{stack: stack, sandbox: sandbox.Config{KeyLife: time.Millisecond}})
	d := &drill{w: w, each: each}
	stop := w.start(t, staff{name: "before"})
	returned, given := d.sell(t, true), d.sell(t, true)
	d.captured(t, d.sales)
	d.sell(t, true) // under way while the backup is taken
	backup, err := stack.BackupPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	placed := d.sell(t, false)
	d.sell(t, true) // under way at the point
	w.exec(t, `SELECT pg_create_restore_point('five minutes ago')`)

	for _, s := range placed {
		w.sellAgain(t, s, true)
	}
	for i := range returned {
		returned[i].refunded, given[i].cancelled = true, true
		w.giveBack(t, returned[i])
		w.giveBack(t, given[i])
	}
	whole := d.sell(t, true) // orders that will be gone
	d.captured(t, append(placed, whole...))
	placed[0].forgotten, returned[0].forgotten, whole[0].vanished = true, true, true
	eventually(t, "refunds were made", func() (bool, any) {
		n := len(w.book(t, "").Refunds)
		return n == 2*each, n
	})
	d.sell(t, true) // under way when it ends
	if err := stack.StopPostgres(t.Context(), devstack.Immediate); err != nil {
		t.Fatal(err)
	}
	stop()

	restored, err := backup.Restore(t.Context(), "five minutes ago")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := restored.Stop(ctx); err != nil {
			t.Errorf("stop the restored Postgres: %v", err)
		}
	})
	d.again(t, restored.DatabaseURL)
}

// again is everything after the restore: workers, the shop, and the books.
func (d *drill) again(t *testing.T, databaseURL string) {
	t.Helper()
	before := d.w.book(t, "")
	w := d.w.onto(t, databaseURL)
	if n := w.count(t, `SELECT count(*) FROM orders`); n >= len(d.sales) {
		t.Fatalf("%d of %d orders survived: nothing was lost, so that this proves nothing", n, len(d.sales))
	}
	w.start(t, staff{name: "after"})
	if on, err := w.store.LookingFirst(t.Context()); err != nil || len(on) != 1 {
		t.Fatalf("the worker did not notice the restore: %+v %v", on, err)
	}
	for _, s := range d.sales {
		if s.vanished {
			continue
		}
		w.sellAgain(t, s, !s.forgotten)
		if (s.refunded || s.cancelled) && !s.forgotten {
			w.giveBack(t, s)
		}
	}
	w.settle(t)
	found := w.compare(t, w.lister(t, nil)) // what nobody asks for again
	w.settle(t)
	after := w.book(t, "")
	if len(after.Violations) > 0 {
		t.Errorf("violations: %+v", after.Violations)
	}
	t.Logf("%d sales; captures %d before and %d after, refunds %d and %d, %d calls", len(d.sales), len(before.Captures), len(after.Captures),
		len(before.Refunds), len(after.Refunds), len(after.Requests)-len(before.Requests))
	booked := map[string]bool{}
	for _, b := range slices.Concat(before.Captures, before.Refunds) {
		booked[b.Reference] = true
	}
	for _, r := range after.Requests[len(before.Requests):] {
		if (r.Call == "capture" || r.Call == "refund") && booked[r.Reference] {
			t.Errorf("asked again for what was booked before: %+v", r)
		}
	}
	for _, s := range d.sales {
		if s.vanished {
			w.checkBooked(t, "captures of "+s.reference, w.book(t, s.hold).Captures, total, "eur")
			if got := findingsOf(found, s.hold); got == "" {
				t.Errorf("nobody was told of %s, which is paid and has no order: %+v", s.reference, found)
			}
			continue
		}
		w.checkSale(t, s)
	}
	once(t, "capture", after.Captures)
	once(t, "refund", after.Refunds)
	if n := w.count(t, `SELECT count(*) FROM operations WHERE needs_attention IS NOT NULL`); n != 0 {
		t.Errorf("%d operations are flagged", n)
	}
	w.audit(t)
}

// checkSale compares a sale with the gateway's book and with ours.
func (w *world) checkSale(t *testing.T, s *sale) {
	t.Helper()
	b := w.book(t, s.hold)
	w.checkBooked(t, "captures of "+s.reference, b.Captures, total, "eur")
	want, back := models.Paid, int64(0)
	switch {
	case s.refunded:
		want, back = models.PartiallyRefunded, returned
	case s.cancelled:
		want, back = models.Refunded, total
	}
	w.checkBooked(t, "refunds of "+s.reference, b.Refunds, back, "eur")
	order, err := w.store.OrderByReference(t.Context(), models.Test, s.reference)
	if err != nil {
		t.Fatal(err)
	}
	if order.PaymentStatus != want && !(s.cancelled && order.Status == models.OrderCancelled) {
		t.Errorf("%s is %s, %s, want %s", s.reference, order.Status, order.PaymentStatus, want)
	}
	for _, c := range w.operations(t, models.Capture, purchase{orderID: order.ID}) {
		if c.ConfirmedCents == nil || *c.ConfirmedCents != total {
			t.Errorf("the capture of %s is %+v, want it recorded", s.reference, c)
		}
	}
}

// once: nothing was booked twice under one reference.
func once(t *testing.T, what string, bookings []sandbox.Booking) {
	t.Helper()
	seen := map[string]bool{}
	for _, b := range bookings {
		if b.Reference == "" || seen[b.Reference] {
			t.Errorf("the %s %+v has no reference, or one that was booked before", what, b)
		}
		seen[b.Reference] = true
	}
}

// TestRedisRemembersLaterTasks: the database was restored, Redis was not, and
// holds tasks of later generations in its archive, where they block their names.
func TestRedisRemembersLaterTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	if _, err := w.store.NoticeRestore(t.Context(), time.Hour, "before"); err != nil {
		t.Fatal(err)
	}
	p := w.order(t, "")
	queue := asynq.NewClientFromRedisClient(w.redis)
	for generation := 1; generation <= 9; generation++ {
		if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", p.op.ID, generation, 0, tempo.TaskTimeout())); err != nil {
			t.Fatal(err)
		}
		if err := w.inspector.ArchiveTask(tasks.Captures, name(p, generation)); err != nil {
			t.Fatal(err)
		}
	}
	w.exec(t, `UPDATE work SET published_at = now()`)
	w.exec(t, `UPDATE origin SET timeline_id = timeline_id + 1`)
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
	if got := w.verdicts(t, p.op.ID); len(got) == 0 || got[0] == models.Republish {
		t.Errorf("verdicts %v: it waited for the sweep to count up", got)
	}
	if n := len(archived(t, w, tasks.Captures)); n != 9 {
		t.Errorf("%d tasks are archived, so that this test proves nothing", n)
	}
}

// TestOldDumpUnderARunningWorld: Redis is flushed and gets an old dump back,
// while workers work and orders come in.
func TestOldDumpUnderARunningWorld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.crowd(t, 10)
	old := snapshot(t, w.redis)
	w.start(t, staff{tasks: 4})
	for round := range 3 {
		eventually(t, "some are captured", func() (bool, any) {
			n := w.count(t, `SELECT count(*) FROM captures WHERE state = 'succeeded'`)
			return n >= 4*(round+1), n
		})
		bought = append(bought, w.crowd(t, 5)...)
		restore(t, w.redis, old)
	}
	w.settle(t)
	w.allCaptured(t, bought)
}
