package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func (b bench) observe(t tester, op models.Operation, ev models.Evidence) models.Decision {
	t.Helper()
	d, err := b.Observe(context.Background(), store.Observation{Kind: op.Kind, ID: op.ID, Evidence: ev, Actor: "webhook:stripe"})
	must(t, err)
	return d
}

// holdNow reads a hold.
func (b bench) holdNow(t *testing.T, id string) models.Authorization {
	t.Helper()
	h, err := b.Authorization(t.Context(), models.Test, id)
	must(t, err)
	return h
}

// failed is a capture that the gateway refused, its hold kept.
func (b bench) failed(t *testing.T) (models.Order, models.Operation) {
	t.Helper()
	o, op := b.approved(t)
	b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeRefused))
	return o, b.reread(t, op)
}

// What an order says after each outcome of its one capture.
func TestOutcomesOnTheLedger(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for name, c := range map[string]struct {
		ev     func(*models.Evidence)
		state  models.State
		flag   string
		order  models.PaymentStatus
		closed string
	}{
		"confirmed":          {func(*models.Evidence) {}, models.Succeeded, "", models.Paid, models.ClosedCaptured},
		"refused":            {func(e *models.Evidence) { e.Outcome = models.OutcomeRefused }, models.Failed, "", models.Authorized, ""},
		"refused, hold gone": {func(e *models.Evidence) { e.Outcome, e.HoldGone = models.OutcomeRefused, true }, models.Failed, "", models.Voided, models.ClosedGone},
		"accepted":           {func(e *models.Evidence) { e.Outcome = models.OutcomeAccepted }, models.Submitted, "", models.Authorized, ""},
		"declined":           {func(e *models.Evidence) { e.Outcome = models.OutcomeDeclined }, models.Pending, "", models.Authorized, ""},
		"not sent":           {func(e *models.Evidence) { e.Outcome = models.OutcomeNotSent }, models.Pending, "", models.Authorized, ""},
		"lost":               {func(e *models.Evidence) { e.Outcome = models.OutcomeLost }, models.Unknown, "", models.Authorized, ""},
		"less than asked":    {func(e *models.Evidence) { e.AmountCents = 1400 }, models.Succeeded, models.FlagAmount, models.PartiallyPaid, models.ClosedCaptured},
		"more than the hold": {func(e *models.Evidence) { e.AmountCents = 1600 }, models.Succeeded, models.FlagOverCaptured, models.Paid, models.ClosedCaptured},
		"another currency":   {func(e *models.Evidence) { e.CurrencyCode = "USD" }, models.Unknown, models.FlagCurrency, models.Authorized, ""},
		"another reference":  {func(e *models.Evidence) { e.Foreign = true }, models.Unknown, models.FlagForeign, models.Authorized, ""},
		"no amount":          {func(e *models.Evidence) { e.AmountCents = 0 }, models.Unknown, models.FlagAmount, models.Authorized, ""},
		"a negative amount":  {func(e *models.Evidence) { e.AmountCents = -1500 }, models.Unknown, models.FlagAmount, models.Authorized, ""},
		"a huge amount":      {func(e *models.Evidence) { e.AmountCents = 1 << 62 }, models.Succeeded, models.FlagOverCaptured, models.Paid, models.ClosedCaptured},
	} {
		t.Run(name, func(t *testing.T) {
			o, op := b.approved(t)
			ev := confirmed(op)
			c.ev(&ev)
			b.record(t, b.claim(t, op), ev)
			got, order, hold := b.reread(t, op), b.orderNow(t, o.ID), b.holdNow(t, op.AuthorizationID)
			if got.State != c.state || got.NeedsAttention != c.flag || order.PaymentStatus != c.order || hold.ClosedReason != c.closed {
				t.Errorf("the capture is %s %q, the order %s, the hold closed %q", got.State, got.NeedsAttention, order.PaymentStatus, hold.ClosedReason)
			}
			if c.state == models.Succeeded && *got.ConfirmedCents != ev.AmountCents {
				t.Errorf("booked %d, the gateway said %d", *got.ConfirmedCents, ev.AmountCents)
			}
		})
	}
	b.verify(t)
	b.audited(t)
}

