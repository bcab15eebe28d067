package stripe

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// maxPages bounds the listing of one payment's refunds: 2,000 of them.
const maxPages = 20

// lookUpRefund lists the payment's refunds until the end: the same reference
// may be there twice when Stripe had forgotten a key, and that must be seen.
func (a *Adapter) lookUpRefund(ctx context.Context, r gateway.Request) models.Evidence {
	var all []refund
	query := url.Values{"payment_intent": {r.Hold}, "limit": {"100"}, "expand[]": {"data.charge"}}
	for range maxPages {
		answer := a.get(ctx, gateway.CallLookUp, "/v1/refunds", query)
		ev := classify(gateway.CallLookUp, gateway.Request{}, answer)
		if answer.Phase != gateway.PhaseAnswered || answer.Status != 200 {
			return ev
		}
		var page refundList
		if json.Unmarshal(answer.Body, &page) != nil || page.Object != "list" || page.Data == nil {
			ev.Message = "status 200 without a list of refunds"
			return ev
		}
		all = append(all, page.Data...)
		ev.Message = ""
		if !page.HasMore || len(page.Data) == 0 {
			return matchRefund(ev, r, all)
		}
		query.Set("starting_after", page.Data[len(page.Data)-1].ID)
	}
	return models.Evidence{Source: models.FromLookUp, Message: "the payment has more refunds than are ever listed", NextAction: gateway.NextContact}
}

// matchRefund finds our refund among all of a payment's. It is pure.
//
// A refund that somebody made without our reference is not ours, but when it
// leaves less than ours needs, ours can never be made: that is told as foreign,
// for a person to decide.
func matchRefund(ev models.Evidence, r gateway.Request, all []refund) models.Evidence {
	var ours, foreign []refund
	for _, re := range all {
		switch {
		case re.Object != "refund" || re.ID == "" || re.PaymentIntent.ID != "" && re.PaymentIntent.ID != r.Hold:
			ev.Outcome, ev.Message = models.OutcomeLost, "the list holds something that is no refund of this payment"
			return ev
		case re.Metadata[metadataReference] == r.Reference:
			ours = append(ours, re)
		case re.Reason != reasonExpired && re.Status != "failed" && re.Status != "canceled":
			foreign = append(foreign, re)
		}
	}
	if len(ours) > 0 {
		return bestRefund(ev, ours)
	}
	if len(foreign) > 0 {
		if left, ok := refundable(foreign); ok && left < r.AmountCents {
			ev = refunded(ev, foreign[0])
			ev.Foreign, ev.NextAction = true, gateway.NextContact
			return ev
		}
	}
	ev.Outcome, ev.Message = models.OutcomeNone, "the payment has no refund under this reference"
	return ev
}

// bestRefund judges all refunds under our reference: a success outweighs what
// is pending, which outweighs a failure. Two live ones are told as their sum,
// so that the difference is seen.
func bestRefund(ev models.Evidence, ours []refund) models.Evidence {
	verdict := refunded(ev, ours[len(ours)-1]) // listed newest first: begin with the oldest
	for i := len(ours) - 2; i >= 0; i-- {
		next := refunded(ev, ours[i])
		switch {
		case live(next) && live(verdict) && next.CurrencyCode == verdict.CurrencyCode:
			verdict.AmountCents += next.AmountCents
			verdict.Message = "more than one refund under the same reference"
			if next.Outcome == models.OutcomeAccepted {
				verdict.Outcome = models.OutcomeAccepted
			}
		case !live(verdict):
			verdict = next
		}
	}
	return verdict
}

func live(ev models.Evidence) bool {
	return ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeAccepted
}

// refundable is how much of the charge can still be given back, when the
// listing came with the charge.
func refundable(all []refund) (int64, bool) {
	var ch charge
	if !all[0].Charge.object(&ch) || ch.Object != "charge" {
		return 0, false
	}
	cents, _, ok := fromStripe(ch.AmountCaptured-ch.AmountRefunded, ch.Currency)
	return cents, ok
}
