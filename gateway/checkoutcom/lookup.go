package checkoutcom

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// LookUp reads the payment and its actions.
func (a *Adapter) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.lookUp(ctx, r)
	a.client.Count(gateway.CallLookUp, ev.Outcome)
	return ev
}

func (a *Adapter) lookUp(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkHold(r.Hold); err != nil {
		return models.Evidence{Source: models.FromLookUp, ErrorCode: "hold_not_valid", Message: err.Error(), NextAction: gateway.NextContact}
	}
	return lookedUp(r, a.read(ctx, r))
}

// sight is what a look-up saw. It is plain data, so that what it proves is
// decided by a pure function.
type sight struct {
	ev models.Evidence // of the last answer; how a look ends that saw nothing
	ok bool            // both were read
	// pay was read before actions: what happened in between stands in these only.
	pay     payment
	actions []action // latest first
	// at is the gateway's own clock.
	at time.Time
}

// read reads the payment r.Hold, and its actions.
func (a *Adapter) read(ctx context.Context, r gateway.Request) sight {
	path := paymentPath(r.Hold)
	first := a.get(ctx, gateway.CallLookUp, path)
	s := sight{ev: classify(gateway.CallLookUp, r, first)}
	if first.Phase != gateway.PhaseAnswered || first.Status != http.StatusOK {
		return s
	}
	if s.pay, s.ok = parsePayment(first.Body); !s.ok || s.pay.ID != r.Hold {
		s.ok, s.ev.Message = false, "status 200 without the payment that was asked for"
		return s
	}
	s.at, _ = http.ParseTime(first.Header.Get("Date"))
	second := a.get(ctx, gateway.CallLookUp, path+"/actions")
	s.ev, s.ok = classify(gateway.CallLookUp, r, second), false
	if second.Phase != gateway.PhaseAnswered || second.Status != http.StatusOK {
		return s
	}
	if s.actions, s.ok = parseActions(second.Body); !s.ok {
		s.ev.Message = "status 200 without the payment's actions"
	}
	return s
}

// over reports whether the hold's life has ended by the gateway's own clock.
func (s sight) over() bool {
	return !s.at.IsZero() && !s.pay.Expires.IsZero() && !s.at.Before(s.pay.Expires.Time)
}

// lookedUp says what a look proves. It is pure.
func lookedUp(r gateway.Request, s sight) models.Evidence {
	if !s.ok {
		return s.ev
	}
	s.ev.Token, s.ev.Message = gateway.CleanID(s.pay.ID), ""
	if !s.pay.Expires.IsZero() {
		at := s.pay.Expires.Time
		s.ev.HoldEndsAt = &at
	}
	if ev, ok := s.ours(r); ok {
		return ev
	}
	if why := s.doubt(); why != "" {
		s.ev.Message = why
		return s.ev
	}
	switch r.Kind {
	case models.Capture:
		return s.noCapture(r)
	case models.Void:
		return s.noVoid()
	case models.Refund:
		return s.noRefund(r)
	}
	return s.ev
}

// name is the reference of ours that the action carries. Its own reference goes
// before its metadata, which may have been handed on from another action.
func (x action) name() string {
	for _, prefix := range prefixOf {
		if made(x.Reference, prefix) {
			return x.Reference
		}
	}
	return x.Metadata.Reference
}

// try is the idempotency key that the action was asked for under; empty when it
// does not say.
func (x action) try() string {
	if x.Metadata.Reference != x.name() {
		return ""
	}
	return x.Metadata.Key
}

// belongs reports whether the action carries our reference.
func (x action) belongs(r gateway.Request) bool { return r.Reference != "" && x.name() == r.Reference }

// ours judges the actions under our reference: what took effect outweighs what
// is on its way, which outweighs a decline. Several that live are told as their
// sum, so that the difference is seen. A decline of an earlier try is no news; one
// that names no try proves nothing.
func (s sight) ours(r gateway.Request) (models.Evidence, bool) {
	var best models.Evidence
	found := false
	for _, x := range slices.Backward(s.actions) {
		if !x.belongs(r) {
			continue
		}
		ev := s.ev
		if x.Type == actionOf[r.Kind] {
			ev = decided(s.ev, r.Kind, s.pay.Currency, x)
		} else {
			ev.Message, ev.NextAction = "an action of another type carries our reference", gateway.NextContact
		}
		if ended := ev.Outcome == models.OutcomeDeclined || ev.Outcome == models.OutcomeRefused; ended && r.Key != "" {
			switch x.try() {
			case r.Key:
			case "":
				ev.Outcome, ev.Answered, ev.NextAction = models.OutcomeLost, false, gateway.NextContact
				ev.Message = "an action under our reference was declined, and does not say which try it was"
			default:
				continue
			}
		}
		switch {
		case !found:
			best = ev
		case live(best) && live(ev):
			best = both(best, ev)
		case !live(best):
			best = ev
		}
		found = true
	}
	return best, found
}

