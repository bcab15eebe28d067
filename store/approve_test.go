package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// with is the same shop with another payment method.
func (b bench) with(t *testing.T, p models.Policy) bench {
	t.Helper()
	b.shop = newShop(t, b.Store, p)
	return b
}

// fateOf is what an approval was answered, in a word.
func fateOf(a store.Approval) string {
	var refusal *store.Refusal
	switch {
	case errors.As(a.Err, &refusal):
		return "refused: " + refusal.Rule
	case errors.Is(a.Err, store.ErrNotFound):
		return "not found"
	case a.Err != nil:
		return "failed"
	case a.Unchanged:
		return "unchanged"
	}
	var captures []string
	for _, op := range a.Operations {
		captures = append(captures, fmt.Sprintf(" %d %s", op.AmountCents, op.Cause))
	}
	return "approved" + strings.Join(captures, "")
}

// TestBulkApproval: every order of a bulk has its own fate, and what is answered
// is what the ledger has.
func TestBulkApproval(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	for name, inTx := range map[string]bool{"by itself": false, "in a transaction": true} {
		t.Run(name, func(t *testing.T) {
			b := benchAt(t, onApproval, url)
			ids, want := b.disasters(t)
			var answers []store.Approval
			approve := func(ctx context.Context, tx store.Tx) (err error) {
				answers, err = b.ApproveAll(ctx, tx, models.Test, ids, "test")
				return err
			}
			if inTx {
				must(t, b.in(approve))
			} else {
				must(t, approve(t.Context(), nil))
			}
			var got []string
			for i, a := range answers {
				got = append(got, fateOf(a))
				if a.OrderID != ids[i] {
					t.Errorf("answer %d is about %s, want %s", i, a.OrderID, ids[i])
				}
				if a.Err != nil {
					continue
				}
				if diff := cmp.Diff(b.orderNow(t, a.Order.ID), a.Order); diff != "" {
					t.Errorf("%s: the ledger has another order (-ledger +answer):\n%s", want[i], diff)
				}
				for _, op := range a.Operations {
					if diff := cmp.Diff(b.reread(t, op), op); diff != "" {
						t.Errorf("%s: the ledger has another capture (-ledger +answer):\n%s", want[i], diff)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answered (-want +got):\n%s", diff)
			}
			again, err := b.ApproveAll(t.Context(), nil, models.Test, ids, "test")
			must(t, err)
			for i, a := range again {
				if a.Err == nil && !a.Unchanged {
					t.Errorf("approved twice: %s", want[i])
				}
			}
			b.verify(t)
			b.audited(t)
		})
	}
}

// disasters are orders in every condition that an approval may find, with what
// is to be answered.
func (b bench) disasters(t *testing.T) (ids, want []string) {
	t.Helper()
	add := func(id, answer string) string {
		ids, want = append(ids, id), append(want, answer)
		return id
	}
	held := func(b bench, total int64, holds ...int64) models.Order {
		o := b.order(t, total)
		for _, cents := range holds {
			b.hold(t, o.ID, cents)
		}
		return o
	}
	fine := add(held(b, 1500, 1500).ID, "approved 1500 approval")
	before, _ := b.approved(t)
	add(before.ID, "unchanged")
	cancelled := held(b, 1500, 1500)
	must(t, b.cancelOrder(cancelled.ID))
	add(cancelled.ID, "refused: order_cancelled")
	closing, op := b.approved(t)
	b.claim(t, op)
	must(t, b.cancelOrder(closing.ID))
	add(closing.ID, "refused: order_cancelled")
	add(store.NewID(), "not found")
	add("no-id", "not found")
	live, _, err := b.CreateOrder(t.Context(), models.Order{Mode: models.Live, PaymentMethodID: b.method.ID, CurrencyCode: "EUR", TotalAmountCents: 1500})
	must(t, err)
	add(live.ID, "not found")
	add(held(b, 1500).ID, "approved")
	add(held(b, 0, 1500).ID, "approved")
	add(held(b, 1500, 1000, 1000).ID, "approved 1000 approval 500 approval")
	add(held(b, 1500, 700).ID, "approved 700 approval")
	ended := held(b, 1500)
	_, _, err = b.register(models.Authorization{OrderID: ended.ID, AmountCents: 1500, CaptureBefore: ptr(time.Now().Add(time.Hour))})
	must(t, err)
	b.exec(t, `UPDATE authorizations SET capture_before = now() - interval '1 second' WHERE order_id = $1`, ended.ID)
	add(ended.ID, "approved")
	byHand := held(b, 1500)
	hold, _, err := b.register(models.Authorization{OrderID: byHand.ID, AmountCents: 1500, MultiCapture: true})
	must(t, err)
	part, err := b.capture(hold.ID, 400)
	must(t, err)
	add(byHand.ID, "approved")
	b.record(t, b.claim(t, part), confirmed(part))
	want[len(want)-1] = "approved 1100 approval"
	add(held(b.with(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, AutoCaptureMaxAmountCents: ptr(int64(1499))}), 1500, 1500).ID, "approved")
	add(held(b.with(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3600}), 1500, 1500).ID, "approved 1500 delay")
	add(held(b.with(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization}), 1500, 1500).ID, "approved")
	add(held(b.with(t, models.Policy{CaptureTrigger: models.TriggerApproval}), 1500, 1500).ID, "approved")
	last := b.with(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerManual, LastChanceSeconds: ptr(int64(60))})
	chance := last.order(t, 1500)
	_, _, err = last.register(models.Authorization{OrderID: chance.ID, AmountCents: 1500, CaptureBefore: ptr(time.Now().Add(time.Hour))})
	must(t, err)
	add(chance.ID, "approved")
	t.Cleanup(func() {
		if !read[bool](t, b, `SELECT due_at <= now() FROM order_checks WHERE order_id = $1`, chance.ID) {
			t.Errorf("the last chance of an approved order's hold waits")
		}
	})
	add(fine, "approved 1500 approval")
	add(strings.ToUpper(fine), "approved 1500 approval")
	return ids, want
}

