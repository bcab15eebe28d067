package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

const says = "api:admin"

// word is what a person says of an operation.
func word(op models.Operation, happened bool) store.Word {
	return store.Word{Kind: op.Kind, ID: op.ID, Happened: happened, By: says, Reason: "seen on the statement"}
}

// elsewhere is the word that a person did it, of what its gateway can be asked about.
func elsewhere(op models.Operation) store.Word {
	w := word(op, true)
	w.Mechanism, w.Unsent = models.MechanismManual, true
	return w
}

// accepted has a gateway accept an operation.
func (b bench) accepted(t *testing.T, op models.Operation) models.Operation {
	t.Helper()
	b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeAccepted))
	return b.reread(t, op)
}

// TestWhoseWordCounts is the table of states: what a person may say of an
// operation whose gateway cannot be asked, and of one whose gateway can.
func TestWhoseWordCounts(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	pending := func() models.Operation { _, op := b.approved(t); return op }
	answered := func(o models.Outcome) func() models.Operation {
		return func() models.Operation {
			op := pending()
			b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, o))
			return b.reread(t, op)
		}
	}
	claimed := func() models.Operation { op := pending(); b.claim(t, op); return b.reread(t, op) }
	hinted := func() models.Operation {
		op := pending()
		must(t, b.Hint(t.Context(), nil, op, "test", "look"))
		return b.reread(t, op)
	}
	lapsed := func() models.Operation {
		op := claimed()
		b.exec(t, `UPDATE captures SET lease_until = now() - interval '1 second' WHERE id = $1`, op.ID)
		return op
	}
	told := func() models.Operation {
		op := pending()
		_, err := b.Assert(t.Context(), nil, models.Test, elsewhere(op))
		must(t, err)
		return b.reread(t, op)
	}
	withdrawn := func() models.Operation {
		o, op := b.approved(t)
		must(t, b.cancelOrder(o.ID))
		return b.reread(t, op)
	}
	const (
		stays = "" // as it was, and in sync
		ok    = models.Succeeded
		no    = models.Failed
	)
	for _, c := range []struct {
		name string
		make func() models.Operation
		// What follows: a state, stays, or the rule of a refusal.
		happened, denied, elsewhere string
	}{
		{"pending, never sent", pending, string(ok), string(no), string(ok)},
		{"pending, and a hint casts doubt on it", hinted, string(ok), string(no), "may_have_been_sent"},
		{"pending, sent and declined", answered(models.OutcomeDeclined), string(ok), string(no), "may_have_been_sent"},
		{"pending, and the call did not leave", answered(models.OutcomeNotSent), string(ok), string(no), string(ok)},
		{"under a claim", claimed, "operation_under_way", "operation_under_way", "may_have_been_sent"},
		{"under a dead worker's claim", lapsed, string(ok), string(no), "may_have_been_sent"},
		{"submitted", answered(models.OutcomeAccepted), string(ok), string(no), "may_have_been_sent"},
		{"unknown", answered(models.OutcomeLost), string(ok), string(no), "may_have_been_sent"},
		{"failed", answered(models.OutcomeRefused), string(ok), stays, "may_have_been_sent"},
		{"cancelled", withdrawn, string(ok), stays, "may_have_been_sent"},
		{"succeeded by proof", answered(models.OutcomeConfirmed), "already_succeeded", "already_succeeded", "already_succeeded"},
		{"succeeded by a word", told, stays, "already_succeeded", stays},
	} {
		try := func(what, want string, w func(models.Operation) store.Word) {
			t.Run(c.name+": "+what, func(t *testing.T) {
				op := c.make()
				d, err := b.Assert(t.Context(), nil, models.Test, w(op))
				got := b.reread(t, op)
				var r *store.Refusal
				switch {
				case errors.As(err, &r):
					if r.Rule != want || got.State != op.State || got.Version != op.Version {
						t.Errorf("refused by %s, and it is %s v%d; want %s", r.Rule, got.State, got.Version, want)
					}
					return
				case err != nil:
					t.Fatal(err)
				case want == stays:
					if d.Event != "" || d.Verdict != models.InSync || got.Version != op.Version {
						t.Errorf("%+v moved it to %s v%d", d, got.State, got.Version)
					}
					return
				}
				if string(got.State) != want || got.AssertedBy != says || got.State.Live() {
					t.Errorf("it is %s by %q, want %s (%s)", got.State, got.AssertedBy, want, d.Rule)
				}
				if got.State == models.Succeeded && (got.Mechanism != w(op).Mechanism || *got.ConfirmedCents != op.AmountCents) {
					t.Errorf("mechanism %q and %d confirmed", got.Mechanism, *got.ConfirmedCents)
				}
				if n := read[int](t, b, `SELECT count(*) FROM verdicts WHERE operation_id = $1 AND actor = $2 AND rule LIKE '%person says%' OR operation_id = $1 AND verdict = 'late_success'`, op.ID, says); n != 1 {
					t.Errorf("%d verdicts keep the word, want 1", n)
				}
				if n := read[int](t, b, `SELECT count(*) FROM events WHERE operation_id = $1 AND actor = $2 AND reason = 'seen on the statement'`, op.ID, says); n != 1 {
					t.Errorf("%d steps keep the reason, want 1", n)
				}
			})
		}
		try("it happened", c.happened, func(op models.Operation) store.Word { return word(op, true) })
		try("it did not", c.denied, func(op models.Operation) store.Word { return word(op, false) })
		try("it was done elsewhere", c.elsewhere, elsewhere)
	}
	b.verify(t)
	b.audited(t)
}

