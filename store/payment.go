package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// PaymentSource is what a client told about how a payment is paid. Nobody reads
// it but who asks for the payment; it never holds a card number.
type PaymentSource struct {
	AuthorizationID string          `bun:"authorization_id"`
	UseCase         string          `bun:"use_case"`
	Source          json.RawMessage `bun:"source,type:jsonb"`
}

// KeepPaymentSource stores the source of a hold in the caller's transaction. The
// first one stays.
func (s *Store) KeepPaymentSource(ctx context.Context, tx Tx, p PaymentSource) error {
	_, err := s.exec(ctx, tx, `INSERT INTO payment_sources (authorization_id, use_case, source) VALUES (?, ?, ?) ON CONFLICT (authorization_id) DO NOTHING`,
		p.AuthorizationID, p.UseCase, string(p.Source))
	if err != nil {
		return fmt.Errorf("keep the source of authorization %s: %w", p.AuthorizationID, err)
	}
	return nil
}

// PaymentSources reads the sources of several holds in one query. A hold that
// was registered without one is not among them.
func (s *Store) PaymentSources(ctx context.Context, authorizationIDs []string) (map[string]PaymentSource, error) {
	var rows []PaymentSource
	err := s.query(ctx, nil, &rows, `SELECT `+s.columns(PaymentSource{}, "p")+` FROM payment_sources AS p WHERE p.authorization_id = ANY (?::uuid[])`,
		pgdialect.Array(authorizationIDs))
	if err != nil {
		return nil, fmt.Errorf("read the sources of %d authorizations: %w", len(authorizationIDs), err)
	}
	found := make(map[string]PaymentSource, len(rows))
	for _, r := range rows {
		found[r.AuthorizationID] = r
	}
	return found, nil
}

// CaptureOnce is [Store.CaptureByHand] for a payment that is captured once, by
// whoever asked first: it refuses where the payment method captures by itself,
// and where any capture was asked of the hold before, except one that was
// withdrawn before it had an effect. currency may be empty; else it must be the
// hold's. amount 0 is all that hold and order allow.
func (s *Store) CaptureOnce(ctx context.Context, tx Tx, mode models.Mode, authorizationID string, amount int64, currency, actor string, labels models.Labels) (models.Operation, error) {
	order, hold, err := s.lockHold(ctx, tx, mode, authorizationID)
	if err != nil {
		return models.Operation{}, err
	}
	if before, err := s.madeBefore(ctx, tx, models.Capture, hold.ID, order.ID); before != nil || err != nil {
		return valueOf(before), err
	}
	if currency != "" && currency != hold.CurrencyCode {
		return models.Operation{}, refuse("currency_mismatch", "currency_code", "the payment is in %s, not in %s", hold.CurrencyCode, currency)
	}
	captures, err := s.capturesOf(ctx, tx, order.ID, "")
	if err != nil {
		return models.Operation{}, err
	}
	for _, c := range captures {
		switch {
		case c.AuthorizationID != hold.ID || c.State == models.Cancelled:
		case c.State.Live():
			return models.Operation{}, busy("operation_under_way", "", "the payment has a capture under way; wait for its outcome")
		default:
			return models.Operation{}, refuse("captured_once", "", "the payment had its capture, which is %s; there is only one", c.State)
		}
	}
	if hold.ClosedAt != nil {
		return models.Operation{}, refuse("hold_closed", "", "the payment's hold is %s; nothing more can be asked of it", hold.ClosedReason)
	}
	method, err := s.methodOf(ctx, tx, order)
	if err != nil {
		return models.Operation{}, err
	}
	if method.Policy.Automatic(order.TotalAmountCents) {
		return models.Operation{}, refuse("captures_by_itself", "", "the flow %q captures by itself; nobody else does", method.Name)
	}
	return s.CaptureByHand(ctx, tx, mode, hold.ID, amount, actor, labels)
}

// CaptureToRefund finds the capture of a hold that a refund of amount is to be
// made of: the oldest that stands with as much left, else the one that a refusal
// is best explained with. It locks the order, and with it what it rests on.
func (s *Store) CaptureToRefund(ctx context.Context, tx Tx, mode models.Mode, authorizationID string, amount int64) (models.Operation, error) {
	order, hold, err := s.lockHold(ctx, tx, mode, authorizationID)
	if err != nil {
		return models.Operation{}, err
	}
	captures, err := s.capturesOf(ctx, tx, order.ID, "")
	if err != nil {
		return models.Operation{}, err
	}
	var best *models.Operation
	for i, c := range captures {
		switch {
		case c.AuthorizationID != hold.ID:
		case c.State == models.Succeeded && c.RefundBalance() >= max(1, amount):
			return c, nil
		case best == nil || c.State == models.Succeeded && best.State != models.Succeeded:
			best = &captures[i]
		}
	}
	if best == nil {
		return models.Operation{}, refuse("not_succeeded", "", "nothing was captured of the payment; there is nothing to refund")
	}
	return *best, nil
}
