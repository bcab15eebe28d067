package klarna

import (
	"context"
	"fmt"
	"net/http"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Void releases the hold, or what captures have left of it. Which of Klarna's
// two calls that takes is read first: an order that cannot be read is one for
// which nothing was sent.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.void(ctx, r)
	a.client.Count(gateway.CallVoid, ev.Outcome)
	return ev
}

func (a *Adapter) void(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("order", r.Hold); err != nil {
		return a.unsendable(gateway.CallVoid, "hold_not_valid", err)
	}
	before := a.read(ctx, gateway.CallLookUp, r.Hold)
	if ev, stop := releasable(r, before); stop {
		return ev
	}
	path := "/cancel"
	if *before.order.Captured > 0 {
		path = "/release-remaining-authorization"
	}
	ev := a.post(ctx, gateway.CallVoid, r, path, struct{}{})
	if ev.Outcome != models.OutcomeAccepted && !ev.Answered {
		return ev
	}
	return released(r, ev, a.read(ctx, gateway.CallLookUp, r.Hold))
}

// releasable reports whether there is nothing to release, or nothing is known of
// the order, and what that proves. It is pure.
func releasable(r gateway.Request, s sight) (models.Evidence, bool) {
	r.Kind = models.Void
	ev := lookedUp(r, s)
	ev.Source = models.FromAnswer
	switch {
	case ev.Outcome == models.OutcomeNone:
		return ev, false
	case s.ok && (ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeRefused):
		return ev, true
	}
	return unread(ev), true
}

// unread is a void for which nothing was asked, since the order could not be read
// or not be understood. An order that does not exist, or makes no sense, will not
// do so by itself: that is a person's, and not to be tried for ever.
func unread(ev models.Evidence) models.Evidence {
	switch {
	case ev.Status == http.StatusNotFound && ev.ErrorCode == "NO_SUCH_ORDER":
		ev.Class, ev.NextAction = models.ClassBadRequest, gateway.NextContact
		return ev
	case ev.Status == http.StatusOK:
		ev.NextAction = gateway.NextContact
		return ev
	}
	return unasked(ev)
}

// unasked: the order could not be read, so nothing was asked for.
func unasked(ev models.Evidence) models.Evidence {
	ev.Source, ev.Outcome, ev.HoldGone, ev.NextAction = models.FromAnswer, models.OutcomeNotSent, false, gateway.NextRetry
	if ev.Class != models.ClassConfig && ev.Class != models.ClassThrottled {
		ev.Class = ""
	}
	return ev
}

// released says what the answer to a release and the order as it stood afterwards
// prove together: how much was released, or why it was not. It is pure.
func released(r gateway.Request, ev models.Evidence, s sight) models.Evidence {
	r.Kind = models.Void
	seen := lookedUp(r, s)
	if !s.ok || seen.Outcome != models.OutcomeConfirmed && (ev.Outcome == models.OutcomeAccepted || seen.Outcome != models.OutcomeRefused) {
		return ev // done, and how much could not be read; or not allowed, and nobody knows why
	}
	return answers(seen, ev)
}

// Reauthorize extends the order: it stays the same one, and ends as many days
// from now as the account has. Klarna does that up to 180 days after the order
// was made, and never once it has expired.
func (a *Adapter) Reauthorize(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.extend(ctx, r)
	a.client.Count(gateway.CallReauthorize, ev.Outcome)
	return ev
}

func (a *Adapter) extend(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("order", r.Hold); err != nil {
		return a.unsendable(gateway.CallReauthorize, "hold_not_valid", err)
	}
	if ev, stop := extendable(a.read(ctx, gateway.CallLookUp, r.Hold)); stop {
		return ev
	}
	ev := a.post(ctx, gateway.CallReauthorize, r, "/extend-authorization-time", struct{}{})
	if ev.Outcome != models.OutcomeAccepted {
		return ev
	}
	return extended(ev, a.read(ctx, gateway.CallLookUp, r.Hold))
}

