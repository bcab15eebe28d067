package store

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
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

// create makes one operation of an order that the transaction has locked. It
// changes order, hold and capture in memory as it does in the database.
func (s *Store) create(ctx context.Context, tx Tx, n newOperation) (models.Operation, error) {
	made, err := s.createAll(ctx, tx, n.order, []newOperation{n})
	if err != nil {
		return models.Operation{}, err
	}
	return made[0], nil
}

// createAll makes operations of one kind, each of another hold of one order,
// which the transaction has locked.
func (s *Store) createAll(ctx context.Context, tx Tx, order *models.Order, ns []newOperation) ([]models.Operation, error) {
	if len(ns) == 0 {
		return nil, nil
	}
	p, err := partOf(order, ns)
	if err != nil {
		return nil, err
	}
	orders, err := s.write(ctx, tx, ns[0].kind, ns[0].actor, []*part{p})
	if err != nil && len(ns) == 1 {
		return nil, ns[0].explain(err)
	}
	if err == nil && !orders[order.ID] {
		err = ErrStale
	}
	if err != nil {
		return nil, fmt.Errorf("create %d %ss of order %s: %w", len(ns), ns[0].kind, order.ID, err)
	}
	return p.made, nil
}

// part is what one statement does for one order: see create.sql.
type part struct {
	order orderRow
	holds []holdRow
	rows  []operationRow
	made  []models.Operation
	at    time.Time // of the write, by the database's clock
}

// orderRow, holdRow and operationRow are what create.sql reads.
type orderRow struct {
	ID         string     `json:"id"`
	Seen       *string    `json:"seen,omitempty"`
	ApprovedAt *time.Time `json:"approved_at,omitempty"`
	LastChance bool       `json:"last_chance"`
	Overpaid   bool       `json:"overpaid,omitempty"`
	LiveCents  int64      `json:"live_cents"`
	Operations int        `json:"operations"`
}

type holdRow struct {
	ID      string  `json:"id"`
	OrderID string  `json:"order_id"`
	Seen    *string `json:"seen,omitempty"`
}

type operationRow struct {
	ID               string          `json:"id"`
	Mode             models.Mode     `json:"mode"`
	Number           string          `json:"number"`
	OrderID          string          `json:"order_id"`
	AuthorizationID  string          `json:"authorization_id"`
	PaymentGatewayID string          `json:"payment_gateway_id"`
	CaptureID        *string         `json:"capture_id,omitempty"`
	Cause            models.Cause    `json:"cause"`
	Sequence         int             `json:"sequence"`
	GatewayReference string          `json:"gateway_reference"`
	AmountCents      int64           `json:"amount_cents"`
	CurrencyCode     string          `json:"currency_code"`
	ReservedCents    int64           `json:"reserved_cents"`
	OrderVersion     int64           `json:"order_version"`
	OrderTotalCents  int64           `json:"order_total_cents"`
	Reference        *string         `json:"reference,omitempty"`
	ReferenceOrigin  *string         `json:"reference_origin,omitempty"`
	Metadata         json.RawMessage `json:"metadata,omitempty"`
	RetryOf          *string         `json:"retry_of,omitempty"`
	DueAt            *time.Time      `json:"due_at,omitempty"`
	Deadline         *time.Time      `json:"deadline,omitempty"`
}

// partOf is the one place that makes operations: under both caps, each with a
// derived reference. It changes order, hold and capture in memory.
func partOf(order *models.Order, ns []newOperation) (*part, error) {
	p := &part{order: orderRow{ID: order.ID, Operations: len(ns)}}
	for _, n := range ns {
		if err := n.allowed(); err != nil {
			return nil, err
		}
		op := n.operation()
		row := operationRow{
			ID: op.ID, Mode: op.Mode, Number: op.Number, OrderID: op.OrderID, AuthorizationID: op.AuthorizationID, PaymentGatewayID: op.PaymentGatewayID,
			CaptureID: op.CaptureID, Cause: op.Cause, Sequence: op.Sequence, GatewayReference: op.GatewayReference, AmountCents: op.AmountCents,
			CurrencyCode: op.CurrencyCode, ReservedCents: op.ReservedCents, OrderVersion: op.OrderVersion, OrderTotalCents: op.OrderTotalCents,
			Reference: nullable(op.Reference), ReferenceOrigin: nullable(op.ReferenceOrigin), Metadata: n.labels.Metadata, RetryOf: op.RetryOf,
			DueAt: op.NextAt, Deadline: n.hold.Deadline(),
		}
		if n.kind == models.Capture {
			p.order.LiveCents += n.amount
		}
		p.rows, p.made = append(p.rows, row), append(p.made, op)
		p.holds = append(p.holds, holdRow{ID: n.hold.ID, OrderID: order.ID})
	}
	return p, nil
}

