package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/capstan-pay/capstan/models"
)

// Approval is what became of one order of [Store.ApproveAll].
type Approval struct {
	// OrderID is the id as it was asked for.
	OrderID string
	// Order is as it stands now; empty when Err says that there is none.
	Order models.Order
	// Operations are the captures that this approval made.
	Operations []models.Operation
	// Unchanged: it was approved before.
	Unchanged bool
	// Err is a *[Refusal], or says [ErrNotFound]; nothing was written for the
	// order then. The other orders are not touched by it.
	Err error
}

// Approve approves one order: see [Store.ApproveAll].
func (s *Store) Approve(ctx context.Context, tx Tx, mode models.Mode, orderID, actor string) (models.Order, []models.Operation, error) {
	answers, err := s.ApproveAll(ctx, tx, mode, []string{orderID}, actor)
	if err != nil {
		return models.Order{}, nil, err
	}
	return answers[0].Order, answers[0].Operations, answers[0].Err
}

// approvalsAtOnce is how many orders one statement approves: more gain nothing,
// and would hold their locks for longer.
const approvalsAtOnce = 1000

// optimisticTries is how often orders that change under an approval are read
// again before they are locked first.
const optimisticTries = 3

// ApproveAll approves orders and makes the captures that their payment methods
// want, as rows; nothing is published. Each order is answered in its place, an
// id that comes twice both times alike. An error is that of the whole call.
//
// One order or a thousand take two statements: one reads all that the decision
// rests on, one writes what was decided, of those orders that are still as they
// were read. The others are read again. So approving again changes nothing, and
// a thousand approvals at once make one capture.
//
// With tx nil the second statement is a transaction of its own, one for each
// thousand orders: if the process dies before it committed nothing happened, and
// afterwards the captures are open work. Else both run in the caller's
// transaction, of any isolation.
func (s *Store) ApproveAll(ctx context.Context, tx Tx, mode models.Mode, ids []string, actor string) ([]Approval, error) {
	done := make(map[string]Approval, len(ids))
	open := make([]string, 0, len(ids))
	for _, id := range ids {
		key := strings.ToLower(id)
		if _, twice := done[key]; twice {
			continue
		}
		done[key] = Approval{Err: fmt.Errorf("order %q: %w", id, ErrNotFound)}
		if ValidID(id) {
			open = append(open, key)
		}
	}
	slices.Sort(open)
	for some := range slices.Chunk(open, approvalsAtOnce) {
		if err := s.approveSome(ctx, tx, mode, some, actor, done); err != nil {
			return nil, err
		}
	}
	answers := make([]Approval, len(ids))
	for i, id := range ids {
		answers[i] = done[strings.ToLower(id)]
		answers[i].OrderID = id
	}
	return answers, nil
}

func (s *Store) approveSome(ctx context.Context, tx Tx, mode models.Mode, open []string, actor string, done map[string]Approval) (err error) {
	for range optimisticTries {
		if open, err = s.approve(ctx, tx, mode, open, actor, done); err != nil || len(open) == 0 {
			return err
		}
	}
	return s.approveLocked(ctx, tx, mode, open, actor, done)
}