// Whoever loses the fence still closes the attempt, and proof is never dropped.
func TestProofOutlivesItsFence(t *testing.T) {
	b := sharedBench(t, onApproval)
	for name, c := range map[string]struct {
		meanwhile func(t *testing.T, b bench, op models.Operation)
		want      models.State
	}{
		"a hint came": {func(t *testing.T, b bench, op models.Operation) {
			must(t, b.Hint(t.Context(), nil, b.reread(t, op), "test", "look"))
		}, models.Succeeded},
		"another took over": {func(t *testing.T, b bench, op models.Operation) {
			b.pass(t, 2*time.Minute)
			b.claim(t, op)
		}, models.Succeeded},
		"another recorded a lost look": {func(t *testing.T, b bench, op models.Operation) {
			b.pass(t, 2*time.Minute)
			b.record(t, b.claim(t, op), evidence(op, models.FromLookUp, models.OutcomeLost))
		}, models.Succeeded},
		"another found it failed": {func(t *testing.T, b bench, op models.Operation) {
			b.pass(t, 2*time.Minute)
			b.record(t, b.claim(t, op), evidence(op, models.FromLookUp, models.OutcomeRefused))
		}, models.Succeeded},
		"a webhook was faster": {func(t *testing.T, b bench, op models.Operation) { b.observe(t, op, confirmed(op)) }, models.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			o, op := b.approved(t)
			stale := b.claim(t, op)
			c.meanwhile(t, b, op)
			b.record(t, stale, confirmed(op))
			if got := b.reread(t, op); got.State != c.want || b.orderNow(t, o.ID).CapturedCents != 1500 {
				t.Errorf("the capture is %s, the order has %d", got.State, b.orderNow(t, o.ID).CapturedCents)
			}
			if n := read[int](t, b, `SELECT count(*) FROM attempt_results WHERE operation_id = $1 AND version = $2 AND fenced`, op.ID, stale.Version); n != 1 {
				t.Error("the stale attempt is open")
			}
			b.record(t, stale, confirmed(op)) // the worker is not sure whether it recorded
		})
	}
	b.verify(t)
}

// Recording twice, as after a lost connection at commit, changes nothing.
func TestRecordTwice(t *testing.T) {
	b := sharedBench(t, onApproval)
	for _, outcome := range models.Outcomes {
		_, op := b.approved(t)
		c := b.claim(t, op)
		if outcome == models.OutcomeNone {
			continue // a look-up's
		}
		b.record(t, c, evidence(op, models.FromAnswer, outcome))
		first := b.reread(t, op)
		b.record(t, c, evidence(op, models.FromAnswer, outcome))
		if diff := cmp.Diff(first, b.reread(t, op)); diff != "" {
			t.Errorf("%s twice (-once +twice):\n%s", outcome, diff)
		}
	}
	b.verify(t)
}

// A late success of what was given up: recorded, flagged, and nothing is
// refunded by itself while the order stands.
func TestLateSuccess(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.failed(t)
	d := b.observe(t, op, confirmed(op))
	got := b.reread(t, op)
	if d.Verdict != models.LateSuccess || got.State != models.Succeeded || got.NeedsAttention != models.FlagLateSuccess {
		t.Fatalf("%+v: the capture is %s %q", d, got.State, got.NeedsAttention)
	}
	b.sweep(t)
	if order := b.orderNow(t, o.ID); order.PaymentStatus != models.Paid || order.LiveOperations != 0 {
		t.Errorf("the order is %s with %d operations", order.PaymentStatus, order.LiveOperations)
	}
	if n := read[int](t, b, `SELECT count(*) FROM verdicts WHERE operation_id = $1 AND verdict = 'late_success'`, op.ID); n != 1 {
		t.Errorf("%d verdicts", n)
	}
	b.verify(t)
}

// A late success of a hold that had ended: nothing of it is voided any more.
func TestLateSuccessOfAHoldThatWasGone(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.approved(t)
	gone := evidence(op, models.FromAnswer, models.OutcomeRefused)
	gone.HoldGone = true
	b.record(t, b.claim(t, op), gone)
	if order := b.orderNow(t, o.ID); order.PaymentStatus != models.Voided {
		t.Fatalf("the order is %s", order.PaymentStatus)
	}
	b.observe(t, op, confirmed(op))
	if order := b.orderNow(t, o.ID); order.PaymentStatus != models.Paid || order.VoidedCents != 0 {
		t.Errorf("the order is %s, voided %d", order.PaymentStatus, order.VoidedCents)
	}
	b.verify(t)
}

