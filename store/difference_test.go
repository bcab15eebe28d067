package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

var giveBack = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, RefundDifference: true}

func (b bench) acknowledge(t *testing.T, op models.Operation) {
	t.Helper()
	must(t, b.Acknowledge(t.Context(), nil, b.reread(t, op), "person", "seen"))
}

// flags are the flags that were ever raised on an operation, oldest first.
func (b bench) flags(t *testing.T, op models.Operation) []string {
	t.Helper()
	return column[string](t, b, `SELECT reason FROM events WHERE operation_id = $1 AND event = 'flagged' ORDER BY version`, op.ID)
}

// Without the policy the difference is shown, once for each total, and the flag
// goes with it.
func TestDifferenceIsShown(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "default", "http://127.0.0.1:1/hook"))
	o, op := b.paid(t)
	must(t, b.changeTotal(o.ID, 1200))
	if got := b.orderNow(t, o.ID).Overpaid(); got != 300 {
		t.Errorf("overpaid by %d", got)
	}
	counted(t, b.sweep(t), models.NeedsAttention, 0) // it has not stood yet
	b.pass(t, cancelAfter+time.Minute)
	dry, err := b.RunSweep(t.Context(), store.Sweep{Owner: "dry", Source: "test", DryRun: true, CancelAfter: cancelAfter, Now: time.Now()})
	must(t, err)
	counted(t, dry, models.NeedsAttention, 1)
	report := b.sweep(t)
	counted(t, report, models.NeedsAttention, 1)
	if got := b.reread(t, op); got.NeedsAttention != models.FlagAboveTotal || got.State != models.Succeeded {
		t.Fatalf("the capture is %s %q", got.State, got.NeedsAttention)
	}
	const rule = "captured 1500 and refunded 0 for an approved order of 1200: 300 above its total"
	if got := column[string](t, b, `SELECT rule FROM verdicts WHERE operation_id = $1 AND verdict = 'needs_attention'`, op.ID); !cmp.Equal(got, []string{rule}) {
		t.Errorf("verdicts %q", got)
	}
	if n := read[int](t, b, `SELECT count(*) FROM deliveries WHERE topic = 'captures.needs_attention' AND operation_id = $1`, op.ID); n != 1 {
		t.Errorf("%d webhooks tell of it", n)
	}
	// Acknowledged, it is not raised again for the same total, however often it is looked at.
	b.acknowledge(t, op)
	for range 2 {
		b.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now()) ON CONFLICT (order_id) DO UPDATE SET due_at = now()`, o.ID)
		counted(t, b.sweep(t), models.NeedsAttention, 0)
	}
	part, err := b.refund(op.ID, 100)
	must(t, err)
	b.record(t, b.claim(t, part), confirmed(part))
	counted(t, b.sweep(t), models.NeedsAttention, 0)
	// For another total it is.
	must(t, b.changeTotal(o.ID, 1000))
	b.pass(t, cancelAfter+time.Minute)
	counted(t, b.sweep(t), models.NeedsAttention, 1)
	if diff := cmp.Diff([]string{"above the total of 1200 EUR", "above the total of 1000 EUR"}, b.flags(t, op)); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	// A refund by hand ends it, and the flag.
	rest, err := b.refund(op.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, rest), confirmed(rest))
	b.sweep(t)
	if got := b.reread(t, op); got.NeedsAttention != "" {
		t.Errorf("still flagged %q", got.NeedsAttention)
	}
	if n := read[int](t, b, `SELECT count(*) FROM order_checks`); n != 0 {
		t.Errorf("%d orders are still looked at", n)
	}
	b.verify(t)
	b.audited(t)
}

// A total that is raised again ends the flag, too.
func TestDifferenceThatIsTakenBack(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	must(t, b.changeTotal(o.ID, 1200))
	b.pass(t, cancelAfter+time.Minute)
	counted(t, b.sweep(t), models.NeedsAttention, 1)
	must(t, b.changeTotal(o.ID, 1500))
	b.sweep(t)
	if got := b.reread(t, op); got.NeedsAttention != "" {
		t.Errorf("still flagged %q", got.NeedsAttention)
	}
	must(t, b.changeTotal(o.ID, 1200)) // nobody acknowledged it: it is shown again
	b.pass(t, cancelAfter+time.Minute)
	counted(t, b.sweep(t), models.NeedsAttention, 1)
	b.verify(t)
}

// With the policy exactly the difference is given back, one refund at a time.
func TestDifferenceIsGivenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, giveBack)
	o := b.order(t, 2500)
	b.hold(t, o.ID, 1500)
	b.hold(t, o.ID, 1000)
	made := b.approve(t, o.ID)
	for _, op := range made {
		b.record(t, b.claim(t, op), confirmed(op))
	}
	byHand, err := b.refund(made[0].ID, 200)
	must(t, err)
	b.record(t, b.claim(t, byHand), confirmed(byHand))
	must(t, b.changeTotal(o.ID, 300)) // 2,300 stand: 2,000 too much, more than either capture has
	b.pass(t, cancelAfter+time.Minute)
	var given []int64
	for range 4 {
		b.sweep(t)
		live := b.live(t, o.ID)
		if len(live) == 0 {
			break
		}
		if len(live) != 1 || live[0].Cause != models.CauseDifference {
			t.Fatalf("under way: %+v", live)
		}
		counted(t, b.sweep(t), models.Cancel, 0) // nothing beside it
		given = append(given, live[0].AmountCents)
		b.record(t, b.claim(t, live[0]), confirmed(live[0]))
	}
	if diff := cmp.Diff([]int64{1000, 1000}, given); diff != "" {
		t.Errorf("given back (-want +got):\n%s", diff)
	}
	got := b.orderNow(t, o.ID)
	if got.Overpaid() != 0 || got.CapturedCents-got.RefundedCents != 300 || got.PaymentStatus != models.PartiallyRefunded {
		t.Errorf("the order is %s: %+v", got.PaymentStatus, got.Sums())
	}
	for _, op := range made {
		if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != "" {
			t.Errorf("a capture is %s %q", got.State, got.NeedsAttention)
		}
	}
	b.pass(t, time.Hour)
	if report := b.sweep(t); len(report.Findings) != 0 {
		t.Errorf("still found: %+v", report.Findings)
	}
	b.verify(t)
	b.audited(t)
}

// A refund of the difference that fails calls a person, and is not tried again for
// that total.
func TestDifferenceThatFails(t *testing.T) {
	t.Parallel()
	b := newBench(t, giveBack)
	o, op := b.paid(t)
	must(t, b.changeTotal(o.ID, 1200))
	b.pass(t, cancelAfter+time.Minute)
	b.sweep(t)
	refund := b.refundOf(t, o.ID)
	b.record(t, b.claim(t, refund), evidence(refund, models.FromAnswer, models.OutcomeRefused))
	for _, want := range []int{1, 0, 0} {
		counted(t, b.sweep(t), models.NeedsAttention, want)
		b.exec(t, `INSERT INTO order_checks (order_id, due_at) VALUES ($1, now()) ON CONFLICT (order_id) DO UPDATE SET due_at = now()`, o.ID)
	}
	b.refundOf(t, o.ID) // still one
	if got := b.reread(t, op); got.NeedsAttention != models.FlagAboveTotal || got.RefundRequestedCents != 0 {
		t.Errorf("the capture is %q with %d requested", got.NeedsAttention, got.RefundRequestedCents)
	}
	// It took effect after all: told as it is, and the flag goes.
	b.observe(t, refund, confirmed(refund))
	b.sweep(t)
	if got := b.orderNow(t, o.ID); got.Overpaid() != 0 || b.reread(t, op).NeedsAttention != "" {
		t.Errorf("overpaid by %d, the capture is %q", got.Overpaid(), b.reread(t, op).NeedsAttention)
	}
	b.verify(t)
	b.audited(t)
}

// A late success that makes an approved order pay twice is a person's business
// first; acknowledged, the policy gives the difference back.
func TestDifferenceByALateSuccess(t *testing.T) {
	t.Parallel()
	b := newBench(t, giveBack)
	o := b.order(t, 1500)
	b.hold(t, o.ID, 1500)
	first := b.approve(t, o.ID)[0]
	b.record(t, b.claim(t, first), evidence(first, models.FromAnswer, models.OutcomeRefused))
	_, made, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500})
	must(t, err)
	b.record(t, b.claim(t, made[0]), confirmed(made[0]))
	b.sweep(t)
	b.observe(t, first, evidence(first, models.FromWebhook, models.OutcomeConfirmed))
	if got := b.reread(t, first); got.State != models.Succeeded || got.NeedsAttention != models.FlagLateSuccess {
		t.Fatalf("the first capture is %s %q", got.State, got.NeedsAttention)
	}
	b.sweep(t)
	if live := b.live(t, o.ID); len(live) != 0 {
		t.Fatalf("given back before a person saw it: %+v", live)
	}
	b.acknowledge(t, first)
	b.sweep(t)
	live := b.live(t, o.ID)
	if len(live) != 1 || live[0].AmountCents != 1500 || live[0].Cause != models.CauseDifference {
		t.Fatalf("given back %+v", live)
	}
	b.record(t, b.claim(t, live[0]), confirmed(live[0]))
	b.sweep(t)
	if got := b.orderNow(t, o.ID); got.CapturedCents-got.RefundedCents != 1500 || got.Overpaid() != 0 {
		t.Errorf("the order: %+v", got.Sums())
	}
	b.verify(t)
	b.audited(t)
}

// The claim of a refund knows whether all of its capture goes back.
func TestRefundKnowsItsCapture(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	if c := b.claim(t, b.refundOf(t, o.ID)); c.CaptureCents != 1500 || c.AmountCents != 1500 || c.Capture != "tx_"+op.ID {
		t.Errorf("the claim has %d of %d of %s", c.AmountCents, c.CaptureCents, c.Capture)
	}
}

// By hand the guard that failed is named.
func TestCancelByHandNamesTheGuard(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.paid(t)
	err := b.in(func(ctx context.Context, tx store.Tx) error {
		_, err := b.CancelCapture(ctx, tx, models.Test, op.ID, time.Now(), "person")
		return err
	})
	refused(t, err, "order_approved")
}
