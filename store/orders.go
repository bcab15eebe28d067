package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/models"
)

// EnsureGateway makes the account known, or returns it as it is. Its mode and
// provider never change afterwards.
func (s *Store) EnsureGateway(ctx context.Context, slug, provider string, mode models.Mode) (models.PaymentGateway, error) {
	var g models.PaymentGateway
	_, err := s.exec(ctx, nil, `INSERT INTO payment_gateways (id, slug, provider, mode) VALUES (?, ?, ?, ?) ON CONFLICT (slug) DO NOTHING`,
		NewID(), slug, provider, mode)
	if err != nil {
		return g, fmt.Errorf("register payment gateway %s: %w", slug, err)
	}
	if g, err = s.GatewayBySlug(ctx, slug); err != nil {
		return g, err
	}
	if g.Provider != provider || g.Mode != mode {
		return g, fmt.Errorf("payment gateway %s is a %s account of %s in the ledger, and %s of %s in the configuration: give the new account another slug: %w",
			slug, g.Mode, g.Provider, mode, provider, ErrConflict)
	}
	return g, nil
}

// GatewayBySlug reads one account.
func (s *Store) GatewayBySlug(ctx context.Context, slug string) (models.PaymentGateway, error) {
	var g models.PaymentGateway
	err := s.one(ctx, nil, &g, "payment gateway "+slug, `SELECT `+s.columns(g, "g")+` FROM payment_gateways AS g WHERE g.slug = ?`, slug)
	return g, err
}

// PauseGateway stops every claim on an account, with the reason. Rows stay as
// they are; nothing fails by it.
func (s *Store) PauseGateway(ctx context.Context, slug, reason string) error {
	_, err := s.exec(ctx, nil, `UPDATE payment_gateways SET paused_at = COALESCE(paused_at, now()), paused_reason = ?, updated_at = now() WHERE slug = ?`,
		clean(reason), slug)
	if err != nil {
		return fmt.Errorf("pause payment gateway %s: %w", slug, err)
	}
	return nil
}

// ResumeGateway lets claims go on, and makes the account's open rows due now. What
// a person disabled stays so.
func (s *Store) ResumeGateway(ctx context.Context, slug string) error {
	return s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		n, err := s.exec(ctx, tx, `UPDATE payment_gateways SET paused_at = NULL, paused_reason = NULL, updated_at = now() WHERE slug = ? AND paused_at IS NOT NULL AND disabled_at IS NULL`, slug)
		if err != nil || n == 0 {
			return err
		}
		return s.wakeGateway(ctx, tx, slug)
	})
}

// Paused lists the paused accounts that no person disabled.
func (s *Store) Paused(ctx context.Context) ([]models.PaymentGateway, error) {
	var gs []models.PaymentGateway
	err := s.query(ctx, nil, &gs, `SELECT `+s.columns(models.PaymentGateway{}, "g")+` FROM payment_gateways AS g WHERE g.paused_at IS NOT NULL AND g.disabled_at IS NULL ORDER BY g.slug`)
	if err != nil {
		return nil, fmt.Errorf("list paused payment gateways: %w", err)
	}
	return gs, nil
}

// CreatePaymentMethod stores a method whose policy was validated.
func (s *Store) CreatePaymentMethod(ctx context.Context, m models.PaymentMethod) (models.PaymentMethod, error) {
	if len(m.Metadata) == 0 {
		m.Metadata = []byte(`{}`)
	}
	if runOf(ctx).id == "" {
		return s.createPaymentMethod(ctx, nil, m)
	}
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		before, err := s.made(ctx, tx, effect{kind: effectMethod})
		if err != nil {
			return err
		}
		if before != "" {
			return s.one(ctx, tx, &m, "payment method "+before, `SELECT `+s.columns(m, "m")+` FROM payment_methods AS m WHERE m.id = ?`, before)
		}
		if m, err = s.createPaymentMethod(ctx, tx, m); err != nil {
			return err
		}
		return s.remember(ctx, tx, effect{kind: effectMethod}, m.ID)
	})
	return m, err
}

