package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// Observation is evidence from outside a claim: a webhook, an outcome that lost
// its fence, a person.
type Observation struct {
	Kind     models.Kind
	ID       string
	Evidence models.Evidence
	Actor    string
	Reason   string
	// NoneConclusive: a look-up's "there is no such operation" is proof. The look
	// began after what is recorded was, and long enough after the last send.
	NoneConclusive bool
}

// observeTries bounds how often an observation is judged anew because the row
// moved while it was.
const observeTries = 10

// Observe judges evidence from outside and applies what it proves. It is
// idempotent: the same evidence again is in_sync.
func (s *Store) Observe(ctx context.Context, ob Observation) (models.Decision, error) {
	for range observeTries {
		d, err := s.observe(ctx, ob)
		if !errors.Is(err, ErrStale) {
			return d, err
		}
	}
	return models.Decision{}, fmt.Errorf("observe %s %s: %w %d times; it is tried again later", ob.Kind, ob.ID, ErrStale, observeTries)
}

func (s *Store) observe(ctx context.Context, ob Observation) (models.Decision, error) {
	op, d, asked, err := s.judge(ctx, ob)
	if err != nil || d.Event == "" || asked {
		return d, err
	}
	_, err = s.Apply(ctx, Move{
		Op: op, Decision: d, Evidence: ob.Evidence, Actor: ob.Actor, Reason: ob.Reason,
		LogVerdict: d.Verdict != models.InSync && d.Verdict != models.Wait, Action: string(d.Event),
	})
	return d, err
}

// judge decides about evidence on the operation as it is now. Asked: the look
// that it asks for was asked for already.
func (s *Store) judge(ctx context.Context, ob Observation) (op models.Operation, d models.Decision, asked bool, err error) {
	if op, err = s.operation(ctx, nil, ob.Kind, ob.ID, ""); err != nil {
		return op, d, false, err
	}
	hold, err := s.hold(ctx, nil, op.AuthorizationID, "")
	if err != nil {
		return op, d, false, err
	}
	left := hold.AmountCents - hold.ConfirmedCents
	d = models.Judge(op, ob.Evidence, models.Facts{Tempo: s.tempo, Now: time.Now(), HoldLeftConfirmed: left, HoldEnded: hold.ClosedAt != nil, NoneConclusive: ob.NoneConclusive})
	asked = d.Event == models.Hinted && op.LookFirst && (op.State == models.Pending || op.NextAt != nil && !op.NextAt.After(time.Now()))
	return op, d, asked, nil
}

// Hint makes an open operation be looked up at once, before anything else
// happens to it, and publishes it anew.
func (s *Store) Hint(ctx context.Context, tx Tx, op models.Operation, actor, reason string) error {
	return s.applyIn(ctx, tx, Move{Op: op, Decision: models.Decision{Event: models.Hinted, Rule: reason}, Actor: actor, Reason: reason})
}

// applyIn makes one move, in a transaction of the caller's if there is one. It
// returns ErrStale when the row is no longer as the move was decided on.
func (s *Store) applyIn(ctx context.Context, tx Tx, m Move) error {
	if tx == nil {
		_, err := s.Apply(ctx, m)
		return err
	}
	moved, err := s.apply(ctx, tx, []Move{m})
	if err == nil && len(moved) == 0 {
		err = fmt.Errorf("%s %s: %w", m.Op.Kind, m.Op.ID, ErrStale)
	}
	return err
}

// Retry answers an operator's "again" on an open operation: its flag is cleared,
// its tries are forgotten, and it is looked up at once. What the look proves
// decides whether anything is sent.
func (s *Store) Retry(ctx context.Context, tx Tx, op models.Operation, actor, reason string) error {
	if !op.State.Live() {
		return refuse("not_open", "_retry", "the %s is %s; only an open one is looked at again", op.Kind, op.State)
	}
	if op.State == models.Capturing {
		return busy("operation_under_way", "_retry", "the %s is being worked on right now", op.Kind)
	}
	return s.applyIn(ctx, tx, Move{
		Op: op, Decision: models.Decision{Event: models.Hinted, ClearFlag: true, Rule: "retry by hand"}, Actor: actor, Reason: reason,
	})
}

// Acknowledge clears the flag of an operation that has ended: a person has seen
// it and dealt with it. Nothing else changes, and the history keeps both.
func (s *Store) Acknowledge(ctx context.Context, tx Tx, op models.Operation, actor, reason string) error {
	switch {
	case op.NeedsAttention == "":
		return refuse("not_flagged", "_acknowledge", "the %s waits for nobody", op.Kind)
	case op.State.Live():
		return refuse("still_open", "_acknowledge", "the %s is %s; send _retry to have it looked at again", op.Kind, op.State)
	}
	return s.applyIn(ctx, tx, Move{
		Op: op, Decision: models.Decision{Event: models.Unflagged, ClearFlag: true, Rule: "acknowledged by hand: " + op.NeedsAttention}, Actor: actor, Reason: reason,
	})
}

// FindOperation finds an operation by its derived reference, or by the
// gateway's id of the hold and the kind when only one such was ever made.
func (s *Store) FindOperation(ctx context.Context, account string, kind models.Kind, reference, hold string) (models.Operation, error) {
	var ops []models.Operation
	var err error
	if reference != "" {
		err = s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM `+tables[kind]+` AS o WHERE o.kind = ? AND o.gateway_reference = ?`,
			kind, reference)
	} else {
		err = s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM authorizations AS a
			JOIN payment_gateways AS g ON g.id = a.payment_gateway_id
			JOIN `+tables[kind]+` AS o ON o.authorization_id = a.id AND o.order_id = a.order_id
			WHERE g.slug = ?0 AND (a.gateway_transaction_id = ?1 OR a.first_transaction_id = ?1)`, account, hold)
	}
	if err != nil {
		return models.Operation{}, fmt.Errorf("find %s %s%s: %w", kind, reference, hold, err)
	}
	if len(ops) != 1 {
		return models.Operation{}, fmt.Errorf("%s %s%s: %d found: %w", kind, reference, hold, len(ops), ErrNotFound)
	}
	return ops[0], nil
}

// operation reads one operation; lock is "" or " FOR UPDATE".
func (s *Store) operation(ctx context.Context, tx Tx, kind models.Kind, id, lock string) (models.Operation, error) {
	var op models.Operation
	err := s.one(ctx, tx, &op, fmt.Sprintf("%s %s", kind, id),
		`SELECT `+s.columns(op, "o")+` FROM `+tables[kind]+` AS o WHERE o.id = ?`+lock, id)
	return op, err
}

func (s *Store) hold(ctx context.Context, tx Tx, id, lock string) (models.Authorization, error) {
	var a models.Authorization
	err := s.one(ctx, tx, &a, "authorization "+id, `SELECT `+s.columns(a, "a")+` FROM authorizations AS a WHERE a.id = ?`+lock, id)
	return a, err
}
