package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Reauthorize is not offered: a PaymentIntent lives as long as its network lets it.
func (a *Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, ErrorCode: "reauthorize_unsupported", Message: "Stripe cannot renew a hold; ask the payer for a new payment", NextAction: gateway.NextCancel}
}

// Describe reads a PaymentIntent with its charge, which says when the hold ends
// and whose card it is. Stripe does not say who initiated it.
func (a *Adapter) Describe(ctx context.Context, hold string) (gateway.HoldFacts, error) {
	if err := checkHold(hold); err != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %.80q: %w: %w", hold, gateway.ErrNoSuchHold, err)
	}
	answer := a.get(ctx, gateway.CallDescribe, intentPath(hold), url.Values{"expand[]": {"latest_charge"}})
	facts, err := described(answer, hold)
	outcome := models.OutcomeLost
	switch {
	case err == nil:
		outcome = models.OutcomeConfirmed
	case errors.Is(err, gateway.ErrNoSuchHold):
		outcome = models.OutcomeNone
	case answer.Phase == gateway.PhaseNotSent:
		outcome = models.OutcomeNotSent
	}
	a.client.Count(gateway.CallDescribe, outcome)
	return facts, err
}

// described reads the answer. It is pure.
func described(answer gateway.Answer, hold string) (gateway.HoldFacts, error) {
	no := func(format string, args ...any) (gateway.HoldFacts, error) {
		return gateway.HoldFacts{}, fmt.Errorf("describe %s: "+format, append([]any{hold}, args...)...)
	}
	if answer.Phase != gateway.PhaseAnswered {
		return no("%s", answer.Said("no answer"))
	}
	if answer.Status == http.StatusNotFound {
		if e := parseError(answer.Body); e != nil && e.Code == "resource_missing" {
			return no("%w in this account and mode", gateway.ErrNoSuchHold)
		}
	}
	pi, ok := parseIntent(answer.Body)
	if answer.Status != http.StatusOK || !ok || pi.ID != hold {
		return no("status %d without the PaymentIntent that was asked for", answer.Status)
	}
	amount, currency, ok := fromStripe(pi.Amount, pi.Currency)
	taken, _, okToo := fromStripe(pi.AmountReceived, pi.Currency)
	if !ok || !okToo {
		return no("%d %.8q is no amount of money", pi.Amount, pi.Currency)
	}
	facts := gateway.HoldFacts{
		AmountCents: amount, CapturedCents: taken, CurrencyCode: currency, Open: pi.Status == statusRequiresCapture, Status: gateway.CleanText(pi.Status),
	}
	var ch struct {
		Details struct {
			Card struct {
				CaptureBefore int64  `json:"capture_before"`
				Network       string `json:"network"`
				Brand         string `json:"brand"`
			} `json:"card"`
		} `json:"payment_method_details"`
	}
	if pi.LatestCharge.object(&ch) {
		card := ch.Details.Card
		facts.Network = gateway.CleanText(cmp.Or(card.Network, card.Brand))
		if card.CaptureBefore > 0 {
			ends := time.Unix(card.CaptureBefore, 0).UTC()
			facts.CaptureBefore = &ends
		}
	}
	return facts, nil
}

// holdLives are how long uncaptured holds live by Stripe's documents: online
// payments seven days, except that Visa gives those that the merchant initiates
// less.
var holdLives = []gateway.HoldLife{
	{Network: "visa", Initiator: models.ByMerchant, Life: 4*24*time.Hour + 18*time.Hour},
}