func (s *Store) createPaymentMethod(ctx context.Context, tx Tx, m models.PaymentMethod) (models.PaymentMethod, error) {
	m.ID = NewID()
	err := s.query(ctx, tx, &m, `INSERT INTO payment_methods AS m (id, mode, payment_gateway_id, name, payment_source_type, currency_code, auto_capture,
			auto_capture_max_amount_cents, capture_trigger, capture_delay_seconds, require_capture, last_chance_seconds, refund_difference, reauthorize,
			reference, reference_origin, metadata)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING `+s.columns(m, "m"),
		m.ID, m.Mode, m.PaymentGatewayID, m.Name, m.PaymentSourceType, m.CurrencyCode, m.AutoCapture, m.AutoCaptureMaxAmountCents,
		m.CaptureTrigger, m.CaptureDelaySeconds, m.RequireCapture, m.LastChanceSeconds, m.RefundDifference, m.Reauthorize, nullable(m.Reference), nullable(m.ReferenceOrigin), string(m.Metadata))
	if err != nil {
		return m, fmt.Errorf("create payment method %q: %w", m.Name, err)
	}
	return m, nil
}

// PaymentMethod reads one method of a mode.
func (s *Store) PaymentMethod(ctx context.Context, mode models.Mode, id string) (models.PaymentMethod, error) {
	var m models.PaymentMethod
	if !ValidID(id) {
		return m, fmt.Errorf("payment method %q: %w", id, ErrNotFound)
	}
	err := s.one(ctx, nil, &m, "payment method "+id, `SELECT `+s.columns(m, "m")+` FROM payment_methods AS m WHERE m.id = ? AND m.mode = ?`, id, mode)
	return m, err
}

// ValidID reports whether id has the form of our ids; anything else is not found.
func ValidID(id string) bool { return len(id) == 36 && uuid.Validate(id) == nil }

// CreateOrder stores a new pending order. The same reference again returns the
// order as it is and made false; with another total or currency it is refused.
func (s *Store) CreateOrder(ctx context.Context, o models.Order) (order models.Order, made bool, err error) {
	if runOf(ctx).id == "" {
		return s.CreateOrderIn(ctx, nil, o)
	}
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, made, err = s.CreateOrderIn(ctx, tx, o)
		return err
	})
	return order, made, err
}

// OrderByReference reads the order that a client named so.
func (s *Store) OrderByReference(ctx context.Context, mode models.Mode, reference string) (models.Order, error) {
	var o models.Order
	err := s.one(ctx, nil, &o, fmt.Sprintf("order %q", reference), `SELECT `+s.columns(o, "o")+` FROM orders AS o WHERE o.mode = ? AND o.reference = ?`, mode, reference)
	return o, err
}

// Order reads one order of a mode.
func (s *Store) Order(ctx context.Context, mode models.Mode, id string) (models.Order, error) {
	return s.order(ctx, nil, mode, id, "")
}

func (s *Store) order(ctx context.Context, tx Tx, mode models.Mode, id, lock string) (models.Order, error) {
	var o models.Order
	if !ValidID(id) {
		return o, fmt.Errorf("order %q: %w", id, ErrNotFound)
	}
	err := s.one(ctx, tx, &o, "order "+id, `SELECT `+s.columns(o, "o")+` FROM orders AS o WHERE o.id = ? AND o.mode = ?`+lock, id, mode)
	return o, err
}

// lockOrder reads an order for a change. It is the first lock of every change.
func (s *Store) lockOrder(ctx context.Context, tx Tx, mode models.Mode, id string) (models.Order, error) {
	return s.order(ctx, tx, mode, id, " FOR UPDATE")
}

