package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Provider is this adapter's name in metrics, logs and capabilities.
const Provider = "stripe"

// DefaultBaseURL is where Stripe answers; DefaultVersion is the API version
// that every request pins, so that a change of the account's default version
// cannot change what an answer means here.
const (
	DefaultBaseURL = "https://api.stripe.com"
	DefaultVersion = "2026-03-25.dahlia"
)

// Config describes one account at Stripe. SecretKey is required.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// SecretKey is sk_… or a restricted rk_… that may read and write
	// PaymentIntents and refunds and read the balance, its transactions, charges and
	// disputes.
	SecretKey gateway.Secret
	// BaseURL and Version default to the constants above.
	BaseURL string
	Version string
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// IdempotencyWindow and SettleAfter replace what Stripe documents, for a
	// gateway that runs at another tempo. Defaults 24 h and 10 s.
	IdempotencyWindow time.Duration
	SettleAfter       time.Duration
	UserAgent         string
	Registerer        prometheus.Registerer
	Log               *slog.Logger
}

// Adapter is one account at Stripe. It implements [gateway.Gateway], is safe
// for concurrent use and keeps nothing but connections.
type Adapter struct {
	config Config
	key    func() string // keeps the secret where package fmt cannot print it
	client *gateway.Client
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = 24 * time.Hour
	}
	if c.SettleAfter <= 0 {
		c.SettleAfter = 10 * time.Second
	}
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	key := c.SecretKey
	c.SecretKey = ""
	return &Adapter{config: c, key: key.Reveal, client: gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent, MaxBody: maxAnswer,
		Keep: []string{"Request-Id"}, Redact: []gateway.Secret{key}, Registerer: c.Registerer, Log: log,
	})}
}

// Close drops idle connections.
func (a *Adapter) Close() { a.client.Close() }

// Capabilities says how Stripe differs from others.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:          Provider,
		IdempotencyWindow: a.config.IdempotencyWindow,
		ReplaysErrors:     true,
		LookUp:            true,
		SettleAfter:       a.config.SettleAfter,
		HoldLife:          7 * 24 * time.Hour,
		HoldLives:         holdLives,
		Lists:             true,
	}
}

// Authorize makes a PaymentIntent with manual capture and confirms it at once.
// r.Source is a PaymentMethod (pm_…). Confirmed means that the hold stands.
func (a *Adapter) Authorize(ctx context.Context, r gateway.AuthorizeRequest) models.Evidence {
	amount, err := toStripe(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallAuthorize, "amount_not_representable", err)
	}
	form := url.Values{
		"amount":                 {strconv.FormatInt(amount, 10)},
		"currency":               {strings.ToLower(r.CurrencyCode)},
		"capture_method":         {"manual"},
		"confirm":                {"true"},
		"payment_method_types[]": {"card"},
	}
	if r.Source != "" {
		form.Set("payment_method", r.Source)
	}
	for name, value := range r.Metadata {
		form.Set("metadata["+name+"]", value)
	}
	if r.Reference != "" {
		form.Set("metadata["+metadataAuthorization+"]", r.Reference)
	}
	return a.post(ctx, gateway.CallAuthorize, gateway.Request{Key: r.Key}, "/v1/payment_intents", form)
}

// Capture takes r.AmountCents; the rest of the hold is released, whatever
// r.Final says.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toStripe(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallCapture, "amount_not_representable", err)
	}
	if err := checkHold(r.Hold); err != nil {
		return a.unsendable(gateway.CallCapture, "hold_not_valid", err)
	}
	return a.post(ctx, gateway.CallCapture, r, intentPath(r.Hold)+"/capture", url.Values{
		"amount_to_capture":                   {strconv.FormatInt(amount, 10)},
		"metadata[" + metadataReference + "]": {r.Reference},
	})
}

// Refund gives r.AmountCents of the hold's capture back.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toStripe(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallRefund, "amount_not_representable", err)
	}
	if err := checkHold(r.Hold); err != nil {
		return a.unsendable(gateway.CallRefund, "hold_not_valid", err)
	}
	return a.post(ctx, gateway.CallRefund, r, "/v1/refunds", url.Values{
		"payment_intent":                      {r.Hold},
		"amount":                              {strconv.FormatInt(amount, 10)},
		"metadata[" + metadataReference + "]": {r.Reference},
	})
}

