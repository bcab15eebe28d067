package external

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/netguard"
	"github.com/capstan-pay/capstan/models"
)

// Provider is this adapter's name in metrics, logs and capabilities.
const Provider = "external"

// SignatureHeader carries the signature of a body: base64 of its HMAC-SHA256 with
// the shared secret. It is the same both ways.
const SignatureHeader = "X-CommerceLayer-Signature"

// KeyHeader carries the idempotency key of a call.
const KeyHeader = "Idempotency-Key"

const (
	// DefaultWindow is how long a receiver must know a call again.
	DefaultWindow = 7 * 24 * time.Hour
	// circuitAfter: more than so many failed calls in a row open the circuit.
	circuitAfter = 30
)

// Config describes one external gateway. Without one of the URLs the operation
// is refused as unsupported.
type Config struct {
	// Account is the slug of the payment gateway, for logs.
	Account                        string
	CaptureURL, VoidURL, RefundURL string
	// SharedSecrets sign: calls are signed with the first, callbacks may be with any.
	SharedSecrets []gateway.Secret
	// AllowPrivate lets calls go to private addresses, to any port and by http:
	// for development.
	AllowPrivate bool
	// Ports may be called beside 443.
	Ports []uint16
	// Describe tells what the ledger knows of a request's operation. Its facts
	// must stay the same for as long as the operation may be sent.
	Describe func(ctx context.Context, r gateway.Request) (Document, error)
	// Timeout bounds one call. Default 20 s.
	Timeout time.Duration
	// IdempotencyWindow is how long the receiver knows a call again. Default 7 days.
	IdempotencyWindow time.Duration
	// HoldLife is how long its holds live as a rule. Default 7 days.
	HoldLife time.Duration
	// TLS replaces the default TLS settings.
	TLS        *tls.Config
	UserAgent  string
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = gateway.DefaultTimeout
	}
	if c.IdempotencyWindow <= 0 {
		c.IdempotencyWindow = DefaultWindow
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 7 * 24 * time.Hour
	}
	return c
}

// Adapter is one external gateway. It implements [gateway.Gateway], is safe for
// concurrent use and keeps nothing but connections.
type Adapter struct {
	config  Config
	guard   netguard.Guard
	targets map[models.Kind]target
	clients []*gateway.Client
	sign    func(body []byte) string // keeps the secret where package fmt cannot print it
}

// target is where one kind of operation goes.
type target struct {
	client *gateway.Client
	url    *url.URL
	err    error // why it cannot be called
}

var _ gateway.Gateway = (*Adapter)(nil)

var labels = map[models.Kind]gateway.Label{models.Capture: gateway.CallCapture, models.Void: gateway.CallVoid, models.Refund: gateway.CallRefund}

// New returns the adapter of one external gateway. It makes no call, and never
// fails: a URL that may not be called makes its calls answer NotSent.
func New(c Config) *Adapter {
	c = c.withDefaults()
	if c.Log != nil {
		c.Log = c.Log.With("account", c.Account)
	}
	a := &Adapter{guard: netguard.Guard{AllowPrivate: c.AllowPrivate, Ports: c.Ports}, targets: map[models.Kind]target{}}
	secrets := c.SharedSecrets
	a.sign = func(body []byte) string { return Sign(body, secrets[0]) }
	if len(secrets) == 0 || secrets[0] == "" {
		a.sign = nil
	}
	for kind, raw := range map[models.Kind]string{models.Capture: c.CaptureURL, models.Void: c.VoidURL, models.Refund: c.RefundURL} {
		if raw != "" {
			a.targets[kind] = a.target(c, raw)
		}
	}
	c.SharedSecrets = nil
	a.config = c
	return a
}

func (a *Adapter) target(c Config, raw string) target {
	u, err := a.guard.URL(raw)
	if err == nil {
		_, err = url.ParseQuery(u.RawQuery)
	}
	if err != nil {
		return target{err: err}
	}
	client := gateway.NewClient(gateway.ClientConfig{
		Provider: Provider, BaseURL: u.Scheme + "://" + u.Host, Timeout: c.Timeout, UserAgent: c.UserAgent, Keep: []string{requestHeader},
		Redact: c.SharedSecrets, DialControl: a.guard.Control, TLS: c.TLS.Clone(), Registerer: c.Registerer, Log: c.Log,
	})
	a.clients = append(a.clients, client)
	return target{client: client, url: u}
}

// Close drops idle connections.
func (a *Adapter) Close() {
	for _, c := range a.clients {
		c.Close()
	}
}