// TestBulkRolledBack leaves nothing.
func TestBulkRolledBack(t *testing.T) {
	t.Parallel()
	b := sharedBench(t, onApproval)
	ids := b.stock(t, 20)
	sorry := errors.New("the shop changed its mind")
	err := b.in(func(ctx context.Context, tx store.Tx) error {
		answers, err := b.ApproveAll(ctx, tx, models.Test, ids, "test")
		if err == nil && fateOf(answers[19]) != "approved 1500 approval" {
			err = fmt.Errorf("answered %s", fateOf(answers[19]))
		}
		return errors.Join(err, sorry)
	})
	if !errors.Is(err, sorry) || strings.Contains(err.Error(), "answered") {
		t.Fatal(err)
	}
	if n := read[int](t, b, `SELECT count(*) FROM orders AS o LEFT JOIN captures AS c ON c.order_id = o.id WHERE o.id = ANY($1::uuid[]) AND (o.status <> 'pending' OR c.id IS NOT NULL)`, ids); n != 0 {
		t.Errorf("%d orders were approved by a transaction that was rolled back", n)
	}
	b.verify(t)
}

// TestBulksAtOnce: bulks that share their orders, in opposite order, beside
// single approvals, make one capture of each order.
func TestBulksAtOnce(t *testing.T) {
	t.Parallel()
	b := sharedBench(t, onApproval)
	ids := b.stock(t, 120)
	back := slices.Clone(ids)
	slices.Reverse(back)
	var mu sync.Mutex
	made := map[string]int{}
	bulk := func(ids []string, inTx bool) func() error {
		return func() error {
			var answers []store.Approval
			approve := func(ctx context.Context, tx store.Tx) (err error) {
				answers, err = b.ApproveAll(ctx, tx, models.Test, ids, "test")
				return err
			}
			err := error(nil)
			if inTx {
				err = b.in(approve)
			} else {
				err = approve(t.Context(), nil)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, a := range answers {
				err = errors.Join(err, a.Err)
				made[a.OrderID] += len(a.Operations)
			}
			return err
		}
	}
	fns := []func() error{bulk(ids, false), bulk(back, false), bulk(ids[:80], true), bulk(back[:80], true), bulk(ids[40:], false), bulk(back[40:], false)}
	for _, id := range ids[:20] {
		fns = append(fns, bulk([]string{id}, false))
	}
	for _, err := range atOnce(fns...) {
		must(t, err)
	}
	for _, id := range ids {
		if made[id] != 1 {
			t.Errorf("order %s: %d captures were answered, want 1", id, made[id])
		}
	}
	if n := read[int](t, b, `SELECT count(*) FROM captures WHERE order_id = ANY($1::uuid[])`, ids); n != len(ids) {
		t.Errorf("%d captures of %d orders", n, len(ids))
	}
	b.verify(t)
}

// TestBulkAgainstChanges: whatever happens to single orders meanwhile, the
// others are approved, and the books agree.
func TestBulkAgainstChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ids := b.stock(t, 60)
	var answers []store.Approval
	fns := []func() error{func() (err error) {
		answers, err = b.ApproveAll(t.Context(), nil, models.Test, ids, "test")
		return err
	}}
	for i, id := range ids[:48] {
		fns = append(fns, func() error {
			switch i % 4 {
			case 0:
				return b.cancelOrder(id)
			case 1:
				return b.changeTotal(id, 900)
			case 2:
				_, _, err := b.register(models.Authorization{OrderID: id, AmountCents: 500})
				return err
			}
			return b.LabelOrder(t.Context(), nil, models.Test, id, store.Attached{ReferenceOrigin: ptr("meanwhile")})
		})
	}
	for _, err := range atOnce(fns...) {
		must(t, err)
	}
	for i, a := range answers {
		if cancelled := i < 48 && i%4 == 0; a.Err != nil && !cancelled {
			t.Errorf("order %d: %v", i, a.Err)
		}
	}
	b.verify(t)
	b.audited(t)
}

