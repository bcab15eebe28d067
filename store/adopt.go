package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/capstan-pay/capstan/models"
)

// AdoptRefund makes a row for a refund that somebody else made at the gateway,
// so that the sums of capture and order count it, and asks for a look in the
// same transaction. No claim ever sends it. The refund's id at the gateway is
// its reference: the same refund again is the row that is there.
func (s *Store) AdoptRefund(ctx context.Context, mode models.Mode, captureID string, line models.Movement, actor string) (made models.Operation, err error) {
	if line.Kind != models.MovedRefunded || line.TransactionID == "" || line.AmountCents <= 0 {
		return made, refuse("not_a_refund", "_adopt", "the line %s tells of no refund with an id and an amount", line.ID)
	}
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		order, hold, capture, err := s.lockCapture(ctx, tx, mode, captureID)
		if err != nil {
			return err
		}
		if line.CurrencyCode != capture.CurrencyCode {
			return refuse("other_currency", "_adopt", "the refund is in %s, and the capture in %s", line.CurrencyCode, capture.CurrencyCode)
		}
		var refunds []models.Operation
		if err := s.query(ctx, tx, &refunds, `SELECT `+s.columns(made, "o")+` FROM refunds AS o WHERE o.capture_id = ? AND o.kind = 'refund' ORDER BY o.id`, capture.ID); err != nil {
			return fmt.Errorf("read the refunds of capture %s: %w", capture.ID, err)
		}
		if i := slices.IndexFunc(refunds, func(o models.Operation) bool { return isRefund(o, line) }); i >= 0 {
			made = refunds[i]
			return nil
		}
		account, err := s.accountOf(ctx, tx, hold.PaymentGatewayID)
		if err != nil {
			return err
		}
		made, err = s.create(ctx, tx, newOperation{
			kind: models.Refund, order: &order, hold: &hold, account: account, capture: &capture, cause: models.CauseAdopted, amount: line.AmountCents, actor: actor,
			labels: models.Labels{Reference: line.TransactionID, ReferenceOrigin: adoptedOrigin},
		})
		if err != nil {
			return err
		}
		return s.Hint(ctx, tx, made, actor, "it was made at the gateway by somebody else")
	})
	if _, refused := errors.AsType[*Refusal](err); err != nil && !refused {
		return made, fmt.Errorf("adopt the refund %s of capture %s: %w", line.TransactionID, captureID, err)
	}
	if err == nil { // the hint raised its version
		made, err = s.operation(ctx, nil, models.Refund, made.ID, "")
	}
	return made, err
}

// adoptedOrigin marks the reference of an adopted refund as the gateway's id.
const adoptedOrigin = "gateway"

// isRefund: an operation of ours is the refund that a line tells of.
func isRefund(o models.Operation, line models.Movement) bool {
	return o.GatewayTransactionID == line.TransactionID ||
		o.Cause == models.CauseAdopted && o.ReferenceOrigin == adoptedOrigin && o.Reference == line.TransactionID
}