// A late success beside a second capture of the same hold: both are told, the
// hold's cap stands, and nothing more is sent.
func TestLateSuccessBesideAnotherCapture(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, first := b.failed(t)
	second, err := b.capture(first.AuthorizationID, 0)
	must(t, err)
	b.observe(t, first, confirmed(first))
	if hold := b.holdNow(t, first.AuthorizationID); hold.ClosedReason != models.ClosedCaptured || hold.RequestedCents != 1500 {
		t.Fatalf("the hold is closed %q and asked for %d", hold.ClosedReason, hold.RequestedCents)
	}
	b.verify(t)
	b.unclaimed(t, second)
	if got := b.reread(t, second); got.State != models.Failed {
		t.Errorf("the second capture is %s", got.State)
	}
	if order := b.orderNow(t, o.ID); order.PaymentStatus != models.Paid || order.CapturedCents != 1500 {
		t.Errorf("the order is %s with %d", order.PaymentStatus, order.CapturedCents)
	}
	b.verify(t)
}

// What the gateway takes back and gives again is followed, whatever the amounts.
func TestReversalAndBack(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	refund, err := b.refund(op.ID, 1000)
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	_, err = b.Apply(t.Context(), store.Move{Op: b.reread(t, op), Decision: models.Decision{Event: models.TakenBack}, Actor: "webhook:stripe"})
	must(t, err)
	if order := b.orderNow(t, o.ID); order.CapturedCents != 0 || order.RefundedCents != 0 {
		t.Errorf("after the reversal the order has %d, refunded %d", order.CapturedCents, order.RefundedCents)
	}
	b.verify(t)
	b.observe(t, op, confirmed(op))
	if got := b.reread(t, op); got.State != models.Reversed || got.NeedsAttention != models.FlagReversed {
		t.Errorf("a success told after the reversal: %s %q", got.State, got.NeedsAttention)
	}
	less := evidence(op, models.FromLookUp, models.OutcomeConfirmed)
	less.AmountCents = 500
	b.observe(t, op, less)
	if got := b.reread(t, op); got.State != models.Reversed || got.NeedsAttention != models.FlagAmount {
		t.Errorf("less than was refunded: %s %q", got.State, got.NeedsAttention)
	}
	less.AmountCents = 1200
	b.observe(t, op, less)
	if got := b.reread(t, op); got.State != models.Succeeded || *got.ConfirmedCents != 1200 || b.orderNow(t, o.ID).RefundedCents != 1000 {
		t.Errorf("looked up again: %s with %v", got.State, got.ConfirmedCents)
	}
	b.verify(t)
}

// A refund that succeeds while its capture is reversed counts again with it.
func TestRefundOfAReversedCapture(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	refund, err := b.refund(op.ID, 700)
	must(t, err)
	c := b.claim(t, refund)
	_, err = b.Apply(t.Context(), store.Move{Op: b.reread(t, op), Decision: models.Decision{Event: models.TakenBack}, Actor: "webhook:stripe"})
	must(t, err)
	b.record(t, c, confirmed(refund))
	if order := b.orderNow(t, o.ID); order.CapturedCents != 0 || order.RefundedCents != 0 {
		t.Errorf("the order has %d, refunded %d", order.CapturedCents, order.RefundedCents)
	}
	b.verify(t)
	b.observe(t, op, evidence(op, models.FromLookUp, models.OutcomeConfirmed))
	if order := b.orderNow(t, o.ID); order.CapturedCents != 1500 || order.RefundedCents != 700 || order.PaymentStatus != models.PartiallyRefunded {
		t.Errorf("the order has %d, refunded %d: %s", order.CapturedCents, order.RefundedCents, order.PaymentStatus)
	}
	b.verify(t)
}

