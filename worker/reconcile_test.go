package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

var onAuthorization = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization}

// wantOrder checks where an order stands.
func (w *world) wantOrder(t *testing.T, p purchase, status models.OrderStatus, payment models.PaymentStatus) {
	t.Helper()
	o := w.orderNow(t, p)
	if o.Status != status || o.PaymentStatus != payment || o.LiveOperations != 0 {
		t.Errorf("the order is %s and %s with %d open, want %s and %s", o.Status, o.PaymentStatus, o.LiveOperations, status, payment)
	}
}

// TestEditedOrderIsUnpaidAgain: captured when the hold came, then the order
// changed: the payment goes back and the order is unpaid.
func TestEditedOrderIsUnpaidAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		to     int64
		fault  string
		refund models.State
	}{
		{"lowered", 900, "", models.Succeeded},
		{"raised", 2900, "", models.Succeeded},
		{"the refund's answer is lost", 900, "refund.charge_then_drop", models.Succeeded},
		{"the refund is lost", 900, "refund.drop_before", models.Succeeded},
		{"the refund meets a 500", 900, "refund.sticky_500", models.Succeeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{policy: &onAuthorization})
			p := w.place(t, tt.fault)
			w.start(t, staff{})
			w.reaches(t, p, models.Succeeded)
			w.changeTotal(t, p, tt.to)
			capture := w.reaches(t, p, models.Reset)
			w.recovered(t)
			refunds := w.operations(t, models.Refund, p)
			if len(refunds) != 1 || refunds[0].State != tt.refund || refunds[0].Cause != models.CauseCancel {
				t.Fatalf("refunds = %+v, want one, by cancel, %s", refunds, tt.refund)
			}
			if got := w.verdicts(t, refunds[0].ID); !slices.Contains(got, models.Cancel) {
				t.Errorf("verdicts %v of the refund, want the cancel that made it", got)
			}
			if capture.RefundBalance() != 0 {
				t.Errorf("the reset capture still has %d to give back", capture.RefundBalance())
			}
			w.wantOrder(t, p, models.OrderPending, models.Unpaid)
			w.check(t, p, truth{captured: total, refunded: total})
		})
	}
}

// TestEditThatIsTakenBack within the time that a change must stand moves nothing,
// and neither does the change of an approved order, whose difference is shown.
func TestEditThatIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policy: &onAuthorization, cancelAfter: time.Hour})
	back, approved := w.place(t, ""), w.place(t, "")
	stop := w.start(t, staff{})
	w.settle(t)
	stop()
	w.changeTotal(t, back, 900)
	w.changeTotal(t, back, total)
	w.approve(t, approved)
	w.changeTotal(t, approved, 900)
	for _, in := range []time.Duration{0, 30 * time.Minute, 2 * time.Hour, 48 * time.Hour} {
		w.exec(t, `UPDATE order_checks SET due_at = now()`)
		report, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", CancelAfter: time.Hour, Now: time.Now().Add(in)})
		shown := 0
		if in == 2*time.Hour { // the approved order's difference is shown, once
			shown = 1
		}
		if err != nil || len(report.Findings) != shown || report.Counts[models.NeedsAttention] != shown {
			t.Errorf("a sweep %s later found %+v (%v), want %d", in, report.Findings, err, shown)
		}
	}
	for _, p := range []purchase{back, approved} {
		if op := w.reread(t, p); op.State != models.Succeeded {
			t.Errorf("capture = %+v, want succeeded", op)
		}
		w.check(t, p, truth{captured: total})
	}
	w.wantOrder(t, approved, models.OrderApproved, models.Paid)
}

// TestOrderIsCancelled at each moment of its capture.
func TestOrderIsCancelled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, fault string
		inFlight    bool         // cancelled while the call is under way
		state       models.State // or failed, where the gateway refused it at that moment
		truth       truth
		payment     models.PaymentStatus
	}{
		{"before anything was sent", "", false, models.Cancelled, truth{voided: total}, models.Voided},
		{"before anything was sent, and the void is lost", "void.charge_then_drop", false, models.Cancelled, truth{voided: total}, models.Voided},
		{"in flight, captured", "", true, models.Reset, truth{captured: total, refunded: total}, models.Refunded},
		{"in flight, captured, answer lost", "charge_then_drop", true, models.Reset, truth{captured: total, refunded: total}, models.Refunded},
		{"in flight, lost", "drop_before", true, models.Cancelled, truth{voided: total}, models.Voided},
		{"in flight, declined", "decline", true, models.Cancelled, truth{voided: total}, models.Voided},
		{"in flight, refused", "decline_hard", true, models.Cancelled, truth{voided: total}, models.Voided},
		{"in flight, throttled", "429=1", true, models.Cancelled, truth{voided: total}, models.Voided},
		{"in flight, and the refund is lost", "charge_then_drop,refund.charge_then_drop", true, models.Reset, truth{captured: total, refunded: total}, models.Refunded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := w.order(t, tt.fault)
			if tt.inFlight {
				gate := w.front.holdBack(http.MethodPost, p.hold+"/capture")
				w.start(t, staff{})
				eventually(t, "the call is under way", func() (bool, any) { return w.front.held(gate) == 1, nil })
				if o := w.cancel(t, p); o.CancelRequestedAt == nil || o.Status == models.OrderCancelled {
					t.Errorf("order = %+v, want the cancel to wait for the outcome", o)
				}
				w.front.release(gate)
			} else {
				if o := w.cancel(t, p); o.Status != models.OrderCancelled {
					t.Errorf("order = %+v, want cancelled at once", o)
				}
				w.start(t, staff{})
			}
			w.recovered(t)
			if op := w.reread(t, p); op.State != tt.state && (tt.fault != "decline_hard" || op.State != models.Failed) {
				t.Errorf("capture = %+v, want %s", op, tt.state)
			}
			w.wantOrder(t, p, models.OrderCancelled, tt.payment)
			w.check(t, p, tt.truth)
			if _, err := w.enqueuer.Do(t.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
				return w.enqueuer.Approve(ctx, tx, models.Test, p.orderID, "shop")
			}); err == nil {
				t.Errorf("a cancelled order was approved")
			}
		})
	}
}

