package braintree

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const day = 24 * time.Hour

// holdLives are how long authorizations live by Braintree's documents, where an
// answer does not name the end. Some kinds of merchants have longer ones.
var holdLives = []gateway.HoldLife{
	{Network: "visa", Initiator: models.ByMerchant, Life: 3 * day},
	{Network: "visa", Life: 8 * day},
	{Network: "mastercard", Life: 7 * day},
	{Network: "amex", Life: 7 * day},
	{Network: "discover", Life: 30 * day},
	{Network: "diners", Life: 30 * day},
	{Network: "unionpay", Life: 30 * day},
	{Network: "jcb", Life: 30 * day},
	{Network: "paypal", Life: 29 * day},
	{Network: "venmo", Life: 10 * day},
}

// networks are the names that differ from Braintree's in lower case.
var networks = map[string]string{
	"american express": "amex", "diners club": "diners", "china unionpay": "unionpay", "uk maestro": "maestro", "master card": "mastercard",
}

func (t transaction) network() string {
	switch t.Instrument {
	case "paypal_account":
		return "paypal"
	case "venmo_account":
		return "venmo"
	}
	name := strings.ToLower(gateway.CleanText(cmp.Or(t.CardType, t.ApplePay, t.GooglePay)))
	name = strings.TrimPrefix(name, "apple pay - ")
	return cmp.Or(networks[name], name)
}

// Reauthorize is not offered: a transaction is authorized once.
func (a *Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return a.unsendable(gateway.CallReauthorize, "reauthorize_unsupported", fmt.Errorf("braintree cannot renew a hold; ask the payer for a new payment"))
}

// Describe reads a transaction. Braintree does not say who initiated it.
func (a *Adapter) Describe(ctx context.Context, hold string) (gateway.HoldFacts, error) {
	if err := checkID("hold", hold); err != nil {
		return gateway.HoldFacts{}, fmt.Errorf("describe %.80q: %w: %w", hold, gateway.ErrNoSuchHold, err)
	}
	s := a.read(ctx, gateway.CallDescribe, gateway.Request{Hold: hold})
	tried := fmt.Sprintf("describe %s at braintree account %q", hold, a.config.Account)
	switch {
	case s.ev.Status == http.StatusNotFound:
		a.client.Count(gateway.CallDescribe, models.OutcomeNone)
		return gateway.HoldFacts{}, fmt.Errorf("%s: %w", tried, gateway.ErrNoSuchHold)
	case !s.ok:
		a.client.Count(gateway.CallDescribe, s.ev.Outcome)
		return gateway.HoldFacts{}, &gateway.CallError{
			Tried: tried, Status: s.ev.Status, Throttled: s.ev.Class == models.ClassThrottled, RetryAfter: s.ev.RetryAfter,
			Err: fmt.Errorf("%s %s", s.ev.ErrorCode, s.ev.Message),
		}
	}
	facts, ok := s.sale.facts()
	if !ok {
		a.client.Count(gateway.CallDescribe, models.OutcomeLost)
		return gateway.HoldFacts{}, fmt.Errorf("%s: %.32q %.8q is no amount of money", tried, s.sale.Amount, s.sale.Currency)
	}
	a.client.Count(gateway.CallDescribe, models.OutcomeConfirmed)
	return facts, nil
}

// facts are what a sale says about its hold. It is pure.
func (t transaction) facts() (gateway.HoldFacts, bool) {
	cents, currency, ok := t.held()
	f := gateway.HoldFacts{
		AmountCents: cents, CurrencyCode: currency, Status: gateway.CleanText(t.Status), Network: t.network(),
		Open: t.Status == statusAuthorized && !t.took() && len(t.Parts) == 0,
	}
	if !t.Expires.IsZero() {
		at := t.Expires.Time
		f.CaptureBefore = &at
	}
	if t.takes() {
		taken, _, known := t.taken()
		f.CapturedCents, ok = taken, ok && known
	}
	return f, ok
}

// List is not offered: a search finds transactions by when they came into a
// status, and names neither refunds nor voids of them as such.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what Braintree booked: %w", gateway.ErrUnsupported)
}