// An operator's again looks at once whatever the flag; what the look proves decides.
func TestRetryByHand(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	bad := evidence(op, models.FromAnswer, models.OutcomeLost)
	bad.Class = models.ClassBadRequest
	b.record(t, b.claim(t, op), bad)
	b.record(t, b.claimNow(t, op), evidence(op, models.FromLookUp, models.OutcomeNone))
	b.pass(t, 24*time.Hour)
	b.record(t, b.claimNow(t, op), models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
	parked := b.reread(t, op)
	if parked.State != models.Pending || parked.NeedsAttention != models.FlagBadRequest || parked.Tries != 1 {
		t.Fatalf("%s %q after %d tries", parked.State, parked.NeedsAttention, parked.Tries)
	}
	b.unclaimed(t, op)
	must(t, b.Retry(t.Context(), nil, parked, "person", "mended"))
	if got := b.reread(t, op); got.NeedsAttention != "" || got.Tries != 0 || !got.LookFirst {
		t.Errorf("flag %q, %d tries, look first %v", got.NeedsAttention, got.Tries, got.LookFirst)
	}
	c := b.claim(t, op)
	refused(t, b.Retry(t.Context(), nil, b.reread(t, op), "person", "again"), "operation_under_way")
	if !c.Look || !c.MaySend {
		t.Errorf("look %v, may send %v", c.Look, c.MaySend)
	}
	b.record(t, c, evidence(op, models.FromLookUp, models.OutcomeConfirmed))
	refused(t, b.Retry(t.Context(), nil, b.reread(t, op), "person", "again"), "not_open")
	b.verify(t)
}

// What turned out to have worked is not tried anew, whoever looked before.
func TestRetryAfterALateSuccess(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.paid(t)
	refund, err := b.refund(op.ID, 400)
	must(t, err)
	b.record(t, b.claim(t, refund), evidence(refund, models.FromAnswer, models.OutcomeRefused))
	failed := b.reread(t, refund)
	b.observe(t, refund, confirmed(refund))
	retry := func() error {
		return b.in(func(ctx context.Context, tx store.Tx) error {
			_, err := b.RetryFailed(ctx, tx, failed, "person")
			return err
		})
	}
	refused(t, retry(), "not_failed")
	if n := read[int](t, b, `SELECT count(*) FROM refunds`); n != 1 {
		t.Errorf("%d refunds", n)
	}
	b.verify(t)
}

// claimNow makes an operation due and takes it.
func (b bench) claimNow(t *testing.T, op models.Operation) store.Claim {
	t.Helper()
	b.exec(t, `UPDATE operations SET next_at = now() WHERE id = $1 AND state <> 'capturing'`, op.ID)
	return b.claim(t, op)
}

func TestAcknowledge(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.approved(t)
	refused(t, b.Acknowledge(t.Context(), nil, op, "person", ""), "not_flagged")
	less := confirmed(op)
	less.AmountCents = 1400
	b.record(t, b.claim(t, op), less)
	flagged := b.reread(t, op)
	must(t, b.Acknowledge(t.Context(), nil, flagged, "person", "squared with the shop"))
	if got := b.reread(t, op); got.NeedsAttention != "" || got.State != models.Succeeded || *got.ConfirmedCents != 1400 {
		t.Errorf("%s %q", got.State, got.NeedsAttention)
	}
	if err := b.Acknowledge(t.Context(), nil, flagged, "another", ""); !errors.Is(err, store.ErrStale) {
		t.Errorf("acknowledged twice: %v", err)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.PartiallyPaid {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	_, open := b.approved(t)
	_, err := b.Apply(t.Context(), store.Move{Op: open, Decision: models.Decision{Event: models.Flagged, Flag: "x"}, Actor: "test"})
	must(t, err)
	refused(t, b.Acknowledge(t.Context(), nil, b.reread(t, open), "person", ""), "still_open")
	b.verify(t)
}

// A hint is for a look. It brings no delayed capture and no next try forward.
func TestAHintDoesNotHasten(t *testing.T) {
	b := sharedBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3600})
	_, op := b.approved(t)
	b.observe(t, op, evidence(op, models.FromWebhook, models.OutcomeAccepted))
	b.observe(t, op, evidence(op, models.FromWebhook, models.OutcomeAccepted))
	if got := b.reread(t, op); got.Version != 2 {
		t.Errorf("two hints made version %d", got.Version)
	}
	c := b.claim(t, op)
	if !c.Look {
		t.Fatal("it is not looked up")
	}
	b.record(t, c, models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone})
	b.unclaimed(t, op)
	if got := b.reread(t, op); got.State != models.Pending || time.Until(*got.NextAt) < 59*time.Minute {
		t.Errorf("%s, due at %s", got.State, got.NextAt)
	}
	b.pass(t, time.Hour)
	if c := b.claim(t, op); c.Look {
		t.Error("nothing was ever sent, and it is looked up again")
	}
	b.verify(t)
}

