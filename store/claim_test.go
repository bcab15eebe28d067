package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// claims takes an operation, if it may be taken.
func (b bench) claims(t tester, op models.Operation, worker string) []store.Claim {
	t.Helper()
	claims, err := b.ClaimAll(context.Background(), op.Kind, []string{op.ID}, worker)
	must(t, err)
	return claims
}

// unclaimed checks that an operation cannot be taken, and returns why.
func (b bench) unclaimed(t tester, op models.Operation) error {
	t.Helper()
	if claims := b.claims(t, op, "worker"); len(claims) > 0 {
		t.Fatalf("claimed %+v", claims[0])
	}
	return b.WhyNot(context.Background(), op.Kind, op.ID, "worker")
}

// settled is a claim whose look may find a conclusive none.
func (b bench) unknownCapture(t *testing.T) (models.Order, models.Operation) {
	t.Helper()
	o, op := b.approved(t)
	b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeLost))
	b.pass(t, time.Hour)
	return o, b.reread(t, op)
}

// What keeps a capture that was never sent from being claimed, and what it is told.
func TestWhatKeepsACaptureFromBeingSent(t *testing.T) {
	b := sharedBench(t, onApproval)
	for name, c := range map[string]struct {
		obstacle func(t *testing.T, b bench, o models.Order, op models.Operation)
		// reason is of a *NotYet; done of a *Done, after which the state is end.
		reason, done string
		end          models.State
	}{
		"not due": {
			obstacle: func(t *testing.T, b bench, _ models.Order, op models.Operation) {
				b.exec(t, `UPDATE captures SET next_at = now() + interval '1 minute' WHERE id = $1`, op.ID)
			}, reason: "not due yet", end: models.Pending,
		},
		"leased": {
			obstacle: func(t *testing.T, b bench, _ models.Order, op models.Operation) { b.claim(t, op) }, reason: "another worker holds it", end: models.Capturing,
		},
		"a paused gateway": {
			obstacle: func(t *testing.T, b bench, _ models.Order, _ models.Operation) {
				must(t, b.PauseGateway(t.Context(), "stripe", "credentials refused"))
			}, reason: "gateway stripe is paused: credentials refused", end: models.Pending,
		},
		"a flag": {
			obstacle: func(t *testing.T, b bench, _ models.Order, op models.Operation) {
				_, err := b.Apply(t.Context(), store.Move{Op: op, Decision: models.Decision{Event: models.Flagged, Flag: "somebody"}, Actor: "test"})
				must(t, err)
			}, done: "waits for a person: somebody", end: models.Pending,
		},
		"an order that closes": {
			obstacle: func(t *testing.T, b bench, o models.Order, _ models.Operation) {
				b.exec(t, `UPDATE orders SET cancel_requested_at = now() WHERE id = $1`, o.ID)
			}, done: "the order is cancelled and nothing was sent", end: models.Cancelled,
		},
		"an order changed behind our back": {
			obstacle: func(t *testing.T, b bench, o models.Order, _ models.Operation) {
				b.exec(t, `UPDATE orders SET version = version + 1 WHERE id = $1`, o.ID)
			}, done: "the order was changed outside Capstan after the capture was made", end: models.Pending,
		},
		"a closed hold": {
			obstacle: func(t *testing.T, b bench, o models.Order, _ models.Operation) {
				b.exec(t, `UPDATE authorizations SET closed_at = now(), closed_reason = 'gone' WHERE order_id = $1`, o.ID)
				b.exec(t, `UPDATE orders SET held_cents = 0, voided_cents = 1500 WHERE id = $1`, o.ID)
			}, done: "the hold has ended (gone) and nothing was sent", end: models.Failed,
		},
		"a hold that ends within the call": {
			obstacle: func(t *testing.T, b bench, o models.Order, _ models.Operation) {
				b.exec(t, `UPDATE authorizations SET capture_before = now() + interval '19 seconds' WHERE order_id = $1`, o.ID)
			}, done: "the hold has ended (expired) and nothing was sent", end: models.Failed,
		},
		"the end": {
			obstacle: func(t *testing.T, b bench, _ models.Order, op models.Operation) {
				b.record(t, b.claim(t, op), confirmed(op))
			},
			done: "succeeded", end: models.Succeeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, op := b.approved(t)
			c.obstacle(t, b, o, op)
			why := b.unclaimed(t, op)
			var notYet *store.NotYet
			var done *store.Done
			switch {
			case c.reason != "" && (!errors.As(why, &notYet) || notYet.Reason != c.reason || !notYet.At.After(time.Now())):
				t.Errorf("told %v, want to come again: %s", why, c.reason)
			case c.done != "" && (!errors.As(why, &done) || done.Reason != c.done):
				t.Errorf("told %v, want an end: %s", why, c.done)
			}
			if got := b.reread(t, op).State; got != c.end {
				t.Errorf("the capture is %s, want %s", got, c.end)
			}
			must(t, b.ResumeGateway(t.Context(), "stripe"))
		})
	}
	b.verify(t)
}

