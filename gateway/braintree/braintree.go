package braintree

import (
	"context"
	"encoding/base64"
	"encoding/xml"
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
const Provider = "braintree"

// Where Braintree answers.
const (
	LiveURL    = "https://api.braintreegateway.com"
	SandboxURL = "https://api.sandbox.braintreegateway.com"
)

const (
	apiVersion    = "6"
	requestHeader = "X-Request-Id"
	xmlType       = "application/xml"
)

// Config describes one account at Braintree. MerchantID, PublicKey and
// PrivateKey are required.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account string
	// MerchantID is the gateway account's; PublicKey and PrivateKey are API keys
	// of a user who may submit, void, refund and find transactions.
	MerchantID string
	PublicKey  string
	PrivateKey gateway.Secret
	// BaseURL is LiveURL by default.
	BaseURL string
	// Timeout bounds one request. Default 20 s.
	Timeout time.Duration
	// SettleAfter is how long a call may land after its claim's budget. Default
	// 60 s, as long as Braintree's own libraries wait: no key would stop a refund
	// that is sent while the first is still on its way.
	SettleAfter time.Duration
	// HoldLife is that of a hold of which nothing special is known. Default 7 d.
	HoldLife time.Duration
	// AskAgain is how long a refund waits that needs the settlement. Default 1 h.
	AskAgain   time.Duration
	UserAgent  string
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
	if c.SettleAfter <= 0 {
		c.SettleAfter = 60 * time.Second
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 7 * day
	}
	if c.AskAgain <= 0 {
		c.AskAgain = time.Hour
	}
	return c
}

// Adapter is one account at Braintree. It implements [gateway.Gateway], is safe
// for concurrent use and keeps nothing but connections.
type Adapter struct {
	config Config
	client *gateway.Client
	basic  func() string // where package fmt cannot print it
}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter of one account. It makes no call.
func New(c Config) *Adapter {
	c = c.withDefaults()
	log := c.Log
	if log != nil {
		log = log.With("account", c.Account)
	}
	secret, basic := c.PrivateKey, gateway.Secret(base64.StdEncoding.EncodeToString([]byte(c.PublicKey+":"+c.PrivateKey.Reveal())))
	c.PrivateKey = ""
	return &Adapter{config: c, basic: basic.Reveal, client: gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: c.BaseURL, Timeout: c.Timeout, UserAgent: c.UserAgent,
		Keep: []string{requestHeader}, Redact: []gateway.Secret{secret, basic}, Registerer: c.Registerer, Log: log,
	})}
}

// Close drops idle connections.
func (a *Adapter) Close() { a.client.Close() }

// Capabilities says how Braintree differs from others. IdempotencyWindow is
// zero: nothing protects a call but the look-up before it, and the transaction's
// own status.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:     Provider,
		LookUp:       true,
		SettleAfter:  a.config.SettleAfter,
		HoldLife:     a.config.HoldLife,
		HoldLives:    append([]gateway.HoldLife(nil), holdLives...),
		UndoesByVoid: true,
	}
}

// Authorize is not offered: the payer's means are known to the checkout, as a
// nonce that is good once.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return a.unsendable(gateway.CallAuthorize, "authorize_unsupported",
		errors.New("a Braintree hold is made by the checkout, with the payer's nonce; register its transaction id here"))
}

// submission is what is sent to move money.
type submission struct {
	XMLName xml.Name `xml:"transaction"`
	Amount  string   `xml:"amount"`
	OrderID string   `xml:"order-id"`
}

// Capture submits the hold for settlement, for r.AmountCents. Whatever is above
// is released.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toBraintree(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallCapture, "amount_not_representable", err)
	}
	if err := checkID("hold", r.Hold); err != nil {
		return a.unsendable(gateway.CallCapture, "hold_not_valid", err)
	}
	return a.counted(gateway.CallCapture, a.change(ctx, opCapture, r, submission{Amount: amount, OrderID: r.Reference}))
}

// Refund gives r.AmountCents of the capture back. All of a capture that has not
// settled yet is given back by a void, if r says that it is all. A part of it
// has to wait until it has settled.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	amount, err := toBraintree(r.AmountCents, r.CurrencyCode)
	if err != nil {
		return a.unsendable(gateway.CallRefund, "amount_not_representable", err)
	}
	if err := checkID("hold", r.Hold); err != nil {
		return a.unsendable(gateway.CallRefund, "hold_not_valid", err)
	}
	if r.Capture != r.Hold {
		return a.unsendable(gateway.CallRefund, "capture_not_valid",
			errors.New("the capture is another transaction than its hold, as one in several parts is; refund it in Braintree's control panel"))
	}
	op, body := opRefund, any(submission{Amount: amount, OrderID: r.Reference})
	if r.Whole {
		s := a.read(ctx, gateway.CallLookUp, r)
		if ev := lookedUp(r, s); ev.Outcome != models.OutcomeNone {
			return a.counted(gateway.CallRefund, instead(ev))
		}
		if cents, _, ok := s.sale.taken(); ok && cents == r.AmountCents && s.sale.voidable() {
			op, body = opUndo, nil
		}
	}
	return a.counted(gateway.CallRefund, a.change(ctx, op, r, body))
}

// voidable: a capture that can still be undone whole.
func (t transaction) voidable() bool {
	return t.Status == statusSubmitted || t.Status == statusPending && t.Instrument == "paypal_account" && len(t.Parts) == 0
}

