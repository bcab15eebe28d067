package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/models"
)

// Defaults of [ClientConfig].
const (
	DefaultTimeout   = 20 * time.Second
	DefaultMaxBody   = 1 << 20
	DefaultMaxHeader = 64 << 10
)

// ClientConfig describes a [Client]. Only BaseURL and Provider are required.
type ClientConfig struct {
	// Provider labels metrics and logs: a provider's name, never an account's.
	Provider string
	// BaseURL is scheme and host, with an optional path in front of every call.
	BaseURL string
	// Timeout bounds a call whose context ends later or never. Default 20 s.
	Timeout time.Duration
	// MaxBody and MaxHeader bound an answer, in bytes. Defaults 1 MiB, 64 KiB.
	MaxBody   int64
	MaxHeader int64
	UserAgent string
	// MaxConns bounds the idle connections kept per host. Default 128.
	MaxConns int
	// Keep names the answer's header fields an adapter wants to see beside
	// Content-Type, Date and Retry-After. All others are dropped.
	Keep []string
	// Redact are values that must never appear in an error or a log line.
	Redact []Secret
	// DialControl may refuse an address after it was resolved, before it is
	// connected: see net.Dialer.Control. Nil allows every address.
	DialControl func(network, address string, c syscall.RawConn) error
	// TLS replaces the default TLS settings (system roots, TLS 1.2 or later).
	TLS *tls.Config
	// Registerer receives capstan_attempts_total and capstan_gateway_seconds;
	// the clients of several accounts share them. Nil keeps them private.
	Registerer prometheus.Registerer
	// Log gets one debug line per call. Nil discards.
	Log *slog.Logger
}

// Client is the HTTP client that all adapters share. It sends a request at
// most once, follows no redirect, uses no proxy from the environment, and
// knows whether a request can have left. It is safe for concurrent use.
type Client struct {
	config    ClientConfig
	base      *url.URL
	broken    error // why no call can be made; every answer carries it
	keep      []string
	redact    func(string) string // keeps the secrets where package fmt cannot print them
	transport *http.Transport
	metrics   metrics
	log       *slog.Logger
}

// NewClient never fails: a base URL that cannot be used makes every call
// answer NotSent with the reason, so that one bad account does not keep the
// others from starting.
func NewClient(c ClientConfig) *Client {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxHeader <= 0 {
		c.MaxHeader = DefaultMaxHeader
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 128
	}
	if c.UserAgent == "" {
		c.UserAgent = "capstan"
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cl := &Client{config: c, keep: append([]string{"Content-Type", "Date", "Retry-After"}, c.Keep...), log: c.Log, metrics: newMetrics(c.Registerer)}
	cl.redact, cl.config.Redact = redactor(c.Redact), nil
	if cl.log == nil {
		cl.log = slog.New(slog.DiscardHandler)
	}
	cl.base, cl.broken = parseBase(c.BaseURL)
	dialer := &net.Dialer{Timeout: min(10*time.Second, c.Timeout), KeepAlive: 30 * time.Second, Control: c.DialControl}
	// HTTP/1.1 only: an HTTP/2 transport repeats requests by rules of its own.
	// Compression is not asked for, so nothing here ever expands an answer.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	cl.transport = &http.Transport{
		DialContext:            dialer.DialContext,
		Protocols:              protocols,
		TLSClientConfig:        c.TLS,
		TLSHandshakeTimeout:    min(10*time.Second, c.Timeout),
		DisableCompression:     true,
		MaxIdleConns:           c.MaxConns,
		MaxIdleConnsPerHost:    c.MaxConns,
		IdleConnTimeout:        60 * time.Second,
		MaxResponseHeaderBytes: c.MaxHeader,
	}
	return cl
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil: // the error would quote the URL, and a password in it
		return nil, errors.New("the gateway's base URL cannot be parsed; set one such as https://api.example.com")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, errors.New("the gateway's base URL names no http or https host; set one such as https://api.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the gateway's base URL must not carry credentials, a query or a fragment; configure credentials separately")
	}
	return u, nil
}