// A refund never ends because its hold is closed or its order cancelled: that is
// where every refund lives.
func TestWhyNotEndsNoRefund(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	refunds, err := b.OperationsBy(t.Context(), models.Test, models.Refund, store.ByOrder, []string{o.ID}, 10)
	must(t, err)
	if len(refunds) != 1 {
		t.Fatalf("%d refunds of capture %s", len(refunds), op.ID)
	}
	var notYet *store.NotYet
	if err := b.WhyNot(t.Context(), models.Refund, refunds[0].ID, "worker"); !errors.As(err, &notYet) {
		t.Errorf("a refund that is due and free is told %v", err)
	}
	if got := b.reread(t, refunds[0]); got.State != models.Pending {
		t.Errorf("the refund is %s", got.State)
	}
	b.claim(t, refunds[0])
}

func TestWhyNotOfAVoid(t *testing.T) {
	b := sharedBench(t, onApproval)
	hold := b.hold(t, b.order(t, 1500).ID, 1500)
	void, err := b.void(hold.ID)
	must(t, err)
	var notYet *store.NotYet
	if err := b.WhyNot(t.Context(), models.Void, void.ID, "worker"); !errors.As(err, &notYet) {
		t.Errorf("a void that is due and free is told %v", err)
	}
	b.exec(t, `UPDATE authorizations SET closed_at = now(), closed_reason = 'expired' WHERE id = $1`, hold.ID)
	var done *store.Done
	if err := b.unclaimed(t, void); !errors.As(err, &done) {
		t.Errorf("a void of a closed hold is told %v", err)
	}
	if got := b.reread(t, void).State; got != models.Failed {
		t.Errorf("the void is %s", got)
	}
}