// TestBulkWaitsForALock: an order that someone changes is approved as it is
// then, and one that is changed for ever is approved under its lock.
func TestBulkWaitsForALock(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ids := b.stock(t, 3)
	tx, err := b.db.Begin()
	must(t, err)
	for _, change := range []string{
		`UPDATE orders SET total_amount_cents = 1000, version = version + 1 WHERE id = '` + ids[1] + `'`,
		`UPDATE authorizations SET closed_at = now(), closed_reason = 'gone' WHERE order_id = '` + ids[2] + `'`,
		`UPDATE orders SET held_cents = 0, voided_cents = 1500 WHERE id = '` + ids[2] + `'`,
	} {
		_, err := tx.Exec(change)
		must(t, err)
	}
	answered := make(chan []string)
	go func() {
		answers, err := b.ApproveAll(context.WithoutCancel(t.Context()), nil, models.Test, ids, "test")
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, a := range answers {
			got = append(got, fateOf(a))
		}
		answered <- got
	}()
	b.until(t, `SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%jsonb_to_recordset%'`)
	must(t, tx.Commit())
	if diff := cmp.Diff([]string{"approved 1500 approval", "approved 1000 approval", "approved"}, <-answered); diff != "" {
		t.Errorf("answered (-want +got):\n%s", diff)
	}
	b.verify(t)

	busy := b.stock(t, 40)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := b.db.Exec(`UPDATE orders SET updated_at = now() WHERE id = ANY($1::uuid[])`, busy[:1]); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for i := range 20 { // the first is never as it was read
		answers, err := b.ApproveAll(t.Context(), nil, models.Test, []string{busy[0], busy[i*2], busy[i*2+1]}, "test")
		must(t, err)
		for _, a := range answers {
			must(t, a.Err)
		}
		b.exec(t, `UPDATE orders SET updated_at = now() WHERE id = $1`, busy[0])
	}
	close(stop)
	<-stopped
	b.verify(t)
}

// until waits for a query to be true.
func (b bench) until(t *testing.T, query string, args ...any) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond) // what is waited for needs the processor, too
	defer again.Stop()
	for deadline := time.Now().Add(time.Minute); !read[bool](t, b, query, args...); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", query)
		}
	}
}

// TestOneBadOrderOfABulk: an order that the ledger's constraints refuse is the
// only one that fails.
func TestOneBadOrderOfABulk(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ids := b.stock(t, 5)
	bad := b.order(t, 1500)
	hold, _, err := b.register(models.Authorization{OrderID: bad.ID, AmountCents: 1500, MultiCapture: true})
	must(t, err)
	part, err := b.capture(hold.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, part), confirmed(part))
	// A ledger that was tampered with: the next reference is one that is taken.
	b.exec(t, `UPDATE authorizations SET capture_sequence = 0 WHERE id = $1`, hold.ID)
	answers, err := b.ApproveAll(t.Context(), nil, models.Test, slices.Insert(ids, 2, bad.ID), "test")
	must(t, err)
	for i, a := range answers {
		if want := map[bool]string{true: "failed", false: "approved 1500 approval"}[i == 2]; fateOf(a) != want {
			t.Errorf("order %d: %s (%v), want %s", i, fateOf(a), a.Err, want)
		}
	}
	if got := b.orderNow(t, bad.ID); got.Status != models.OrderPending {
		t.Errorf("the bad order is %s", got.Status)
	}
	b.verify(t)
}

// TestThousandOrders are approved by one call.
func TestThousandOrders(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ids := b.stock(t, 1000)
	answers, err := b.ApproveAll(t.Context(), nil, models.Test, ids, "test")
	must(t, err)
	for _, a := range answers {
		if fateOf(a) != "approved 1500 approval" {
			t.Fatalf("order %s: %s", a.OrderID, fateOf(a))
		}
	}
	b.verify(t, ids[:40]...) // folds every sum anew, at the square of their number
	b.audited(t)
}