// both are two actions of one operation that live: what is on its way keeps the
// other from being the end of it.
func both(a, b models.Evidence) models.Evidence {
	if b.Outcome == models.OutcomeAccepted {
		a.Outcome = models.OutcomeAccepted
	}
	if a.CurrencyCode == "" {
		a.CurrencyCode = b.CurrencyCode
	}
	a.AmountCents += b.AmountCents
	a.Message = "more than one action under the same reference"
	return a
}

func live(ev models.Evidence) bool {
	return ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeAccepted
}

// took reports whether the action took effect.
func (x action) took() bool { return x.Approved != nil && *x.Approved && listed(approvedCodes, x.Code) }

// doubt says why nothing can be concluded from what is not there: the payment
// and its actions do not agree, or something is on its way. Empty is no doubt.
func (s sight) doubt() string {
	var captured, refunded int64
	for _, x := range s.actions {
		open := x.Approved == nil || *x.Approved && !x.took()
		switch x.Type {
		case actionCapture, actionRefund, actionVoid:
			if open {
				return "the payment has an action that is not decided, and is not under our reference"
			}
		default:
			continue
		}
		switch {
		case !x.took():
		case x.Amount < 0 || x.Amount > 100*maxAmount:
			return "the payment has an action whose amount is not understood"
		case x.Type == actionCapture:
			captured += x.Amount
		case x.Type == actionRefund:
			refunded += x.Amount
		case x.Type == actionVoid && s.pay.Balances == nil && s.pay.Status == statusAuthorized:
			return "the payment says that it stands, and its actions that it was voided"
		}
	}
	switch b := s.pay.Balances; {
	case b == nil && captured+refunded > 0:
		return "the payment names no balances, so that what is left cannot be told"
	case b == nil:
		return ""
	case b.Captured != captured || b.Refunded != refunded:
		return "the payment and its actions do not agree; one of them is not up to date"
	case b.Captured < 0 || b.Refunded < 0 || b.Voided < 0 || b.Capturable < 0 || b.Voidable < 0 || b.Refundable < 0 || b.Authorized < 0:
		return "the payment's balances are not understood"
	}
	return ""
}

// sums are the payment's balances, in the wire's units.
func (s sight) sums() balances {
	if s.pay.Balances != nil {
		b := *s.pay.Balances
		if b.Authorized == 0 {
			b.Authorized = s.pay.Amount
		}
		return b
	}
	b := balances{Authorized: s.pay.Amount}
	switch s.pay.Status {
	case statusAuthorized, statusPending:
		b.Capturable, b.Voidable = b.Authorized, b.Authorized
	case statusVoided, statusExpired, statusCanceled:
		b.Voided = b.Authorized
	}
	return b
}

// noCapture: nothing was decided under our reference and key.
func (s sight) noCapture(r gateway.Request) models.Evidence {
	ev, b := s.ev, s.sums()
	need, err := toWire(r.AmountCents, r.CurrencyCode)
	if err != nil {
		ev.ErrorCode, ev.Message, ev.NextAction = "amount_not_representable", cleaned(err.Error()), gateway.NextContact
		return ev
	}
	switch s.pay.Status {
	case statusDeclined:
		return s.gone("payment_declined")
	case statusVoided, statusExpired, statusCanceled:
		if b.Captured == 0 {
			return s.gone("payment_" + strings.ToLower(s.pay.Status))
		}
	case statusPending, statusAuthorized:
	case statusPartiallyCaptured, statusCaptured, statusPartiallyRefunded, statusRefunded:
		if b.Captured == 0 {
			ev.Message = "Checkout.com says the payment was captured and lists no capture that explains it"
			return ev
		}
	default:
		return s.strange()
	}
	if b.Capturable >= need {
		ev.Outcome, ev.Message = models.OutcomeNone, "the payment has no capture under this reference, and enough is left"
		return ev
	}
	return s.usedUp(r, b)
}

