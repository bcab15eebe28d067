package braintree

import (
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// lookedRefund finds our refund among those of the sale, or a void that gave
// everything back. It is pure.
//
// What somebody else gave back is not ours, but when it leaves less than ours
// needs, ours can never be made: that is told as foreign, for a person.
func lookedRefund(r gateway.Request, s sight) models.Evidence {
	t, ev := s.sale, s.ev
	if !s.listed {
		return ev
	}
	var mine []models.Evidence
	var others []transaction
	for _, re := range s.back {
		if re.OrderID == r.Reference {
			mine = append(mine, refunded(ev, re))
		} else {
			others = append(others, re)
		}
	}
	switch {
	case len(mine) > 0 && best(mine).Outcome != models.OutcomeDeclined:
		return best(mine) // a decline is of an earlier try, and says nothing of one that may still land
	case t.Status == statusVoided && t.took():
		return undone(ev, r, t)
	case t.Status == statusVoided, t.Status == statusExpired, t.fell(), t.Status == statusProcessorDeclined, t.Status == statusRejected:
		ev = over(ev, t)
		ev.HoldGone, ev.NextAction = false, gateway.NextContact
		ev.Message = "there is nothing to refund: the transaction is " + gateway.CleanText(t.Status)
		return ev
	case !t.takes() || len(t.Parts) > 0:
		ev.Message, ev.NextAction = "the transaction was not captured here: it is "+gateway.CleanText(t.Status), gateway.NextContact
		return ev
	}
	return withoutOurs(ev, r, t, others)
}

func withoutOurs(ev models.Evidence, r gateway.Request, t transaction, others []transaction) models.Evidence {
	left, currency, ok := t.taken()
	var theirs []models.Evidence
	for _, re := range others {
		seen := refunded(models.Evidence{}, re)
		switch {
		case live(seen):
			ok = ok && seen.CurrencyCode == currency
			left -= seen.AmountCents
			theirs = append(theirs, refunded(ev, re))
		case seen.Outcome == models.OutcomeLost:
			ok = false
		}
	}
	switch {
	case !ok:
		ev.Message = "what is left of the capture cannot be told"
		return ev
	case len(theirs) > 0 && left < r.AmountCents:
		ev = theirs[0]
		ev.Foreign, ev.NextAction = true, gateway.NextContact
		return ev
	}
	ev.Outcome, ev.Message = models.OutcomeNone, "the transaction has no refund under this reference"
	return ev
}

// undone is a capture that was voided: all of it went back. Nothing in a void
// says who asked for it. It is our refund if that was to return everything, and
// was the only one ever asked for.
func undone(ev models.Evidence, r gateway.Request, t transaction) models.Evidence {
	cents, currency, ok := t.taken()
	if !ok {
		ev.Message, ev.NextAction = "Braintree says that the capture is voided and names no amount", gateway.NextContact
		return ev
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeConfirmed, cents, currency, ""
	ev.GatewayTransactionID, ev.Token, ev.Message = gateway.CleanID(t.ID), gateway.CleanID(t.ID), "voided before it settled"
	if ev.Foreign = !r.Whole || !r.OnlyOne; ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// refunded reads one refund, wherever it was found.
func refunded(ev models.Evidence, t transaction) models.Evidence {
	ev.GatewayTransactionID, ev.Token = gateway.CleanID(t.ID), gateway.CleanID(t.ID)
	cents, currency, ok := fromBraintree(t.Amount, t.Currency)
	switch {
	case t.Status == statusProcessorDeclined:
		then := declineOf(t)
		if ev.Outcome, ev.NextAction = then.outcome, then.next; then.outcome == models.OutcomeLost {
			ev.Outcome = models.OutcomeDeclined // why is not known, and that it had no effect is
		}
	case t.Status == statusRejected, t.Status == statusVoided && !t.took(), t.fell() && !t.took():
		ev.Outcome, ev.NextAction = models.OutcomeRefused, gateway.NextRetry
	case !ok:
		ev.Message, ev.NextAction = "Braintree shows a refund without an amount", gateway.NextContact
		return ev
	case t.Status == statusPending:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.Message = models.OutcomeAccepted, cents, currency, t.Status
		return ev
	case t.takes():
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction, ev.Message = models.OutcomeConfirmed, cents, currency, "", t.Status
		return ev
	case t.Status == statusVoided, t.fell():
		ev.Outcome, ev.AmountCents, ev.TookCents, ev.CurrencyCode, ev.NextAction = models.OutcomeTakenBack, cents, cents, currency, gateway.NextRetry
	default:
		ev.Message = "the refund is " + gateway.CleanText(t.Status)
		return ev
	}
	code, text := t.words()
	ev.ErrorCode, ev.ErrorDetail = "refund_"+gateway.CleanText(t.Status), gateway.CleanText(code+" "+text)
	ev.Message = "the refund is " + gateway.CleanText(t.Status) + "; the money is still the merchant's"
	return ev
}

// best judges all refunds under our reference: a success outweighs what is not
// known, which outweighs what came back or failed. Several that live are told as
// their sum, so that the difference is seen.
func best(all []models.Evidence) models.Evidence {
	verdict := all[0]
	for _, next := range all[1:] {
		switch {
		case live(next) && live(verdict) && next.CurrencyCode == verdict.CurrencyCode:
			verdict.AmountCents += next.AmountCents
			verdict.Message = "more than one refund under the same reference"
			if next.Outcome == models.OutcomeAccepted {
				verdict.Outcome = models.OutcomeAccepted
			}
		case weight(next) > weight(verdict):
			verdict = next
		}
	}
	return verdict
}

func weight(ev models.Evidence) int {
	switch {
	case live(ev):
		return 4
	case ev.Outcome == models.OutcomeLost:
		return 3
	case ev.Outcome == models.OutcomeTakenBack:
		return 2
	case ev.Outcome == models.OutcomeRefused:
		return 1
	}
	return 0
}

func live(ev models.Evidence) bool {
	return ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeAccepted
}