// operation makes the row in memory. Its times and its hash are the database's.
func (n newOperation) operation() models.Operation {
	sequence := n.nextSequence()
	n.order.Transactions++
	n.order.LiveOperations++
	op := models.Operation{
		Kind: n.kind, ID: NewID(), Mode: n.order.Mode, Number: transactionNumber(*n.order),
		OrderID: n.order.ID, AuthorizationID: n.hold.ID, PaymentGatewayID: n.hold.PaymentGatewayID, Cause: n.cause,
		Sequence: sequence, GatewayReference: models.GatewayReference(n.account, n.hold.Origin(), n.kind, sequence),
		AmountCents: n.amount, CurrencyCode: n.hold.CurrencyCode,
		OrderVersion: n.order.Version, OrderTotalCents: n.order.TotalAmountCents, State: models.Pending, Version: 1, Labels: n.labels, RetryOf: n.retryOf,
	}
	op.Reference, op.ReferenceOrigin = clean(op.Reference), clean(op.ReferenceOrigin)
	if len(op.Metadata) == 0 {
		op.Metadata = []byte(`{}`)
	}
	if !n.due.IsZero() {
		op.NextAt = &n.due
	}
	if n.kind != models.Void {
		op.ReservedCents = n.amount
	}
	if n.kind == models.Capture {
		n.order.LiveCents += n.amount
		n.hold.RequestedCents += n.amount
	}
	if n.kind != models.Refund {
		n.hold.LiveOperationID = &op.ID
	}
	if n.capture != nil {
		op.CaptureID = &n.capture.ID
		n.capture.RefundRequestedCents += n.amount
	}
	return op
}

//go:embed create.sql
var createSQL string

// createParts are the places where the kinds differ: what they ask of their
// hold, and of the capture that a refund returns.
var createParts = map[models.Kind][2]string{
	models.Capture: {"requested_cents = a.requested_cents + n.amount_cents, live_operation_id = n.id, capture_sequence = n.sequence", "SELECT 1 WHERE false"},
	models.Refund: {"refund_sequence = n.sequence", `
    UPDATE captures AS c SET refund_requested_cents = c.refund_requested_cents + n.amount_cents, updated_at = now() FROM n WHERE c.id = n.capture_id`},
	models.Void: {"live_operation_id = n.id, void_sequence = n.sequence", "SELECT 1 WHERE false"},
}

var createStatements = func() map[models.Kind]string {
	statements := map[models.Kind]string{}
	for _, kind := range models.Kinds {
		statements[kind] = strings.NewReplacer("?table", tables[kind], "?kind", string(kind), "?asked", createParts[kind][0], "?returned", createParts[kind][1]).
			Replace(stripComments(createSQL))
	}
	return statements
}()

// write runs create.sql: in the caller's transaction, or with tx nil as a
// transaction of its own. It tells which orders were written, and completes
// what was made with what the database gave it.
func (s *Store) write(ctx context.Context, tx Tx, kind models.Kind, actor string, parts []*part) (map[string]bool, error) {
	var orders, holds, rows []any
	for _, p := range parts {
		orders = append(orders, p.order)
		for _, h := range p.holds {
			holds = append(holds, h)
		}
		for _, r := range p.rows {
			rows = append(rows, r)
		}
	}
	args := make([]any, 0, 4)
	for _, list := range [][]any{orders, holds, rows} {
		encoded := []byte(`[]`)
		if len(list) > 0 {
			var err error
			if encoded, err = json.Marshal(list); err != nil {
				return nil, fmt.Errorf("encode %d rows: %w", len(list), err)
			}
		}
		args = append(args, string(encoded))
	}
	var done []written
	if err := s.atOnce(ctx, tx, &done, createStatements[kind], append(args, clean(actor))...); err != nil {
		return nil, err
	}
	return complete(parts, done), nil
}

// written is a row of create.sql's answer: an order, or with a hash an operation.
type written struct {
	ID   string    `bun:"id"`
	At   time.Time `bun:"at"`
	Hash []byte    `bun:"hash"`
}

func complete(parts []*part, done []written) map[string]bool {
	orders, hashes := make(map[string]bool, len(parts)), make(map[string][]byte, len(done))
	var at time.Time
	for _, d := range done {
		if at = d.At; d.Hash == nil {
			orders[d.ID] = true
		} else {
			hashes[d.ID] = d.Hash
		}
	}
	for _, p := range parts {
		p.at = at
		for i := range p.made {
			op := &p.made[i]
			op.ChainHash, op.CreatedAt, op.UpdatedAt = hashes[op.ID], at, at
			if op.NextAt == nil {
				op.NextAt = &at
			}
			op.NotBefore = *op.NextAt
		}
	}
	return orders
}

// atOnce runs a statement that is a transaction by itself: on connections with
// pinned plans, or in the caller's transaction.
func (s *Store) atOnce(ctx context.Context, tx Tx, dest any, sql string, args ...any) error {
	if tx != nil {
		return s.query(ctx, tx, dest, sql, args...)
	}
	return s.retry(ctx, func() error { return s.patient.query(ctx, dest, sql, args...) })
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
	if n.hold.RenewingSince != nil {
		return busy("renewal_under_way", "", "the authorization %s is being renewed; wait for the gateway's answer", n.hold.Number)
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