// extendable reports whether an extension must not be asked for, and why. It is
// pure. An order that is not understood is one for which nothing was asked.
func extendable(s sight) (models.Evidence, bool) {
	o := s.order
	switch {
	case !s.ok:
		return unasked(s.ev), true
	case o.open():
		return models.Evidence{}, false
	case o.Status == orderCancelled || o.Status == orderExpired:
		ev := gone(s.ev, o, "ORDER_"+o.Status)
		ev.Source = models.FromAnswer
		return ev, true
	case o.Status == orderCaptured || o.Status == orderClosed:
		ev := gone(s.ev, o, "ORDER_"+o.Status)
		ev.Source, ev.HoldGone, ev.NextAction = models.FromAnswer, false, gateway.NextContact // by whom and how much, a look-up tells
		return ev, true
	}
	ev := unasked(s.ev)
	ev.Message = "the order is " + gateway.CleanText(o.Status) + " at Klarna, and what is left of it is not understood here"
	return ev, true
}

// extended is pure. An extension whose end cannot be read is Lost: asked for
// again under the same key, it is the same.
func extended(ev models.Evidence, s sight) models.Evidence {
	ends, total := s.order.ends(), s.order.Amount
	if !s.ok || !s.order.open() || ends == nil || total == nil {
		ev.Outcome, ev.Message = models.OutcomeLost, "Klarna extended the order, and its new end could not be read"
		return ev
	}
	ev.Outcome, ev.Message, ev.GatewayTransactionID = models.OutcomeConfirmed, "", gateway.CleanID(s.order.ID)
	ev.AmountCents, ev.CurrencyCode, ev.HoldEndsAt = *total, s.order.Currency, ends
	return ev
}

// open: the order can still be captured, once its review is over.
func (o order) open() bool {
	return (o.Status == orderAuthorized || o.Status == orderPart) && o.Remaining != nil && *o.Remaining > 0 && o.Fraud != fraudRejected
}

// Describe reads an order. One under review is open: it can be registered, and
// is captured once Klarna accepts it.
func (a *Adapter) Describe(ctx context.Context, hold string) (gateway.HoldFacts, error) {
	if err := checkID("order", hold); err != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %q at klarna: %w: %w", gateway.CleanText(hold), gateway.ErrNoSuchHold, err)
	}
	s := a.read(ctx, gateway.CallDescribe, hold)
	if !s.ok && s.ev.Status == http.StatusNotFound && s.ev.ErrorCode == "NO_SUCH_ORDER" {
		return gateway.HoldFacts{}, fmt.Errorf("describe %s at klarna account %q: %w", hold, a.config.Account, gateway.ErrNoSuchHold)
	}
	facts, ok := s.facts()
	if !ok {
		return gateway.HoldFacts{}, &gateway.CallError{
			Tried: fmt.Sprintf("describe %s at klarna account %q", hold, a.config.Account), Status: s.ev.Status,
			Throttled: s.ev.Class == models.ClassThrottled, RetryAfter: s.ev.RetryAfter, Err: fmt.Errorf("%s %s", s.ev.ErrorCode, s.ev.Message),
		}
	}
	return facts, nil
}

// facts are what was seen of an order. It is pure.
func (s sight) facts() (gateway.HoldFacts, bool) {
	o := s.order
	taken, whole := o.captured()
	if !s.ok || !whole || o.Amount == nil || o.Remaining == nil {
		return gateway.HoldFacts{}, false
	}
	f := gateway.HoldFacts{
		AmountCents: *o.Amount, CapturedCents: taken, CurrencyCode: o.Currency, Status: gateway.CleanText(o.Status), CaptureBefore: o.ends(), Open: o.open(),
	}
	if o.Fraud != fraudAccepted && o.Fraud != "" {
		f.Status += ", review " + gateway.CleanText(o.Fraud)
	}
	return f, true
}

// List is not offered: Klarna's settlements list payouts, days late.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what Klarna booked: %w", gateway.ErrUnsupported)
}
