package klarna

import (
	"context"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// confirm reads what a 201 made. Until that is read the operation is Accepted:
// that it stands is proven, how much it is is not.
func (a *Adapter) confirm(ctx context.Context, r gateway.Request, ev models.Evidence) models.Evidence {
	return confirmed(r, ev, a.read(ctx, gateway.CallLookUp, r.Hold))
}

// confirmed finds what was made in the order. It is pure. Made under our key but
// not under our reference, it is not ours.
func confirmed(r gateway.Request, ev models.Evidence, s sight) models.Evidence {
	if !s.ok {
		return ev
	}
	seen := models.Evidence{}
	for _, c := range s.order.Captures {
		if r.Kind == models.Capture && c.ID == ev.GatewayTransactionID {
			r.OnlyOne = false
			seen = captured(s.ev, r, c, s.order.Currency)
		}
	}
	for _, re := range s.order.Refunds {
		if r.Kind == models.Refund && re.ID == ev.GatewayTransactionID {
			seen = returned(s.ev, r, re, s.order.Currency)
		}
	}
	switch {
	case seen.Outcome != models.OutcomeConfirmed:
		return ev // not listed yet
	case !seen.Foreign:
		seen = lookedUp(r, s) // all that stands under our reference
	}
	return answers(seen, ev)
}

// answers makes what was read the answer to our own call.
func answers(seen, ev models.Evidence) models.Evidence {
	seen.Source, seen.Status, seen.RequestID = models.FromAnswer, ev.Status, ev.RequestID
	return seen
}

// explain reads why Klarna did not allow an operation.
func (a *Adapter) explain(ctx context.Context, r gateway.Request, refusal models.Evidence) models.Evidence {
	return explained(r, refusal, a.read(ctx, gateway.CallLookUp, r.Hold))
}

// explained says what a refusal and the order as it stood afterwards prove
// together. It is pure. An order that could not be read leaves the refusal as it
// is: Lost, to be looked up.
func explained(r gateway.Request, refusal models.Evidence, s sight) models.Evidence {
	if !s.ok {
		return refusal
	}
	seen := answers(lookedUp(r, s), refusal)
	switch seen.Outcome {
	case models.OutcomeConfirmed, models.OutcomeRefused:
		return seen
	case models.OutcomeNone:
	default:
		return refusal
	}
	refusal.HoldEndsAt = seen.HoldEndsAt
	switch left := s.order.Remaining; {
	case r.Kind == models.Capture && s.order.Fraud == fraudPending:
		refusal.Outcome, refusal.NextAction = models.OutcomeDeclined, gateway.NextRetry
		refusal.ErrorDetail = "Klarna is still reviewing the order, for a day at most"
	case r.Kind == models.Capture && *left < r.AmountCents:
		refusal.Outcome, refusal.Answered, refusal.NextAction = models.OutcomeRefused, false, gateway.NextCancel
		refusal.ErrorDetail = "less is left of the order than was asked for"
	default:
		// Nothing in the order stands against it, and yet it is not allowed.
		refusal.Class, refusal.NextAction = models.ClassBadRequest, gateway.NextContact
	}
	return refusal
}
