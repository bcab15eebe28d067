package checkoutcom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Provider is this adapter's name in metrics, logs and capabilities.
const Provider = "checkoutcom"

// Where Checkout.com answers. An account may have a host of its own in front:
// https://{prefix}.api.checkout.com.
const (
	LiveURL    = "https://api.checkout.com"
	SandboxURL = "https://api.sandbox.checkout.com"
)

const (
	keyHeader     = "Cko-Idempotency-Key"
	requestHeader = "Cko-Request-Id"
)

// Config describes one account at Checkout.com. SecretKey is required.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// SecretKey is sk_…, or sk_sbox_… of a test account. It may read payments and
	// capture, void and refund them.
	SecretKey gateway.Secret
	// BaseURL is LiveURL by default.
	BaseURL string
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// The rest replaces what Checkout.com documents, for a gateway that runs at
	// another tempo. Defaults 24 h, 2 min and 7 d.
	//
	// SettleAfter is far longer than an action takes: Checkout.com asks to wait 30 s
	// before a request is repeated, since the first may be under way for so long, and
	// an accepted action stands in the payment's list only when it is decided.
	IdempotencyWindow time.Duration
	SettleAfter       time.Duration
	HoldLife          time.Duration
	UserAgent         string
	Registerer        prometheus.Registerer
	Log               *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.BaseURL == "" {
		c.BaseURL = LiveURL
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = 24 * time.Hour
	}
	if c.SettleAfter <= 0 {
		c.SettleAfter = 2 * time.Minute
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 7 * 24 * time.Hour
	}
	return c
}

// Adapter is one account at Checkout.com. It implements [gateway.Gateway], is
// safe for concurrent use and keeps nothing but connections.
type Adapter struct {
	config Config
	key    func() string // keeps the secret where package fmt cannot print it
	client *gateway.Client
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	c = c.withDefaults()
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	key := c.SecretKey
	c.SecretKey = ""
	return &Adapter{config: c, key: key.Reveal, client: gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent,
		Keep: []string{requestHeader}, Redact: []gateway.Secret{key}, Registerer: c.Registerer, Log: log,
	})}
}

// Close drops idle connections.
func (a *Adapter) Close() { a.client.Close() }

// Capabilities says how Checkout.com differs from others. ReplaysErrors is about
// actions that were accepted and then declined: their key answers with the
// acceptance for as long as it is kept. Errors never mark a key.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:          Provider,
		IdempotencyWindow: a.config.IdempotencyWindow,
		ReplaysErrors:     true,
		LookUp:            true,
		SettleAfter:       a.config.SettleAfter,
		MultiCapture:      true,
		HoldLife:          a.config.HoldLife,
		Async:             true,
	}
}

// Authorize is not offered: a checkout collects the payer's means and requests
// the payment.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return a.unsendable(gateway.CallAuthorize, "authorize_unsupported",
		errors.New("a hold at Checkout.com is a payment that the checkout requests with capture false; register its id here"))
}

// Capture takes r.AmountCents. The rest of the hold stays unless r.Final.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toWire(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallCapture, "amount_not_representable", err)
	}
	body := captureBody{Amount: amount, Type: "NonFinal", Reference: r.Reference, Metadata: metadata{r.Reference, r.Key}}
	if r.Final {
		body.Type = "Final"
	}
	return a.post(ctx, gateway.CallCapture, r, "/captures", body)
}

// Refund gives r.AmountCents of the payment back. Checkout.com counts refunds by
// payment, so that r.Capture is not needed.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toWire(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallRefund, "amount_not_representable", err)
	}
	return a.post(ctx, gateway.CallRefund, r, "/refunds", refundBody{amount, r.Reference, metadata{r.Reference, r.Key}})
}

// Void releases the hold, or what captures have left of it.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	return a.post(ctx, gateway.CallVoid, r, "/voids", voidBody{r.Reference, metadata{r.Reference, r.Key}})
}

// post sends one request, once. A payment that is not in a state for it is read:
// where that shows that the operation can never be made, that is the answer.
func (a *Adapter) post(ctx context.Context, call gateway.Label, r gateway.Request, part string, body any) models.Evidence {
	if err := checkHold(r.Hold); err != nil {
		return a.unsendable(call, "hold_not_valid", err)
	}
	ev := classify(call, r, a.client.Do(ctx, gateway.Call{
		Label: call, Method: http.MethodPost, Path: paymentPath(r.Hold) + part, JSON: body,
		Header: a.header(), KeyHeader: keyHeader, Key: r.Key,
	}))
	if ev.Status == http.StatusForbidden && ev.Outcome == models.OutcomeLost {
		if seen := a.lookUp(ctx, r); seen.Outcome == models.OutcomeRefused {
			seen.Source, seen.Status, seen.RequestID = models.FromAnswer, ev.Status, ev.RequestID
			ev = seen
		}
	}
	a.client.Count(call, ev.Outcome)
	return ev
}

func (a *Adapter) get(ctx context.Context, call gateway.Label, path string) gateway.Answer {
	return a.client.Do(ctx, gateway.Call{Label: call, Method: http.MethodGet, Path: path, Header: a.header()})
}

func (a *Adapter) header() http.Header {
	return http.Header{"Authorization": {"Bearer " + a.key()}}
}

// Probe asks for a payment that cannot exist, which needs the key and moves
// nothing. Its error wraps [gateway.ErrCredentials] exactly when Checkout.com
// refused the key.
func (a *Adapter) Probe(ctx context.Context) error {
	answer := a.get(ctx, gateway.CallProbe, paymentPath("pay_capstanprobeaaaaaaaaaaaaaa"))
	switch {
	case answer.Phase != gateway.PhaseAnswered:
		return fmt.Errorf("probe checkout.com account %q: %w", a.config.Account, answer.Err)
	case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
		return fmt.Errorf("probe checkout.com account %q: %w: status %d; set a secret key of this mode that may read, capture, void and refund payments",
			a.config.Account, gateway.ErrCredentials, answer.Status)
	case answer.Status != http.StatusNotFound || parseError(answer.Body) == nil:
		return fmt.Errorf("probe checkout.com account %q: got status %d instead of a plain 404; try again, and check the base URL if it stays",
			a.config.Account, answer.Status)
	}
	return nil
}

// unsendable answers for what Checkout.com's wire cannot express. Nothing was
// ever sent like this, and nothing ever will be.
func (a *Adapter) unsendable(call gateway.Label, code string, err error) models.Evidence {
	a.client.Count(call, models.OutcomeRefused)
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code, Message: cleaned(err.Error()), NextAction: gateway.NextCancel,
	}
}

func paymentPath(id string) string { return "/payments/" + url.PathEscape(id) }

func checkHold(id string) error {
	if validID(id) {
		return nil
	}
	return errors.New("the authorization's gateway id is no payment of Checkout.com's (pay_…); register it again under its right id")
}