// Void cancels the PaymentIntent.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkHold(r.Hold); err != nil {
		return a.unsendable(gateway.CallVoid, "hold_not_valid", err)
	}
	return a.post(ctx, gateway.CallVoid, r, intentPath(r.Hold)+"/cancel", url.Values{
		"cancellation_reason": {"requested_by_customer"},
	})
}

// LookUp reads the PaymentIntent, of a disputed capture its disputes, or the
// payment's refunds.
func (a *Adapter) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	var ev models.Evidence
	switch err := checkHold(r.Hold); {
	case err != nil:
		ev = models.Evidence{Source: models.FromLookUp, ErrorCode: "hold_not_valid", Message: err.Error(), NextAction: gateway.NextContact}
	case r.Kind == models.Refund:
		ev = a.lookUpRefund(ctx, r)
	case r.Kind == models.Capture:
		ev = a.lookUpCapture(ctx, r)
	default:
		ev = classify(gateway.CallLookUp, r, a.get(ctx, gateway.CallLookUp, intentPath(r.Hold), nil))
	}
	a.client.Count(gateway.CallLookUp, ev.Outcome)
	return ev
}

// Probe reads the balance, which needs the key and moves nothing. Its error
// wraps [gateway.ErrCredentials] exactly when Stripe refused the key.
func (a *Adapter) Probe(ctx context.Context) error {
	answer := a.get(ctx, gateway.CallProbe, "/v1/balance", nil)
	if answer.Phase != gateway.PhaseAnswered {
		return fmt.Errorf("probe stripe account %q: %w", a.config.Account, answer.Err)
	}
	var balance struct {
		Object string `json:"object"`
	}
	switch {
	case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
		return fmt.Errorf("probe stripe account %q: %w: status %d; set a secret key that is valid and not restricted from this",
			a.config.Account, gateway.ErrCredentials, answer.Status)
	case answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &balance) != nil || balance.Object != "balance":
		return fmt.Errorf("probe stripe account %q: got status %d instead of a balance; try again, and check the base URL if it stays", a.config.Account, answer.Status)
	}
	return nil
}

// post sends one request, once.
func (a *Adapter) post(ctx context.Context, call gateway.Label, r gateway.Request, path string, form url.Values) models.Evidence {
	ev := classify(call, r, a.client.Do(ctx, gateway.Call{
		Label: call, Method: http.MethodPost, Path: path, Form: form,
		Header: a.header(), KeyHeader: "Idempotency-Key", Key: r.Key,
	}))
	a.client.Count(call, ev.Outcome)
	return ev
}

func (a *Adapter) get(ctx context.Context, call gateway.Label, path string, query url.Values) gateway.Answer {
	return a.client.Do(ctx, gateway.Call{Label: call, Method: http.MethodGet, Path: path, Query: query, Header: a.header()})
}

func (a *Adapter) header() http.Header {
	return http.Header{
		"Authorization":  {"Bearer " + a.key()},
		"Stripe-Version": {a.config.Version},
	}
}

// unsendable answers for what Stripe's wire cannot express: such an amount, or
// such a hold. Nothing was ever sent like this, and nothing ever will be.
func (a *Adapter) unsendable(call gateway.Label, code string, err error) models.Evidence {
	a.client.Count(call, models.OutcomeRefused)
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code,
		Message: gateway.CleanText(err.Error()), NextAction: gateway.NextCancel,
	}
}

func intentPath(hold string) string { return "/v1/payment_intents/" + url.PathEscape(hold) }

// checkHold refuses what cannot be a PaymentIntent's id. It goes into the path
// of the call, and comes from outside.
func checkHold(hold string) error {
	if len(hold) < 4 || len(hold) > 255 || !strings.HasPrefix(hold, "pi_") || strings.Trim(hold, idLetters) != "" {
		return errors.New("the authorization's gateway id is no PaymentIntent (pi_…); register the hold again under its right id")
	}
	return nil
}

const idLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