// approve reads, decides and writes once. It returns the orders that changed
// meanwhile.
func (s *Store) approve(ctx context.Context, tx Tx, mode models.Mode, ids []string, actor string, done map[string]Approval) ([]string, error) {
	seen, err := s.snapshot(ctx, tx, mode, ids)
	if err != nil {
		return nil, err
	}
	var parts []*part
	approved := make(map[string]*snapshot, len(seen))
	for _, id := range ids {
		snap := seen[id]
		if snap == nil {
			continue // not found, as it is answered already
		}
		p, answer := snap.approval(actor)
		done[id] = answer
		if p != nil {
			parts = append(parts, p)
			approved[id] = snap
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	orders, err := s.write(ctx, tx, models.Capture, actor, parts)
	if tx == nil && len(parts) > 1 && broken(err) {
		return nil, s.approveApart(ctx, mode, parts, actor, done)
	}
	if err != nil {
		return nil, fmt.Errorf("approve %d orders: %w", len(parts), err)
	}
	var again []string
	for _, p := range parts {
		id := p.order.ID
		if !orders[id] {
			again = append(again, id)
			continue
		}
		snap := approved[id]
		snap.order.UpdatedAt = p.at
		done[id] = Approval{Order: snap.order, Operations: p.made}
	}
	return again, nil
}

// approval decides on one order. What is to be written comes as a part that
// holds only while order and holds are as they were read.
func (snap *snapshot) approval(actor string) (*part, Approval) {
	o := &snap.order
	switch {
	case o.Closing():
		return nil, Approval{Order: *o, Err: refuse("order_cancelled", "_approve", "the order is cancelled; make a new one")}
	case o.Status == models.OrderApproved:
		return nil, Approval{Order: *o, Unchanged: true}
	}
	o.Status, o.ApprovedAt = models.OrderApproved, &snap.at
	p, err := partOf(o, snap.wanted(o, models.OnApproval, snap.at, actor))
	if err != nil {
		return nil, Approval{Order: *o, Err: err}
	}
	p.order.Seen, p.order.ApprovedAt, p.order.LastChance = &snap.seen, o.ApprovedAt, snap.policy.LastChanceSeconds != nil
	p.order.Overpaid = o.Overpaid() > 0
	p.holds = p.holds[:0]
	for i := range snap.holds {
		p.holds = append(p.holds, holdRow{ID: snap.holds[i].ID, OrderID: o.ID, Seen: &snap.holdSeen[i]})
	}
	return p, Approval{}
}

// approveLocked approves orders that others keep changing: their locks first.
func (s *Store) approveLocked(ctx context.Context, tx Tx, mode models.Mode, ids []string, actor string, done map[string]Approval) error {
	if tx == nil {
		return s.InTx(ctx, func(ctx context.Context, tx Tx) error { return s.approveLocked(ctx, tx, mode, ids, actor, done) })
	}
	for _, lock := range []string{
		`SELECT r.id FROM orders AS r WHERE r.id = ANY(?0::uuid[]) ORDER BY r.id FOR UPDATE`,
		`SELECT a.id FROM authorizations AS a WHERE a.order_id = ANY(?0::uuid[]) ORDER BY a.id FOR UPDATE`,
	} {
		if _, err := s.exec(ctx, tx, lock, uuidArray(ids)); err != nil {
			return fmt.Errorf("lock %d orders: %w", len(ids), err)
		}
	}
	again, err := s.approve(ctx, tx, mode, ids, actor, done)
	if err == nil && len(again) > 0 {
		err = fmt.Errorf("approve order %s under its lock: %w", again[0], ErrStale)
	}
	return err
}

// broken reports whether a constraint stood against a statement: against one of
// its orders, that is, and the others must not suffer for it.
func broken(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.HasPrefix(pg.Code, "23")
}

// approveApart approves each order by itself, so that the one that the ledger's
// constraints refuse is the only one that fails.
func (s *Store) approveApart(ctx context.Context, mode models.Mode, parts []*part, actor string, done map[string]Approval) error {
	for _, p := range parts {
		one, err := s.ApproveAll(ctx, nil, mode, []string{p.order.ID}, actor)
		switch {
		case broken(err):
			done[p.order.ID] = Approval{Err: err}
		case err != nil:
			return err
		default:
			done[p.order.ID] = one[0]
		}
	}
	return nil
}

// Fulfill starts the delivery of an approved order and captures what the
// policy wants then. With require_capture it is refused until the order is paid.
func (s *Store) Fulfill(ctx context.Context, tx Tx, mode models.Mode, orderID string, now time.Time, actor string) (models.Order, []models.Operation, error) {
	order, err := s.lockOrder(ctx, tx, mode, orderID)
	if err != nil {
		return order, nil, err
	}
	if order.Closing() || order.Status != models.OrderApproved {
		return order, nil, refuse("order_not_approved", "_fulfill", "the order is %s; approve it first", order.Status)
	}
	method, err := s.methodOf(ctx, tx, order)
	if err != nil {
		return order, nil, err
	}
	if method.RequireCapture && order.PaymentStatus != models.Paid && order.PaymentStatus != models.Free {
		return order, nil, refuse("capture_required", "_fulfill", "the payment method requires a capture first; the order is %s", order.PaymentStatus)
	}
	if order.FulfillmentStatus != models.Unfulfilled {
		return order, nil, nil
	}
	if err := s.one(ctx, tx, &order, "order "+orderID,
		`UPDATE orders AS o SET fulfillment_status = 'in_progress', updated_at = now() WHERE o.id = ? RETURNING `+s.columns(order, "o"), orderID); err != nil {
		return order, nil, err
	}
	made, err := s.plan(ctx, tx, &order, models.OnFulfillment, now, actor)
	return order, made, err
}
