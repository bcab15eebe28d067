package commercelayer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// operationChange is what a PATCH of a capture, a refund or a void asks for.
type operationChange struct {
	forward, cancel, refund, retry, acknowledge bool
	// denied: a person says that it did not take effect.
	denied bool
	// elsewhere: a person did it beside its gateway account.
	elsewhere bool

	refundCents int64
	actor       string
	reason      string
	labels      store.Attached
}

// changeOperation answers PATCH /api/{captures,refunds,voids}/{id}.
func (c *call) changeOperation(kind models.Kind) error {
	t, id := c.api.typeOf(kind), c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	succeeded := in.flag("succeeded")
	change := operationChange{
		forward: in.trigger("_forward"), retry: in.trigger("_retry"), acknowledge: in.trigger("_acknowledge"), actor: c.actor(in), reason: in.reason(), labels: in.labels(),
	}
	marked := succeeded != nil && *succeeded
	switch kind {
	case models.Capture: // refunds and voids can be forwarded, never cancelled
		change.cancel = in.trigger("_cancel")
		change.refund, change.refundCents = in.amountTrigger("_refund", "_refund_amount_cents")
		captured, returned := in.manual("capture_mechanism"), in.manual("refund_mechanism")
		in.goesWith("capture_mechanism", captured, marked || change.forward, "succeeded true")
		in.goesWith("refund_mechanism", returned, change.refund || change.cancel, "_refund or _cancel")
		change.elsewhere = captured || returned
	case models.Refund:
		change.elsewhere = in.manual("refund_mechanism")
		in.goesWith("refund_mechanism", change.elsewhere, marked || change.forward, "succeeded true")
	}
	in.only(map[string]bool{"_forward": change.forward || marked, "_cancel": change.cancel, "_refund": change.refund, "_retry": change.retry, "_acknowledge": change.acknowledge})
	if err := in.done(t.attributes); err != nil {
		return err
	}
	op, err := c.api.store.Operation(c.Context(), c.who.Mode, kind, id)
	if err != nil {
		return err
	}
	stands := op.State == models.Succeeded || op.State == models.Reset
	if succeeded != nil && !*succeeded && stands {
		in.invalid("succeeded", "read_only", "cannot be taken back; refund or cancel instead", nil)
		return in.done(t.attributes)
	}
	if marked && stands && !change.forward && (!change.elsewhere || op.AssertedBy != "") {
		marked = false // it is so already
	}
	change.forward = change.forward || marked
	change.denied = succeeded != nil && !*succeeded && op.State.Live()
	if err := c.trigger(op, change); err != nil {
		return in.refused(err, in.asked())
	}
	if !change.labels.Empty() {
		l := change.labels
		if err := c.api.store.Label(c.Context(), kind, op.ID, l.Reference, l.ReferenceOrigin, l.Metadata); err != nil {
			return err
		}
	}
	return c.again(http.StatusOK, t, op.ID, in.query)
}

// asked names what was asked for, for a refusal that names nothing that was sent.
func (in *input) asked() string {
	for _, name := range []string{"_forward", "_retry", "_acknowledge", "_cancel", "_refund", "_refund_amount_cents", "_capture", "_capture_amount_cents", "_void", "succeeded"} {
		if v, there := in.attributes[name]; there && (v != false || name == "succeeded") {
			return "/data/attributes/" + name
		}
	}
	return "/data"
}

