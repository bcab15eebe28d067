package adyen

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
const Provider = "adyen"

// SandboxURL is where Adyen answers for test accounts. A live account's address
// is https://PREFIX-checkout-live.adyenpayments.com/checkout/v72, with its prefix.
const SandboxURL = "https://checkout-test.adyen.com/v72"

const (
	keyHeader       = "Idempotency-Key"
	transientHeader = "Transient-Error"
	requestHeader   = "Pspreference"
)

// What Adyen takes, in bytes.
const (
	maxKey       = 64
	maxReference = 80
)

// Config describes one account at Adyen. APIKey, MerchantAccount and BaseURL are
// required; without a base URL no call can be made.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// APIKey is that of a credential which may modify payments.
	APIKey gateway.Secret
	// MerchantAccount is the account's name at Adyen.
	MerchantAccount string
	// BaseURL is SandboxURL, or the live address with the account's prefix.
	BaseURL string
	// MultiCapture: Adyen has enabled multiple partial captures for the account.
	// Without it the first capture of a part cancels the rest of the hold.
	MultiCapture bool
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// IdempotencyWindow is how long a key is trusted. Default 7 d; Adyen promises more.
	IdempotencyWindow time.Duration
	// HoldLife is how long a hold lives as a rule. Default 28 d.
	HoldLife   time.Duration
	UserAgent  string
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = gateway.DefaultTimeout
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = 7 * 24 * time.Hour
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 28 * 24 * time.Hour
	}
	return c
}

// Adapter is one account at Adyen. It implements [gateway.Gateway], is safe for
// concurrent use and keeps nothing but connections.
type Adapter struct {
	config Config
	client *gateway.Client
	reveal func() string // a func, where package fmt cannot print the key
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	c = c.withDefaults()
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	key := c.APIKey
	c.APIKey = ""
	return &Adapter{config: c, reveal: key.Reveal, client: gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent,
		Keep: []string{transientHeader, requestHeader}, Redact: []gateway.Secret{key}, Registerer: c.Registerer, Log: log,
	})}
}

// Close drops idle connections.
func (a *Adapter) Close() { a.client.Close() }

// Capabilities says how Adyen differs from others.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:          Provider,
		IdempotencyWindow: a.config.IdempotencyWindow,
		ReplaysErrors:     true,
		RepeatIsLookUp:    true,
		MultiCapture:      a.config.MultiCapture,
		HoldLife:          a.config.HoldLife,
		Async:             true,
	}
}

// Authorize is not offered: the payer enters the means of payment in a checkout.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return a.unsendable(gateway.CallAuthorize, "authorize_unsupported",
		errors.New("an Adyen hold is made by the checkout, with manual capture; register its PSP reference here"))
}

// Reauthorize is not offered: adjusting an authorisation is a payment of its own kind at Adyen.
func (a *Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return a.unsendable(gateway.CallReauthorize, "reauthorize_unsupported",
		errors.New("an Adyen hold is not renewed from here; have the payer authorise a new payment"))
}

// LookUp cannot be asked of Adyen.
func (a *Adapter) LookUp(context.Context, gateway.Request) models.Evidence {
	a.client.Count(gateway.CallLookUp, models.OutcomeUnasked)
	return gateway.Unasked(Provider)
}

// Describe cannot be asked of Adyen.
func (a *Adapter) Describe(context.Context, string) (gateway.HoldFacts, error) {
	return gateway.HoldFacts{}, fmt.Errorf("read a payment at adyen: %w", gateway.ErrUnsupported)
}

// List cannot be asked of Adyen; its settlement reports can be imported.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list movements at adyen: %w; import a settlement report", gateway.ErrUnsupported)
}

// amountBody and plainBody are what is sent. The order of their members is part
// of the promise that a request is repeated byte for byte.
type amountBody struct {
	MerchantAccount string `json:"merchantAccount"`
	Amount          money  `json:"amount"`
	Reference       string `json:"reference"`
}

type plainBody struct {
	MerchantAccount string `json:"merchantAccount"`
	Reference       string `json:"reference,omitempty"`
}

