package paypal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Provider is this adapter's name in metrics, logs and capabilities.
const Provider = "paypal"

// Where PayPal answers.
const (
	LiveURL    = "https://api-m.paypal.com"
	SandboxURL = "https://api-m.sandbox.paypal.com"
)

const (
	keyHeader   = "PayPal-Request-Id"
	debugHeader = "Paypal-Debug-Id"
)

// Config describes one account at PayPal. ClientID and Secret are required.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// ClientID and Secret are those of a REST app that may capture and refund.
	ClientID string
	Secret   gateway.Secret
	// BaseURL is LiveURL by default.
	BaseURL string
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// The rest replaces what PayPal documents, for a gateway that runs at another
	// tempo. Defaults 45 d, 30 s, 29 d and 3 d.
	IdempotencyWindow time.Duration
	SettleAfter       time.Duration
	HoldLife          time.Duration
	HonorPeriod       time.Duration
	UserAgent         string
	// Now tells when a token ends. Default time.Now.
	Now        func() time.Time
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.BaseURL == "" {
		c.BaseURL = LiveURL
	}
	if c.Timeout <= 0 {
		c.Timeout = gateway.DefaultTimeout
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = 45 * 24 * time.Hour
	}
	if c.SettleAfter <= 0 {
		c.SettleAfter = 30 * time.Second
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 29 * 24 * time.Hour
	}
	if c.HonorPeriod <= 0 {
		c.HonorPeriod = 3 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Adapter is one account at PayPal. It implements [gateway.Gateway], is safe
// for concurrent use and keeps nothing but connections and an access token.
type Adapter struct {
	config Config
	client *gateway.Client
	tokens *tokens
	cancel context.CancelFunc
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	c = c.withDefaults()
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	secret, basic := c.Secret, gateway.Secret(base64.StdEncoding.EncodeToString([]byte(c.ClientID+":"+c.Secret.Reveal())))
	c.Secret = ""
	client := gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent,
		Keep: []string{debugHeader}, Redact: []gateway.Secret{secret, basic}, Registerer: c.Registerer, Log: log,
	})
	stop, cancel := context.WithCancel(context.Background())
	reveal := basic.Reveal // a func, where package fmt cannot print it
	return &Adapter{config: c, client: client, cancel: cancel, tokens: &tokens{
		now: c.Now, limit: c.Timeout, stop: stop,
		ask: func(ctx context.Context) gateway.Answer {
			return client.Do(ctx, gateway.Call{
				Label: gateway.CallToken, Method: http.MethodPost, Path: "/v1/oauth2/token",
				Form: url.Values{"grant_type": {"client_credentials"}}, Header: http.Header{"Authorization": {"Basic " + reveal()}},
			})
		},
	}}
}

// Close drops idle connections and ends a request for a token.
func (a *Adapter) Close() {
	a.cancel()
	a.client.Close()
}

// Capabilities says how PayPal differs from others. ReplaysErrors is about
// declined captures, which their key answers for ever; errors never mark a key.
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

// Authorize is not offered: the payer approves a hold at PayPal, so that only a
// checkout can make it.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return a.unsendable(gateway.CallAuthorize, "authorize_unsupported",
		errors.New("a PayPal hold is made by the checkout, where the payer approves it; register its authorization id here"))
}

// captureBody, refundBody and amountBody are what is sent.
type captureBody struct {
	Amount    money  `json:"amount"`
	InvoiceID string `json:"invoice_id"`
	Final     bool   `json:"final_capture"`
}

type refundBody struct {
	Amount    money  `json:"amount"`
	CustomID  string `json:"custom_id"`
	InvoiceID string `json:"invoice_id"`
}

type amountBody struct {
	Amount money `json:"amount"`
}

// Capture takes r.AmountCents. The rest of the hold stays unless r.Final.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toPayPal(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallCapture, "amount_not_representable", err)
	}
	if err := checkID("authorization", r.Hold); err != nil {
		return a.unsendable(gateway.CallCapture, "hold_not_valid", err)
	}
	return a.post(ctx, gateway.CallCapture, r, authorizationPath(r.Hold)+"/capture", captureBody{amount, r.Reference, r.Final})
}

// Refund gives r.AmountCents of r.Capture back.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toPayPal(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallRefund, "amount_not_representable", err)
	}
	if err := errors.Join(checkID("authorization", r.Hold), checkID("capture", r.Capture)); err != nil {
		return a.unsendable(gateway.CallRefund, "capture_not_valid", err)
	}
	return a.post(ctx, gateway.CallRefund, r, capturePath(r.Capture)+"/refund", refundBody{amount, r.Reference, r.Reference})
}

// Void releases the hold, or what captures have left of it. A renewed hold is
// released by the authorization that it renews: PayPal's refusal to void the
// renewal is the proof that nothing was done, and names the way.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("authorization", r.Hold); err != nil {
		return a.unsendable(gateway.CallVoid, "hold_not_valid", err)
	}
	ev := a.post(ctx, gateway.CallVoid, r, authorizationPath(r.Hold)+"/void", struct{}{})
	if ev.Outcome == models.OutcomeRefused && ev.ErrorCode == "CANNOT_BE_VOIDED" {
		return a.voidParent(ctx, r, ev)
	}
	if ev.Outcome == models.OutcomeConfirmed && r.AmountCents < r.HoldCents {
		return a.lessCaptured(ctx, r, ev)
	}
	return ev
}