// Close drops idle connections. Calls under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Phase says how far a request got.
type Phase int

// The phases. The zero value promises nothing.
const (
	// PhaseSent: a connection was had; the request may have been executed, and
	// no complete answer came back.
	PhaseSent Phase = iota
	// PhaseNotSent: no connection was ever had, so nothing can have left.
	PhaseNotSent
	// PhaseAnswered: a complete answer was read.
	PhaseAnswered
)

func (p Phase) String() string { return [...]string{"sent", "not_sent", "answered"}[p] }

// Call is one request. Form, JSON and Raw exclude each other; a POST needs one
// of them.
type Call struct {
	Label  Label
	Method string
	// Path is appended to the base URL as it is: escape what comes from outside
	// with url.PathEscape.
	Path  string
	Query url.Values
	Form  url.Values
	JSON  any
	// Raw is a JSON body as it is, for a body that is signed; with RawType it is
	// of that content type. Empty, not nil, it is for a call that takes no body:
	// without a key net/http repeats none of those that may have left.
	Raw     []byte
	RawType string
	// Header is added as given.
	Header http.Header
	// KeyHeader and Key are the provider's idempotency header and its value.
	KeyHeader, Key string
}

// Answer is what came back. Status, Header and Body are complete only in
// PhaseAnswered; in PhaseSent Status may still be what was seen before the
// answer broke off, which proves nothing.
type Answer struct {
	Phase  Phase
	Status int
	Header http.Header
	Body   []byte
	// Err says what went wrong, without credentials. It is nil exactly when
	// Phase is PhaseAnswered.
	Err error
}

// Said is why there is no whole answer, fit to be kept; else otherwise.
func (a Answer) Said(otherwise string) string {
	if a.Err != nil {
		return CleanText(a.Err.Error())
	}
	return otherwise
}

// Do sends the request once, within the context and the client's timeout, and
// returns soon after either ends.
func (c *Client) Do(ctx context.Context, call Call) Answer {
	start := time.Now()
	a := c.do(ctx, call)
	took := time.Since(start)
	c.metrics.seconds.WithLabelValues(c.config.Provider, string(call.Label)).Observe(took.Seconds())
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.DebugContext(ctx, "gateway called", "provider", c.config.Provider, "call", call.Label,
			"phase", a.Phase.String(), "status", a.Status, "seconds", took.Seconds(), "error", errText(a.Err))
	}
	return a
}

// Count records what an adapter made of a call's answer.
func (c *Client) Count(label Label, o models.Outcome) {
	c.metrics.attempts.WithLabelValues(c.config.Provider, string(label), o.String()).Inc()
}

func (c *Client) do(ctx context.Context, call Call) Answer {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	track := &tracker{}
	req, err := c.request(track.watch(ctx), call)
	if err != nil {
		return Answer{Phase: PhaseNotSent, Err: c.failure(call, "was not sent", err)}
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		if !track.connected.Load() {
			return Answer{Phase: PhaseNotSent, Err: c.failure(call, "was not sent", cause(ctx, err))}
		}
		return Answer{Phase: PhaseSent, Err: c.failure(call, "got no answer", cause(ctx, err))}
	}
	defer func() { _ = resp.Body.Close() }()
	return c.read(ctx, call, resp)
}

func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	body, kind, err := encode(call)
	if err != nil {
		return nil, err
	}
	u := *c.base
	target, err := url.Parse(strings.TrimSuffix(c.base.EscapedPath(), "/") + call.Path)
	if err != nil || !strings.HasPrefix(call.Path, "/") {
		return nil, errors.New("the path of the call is not valid; it begins with a slash and its parts are escaped")
	}
	u.Path, u.RawPath, u.RawQuery = target.Path, target.RawPath, call.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, call.Method, u.String(), nil)
	if err != nil {
		return nil, errors.New("the call's method or address is not valid")
	}
	for name, values := range call.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	if call.KeyHeader != "" {
		req.Header.Set(call.KeyHeader, call.Key)
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if len(body) > 0 {
		// A body that cannot be rewound is what stops net/http from repeating
		// the request by itself, which it does for requests with an
		// Idempotency-Key header on a connection that broke.
		req.Body, req.GetBody, req.ContentLength = &onceBody{rest: body}, nil, int64(len(body))
	}
	return req, nil
}

