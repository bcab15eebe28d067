package store

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// differencesOf reads the refunds that gave an order's difference back, or should have.
func (s *Store) differencesOf(ctx context.Context, tx Tx, orderID string) ([]models.Operation, error) {
	var ops []models.Operation
	err := s.query(ctx, tx, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM refunds AS o WHERE o.order_id = ? AND o.cause = 'difference' ORDER BY o.id`, orderID)
	if err != nil {
		return nil, fmt.Errorf("read the refunds of the difference of order %s: %w", orderID, err)
	}
	return ops, nil
}

// settledReason is why a flag for a difference ends by itself.
const settledReason = "the captures fit the order's total"

// listPatience is how long a difference waits at most for the gateway's list.
const listPatience = time.Hour

// patienceFor is how long an order's total must have stood. Where a difference
// is given back by itself, and the account has a list, the list must have been
// compared up to the change: people refund at the gateway first and lower the
// total then, and the money must not go back twice.
func (s *Store) patienceFor(ctx context.Context, tx Tx, order models.Order, p models.Policy, sw Sweep) (time.Duration, error) {
	since := order.TotalChangedAt
	if !p.RefundDifference || since == nil || order.Status != models.OrderApproved || order.Overpaid() == 0 || !sw.Now.Before(since.Add(s.tempo.Of(listPatience))) {
		return sw.CancelAfter, nil
	}
	var behind bool
	err := s.query(ctx, tx, &behind, `SELECT EXISTS (SELECT 1 FROM authorizations AS a JOIN listings AS l ON l.payment_gateway_id = a.payment_gateway_id
		WHERE a.order_id = ? AND l.listed_through <= ?)`, order.ID, *since)
	if err != nil {
		return 0, fmt.Errorf("see how far the list of order %s's account was compared: %w", order.ID, err)
	}
	if behind {
		return max(sw.CancelAfter, sw.Now.Sub(*since)+s.tempo.Of(time.Minute)), nil
	}
	return sw.CancelAfter, nil
}

// toldOf reports whether one of an order's captures was flagged for a reason
// before, and the reason has not been gone since: whoever acknowledged it is not
// called again.
func (s *Store) toldOf(ctx context.Context, tx Tx, orderID, reason string) (told bool, err error) {
	err = s.query(ctx, tx, &told, `SELECT EXISTS (SELECT 1 FROM captures AS c JOIN events AS e ON e.operation_id = c.id
		WHERE c.order_id = ? AND e.event = 'flagged' AND e.reason = ? AND NOT EXISTS (
			SELECT 1 FROM events AS u WHERE u.operation_id = c.id AND u.event = 'unflagged' AND u.reason = ? AND u.version > e.version))`, orderID, reason, settledReason)
	if err != nil {
		return false, fmt.Errorf("read the flags of order %s: %w", orderID, err)
	}
	return told, nil
}

// showDifference flags a capture for what an approved order's captures stand
// above its total, once for each total, and clears the flag when that is gone.
func (s *Store) showDifference(ctx context.Context, tx Tx, order *models.Order, review models.Review, actor, run string) ([]Finding, error) {
	for _, id := range review.Settled {
		err := s.annotate(ctx, tx, id, Move{Actor: actor, Reason: settledReason,
			Decision: models.Decision{Event: models.Unflagged, ClearFlag: true, Rule: "the difference is gone"}})
		if err != nil {
			return nil, err
		}
	}
	d := review.Difference
	if d == nil {
		return nil, nil
	}
	// The reason is what the flag is known by: see toldOf.
	err := s.annotate(ctx, tx, d.CaptureID, Move{Actor: actor, Reason: d.Total,
		Decision: models.Decision{Event: models.Flagged, Flag: models.FlagAboveTotal, Verdict: models.NeedsAttention, Rule: d.Rule}})
	if err != nil {
		return nil, err
	}
	f := Finding{OperationID: d.CaptureID, Kind: models.Capture, OrderID: order.ID, State: models.Succeeded, Verdict: models.NeedsAttention, Rule: d.Rule}
	return []Finding{f}, s.say(ctx, tx, order, f, "flagged", actor, run)
}

// annotate raises or clears a capture's flag, as it is now.
func (s *Store) annotate(ctx context.Context, tx Tx, id string, m Move) error {
	op, err := s.operation(ctx, tx, models.Capture, id, "")
	if err != nil {
		return err
	}
	m.Op = op
	return s.applyIn(ctx, tx, m)
}
