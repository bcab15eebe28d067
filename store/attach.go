package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/capstan-pay/capstan/models"
)

// CreateOrderIn is [Store.CreateOrder] inside the caller's transaction.
func (s *Store) CreateOrderIn(ctx context.Context, tx Tx, o models.Order) (order models.Order, made bool, err error) {
	if tx == nil || runOf(ctx).id == "" || o.Reference != "" { // a reference keeps it from being made twice
		return s.createOrder(ctx, tx, o)
	}
	before, err := s.made(ctx, tx, effect{kind: effectOrder})
	if err != nil {
		return o, false, err
	}
	if before != "" {
		order, err = s.order(ctx, tx, o.Mode, before, "")
		return order, true, err // made by this very request
	}
	if order, made, err = s.createOrder(ctx, tx, o); err != nil {
		return order, made, err
	}
	return order, made, s.remember(ctx, tx, effect{kind: effectOrder}, order.ID)
}

func (s *Store) createOrder(ctx context.Context, tx Tx, o models.Order) (order models.Order, made bool, err error) {
	if len(o.Metadata) == 0 {
		o.Metadata = []byte(`{}`)
	}
	var rows []models.Order
	err = s.query(ctx, tx, &rows, `INSERT INTO orders AS o (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status,
			capture_at, reference, reference_origin, metadata)
		VALUES (?, ?, ?, ?, ?, 'pending', 'unfulfilled', ?, ?, ?, ?)
		ON CONFLICT (mode, reference) WHERE reference IS NOT NULL DO NOTHING RETURNING `+s.columns(o, "o"),
		NewID(), o.Mode, o.PaymentMethodID, o.CurrencyCode, o.TotalAmountCents, o.CaptureAt, nullable(o.Reference), nullable(o.ReferenceOrigin), string(o.Metadata))
	if err != nil {
		return o, false, fmt.Errorf("create order %.80q: %w", o.Reference, tooLong(err, "reference"))
	}
	if len(rows) == 1 {
		return rows[0], true, nil
	}
	var there models.Order
	err = s.one(ctx, tx, &there, fmt.Sprintf("order %q", o.Reference), `SELECT `+s.columns(o, "o")+` FROM orders AS o WHERE o.mode = ? AND o.reference = ?`, o.Mode, o.Reference)
	if err != nil {
		return o, false, err
	}
	if there.TotalAmountCents != o.TotalAmountCents || there.CurrencyCode != o.CurrencyCode {
		return there, false, refuse("reference_taken", "reference", "an order %q of %d %s exists already; this one is of %d %s",
			o.Reference, there.TotalAmountCents, there.CurrencyCode, o.TotalAmountCents, o.CurrencyCode)
	}
	return there, false, nil
}

// Attached is what clients attach to a row. Nil members stay as they are; an
// empty string clears.
type Attached struct {
	Reference       *string
	ReferenceOrigin *string
	Metadata        json.RawMessage
}

// Empty reports whether nothing changes.
func (a Attached) Empty() bool {
	return a.Reference == nil && a.ReferenceOrigin == nil && a.Metadata == nil
}

func (a Attached) args() []any {
	var raw *string
	if a.Metadata != nil {
		text := string(a.Metadata)
		raw = &text
	}
	return []any{a.Reference, a.ReferenceOrigin, raw}
}

// attach is what an UPDATE sets; ?0, ?1 and ?2 are Attached.args.
const attach = `reference = CASE WHEN ?0::text IS NULL THEN reference ELSE NULLIF(?0::text, '') END,
	reference_origin = CASE WHEN ?1::text IS NULL THEN reference_origin ELSE NULLIF(?1::text, '') END,
	metadata = COALESCE(?2::jsonb, metadata), updated_at = now()`

// LabelOrder changes what clients attach to an order; it moves nothing. A
// reference that another order has is refused.
func (s *Store) LabelOrder(ctx context.Context, tx Tx, mode models.Mode, id string, a Attached) error {
	n, err := s.exec(ctx, tx, `UPDATE orders SET `+attach+` WHERE id = ?3 AND mode = ?4`, append(a.args(), id, mode)...)
	if violated(err, "orders_reference") {
		return refuse("reference_taken", "reference", "another order has the reference %q", *a.Reference)
	}
	if err != nil {
		return fmt.Errorf("label order %s: %w", id, tooLong(err, "reference"))
	}
	if n == 0 {
		return fmt.Errorf("order %s: %w", id, ErrNotFound)
	}
	return nil
}

// LabelHold changes what clients attach to a hold; it moves nothing.
func (s *Store) LabelHold(ctx context.Context, mode models.Mode, id string, a Attached) error {
	return s.LabelHoldIn(ctx, nil, mode, id, a)
}

// LabelHoldIn is [Store.LabelHold] inside the caller's transaction.
func (s *Store) LabelHoldIn(ctx context.Context, tx Tx, mode models.Mode, id string, a Attached) error {
	if _, err := s.exec(ctx, tx, `UPDATE authorizations SET `+attach+` WHERE id = ?3 AND mode = ?4`, append(a.args(), id, mode)...); err != nil {
		return fmt.Errorf("label authorization %s: %w", id, err)
	}
	return nil
}

// ChangePaymentMethod lets change edit a method under its row lock and stores
// its name, policy and labels. The change holds for what happens afterwards;
// captures made before stay as they are.
func (s *Store) ChangePaymentMethod(ctx context.Context, mode models.Mode, id string, change func(*models.PaymentMethod) error) (models.PaymentMethod, error) {
	var m models.PaymentMethod
	if !ValidID(id) {
		return m, fmt.Errorf("payment method %q: %w", id, ErrNotFound)
	}
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		m = models.PaymentMethod{}
		err := s.one(ctx, tx, &m, "payment method "+id, `SELECT `+s.columns(m, "m")+` FROM payment_methods AS m WHERE m.id = ? AND m.mode = ? FOR UPDATE`, id, mode)
		if err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		return s.one(ctx, tx, &m, "payment method "+id, `UPDATE payment_methods AS m SET name = ?, auto_capture = ?, auto_capture_max_amount_cents = ?,
				capture_trigger = ?, capture_delay_seconds = ?, require_capture = ?, last_chance_seconds = ?, refund_difference = ?, reauthorize = ?,
				reference = ?, reference_origin = ?, metadata = ?, updated_at = now()
			WHERE m.id = ? RETURNING `+s.columns(m, "m"), m.Name, m.AutoCapture, m.AutoCaptureMaxAmountCents, m.CaptureTrigger, m.CaptureDelaySeconds,
			m.RequireCapture, m.LastChanceSeconds, m.RefundDifference, m.Reauthorize, nullable(m.Reference), nullable(m.ReferenceOrigin), string(m.Metadata), id)
	})
	return m, err
}
