package enqueuer_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// transaction is one of the caller's own, however it was begun.
type transaction struct {
	store.Tx
	commit, rollback func() error
}

// beginnings are the ways in which a shop may begin a transaction.
func (s *shop) beginnings(t *testing.T) map[string]func() transaction {
	t.Helper()
	orm := bun.NewDB(s.db, pgdialect.New())
	return map[string]func() transaction{
		"database/sql": func() transaction {
			tx, err := s.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return transaction{tx, tx.Commit, tx.Rollback}
		},
		"serializable": func() transaction {
			tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil {
				t.Fatal(err)
			}
			return transaction{tx, tx.Commit, tx.Rollback}
		},
		"bun": func() transaction {
			tx, err := orm.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return transaction{tx, tx.Commit, tx.Rollback}
		},
	}
}

// TestApproveInTheCallersTransaction: the approval shares the fate of the shop's
// own work, and only a commit lets the captures start.
func TestApproveInTheCallersTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	relay := enqueuer.NewRelay(s.captures, time.Hour)
	for name, begin := range s.beginnings(t) {
		orderID, _ := s.held(t)
		rows := func() string {
			return fmt.Sprintf("parcels %d, approved %d, captures %d, open %d",
				s.count(t, `SELECT count(*) FROM parcels WHERE order_id = $1`, orderID),
				s.count(t, `SELECT count(*) FROM orders WHERE status = 'approved' AND id = $1`, orderID),
				s.count(t, `SELECT count(*) FROM captures WHERE order_id = $1`, orderID),
				s.count(t, `SELECT count(*) FROM work AS w JOIN captures AS c ON c.id = w.operation_id WHERE c.order_id = $1`, orderID))
		}
		approve := func(tx transaction) enqueuer.Published {
			t.Helper()
			if _, err := tx.ExecContext(t.Context(), `INSERT INTO parcels VALUES ('`+orderID+`')`); err != nil {
				t.Fatal(err)
			}
			p, err := s.captures.Approve(t.Context(), tx.Tx, models.Test, orderID, "shop")
			if err != nil || len(p.Operations) != 1 || p.Order.Status != models.OrderApproved {
				t.Fatalf("%s: approve = %+v, %v", name, p, err)
			}
			return p
		}
		const nothing = "parcels 0, approved 0, captures 0, open 0"
		tx := begin()
		approve(tx)
		if got := rows(); got != nothing {
			t.Errorf("%s: before the commit others see %s", name, got)
		}
		if err := tx.rollback(); err != nil {
			t.Fatal(err)
		}
		if n, err := relay.RunOnce(t.Context()); err != nil || n != 0 || rows() != nothing {
			t.Errorf("%s: after a rollback there is %s, and %d tasks were published (%v)", name, rows(), n, err)
		}
		tx = begin()
		p := approve(tx)
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		if got := rows(); got != "parcels 1, approved 1, captures 1, open 1" {
			t.Errorf("%s: after the commit there is %s", name, got)
		}
		task := fmt.Sprintf("capture:%s:1", p.Operations[0].ID)
		if slices.Contains(s.queued(t, tasks.Captures), task) {
			t.Errorf("%s: the task was published before Publish was called", name)
		}
		// The shop dies here, before Publish: the relay does it.
		if n, err := relay.RunOnce(t.Context()); err != nil || n != 1 || !slices.Contains(s.queued(t, tasks.Captures), task) {
			t.Errorf("%s: the relay published %d (%v), want the one that was left", name, n, err)
		}
		if err := p.Publish(t.Context()); err != nil {
			t.Errorf("%s: publishing what the relay has published: %v", name, err)
		}
	}
	if got := s.queued(t, tasks.Captures); len(got) != len(s.beginnings(t)) {
		t.Errorf("queued: %v, want one task each", got)
	}
}

// TestPublish needs no relay, and is harmless twice.
func TestPublish(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	p := s.published(t, 1)[0]
	for range 3 {
		if err := p.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.queued(t, tasks.Captures); len(got) != 1 {
		t.Errorf("queued: %v, want one task", got)
	}
	// A lone publication is noted by its claim; until then the relay notes it.
	if n, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context()); err != nil || n != 1 {
		t.Errorf("the relay noted %d, %v; want the one", n, err)
	}
	if got := s.queued(t, tasks.Captures); len(got) != 1 {
		t.Errorf("queued: %v, want the one task still", got)
	}
	if n := s.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Publish(ended); err != nil {
		t.Errorf("the request's end, after the commit, kept the task from being published: %v", err)
	}
}

