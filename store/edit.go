package store

import (
	"context"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// ChangeTotal changes what an order costs. A lower total lowers captures that
// were provably never sent, newest first; one that is under way is a refusal
// to come again; a capture that succeeded keeps its amount and the difference
// is shown. A higher total leaves every capture as it is.
func (s *Store) ChangeTotal(ctx context.Context, tx Tx, mode models.Mode, orderID string, total int64, now time.Time, cancelAfter time.Duration, actor string) (models.Order, error) {
	order, err := s.lockOrder(ctx, tx, mode, orderID)
	if err != nil || order.TotalAmountCents == total {
		return order, err
	}
	if order.Closing() {
		return order, refuse("order_cancelled", "total_amount_cents", "the order is cancelled; its total stays")
	}
	if err := s.lockHolds(ctx, tx, orderID); err != nil {
		return order, err
	}
	captures, err := s.capturesOf(ctx, tx, orderID, " FOR UPDATE")
	if err != nil {
		return order, err
	}
	if _, err := s.weigh(ctx, tx, captures); err != nil {
		return order, err
	}
	version := order.Version + 1
	cuts, err := cutsOf(order, captures, total)
	if err != nil {
		return order, err
	}
	for i, c := range captures {
		if !c.State.Live() {
			continue
		}
		if err := s.adjust(ctx, tx, c, cuts[i], version, order.TotalAmountCents, total, actor); err != nil {
			return order, err
		}
	}
	return s.writeTotal(ctx, tx, order, total, version, now, cancelAfter)
}

// cutsOf says how much each capture has to give up for a total, newest first.
// It refuses before anything is written.
func cutsOf(order models.Order, captures []models.Operation, total int64) ([]int64, error) {
	cuts := make([]int64, len(captures))
	excess := order.LiveCents - max(0, total-max(0, order.CapturedCents-order.RefundedCents))
	for i := len(captures) - 1; i >= 0 && excess > 0; i-- {
		c := captures[i]
		if !c.State.Live() {
			continue
		}
		if !neverSent(c) {
			return nil, busy("operation_under_way", "total_amount_cents",
				"capture %s of %d is under way; wait for its outcome before lowering the total", c.Number, c.AmountCents)
		}
		cuts[i] = min(excess, c.AmountCents)
		excess -= cuts[i]
	}
	return cuts, nil
}

// neverSent: pending, and proven that nothing ever left for it. After a restore
// the row alone is no proof: see [Store.weigh].
func neverSent(o models.Operation) bool {
	return o.State == models.Pending && o.SentVersion == nil && !o.LookFirst
}

// undecided: it may have been sent, and nobody knows yet what became of it.
func undecided(o models.Operation) bool { return o.State.Live() && !neverSent(o) }

// adjust lowers or withdraws a capture that was never sent, or just tells an
// open one that the order's new version is known to it. A capture that fits a
// lower total as it is, and was never sent, is one for the lower total.
func (s *Store) adjust(ctx context.Context, tx Tx, c models.Operation, cut, version, before, total int64, actor string) error {
	switch cut {
	case 0:
		madeFor := c.OrderTotalCents
		if total < before && neverSent(c) {
			madeFor = total
		}
		_, err := s.exec(ctx, tx, `UPDATE captures SET order_version = ?, order_total_cents = ?, updated_at = now() WHERE id = ?`, version, madeFor, c.ID)
		return err
	case c.AmountCents:
		return s.withdraw(ctx, tx, c, actor, "the order's total was lowered before anything was sent")
	}
	moved, err := s.apply(ctx, tx, []Move{{
		Op: c, Decision: models.Decision{Event: models.Lowered}, Actor: actor, Reason: "the order's total was lowered before anything was sent",
		LoweredTo: c.AmountCents - cut, OrderVersion: &version, OrderTotal: &total,
	}})
	if err == nil && len(moved) == 0 {
		err = ErrStale
	}
	return err
}

func (s *Store) withdraw(ctx context.Context, tx Tx, c models.Operation, actor, reason string) error {
	moved, err := s.apply(ctx, tx, []Move{{Op: c, Decision: models.Decision{Event: models.Withdrawn, ClearFlag: true}, Actor: actor, Reason: reason}})
	if err == nil && len(moved) == 0 {
		err = ErrStale
	}
	return err
}

// writeTotal stores the new total of an order that was before, and has the sweep
// look whether its captures still fit it: an open order's after cancelAfter, and
// so an approved one's that now stand above it; what is no longer above it is
// settled at once.
func (s *Store) writeTotal(ctx context.Context, tx Tx, before models.Order, total, version int64, now time.Time, cancelAfter time.Duration) (models.Order, error) {
	var order models.Order
	err := s.one(ctx, tx, &order, "order "+before.ID, `UPDATE orders AS o SET total_amount_cents = ?, version = ?, total_changed_at = now(), updated_at = now()
		WHERE o.id = ? RETURNING `+s.columns(order, "o"), total, version, before.ID)
	if err != nil {
		return order, err
	}
	switch {
	case order.Status.Open() && order.CapturedCents+order.LiveCents > 0, order.Overpaid() > 0:
		err = s.check(ctx, tx, order.ID, now.Add(cancelAfter))
	case before.Overpaid() > 0:
		err = s.check(ctx, tx, order.ID, now)
	}
	return order, err
}

// check has the sweep review an order, at the latest at the given time.
func (s *Store) check(ctx context.Context, tx Tx, orderID string, at time.Time) error {
	_, err := s.exec(ctx, tx, `INSERT INTO order_checks (order_id, due_at) VALUES (?, ?)
		ON CONFLICT (order_id) DO UPDATE SET due_at = least(order_checks.due_at, excluded.due_at)`, orderID, at)
	return err
}

// CancelOrder cancels an order. Captures that were provably never sent are
// withdrawn with it, and what is held or was captured is given back. With an
// operation under way only the wish is stored: nothing more is sent, the
// outcome is looked up at once, and it decides whether money must be given back.
func (s *Store) CancelOrder(ctx context.Context, tx Tx, mode models.Mode, orderID string, now time.Time, actor string) (models.Order, error) {
	order, err := s.lockOrder(ctx, tx, mode, orderID)
	if err != nil || order.Closing() {
		return order, err
	}
	if err := s.lockHolds(ctx, tx, orderID); err != nil {
		return order, err
	}
	captures, err := s.capturesOf(ctx, tx, orderID, " FOR UPDATE")
	if err != nil {
		return order, err
	}
	settled, err := s.weigh(ctx, tx, captures)
	if err != nil {
		return order, err
	}
	for _, c := range captures {
		switch {
		case !c.State.Live(), c.State == models.Capturing: // its owner's outcome decides
		case neverSent(c) || settled[c.ID]:
			err = s.withdraw(ctx, tx, c, actor, "the order was cancelled before anything was sent")
		default:
			err = s.Hint(ctx, tx, c, actor, "the order was cancelled; its outcome decides")
		}
		if err != nil {
			return order, err
		}
	}
	if order, err = s.lockOrder(ctx, tx, mode, orderID); err != nil {
		return order, err
	}
	if order.LiveOperations > 0 {
		err = s.one(ctx, tx, &order, "order "+orderID, `UPDATE orders AS o SET cancel_requested_at = now(), updated_at = now() WHERE o.id = ? RETURNING `+s.columns(order, "o"), orderID)
		return order, err
	}
	err = s.one(ctx, tx, &order, "order "+orderID, `UPDATE orders AS o SET status = 'cancelled', cancelled_at = now(), updated_at = now() WHERE o.id = ? RETURNING `+s.columns(order, "o"), orderID)
	if err != nil {
		return order, err
	}
	_, err = s.review(ctx, tx, &order, now, 0, actor, "")
	return order, err
}