// Void releases the hold. A void of what was captured meanwhile would give the
// money back, and say nothing of it: so the hold is read first.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("hold", r.Hold); err != nil {
		return a.unsendable(gateway.CallVoid, "hold_not_valid", err)
	}
	if ev := lookedUp(r, a.read(ctx, gateway.CallLookUp, r)); ev.Outcome != models.OutcomeNone {
		return a.counted(gateway.CallVoid, instead(ev))
	}
	return a.counted(gateway.CallVoid, a.change(ctx, opVoid, r, nil))
}

// instead is the answer to a call that was not made after a look: what the look
// proves, and that nothing was sent where it proves nothing.
func instead(ev models.Evidence) models.Evidence {
	ev.Source = models.FromAnswer
	switch ev.Outcome {
	case models.OutcomeConfirmed, models.OutcomeRefused, models.OutcomeAccepted:
		return ev
	case models.OutcomeTakenBack:
		ev.TookCents = 0
	}
	ev.AmountCents, ev.CurrencyCode, ev.Outcome = 0, "", models.OutcomeNotSent
	if ev.Status == http.StatusNotFound {
		ev.Class, ev.NextAction = models.ClassConfig, gateway.NextContact
	}
	return ev
}

// change makes the one call that moves money. Where the answer says that the
// transaction is no longer, or not yet, in a status for it, the transaction is
// read: our own call of before may be why.
func (a *Adapter) change(ctx context.Context, op operation, r gateway.Request, body any) models.Evidence {
	method, verb, label := http.MethodPut, "void", gateway.CallVoid
	switch op {
	case opCapture:
		verb, label = "submit_for_settlement", gateway.CallCapture
	case opRefund:
		method, verb, label = http.MethodPost, "refund", gateway.CallRefund
	case opUndo:
		label = gateway.CallRefund
	}
	v := classify(op, r, a.send(ctx, label, method, a.path(r.Hold, verb), body))
	if v.look {
		v = explained(v, lookedUp(r, a.read(ctx, gateway.CallLookUp, r)))
	}
	if v.settles {
		v.RetryAfter = max(v.RetryAfter, a.config.AskAgain)
	}
	return v.Evidence
}

// explained is an answer that only the transaction could explain, with what the
// transaction shows. It is pure.
func explained(v verdict, seen models.Evidence) verdict {
	switch seen.Outcome {
	case models.OutcomeConfirmed, models.OutcomeRefused, models.OutcomeAccepted:
		seen.Source, seen.Status, seen.RequestID = models.FromAnswer, v.Status, v.RequestID
		return verdict{Evidence: seen}
	case models.OutcomeNone:
		if v.otherwise != nil {
			return v.otherwise.applied(v.Evidence)
		}
	}
	return v
}

// Probe asks for a transaction that cannot exist, which needs the keys and moves
// nothing. Its error wraps [gateway.ErrCredentials] exactly when Braintree
// refused them.
func (a *Adapter) Probe(ctx context.Context) error {
	answer := a.send(ctx, gateway.CallProbe, http.MethodGet, a.path("capstan_probe", ""), nil)
	switch {
	case answer.Phase != gateway.PhaseAnswered:
		return fmt.Errorf("probe braintree account %q: %w", a.config.Account, answer.Err)
	case answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden:
		return fmt.Errorf("probe braintree account %q: %w: status %d; set the merchant id and the API keys of this mode, of a user who may settle, void and refund",
			a.config.Account, gateway.ErrCredentials, answer.Status)
	case answer.Status != http.StatusNotFound:
		return fmt.Errorf("probe braintree account %q: got status %d instead of a plain 404; try again, and check the base URL if it stays", a.config.Account, answer.Status)
	}
	return nil
}

// send makes one call. A call without a body is sent with an empty one.
func (a *Adapter) send(ctx context.Context, label gateway.Label, method, path string, body any) gateway.Answer {
	call := gateway.Call{
		Label: label, Method: method, Path: path,
		Header: http.Header{"Authorization": {"Basic " + a.basic()}, "Accept": {xmlType}, "X-ApiVersion": {apiVersion}},
	}
	if method != http.MethodGet {
		call.Raw, call.RawType = []byte{}, xmlType
	}
	if body != nil {
		raw, err := xml.Marshal(body)
		if err != nil {
			return gateway.Answer{Phase: gateway.PhaseNotSent, Err: fmt.Errorf("encode the call: %w", err)}
		}
		call.Raw = raw
	}
	return a.client.Do(ctx, call)
}

func (a *Adapter) path(id, verb string) string {
	path := "/merchants/" + url.PathEscape(a.config.MerchantID) + "/transactions/" + url.PathEscape(id)
	if verb != "" {
		path += "/" + verb
	}
	return path
}

func (a *Adapter) counted(label gateway.Label, ev models.Evidence) models.Evidence {
	a.client.Count(label, ev.Outcome)
	return ev
}

// unsendable answers for what Braintree's wire cannot express. Nothing was ever
// sent like this, and nothing ever will be.
func (a *Adapter) unsendable(label gateway.Label, code string, err error) models.Evidence {
	return a.counted(label, models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code,
		Message: gateway.CleanText(err.Error()), NextAction: gateway.NextCancel,
	})
}

func checkID(what, id string) error {
	if validID(id) && !strings.HasPrefix(id, "-") {
		return nil
	}
	return fmt.Errorf("the %s's gateway id is none of Braintree's (letters and digits); register it again under its right id", what)
}