// lessCaptured answers for a void of what captures had left, whose amount only
// the order tells.
func (a *Adapter) lessCaptured(ctx context.Context, r gateway.Request, ev models.Evidence) models.Evidence {
	if seen := a.lookUp(ctx, r); seen.Outcome == models.OutcomeConfirmed {
		ev.AmountCents = seen.AmountCents
		return ev
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeLost, 0, ""
	ev.Message = "the hold was released, and how much of it could not be read"
	return ev
}

func (a *Adapter) voidParent(ctx context.Context, r gateway.Request, refusal models.Evidence) models.Evidence {
	seen := a.read(ctx, gateway.CallLookUp, r)
	if seen.ok && !seen.listed {
		seen = a.readPaid(ctx, r, seen)
	}
	parent := seen.parent(r.Hold)
	if parent == "" {
		return refusal
	}
	of := r
	of.Hold = parent
	ev := a.post(ctx, gateway.CallVoid, of, authorizationPath(parent)+"/void", struct{}{})
	if ev.Outcome == models.OutcomeConfirmed {
		ev.GatewayTransactionID = r.Hold
		ev.Message = "voided by the authorization that it renews, " + parent
	}
	return ev
}

// Probe fetches a new token and asks for a capture that cannot exist, which
// needs the token and the permission and moves nothing. Its error wraps
// [gateway.ErrCredentials] exactly when PayPal refused one of them.
func (a *Adapter) Probe(ctx context.Context) error {
	a.tokens.forget()
	rep := a.do(ctx, gateway.Call{Label: gateway.CallProbe, Method: http.MethodGet, Path: capturePath("0CAPSTAN0PROBE000")})
	switch {
	case rep.failed != nil && rep.failed.Class == models.ClassConfig:
		return fmt.Errorf("probe paypal account %q: %w: status %d to the client id; set the id and the secret of a REST app of this mode",
			a.config.Account, gateway.ErrCredentials, rep.failed.Status)
	case rep.failed != nil:
		return fmt.Errorf("probe paypal account %q: no access token: %s", a.config.Account, rep.failed.Message)
	case rep.answer.Phase != gateway.PhaseAnswered:
		return fmt.Errorf("probe paypal account %q: %w", a.config.Account, rep.answer.Err)
	case rep.answer.Status == http.StatusUnauthorized || rep.answer.Status == http.StatusForbidden:
		return fmt.Errorf("probe paypal account %q: %w: status %d; give the REST app permission to accept payments",
			a.config.Account, gateway.ErrCredentials, rep.answer.Status)
	}
	if e := parseError(rep.answer.Body); rep.answer.Status != http.StatusNotFound || e == nil {
		return fmt.Errorf("probe paypal account %q: got status %d instead of a plain 404; try again, and check the base URL if it stays",
			a.config.Account, rep.answer.Status)
	}
	return nil
}

// reply is what a call came to: an answer, or why there was no token for it.
type reply struct {
	answer gateway.Answer
	cached bool // the token had been used before
	failed *models.Evidence
}

// do makes one call with a token. A token that PayPal does not take any more is
// forgotten.
func (a *Adapter) do(ctx context.Context, call gateway.Call) reply {
	token, cached, failed := a.tokens.get(ctx)
	if failed != nil {
		return reply{failed: failed}
	}
	call.Header = http.Header{"Authorization": {"Bearer " + token}, "Prefer": {"return=representation"}}
	answer := a.client.Do(ctx, call)
	if answer.Phase == gateway.PhaseAnswered && answer.Status == http.StatusUnauthorized {
		a.tokens.drop(token)
	}
	return reply{answer: answer, cached: cached}
}

// judge classifies a reply. A kept token that is not taken any more says nothing
// about the credentials: the next call comes with a new one.
func (rep reply) judge(call gateway.Label, r gateway.Request) models.Evidence {
	if rep.failed != nil {
		ev := *rep.failed
		ev.Source = models.FromAnswer
		if call == gateway.CallLookUp {
			ev.Source = models.FromLookUp
		}
		return ev
	}
	ev := classify(call, r, rep.answer)
	if rep.cached && ev.Outcome == models.OutcomeNotSent && ev.Status == http.StatusUnauthorized {
		ev.Class, ev.NextAction = "", gateway.NextRetry
	}
	return ev
}

// post sends one request, once.
func (a *Adapter) post(ctx context.Context, call gateway.Label, r gateway.Request, path string, body any) models.Evidence {
	rep := a.do(ctx, gateway.Call{Label: call, Method: http.MethodPost, Path: path, JSON: body, KeyHeader: keyHeader, Key: r.Key})
	ev := rep.judge(call, r)
	a.client.Count(call, ev.Outcome)
	return ev
}

func (a *Adapter) get(ctx context.Context, call gateway.Label, path string) reply {
	return a.do(ctx, gateway.Call{Label: call, Method: http.MethodGet, Path: path})
}

// unsendable answers for what PayPal's wire cannot express. Nothing was ever
// sent like this, and nothing ever will be.
func (a *Adapter) unsendable(call gateway.Label, code string, err error) models.Evidence {
	a.client.Count(call, models.OutcomeRefused)
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code,
		Message: gateway.CleanText(err.Error()), NextAction: gateway.NextCancel,
	}
}

func authorizationPath(id string) string {
	return "/v2/payments/authorizations/" + url.PathEscape(id)
}

func capturePath(id string) string { return "/v2/payments/captures/" + url.PathEscape(id) }

func orderPath(id string) string { return "/v2/checkout/orders/" + url.PathEscape(id) }

func checkID(what, id string) error {
	if validID(id) && !strings.HasPrefix(id, "-") {
		return nil
	}
	return fmt.Errorf("the %s's gateway id is none of PayPal's (capital letters and digits); register it again under its right id", what)
}
