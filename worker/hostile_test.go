package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestManySweepsGiveBackOnce: sweeps without the lease that keeps them apart, and
// people who cancel by hand at the same time, on captured orders whose total was
// lowered: each is given back once, the whole of an open order, the difference of
// an approved one.
func TestManySweepsGiveBackOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policy: &models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization, RefundDifference: true}})
	const orders = 24
	var bought []purchase
	for i := range orders {
		p := w.place(t, "")
		w.run(t, p)
		if i%2 == 0 {
			w.approve(t, p)
		}
		bought = append(bought, p)
	}
	for _, p := range bought {
		w.changeTotal(t, p, 900)
	}
	w.exec(t, `UPDATE orders SET total_changed_at = now() - interval '1 hour'`)
	w.exec(t, `UPDATE order_checks SET due_at = now() - interval '1 hour'`)
	w.start(t, staff{})
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for i := range 6 {
		crowd.Go(func() {
			for ctx.Err() == nil {
				_, err := w.store.RunSweep(ctx, store.Sweep{Owner: fmt.Sprintf("sweep-%d", i), Source: "test"})
				if err != nil && !errors.Is(err, store.ErrSweeping) && ctx.Err() == nil {
					t.Errorf("sweep %d: %v", i, err)
				}
				wait(ctx, 10*time.Millisecond)
			}
		})
	}
	crowd.Go(func() {
		for ctx.Err() == nil {
			_, _ = w.db.ExecContext(ctx, `DELETE FROM leases WHERE name = 'sweep'`)
			wait(ctx, 3*time.Millisecond)
		}
	})
	for range 2 {
		crowd.Go(func() {
			for _, p := range bought {
				err := w.store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
					_, err := w.store.CancelCapture(ctx, tx, models.Test, p.op.ID, time.Now(), "olga")
					return err
				})
				if _, ok := refused(err); err != nil && !ok && ctx.Err() == nil {
					t.Errorf("cancel by hand: %v", err)
				}
			}
		})
	}
	eventually(t, "everything was given back", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM orders WHERE refunded_cents = 600 OR reset_cents = 1500`)
		return n == orders, n
	})
	cancel()
	crowd.Wait()
	w.settle(t)
	for i, p := range bought {
		want := total
		if i%2 == 0 {
			want = 600
		}
		w.check(t, p, truth{captured: total, refunded: want})
	}
	if n := w.count(t, `SELECT count(*) FROM refunds`); n != orders {
		t.Errorf("%d refunds were made for %d orders", n, orders)
	}
}

// TestInspectWakesNobody: who only asks what a gateway has changes nothing in the
// ledger, even if the answer is the first after an outage.
func TestInspectWakesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tempo: &models.Tempo{Scale: 60}})
	p := w.order(t, "charge_then_drop")
	w.stuck(t, p)
	w.exec(t, `UPDATE captures SET next_at = now() + interval '1 hour'`)
	before := []any{w.reread(t, p), w.count(t, `SELECT sum(generation) FROM work`), w.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`)}
	r := w.runner(t, staff{})
	w.front.down()
	for range 12 {
		if _, _, err := r.Inspect(t.Context(), models.Test, models.Capture, p.op.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.front.up(t)
	eventually(t, "the gateway is asked again", func() (bool, any) {
		ev, _, err := r.Inspect(t.Context(), models.Test, models.Capture, p.op.ID)
		return ev.Outcome == models.OutcomeConfirmed, err
	})
	after := []any{w.reread(t, p), w.count(t, `SELECT sum(generation) FROM work`), w.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`)}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("asking changed the ledger: %s", diff)
	}
}

// TestOldLinesAgain: a chargeback that a webhook had told of, won later as the
// gateway's list says. The same lines once more, from a report or after a crash,
// do not take the money back again.
func TestOldLinesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	r := w.lister(t, nil)
	p := w.captured(t, "")
	w.dashboard(t, "dispute", p.hold, 0, "")
	_, err := w.store.Observe(t.Context(), store.Observation{Kind: models.Capture, ID: p.op.ID, Actor: "webhook:stripe", Evidence: models.Evidence{
		Source: models.FromWebhook, Outcome: models.OutcomeTakenBack, AmountCents: total, CurrencyCode: "EUR", GatewayTransactionID: p.hold,
	}})
	if op := w.reread(t, p); err != nil || op.State != models.Reversed {
		t.Fatalf("capture = %+v, %v, want reversed", op, err)
	}
	w.compare(t, r)
	w.dashboard(t, "dispute_won", p.hold, 0, "")
	w.compare(t, r)
	if op := w.reread(t, p); op.State != models.Succeeded {
		t.Errorf("capture = %s, want succeeded", op.State)
	}
	w.compare(t, r) // all of it anew
	if n := w.count(t, `SELECT count(*) FROM events WHERE operation_id = $1 AND event = 'taken_back'`, p.op.ID); n != 1 {
		t.Errorf("the money was taken back %d times, want once: an old line moved it", n)
	}
	if op := w.reread(t, p); op.State != models.Succeeded {
		t.Errorf("capture = %s, want succeeded", op.State)
	}
	w.check(t, p, truth{captured: total})
}

// adopt makes a row for what a list is said to show, at a gateway that has
// nothing of the kind: the second of its kind on the hold, as if the first had
// failed and been forgotten as well.
func (w *world) adopt(t *testing.T, p purchase, kind models.Kind) models.Operation {
	t.Helper()
	run, err := w.store.BeginListing(t.Context(), account, "liar", "test", atOnce)
	if err != nil {
		t.Fatal(err)
	}
	hold, err := w.store.Authorization(t.Context(), models.Test, p.authID)
	if err != nil {
		t.Fatal(err)
	}
	a := store.Adoption{
		Hold: hold, Kind: kind, Sequence: 2, AmountCents: returned, CurrencyCode: "EUR", Actor: "listing:stripe",
		Finding: store.ListedFinding{Name: p.hold + string(kind), Verdict: models.Forward, Hold: &hold, Theirs: p.hold, AmountCents: returned, CurrencyCode: "EUR"},
	}
	if kind == models.Refund {
		capture := w.reread(t, p)
		a.Capture = &capture
	}
	made, err := w.store.Adopt(t.Context(), run, a)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.EndListing(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestListThatLies: a gateway lists what its look-ups do not have. Whatever is
// then done with the rows that were adopted, by workers, sweeps and people,
// nothing is ever sent for them.
func TestListThatLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policy: &models.Policy{CaptureTrigger: models.TriggerManual}})
	held, paid := w.place(t, ""), w.place(t, "")
	paid.op = w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return w.enqueuer.Capture(ctx, tx, models.Test, paid.authID, 0, "shop", models.Labels{})
	})[0]
	w.run(t, paid)
	adopted := []models.Operation{w.adopt(t, held, models.Capture), w.adopt(t, paid, models.Refund)}
	r := w.runner(t, staff{})
	w.setFault(t, "lookup_500", "look_up", 0) // at first nobody can tell
	for _, op := range adopted {
		for range 3 {
			_ = r.Run(t.Context(), op.Kind, op.ID)
			if now := w.operation(t, op.Kind, op.ID); now.State != models.Capturing {
				_ = w.store.Retry(t.Context(), nil, now, "olga", "again")
			}
			_, _ = r.Forward(t.Context(), models.Test, op.Kind, op.ID, "olga", "it is there")
			_ = r.Settle(t.Context(), models.Test, op.OrderID, "olga")
		}
	}
	w.clearFault(t)
	w.exec(t, `UPDATE captures SET next_at = now(), not_before = now() WHERE cause = 'adopted'`)
	w.exec(t, `UPDATE work SET due_at = now(), published_at = now() - interval '1 hour'`)
	_ = r.RunBatch(t.Context(), []string{adopted[0].ID})
	if _, err := w.store.LookFirst(t.Context(), "", time.Time{}, "olga"); err != nil {
		t.Fatal(err)
	}
	w.start(t, staff{})
	w.settle(t)
	for _, op := range adopted {
		now := w.operation(t, op.Kind, op.ID)
		if now.State != models.Cancelled || now.NeedsAttention != models.FlagNotThere {
			t.Errorf("the %s is %s and flagged %q, want cancelled and %s", op.Kind, now.State, now.NeedsAttention, models.FlagNotThere)
		}
		if sends, looks := w.claims(t, op.ID); sends != 0 || looks == 0 {
			t.Errorf("the %s was claimed %d times to send and %d times to look", op.Kind, sends, looks)
		}
	}
	w.check(t, held, truth{})
	w.check(t, paid, truth{captured: total})
}

// TestListOfAnotherAccount: two accounts may have a hold of the same name. The
// list of one moves nothing of the other.
func TestListOfAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	other, err := w.store.EnsureGateway(t.Context(), "other", "stripe", models.Test)
	if err != nil {
		t.Fatal(err)
	}
	w.forge(t, `UPDATE authorizations SET payment_gateway_id = $1`, other.ID)
	w.forge(t, `UPDATE captures SET payment_gateway_id = $1`, other.ID)
	before := w.reread(t, p)
	w.dashboard(t, "refund", p.hold, 500, "")
	w.dashboard(t, "dispute", p.hold, 0, "")
	w.compare(t, w.lister(t, nil))
	if diff := cmp.Diff(before, w.reread(t, p)); diff != "" {
		t.Errorf("the list of another account moved it: %s", diff)
	}
	if n := w.count(t, `SELECT count(*) FROM verdicts WHERE order_id = $1 AND finding IS NOT NULL`, p.orderID); n != 0 {
		t.Errorf("%d findings on the order of another account", n)
	}
}

// TestChargebackIsNotCapturedAgain: an order has a second hold, and its payment
// is charged back. Only a person may take the second hold instead.
func TestChargebackIsNotCapturedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	second := w.authorize(t, "", total)
	end := time.Now().Add(time.Hour)
	w.do(t, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		made, _, _, err := w.enqueuer.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: p.orderID, PaymentGatewayID: w.gateway.ID, GatewayTransactionID: second, CurrencyCode: "EUR", AmountCents: total, CaptureBefore: &end,
		}, "shop")
		return made, err
	})
	w.dashboard(t, "dispute", p.hold, 0, "")
	w.compare(t, w.lister(t, nil))
	if op := w.reread(t, p); op.State != models.Reversed {
		t.Fatalf("capture = %+v, want reversed", op)
	}
	w.exec(t, `UPDATE order_checks SET due_at = now() - interval '1 hour'`)
	if _, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test"}); err != nil {
		t.Fatal(err)
	}
	w.start(t, staff{})
	w.settle(t)
	if ops := w.operations(t, models.Capture, p); len(ops) != 1 {
		t.Errorf("captures = %+v, want the one that was charged back", ops)
	}
	if b := w.book(t, second); len(b.Captures) != 0 {
		t.Errorf("the second hold was taken after the chargeback: %+v", b.Captures)
	}
}

// TestDifferenceGivenBackByHand: somebody refunds at the gateway and lowers the
// order's total afterwards. The policy does not give the difference back again.
func TestDifferenceGivenBackByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policy: &models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, RefundDifference: true}})
	lister := w.lister(t, nil)
	refunded, only := w.captured(t, ""), w.captured(t, "")
	w.compare(t, lister)
	w.dashboard(t, "refund", refunded.hold, 600, "")
	for _, p := range []purchase{refunded, only} {
		w.changeTotal(t, p, 900)
	}
	sweep := func() {
		w.exec(t, `UPDATE order_checks SET due_at = now() - interval '1 hour'`)
		if _, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if n := w.count(t, `SELECT count(*) FROM refunds`); n != 0 {
		t.Errorf("%d refunds were made before the gateway's list was seen", n)
	}
	w.compare(t, lister)
	sweep()
	w.start(t, staff{})
	w.settle(t)
	w.check(t, refunded, truth{captured: total, refunded: 600})
	w.check(t, only, truth{captured: total, refunded: 600})
	if n := len(w.operations(t, models.Refund, refunded)); n != 0 {
		t.Errorf("%d refunds of what was given back by hand", n)
	}
}