// Capabilities says how the contract differs from other gateways.
func (a *Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{
		Provider:          Provider,
		IdempotencyWindow: a.config.IdempotencyWindow,
		RepeatIsLookUp:    true,
		HoldLife:          a.config.HoldLife,
		CircuitAfter:      circuitAfter,
	}
}

// Authorize is not offered: the merchant's checkout makes the hold.
func (a *Adapter) Authorize(context.Context, gateway.AuthorizeRequest) models.Evidence {
	return refused("authorize_unsupported", "the hold of an external gateway is made by the checkout; register its transaction_token here")
}

// Capture posts the authorization to the capture URL.
func (a *Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	return a.post(ctx, models.Capture, r)
}

// Refund posts the capture to the refund URL.
func (a *Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	return a.post(ctx, models.Refund, r)
}

// Void posts the authorization to the void URL.
func (a *Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	return a.post(ctx, models.Void, r)
}

// LookUp: the contract has none.
func (a *Adapter) LookUp(context.Context, gateway.Request) models.Evidence {
	return gateway.Unasked(Provider)
}

// Reauthorize is not in the contract.
func (a *Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return refused("reauthorize_unsupported", "an external gateway renews no holds")
}

// Describe is not in the contract.
func (a *Adapter) Describe(context.Context, string) (gateway.HoldFacts, error) {
	return gateway.HoldFacts{}, fmt.Errorf("describe a hold at external gateway %q: %w", a.config.Account, gateway.ErrUnsupported)
}

// List is not in the contract.
func (a *Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what external gateway %q booked: %w", a.config.Account, gateway.ErrUnsupported)
}

// Probe connects to every URL's host and says nothing: the contract has no call
// without an effect, so it cannot tell whether the shared secret is right.
func (a *Adapter) Probe(ctx context.Context) error {
	if a.sign == nil {
		return fmt.Errorf("probe external gateway %q: it has no shared secret", a.config.Account)
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	var errs []error
	for kind, t := range a.targets {
		if err := a.reach(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("probe external gateway %q: its %s URL: %w", a.config.Account, kind, err))
		}
	}
	if len(a.targets) == 0 {
		return fmt.Errorf("probe external gateway %q: it has no URL", a.config.Account)
	}
	return errors.Join(errs...)
}

func (a *Adapter) reach(ctx context.Context, t target) error {
	if t.err != nil {
		return t.err
	}
	dialer := &net.Dialer{Control: a.guard.Control}
	port := t.url.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[t.url.Scheme]
	}
	at := net.JoinHostPort(t.url.Hostname(), port)
	var conn net.Conn
	var err error
	if t.url.Scheme == "https" {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: a.config.TLS.Clone()}).DialContext(ctx, "tcp", at)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", at)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// post sends one document, once.
func (a *Adapter) post(ctx context.Context, kind models.Kind, r gateway.Request) models.Evidence {
	r.Kind = kind
	t, ok := a.targets[kind]
	if !ok {
		return refused(string(kind)+"_unsupported", fmt.Sprintf("the external gateway has no %s URL; set one, or do it there and record it here", kind))
	}
	if t.err == nil && a.sign == nil {
		t.err = errors.New("it has no shared secret to sign with")
	}
	if t.err != nil {
		return notSent(fmt.Errorf("the external gateway's %s URL is not called: %w", kind, t.err))
	}
	document, err := a.config.Describe(ctx, r)
	if err != nil {
		return unmade(err)
	}
	raw, err := body(r, document)
	if err != nil {
		return unmade(err)
	}
	path := t.url.EscapedPath()
	if path == "" {
		path = "/"
	}
	answer := t.client.Do(ctx, gateway.Call{
		Label: labels[kind], Method: http.MethodPost, Path: path, Query: t.url.Query(), Raw: raw,
		Header: http.Header{SignatureHeader: {a.sign(raw)}}, KeyHeader: KeyHeader, Key: r.Key,
	})
	ev := classify(r, answer)
	t.client.Count(labels[kind], ev.Outcome)
	return ev
}

// Sign returns the signature of a body.
func Sign(body []byte, secret gateway.Secret) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// notSent answers for what never left.
func notSent(err error) models.Evidence {
	return models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent, Message: gateway.CleanText(err.Error()), NextAction: gateway.NextRetry}
}

// unmade answers for a call that could not be made: that is our own affair, and
// none of the gateway's.
func unmade(err error) models.Evidence {
	ev := notSent(err)
	ev.Class = models.ClassUnmade
	return ev
}

// refused answers for what this gateway cannot do, and never could.
func refused(code, message string) models.Evidence {
	return models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused, ErrorCode: code, Message: message, NextAction: gateway.NextContact}
}