// Many tellings of one success, at once, by everybody: one effect.
func TestManyTellOneSuccess(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.approved(t)
	c := b.claim(t, op)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i == 25 {
				ev := confirmed(op)
				d := models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true))
				if err := b.Record(context.Background(), store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: "worker"}); err != nil {
					t.Error(err)
				}
				return
			}
			_, err := b.Observe(context.Background(), store.Observation{
				Kind: op.Kind, ID: op.ID, Actor: "webhook:stripe", Evidence: evidence(op, models.FromWebhook, models.OutcomeConfirmed),
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := b.reread(t, op)
	if got.State != models.Succeeded || got.Version != 3 || b.orderNow(t, o.ID).CapturedCents != 1500 {
		t.Errorf("%s at version %d, %d captured", got.State, got.Version, b.orderNow(t, o.ID).CapturedCents)
	}
	b.verify(t)
}

// Webhooks about what is not in the books ask for a look; they move nothing.
func TestHints(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	hook := evidence(op, models.FromWebhook, models.OutcomeConfirmed)
	b.observe(t, op, hook)
	got := b.reread(t, op)
	if got.State != models.Pending || !got.LookFirst {
		t.Fatalf("%s, look first %v", got.State, got.LookFirst)
	}
	b.observe(t, op, hook)
	if again := b.reread(t, op); again.Version != got.Version {
		t.Errorf("the same hint again made version %d of %d", again.Version, got.Version)
	}
	ps, err := b.Unpublished(t.Context(), 1000)
	must(t, err)
	ps = slices.DeleteFunc(ps, func(p store.Publication) bool { return p.ID != op.ID })
	if len(ps) != 1 || ps[0].Generation != 2 {
		t.Errorf("published anew: %+v", ps)
	}
	c := b.claim(t, op)
	if !c.Look {
		t.Error("a hinted row is not looked up")
	}
	b.record(t, c, evidence(op, models.FromLookUp, models.OutcomeConfirmed))
	if got := b.reread(t, op); got.State != models.Succeeded {
		t.Errorf("%s", got.State)
	}
	b.verify(t)
}

// A hint outlives the worker that took it.
func TestAHintOutlivesItsWorker(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	b.observe(t, op, evidence(op, models.FromWebhook, models.OutcomeConfirmed))
	for range 2 {
		if c := b.claim(t, op); !c.Look {
			t.Fatal("a hinted row would be sent without a look")
		}
		b.pass(t, 2*time.Minute) // the worker died
	}
	b.verify(t)
}

// Release gives a row back: never sent if it was not, unknown if it may have been.
func TestRelease(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, fresh := b.approved(t)
	must(t, b.Release(t.Context(), b.claim(t, fresh), "worker", "stopping", time.Minute))
	if got := b.reread(t, fresh); got.State != models.Pending || got.SentVersion != nil || got.Tries != 0 || got.Unsent != 1 {
		t.Errorf("%s, sent at %v, %d tries, %d unsent", got.State, got.SentVersion, got.Tries, got.Unsent)
	}
	_, sent := b.unknownCapture(t)
	must(t, b.Release(t.Context(), b.claim(t, sent), "worker", "stopping", time.Minute))
	if got := b.reread(t, sent); got.State != models.Unknown || got.SentVersion == nil {
		t.Errorf("%s, sent at %v", got.State, got.SentVersion)
	}
	b.pass(t, time.Hour)
	sending := b.sendAfterLook(t, b.claim(t, sent))
	must(t, b.Release(t.Context(), sending, "worker", "stopping", time.Minute))
	if got := b.reread(t, sent); got.State != models.Pending || got.SentVersion == nil {
		t.Errorf("after a look: %s, sent at %v", got.State, got.SentVersion)
	}
	b.verify(t)
}

// A batch is as good as its rows one by one: stale ones are left out, rows of
// one order and of one hold add up.
func TestApplyAllIsApplyOneByOne(t *testing.T) {
	type result struct {
		Captures []models.State
		Orders   []string
	}
	b := sharedBench(t, onApproval)
	play := func(batch bool) result {
		o := b.order(t, 4000)
		for range 3 {
			b.hold(t, o.ID, 1000)
		}
		b.hold(t, o.ID, 3000)
		ops := b.approve(t, o.ID) // 1000, 1000, 1000, 1000
		_, other := b.approved(t)
		ops = append(ops, other)
		ids := make([]string, len(ops))
		for i, op := range ops {
			ids[i] = op.ID
		}
		claims, err := b.ClaimAll(t.Context(), models.Capture, ids, "worker")
		must(t, err)
		byID := map[string]store.Claim{}
		for _, c := range claims {
			byID[c.ID] = c
		}
		outcomes := []models.Outcome{models.OutcomeConfirmed, models.OutcomeRefused, models.OutcomeLost, models.OutcomeConfirmed, models.OutcomeConfirmed}
		var moves []store.Move
		for i, op := range ops {
			c := byID[op.ID]
			ev := evidence(op, models.FromAnswer, outcomes[i])
			ev.HoldGone = outcomes[i] == models.OutcomeRefused
			d := models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true))
			moves = append(moves, store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: "worker"}.Move())
		}
		must(t, b.Hint(t.Context(), nil, b.reread(t, ops[3]), "test", "look")) // makes the fourth stale
		moved := map[string]int64{}
		if batch {
			moved, err = b.ApplyAll(t.Context(), moves)
			must(t, err)
		} else {
			for _, m := range moves {
				one, err := b.ApplyAll(t.Context(), []store.Move{m})
				must(t, err)
				for id, v := range one {
					moved[id] = v
				}
			}
		}
		var r result
		for i, op := range ops {
			if _, ok := moved[op.ID]; ok != (i != 3) {
				t.Errorf("row %d moved: %v", i, ok)
			}
			r.Captures = append(r.Captures, b.reread(t, op).State)
		}
		for _, id := range []string{o.ID, other.OrderID} {
			o := b.orderNow(t, id)
			r.Orders = append(r.Orders, fmt.Sprintf("%s %+v live %d in %d", o.PaymentStatus, o.Sums(), o.LiveCents, o.LiveOperations))
		}
		b.verify(t)
		return r
	}
	if diff := cmp.Diff(play(false), play(true)); diff != "" {
		t.Errorf("one by one and at once (-one +batch):\n%s", diff)
	}
}

