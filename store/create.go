package store

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// newOperation is an operation to be made. Order and hold, and the capture of a
// refund, were read under their locks in the same transaction.
type newOperation struct {
	kind    models.Kind
	order   *models.Order
	hold    *models.Authorization
	account string
	capture *models.Operation
	cause   models.Cause
	amount  int64
	due     time.Time // zero means now
	actor   string
	labels  models.Labels
	retryOf *string
}

// create is the one place that makes operations: under both caps, with a
// derived reference, its first history row and its open work. It changes order,
// hold and capture in memory as it does in the database.
func (s *Store) create(ctx context.Context, tx Tx, n newOperation) (models.Operation, error) {
	if err := n.allowed(); err != nil {
		return models.Operation{}, err
	}
	sequence := n.nextSequence()
	n.order.Transactions++
	op := models.Operation{
		Kind: n.kind, ID: NewID(), Mode: n.order.Mode, Number: transactionNumber(*n.order),
		OrderID: n.order.ID, AuthorizationID: n.hold.ID, PaymentGatewayID: n.hold.PaymentGatewayID, Cause: n.cause,
		Sequence: sequence, GatewayReference: models.GatewayReference(n.account, n.hold.GatewayTransactionID, n.kind, sequence),
		AmountCents: n.amount, CurrencyCode: n.hold.CurrencyCode,
		OrderVersion: n.order.Version, OrderTotalCents: n.order.TotalAmountCents, State: models.Pending, Version: 1, Labels: n.labels, RetryOf: n.retryOf,
	}
	if n.kind != models.Void {
		op.ReservedCents = n.amount
	}
	if n.capture != nil {
		op.CaptureID = &n.capture.ID
	}
	if len(op.Metadata) == 0 {
		op.Metadata = []byte(`{}`)
	}
	var due *time.Time
	if !n.due.IsZero() {
		due = &n.due
	}
	captured, refunded := int64(0), int64(0)
	if n.kind == models.Capture {
		captured = n.amount
	}
	if n.kind == models.Refund {
		refunded = n.amount
	}
	err := s.query(ctx, tx, &op, createStatement(n.kind, s.columns(op, "o")),
		n.kind, op.ID, op.Mode, op.Number, op.OrderID, op.AuthorizationID, op.PaymentGatewayID, op.CaptureID, op.Cause, sequence,
		op.GatewayReference, op.AmountCents, op.CurrencyCode, op.ReservedCents, op.OrderVersion, op.OrderTotalCents,
		nullable(op.Reference), nullable(op.ReferenceOrigin), string(op.Metadata), n.actor, due, captured, refunded, n.retryOf)
	if err != nil {
		return models.Operation{}, n.explain(err)
	}
	n.order.LiveOperations++
	n.order.LiveCents += captured
	n.hold.RequestedCents += captured
	if n.kind != models.Refund {
		n.hold.LiveOperationID = &op.ID
	}
	if n.capture != nil {
		n.capture.RefundRequestedCents += refunded
	}
	return op, nil
}

// createStatement writes the operation, its first step, its open work, and its
// reservation on hold, order and capture.
func createStatement(kind models.Kind, columns string) string {
	holdsLive := "live_operation_id = ?1"
	if kind == models.Refund {
		holdsLive = "live_operation_id = live_operation_id"
	}
	return `WITH made AS (
		INSERT INTO ` + tables[kind] + ` AS o (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, capture_id, cause, sequence,
			gateway_reference, amount_cents, currency_code, reserved_cents, order_version, order_total_cents, state, version, chain_hash,
			next_at, not_before, reference, reference_origin, metadata, retry_of)
		VALUES (?0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 'pending', 1,
			step_hash('', ?1::uuid, 1, 'created', '', 'pending', ?11, ?12, ?19, E'\x1e{}', now()), COALESCE(?20::timestamptz, now()), COALESCE(?20::timestamptz, now()), ?16, ?17, ?18, ?23)
		RETURNING ` + columns + `
	), born AS (
		INSERT INTO events (operation_id, version, event, from_state, to_state, actor, amount_cents, currency_code, occurred_at, hash)
		SELECT id, 1, 'created', '', 'pending', ?19, amount_cents, currency_code, now(), chain_hash FROM made
	), open AS (
		INSERT INTO work (operation_id, kind, payment_gateway_id, due_at, deadline)
		SELECT m.id, m.kind, m.payment_gateway_id, m.next_at, a.capture_before FROM made AS m JOIN authorizations AS a ON a.id = m.authorization_id
	), held AS (
		UPDATE authorizations SET requested_cents = requested_cents + ?21, ` + holdsLive + `,
			` + string(kind) + `_sequence = ` + string(kind) + `_sequence + 1, updated_at = now()
		WHERE id = ?5
	), ordered AS (
		UPDATE orders SET live_cents = live_cents + ?21, live_operations = live_operations + 1, transactions = transactions + 1, updated_at = now()
		WHERE id = ?4
	), returned AS (
		UPDATE captures SET refund_requested_cents = refund_requested_cents + ?22, updated_at = now() WHERE id = ?7 AND ?22 > 0
	) SELECT * FROM made`
}