// lockHolds locks an order's holds, after the order.
func (s *Store) lockHolds(ctx context.Context, tx Tx, orderID string) error {
	if _, err := s.exec(ctx, tx, `SELECT a.id FROM authorizations AS a WHERE a.order_id = ? ORDER BY a.id FOR UPDATE`, orderID); err != nil {
		return fmt.Errorf("lock the authorizations of order %s: %w", orderID, err)
	}
	return nil
}

// RegisterHold stores a hold that was made at the gateway, and captures what
// the policy wants now. The same hold again, under the id it has or the one it
// was registered under, returns the first row and isNew false; under another
// order, amount or currency it is refused. Where nobody says when it ends, that
// is estimated by its network and initiator: see [Store.SetHoldLives].
func (s *Store) RegisterHold(ctx context.Context, tx Tx, a models.Authorization, now time.Time, actor string) (hold models.Authorization, made []models.Operation, isNew bool, err error) {
	order, err := s.lockOrder(ctx, tx, a.Mode, a.OrderID)
	if err != nil {
		return a, nil, false, err
	}
	there, err := s.holdByTransaction(ctx, tx, a.PaymentGatewayID, a.GatewayTransactionID)
	if err == nil {
		if there.OrderID != a.OrderID || there.AmountCents != a.AmountCents || there.CurrencyCode != a.CurrencyCode {
			return there, nil, false, refuse("gateway_transaction_taken", "gateway_transaction_id",
				"%s is registered already, for another order, amount or currency", a.GatewayTransactionID)
		}
		return there, nil, false, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return a, nil, false, err
	}
	if order.Closing() {
		return a, nil, false, refuse("order_cancelled", "", "the order is cancelled; void the hold at the gateway")
	}
	if a.CurrencyCode != order.CurrencyCode {
		return a, nil, false, refuse("currency_mismatch", "currency_code", "the hold is in %s, the order in %s", a.CurrencyCode, order.CurrencyCode)
	}
	if a.Initiator != "" && a.Initiator != models.ByCustomer && a.Initiator != models.ByMerchant {
		return a, nil, false, refuse("initiator_unknown", "initiator", "a hold is initiated by %s or by %s, not by %.20q", models.ByCustomer, models.ByMerchant, a.Initiator)
	}
	if a, err = s.insertHold(ctx, tx, order, a); err != nil {
		return a, nil, false, err
	}
	if order, err = s.lockOrder(ctx, tx, a.Mode, a.OrderID); err != nil {
		return a, nil, false, err
	}
	made, err = s.plan(ctx, tx, &order, models.OnAuthorization, now, actor)
	return a, made, true, err
}

func (s *Store) holdByTransaction(ctx context.Context, tx Tx, gatewayID, transaction string) (models.Authorization, error) {
	var a models.Authorization
	err := s.one(ctx, tx, &a, "authorization "+transaction,
		`SELECT `+s.columns(a, "a")+` FROM authorizations AS a
			WHERE a.payment_gateway_id = ?0 AND (a.gateway_transaction_id = ?1 OR a.first_transaction_id = ?1) ORDER BY a.id LIMIT 1`, gatewayID, transaction)
	return a, err
}

// HoldByTransaction finds the hold that the gateway knows under an id, or knew
// when it was registered.
func (s *Store) HoldByTransaction(ctx context.Context, gatewayID, transaction string) (models.Authorization, error) {
	return s.holdByTransaction(ctx, nil, gatewayID, transaction)
}

