package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// Word is what a person says became of an operation. It is believed where no
// gateway can be asked, and for what was done without one.
type Word struct {
	Kind models.Kind
	ID   string
	// Happened: it took effect. Else it did not, and never will.
	Happened bool
	// Mechanism is models.MechanismManual where a person did it, and not through
	// the gateway account that the row names.
	Mechanism string
	// Unsent: believed only of what provably has no effect at its gateway, which
	// tells of the rest.
	Unsent bool
	// By is who says so, and answers for it; Reason is why.
	By, Reason string
}

func (w Word) evidence(op models.Operation) models.Evidence {
	ev := models.Evidence{Source: models.FromOperator, Outcome: models.OutcomeRefused, By: w.By, Message: "said by " + w.By}
	if w.Happened {
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.Mechanism = models.OutcomeConfirmed, op.AmountCents, op.CurrencyCode, w.Mechanism
	}
	return ev
}

// Assert records a person's word, in a transaction of the caller's or with tx nil
// in one of its own. The same word again is in_sync. What was not sent is claimed
// first, in the same commit: whoever would send it finds it taken, and a claim
// that was first stands, until its own outcome.
func (s *Store) Assert(ctx context.Context, tx Tx, mode models.Mode, w Word) (d models.Decision, err error) {
	if tx != nil {
		return s.assert(ctx, tx, mode, w)
	}
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		d, err = s.assert(ctx, tx, mode, w)
		return err
	})
	return d, err
}

func (s *Store) assert(ctx context.Context, tx Tx, mode models.Mode, w Word) (models.Decision, error) {
	if w.By == "" || w.Reason == "" {
		return models.Decision{}, fmt.Errorf("assert %s %s: a word has who says it and why; By %q, Reason %q", w.Kind, w.ID, w.By, w.Reason)
	}
	op, hold, err := s.lockOperation(ctx, tx, mode, w.Kind, w.ID)
	if err != nil {
		return models.Decision{}, err
	}
	if known, err := s.heard(ctx, tx, op, w); known || err != nil {
		return models.Decision{Verdict: models.InSync, Name: "already_recorded", Rule: "already recorded"}, err
	}
	now, err := s.Now(ctx, tx)
	if err != nil {
		return models.Decision{}, err
	}
	facts := models.Facts{Tempo: s.tempo, Now: now, HoldLeftConfirmed: hold.AmountCents - hold.ConfirmedCents, HoldEnded: hold.ClosedAt != nil}
	m := Move{Evidence: w.evidence(op), Actor: w.By, Reason: w.Reason, LogVerdict: true}
	if op.State == models.Pending || op.State == models.Capturing {
		if m.Attempt, err = s.claimForWord(ctx, tx, op, w.By); err != nil {
			return models.Decision{}, err
		}
		op.State, op.Version, facts.Fenced = models.Capturing, m.Attempt, true
	}
	m.Op, m.Decision = op, models.Judge(op, m.Evidence, facts)
	if m.Decision.Event == "" {
		return m.Decision, nil
	}
	m.Action = string(m.Decision.Event)
	return m.Decision, s.applyIn(ctx, tx, m)
}