// TestRefusalLeavesTheTransactionUsable: a rule that says no is no SQL error.
func TestRefusalLeavesTheTransactionUsable(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	orderID, _ := s.held(t)
	if _, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		_, err := s.captures.Cancel(ctx, tx, models.Test, orderID, "shop")
		return enqueuer.Published{}, err
	}); err != nil {
		t.Fatal(err)
	}
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.captures.Approve(t.Context(), tx, models.Test, orderID, "shop")
	var refusal *store.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != "order_cancelled" {
		t.Errorf("approve a cancelled order: %v, want a refusal", err)
	}
	if _, err := s.captures.Approve(t.Context(), tx, models.Test, store.NewID(), "shop"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("approve an order that is not there: %v", err)
	}
	if _, err := s.captures.Approve(t.Context(), tx, models.Live, orderID, "shop"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("approve an order of the other mode: %v", err)
	}
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO parcels VALUES ($1)`, orderID); err != nil {
		t.Errorf("the shop cannot go on: %v", err)
	}
	if err := tx.Commit(); err != nil {
		t.Errorf("commit: %v", err)
	}
}

// TestThousandApprovals at once make one capture.
func TestThousandApprovals(t *testing.T) {
	t.Parallel()
	const approvals = 1000
	s := newShop(t, onApproval)
	orderID, _ := s.held(t)
	var made, failed atomic.Int64
	var crowd sync.WaitGroup
	for range approvals {
		crowd.Go(func() {
			p, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
				return s.captures.Approve(ctx, tx, models.Test, orderID, "shop")
			})
			if err != nil {
				failed.Add(1)
				t.Errorf("approve: %v", err)
				return
			}
			made.Add(int64(len(p.Operations)))
		})
	}
	crowd.Wait()
	if made.Load() != 1 || failed.Load() != 0 {
		t.Errorf("%d captures made, %d approvals failed; want one capture", made.Load(), failed.Load())
	}
	if n := s.count(t, `SELECT count(*) FROM captures`); n != 1 {
		t.Errorf("%d captures in the ledger", n)
	}
	if got := s.queued(t, tasks.Captures); len(got) != 1 {
		t.Errorf("queued: %v, want one task", got)
	}
}

// TestApprovalsAndCancelsAtOnce: whoever comes first decides, and the books agree.
func TestApprovalsAndCancelsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	var crowd sync.WaitGroup
	for range 40 {
		orderID, _ := s.held(t)
		crowd.Go(func() {
			_, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
				return s.captures.Approve(ctx, tx, models.Test, orderID, "shop")
			})
			var refusal *store.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Errorf("approve: %v", err)
			}
		})
		crowd.Go(func() {
			_, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
				_, err := s.captures.Cancel(ctx, tx, models.Test, orderID, "shop")
				return enqueuer.Published{}, err
			})
			if err != nil {
				t.Errorf("cancel: %v", err)
			}
		})
	}
	crowd.Wait()
	if n := s.count(t, `SELECT count(*) FROM captures WHERE state <> 'cancelled'`); n != 0 {
		t.Errorf("%d captures are open on cancelled orders", n)
	}
	if n := s.count(t, `SELECT count(*) FROM voids WHERE state = 'pending'`); n != 40 {
		t.Errorf("%d holds are about to be released, want all 40", n)
	}
	found, err := s.store.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if i.BrokenCount > 0 {
			t.Errorf("invariant %s is broken: %v", i.ID, i.Broken)
		}
	}
}

// TestWhatIsMadeIsPublished: each call's work goes to its own queue, at once.
func TestWhatIsMadeIsPublished(t *testing.T) {
	t.Parallel()
	s := newShop(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerFulfillment})
	do := func(fn func(context.Context, store.Tx) (enqueuer.Published, error)) models.Operation {
		t.Helper()
		p, err := s.captures.Do(t.Context(), fn)
		if err != nil || len(p.Operations) != 1 {
			t.Fatalf("made %+v, %v; want one operation", p.Operations, err)
		}
		return p.Operations[0]
	}
	want := func(op models.Operation, queue string) {
		t.Helper()
		if name := fmt.Sprintf("%s:%s:1", op.Kind, op.ID); !slices.Contains(s.queued(t, queue), name) {
			t.Errorf("%s is not in the queue %s: %v", name, queue, s.queued(t, queue))
		}
	}
	_, held := s.held(t)
	want(do(func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Void(ctx, tx, models.Test, held, "shop")
	}), tasks.Returns)

	orderID, _ := s.held(t)
	if p, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Approve(ctx, tx, models.Test, orderID, "shop")
	}); err != nil || len(p.Operations) != 0 {
		t.Fatalf("approval made %+v, %v; want nothing before fulfillment", p.Operations, err)
	}
	want(do(func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Fulfill(ctx, tx, models.Test, orderID, "shop")
	}), tasks.Captures)

	_, held = s.held(t)
	capture := do(func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Capture(ctx, tx, models.Test, held, 0, "shop", models.Labels{})
	})
	want(capture, tasks.Captures)
	succeed(t, s, capture)
	refund := do(func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Refund(ctx, tx, models.Test, capture.ID, 500, "shop")
	})
	want(refund, tasks.Returns)
	if refund.AmountCents != 500 {
		t.Errorf("refund of %d, want 500", refund.AmountCents)
	}
}

// succeed has the gateway confirm an operation.
func succeed(t *testing.T, s *shop, op models.Operation) {
	t.Helper()
	claims, err := s.store.ClaimAll(t.Context(), op.Kind, []string{op.ID}, "test")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claim: %v %v", claims, err)
	}
	ev := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeConfirmed, AmountCents: op.AmountCents, CurrencyCode: op.CurrencyCode, GatewayTransactionID: "tx"}
	d := models.Judge(claims[0].Operation, ev, claims[0].Facts(s.store.Tempo(), 0, true))
	if err := s.store.Record(t.Context(), store.Outcome{Claim: claims[0], Evidence: ev, Decision: d, Worker: "test"}); err != nil {
		t.Fatal(err)
	}
}

// TestDelayedCaptureIsScheduled for its time, by Publish and by the relay.
func TestDelayedCaptureIsScheduled(t *testing.T) {
	t.Parallel()
	s := newShop(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 7200})
	for _, publish := range []bool{true, false} {
		orderID, _ := s.held(t)
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.captures.Approve(t.Context(), tx, models.Test, orderID, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if publish {
			err = p.Publish(t.Context())
		} else {
			_, err = enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.inspector.GetTaskInfo(tasks.Captures, fmt.Sprintf("capture:%s:1", p.Operations[0].ID))
		if err != nil || got.State != asynq.TaskStateScheduled {
			t.Fatalf("task = %+v, %v; want scheduled", got, err)
		}
		if off := got.NextProcessAt.Sub(*p.Operations[0].NextAt); off < -time.Minute || off > time.Minute {
			t.Errorf("publish %t: the task comes at %v, the capture is due at %v", publish, got.NextProcessAt, p.Operations[0].NextAt)
		}
	}
}

// TestRedisIsAway: approving works, and the error of Publish says what to check.
func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{NoPostgres: true})
	s := newShopOn(t, onApproval, stack.RedisURL)
	orderID, _ := s.held(t)
	if err := stack.StopRedis(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	p, err := s.captures.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return s.captures.Approve(ctx, tx, models.Test, orderID, "shop")
	})
	if err != nil || len(p.Operations) != 1 {
		t.Fatalf("approve without a Redis: %+v %v", p, err)
	}
	if err := p.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), "check REDIS_URL") {
		t.Errorf("publish: %v, want an error that says what to check", err)
	}
	relay := enqueuer.NewRelay(s.captures, time.Hour)
	if _, err := relay.RunOnce(t.Context()); err == nil {
		t.Errorf("the relay published into nothing")
	}
	if n := s.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`); n != 1 {
		t.Errorf("%d captures count as unpublished, want the one", n)
	}
	if err := stack.StartRedis(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := relay.RunOnce(t.Context()); err != nil || n != 1 {
		t.Errorf("the relay published %d, %v", n, err)
	}
}
