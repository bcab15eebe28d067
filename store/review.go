package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// FlagCancelFailed: the cancel of a capture failed for good; a person must give
// the money back.
const FlagCancelFailed = "cancel_failed"

// reviewDue works the orders that are due for a review, one transaction each.
func (s *Store) reviewDue(ctx context.Context, sw Sweep, report *SweepReport) error {
	ids, err := s.dueChecks(ctx, sweepBatch)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		var found []Finding
		err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
			order, err := s.anyOrder(ctx, tx, id, " FOR UPDATE SKIP LOCKED")
			if errors.Is(err, ErrNotFound) {
				return nil // someone works on it right now; it stays due
			}
			if err != nil {
				return err
			}
			found, err = s.review(ctx, tx, &order, sw.Now, sw.CancelAfter, sw.Owner, report.ID)
			return err
		})
		if err != nil {
			// One bad order must not stand before the others for ever.
			_, later := s.exec(ctx, nil, `UPDATE order_checks SET due_at = now() + ? * interval '1 microsecond' WHERE order_id = ?`,
				s.tempo.Of(time.Minute).Microseconds(), id)
			errs = append(errs, fmt.Errorf("review order %s: %w", id, err), later)
			continue
		}
		for _, f := range found {
			report.add(f)
		}
	}
	return errors.Join(errs...)
}

func (s *Store) anyOrder(ctx context.Context, tx Tx, id, lock string) (models.Order, error) {
	var o models.Order
	err := s.one(ctx, tx, &o, "order "+id, `SELECT `+s.columns(o, "o")+` FROM orders AS o WHERE o.id = ?`+lock, id)
	return o, err
}

// reviewOf reads an order's rows and lets models decide. In a transaction the
// rows are locked, the order's own already is.
func (s *Store) reviewOf(ctx context.Context, tx Tx, orderID string, sw Sweep) (models.Review, models.Order, error) {
	order, err := s.anyOrder(ctx, tx, orderID, "")
	if err != nil {
		return models.Review{}, order, err
	}
	lock := ""
	if tx != nil {
		lock = " FOR UPDATE"
	}
	var holds []models.Authorization
	if err := s.query(ctx, tx, &holds, `SELECT `+s.columns(models.Authorization{}, "a")+` FROM authorizations AS a WHERE a.order_id = ? ORDER BY a.id`+lock, orderID); err != nil {
		return models.Review{}, order, fmt.Errorf("read the authorizations of order %s: %w", orderID, err)
	}
	captures, err := s.capturesOf(ctx, tx, orderID, lock)
	if err != nil {
		return models.Review{}, order, err
	}
	method, err := s.methodOf(ctx, tx, order)
	if err != nil {
		return models.Review{}, order, err
	}
	return models.ReviewOrder(order, captures, holds, method.Policy, s.tempo, sw.Now, sw.CancelAfter), order, nil
}

// review does what a closed, changed or expiring order still needs, in the
// transaction that holds the order's lock, and sets when to look again.
func (s *Store) review(ctx context.Context, tx Tx, order *models.Order, now time.Time, cancelAfter time.Duration, actor, run string) ([]Finding, error) {
	review, _, err := s.reviewOf(ctx, tx, order.ID, Sweep{Now: now, CancelAfter: cancelAfter})
	if err != nil {
		return nil, err
	}
	var found []Finding
	again := review.Again
	for _, need := range review.Needs {
		f, err := s.meet(ctx, tx, order, need, actor, run)
		if err != nil {
			return nil, err
		}
		if f.Verdict == models.Cancel { // started: until it has an outcome
			again = now.Add(s.tempo.Of(time.Minute))
		}
		found = append(found, f)
	}
	for _, id := range review.Expired {
		if err := s.expireHold(ctx, tx, order, id); err != nil {
			return nil, err
		}
		f := Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: "the hold passed its last moment"}
		if err := s.say(ctx, tx, order, f, "closed the authorization "+id, actor, run); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	captured, err := s.reviewCaptures(ctx, tx, order, review, now, actor, run)
	if err != nil {
		return nil, err
	}
	return append(found, captured...), s.checkAgain(ctx, tx, order.ID, again)
}

