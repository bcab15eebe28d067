package checkoutcom

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Describe reads a payment.
func (a *Adapter) Describe(ctx context.Context, hold string) (gateway.HoldFacts, error) {
	if err := checkHold(hold); err != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %q at checkout.com: %w: %w", cleaned(hold), gateway.ErrNoSuchHold, err)
	}
	answer := a.get(ctx, gateway.CallDescribe, paymentPath(hold))
	ev := classify(gateway.CallLookUp, gateway.Request{Hold: hold}, answer)
	if answer.Phase == gateway.PhaseAnswered && answer.Status == http.StatusNotFound && parseError(answer.Body) != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %s at checkout.com account %q: %w", hold, a.config.Account, gateway.ErrNoSuchHold)
	}
	p, ok := payment{}, false
	if answer.Phase == gateway.PhaseAnswered && answer.Status == http.StatusOK {
		p, ok = parsePayment(answer.Body)
	}
	facts, fit := p.facts()
	if !ok || !fit || p.ID != hold {
		return gateway.HoldFacts{}, &gateway.CallError{
			Tried: fmt.Sprintf("describe %s at checkout.com account %q", hold, a.config.Account), Status: ev.Status,
			Throttled: ev.Class == models.ClassThrottled, RetryAfter: ev.RetryAfter, Err: fmt.Errorf("%s %s", ev.ErrorCode, ev.Message),
		}
	}
	return facts, nil
}

// facts are what a payment says about the hold. It is pure, and false where it
// cannot be told how much was captured.
func (p payment) facts() (gateway.HoldFacts, bool) {
	f := gateway.HoldFacts{Status: cleaned(p.Status), Network: strings.ToLower(cleaned(p.Source.Scheme))}
	if !p.Expires.IsZero() {
		at := p.Expires.Time
		f.CaptureBefore = &at
	}
	total, taken, left := p.Amount, int64(0), p.Amount
	switch {
	case p.Balances != nil:
		total, taken, left = max(p.Balances.Authorized, 0), p.Balances.Captured, p.Balances.Capturable
		if total == 0 {
			total = p.Amount
		}
	case p.Status != statusAuthorized && p.Status != statusPending:
		return f, false
	}
	f.Open = left > 0 && (p.Status == statusAuthorized || p.Status == statusPartiallyCaptured)
	var good, fit bool
	f.AmountCents, f.CurrencyCode, good = fromWire(total, p.Currency)
	f.CapturedCents, _, fit = fromWire(taken, p.Currency)
	return f, good && fit
}

// Reauthorize is not offered.
func (a *Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return a.unsendable(gateway.CallReauthorize, "reauthorize_unsupported",
		fmt.Errorf("a payment at Checkout.com cannot be renewed; ask the payer for a new one"))
}

// List is not offered: Checkout.com reports what it settled in files, days later.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what Checkout.com booked: %w", gateway.ErrUnsupported)
}
