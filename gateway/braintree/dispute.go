package braintree

import (
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// withdrawn says how much a dispute keeps of the merchant's money now, and false
// where that cannot be told. A chargeback takes its amount when it is opened and
// gives it back when it is won; a retrieval is a question, and takes nothing.
func (d dispute) withdrawn(currency string) (int64, bool) {
	switch d.Kind {
	case "retrieval":
		return 0, true
	case "chargeback", "pre_arbitration":
	default:
		return 0, false
	}
	if d.Currency != "" {
		if d.Currency != currency {
			return 0, false
		}
	}
	amount := d.Disputed
	if amount == "" {
		amount = d.Amount
	}
	cents, _, ok := fromBraintree(amount, currency)
	switch d.Status {
	case "open", "disputed", "under_review", "expired", "lost", "accepted", "auto_accepted":
		return cents, ok
	case "won":
		won, _, partly := fromBraintree(d.Won, currency)
		if !partly || won >= cents {
			return 0, true
		}
		return cents - won, ok
	}
	return 0, false
}

// disputed corrects the proof that a capture took effect by its disputes. As
// long as nobody knows what they withdrew, nothing is proven.
func disputed(ev models.Evidence, t transaction) models.Evidence {
	var sum int64
	var last dispute
	for _, d := range t.Disputes {
		cents, ok := d.withdrawn(ev.CurrencyCode)
		if !ok {
			ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeLost, 0, "", gateway.NextContact
			ev.Message = "the payment was disputed, and what was withdrawn is not known: dispute " + gateway.CleanText(d.ID+" "+d.Kind+" "+d.Status)
			return ev
		}
		if cents > 0 {
			sum, last = sum+cents, d
		}
	}
	if sum == 0 {
		return ev
	}
	ev.Outcome, ev.TookCents, ev.AmountCents, ev.NextAction = models.OutcomeTakenBack, ev.AmountCents, sum, gateway.NextContact
	ev.ErrorCode, ev.ErrorDetail = "disputed", gateway.CleanText(last.Reason)
	ev.Message = gateway.CleanText("dispute " + last.ID + " withdrew the money; it is " + last.Status)
	return ev
}
