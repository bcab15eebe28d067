package enqueuer

import (
	"context"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Payment is an order together with the hold that pays it, as systems send them
// whose payments are orders.
type Payment struct {
	Order models.Order
	// Hold exists at the gateway. Its order is filled in.
	Hold models.Authorization
	// Source is what the client told about how it is paid.
	Source store.PaymentSource
}

// Pay makes the order of a payment, registers its hold and approves the order,
// which captures what its method wants: whoever asks for a payment has decided.
// An order that was there under the reference gets the hold and stays as approved
// as it was. The same payment again returns the first one, and isNew false.
func (e *Enqueuer) Pay(ctx context.Context, tx store.Tx, pay Payment, actor string) (p Published, hold models.Authorization, isNew bool, err error) {
	order, made, err := e.store.CreateOrderIn(ctx, tx, pay.Order)
	if err != nil {
		return p, hold, false, err
	}
	if order.PaymentMethodID != pay.Order.PaymentMethodID {
		return p, hold, false, &store.Refusal{Rule: "reference_taken", Field: "reference", Detail: "it is the reference of an order with another payment method"}
	}
	pay.Hold.OrderID = order.ID
	if p, hold, isNew, err = e.RegisterHold(ctx, tx, pay.Hold, actor); err != nil {
		return p, hold, false, err
	}
	pay.Source.AuthorizationID = hold.ID
	if err := e.store.KeepPaymentSource(ctx, tx, pay.Source); err != nil {
		return p, hold, false, err
	}
	if !made {
		return p, hold, isNew, nil
	}
	approved, err := e.Approve(ctx, tx, order.Mode, order.ID, actor)
	approved.Operations = append(p.Operations, approved.Operations...)
	return approved, hold, isNew, err
}

// CaptureOnce captures a hold that is captured once: see store.CaptureOnce.
func (e *Enqueuer) CaptureOnce(ctx context.Context, tx store.Tx, mode models.Mode, authorizationID string, amount int64, currency, actor string, labels models.Labels) (Published, error) {
	return e.madeOne(e.store.CaptureOnce(ctx, tx, mode, authorizationID, amount, currency, actor, labels))
}

// RefundHold gives amount of what was captured of a hold back, or with 0 all
// that is left, under a reference of the client's: see store.CaptureToRefund.
func (e *Enqueuer) RefundHold(ctx context.Context, tx store.Tx, mode models.Mode, authorizationID string, amount int64, reference, actor string) (Published, error) {
	capture, err := e.store.CaptureToRefund(ctx, tx, mode, authorizationID, amount)
	if err != nil {
		return Published{}, err
	}
	p, err := e.Refund(ctx, tx, mode, capture.ID, amount, actor)
	if err != nil {
		return p, err
	}
	return p, e.store.LabelIn(ctx, tx, models.Refund, p.Operations[0].ID, &reference, nil, nil)
}
