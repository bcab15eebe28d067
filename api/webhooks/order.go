package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The topics that do something.
const (
	topicApprove = "orders.approve"
	topicCancel  = "orders.cancel"
	topicPay     = "orders.pay"
	topicRefund  = "orders.refund"
)

// The words of the sender's order status that count.
const (
	statusApproved  = "approved"
	statusCancelled = "cancelled"
)

// actor is who the history says it was.
const actor = "webhook:" + commerceLayer

// applyOrder applies a message of Commerce Layer. Its topic is not covered by
// the signature, so the order itself must say what the topic claims.
func (w *Webhooks) applyOrder(ctx context.Context, e store.InboxEvent) (end, error) {
	switch e.Topic {
	case topicApprove, topicCancel, topicPay, topicRefund:
	default:
		return ended(ignored, "nothing is done on %s", e.Topic), nil
	}
	d, err := readOrder(e.Body)
	if err != nil {
		return ended(unreadable, "%v", err), nil
	}
	if mode := d.order.Meta.Mode; mode != "" && mode != string(w.cl.Mode) {
		return ended(refused, "wrong_mode: the order is of mode %s, this webhook of %s", clip(mode), w.cl.Mode), nil
	}
	var result end
	switch e.Topic {
	case topicApprove:
		result, err = w.approve(ctx, d)
	case topicCancel:
		result, err = w.cancel(ctx, d)
	default:
		result, err = w.moved(ctx, e, d)
	}
	refusal, said := errors.AsType[*store.Refusal](err)
	switch {
	case !said:
		return result, err
	case refusal.Busy:
		return notYet(false, "%s", refusal.Error()), nil
	}
	return ended(refused, "%s", refusal.Error()), nil
}

func no(rule, format string, args ...any) error {
	return &store.Refusal{Rule: rule, Detail: fmt.Sprintf(format, args...)}
}

// cancel cancels the order of that reference. One that is not known yet may be
// on its way; the approval will find this message.
func (w *Webhooks) cancel(ctx context.Context, d orderDocument) (end, error) {
	if d.attributes.Status != statusCancelled {
		return end{}, no("not_cancelled_there", "the order is %s there", clip(d.attributes.Status))
	}
	order, err := w.store.OrderByReference(ctx, w.cl.Mode, d.order.ID)
	if errors.Is(err, store.ErrNotFound) {
		return notYet(true, "no order %s is known yet", d.order.ID), nil
	}
	if err != nil {
		return end{}, err
	}
	if order.Closing() {
		return ended(inSync, "the order %s is cancelled or about to be", d.order.ID), nil
	}
	if w.askFirst != nil { // what may have been captured, before the cancel is decided
		if err := w.askFirst(ctx, w.cl.Mode, order.ID, actor); err != nil {
			return end{}, err
		}
	}
	p, err := w.enqueuer.Do(ctx, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		cancelled, err := w.enqueuer.Cancel(ctx, tx, w.cl.Mode, order.ID, actor)
		return enqueuer.Published{Order: cancelled}, err
	})
	if err != nil {
		return end{}, err
	}
	return ended(applied, "the order %s is %s", d.order.ID, p.Order.Status), nil
}

// approve makes order, holds and captures in one transaction, or says why not.
func (w *Webhooks) approve(ctx context.Context, d orderDocument) (end, error) {
	holds, err := d.check()
	if err != nil {
		return end{}, err
	}
	if err := w.overtaken(ctx, d.order.ID); err != nil {
		return end{}, err
	}
	method, err := w.methodFor(ctx, d)
	if err != nil {
		return end{}, err
	}
	var before models.OrderStatus // of an order that was here already
	p, err := w.enqueuer.Do(ctx, func(ctx context.Context, tx store.Tx) (p enqueuer.Published, err error) {
		order, isNew, err := w.store.CreateOrderIn(ctx, tx, d.newOrder(w.cl.Mode, method))
		if err != nil {
			return p, err
		}
		if order.PaymentMethodID != method.ID {
			return p, no("reference_taken", "an order %s is here already, with another payment method", d.order.ID)
		}
		if !isNew {
			before = order.Status
		}
		var made []models.Operation
		for _, h := range holds {
			h.Mode, h.OrderID, h.PaymentGatewayID = w.cl.Mode, order.ID, method.PaymentGatewayID
			registered, _, _, err := w.enqueuer.RegisterHold(ctx, tx, h, actor)
			if err != nil {
				return p, err
			}
			made = append(made, registered.Operations...)
		}
		p, err = w.enqueuer.Approve(ctx, tx, w.cl.Mode, order.ID, actor)
		p.Operations = append(made, p.Operations...)
		return p, err
	})
	if err != nil {
		return end{}, err
	}
	if before == models.OrderApproved {
		return ended(inSync, "the order %s was approved before", d.order.ID), nil
	}
	return ended(applied, "the order %s is approved, %d captures made", d.order.ID, len(p.Operations)), nil
}

