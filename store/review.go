package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// FlagCancelFailed: the cancel of a capture failed for good, or is not started by
// itself (see [models.Review.Withheld]); a person must give the money back.
const FlagCancelFailed = "cancel_failed"

// reviewDue works the orders that are due for a review, one transaction each,
// as long as a sweep may: what is left stays due for the next one.
func (s *Store) reviewDue(ctx context.Context, sw Sweep, report *SweepReport) error {
	if err := s.dropIdleChecks(ctx); err != nil {
		return err
	}
	var errs []error
	for until := time.Now().Add(s.tempo.Of(reviewFor)); ; {
		ids, err := s.dueChecks(ctx, sweepBatch)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		worked := 0
		for _, id := range ids {
			n, err := s.reviewOne(ctx, id, sw, report)
			worked, errs = worked+n, append(errs, err)
		}
		if len(ids) < sweepBatch || worked == 0 || time.Now().After(until) {
			return errors.Join(errs...)
		}
	}
}

// reviewFor is how long one sweep reviews orders: well within its lease.
const reviewFor = 30 * time.Second

// reviewOne reviews one order, and tells whether it got to: an order that
// someone works on right now stays due.
func (s *Store) reviewOne(ctx context.Context, id string, sw Sweep, report *SweepReport) (worked int, err error) {
	var found []Finding
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, err := s.anyOrder(ctx, tx, id, " FOR UPDATE SKIP LOCKED")
		if errors.Is(err, ErrNotFound) {
			worked = 0
			return nil
		}
		if err != nil {
			return err
		}
		worked = 1
		found, err = s.review(ctx, tx, &order, sw.Now, sw.CancelAfter, sw.Owner, report.ID)
		return err
	})
	if err != nil {
		// One bad order must not stand before the others for ever.
		_, later := s.exec(ctx, nil, `UPDATE order_checks SET due_at = now() + ? * interval '1 microsecond' WHERE order_id = ?`,
			s.tempo.Of(time.Minute).Microseconds(), id)
		return 0, errors.Join(fmt.Errorf("review order %s: %w", id, err), later)
	}
	for _, f := range found {
		report.add(f)
	}
	return worked, nil
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
	ops, err := s.capturesOf(ctx, tx, orderID, lock)
	if err != nil {
		return models.Review{}, order, err
	}
	method, err := s.methodOf(ctx, tx, order)
	if err != nil {
		return models.Review{}, order, err
	}
	if order.Overpaid() > 0 {
		returns, err := s.differencesOf(ctx, tx, orderID)
		if err != nil {
			return models.Review{}, order, err
		}
		ops = append(ops, returns...)
	}
	cancelAfter, err := s.patienceFor(ctx, tx, order, method.Policy, sw)
	if err != nil {
		return models.Review{}, order, err
	}
	review := models.ReviewOrder(order, ops, holds, method.Policy, s.tempo, sw.Now, cancelAfter)
	if err := s.withhold(ctx, tx, &review); err != nil {
		return review, order, err
	}
	if d := review.Difference; d != nil {
		told, err := s.toldOf(ctx, tx, orderID, d.Total)
		if err != nil {
			return review, order, err
		}
		if told { // and dealt with, or still flagged
			review.Difference = nil
		}
	}
	return review, order, nil
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
		if f.State != "" { // started: until it has an outcome
			again = now.Add(s.tempo.Of(time.Minute))
		}
		found = append(found, f)
	}
	for _, need := range review.Withheld {
		f, err := s.callForWithheld(ctx, tx, order, need, actor, run)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	for _, id := range review.Expired {
		if err := s.closeHold(ctx, tx, order, id, models.ClosedExpired); err != nil {
			return nil, err
		}
		f := Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: models.RuleHoldExpired}
		if err := s.say(ctx, tx, order, f, "closed the authorization "+id, actor, run); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	for _, part := range []func() ([]Finding, error){
		func() ([]Finding, error) { return s.showDifference(ctx, tx, order, review, actor, run) },
		func() ([]Finding, error) { return s.warn(ctx, tx, order, review, actor, run) },
		func() ([]Finding, error) { return s.reviewCaptures(ctx, tx, order, review, now, actor, run) },
	} {
		more, err := part()
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, s.checkAgain(ctx, tx, order.ID, again, review.Deadline)
}

// reviewCaptures makes or hastens the captures that a review found missing or
// too late for their hold.
func (s *Store) reviewCaptures(ctx context.Context, tx Tx, order *models.Order, review models.Review, now time.Time, actor, run string) ([]Finding, error) {
	var found []Finding
	for _, id := range review.Hasten {
		f := Finding{OperationID: id, Kind: models.Capture, OrderID: order.ID, State: models.Pending, Verdict: models.Expiring, Rule: models.RuleHasten}
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
		{review.Plan, models.OnApproval, models.Retry, models.RulePlan},
		{review.LastChance, models.OnLastChance, models.Expiring, models.RuleLastChance},
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

func (s *Store) checkAgain(ctx context.Context, tx Tx, orderID string, at time.Time, deadline *time.Time) error {
	var err error
	if at.IsZero() {
		_, err = s.exec(ctx, tx, `DELETE FROM order_checks WHERE order_id = ?`, orderID)
	} else {
		_, err = s.exec(ctx, tx, `INSERT INTO order_checks (order_id, due_at, deadline) VALUES (?, ?, ?)
			ON CONFLICT (order_id) DO UPDATE SET due_at = excluded.due_at, deadline = excluded.deadline`, orderID, at, deadline)
	}
	if err != nil {
		return fmt.Errorf("set when order %s is reviewed again: %w", orderID, err)
	}
	return nil
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
	if len(before) > 0 && need.Cause == models.CauseCancel {
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
	_, err := s.exec(ctx, tx, `INSERT INTO verdicts (id, reconciliation_id, operation_id, kind, order_id, verdict, rule, action, outcome, actor, ours,
			mode, payment_gateway_id, amount_cents, currency_code)
		SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, jsonb_build_object('order_status', ?::text, 'total_amount_cents', ?::bigint, 'captured_cents', ?::bigint),
			?, COALESCE(o.payment_gateway_id, m.payment_gateway_id), COALESCE(o.amount_cents, ?), ?
		FROM payment_methods AS m LEFT JOIN operations AS o ON o.id = ?::uuid WHERE m.id = ?`,
		NewID(), nullable(run), nullable(f.OperationID), f.Kind, order.ID, f.Verdict, f.Rule, action, outcome, actor,
		order.Status, order.TotalAmountCents, order.CapturedCents,
		order.Mode, order.TotalAmountCents, order.CurrencyCode, nullable(f.OperationID), order.PaymentMethodID)
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
		return s.createVoid(ctx, tx, order, &hold, need.Cause, actor)
	}
	capture, err := s.operation(ctx, tx, models.Capture, need.CaptureID, "")
	if err != nil {
		return models.Operation{}, err
	}
	return s.createRefund(ctx, tx, order, &hold, &capture, need.Cause, need.AmountCents, actor)
}

// closeHold closes a hold that has ended, for a reason, with nothing under way.
func (s *Store) closeHold(ctx context.Context, tx Tx, order *models.Order, id, reason string) error {
	_, err := s.exec(ctx, tx, `WITH closed AS (
			UPDATE authorizations SET closed_at = now(), closed_reason = ?0, updated_at = now()
			WHERE id = ?1 AND closed_at IS NULL AND live_operation_id IS NULL RETURNING amount_cents, confirmed_cents
		) UPDATE orders AS r SET held_cents = r.held_cents - c.amount_cents, voided_cents = r.voided_cents + greatest(0, c.amount_cents - c.confirmed_cents), updated_at = now()
		FROM closed AS c WHERE r.id = ?2`, reason, id, order.ID)
	if err != nil {
		return fmt.Errorf("close the hold %s (%s): %w", id, reason, err)
	}
	return nil
}

// CancelCapture gives the money of one mismatched capture back at an operator's
// word: the conditions of the automatic cancel hold, but for the waiting time.
func (s *Store) CancelCapture(ctx context.Context, tx Tx, mode models.Mode, captureID string, now time.Time, actor string) (models.Operation, error) {
	return s.cancelCapture(ctx, tx, mode, captureID, actor, false)
}

// cancelCapture makes the refund of a cancel. Elsewhere: a person gave the money
// back already.
func (s *Store) cancelCapture(ctx context.Context, tx Tx, mode models.Mode, captureID, actor string, elsewhere bool) (models.Operation, error) {
	order, hold, capture, err := s.lockCapture(ctx, tx, mode, captureID)
	if err != nil {
		return models.Operation{}, err
	}
	if before, err := s.madeBefore(ctx, tx, models.Refund, capture.ID, order.ID); before != nil || err != nil {
		return valueOf(before), err
	}
	ops, err := s.capturesOf(ctx, tx, order.ID, "")
	if err != nil {
		return capture, err
	}
	if undecided(capture) {
		return capture, busy("operation_under_way", "_cancel", "the capture is %s; wait for its outcome", capture.State)
	}
	asked := capture
	if elsewhere {
		asked.Mechanism = "" // nothing is asked of the account that never took it
	}
	rule, guard, why := models.Cancellable(order, asked, ops)
	switch guard {
	case "":
	case "operation_under_way":
		return capture, busy(guard, "_cancel", "%s", why)
	default:
		return capture, refuse(guard, "_cancel", "%s", why)
	}
	refund, err := s.createRefund(ctx, tx, &order, &hold, &capture, models.CauseCancel, capture.RefundBalance(), actor)
	if refund, err = s.remembered(ctx, tx, capture.ID, refund, err); err != nil {
		return capture, err
	}
	f := Finding{OperationID: capture.ID, Kind: models.Capture, OrderID: order.ID, State: refund.State, Verdict: models.Cancel, Rule: "by hand: " + rule}
	err = s.say(ctx, tx, &order, f, "created refund "+refund.Number, actor, "")
	return refund, err
}
