package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// acme is a whole adapter for a made-up provider, as docs/gateways.md builds it.
// Its wire: POST and GET /holds/{id}/{captures,refunds,voids}, amounts in minor
// units, our reference in each operation, and an Idempotency-Key for a day.
type acme struct {
	client *gateway.Client
	key    gateway.Secret
}

var _ gateway.Gateway = (*acme)(nil)

func newAcme(base string, key gateway.Secret) *acme {
	return &acme{key: key, client: gateway.NewClient(gateway.ClientConfig{
		Provider: "acme", BaseURL: base, Timeout: 20 * time.Second, Redact: []gateway.Secret{key}, Keep: []string{"X-Request-Id"},
	})}
}

func (a *acme) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider: "acme", IdempotencyWindow: 24 * time.Hour, LookUp: true, SettleAfter: 10 * time.Second, HoldLife: 7 * 24 * time.Hour,
	}
}

func (a *acme) Capture(ctx context.Context, r gateway.Request) models.Evidence { return a.send(ctx, r) }
func (a *acme) Refund(ctx context.Context, r gateway.Request) models.Evidence  { return a.send(ctx, r) }
func (a *acme) Void(ctx context.Context, r gateway.Request) models.Evidence    { return a.send(ctx, r) }

// operation is what acme says about one of its operations.
type operation struct {
	ID        string `json:"id"`
	Reference string `json:"reference"`
	Status    string `json:"status"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
}

func (a *acme) path(r gateway.Request) string {
	return "/holds/" + url.PathEscape(r.Hold) + "/" + map[models.Kind]string{models.Capture: "captures", models.Refund: "refunds", models.Void: "voids"}[r.Kind]
}

func (a *acme) header() http.Header {
	return http.Header{"Authorization": {"Bearer " + a.key.Reveal()}}
}

func (a *acme) send(ctx context.Context, r gateway.Request) models.Evidence {
	answer := a.client.Do(ctx, gateway.Call{
		Label: gateway.CallCapture, Method: http.MethodPost, Path: a.path(r), Header: a.header(), KeyHeader: "Idempotency-Key", Key: r.Key,
		JSON: map[string]any{"reference": r.Reference, "amount": r.AmountCents, "currency": r.CurrencyCode},
	})
	ev := classifyAcme(r, answer)
	a.client.Count(gateway.CallCapture, ev.Outcome)
	return ev
}

// classifyAcme is pure, and everything that it does not know proves nothing.
func classifyAcme(r gateway.Request, answer gateway.Answer) models.Evidence {
	ev := models.Evidence{Source: models.FromAnswer, Status: answer.Status, RequestID: gateway.CleanID(answer.Header.Get("X-Request-Id"))}
	var told operation
	switch {
	case answer.Phase == gateway.PhaseNotSent:
		ev.Outcome, ev.Message = models.OutcomeNotSent, answer.Err.Error()
	case answer.Phase != gateway.PhaseAnswered:
		ev.Message = answer.Err.Error() // OutcomeLost, the zero value
	case answer.Status == http.StatusTooManyRequests:
		ev.Outcome, ev.Class, ev.RetryAfter = models.OutcomeNotSent, models.ClassThrottled, gateway.RetryAfter(answer.Header)
	case answer.Status == http.StatusCreated && json.Unmarshal(answer.Body, &told) == nil:
		ev = told.proves(r, ev)
	}
	return ev
}

// proves compares an operation with the one that was asked for.
func (o operation) proves(r gateway.Request, ev models.Evidence) models.Evidence {
	ev.GatewayTransactionID, ev.ErrorCode = gateway.CleanID(o.ID), ""
	switch {
	case o.Reference != r.Reference: // somebody else's, or none
	case o.Status == "done":
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, o.Amount, o.Currency
	case o.Status == "refused":
		ev.Outcome, ev.ErrorCode, ev.NextAction = models.OutcomeRefused, "refused", gateway.NextContact
	}
	return ev
}

func (a *acme) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	answer := a.client.Do(ctx, gateway.Call{
		Label: gateway.CallLookUp, Method: http.MethodGet, Path: a.path(r), Query: url.Values{"reference": {r.Reference}}, Header: a.header(),
	})
	ev := models.Evidence{Source: models.FromLookUp, Status: answer.Status}
	var found struct {
		Operations []operation `json:"operations"`
	}
	if answer.Phase != gateway.PhaseAnswered || answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &found) != nil || found.Operations == nil {
		return ev // "could not tell", never "not there"
	}
	for _, o := range found.Operations {
		if o.Reference == r.Reference {
			return o.proves(r, ev)
		}
	}
	ev.Outcome = models.OutcomeNone
	return ev
}

func (a *acme) Probe(ctx context.Context) error {
	answer := a.client.Do(ctx, gateway.Call{Label: gateway.CallProbe, Method: http.MethodGet, Path: "/me", Header: a.header()})
	switch {
	case answer.Phase != gateway.PhaseAnswered:
		return answer.Err
	case answer.Status == http.StatusUnauthorized:
		return fmt.Errorf("probe acme: %w", gateway.ErrCredentials)
	case answer.Status != http.StatusOK:
		return fmt.Errorf("probe acme: status %d; try again", answer.Status)
	}
	return nil
}

// What acme does not offer is said, not left out.

func (a *acme) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "holds are made by acme's checkout"}
}

func (a *acme) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeRefused, Message: "acme renews no holds"}
}

func (a *acme) Describe(context.Context, string) (gateway.HoldFacts, error) {
	return gateway.HoldFacts{}, fmt.Errorf("describe a hold at acme: %w", gateway.ErrUnsupported)
}

func (a *acme) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list acme's operations: %w", gateway.ErrUnsupported)
}

// A provider that books and does not answer: the call proves nothing, and the
// look-up finds what was booked.
func Example_adapter() {
	booked := []operation{}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(map[string]any{"operations": booked})
			return
		}
		o := operation{ID: "acme_1", Status: "done"}
		_ = json.NewDecoder(r.Body).Decode(&o)
		booked = append(booked, o)
		http.Error(w, "something broke", http.StatusBadGateway)
	}))
	defer provider.Close()

	a := newAcme(provider.URL, "secret")
	r := gateway.Request{Kind: models.Capture, Hold: "hold_1", Reference: "cap_abc", Key: "cap_abc_e0", AmountCents: 1500, CurrencyCode: "EUR"}
	fmt.Println("before: ", a.LookUp(context.Background(), r).Outcome)
	fmt.Println("capture:", a.Capture(context.Background(), r).Outcome)
	found := a.LookUp(context.Background(), r)
	fmt.Println("look-up:", found.Outcome, found.AmountCents, found.CurrencyCode, found.GatewayTransactionID)
	// Output:
	// before:  none
	// capture: lost
	// look-up: confirmed 1500 EUR acme_1
}
