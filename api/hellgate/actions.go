package hellgate

import (
	"context"
	"strings"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// capture answers POST /payments/{id}/capture.
func (c *call) capture() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	reference := in.reference()
	amount, currency := in.part()
	if err := in.done(); err != nil {
		return err
	}
	hold, err := c.hold(c.PathValue("id"))
	if err != nil {
		return err
	}
	_, err = c.settled(hold.OrderID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.c.Enqueuer.CaptureOnce(ctx, tx, c.who.Mode, hold.ID, amount, currency, c.who.Actor(), models.Labels{Reference: reference})
	})
	if err != nil {
		return err
	}
	return c.payment(hold.ID)
}

// void answers POST /payments/{id}/void, which has no body; one that is sent is
// not read.
func (c *call) void() error {
	hold, err := c.hold(c.PathValue("id"))
	if err != nil {
		return err
	}
	_, err = c.settled(hold.OrderID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.c.Enqueuer.Void(ctx, tx, c.who.Mode, hold.ID, c.who.Actor())
	})
	if err != nil {
		return err
	}
	return c.payment(hold.ID)
}

// createRefund gives amount of a payment back, or all that is left.
func (c *call) createRefund() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	reference := in.reference()
	amount, currency := in.part()
	if err := in.done(); err != nil {
		return err
	}
	hold, err := c.hold(c.PathValue("id"))
	if err != nil {
		return err
	}
	if currency != "" && currency != hold.CurrencyCode {
		in.invalid("currency_code", "must be the payment's, %s", hold.CurrencyCode)
		return in.done()
	}
	p, err := c.settled(hold.OrderID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.c.Enqueuer.RefundHold(ctx, tx, c.who.Mode, hold.ID, amount, reference, c.who.Actor())
	})
	if err != nil {
		return err
	}
	made, err := c.store().Operation(c.Context(), c.who.Mode, models.Refund, p.Operations[0].ID)
	if err != nil {
		return err
	}
	return c.answer(refundOf(made))
}

// listRefunds lists what was given back, or is to be, of a payment.
func (c *call) listRefunds() error {
	number, size, err := c.page()
	if err != nil {
		return err
	}
	hold, err := c.hold(c.PathValue("id"))
	if err != nil {
		return err
	}
	ops, total, err := c.store().Operations(c.Context(), models.Refund, store.Filter{Mode: c.who.Mode, OrderID: hold.OrderID, AuthorizationID: hold.ID, Newest: true}, store.Page{Number: number, Size: size})
	if err != nil {
		return err
	}
	refunds := make([]refund, len(ops))
	for i, o := range ops {
		refunds[i] = refundOf(o)
	}
	return c.answer(listOf(refunds, number, size, total))
}

func (c *call) showRefund() error {
	o, err := c.store().Operation(c.Context(), c.who.Mode, models.Refund, strings.ToLower(c.PathValue("id")))
	if err != nil {
		return err
	}
	return c.answer(refundOf(o))
}
