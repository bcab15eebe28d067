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
	op, err := s.operation(ctx, nil, ob.Kind, ob.ID, "")
	if err != nil {
		return models.Decision{}, err
	}
	hold, err := s.hold(ctx, nil, op.AuthorizationID, "")
	if err != nil {
		return models.Decision{}, err
	}
	left := hold.AmountCents - hold.ConfirmedCents
	d := models.Judge(op, ob.Evidence, models.Facts{Tempo: s.tempo, Now: time.Now(), HoldLeftConfirmed: left, HoldEnded: hold.ClosedAt != nil})
	if d.Event == "" {
		return d, nil
	}
	if d.Event == models.Hinted && op.LookFirst && (op.State == models.Pending || op.NextAt != nil && !op.NextAt.After(time.Now())) {
		return d, nil // already asked to look
	}
	_, err = s.Apply(ctx, Move{
		Op: op, Decision: d, Evidence: ob.Evidence, Actor: ob.Actor, Reason: ob.Reason,
		LogVerdict: d.Verdict != models.InSync && d.Verdict != models.Wait, Action: string(d.Event),
	})
	return d, err
}

// Hint makes an open operation be looked up at once, before anything else
// happens to it, and publishes it anew.
func (s *Store) Hint(ctx context.Context, tx Tx, op models.Operation, actor, reason string) error {
	m := Move{Op: op, Decision: models.Decision{Event: models.Hinted, Rule: reason}, Actor: actor, Reason: reason}
	if tx == nil {
		_, err := s.Apply(ctx, m)
		return err
	}
	moved, err := s.apply(ctx, tx, []Move{m})
	if err == nil && len(moved) == 0 {
		err = fmt.Errorf("%s %s: %w", op.Kind, op.ID, ErrStale)
	}
	return err
}

// Retry answers an operator's "again" on an open operation: its flag is cleared,
// its tries are forgotten, and it is looked up at once. What the look proves
// decides whether anything is sent.
func (s *Store) Retry(ctx context.Context, op models.Operation, actor, reason string) error {
	if !op.State.Live() {
		return refuse("not_open", "_retry", "the %s is %s; only an open one is looked at again", op.Kind, op.State)
	}
	if op.State == models.Capturing {
		return busy("operation_under_way", "_retry", "the %s is being worked on right now", op.Kind)
	}
	_, err := s.Apply(ctx, Move{
		Op: op, Decision: models.Decision{Event: models.Hinted, ClearFlag: true, Rule: "retry by hand"}, Actor: actor, Reason: reason,
	})
	return err
}

// Acknowledge clears the flag of an operation that has ended: a person has seen
// it and dealt with it. Nothing else changes, and the history keeps both.
func (s *Store) Acknowledge(ctx context.Context, op models.Operation, actor, reason string) error {
	switch {
	case op.NeedsAttention == "":
		return refuse("not_flagged", "_acknowledge", "the %s waits for nobody", op.Kind)
	case op.State.Live():
		return refuse("still_open", "_acknowledge", "the %s is %s; send _retry to have it looked at again", op.Kind, op.State)
	}
	_, err := s.Apply(ctx, Move{
		Op: op, Decision: models.Decision{Event: models.Unflagged, ClearFlag: true, Rule: "acknowledged by hand: " + op.NeedsAttention}, Actor: actor, Reason: reason,
	})
	return err
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
			WHERE g.slug = ? AND a.gateway_transaction_id = ?`, account, hold)
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
