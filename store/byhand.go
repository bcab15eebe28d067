package store

import (
	"context"
	"fmt"

	"github.com/capstan-pay/capstan/models"
)

// CaptureByHand makes a manual capture of a hold: amount, or with 0 as much as
// hold and order allow.
func (s *Store) CaptureByHand(ctx context.Context, tx Tx, mode models.Mode, authorizationID string, amount int64, actor string, labels models.Labels) (models.Operation, error) {
	order, hold, err := s.lockHold(ctx, tx, mode, authorizationID)
	if err != nil {
		return models.Operation{}, err
	}
	if before, err := s.madeBefore(ctx, tx, models.Capture, hold.ID, order.ID); before != nil || err != nil {
		return valueOf(before), err
	}
	if order.Closing() {
		return models.Operation{}, refuse("order_cancelled", "_capture", "the order is cancelled; its hold is voided")
	}
	if amount == 0 {
		amount = min(hold.Left(), order.Left())
	}
	if amount <= 0 && hold.LiveOperationID == nil {
		return models.Operation{}, refuse("nothing_left", "_capture", "the hold has %d and the order %d left: there is nothing to capture", hold.Left(), order.Left())
	}
	account, err := s.accountOf(ctx, tx, hold.PaymentGatewayID)
	if err != nil {
		return models.Operation{}, err
	}
	made, err := s.create(ctx, tx, newOperation{
		kind: models.Capture, order: &order, hold: &hold, account: account, cause: models.CauseManual, amount: amount, actor: actor, labels: labels,
	})
	return s.remembered(ctx, tx, hold.ID, made, err)
}

// RetryFailed makes the successor of a failed operation, once: a unique index
// on what it retries keeps two operators, or a repeated request, from moving
// money twice. It returns what it made: nothing when there is one already.
func (s *Store) RetryFailed(ctx context.Context, tx Tx, op models.Operation, actor string) ([]models.Operation, error) {
	order, hold, err := s.lockHold(ctx, tx, op.Mode, op.AuthorizationID)
	if err != nil {
		return nil, err
	}
	n := newOperation{kind: op.Kind, order: &order, hold: &hold, cause: models.CauseManual, amount: op.AmountCents, actor: actor, retryOf: &op.ID}
	if n.account, err = s.accountOf(ctx, tx, hold.PaymentGatewayID); err != nil {
		return nil, err
	}
	if op.Kind == models.Refund {
		capture, err := s.operation(ctx, tx, models.Capture, *op.CaptureID, " FOR UPDATE")
		if err != nil {
			return nil, err
		}
		if capture.TakenBackFlag() {
			return nil, refuse("taken_back", "_retry", "%s", capture.WhyNotReturned())
		}
		if capture.Manual() {
			return nil, refuse(RuleManuallyCaptured, "_retry", "%s", capture.WhyNotReturned())
		}
		n.capture = &capture
	}
	var there bool
	err = s.query(ctx, tx, &there, `SELECT EXISTS (SELECT 1 FROM `+tables[op.Kind]+` WHERE retry_of = ?)`, op.ID)
	if err != nil || there {
		return nil, err
	}
	if op, err = s.operation(ctx, tx, op.Kind, op.ID, " FOR UPDATE"); err != nil {
		return nil, err
	}
	if op.State != models.Failed { // a late success came between the look and this
		return nil, refuse("not_failed", "_retry", "the %s is %s by now", op.Kind, op.State)
	}
	if op.Kind == models.Capture && order.Closing() {
		return nil, refuse("order_cancelled", "_retry", "the order is cancelled; nothing more is captured for it")
	}
	made, err := s.create(ctx, tx, n)
	if err != nil {
		return nil, err
	}
	return []models.Operation{made}, nil
}

// VoidByHand releases a hold of which nothing was captured.
func (s *Store) VoidByHand(ctx context.Context, tx Tx, mode models.Mode, authorizationID, actor string) (models.Operation, error) {
	order, hold, err := s.lockHold(ctx, tx, mode, authorizationID)
	if err != nil {
		return models.Operation{}, err
	}
	if before, err := s.madeBefore(ctx, tx, models.Void, hold.ID, order.ID); before != nil || err != nil {
		return valueOf(before), err
	}
	made, err := s.createVoid(ctx, tx, &order, &hold, models.CauseManual, actor)
	return s.remembered(ctx, tx, hold.ID, made, err)
}

func (s *Store) createVoid(ctx context.Context, tx Tx, order *models.Order, hold *models.Authorization, cause models.Cause, actor string) (models.Operation, error) {
	account, err := s.accountOf(ctx, tx, hold.PaymentGatewayID)
	if err != nil {
		return models.Operation{}, err
	}
	return s.create(ctx, tx, newOperation{
		kind: models.Void, order: order, hold: hold, account: account, cause: cause, amount: max(1, hold.Left()), actor: actor,
	})
}