// Nothing is sent for what was told, and its caps are as for any capture.
func TestNothingIsSentForAWord(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, op := b.approved(t)
	_, err := b.Assert(t.Context(), nil, models.Test, elsewhere(op))
	must(t, err)
	if got := b.claims(t, op, "worker"); len(got) != 0 {
		t.Errorf("claimed: %+v", got)
	}
	if n := read[int](t, b, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'send'`, op.ID); n != 0 {
		t.Errorf("%d attempts to send", n)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Paid || got.LiveOperations != 0 {
		t.Errorf("the order is %s with %d open", got.PaymentStatus, got.LiveOperations)
	}
	_, err = b.capture(op.AuthorizationID, 100)
	refused(t, err, "hold_closed")
	// A gateway that has nothing of it contradicts nobody.
	none := store.Observation{Kind: op.Kind, ID: op.ID, Actor: "listing", NoneConclusive: true, Evidence: models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}}
	if d, err := b.Observe(t.Context(), none); err != nil || d.Event != "" {
		t.Errorf("a conclusive none: %+v %v", d, err)
	}
	if found, err := b.Successes(t.Context(), b.gateway.ID, models.Capture, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "", 10); err != nil || len(found) != 0 {
		t.Errorf("its gateway is asked for %+v (%v)", found, err)
	}
	b.verify(t)
	b.audited(t)
}

// After a restore nobody knows what was sent: a look comes first, and what it
// finds nothing of may be said. An unsigned word is none.
func TestAWordAfterARestore(t *testing.T) {
	b := newBench(t, onApproval)
	_, op := b.approved(t)
	_, err := b.LookFirst(t.Context(), "stripe", time.Now().Add(time.Hour), "test")
	must(t, err)
	_, err = b.Assert(t.Context(), nil, models.Test, elsewhere(op))
	refused(t, err, "may_have_been_sent")
	c := b.claim(t, op)
	if !c.Look {
		t.Fatal("it was not looked up")
	}
	none := models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}
	must(t, b.Record(t.Context(), store.Outcome{Claim: c, Evidence: none, Decision: models.Decision{Event: models.NotSent, Verdict: models.Retry, Rule: "nothing there"}, Worker: "worker"}))
	for _, w := range []store.Word{{Kind: op.Kind, ID: op.ID, Happened: true, By: says}, {Kind: op.Kind, ID: op.ID, Happened: true, Reason: "x"}} {
		if _, err := b.Assert(t.Context(), nil, models.Test, w); err == nil {
			t.Errorf("%+v was believed", w)
		}
	}
	_, err = b.Assert(t.Context(), nil, models.Live, elsewhere(op))
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in the other mode: %v", err)
	}
	_, err = b.Assert(t.Context(), nil, models.Test, elsewhere(op))
	must(t, err)
	if got := b.reread(t, op); got.State != models.Succeeded || !got.Manual() {
		t.Errorf("%s, %q", got.State, got.Mechanism)
	}
	b.verify(t)
	b.audited(t)
}

// A hold with balance and nothing under way is captured elsewhere, in part or in
// whole; a capture that waits is the one that is meant.
func TestCapturedElsewhere(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: false, CaptureTrigger: models.TriggerManual})
	say := func(hold string, amount int64) (op models.Operation, err error) {
		err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
			op, err = b.CapturedElsewhere(ctx, tx, models.Test, hold, amount, store.Word{Mechanism: models.MechanismManual, By: says, Reason: "cash"}, models.Labels{Reference: "till 4"})
			return err
		})
		return op, err
	}
	o := b.order(t, 1500)
	hold, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, MultiCapture: true})
	must(t, err)
	op, err := say(hold.ID, 600)
	must(t, err)
	if op.State != models.Succeeded || !op.Manual() || op.AmountCents != 600 || op.Cause != models.CauseManual || op.Reference != "till 4" || op.Version != 3 {
		t.Errorf("made %+v", op)
	}
	_, err = say(hold.ID, 901)
	refused(t, err, "capture_exceeds_hold")
	op, err = say(hold.ID, 0)
	must(t, err)
	if op.AmountCents != 900 || b.orderNow(t, o.ID).PaymentStatus != models.Paid {
		t.Errorf("the rest is %d, the order %s", op.AmountCents, b.orderNow(t, o.ID).PaymentStatus)
	}
	_, err = say(hold.ID, 0)
	refused(t, err, "nothing_left")

	waits := b.hold(t, b.order(t, 1500).ID, 1500)
	meant, err := b.capture(waits.ID, 700)
	must(t, err)
	_, err = say(waits.ID, 800)
	refused(t, err, "operation_under_way")
	if op, err = say(waits.ID, 700); err != nil || op.ID != meant.ID || !op.Manual() {
		t.Errorf("said of %s: %+v %v", meant.ID, op, err)
	}
	sent := b.hold(t, b.order(t, 1500).ID, 1500)
	call, err := b.capture(sent.ID, 700)
	must(t, err)
	b.claim(t, call)
	_, err = say(sent.ID, 700)
	refused(t, err, "operation_under_way")
	b.verify(t)
	b.audited(t)
}

// TestRefundsOfAManualCapture: none goes to the gateway by itself or by hand; one
// that a person made is recorded, in part or in whole.
func TestRefundsOfAManualCapture(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, op := b.approved(t)
	_, err := b.Assert(t.Context(), nil, models.Test, elsewhere(op))
	must(t, err)
	_, err = b.refund(op.ID, 100)
	refused(t, err, store.RuleManuallyCaptured)
	say := func(amount int64) (refund models.Operation, err error) {
		err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
			refund, err = b.RefundedElsewhere(ctx, tx, models.Test, op.ID, amount, store.Word{Mechanism: models.MechanismManual, By: says, Reason: "cash back"})
			return err
		})
		return refund, err
	}
	refund, err := say(400)
	must(t, err)
	if refund.State != models.Succeeded || !refund.Manual() || refund.AmountCents != 400 || b.orderNow(t, o.ID).PaymentStatus != models.PartiallyRefunded {
		t.Errorf("recorded %+v, the order is %s", refund, b.orderNow(t, o.ID).PaymentStatus)
	}
	_, err = say(1101)
	refused(t, err, "refund_exceeds_balance")

	// Cancelled, nothing goes back by itself; a person is called once, and says when it did.
	must(t, b.cancelOrder(o.ID))
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0) // told when it was cancelled
	if got := b.reread(t, op); got.NeedsAttention != store.FlagCancelFailed || b.refundsOf(t, o.ID) != 1 {
		t.Errorf("flagged %q, %d refunds", got.NeedsAttention, b.refundsOf(t, o.ID))
	}
	if n := read[int](t, b, `SELECT count(*) FROM verdicts WHERE operation_id = $1 AND verdict = 'needs_attention' AND rule LIKE 'a person captured it%'`, op.ID); n != 1 {
		t.Errorf("%d verdicts call a person, want 1", n)
	}
	_, err = b.cancelled(op.ID, false)
	refused(t, err, store.RuleManuallyCaptured)
	back, err := b.cancelled(op.ID, true)
	must(t, err)
	if back.AmountCents != 1100 || back.Cause != models.CauseCancel || b.reread(t, op).State != models.Reset {
		t.Errorf("given back %+v, the capture is %s", back, b.reread(t, op).State)
	}
	b.acknowledge(t, b.reread(t, op))
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0)
	b.verify(t)
	b.audited(t)
}

// cancelled cancels a capture at its gateway, or records that a person did.
func (b bench) cancelled(id string, elsewhere bool) (refund models.Operation, err error) {
	err = b.in(func(ctx context.Context, tx store.Tx) (err error) {
		if elsewhere {
			refund, err = b.CancelledElsewhere(ctx, tx, models.Test, id, store.Word{Mechanism: models.MechanismManual, By: says, Reason: "cash back"})
			return err
		}
		refund, err = b.CancelCapture(ctx, tx, models.Test, id, time.Now(), says)
		return err
	})
	return refund, err
}

// A difference of an approved order that a person captured is theirs to give back.
func TestDifferenceOfAManualCapture(t *testing.T) {
	t.Parallel()
	b := newBench(t, giveBack)
	o, op := b.approved(t)
	_, err := b.Assert(t.Context(), nil, models.Test, elsewhere(op))
	must(t, err)
	must(t, b.changeTotal(o.ID, 1200))
	b.pass(t, cancelAfter+time.Minute)
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 1)
	counted(t, b.reviewAgain(t, o.ID), models.NeedsAttention, 0)
	if n := b.refundsOf(t, o.ID); n != 0 {
		t.Errorf("%d refunds were made", n)
	}
	b.verify(t)
	b.audited(t)
}

// TestWordsBesideClaimsAndWebhooks: however they meet, each operation has one end,
// and whatever a claim learns after a word is judged against it.
func TestWordsBesideClaimsAndWebhooks(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	rounds := 6
	if *prove {
		rounds = 60
	}
	for i := range rounds {
		_, op := b.approved(t)
		submitted := i%2 == 1
		if submitted {
			op = b.accepted(t, op)
		}
		var together sync.WaitGroup
		together.Go(func() {
			_, err := b.Assert(t.Context(), nil, models.Test, word(op, i%3 != 0))
			tolerate(t, err)
		})
		together.Go(func() {
			_, err := b.Observe(t.Context(), store.Observation{Kind: op.Kind, ID: op.ID, Evidence: evidence(op, models.FromWebhook, models.OutcomeConfirmed), Actor: "webhook:x"})
			tolerate(t, err)
		})
		together.Go(func() {
			claims, err := b.ClaimAll(t.Context(), op.Kind, []string{op.ID}, "worker")
			must(t, err)
			for _, c := range claims {
				ev := evidence(op, models.FromAnswer, models.OutcomeConfirmed)
				if c.Look {
					ev.Source = models.FromLookUp
				}
				must(t, b.Record(t.Context(), store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(b.Tempo(), 0, true)), Worker: "worker"}))
			}
		})
		together.Wait()
		got := b.reread(t, op)
		if submitted && got.State != models.Succeeded && got.State != models.Failed || got.ConfirmedCents != nil && *got.ConfirmedCents != 1500 {
			t.Errorf("round %d ended %s with %v confirmed", i, got.State, got.ConfirmedCents)
		}
	}
	b.verify(t)
	b.audited(t)
}
