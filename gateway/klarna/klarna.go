package klarna

import (
	"context"
	"encoding/base64"
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
const Provider = "klarna"

// Where Klarna answers: each account belongs to one region. The sandbox is what
// Klarna calls its playground.
const (
	LiveURL                = "https://api.klarna.com"
	LiveNorthAmericaURL    = "https://api-na.klarna.com"
	LiveOceaniaURL         = "https://api-oc.klarna.com"
	SandboxURL             = "https://api.playground.klarna.com"
	SandboxNorthAmericaURL = "https://api-na.playground.klarna.com"
	SandboxOceaniaURL      = "https://api-oc.playground.klarna.com"
)

const (
	keyHeader         = "Klarna-Idempotency-Key"
	correlationHeader = "Klarna-Correlation-Id"
	// maxBody: an order of a thousand lines, in itself and in its captures.
	maxBody = 8 << 20
)

// Config describes one account at Klarna. Username and Password are required.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// Username and Password are one API credential of the Merchant portal.
	Username string
	Password gateway.Secret
	// BaseURL is LiveURL by default, which is Europe's.
	BaseURL string
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// The rest replaces what Klarna documents, for a gateway that runs at another
	// tempo. Defaults 24 h, 2 min and 28 d. How fresh Klarna's reads are is
	// documented nowhere, and that one should not rely on them is: hence the two
	// minutes.
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
	if c.Timeout <= 0 {
		c.Timeout = gateway.DefaultTimeout
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = 24 * time.Hour
	}
	if c.SettleAfter <= 0 {
		c.SettleAfter = 2 * time.Minute
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 28 * 24 * time.Hour
	}
	return c
}

// Adapter is one account at Klarna. It implements [gateway.Gateway], is safe for
// concurrent use and keeps nothing but connections.
type Adapter struct {
	config Config
	client *gateway.Client
	basic  func() string // a func, where package fmt cannot print it
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	c = c.withDefaults()
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	password, basic := c.Password, gateway.Secret(base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password.Reveal())))
	c.Password = ""
	return &Adapter{config: c, basic: basic.Reveal, client: gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent, MaxBody: maxBody,
		Keep: []string{correlationHeader, captureHeader, refundHeader, locationHeader}, Redact: []gateway.Secret{password, basic},
		Registerer: c.Registerer, Log: log,
	})}
}

// Close drops idle connections.
func (a *Adapter) Close() { a.client.Close() }

// Capabilities says how Klarna differs from others.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:          Provider,
		IdempotencyWindow: a.config.IdempotencyWindow,
		ReplaysErrors:     true,
		LookUp:            true,
		SettleAfter:       a.config.SettleAfter,
		MultiCapture:      true,
		HoldLife:          a.config.HoldLife,
		Reauthorize:       true,
	}
}

// Authorize is not offered: the payer agrees to it at Klarna, so that only a
// checkout can make an order.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return a.unsendable(gateway.CallAuthorize, "authorize_unsupported",
		errors.New("a Klarna order is made by the checkout, where the payer agrees to it; register its order id here"))
}

// captureBody and refundBody are what is sent. Capstan knows no order lines;
// Klarna takes a movement without them.
type captureBody struct {
	Amount    int64  `json:"captured_amount"`
	Reference string `json:"reference"`
}

type refundBody struct {
	Amount    int64  `json:"refunded_amount"`
	Reference string `json:"reference"`
}

// Capture takes r.AmountCents. The rest of the order stays authorized, whatever
// r.Final says: only a void releases it.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	cents, err := toKlarna(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallCapture, "amount_not_representable", err)
	}
	if err := checkID("order", r.Hold); err != nil {
		return a.unsendable(gateway.CallCapture, "hold_not_valid", err)
	}
	r.Kind = models.Capture
	return a.move(ctx, gateway.CallCapture, r, "/captures", captureBody{cents, r.Reference})
}

// Refund gives r.AmountCents of the order back. Klarna knows no refund of one
// capture, so r.Capture is not sent.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	cents, err := toKlarna(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallRefund, "amount_not_representable", err)
	}
	if err := checkID("order", r.Hold); err != nil {
		return a.unsendable(gateway.CallRefund, "hold_not_valid", err)
	}
	r.Kind = models.Refund
	return a.move(ctx, gateway.CallRefund, r, "/refunds", refundBody{cents, r.Reference})
}

// move makes a capture or a refund, and reads what became of it where the answer
// does not say.
func (a *Adapter) move(ctx context.Context, call gateway.Label, r gateway.Request, path string, body any) models.Evidence {
	ev := a.post(ctx, call, r, path, body)
	switch {
	case ev.Outcome == models.OutcomeAccepted:
		ev = a.confirm(ctx, r, ev)
	case ev.Outcome == models.OutcomeLost && ev.Answered:
		ev = a.explain(ctx, r, ev)
	}
	a.client.Count(call, ev.Outcome)
	return ev
}

// Probe asks for an order that cannot exist, which needs the credentials and
// moves nothing. Its error wraps [gateway.ErrCredentials] exactly when Klarna
// refused them.
func (a *Adapter) Probe(ctx context.Context) error {
	answer := a.get(ctx, gateway.CallProbe, orderPath("00000000-0000-0000-0000-000000000000"))
	switch {
	case answer.Phase != gateway.PhaseAnswered:
		return fmt.Errorf("probe klarna account %q: %w", a.config.Account, answer.Err)
	case answer.Status == http.StatusUnauthorized:
		return fmt.Errorf("probe klarna account %q: %w: status 401; set the username and password of an API credential of this region and mode",
			a.config.Account, gateway.ErrCredentials)
	}
	if e := parseError(answer.Body); answer.Status != http.StatusNotFound || e == nil {
		return fmt.Errorf("probe klarna account %q: got status %d instead of a plain 404; try again, and check the base URL if it stays",
			a.config.Account, answer.Status)
	}
	return nil
}

// post sends one request, once.
func (a *Adapter) post(ctx context.Context, call gateway.Label, r gateway.Request, path string, body any) models.Evidence {
	return classify(call, a.client.Do(ctx, gateway.Call{
		Label: call, Method: http.MethodPost, Path: orderPath(r.Hold) + path, JSON: body, KeyHeader: keyHeader, Key: r.Key, Header: a.header(),
	}))
}

func (a *Adapter) get(ctx context.Context, call gateway.Label, path string) gateway.Answer {
	return a.client.Do(ctx, gateway.Call{Label: call, Method: http.MethodGet, Path: path, Header: a.header()})
}

func (a *Adapter) header() http.Header {
	return http.Header{"Authorization": {"Basic " + a.basic()}}
}

// unsendable answers for what Klarna's wire cannot express. Nothing was ever
// sent like this, and nothing ever will be.
func (a *Adapter) unsendable(call gateway.Label, code string, err error) models.Evidence {
	a.client.Count(call, models.OutcomeRefused)
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code,
		Message: gateway.CleanText(err.Error()), NextAction: gateway.NextCancel,
	}
}

func orderPath(id string) string { return "/ordermanagement/v1/orders/" + url.PathEscape(id) }

func checkID(what, id string) error {
	if validID(id) {
		return nil
	}
	return fmt.Errorf("the %s's gateway id is none of Klarna's (letters, digits and dashes); register it again under its right id", what)
}
