package elasticpath

import (
	"context"
	"fmt"
	"slices"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// capture answers POST …/capture: all that hold and order allow is taken, or, by
// the mechanism manual, said to have been taken. The answer waits for the outcome.
func (c *call) capture() error {
	order, hold, account, err := c.transaction()
	if err != nil {
		return err
	}
	in, err := c.input()
	if err != nil {
		return err
	}
	reference, elsewhere := in.text("custom_reference"), in.manual("capture_mechanism")
	if err := in.done(); err != nil {
		return err
	}
	if ended(hold) && !elsewhere {
		return c.gone(account, hold)
	}
	labels := models.Labels{Reference: hold.Reference}
	if reference != nil {
		labels.Reference = *reference
	}
	if elsewhere || account.ByHand {
		return c.captureByHand(in, account, hold, reference, labels)
	}
	p, err := c.api.engine.Settled(c.Context(), order.ID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		p, err := c.api.engine.Enqueuer.Capture(ctx, tx, c.who.Mode, hold.ID, 0, c.who.Actor(), labels)
		if err == nil && reference != nil {
			err = c.api.store.LabelHoldIn(ctx, tx, c.who.Mode, hold.ID, store.Attached{Reference: reference})
		}
		return p, err
	})
	if err != nil {
		return in.refused(err)
	}
	return c.outcome(account, hold, p.Operations[0])
}

// captureByHand records the word that somebody took the money: by the capture that
// was asked for before, if one is under way. The reference is attached afterwards:
// the word is what must not get lost.
func (c *call) captureByHand(in *input, a Account, hold models.Authorization, reference *string, labels models.Labels) error {
	reason := in.reason("capture_mechanism manual, over Elastic Path's API")
	captures, err := c.operations(models.Capture, hold)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(captures, func(op models.Operation) bool { return op.State.Live() && op.State != models.Pending })
	if i >= 0 {
		err = c.api.engine.Told(c.Context(), captures[i], !a.ByHand, c.who.Actor(), reason)
	} else {
		_, err = c.api.engine.CapturedElsewhere(c.Context(), hold, 0, c.who.Actor(), reason, labels)
	}
	if err != nil {
		return in.refused(err)
	}
	if reference == nil {
		return c.answer(hold.OrderID, hold.ID)
	}
	if err := c.api.store.LabelHold(c.Context(), c.who.Mode, hold.ID, store.Attached{Reference: reference}); err != nil {
		return err
	}
	if i >= 0 {
		if err := c.api.store.Label(c.Context(), models.Capture, captures[i].ID, reference, nil, nil); err != nil {
			return err
		}
	}
	return c.answer(hold.OrderID, hold.ID)
}

// outcome waits for an operation and answers with the transaction, or with why
// nothing came of it. What is still open then is pending, and no error.
func (c *call) outcome(account Account, hold models.Authorization, op models.Operation) error {
	op, err := c.api.engine.Await(c.Context(), op, c.api.wait)
	if err != nil {
		return err
	}
	switch op.State {
	case models.Failed:
		return failed(account, op)
	case models.Cancelled:
		return (&input{}).refused(&store.Refusal{Rule: "withdrawn", Detail: fmt.Sprintf("the %s was withdrawn before it had an effect: %s", op.Kind, op.Message)})
	}
	return c.answer(hold.OrderID, hold.ID)
}

// refund answers POST …/refund. An amount is given back through the gateway; no
// amount marks all of the transaction as refunded by somebody, elsewhere.
func (c *call) refund() error {
	order, hold, account, err := c.transaction()
	if err != nil {
		return err
	}
	in, err := c.input()
	if err != nil {
		return err
	}
	amount := in.amount("amount")
	if err := in.done(); err != nil {
		return err
	}
	captures, err := c.operations(models.Capture, hold)
	if err != nil {
		return err
	}
	if len(captures) == 0 {
		return in.refused(&store.Refusal{Rule: "not_captured", Detail: "nothing was captured of the transaction; cancel it instead"})
	}
	if amount == nil || account.ByHand {
		return c.refundByHand(in, hold, captures, amount)
	}
	capture := refundable(captures, *amount)
	p, err := c.api.engine.Settled(c.Context(), order.ID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.engine.Enqueuer.Refund(ctx, tx, c.who.Mode, capture.ID, *amount, c.who.Actor())
	})
	if err != nil {
		return in.refused(err)
	}
	return c.outcome(account, hold, p.Operations[0])
}

// refundable picks the capture that an amount is given back of: the first that
// has so much left, or else the one with the most. A transaction rarely has two.
func refundable(captures []models.Operation, amount int64) models.Operation {
	best := captures[0]
	for _, capture := range captures {
		if best.RefundBalance() >= amount && best.State == models.Succeeded {
			return best
		}
		if capture.RefundBalance() > best.RefundBalance() || best.State != models.Succeeded {
			best = capture
		}
	}
	return best
}

// refundByHand records the word that somebody gave money back: amount of one
// capture, or with nil all that is left of each.
func (c *call) refundByHand(in *input, hold models.Authorization, captures []models.Operation, amount *int64) error {
	reason := in.reason("marked as refunded, over Elastic Path's API")
	var of []models.Operation
	cents := int64(0)
	if amount != nil {
		cents, of = *amount, []models.Operation{refundable(captures, *amount)}
	}
	for _, capture := range captures {
		if amount == nil && capture.RefundBalance() > 0 {
			of = append(of, capture)
		}
	}
	if len(of) == 0 {
		of = captures[len(captures)-1:] // the ledger says why not
	}
	for _, capture := range of {
		if err := c.api.engine.RefundedElsewhere(c.Context(), capture, cents, c.who.Actor(), reason); err != nil {
			return in.refused(err)
		}
	}
	return c.answer(hold.OrderID, hold.ID)
}

// cancel answers POST …/cancel: the hold is released. One that is released, or
// that has ended by itself, holds nothing any more, and is answered as it is.
func (c *call) cancel() error {
	order, hold, account, err := c.transaction()
	if err != nil {
		return err
	}
	in, err := c.input()
	if err != nil {
		return err
	}
	why := in.cancelReason()
	if err := in.done(); err != nil {
		return err
	}
	if hold.ClosedReason == models.ClosedVoided || ended(hold) {
		return c.answer(order.ID, hold.ID)
	}
	p, err := c.api.engine.Settled(c.Context(), order.ID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		p, err := c.api.engine.Enqueuer.Void(ctx, tx, c.who.Mode, hold.ID, c.who.Actor())
		if err != nil || why == nil {
			return p, err
		}
		return p, c.api.store.LabelIn(ctx, tx, models.Void, p.Operations[0].ID, nil, nil, why)
	})
	if err != nil {
		return in.refused(err)
	}
	return c.outcome(account, hold, p.Operations[0])
}