func (c *call) trigger(op models.Operation, change operationChange) error {
	switch {
	case change.forward:
		if err := c.forwardable(op); err != nil {
			return err
		}
		if change.elsewhere {
			_, err := c.told(op, true, true, change.actor, change.reason)
			return err
		}
		_, err := c.forwarded(op, change.actor, change.reason)
		return err
	case change.denied:
		_, err := c.told(op, false, false, change.actor, change.reason)
		return err
	case change.retry:
		return c.retry(op, change.actor, change.reason)
	case change.acknowledge:
		return c.api.store.Acknowledge(c.Context(), nil, op, c.who.Actor(), change.reason)
	case !change.cancel && !change.refund:
		return nil
	case change.elsewhere:
		return c.returnedElsewhere(op, change)
	}
	_, err := c.settled(op.OrderID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		if change.cancel {
			return c.api.enqueuer.CancelCapture(ctx, tx, c.who.Mode, op.ID, c.who.Actor())
		}
		return c.api.enqueuer.Refund(ctx, tx, c.who.Mode, op.ID, change.refundCents, c.who.Actor())
	})
	return err
}

// retry looks at an open operation again. One that failed is looked up first: a
// late success is recorded, and only what the gateway conclusively does not
// have is asked for anew, as an operation of its own. Where the gateway cannot be
// asked, a person vouches for that.
func (c *call) retry(op models.Operation, actor, reason string) error {
	if op.State.Live() {
		return c.api.store.Retry(c.Context(), nil, op, c.who.Actor(), reason)
	}
	if op.State != models.Failed {
		return &store.Refusal{Rule: "not_retryable", Field: "_retry", Detail: fmt.Sprintf("the %s is %s; only an open or a failed one is tried again", op.Kind, op.State)}
	}
	_, err := c.api.forward(c.Context(), c.who.Mode, op.Kind, op.ID, c.who.Actor(), "retry: "+reason)
	refusal, ok := errors.AsType[*store.Refusal](err)
	switch {
	case !ok, refusal.Rule != "not_found_at_gateway" && refusal.Rule != worker.RuleCannotBeAsked:
		return err
	case refusal.Rule == worker.RuleCannotBeAsked:
		if _, err := c.vouched(actor, reason, false); err != nil {
			return err
		}
	}
	_, err = c.api.enqueuer.Do(c.Context(), func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.enqueuer.Retry(ctx, tx, op, c.who.Actor())
	})
	return err
}

// forwardable holds Commerce Layer's three guards: not succeeded yet, a
// positive balance, and an order whose payment can go forward. Where the
// original is silent, the guard is named. What the gateway knows is asked
// afterwards; a capture that the order's total has no room for is a case for a
// refund, not for a forward.
func (c *call) forwardable(op models.Operation) error {
	no := func(rule, format string, args ...any) error {
		return &store.Refusal{Rule: rule, Field: "_forward", Detail: fmt.Sprintf(format, args...)}
	}
	if op.State == models.Succeeded || op.State == models.Reset {
		return no("already_succeeded", "the %s is %s already", op.Kind, op.State)
	}
	hold, err := c.api.store.Authorization(c.Context(), op.Mode, op.AuthorizationID)
	if err != nil {
		return err
	}
	order, err := c.api.store.Order(c.Context(), op.Mode, op.OrderID)
	if err != nil {
		return err
	}
	switch op.Kind {
	case models.Capture:
		if hold.AmountCents-hold.ConfirmedCents < op.AmountCents {
			return no("balance_not_positive", "the authorization %s has %d left at the gateway, less than this capture of %d", hold.Number, hold.AmountCents-hold.ConfirmedCents, op.AmountCents)
		}
		if paid := order.CapturedCents - order.RefundedCents; paid > 0 && paid >= order.TotalAmountCents {
			return no("order_not_eligible", "the order is %s already", order.PaymentStatus)
		}
	case models.Refund:
		capture, err := c.api.store.Operation(c.Context(), op.Mode, models.Capture, *op.CaptureID)
		if err != nil {
			return err
		}
		if capture.ConfirmedCents == nil || *capture.ConfirmedCents-capture.RefundedCents < op.AmountCents {
			return no("balance_not_positive", "the capture %s has less than %d left to give back", capture.Number, op.AmountCents)
		}
	case models.Void:
		if hold.ConfirmedCents > 0 {
			return no("order_not_eligible", "%d of the authorization %s was captured", hold.ConfirmedCents, hold.Number)
		}
	}
	return nil
}
