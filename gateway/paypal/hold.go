package paypal

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Reauthorize renews the hold r.Hold, once, between its honor period and its
// end. Whether it is in that span is read first, so that the refusal says when.
func (a *Adapter) Reauthorize(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toPayPal(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallReauthorize, "amount_not_representable", err)
	}
	if err := checkID("authorization", r.Hold); err != nil {
		return a.unsendable(gateway.CallReauthorize, "hold_not_valid", err)
	}
	rep := a.get(ctx, gateway.CallLookUp, authorizationPath(r.Hold))
	if ev, stop := a.renewable(rep, r); stop {
		a.client.Count(gateway.CallReauthorize, ev.Outcome)
		return ev
	}
	return a.post(ctx, gateway.CallReauthorize, r, authorizationPath(r.Hold)+"/reauthorize", amountBody{amount})
}

// renewable reports whether a renewal must not be asked for now, and why. An
// authorization that cannot be read is one for which nothing was sent.
func (a *Adapter) renewable(rep reply, r gateway.Request) (models.Evidence, bool) {
	ev := rep.judge(gateway.CallReauthorize, r)
	if rep.failed != nil || rep.answer.Phase != gateway.PhaseAnswered || rep.answer.Status != http.StatusOK {
		ev.Outcome, ev.HoldGone = models.OutcomeNotSent, false
		if ev.Class != models.ClassConfig && ev.Class != models.ClassThrottled {
			ev.Class = ""
		}
		return ev, true
	}
	auth, ok := parseAuthorization(rep.answer.Body)
	now, err := http.ParseTime(rep.answer.Header.Get("Date"))
	if !ok || auth.ID != r.Hold {
		ev.Outcome, ev.Message = models.OutcomeNotSent, "the authorization could not be read, so its renewal was not asked for"
		return ev, true
	}
	if err != nil || auth.Created.IsZero() {
		return ev, false // PayPal will say
	}
	ev = models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused, RequestID: ev.RequestID, GatewayTransactionID: auth.ID}
	first, last := auth.Created.Add(a.config.HonorPeriod), auth.Created.Add(a.config.HoldLife)
	switch {
	case now.Before(first):
		ev.ErrorCode, ev.NextAction = "reauthorize_too_early", gateway.NextRetry
		ev.Message = "PayPal guarantees the funds until " + first.Format(time.RFC3339) + "; a hold can be renewed after that"
	case !now.Before(last):
		ev.ErrorCode, ev.NextAction, ev.HoldGone = "reauthorize_too_late", gateway.NextCancel, true
		ev.Message = "the hold ended at " + last.Format(time.RFC3339) + "; ask the payer for a new payment"
	default:
		return ev, false
	}
	return ev, true
}

// Describe reads an authorization, and its order when something was captured.
func (a *Adapter) Describe(ctx context.Context, hold string) (gateway.HoldFacts, error) {
	if err := checkID("authorization", hold); err != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %q at paypal: %w: %w", gateway.CleanText(hold), gateway.ErrNoSuchHold, err)
	}
	s := a.read(ctx, gateway.CallDescribe, gateway.Request{Kind: models.Capture, Hold: hold})
	switch {
	case !s.ok && s.ev.Status == http.StatusNotFound && s.ev.ErrorCode == "INVALID_RESOURCE_ID":
		return gateway.HoldFacts{}, fmt.Errorf("describe %s at paypal account %q: %w", hold, a.config.Account, gateway.ErrNoSuchHold)
	case !s.ok:
		return gateway.HoldFacts{}, a.callError(hold, s.ev)
	}
	facts, ok := s.facts()
	if !ok {
		return gateway.HoldFacts{}, a.callError(hold, s.ev)
	}
	return facts, nil
}

func (a *Adapter) callError(hold string, ev models.Evidence) error {
	return &gateway.CallError{
		Tried: fmt.Sprintf("describe %s at paypal account %q", hold, a.config.Account), Status: ev.Status,
		Throttled: ev.Class == models.ClassThrottled, RetryAfter: ev.RetryAfter, Err: fmt.Errorf("%s %s", ev.ErrorCode, ev.Message),
	}
}

// facts are what was seen of a hold. It is pure.
func (s sight) facts() (gateway.HoldFacts, bool) {
	cents, currency, ok := s.auth.Amount.cents()
	f := gateway.HoldFacts{
		AmountCents: cents, CurrencyCode: currency, Status: gateway.CleanText(s.auth.Status), CaptureBefore: s.auth.ends(),
		Open:    (s.auth.Status == authCreated || s.auth.Status == authPartially) && !s.over(),
		Network: strings.ToLower(gateway.CleanText(s.auth.Network.Network)),
	}
	switch s.auth.Status {
	case authCaptured, authPartially, authVoided:
		ok = ok && s.listed
	}
	for _, c := range s.paid.Captures {
		if c.hold() != "" && c.hold() != s.auth.ID {
			continue
		}
		if taken, code, live := liveCents(c); live && code == currency {
			f.CapturedCents += taken
		}
	}
	return f, ok
}

// List is not offered: PayPal lists transactions by another API, which names
// neither the hold nor the key, hours late.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what PayPal booked: %w", gateway.ErrUnsupported)
}