func TestWhyNotOfNothing(t *testing.T) {
	b := sharedBench(t, onApproval)
	for _, id := range []string{store.NewID(), "", "x", "' OR true --"} {
		if err := b.WhyNot(t.Context(), models.Capture, id, "worker"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A crash after the claim leaves a lease. Until it ends nobody else takes the
// row; then it is taken over, to be looked up.
func TestTakeOver(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	first := b.claim(t, op)
	if first.Look || first.SentVersion == nil || *first.SentVersion != first.Version {
		t.Fatalf("the first claim: look %v, sent at version %v of %d", first.Look, first.SentVersion, first.Version)
	}
	b.pass(t, 59*time.Second)
	b.unclaimed(t, op)
	b.pass(t, 2*time.Second)
	second := b.claims(t, op, "other")
	if len(second) != 1 || !second[0].Look || second[0].Version != first.Version+1 || second[0].LeaseOwner != "other" {
		t.Fatalf("taken over: %+v", second)
	}
	// The dead one comes back: its lost answer moves nothing, its attempt is closed.
	b.record(t, first, evidence(op, models.FromAnswer, models.OutcomeLost))
	if got := b.reread(t, op); got.State != models.Capturing || got.Version != second[0].Version {
		t.Fatalf("a lost fence moved the row: %s at %d", got.State, got.Version)
	}
	if fenced := read[bool](t, b, `SELECT fenced FROM attempt_results WHERE operation_id = $1 AND version = $2`, op.ID, first.Version); !fenced {
		t.Error("the stale attempt is not marked so")
	}
	b.verify(t)
}

// Once a send may have happened, everything begins with a look, until it is
// proven that it did not.
func TestLookAfterASend(t *testing.T) {
	b := sharedBench(t, onApproval)
	for name, c := range map[string]struct {
		ev   func(op models.Operation) models.Evidence
		look bool
	}{
		"a lost answer": {func(op models.Operation) models.Evidence { return evidence(op, models.FromAnswer, models.OutcomeLost) }, true},
		"a decline": {func(op models.Operation) models.Evidence {
			return evidence(op, models.FromAnswer, models.OutcomeDeclined)
		}, true},
		"accepted": {func(op models.Operation) models.Evidence {
			return evidence(op, models.FromAnswer, models.OutcomeAccepted)
		}, true},
		"proof of unsent": {func(op models.Operation) models.Evidence {
			return evidence(op, models.FromAnswer, models.OutcomeNotSent)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, op := b.approved(t)
			b.record(t, b.claim(t, op), c.ev(op))
			if got := b.reread(t, op); (got.SentVersion != nil) != c.look || (got.LastSentAt != nil) != c.look {
				t.Fatalf("sent version %v, last sent %v", got.SentVersion, got.LastSentAt)
			}
			b.pass(t, time.Hour)
			if next := b.claim(t, op); next.Look != c.look {
				t.Errorf("the next claim looks: %v, want %v", next.Look, c.look)
			}
		})
	}
	b.verify(t)
}

// Only the claim that sent can prove that it did not: an unsent second send says
// nothing about the first.
func TestUnsentProvesOnlyItself(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.unknownCapture(t)
	sent := *op.SentVersion
	sending := b.sendAfterLook(t, b.claim(t, op))
	b.record(t, sending, evidence(op, models.FromAnswer, models.OutcomeNotSent))
	if got := b.reread(t, op); got.SentVersion == nil || *got.SentVersion != sent {
		t.Fatalf("sent version %v, want the first send's %d", got.SentVersion, sent)
	}
	b.pass(t, time.Hour)
	if !b.claim(t, op).Look {
		t.Error("the next claim does not look")
	}
	b.verify(t)
}

// sendAfterLook looks in a claim, finds conclusively nothing, and goes on to send.
func (b bench) sendAfterLook(t *testing.T, c store.Claim) store.Claim {
	t.Helper()
	sending, err := b.ClaimSend(t.Context(), b.foundNothing(t, c))
	must(t, err)
	return sending
}

func (b bench) foundNothing(t *testing.T, c store.Claim) store.Outcome {
	t.Helper()
	none := models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}
	d := models.Judge(c.Operation, none, c.Facts(b.Tempo(), 0, false))
	if !d.Send {
		t.Fatalf("not to be sent: %+v", d)
	}
	return store.Outcome{Claim: c, Evidence: none, Decision: d, Worker: c.LeaseOwner}
}

// A none is proof only after the last call may have ended, and settled.
func TestNoneIsConclusiveWhenTheLastCallHasEnded(t *testing.T) {
	const settle = 10 * time.Second
	b := sharedBench(t, onApproval)
	conclusive := func(op models.Operation) bool { return b.claim(t, op).Facts(b.Tempo(), settle, true).NoneConclusive }

	// The worker died after the claim: its call may have begun as late as its lease allowed.
	_, dead := b.approved(t)
	b.claim(t, dead)
	b.pass(t, 61*time.Second)
	if conclusive(dead) {
		t.Error("a call that began 35 s after its claim, and settles 10 s after its 20 s, is not over at 61 s")
	}
	b.pass(t, 61*time.Second)
	if !conclusive(dead) {
		t.Error("two minutes after the claim it is over")
	}

	// The worker recorded a lost answer: its call is over.
	_, lost := b.approved(t)
	b.record(t, b.claim(t, lost), evidence(lost, models.FromAnswer, models.OutcomeLost))
	b.exec(t, `UPDATE captures SET next_at = now() WHERE id = $1`, lost.ID)
	if conclusive(lost) {
		t.Error("a none right after a lost answer is no proof")
	}
	b.pass(t, 61*time.Second)
	if !conclusive(lost) {
		t.Error("a minute after the answer was lost it is")
	}

	// Nothing was ever sent: a hint made it be looked up.
	_, hinted := b.approved(t)
	must(t, b.Hint(t.Context(), nil, hinted, "test", "look"))
	if !conclusive(hinted) {
		t.Error("where nothing was sent a none is proof at once")
	}
}

// Between the look and the send everything that stands against it is read again.
func TestClaimSendReadsAgain(t *testing.T) {
	b := sharedBench(t, onApproval)
	for name, obstacle := range map[string]func(t *testing.T, b bench, o models.Order, op models.Operation){
		"the order is cancelled": func(t *testing.T, b bench, o models.Order, _ models.Operation) { must(t, b.cancelOrder(o.ID)) },
		"the row is flagged": func(t *testing.T, b bench, _ models.Order, op models.Operation) {
			_, err := b.Apply(t.Context(), store.Move{Op: op, Decision: models.Decision{Event: models.Flagged, Flag: "somebody"}, Actor: "test"})
			must(t, err)
		},
		"the gateway is paused": func(t *testing.T, b bench, _ models.Order, _ models.Operation) {
			must(t, b.PauseGateway(t.Context(), "stripe", "test"))
		},
		"the hold is closed": func(t *testing.T, b bench, o models.Order, _ models.Operation) {
			b.exec(t, `UPDATE authorizations SET closed_at = now(), closed_reason = 'gone' WHERE order_id = $1`, o.ID)
		},
		"the hold ends": func(t *testing.T, b bench, o models.Order, _ models.Operation) {
			b.exec(t, `UPDATE authorizations SET capture_before = now() + interval '19 seconds' WHERE order_id = $1`, o.ID)
		},
		"the order changed": func(t *testing.T, b bench, o models.Order, _ models.Operation) {
			b.exec(t, `UPDATE orders SET version = version + 1 WHERE id = $1`, o.ID)
		},
		"a webhook came": func(t *testing.T, b bench, _ models.Order, op models.Operation) {
			_, err := b.Observe(t.Context(), store.Observation{Kind: op.Kind, ID: op.ID, Evidence: confirmed(op), Actor: "webhook:stripe"})
			must(t, err)
		},
		"another took over": func(t *testing.T, b bench, _ models.Order, op models.Operation) {
			b.pass(t, 2*time.Minute)
			if len(b.claims(t, op, "other")) != 1 {
				t.Fatal("not taken over")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, op := b.unknownCapture(t)
			c := b.claim(t, op)
			found := b.foundNothing(t, c)
			obstacle(t, b, o, b.reread(t, op))
			if sending, err := b.ClaimSend(t.Context(), found); !errors.Is(err, store.ErrStale) {
				t.Fatalf("claimed to send at version %d: %v", sending.Version, err)
			}
			sends := column[int](t, b, `SELECT version FROM attempts WHERE operation_id = $1 AND call = 'send' ORDER BY version`, op.ID)
			if !slices.Equal(sends, []int{2}) {
				t.Errorf("sends at versions %v", sends)
			}
			must(t, b.ResumeGateway(t.Context(), "stripe"))
		})
	}
}

// The look that a send follows leaves its result and its verdict.
func TestClaimSendLeavesEvidence(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.unknownCapture(t)
	look := b.claim(t, op)
	sending := b.sendAfterLook(t, look)
	if sending.Look || sending.Version != look.Version+1 {
		t.Fatalf("sending: look %v at version %d after %d", sending.Look, sending.Version, look.Version)
	}
	if got := read[string](t, b, `SELECT outcome FROM attempt_results WHERE operation_id = $1 AND version = $2`, op.ID, look.Version); got != "none" {
		t.Errorf("the look found %q", got)
	}
	if got := read[string](t, b, `SELECT verdict FROM verdicts WHERE operation_id = $1`, op.ID); got != string(models.Retry) {
		t.Errorf("verdict %q", got)
	}
	b.record(t, sending, confirmed(op))
	b.verify(t)
	b.audited(t)
}

// Twenty workers take the same twenty rows in batches: each row is taken once.
func TestManyClaimersTakeARowOnce(t *testing.T) {
	b := sharedBench(t, onApproval)
	var ids []string
	for range 20 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for worker := range 20 {
		mine := slices.Clone(ids)
		if worker%2 == 1 {
			slices.Reverse(mine)
		}
		wg.Go(func() {
			claims, err := b.ClaimAll(context.Background(), models.Capture, mine, "worker")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, c := range claims {
				taken[c.ID]++
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if taken[id] != 1 {
			t.Errorf("%s was taken %d times", id, taken[id])
		}
	}
	b.verify(t)
}

func TestClaimOfManyNames(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	claims, err := b.ClaimAll(t.Context(), models.Capture, []string{op.ID, op.ID, store.NewID()}, "worker")
	must(t, err)
	if len(claims) != 1 {
		t.Errorf("%d claims of one row named twice", len(claims))
	}
	if none, err := b.ClaimAll(t.Context(), models.Capture, nil, "worker"); err != nil || len(none) != 0 {
		t.Errorf("a claim of nothing: %v, %v", none, err)
	}
	if none, err := b.ClaimAll(t.Context(), models.Refund, []string{op.ID}, "worker"); err != nil || len(none) != 0 {
		t.Errorf("a capture claimed as a refund: %v, %v", none, err)
	}
	b.verify(t)
}

// A claim says how much of its lease is left, never too much.
func TestEnoughOfTheLease(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	c := b.claim(t, op)
	if !c.Enough(b.Tempo()) {
		t.Error("a fresh lease is too short to send")
	}
	if left := time.Until(c.LeaseEnds); left > b.Tempo().Lease() {
		t.Errorf("%s of a lease of %s are left", left, b.Tempo().Lease())
	}
	c.LeaseEnds = time.Now().Add(b.Tempo().Budget() + b.Tempo().SendMargin())
	if c.Enough(b.Tempo()) {
		t.Error("a lease without its margin is long enough to send")
	}
}