// overtaken says whether what happened after an approval came before it: the
// order was cancelled there, or its money was taken there.
func (w *Webhooks) overtaken(ctx context.Context, id string) error {
	told := func(eventID string) (bool, error) {
		_, _, err := w.store.InboxOutcome(ctx, commerceLayer, eventID)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	cancelled, err := told(cancelEventID(id))
	if err != nil {
		return err
	}
	if cancelled {
		return no("cancelled_there", "its cancellation came before this approval was worked")
	}
	paid, err := told(paidEventID(id))
	if err != nil || !paid {
		return err
	}
	order, err := w.store.OrderByReference(ctx, w.cl.Mode, id)
	if err == nil && order.Status == models.OrderApproved {
		return nil // approved here before that: the approval tells nothing new
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return no("paid_there", "its money was taken there before this approval was worked")
}

// methodFor finds the payment method of ours that stands for the order's: by
// reference, else the only automatic one of that type and currency.
func (w *Webhooks) methodFor(ctx context.Context, d orderDocument) (models.PaymentMethod, error) {
	find := func(f store.MethodFilter) ([]models.PaymentMethod, error) {
		f.Mode = w.cl.Mode
		methods, _, err := w.store.PaymentMethods(ctx, f, store.Page{Size: 2})
		return methods, err
	}
	methods, err := find(store.MethodFilter{Reference: d.method.ID})
	if err != nil {
		return models.PaymentMethod{}, err
	}
	if len(methods) == 0 {
		automatic := true
		sourceType := d.method.attributes.PaymentSourceType
		if sourceType == "" {
			return models.PaymentMethod{}, no("no_payment_method", "no payment method here has the reference %s, and its payment_source_type is not told", d.method.ID)
		}
		methods, err = find(store.MethodFilter{PaymentSourceType: sourceType, CurrencyCode: d.currency, AutoCapture: &automatic})
		if err != nil {
			return models.PaymentMethod{}, err
		}
	}
	switch {
	case len(methods) == 0:
		return models.PaymentMethod{}, no("no_payment_method", "no payment method here has the reference %s, and none captures %s in %s automatically",
			d.method.ID, clip(d.method.attributes.PaymentSourceType), d.currency)
	case len(methods) > 1:
		return models.PaymentMethod{}, no("payment_method_ambiguous", "several payment methods here fit %s; give one the reference %s", clip(d.method.attributes.PaymentSourceType), d.method.ID)
	case methods[0].CurrencyCode != d.currency:
		return models.PaymentMethod{}, no("currency_mismatch", "the payment method %s is in %s, the order in %s", methods[0].ID, methods[0].CurrencyCode, d.currency)
	}
	return methods[0], nil
}

// newOrder is the order as it is made here.
func (d orderDocument) newOrder(mode models.Mode, method models.PaymentMethod) models.Order {
	o := models.Order{
		Mode: mode, PaymentMethodID: method.ID, CurrencyCode: d.currency, TotalAmountCents: d.total,
		Labels: models.Labels{Reference: d.order.ID, ReferenceOrigin: commerceLayer},
	}
	if number := string(d.attributes.Number); number != "" {
		if raw, err := json.Marshal(map[string]string{"number": clip(unquote(number))}); err == nil {
			o.Metadata = raw
		}
	}
	return o
}

// unquote takes a number that is told as a number or as a string.
func unquote(raw string) string {
	if s, err := strconv.Unquote(raw); err == nil {
		return s
	}
	return raw
}