func (s *Store) insertHold(ctx context.Context, tx Tx, order models.Order, a models.Authorization) (models.Authorization, error) {
	order.Transactions++
	if len(a.Metadata) == 0 {
		a.Metadata = []byte(`{}`)
	}
	if a.CaptureBefore != nil && a.CaptureBeforeSource == "" {
		a.CaptureBeforeSource = models.ToldByClient
	}
	a.Network = strings.ToLower(clean(a.Network))
	err := s.query(ctx, tx, &a, `WITH held AS (
			UPDATE orders SET held_cents = held_cents + ?5, transactions = transactions + 1, updated_at = now() WHERE id = ?3
		), ends AS (
			-- As LifeOf of a gateway's capabilities has it: the first that fits.
			SELECT CASE WHEN ?6::timestamptz IS NULL THEN COALESCE(?13::timestamptz, now() + interval '1 second' * (
				SELECT (l.life ->> 'seconds')::bigint FROM payment_gateways AS g, jsonb_array_elements(g.hold_lives) WITH ORDINALITY AS l (life, n)
				WHERE g.id = ?4 AND l.life ->> 'network' IN ('', ?14::text) AND l.life ->> 'initiator' IN ('', ?15::text) ORDER BY l.n LIMIT 1)) END AS estimated
		), checked AS (
			INSERT INTO order_checks (order_id, due_at)
			SELECT ?3, COALESCE(?6::timestamptz, e.estimated) - greatest(COALESCE(m.last_chance_seconds, 0) * interval '1 second', ?16 * interval '1 microsecond')
			FROM orders AS o JOIN payment_methods AS m ON m.id = o.payment_method_id CROSS JOIN ends AS e
			WHERE o.id = ?3 AND COALESCE(?6::timestamptz, e.estimated) IS NOT NULL
			ON CONFLICT (order_id) DO UPDATE SET due_at = least(order_checks.due_at, excluded.due_at)
		)
		INSERT INTO authorizations AS a (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents, capture_before,
			multi_capture, reference, reference_origin, metadata, estimated_before, capture_before_source, network, initiator)
		SELECT ?0, ?1, ?2, ?3, ?4, ?7, ?8, ?5, ?6, ?9, ?10, ?11, ?12, e.estimated, ?17, NULLIF(?14::text, ''), NULLIF(?15::text, '') FROM ends AS e
		RETURNING `+s.columns(a, "a"),
		NewID(), a.Mode, transactionNumber(order), a.OrderID, a.PaymentGatewayID, a.AmountCents, a.CaptureBefore, a.GatewayTransactionID, a.CurrencyCode,
		a.MultiCapture, nullable(a.Reference), nullable(a.ReferenceOrigin), string(a.Metadata), a.EstimatedBefore, a.Network, a.Initiator,
		s.tempo.FirstWarning().Microseconds(), nullable(a.CaptureBeforeSource))
	if violated(err, "authorizations_gateway_transaction") {
		return a, refuse("gateway_transaction_taken", "gateway_transaction_id", "%s is registered already, for another order", a.GatewayTransactionID)
	}
	if err != nil {
		return a, fmt.Errorf("register hold %.80s: %w", a.GatewayTransactionID, tooLong(err, "gateway_transaction_id"))
	}
	return a, nil
}

// plan makes the captures that the payment method wants of an order on an
// occasion. The transaction has locked the order, and with it whatever the
// decision rests on.
func (s *Store) plan(ctx context.Context, tx Tx, order *models.Order, on models.Occasion, now time.Time, actor string) ([]models.Operation, error) {
	seen, err := s.snapshot(ctx, tx, order.Mode, []string{order.ID})
	if err != nil {
		return nil, err
	}
	snap := seen[order.ID]
	if snap == nil {
		return nil, fmt.Errorf("order %s: %w", order.ID, ErrNotFound)
	}
	return s.createAll(ctx, tx, order, snap.wanted(order, on, now, actor))
}

func (s *Store) methodOf(ctx context.Context, tx Tx, o models.Order) (models.PaymentMethod, error) {
	var m models.PaymentMethod
	err := s.one(ctx, tx, &m, "payment method "+o.PaymentMethodID, `SELECT `+s.columns(m, "m")+` FROM payment_methods AS m WHERE m.id = ?`, o.PaymentMethodID)
	return m, err
}

// accountOf returns the slug of an account: part of every derived reference.
func (s *Store) accountOf(ctx context.Context, tx Tx, id string) (string, error) {
	var slug string
	err := s.one(ctx, tx, &slug, "payment gateway "+id, `SELECT slug FROM payment_gateways WHERE id = ?`, id)
	return slug, err
}