// lockOperation locks an operation after its order, its hold and the capture that
// a refund returns.
func (s *Store) lockOperation(ctx context.Context, tx Tx, mode models.Mode, kind models.Kind, id string) (op models.Operation, hold models.Authorization, err error) {
	if !ValidID(id) {
		return op, hold, fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	if op, err = s.operation(ctx, tx, kind, id, ""); err != nil {
		return op, hold, err
	}
	if _, err = s.lockOrder(ctx, tx, mode, op.OrderID); err != nil {
		return op, hold, err
	}
	if hold, err = s.hold(ctx, tx, op.AuthorizationID, " FOR UPDATE"); err != nil {
		return op, hold, err
	}
	if op.CaptureID != nil {
		if _, err = s.operation(ctx, tx, models.Capture, *op.CaptureID, " FOR UPDATE"); err != nil {
			return op, hold, err
		}
	}
	op, err = s.operation(ctx, tx, kind, id, " FOR UPDATE")
	return op, hold, err
}

// heard reports that a word says nothing new, or refuses it.
func (s *Store) heard(ctx context.Context, tx Tx, op models.Operation, w Word) (known bool, err error) {
	no := func(rule, format string, args ...any) (bool, error) {
		return false, refuse(rule, "succeeded", format, args...)
	}
	stands := op.State == models.Succeeded || op.State == models.Reset
	switch {
	case w.Happened && stands && op.AssertedBy != "", !w.Happened && (op.State == models.Failed || op.State == models.Cancelled):
		return true, nil
	case stands && w.Happened:
		return no("already_succeeded", "the %s is %s already", op.Kind, op.State)
	case stands:
		return no("already_succeeded", "the %s is %s, which nobody takes back by saying so; refund or cancel instead", op.Kind, op.State)
	case !w.Happened && !op.State.Live():
		return no("not_open", "the %s is %s; only an open one can be said to have failed", op.Kind, op.State)
	case !w.Unsent:
		return false, nil
	}
	effectless, err := s.effectless(ctx, tx, op)
	if err == nil && !effectless {
		return no("may_have_been_sent", "the %s is %s and may have taken effect at its gateway, which can be asked: send _forward", op.Kind, op.State)
	}
	return false, err
}

// effectless: pending, and either never sent, or looked up since, and not there.
func (s *Store) effectless(ctx context.Context, tx Tx, op models.Operation) (bool, error) {
	if op.State != models.Pending {
		return false, nil
	}
	var is bool
	err := s.query(ctx, tx, &is, `SELECT o.sent_version IS NULL AND NOT o.look_first AND NOT `+restored+` OR `+proven+`
		FROM `+tables[op.Kind]+` AS o JOIN payment_gateways AS g ON g.id = o.payment_gateway_id WHERE o.id = ?`, op.ID)
	if err != nil {
		return false, fmt.Errorf("weigh what was sent for %s %s: %w", op.Kind, op.ID, err)
	}
	return is, nil
}

// wordFacts are the facts of a claim that no call follows.
const wordFacts = `g.slug AS account, a.amount_cents AS hold_cents, now() AS db_now`

// wordGuard lets a person's word take a row that waits, whatever it waits for, or
// one that a dead worker left behind.
const wordGuard = `o.version = want.version AND (o.state = 'pending' OR o.state = 'capturing' AND o.lease_until < now())`

var wordClaims = func() map[models.Kind]string {
	statements := map[models.Kind]string{}
	for _, kind := range models.Kinds {
		statements[kind] = strings.NewReplacer("?guard", wordGuard, "?sends", "false", "?first", "false", "?locked", "", "?orders", "orders", "?looks", "true",
			"?looked", "", "?facts", wordFacts, "?table", tables[kind], "?columns", claimColumns).Replace(stripComments(claimSQL))
	}
	return statements
}()

// claimForWord claims an operation to be told of, never to be sent, and returns
// the claim's version. The operation is locked.
func (s *Store) claimForWord(ctx context.Context, tx Tx, op models.Operation, by string) (int64, error) {
	var claims []Claim
	err := s.query(ctx, tx, &claims, wordClaims[op.Kind], uuidArray([]string{op.ID}), intArray([]int64{op.Version}), s.tempo.Lease().Microseconds(),
		s.tempo.Budget().Microseconds(), by, int64(0))
	if err != nil {
		return 0, fmt.Errorf("claim %s %s for a person's word: %w", op.Kind, op.ID, err)
	}
	if len(claims) == 0 {
		return 0, busy("operation_under_way", "succeeded", "the %s is being worked on right now; ask again in a minute", op.Kind)
	}
	return claims[0].Version, nil
}

// CapturedElsewhere records a capture that a person made without the hold's
// gateway account: amount, or with 0 as much as hold and order allow. A capture of
// that amount which waits, and provably has no effect, is the one that is meant:
// nothing is sent for it afterwards. The caps hold as for any capture.
func (s *Store) CapturedElsewhere(ctx context.Context, tx Tx, mode models.Mode, authorizationID string, amount int64, w Word, labels models.Labels) (models.Operation, error) {
	waiting, err := s.waitingCapture(ctx, tx, mode, authorizationID, amount)
	if err != nil {
		return models.Operation{}, err
	}
	w.Unsent = waiting != nil
	if waiting == nil {
		made, err := s.CaptureByHand(ctx, tx, mode, authorizationID, amount, w.By, labels)
		if err != nil {
			return made, err
		}
		waiting = &made
	} else if err := s.remember(ctx, tx, effect{string(models.Capture), waiting.AuthorizationID, waiting.OrderID}, waiting.ID); err != nil {
		return *waiting, err
	}
	return s.happened(ctx, tx, mode, *waiting, w)
}

// waitingCapture finds the live capture of a hold, if it may be the one of amount.
func (s *Store) waitingCapture(ctx context.Context, tx Tx, mode models.Mode, authorizationID string, amount int64) (*models.Operation, error) {
	_, hold, err := s.lockHold(ctx, tx, mode, authorizationID)
	if err != nil || hold.LiveOperationID == nil {
		return nil, err
	}
	var ops []models.Operation
	err = s.query(ctx, tx, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM captures AS o WHERE o.id = ?`, *hold.LiveOperationID)
	if err != nil || len(ops) == 0 || ops[0].State != models.Pending || amount != 0 && amount != ops[0].AmountCents {
		return nil, err
	}
	return &ops[0], nil
}

// RefundedElsewhere records a refund that a person made without the capture's
// gateway account: amount, or with 0 all that is left.
func (s *Store) RefundedElsewhere(ctx context.Context, tx Tx, mode models.Mode, captureID string, amount int64, w Word) (models.Operation, error) {
	refund, err := s.refundOf(ctx, tx, mode, captureID, amount, w.By, true)
	if err != nil {
		return refund, err
	}
	return s.happened(ctx, tx, mode, refund, w)
}

// CancelledElsewhere records that a person gave the money of a mismatched capture
// back without its gateway account: see [Store.CancelCapture].
func (s *Store) CancelledElsewhere(ctx context.Context, tx Tx, mode models.Mode, captureID string, w Word) (models.Operation, error) {
	refund, err := s.cancelCapture(ctx, tx, mode, captureID, w.By, true)
	if err != nil {
		return refund, err
	}
	return s.happened(ctx, tx, mode, refund, w)
}

// happened asserts what was just made, or waited.
func (s *Store) happened(ctx context.Context, tx Tx, mode models.Mode, op models.Operation, w Word) (models.Operation, error) {
	w.Kind, w.ID, w.Happened = op.Kind, op.ID, true
	if _, err := s.Assert(ctx, tx, mode, w); err != nil {
		return op, err
	}
	return s.operation(ctx, tx, op.Kind, op.ID, "")
}