// reviewCaptures makes or hastens the captures that a review found missing or
// too late for their hold.
func (s *Store) reviewCaptures(ctx context.Context, tx Tx, order *models.Order, review models.Review, now time.Time, actor, run string) ([]Finding, error) {
	var found []Finding
	for _, id := range review.Hasten {
		f := Finding{OperationID: id, Kind: models.Capture, OrderID: order.ID, State: models.Pending, Verdict: models.Expiring, Rule: "last chance: the hold ends before the capture's own time"}
		if err := s.hasten(ctx, tx, id); err != nil {
			return nil, err
		}
		if err := s.say(ctx, tx, order, f, "made due now", actor, run); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	for _, want := range []struct {
		asked   bool
		on      models.Occasion
		verdict models.Verdict
		rule    string
	}{
		{review.Plan, models.OnApproval, models.Retry, "the approved order has a free hold that its policy captures"},
		{review.LastChance, models.OnLastChance, models.Expiring, "last chance: the hold is about to end"},
	} {
		if !want.asked {
			continue
		}
		made, err := s.plan(ctx, tx, order, want.on, now, actor)
		if err != nil {
			return nil, err
		}
		for _, op := range made {
			f := Finding{OperationID: op.ID, Kind: op.Kind, OrderID: order.ID, State: op.State, Verdict: want.verdict, Rule: want.rule}
			if err := s.say(ctx, tx, order, f, "created capture "+op.Number, actor, run); err != nil {
				return nil, err
			}
			found = append(found, f)
		}
	}
	return found, nil
}

// hasten makes a capture that waits for its time due now.
func (s *Store) hasten(ctx context.Context, tx Tx, id string) error {
	_, err := s.exec(ctx, tx, `WITH due AS (
			UPDATE captures SET not_before = now(), next_at = now(), updated_at = now() WHERE id = ? AND state = 'pending' RETURNING id
		) UPDATE work AS w SET due_at = now(), generation = w.generation + 1, published_at = NULL FROM due WHERE w.operation_id = due.id`, id)
	if err != nil {
		return fmt.Errorf("hasten capture %s: %w", id, err)
	}
	return nil
}

func (s *Store) checkAgain(ctx context.Context, tx Tx, orderID string, at time.Time) error {
	if at.IsZero() {
		_, err := s.exec(ctx, tx, `DELETE FROM order_checks WHERE order_id = ?`, orderID)
		return err
	}
	_, err := s.exec(ctx, tx, `INSERT INTO order_checks (order_id, due_at) VALUES (?, ?)
		ON CONFLICT (order_id) DO UPDATE SET due_at = excluded.due_at`, orderID, at)
	return err
}

// meet starts what a review found to be needed: a refund of a mismatched
// capture, a void of a hold that nobody will capture. What failed before is not
// started again; it is flagged for a person.
func (s *Store) meet(ctx context.Context, tx Tx, order *models.Order, need models.Need, actor, run string) (Finding, error) {
	f := Finding{OrderID: order.ID, Kind: need.Kind, Verdict: need.Verdict, Rule: need.Rule}
	before, err := s.cancelsBefore(ctx, tx, order.ID, need)
	if err != nil {
		return f, err
	}
	if len(before) > 0 {
		f.Verdict, f.Rule = models.NeedsAttention, "an earlier cancel failed; a person must give the money back"
		f.Kind, f.OperationID = models.Capture, need.CaptureID
		if need.Kind == models.Void {
			f.Kind, f.OperationID = models.Void, before[0]
		}
		return f, s.flagCancelFailed(ctx, tx, f, actor)
	}
	op, err := s.start(ctx, tx, order, need, actor)
	if err != nil {
		return f, err
	}
	f.OperationID, f.State = op.ID, op.State
	return f, s.say(ctx, tx, order, f, "created "+string(op.Kind)+" "+op.Number, actor, run)
}

// say writes the verdict on an order: what a review found and what was done.
func (s *Store) say(ctx context.Context, tx Tx, order *models.Order, f Finding, action, actor, run string) error {
	outcome := string(f.State)
	if outcome == "" {
		outcome = "done"
	}
	_, err := s.exec(ctx, tx, `INSERT INTO verdicts (id, reconciliation_id, operation_id, kind, order_id, verdict, rule, action, outcome, actor, ours)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, jsonb_build_object('order_status', ?::text, 'total_amount_cents', ?::bigint, 'captured_cents', ?::bigint))`,
		NewID(), nullable(run), nullable(f.OperationID), f.Kind, order.ID, f.Verdict, f.Rule, action, outcome, actor,
		order.Status, order.TotalAmountCents, order.CapturedCents)
	if err != nil {
		return fmt.Errorf("write the verdict %s on order %s: %w", f.Verdict, order.ID, err)
	}
	return nil
}

func (s *Store) cancelsBefore(ctx context.Context, tx Tx, orderID string, need models.Need) ([]string, error) {
	var ids []string
	column, of := "capture_id", need.CaptureID
	if need.Kind == models.Void {
		column, of = "authorization_id", need.AuthorizationID
	}
	err := s.query(ctx, tx, &ids, `SELECT id FROM `+tables[need.Kind]+` WHERE order_id = ? AND cause = 'cancel' AND `+column+` = ? ORDER BY id DESC`, orderID, of)
	if err != nil {
		return nil, fmt.Errorf("read earlier cancels of order %s: %w", orderID, err)
	}
	return ids, nil
}

// flagCancelFailed flags the capture whose money is still here, or the void that
// left its hold open.
func (s *Store) flagCancelFailed(ctx context.Context, tx Tx, f Finding, actor string) error {
	op, err := s.operation(ctx, tx, f.Kind, f.OperationID, "")
	if err != nil || op.NeedsAttention != "" {
		return err
	}
	var told bool // and dealt with: a person who acknowledged it is not called again
	err = s.query(ctx, tx, &told, `SELECT EXISTS (SELECT 1 FROM events WHERE operation_id = ? AND event = 'flagged' AND reason = ?)`, op.ID, f.Rule)
	if err != nil || told {
		return err
	}
	_, err = s.apply(ctx, tx, []Move{{
		Op: op, Actor: actor, LogVerdict: true, Action: "flagged",
		Decision: models.Decision{Event: models.Flagged, Flag: FlagCancelFailed, Verdict: f.Verdict, Rule: f.Rule},
	}})
	return err
}

func (s *Store) start(ctx context.Context, tx Tx, order *models.Order, need models.Need, actor string) (models.Operation, error) {
	hold, err := s.hold(ctx, tx, need.AuthorizationID, "")
	if err != nil {
		return models.Operation{}, err
	}
	if need.Kind == models.Void {
		return s.createVoid(ctx, tx, order, &hold, models.CauseCancel, actor)
	}
	capture, err := s.operation(ctx, tx, models.Capture, need.CaptureID, "")
	if err != nil {
		return models.Operation{}, err
	}
	return s.createRefund(ctx, tx, order, &hold, &capture, models.CauseCancel, need.AmountCents, actor)
}

// expireHold closes a hold whose last moment passed with nothing under way.
func (s *Store) expireHold(ctx context.Context, tx Tx, order *models.Order, id string) error {
	_, err := s.exec(ctx, tx, `WITH closed AS (
			UPDATE authorizations SET closed_at = now(), closed_reason = 'expired', updated_at = now()
			WHERE id = ? AND closed_at IS NULL AND live_operation_id IS NULL RETURNING amount_cents, confirmed_cents
		) UPDATE orders AS r SET held_cents = r.held_cents - c.amount_cents, voided_cents = r.voided_cents + greatest(0, c.amount_cents - c.confirmed_cents), updated_at = now()
		FROM closed AS c WHERE r.id = ?`, id, order.ID)
	if err != nil {
		return fmt.Errorf("close the expired hold %s: %w", id, err)
	}
	return nil
}

// CancelCapture gives the money of one mismatched capture back at an operator's
// word: the conditions of the automatic cancel hold, but for the waiting time.
func (s *Store) CancelCapture(ctx context.Context, tx Tx, mode models.Mode, captureID string, now time.Time, actor string) (models.Operation, error) {
	order, hold, capture, err := s.lockCapture(ctx, tx, mode, captureID)
	if err != nil {
		return models.Operation{}, err
	}
	switch {
	case capture.State != models.Succeeded:
		return capture, refuse("not_succeeded", "_cancel", "the capture is %s; only a succeeded capture can be cancelled", capture.State)
	case capture.RefundBalance() == 0:
		return capture, refuse("nothing_left", "_cancel", "the capture has nothing left to give back")
	case order.LiveOperations > 0:
		return capture, busy("operation_under_way", "_cancel", "the order has an operation under way; wait for its outcome")
	}
	review := models.ReviewOrder(order, []models.Operation{capture}, nil, models.Policy{}, s.tempo, now, 0)
	if !slices.ContainsFunc(review.Needs, func(n models.Need) bool { return n.CaptureID == capture.ID }) {
		return capture, refuse("no_mismatch", "_cancel",
			"only a cancelled order's capture, or an open order's whose total changed, is cancelled; this order is %s, of %d, captured %d: refund the difference instead",
			order.Status, order.TotalAmountCents, *capture.ConfirmedCents)
	}
	refund, err := s.createRefund(ctx, tx, &order, &hold, &capture, models.CauseCancel, capture.RefundBalance(), actor)
	if err != nil {
		return capture, err
	}
	_, err = s.exec(ctx, tx, `INSERT INTO verdicts (id, operation_id, kind, order_id, verdict, rule, action, outcome, actor) VALUES (?, ?, 'capture', ?, 'cancel', ?, ?, ?, ?)`,
		NewID(), capture.ID, order.ID, "by hand: "+review.Needs[0].Rule, "created refund "+refund.Number, refund.State, actor)
	return refund, err
}