// TestCancelThatSomebodyElseMade: the money was given back at the gateway by
// hand. It does not go back twice; a person is told.
func TestCancelThatSomebodyElseMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	w.call(t, http.MethodPost, "/v1/refunds", strings.NewReader("payment_intent="+p.hold), nil)
	w.cancel(t, p)
	w.start(t, staff{})
	eventually(t, "a person is told", func() (bool, any) {
		refunds := w.operations(t, models.Refund, p)
		return len(refunds) == 1 && refunds[0].NeedsAttention != "", refunds
	})
	refund := w.operations(t, models.Refund, p)[0]
	if refund.State == models.Succeeded {
		t.Errorf("refund = %+v, booked as ours", refund)
	}
	w.check(t, p, truth{captured: total, refunded: total})
}

// TestHoldEnds: nothing is sent shortly before or after; what was never sent fails.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	end := time.Now().Add(300 * time.Millisecond)
	p := w.placeUntil(t, "", total, total, &end)
	made := w.approve(t, p)
	if len(made) == 1 {
		p.op = made[0]
	}
	w.start(t, staff{})
	w.recovered(t)
	if len(made) == 1 {
		if op := w.reread(t, p); op.State != models.Failed || op.ErrorCode != "authorization_expired" {
			t.Errorf("capture = %+v, want failed for the hold", op)
		}
	}
	w.wantOrder(t, p, models.OrderApproved, models.Voided)
	w.check(t, p, truth{})
}

// TestLastChance captures what nobody captured, before the hold ends.
func TestLastChance(t *testing.T) {
	t.Parallel()
	hour := int64(3600)
	w := newWorld(t, setup{policy: &models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerFulfillment, LastChanceSeconds: &hour}})
	soon, later := time.Now().Add(30*time.Minute), time.Now().Add(5*time.Hour)
	near := w.placeUntil(t, "", total, total, &soon)
	far := w.placeUntil(t, "", total, total, &later)
	open := w.placeUntil(t, "", total, total, &soon) // never approved
	for _, p := range []purchase{near, far} {
		if made := w.approve(t, p); len(made) != 0 {
			t.Fatalf("approval made %+v, want nothing before fulfillment", made)
		}
	}
	w.start(t, staff{})
	eventually(t, "the order whose hold ends is paid", func() (bool, any) {
		o := w.orderNow(t, near)
		return o.PaymentStatus == models.Paid, o
	})
	w.check(t, near, truth{captured: total})
	for _, p := range []purchase{far, open} {
		w.check(t, p, truth{})
	}
	if ops := w.operations(t, models.Capture, near); len(ops) != 1 || ops[0].Cause != models.CauseLastChance {
		t.Errorf("captures = %+v, want one for the last chance", ops)
	}
}

// TestDryRunTouchesNothing.
func TestDryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var ids []string
	for range 5 {
		ids = append(ids, w.order(t, "").op.ID)
	}
	if _, err := w.store.ClaimAll(t.Context(), models.Capture, ids, "ghost"); err != nil {
		t.Fatal(err)
	}
	w.exec(t, `UPDATE captures SET lease_until = now() - interval '1 second'`)
	w.exec(t, `UPDATE work SET due_at = now() - interval '1 second', published_at = now() - interval '1 hour'`)
	state := func() string {
		return fmt.Sprint(w.count(t, `SELECT count(*) FROM verdicts`), w.count(t, `SELECT count(*) FROM reconciliations`),
			w.count(t, `SELECT sum(generation) FROM work`), w.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`), w.count(t, `SELECT sum(version) FROM captures`))
	}
	before := state()
	report, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", DryRun: true, Now: time.Now()})
	if err != nil || report.Counts[models.Republish] != len(ids) {
		t.Errorf("dry run: %+v %v, want %d to republish", report.Counts, err, len(ids))
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("the dry run changed something: %s", diff)
	}
}