// Two captures of one hold in one batch close it once.
func TestApplyAllClosesAHoldOnce(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, first := b.failed(t)
	second, err := b.capture(first.AuthorizationID, 0)
	must(t, err)
	c := b.claim(t, second)
	ev := confirmed(second)
	late := models.Judge(first, confirmed(first), models.Facts{Now: time.Now(), HoldLeftConfirmed: 1500})
	moved, err := b.ApplyAll(t.Context(), []store.Move{
		{Op: first, Decision: late, Evidence: confirmed(first), Actor: "webhook:stripe"},
		store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true)), Worker: "worker"}.Move(),
	})
	must(t, err)
	if len(moved) != 2 || b.orderNow(t, o.ID).HeldCents != 0 {
		t.Errorf("%d moved, %d held", len(moved), b.orderNow(t, o.ID).HeldCents)
	}
	b.verify(t)
}

// A batch that names a row twice, or a step that does not exist, writes nothing.
func TestApplyAllRefusesNonsense(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	_, other := b.approved(t)
	flag := func(op models.Operation) store.Move {
		return store.Move{Op: op, Decision: models.Decision{Event: models.Flagged, Flag: "x"}, Actor: "test"}
	}
	if moved, err := b.ApplyAll(t.Context(), nil); err != nil || len(moved) != 0 {
		t.Errorf("nothing: %v, %v", moved, err)
	}
	for name, moves := range map[string][]store.Move{
		"the same row twice": {flag(op), flag(other), flag(op)},
		"no such step":       {flag(other), {Op: op, Decision: models.Decision{Event: models.Confirmed}, Actor: "test"}},
		"no step at all":     {flag(other), {Op: op, Actor: "test"}},
	} {
		if moved, err := b.ApplyAll(t.Context(), moves); err == nil {
			t.Errorf("%s: moved %v", name, moved)
		}
	}
	if got := b.reread(t, other); got.Version != 1 {
		t.Errorf("a batch that failed wrote version %d", got.Version)
	}
	b.verify(t)
}