// Capture asks for r.AmountCents. What becomes of the rest is the account's
// setting, not the call's: see Config.MultiCapture.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	return a.move(ctx, gateway.CallCapture, r, "captures")
}

// Refund asks for r.AmountCents of the payment's captures to go back.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	return a.move(ctx, gateway.CallRefund, r, "refunds")
}

func (a *Adapter) move(ctx context.Context, call gateway.Label, r gateway.Request, what string) models.Evidence {
	amount, err := toAdyen(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(call, "amount_not_representable", err)
	}
	return a.modify(ctx, call, r, what, amountBody{a.config.MerchantAccount, amount, r.Reference})
}

// Void releases the hold. Where a capture was ever asked of it, the hold may have
// been captured after all, and a reversal undoes either. It never does where only
// the rest of a hold is to be released: a reversal would give the captured part
// back as well.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	what := "cancels"
	if r.CaptureAsked && r.AmountCents == r.HoldCents {
		what = "reversals"
	}
	return a.modify(ctx, gateway.CallVoid, r, what, plainBody{a.config.MerchantAccount, r.Reference})
}

// modify sends one request, once.
func (a *Adapter) modify(ctx context.Context, call gateway.Label, r gateway.Request, what string, body any) models.Evidence {
	switch {
	case !validID(r.Hold):
		return a.unsendable(call, "hold_not_valid", errors.New("the hold's gateway id is no PSP reference of Adyen's (letters and digits); register it again under its right id"))
	case r.Key == "" || len(r.Key) > maxKey:
		return a.unsendable(call, "key_not_valid", fmt.Errorf("the idempotency key is empty or longer than %d characters, and without it nothing may be sent", maxKey))
	case len(r.Reference) > maxReference:
		return a.unsendable(call, "reference_not_valid", fmt.Errorf("the reference is longer than %d characters", maxReference))
	}
	ev := classify(call, a.config.MerchantAccount, r, a.post(ctx, call, r.Hold, what, body, r.Key))
	a.client.Count(call, ev.Outcome)
	return ev
}

func (a *Adapter) post(ctx context.Context, call gateway.Label, hold, what string, body any, key string) gateway.Answer {
	c := gateway.Call{
		Label: call, Method: http.MethodPost, Path: "/payments/" + url.PathEscape(hold) + "/" + what, JSON: body,
		Header: http.Header{"X-Api-Key": {a.reveal()}},
	}
	if key != "" {
		c.KeyHeader, c.Key = keyHeader, key
	}
	return a.client.Do(ctx, c)
}

// probed is no PSP reference and never will be: those have 16 characters.
const probed = "CAPSTAN0PROBE"

// Probe asks for a payment that cannot exist to be cancelled, which needs the key,
// its permission to modify and the merchant account, and moves nothing. Its error
// wraps [gateway.ErrCredentials] exactly when Adyen refused one of them.
func (a *Adapter) Probe(ctx context.Context) error {
	answer := a.post(ctx, gateway.CallProbe, probed, "cancels", plainBody{MerchantAccount: a.config.MerchantAccount}, "")
	if answer.Phase != gateway.PhaseAnswered {
		return fmt.Errorf("probe adyen account %q: %w", a.config.Account, answer.Err)
	}
	e, ok := parseError(answer.Body)
	switch {
	case ok && ruleOf(answer.Status, e.Code, false) == config:
		return fmt.Errorf("probe adyen account %q: %w: status %d, error %s; check the API key, its roles, and the merchant account's name",
			a.config.Account, gateway.ErrCredentials, answer.Status, gateway.CleanText(e.Code))
	case answer.Status == http.StatusUnprocessableEntity && ok, answer.Status == http.StatusCreated:
		return nil
	}
	return fmt.Errorf("probe adyen account %q: got status %d instead of a plain 422; try again, and check the base URL if it stays", a.config.Account, answer.Status)
}

// unsendable answers for what Adyen's wire cannot express. Nothing was ever sent
// like this, and nothing ever will be.
func (a *Adapter) unsendable(call gateway.Label, code string, err error) models.Evidence {
	a.client.Count(call, models.OutcomeRefused)
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code,
		Message: gateway.CleanText(err.Error()), NextAction: gateway.NextCancel,
	}
}