// usedUp: other captures have left less of the hold than ours needs.
func (s sight) usedUp(r gateway.Request, b balances) models.Evidence {
	ev := s.ev
	var others []action
	siblings := true
	for _, x := range slices.Backward(s.actions) {
		if x.Type == actionCapture && x.took() {
			others = append(others, x)
			siblings = siblings && made(x.name(), prefixOf[models.Capture])
		}
	}
	switch {
	case len(others) == 0:
		ev.Message = "less than is asked for can be captured, and no capture explains it"
		return ev
	case siblings && !r.OnlyOne:
		// Our own earlier captures used the hold up: this one can never be made.
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, b.Capturable == 0, gateway.NextCancel
		ev.ErrorCode, ev.Message = "capture_value_greater_than_remaining_authorized", "other captures have used the hold up"
		return ev
	}
	first := others[0]
	ev = decided(ev, models.Capture, s.pay.Currency, first)
	ev.Foreign = len(others) > 1 || !r.OnlyOne || first.Reference != "" || first.Metadata.Reference != ""
	if ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// noVoid: no void under our reference. What a void is for may have happened all
// the same.
func (s sight) noVoid() models.Evidence {
	ev, b := s.ev, s.sums()
	switch s.pay.Status {
	case statusDeclined:
		return s.gone("payment_declined")
	case statusVoided, statusExpired, statusCanceled:
		return s.released(b)
	case statusPending, statusAuthorized, statusPartiallyCaptured, statusCaptured, statusPartiallyRefunded, statusRefunded:
	default:
		return s.strange()
	}
	switch {
	case b.Voidable > 0 && s.over(): // what nobody captured in time is the payer's again
		return s.released(b)
	case b.Voidable > 0 || s.pay.Status == statusPending:
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold is not voided"
	case b.Voided > 0:
		return s.released(b)
	case b.Captured > 0:
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, "refund"
		ev.ErrorCode, ev.Message = "payment_captured", "the hold was captured; it can only be refunded"
	default:
		ev.Message = "nothing of the hold can be voided; why, the payment does not say"
	}
	return ev
}

// released is a hold that holds nothing any more, by whomever. What was captured
// of it before was not released.
func (s sight) released(b balances) models.Evidence {
	ev := s.ev
	cents, currency, ok := fromWire(b.Authorized-b.Captured, s.pay.Currency)
	if !ok {
		ev.Message = "Checkout.com says the hold is released and names no amount that fits"
		return ev
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.GatewayTransactionID = models.OutcomeConfirmed, cents, currency, gateway.CleanID(s.pay.ID)
	for _, x := range s.actions {
		if x.Type == actionVoid && x.took() {
			ev.GatewayTransactionID = gateway.CleanID(x.ID)
			break
		}
	}
	return ev
}

// noRefund: no refund under our reference. One that somebody made is not ours,
// but when it leaves less than ours needs, ours can never be made: that is told
// as foreign, for a person.
func (s sight) noRefund(r gateway.Request) models.Evidence {
	ev, b := s.ev, s.sums()
	need, err := toWire(r.AmountCents, r.CurrencyCode)
	if err != nil {
		ev.ErrorCode, ev.Message, ev.NextAction = "amount_not_representable", cleaned(err.Error()), gateway.NextContact
		return ev
	}
	if b.Refunded > 0 && b.Captured-b.Refunded < need {
		for _, x := range slices.Backward(s.actions) {
			if x.Type == actionRefund && x.took() {
				if ev = decided(ev, models.Refund, s.pay.Currency, x); ev.Outcome == models.OutcomeConfirmed {
					ev.Foreign, ev.NextAction = true, gateway.NextContact
				}
				return ev
			}
		}
	}
	ev.Outcome, ev.Message = models.OutcomeNone, "the payment has no refund under this reference"
	return ev
}

func (s sight) gone(code string) models.Evidence {
	ev := s.ev
	ev.Outcome, ev.HoldGone, ev.NextAction, ev.ErrorCode = models.OutcomeRefused, true, gateway.NextReauthorize, code
	ev.GatewayTransactionID, ev.Message = gateway.CleanID(s.pay.ID), "the payment is "+cleaned(s.pay.Status)+" at Checkout.com"
	return ev
}

func (s sight) strange() models.Evidence {
	ev := s.ev
	ev.Message = "the payment's status is not known here: " + cleaned(s.pay.Status)
	return ev
}