func transactionNumber(o models.Order) string {
	return fmt.Sprintf("%d/T/%03d", o.Number, o.Transactions)
}

func (n newOperation) nextSequence() int {
	switch n.kind {
	case models.Capture:
		n.hold.CaptureSequence++
		return n.hold.CaptureSequence
	case models.Refund:
		n.hold.RefundSequence++
		return n.hold.RefundSequence
	}
	n.hold.VoidSequence++
	return n.hold.VoidSequence
}

// allowed checks the caps and the rule of one live operation per hold, on rows
// that are locked. The database's CHECKs and unique indexes say the same.
func (n newOperation) allowed() error {
	if n.kind == models.Refund {
		if balance := n.capture.RefundBalance(); n.amount > balance {
			return refuse("refund_exceeds_balance", "_refund_amount_cents", "capture %s has %d of %s left to refund, not %d",
				n.capture.Number, balance, n.capture.CurrencyCode, n.amount)
		}
		return nil
	}
	if n.hold.ClosedAt != nil {
		return refuse("hold_closed", "", "the authorization %s is %s; nothing more can be asked of it", n.hold.Number, n.hold.ClosedReason)
	}
	if n.hold.LiveOperationID != nil {
		return busy("operation_under_way", "", "the authorization %s has an operation under way; wait for its outcome", n.hold.Number)
	}
	if n.kind == models.Void {
		if n.hold.RequestedCents > 0 && !n.hold.MultiCapture {
			return refuse("already_captured", "_void", "the authorization %s was captured; refund the capture instead", n.hold.Number)
		}
		return nil
	}
	if n.amount > n.hold.Left() {
		return refuse("capture_exceeds_hold", "_capture_amount_cents", "the authorization %s has %d of %s left to capture, not %d",
			n.hold.Number, n.hold.Left(), n.hold.CurrencyCode, n.amount)
	}
	if n.amount > n.order.Left() {
		return refuse("capture_exceeds_order", "_capture_amount_cents", "the order has %d of %s left to pay, not %d", n.order.Left(), n.order.CurrencyCode, n.amount)
	}
	return nil
}

// explain turns the database's own refusals into the rule behind them.
func (n newOperation) explain(err error) error {
	switch {
	case violated(err, "captures_once"):
		return refuse("captured_once", "", "the authorization %s was captured for the cause %s before", n.hold.Number, n.cause)
	case violated(err, "refunds_cancel_once"):
		return refuse("cancelled_once", "_cancel", "the capture %s was cancelled before", n.capture.Number)
	case violated(err, "hold_cap"):
		return refuse("capture_exceeds_hold", "", "the authorization %s does not cover %d more", n.hold.Number, n.amount)
	case violated(err, "refund_cap"):
		return refuse("refund_exceeds_balance", "", "the capture %s does not cover %d more", n.capture.Number, n.amount)
	}
	return fmt.Errorf("create a %s of %d %s on authorization %s: %w", n.kind, n.amount, n.hold.CurrencyCode, n.hold.ID, err)
}

func nullable(s string) *string {
	if s = clean(s); s == "" {
		return nil
	}
	return &s
}
