package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// snapshot is one order with all that a plan rests on, of one moment. Seen is
// the version of a row that the database itself keeps: it changes with whatever
// anyone writes.
type snapshot struct {
	at       time.Time // by the database's clock
	order    models.Order
	seen     string
	policy   models.Policy
	holds    []models.Hold // oldest first
	holdSeen []string
	accounts []string // of each hold
}

// snapshotRow is an order beside one of its holds, or beside none.
type snapshotRow struct {
	models.Order
	models.Policy
	At   time.Time `bun:"at"`
	Seen string    `bun:"seen"`

	HoldID               string     `bun:"hold_id,nullzero"`
	HoldSeen             string     `bun:"hold_seen,nullzero"`
	HoldNumber           string     `bun:"hold_number,nullzero"`
	PaymentGatewayID     string     `bun:"payment_gateway_id,nullzero"`
	GatewayTransactionID string     `bun:"gateway_transaction_id,nullzero"`
	HoldCurrency         string     `bun:"hold_currency,nullzero"`
	HoldCents            int64      `bun:"hold_cents"`
	RequestedCents       int64      `bun:"requested_cents"`
	FirstTransactionID   string     `bun:"first_transaction_id,nullzero"`
	CaptureBefore        *time.Time `bun:"capture_before"`
	EstimatedBefore      *time.Time `bun:"estimated_before"`
	RenewingSince        *time.Time `bun:"renewing_since"`
	MultiCapture         bool       `bun:"multi_capture"`
	LiveOperationID      *string    `bun:"live_operation_id"`
	ClosedAt             *time.Time `bun:"closed_at"`
	ClosedReason         string     `bun:"closed_reason,nullzero"`
	CaptureSequence      int        `bun:"capture_sequence"`
	Account              string     `bun:"account,nullzero"`
	Causes               string     `bun:"causes,nullzero"`
}

// snapshotStatement reads orders of one mode: ?0 their ids, ?1 the mode. The
// causes are those for which a hold was captured, in whatever state that is.
func (s *Store) snapshotStatement() string {
	return `SELECT now() AS at, o.xmin::text AS seen, ` + s.columns(models.Order{}, "o") + `,
			m.auto_capture, m.auto_capture_max_amount_cents, m.capture_trigger, m.capture_delay_seconds, m.require_capture, m.last_chance_seconds,
			a.id AS hold_id, a.xmin::text AS hold_seen, a.number AS hold_number, a.payment_gateway_id, a.gateway_transaction_id, a.first_transaction_id, a.currency_code AS hold_currency,
			a.amount_cents AS hold_cents, a.requested_cents, a.capture_before, a.estimated_before, a.renewing_since, a.multi_capture, a.live_operation_id, a.closed_at, a.closed_reason,
			a.capture_sequence, g.slug AS account,
			array_to_string(ARRAY(SELECT c.cause FROM captures AS c WHERE c.authorization_id = a.id AND c.cause <> 'manual'), ',') AS causes
		FROM orders AS o JOIN payment_methods AS m ON m.id = o.payment_method_id
			LEFT JOIN authorizations AS a ON a.order_id = o.id LEFT JOIN payment_gateways AS g ON g.id = a.payment_gateway_id
		WHERE o.id = ANY(?0::uuid[]) AND o.mode = ?1::text ORDER BY o.id, a.id`
}

// snapshot reads orders by id. What is of the other mode, or not there, is missing.
func (s *Store) snapshot(ctx context.Context, tx Tx, mode models.Mode, ids []string) (map[string]*snapshot, error) {
	var rows []snapshotRow
	if err := s.atOnce(ctx, tx, &rows, s.snapshots, uuidArray(ids), string(mode)); err != nil {
		return nil, fmt.Errorf("read %d orders with their holds: %w", len(ids), err)
	}
	seen := make(map[string]*snapshot, len(ids))
	for i := range rows {
		r := &rows[i]
		snap := seen[r.Order.ID]
		if snap == nil {
			snap = &snapshot{at: r.At, order: r.Order, seen: r.Seen, policy: r.Policy}
			seen[r.Order.ID] = snap
		}
		if r.HoldID != "" {
			snap.holds = append(snap.holds, r.hold())
			snap.holdSeen, snap.accounts = append(snap.holdSeen, r.HoldSeen), append(snap.accounts, r.Account)
		}
	}
	return seen, nil
}

// hold is what of a hold a plan and a new capture need.
func (r *snapshotRow) hold() models.Hold {
	h := models.Hold{Authorization: models.Authorization{
		ID: r.HoldID, Mode: r.Mode, Number: r.HoldNumber, OrderID: r.Order.ID, PaymentGatewayID: r.PaymentGatewayID,
		GatewayTransactionID: r.GatewayTransactionID, FirstTransactionID: r.FirstTransactionID, CurrencyCode: r.HoldCurrency, AmountCents: r.HoldCents,
		CaptureBefore: r.CaptureBefore, EstimatedBefore: r.EstimatedBefore, RenewingSince: r.RenewingSince,
		MultiCapture: r.MultiCapture, RequestedCents: r.RequestedCents, LiveOperationID: r.LiveOperationID,
		ClosedAt: r.ClosedAt, ClosedReason: r.ClosedReason, CaptureSequence: r.CaptureSequence,
	}}
	if r.Causes != "" {
		for cause := range strings.SplitSeq(r.Causes, ",") {
			h.Causes = append(h.Causes, models.Cause(cause))
		}
	}
	return h
}

// wanted are the captures that the policy wants of an order on an occasion.
func (snap *snapshot) wanted(order *models.Order, on models.Occasion, now time.Time, actor string) []newOperation {
	var ns []newOperation
	for _, w := range models.Plan(snap.policy, *order, snap.holds, on, now) {
		for i := range snap.holds {
			if snap.holds[i].ID != w.AuthorizationID {
				continue
			}
			n := newOperation{
				kind: models.Capture, order: order, hold: &snap.holds[i].Authorization, account: snap.accounts[i],
				cause: w.Cause, amount: w.AmountCents, actor: actor,
			}
			if w.DueAt.After(now) {
				n.due = w.DueAt
			}
			ns = append(ns, n)
		}
	}
	return ns
}