// encode refuses a request without a body where the method has an effect: see
// the remark on repeating above.
func encode(call Call) ([]byte, string, error) {
	switch {
	case call.JSON != nil && call.Form != nil, call.Raw != nil && (call.JSON != nil || call.Form != nil):
		return nil, "", errors.New("the call has more than one of a form, a JSON body and a raw one")
	case len(call.Raw) > 0, call.Raw != nil && call.RawType != "" && call.KeyHeader == "" && call.Method != http.MethodGet:
		return call.Raw, cmp.Or(call.RawType, "application/json"), nil
	case call.JSON != nil:
		b, err := json.Marshal(call.JSON)
		if err != nil {
			return nil, "", fmt.Errorf("the call's JSON body cannot be encoded: %w", err)
		}
		return b, "application/json", nil
	case len(call.Form) > 0:
		return []byte(call.Form.Encode()), "application/x-www-form-urlencoded", nil
	case call.Method != http.MethodGet && call.Method != http.MethodHead:
		return nil, "", fmt.Errorf("a %s without a body could be repeated by the transport; give it a form or a JSON body", call.Method)
	}
	return nil, "", nil
}

// read turns a response into an answer. Whatever is not whole stays PhaseSent.
func (c *Client) read(ctx context.Context, call Call, resp *http.Response) Answer {
	a := Answer{Phase: PhaseSent, Status: resp.StatusCode, Header: c.kept(resp.Header)}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		a.Err = c.failure(call, "got no answer", errors.New("the gateway switched protocols"))
		return a
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		a.Err = c.failure(call, "got an answer that cannot be read", errors.New("it is compressed, which was not asked for"))
		return a
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.config.MaxBody+1))
	if err != nil {
		a.Err = c.failure(call, "got a broken answer", cause(ctx, err))
		return a
	}
	if int64(len(body)) > c.config.MaxBody {
		a.Err = c.failure(call, "got an answer that is too large", fmt.Errorf("more than %d bytes", c.config.MaxBody))
		return a
	}
	a.Phase, a.Body = PhaseAnswered, body
	return a
}

func (c *Client) kept(h http.Header) http.Header {
	out := http.Header{}
	for _, name := range c.keep {
		if v := h.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out
}

// failure names what was tried. It holds the call, never its address or headers.
func (c *Client) failure(call Call, what string, err error) error {
	return &callError{text: fmt.Sprintf("%s call to %s %s: %s", call.Label, c.config.Provider, what, c.redact(err.Error())), err: err}
}

// redactor takes the configured secrets out of a text and makes it fit to be
// kept; see [CleanText].
func redactor(secrets []Secret) func(string) string {
	return func(s string) string {
		for _, secret := range secrets {
			if v := secret.Reveal(); v != "" {
				s = strings.ReplaceAll(s, v, masked)
			}
		}
		return CleanText(s)
	}
}

// callError prints redacted text and still answers errors.Is for the context's
// errors, which carry no text of their own.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return e.text }

func (e *callError) Is(target error) bool {
	return (target == context.DeadlineExceeded || target == context.Canceled) && errors.Is(e.err, target)
}

// cause prefers the context's own reason: the transport words it in many ways.
func cause(ctx context.Context, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	return err
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// RetryAfter reads the header of that name, as seconds or as a date measured
// against the answer's own Date, between zero and an hour.
func RetryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return max(0, min(time.Duration(n)*time.Second, time.Hour))
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), time.Hour))
}