// lockHold locks a hold's order, then the hold.
func (s *Store) lockHold(ctx context.Context, tx Tx, mode models.Mode, id string) (models.Order, models.Authorization, error) {
	if !ValidID(id) {
		return models.Order{}, models.Authorization{}, fmt.Errorf("authorization %q: %w", id, ErrNotFound)
	}
	hold, err := s.hold(ctx, tx, id, "")
	if err != nil {
		return models.Order{}, hold, err
	}
	order, err := s.lockOrder(ctx, tx, mode, hold.OrderID)
	if err != nil {
		return order, hold, err
	}
	hold, err = s.hold(ctx, tx, id, " FOR UPDATE")
	return order, hold, err
}

// RuleManuallyCaptured is the rule of the refusal to give a capture back through a
// gateway account that never took it: a person did.
const RuleManuallyCaptured = models.GuardManual

// RefundByHand gives amount of a succeeded capture back; 0 means all that is left.
func (s *Store) RefundByHand(ctx context.Context, tx Tx, mode models.Mode, captureID string, amount int64, actor string) (models.Operation, error) {
	return s.refundOf(ctx, tx, mode, captureID, amount, actor, false)
}

// refundOf makes a refund by hand. Elsewhere: a person made it already.
func (s *Store) refundOf(ctx context.Context, tx Tx, mode models.Mode, captureID string, amount int64, actor string, elsewhere bool) (models.Operation, error) {
	order, hold, capture, err := s.lockCapture(ctx, tx, mode, captureID)
	if err != nil {
		return models.Operation{}, err
	}
	ofOrder := order.ID
	if elsewhere && amount == 0 {
		ofOrder = "" // whoever marks all as given back does so for each capture
	}
	if before, err := s.madeBefore(ctx, tx, models.Refund, capture.ID, ofOrder); before != nil || err != nil {
		return valueOf(before), err
	}
	if undecided(capture) {
		return models.Operation{}, busy("operation_under_way", "_refund", "the capture is %s; wait for its outcome", capture.State)
	}
	if capture.State != models.Succeeded {
		return models.Operation{}, refuse("not_succeeded", "_refund", "the capture is %s; only a succeeded capture can be refunded", capture.State)
	}
	if capture.TakenBackFlag() {
		return models.Operation{}, refuse("taken_back", "_refund", "%s", capture.WhyNotReturned())
	}
	if capture.Manual() && !elsewhere {
		return models.Operation{}, refuse(RuleManuallyCaptured, "_refund", "%s", capture.WhyNotReturned())
	}
	if amount == 0 {
		amount = capture.RefundBalance()
	}
	if amount <= 0 {
		return models.Operation{}, refuse("nothing_left", "_refund", "the capture has nothing left to refund")
	}
	made, err := s.createRefund(ctx, tx, &order, &hold, &capture, models.CauseManual, amount, actor)
	return s.remembered(ctx, tx, capture.ID, made, err)
}

func (s *Store) createRefund(ctx context.Context, tx Tx, order *models.Order, hold *models.Authorization, capture *models.Operation, cause models.Cause, amount int64, actor string) (models.Operation, error) {
	account, err := s.accountOf(ctx, tx, hold.PaymentGatewayID)
	if err != nil {
		return models.Operation{}, err
	}
	return s.create(ctx, tx, newOperation{
		kind: models.Refund, order: order, hold: hold, account: account, capture: capture, cause: cause, amount: amount, actor: actor,
	})
}

// lockCapture locks a capture's order, then its hold, then the capture.
func (s *Store) lockCapture(ctx context.Context, tx Tx, mode models.Mode, id string) (order models.Order, hold models.Authorization, capture models.Operation, err error) {
	if !ValidID(id) {
		return order, hold, capture, fmt.Errorf("capture %q: %w", id, ErrNotFound)
	}
	if capture, err = s.operation(ctx, tx, models.Capture, id, ""); err != nil {
		return order, hold, capture, err
	}
	if order, err = s.lockOrder(ctx, tx, mode, capture.OrderID); err != nil {
		return order, hold, capture, err
	}
	if hold, err = s.hold(ctx, tx, capture.AuthorizationID, " FOR UPDATE"); err != nil {
		return order, hold, capture, err
	}
	capture, err = s.operation(ctx, tx, models.Capture, id, " FOR UPDATE")
	return order, hold, capture, err
}

// capturesOf reads an order's captures, oldest first.
func (s *Store) capturesOf(ctx context.Context, tx Tx, orderID, lock string) ([]models.Operation, error) {
	var ops []models.Operation
	err := s.query(ctx, tx, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM captures AS o WHERE o.order_id = ? ORDER BY o.id`+lock, orderID)
	if err != nil {
		return nil, fmt.Errorf("read the captures of order %s: %w", orderID, err)
	}
	return ops, nil
}
