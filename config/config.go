package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/netguard"
	"github.com/capstan-pay/capstan/models"
)

// CLI is the whole command line.
type CLI struct {
	Log Log `embed:""`

	Dev  Dev  `cmd:"" help:"Everything in one process on an embedded Postgres and Redis, with the sandbox gateway."`
	Demo Demo `cmd:"" help:"A scripted run against the sandbox: orders approved, faults injected, repairs made, books checked."`

	API    Role `cmd:"" name:"api" help:"The HTTP API and the webhooks."`
	Worker Role `cmd:"" help:"Works on tasks: calls gateways, sweeps, delivers webhooks. Serves the admin listener."`
	Relay  Role `cmd:"" help:"Publishes open work to Redis that a crash or a flush left unpublished."`
	All    Role `cmd:"" help:"API, worker and relay in one process."`

	Migrate   Migrate     `cmd:"" help:"Bring the database schema up to date."`
	Reconcile Reconciling `cmd:"" help:"One reconciliation sweep over open work, or a gateway's report compared with the ledger."`
	Audit     Audit       `cmd:"" help:"Check the ledger's invariants; exit status 1 if one does not hold."`
	Tokens    Tokens      `cmd:"" help:"Make, list, rotate and revoke the tokens that clients call with, in the database itself."`
	Retain    Retain      `cmd:"" help:"Detach the history of old months, leaving an anchor that the audit checks; nothing is dropped."`
	Doctor    Doctor      `cmd:"" help:"Check the set-up: database, schema, Redis, credentials."`
	Sandbox   Sandbox     `cmd:"" help:"The sandbox gateway as an HTTP server: Stripe's wire, and every other gateway's below its name, over a book of its own."`
	Health    Health      `cmd:"" help:"Ask a health URL; exit status 0 if it answers 2xx. For containers without curl."`

	Bench      Bench    `cmd:"" help:"The benchmark: Capstan and the usual ways of doing the same work, on a private Postgres and Redis of this machine."`
	BenchChild struct{} `cmd:"" hidden:"" help:"One case of the benchmark, as its parent asks for it on standard input."`

	Report   Report   `cmd:"" help:"What is open, what is wrong, what was done and what needs a person, over the API; exit status 1 if something does."`
	Verdicts Verdicts `cmd:"" help:"See, apply and dismiss what reconciliation found, over the API."`
	Captures Captures `cmd:"" help:"See and repair captures, over the API."`
	Orders   Orders   `cmd:"" help:"Approve orders, over the API."`
}

// Log says how to log.
type Log struct {
	Format string     `enum:"text,json,auto" default:"auto" env:"CAPSTAN_LOG_FORMAT" help:"text, json, or auto: text for dev and demo, json for the roles."`
	Level  slog.Level `default:"INFO" env:"CAPSTAN_LOG_LEVEL" help:"DEBUG, INFO, WARN or ERROR."`
}

// Ledger says where the data is.
type Ledger struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
	RedisURL    gateway.Secret `env:"REDIS_URL" placeholder:"URL" help:"Redis: redis://, rediss://, redis-sentinel://, redis-cluster://."`
	MaxConns    int            `default:"16" env:"CAPSTAN_DATABASE_CONNECTIONS" help:"Size of the Postgres connection pool; statements with pinned plans have one of the same size, batches one of 4, and audits one of 2."`
}

// Validate wants both addresses.
func (l Ledger) Validate() error {
	var errs []error
	if l.DatabaseURL == "" {
		errs = append(errs, errors.New("DATABASE_URL is not set: it names the Postgres that holds the ledger"))
	}
	if l.RedisURL == "" {
		errs = append(errs, errors.New("REDIS_URL is not set: it names the Redis that holds the queue"))
	}
	if l.MaxConns < 2 {
		errs = append(errs, fmt.Errorf("CAPSTAN_DATABASE_CONNECTIONS %d: at least 2", l.MaxConns))
	}
	return errors.Join(errs...)
}

// Listen says where to answer.
type Listen struct {
	API   string `name:"listen" default:"127.0.0.1:8080" env:"CAPSTAN_LISTEN" placeholder:"ADDR" help:"Where the API and the webhooks listen (${default})."`
	Admin string `name:"admin-listen" default:"127.0.0.1:9090" env:"CAPSTAN_ADMIN_LISTEN" placeholder:"ADDR" help:"Where Asynqmon and the metrics listen (${default})."`
}

// Access says who may call.
type Access struct {
	Token gateway.Secret `env:"CAPSTAN_API_TOKEN" placeholder:"TOKEN" help:"The bearer token of API and admin listener, scope admin."`
	Mode  models.Mode    `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live: which orders the token sees, and which money is moved."`
	Rate  Rate           `name:"api-rate" default:"1000" env:"CAPSTAN_API_RATE" placeholder:"N" help:"Requests that each client may send to each process a second; 0 is unbounded, commercelayer has the figures that Commerce Layer documents."`
}

// minToken is the shortest token a production role starts with.
const minToken = 16

// Validate wants a token that cannot be guessed.
func (a Access) Validate() error {
	if len(a.Token) < minToken {
		return fmt.Errorf("CAPSTAN_API_TOKEN: %d characters, at least %d; make one with: openssl rand -hex 32", len(a.Token), minToken)
	}
	return nil
}

// Gateways holds the accounts' credentials, each provider's in a file of its own.
type Gateways struct {
	Stripe      `embed:""`
	PayPal      `embed:""`
	CheckoutCom `embed:""`
	Adyen       `embed:""`
	Braintree   `embed:""`
	Klarna      `embed:""`
	Manual      `embed:""`
	External    `embed:""`

	CommerceLayerSecrets []gateway.Secret `name:"commercelayer-shared-secret" env:"COMMERCELAYER_SHARED_SECRET" placeholder:"SECRET" help:"Shared secrets of Commerce Layer's webhooks."`
	RatePerSecond        float64          `name:"gateway-rate" env:"CAPSTAN_GATEWAY_RATE" default:"0" help:"Calls per second that this process makes to each gateway account; 0 is unbounded."`
	CallsAtOnce          int              `name:"gateway-calls" env:"CAPSTAN_GATEWAY_CALLS" default:"256" help:"Calls that this process has under way to each gateway account at most."`
	ListUnknown          string           `name:"listing-unknown-holds" enum:"report,skip" default:"report" env:"CAPSTAN_LISTING_UNKNOWN_HOLDS" help:"What the gateways list about holds that Capstan never had: report it, or skip it where others use the same account (report, skip)."`
}

// SkipUnknownHolds: what is listed about holds that we never had is left out.
func (g Gateways) SkipUnknownHolds() bool { return g.ListUnknown == "skip" }

// Validate names everything that is wrong, at once. A provider's keeps a live key
// away from test mode and the other way round.
func (g Gateways) Validate(mode models.Mode) error {
	var errs []error
	if g.CallsAtOnce < 1 {
		errs = append(errs, fmt.Errorf("CAPSTAN_GATEWAY_CALLS %d: at least 1", g.CallsAtOnce))
	}
	if g.RatePerSecond < 0 {
		errs = append(errs, fmt.Errorf("CAPSTAN_GATEWAY_RATE %g: not negative", g.RatePerSecond))
	}
	errs = append(errs, g.Stripe.validate(mode), g.PayPal.validate(mode), g.Adyen.validate(mode), g.Braintree.validate(mode), g.CheckoutCom.validate(mode), g.Klarna.validate(mode), g.External.validate(mode))
	return errors.Join(errs...)
}

// baseURL wants an address that can be called, or none.
func baseURL(setting, value string) error {
	if value == "" {
		return nil
	}
	if u, err := url.Parse(value); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("%s %q: must be an http or https URL", setting, value)
	}
	return nil
}

// Pace says how fast and how often.
type Pace struct {
	TimeScale   int           `default:"1" env:"CAPSTAN_TIME_SCALE" help:"Divides every deadline and pause, for tests and demos."`
	Concurrency int           `default:"64" env:"CAPSTAN_CONCURRENCY" help:"Tasks that a worker works on at once."`
	Servers     int           `default:"2" env:"CAPSTAN_SERVERS" help:"Asynq servers that share a worker's tasks; each takes one from Redis at a time."`
	SweepEvery  time.Duration `default:"30s" env:"CAPSTAN_SWEEP_EVERY" help:"Pause between reconciliation sweeps."`
	ListEvery   time.Duration `name:"listing-every" default:"15m" env:"CAPSTAN_LISTING_EVERY" help:"Pause between comparisons of the ledger with what the gateways list themselves; 0 leaves them out."`
	RelayEvery  time.Duration `default:"500ms" env:"CAPSTAN_RELAY_EVERY" help:"Pause between looks for unpublished work."`
	PollEvery   time.Duration `default:"50ms" env:"CAPSTAN_POLL_EVERY" help:"How often an idle worker asks Redis for tasks while it cannot be woken."`
	AuditEvery  time.Duration `default:"1m" env:"CAPSTAN_AUDIT_EVERY" help:"Pause between audits of what is open and recent; 0 is off."`
	AuditAt     string        `default:"03:00" env:"CAPSTAN_AUDIT_AT" placeholder:"HH:MM" help:"When the whole ledger is audited and the days before are anchored, UTC; off turns it off."`
	CancelAfter time.Duration `default:"10m" env:"CAPSTAN_CANCEL_AFTER" help:"How long a changed total must stand before a captured payment, or what is captured above it, is given back."`
}

// Validate names what cannot work.
func (p Pace) Validate() error {
	var errs []error
	if p.TimeScale < 1 || p.TimeScale > 100 {
		errs = append(errs, fmt.Errorf("CAPSTAN_TIME_SCALE %d: from 1 to 100", p.TimeScale))
	}
	if p.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("CAPSTAN_CONCURRENCY %d: at least 1", p.Concurrency))
	}
	if p.Servers < 1 || p.Servers > 32 {
		errs = append(errs, fmt.Errorf("CAPSTAN_SERVERS %d: from 1 to 32", p.Servers))
	}
	for name, d := range map[string]time.Duration{
		"CAPSTAN_SWEEP_EVERY": p.SweepEvery, "CAPSTAN_RELAY_EVERY": p.RelayEvery, "CAPSTAN_POLL_EVERY": p.PollEvery,
	} {
		if d < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s %s: at least 1ms", name, d))
		}
	}
	if p.AuditEvery < 0 || p.AuditEvery > 0 && p.AuditEvery < time.Second {
		errs = append(errs, fmt.Errorf("CAPSTAN_AUDIT_EVERY %s: at least 1s, or 0 for off", p.AuditEvery))
	}
	if _, err := p.auditAt(); err != nil {
		errs = append(errs, err)
	}
	if p.ListEvery != 0 && p.ListEvery < time.Second {
		errs = append(errs, fmt.Errorf("CAPSTAN_LISTING_EVERY %s: at least 1s, or 0 to leave it out", p.ListEvery))
	}
	if p.CancelAfter < 0 {
		errs = append(errs, fmt.Errorf("CAPSTAN_CANCEL_AFTER %s: not negative", p.CancelAfter))
	}
	return errors.Join(errs...)
}

// AuditTime is when the whole ledger is audited, from midnight UTC; nil is never.
func (p Pace) AuditTime() *time.Duration {
	at, _ := p.auditAt()
	return at
}

func (p Pace) auditAt() (*time.Duration, error) {
	if p.AuditAt == "" || p.AuditAt == "off" {
		return nil, nil
	}
	t, err := time.Parse("15:04", p.AuditAt)
	if err != nil {
		return nil, fmt.Errorf("CAPSTAN_AUDIT_AT %q: a time like 03:00, or off", p.AuditAt)
	}
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	return &at, nil
}

// Tempo is the pace of every deadline.
func (p Pace) Tempo() models.Tempo { return models.Tempo{Scale: p.TimeScale} }

// WebhookOut says where finished operations are told.
type WebhookOut struct {
	URL    string         `name:"webhook-url" env:"CAPSTAN_WEBHOOK_URL" placeholder:"URL" help:"Receives a signed webhook for every finished operation and every hold about to end; empty sends none."`
	Secret gateway.Secret `name:"webhook-secret" env:"CAPSTAN_WEBHOOK_SECRET" placeholder:"SECRET" help:"Signs outgoing webhooks (Standard Webhooks): whsec_ and base64, or any text of 16 characters and more."`
	// AllowPrivate is for receivers in a network of one's own, in live mode, too:
	// nobody but the operator names the URL.
	AllowPrivate bool `name:"webhook-allow-private" env:"CAPSTAN_WEBHOOK_ALLOW_PRIVATE" help:"Let outgoing webhooks go to private addresses, to any port and by http: for a receiver in your own network. dev always does."`
}

// Validate wants a secret with a URL.
func (w WebhookOut) Validate() error {
	if w.URL == "" {
		return nil
	}
	if _, err := (netguard.Guard{AllowPrivate: w.AllowPrivate}).URL(w.URL); err != nil {
		return fmt.Errorf("CAPSTAN_WEBHOOK_URL: %w; CAPSTAN_WEBHOOK_ALLOW_PRIVATE=true lets it lead into your own network", err)
	}
	if len(w.Secret) < minToken {
		return fmt.Errorf("CAPSTAN_WEBHOOK_SECRET: at least %d characters are needed to sign for CAPSTAN_WEBHOOK_URL", minToken)
	}
	return nil
}

// Role is a production process.
type Role struct {
	Ledger     `embed:""`
	Listen     `embed:""`
	Access     `embed:""`
	Gateways   `embed:""`
	Pace       `embed:""`
	WebhookOut `embed:""`
	Debug      bool `name:"pprof" env:"CAPSTAN_PPROF" help:"Serve pprof on the admin listener."`
}

// Validate names everything that is wrong, at once.
func (r Role) Validate() error {
	return errors.Join(r.Ledger.Validate(), r.Access.Validate(), r.Gateways.Validate(r.Mode), r.Pace.Validate(), r.WebhookOut.Validate(), address("CAPSTAN_LISTEN", r.Listen.API), address("CAPSTAN_ADMIN_LISTEN", r.Admin))
}

func address(name, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s %q: must be host:port", name, addr)
	}
	return nil
}

// Dev is the whole system in one process.
type Dev struct {
	Listen     `embed:""`
	Gateways   `embed:""`
	Pace       `embed:""`
	WebhookOut `embed:""`
	Sandbox    string         `name:"sandbox-listen" default:"127.0.0.1:9100" env:"CAPSTAN_SANDBOX_LISTEN" placeholder:"ADDR" help:"Where the sandbox gateway listens (${default})."`
	Data       string         `default:".capstan" env:"CAPSTAN_DATA" type:"path" help:"Where Postgres, Redis and the sandbox keep their data."`
	Ephemeral  bool           `help:"Use fresh data and remove it at the end."`
	Token      gateway.Secret `default:"dev" env:"CAPSTAN_DEV_TOKEN" placeholder:"TOKEN" help:"The bearer token, scope admin (dev)."`
	Rate       Rate           `name:"api-rate" default:"1000" env:"CAPSTAN_API_RATE" placeholder:"N" help:"Requests that each client may send a second; 0 is unbounded, commercelayer has the figures that Commerce Layer documents."`
	Database   gateway.Secret `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"Use this Postgres instead of an embedded one."`
	Redis      gateway.Secret `name:"redis-url" env:"REDIS_URL" placeholder:"URL" help:"Use this Redis instead of an embedded one."`
}

// Validate names everything that is wrong, at once.
func (d Dev) Validate() error {
	d.WebhookOut.AllowPrivate = true
	return errors.Join(d.Gateways.Validate(models.Test), d.Pace.Validate(), d.WebhookOut.Validate(), address("--listen", d.Listen.API), address("--admin-listen", d.Admin), address("--sandbox-listen", d.Sandbox))
}

// Demo is the scripted run.
type Demo struct {
	Orders    int  `default:"200" help:"How many orders; at least 200 for every story to be told."`
	TimeScale int  `default:"12" env:"CAPSTAN_TIME_SCALE" help:"Divides every deadline, so that repairs that take minutes take seconds."`
	JSON      bool `name:"json" help:"Print the result as JSON."`
	Keep      bool `help:"Keep serving after the run, to look around in Asynqmon and the API; Ctrl-C ends it."`
}

// Validate bounds the run.
func (d Demo) Validate() error {
	var errs []error
	if d.Orders < 20 || d.Orders > 20_000 {
		errs = append(errs, fmt.Errorf("--orders %d: from 20 to 20000", d.Orders))
	}
	if d.TimeScale < 1 || d.TimeScale > 60 {
		errs = append(errs, fmt.Errorf("CAPSTAN_TIME_SCALE %d: from 1 to 60 for the demo", d.TimeScale))
	}
	return errors.Join(errs...)
}

// Bench measures.
type Bench struct {
	Captures int           `default:"20000" help:"How many captures each run works off."`
	Reps     int           `default:"5" help:"How many times each case is repeated."`
	Cases    []string      `placeholder:"NAME" help:"Which cases, comma-separated; all of them without it. --cases list names them."`
	Samples  int           `default:"300" help:"How many approvals the case latency times, at 10 a second."`
	Quiet    time.Duration `default:"60s" help:"How long the case idle watches a worker that has nothing to do."`
	Memory   int           `default:"100000" placeholder:"CAPTURES" help:"How many captures the case memory works off."`
	Ledger   int           `default:"0" placeholder:"CAPTURES" help:"Also run in a ledger that holds so many finished captures."`
	Peers    string        `type:"path" placeholder:"PROGRAM" help:"The program with the peers; without it, capstan-peers beside this one."`
	Tune     bool          `help:"Look for the best settings of every peer first."`
	NoAudit  bool          `help:"Leave the whole ledger's audit after each case's first run out; every run's rows are verified all the same."`
	Profile  string        `type:"path" placeholder:"DIR" help:"Write a CPU profile of each case's first run."`
	Data     string        `type:"path" placeholder:"DIR" help:"Where the private Postgres and Redis keep their data, which is removed in the end; the temporary directory without it."`
	JSON     bool          `name:"json" help:"Print the result as JSON."`
}

// Validate bounds the runs.
func (b Bench) Validate() error {
	var errs []error
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"--captures", b.Captures, 100, 1_000_000}, {"--reps", b.Reps, 1, 100}, {"--samples", b.Samples, 10, 100_000},
		{"--memory", b.Memory, 100, 10_000_000}, {"--ledger", b.Ledger, 0, 100_000_000},
	} {
		if n.value < n.low || n.value > n.high {
			errs = append(errs, fmt.Errorf("%s %d: from %d to %d", n.flag, n.value, n.low, n.high))
		}
	}
	if b.Quiet < time.Second {
		errs = append(errs, fmt.Errorf("--quiet %s: at least 1s", b.Quiet))
	}
	return errors.Join(errs...)
}

// Migrate brings the schema up to date.
type Migrate struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" required:"" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
}

// Reconcile is one sweep.
type Reconcile struct {
	Ledger   `embed:""`
	Gateways `embed:""`
	Pace     `embed:""`
	Mode     models.Mode   `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live."`
	Once     bool          `help:"Sweep once, wait until what it found has an outcome, report, and exit with 1 if something is still open."`
	DryRun   bool          `help:"Show what a sweep would find, asking the gateways but changing nothing."`
	Wait     time.Duration `default:"2m" help:"How long --once waits for outcomes."`
	JSON     bool          `name:"json" help:"Print the report as JSON."`

	LookFirst `embed:""`
}

// LookFirst begins or ends the mode for a restored database.
type LookFirst struct {
	On      bool          `name:"look-first" xor:"look-first" help:"After a restore: look everything up before it is sent, for a while. Workers do this by themselves when they notice a restore."`
	Off     bool          `name:"look-first-off" xor:"look-first" help:"End what --look-first began, or a worker that noticed a restore."`
	For     time.Duration `name:"for" default:"25h" help:"How long --look-first lasts (${default})."`
	Gateway string        `name:"gateway" placeholder:"SLUG" help:"The account that --look-first and --look-first-off are for; all of them without it."`
}

// Validate bounds the time.
func (l LookFirst) Validate() error {
	if l.On && (l.For < time.Minute || l.For > 90*24*time.Hour) {
		return fmt.Errorf("--for %s: from 1m to 2160h", l.For)
	}
	return nil
}

// Audit checks the ledger.
type Audit struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" required:"" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
	JSON        bool           `name:"json" help:"Print the result as JSON."`
	TimeScale   int            `default:"1" env:"CAPSTAN_TIME_SCALE" help:"As the workers have it: how long anything may wait depends on it."`

	Check   AuditCheck   `cmd:"" default:"withargs" help:"Check the ledger's invariants; exit status 1 if one does not hold."`
	Anchors AuditAnchors `cmd:"" help:"List the anchors of days, newest first."`
}

// AuditCheck says what to check.
type AuditCheck struct {
	Gateways `embed:""`
	Mode     models.Mode   `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live."`
	Recent   bool          `help:"Only the orders with open work and those on which something happened since the last such audit, an hour back at most."`
	Offline  bool          `help:"The ledger is a copy, or its workers stand still: nothing is broken for waiting, nobody is kept away, and nothing is written."`
	Books    bool          `name:"gateways" help:"Also compare the gateways' books with ours, both ways (I4)."`
	Since    time.Duration `default:"24h" help:"How far back --gateways compares (${default})."`
}

// Validate bounds the comparison.
func (a AuditCheck) Validate() error {
	if a.Since < time.Minute {
		return fmt.Errorf("--since %s: at least 1m", a.Since)
	}
	return nil
}

// AuditAnchors says how many.
type AuditAnchors struct {
	Size int `default:"31" help:"How many (${default})."`
}

// Retain detaches old history.
type Retain struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" required:"" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
	OlderThan   int            `default:"13" placeholder:"MONTHS" help:"How many whole months of history to keep beside the current one (${default})."`
	DryRun      bool           `help:"Show what would be detached, and what stands against it, and change nothing."`
	JSON        bool           `name:"json" help:"Print the report as JSON."`
}

// Validate keeps the current month, and the one before.
func (r Retain) Validate() error {
	if r.OlderThan < 1 {
		return fmt.Errorf("--older-than %d: at least 1 month", r.OlderThan)
	}
	return nil
}

// Doctor checks the set-up.
type Doctor struct {
	Ledger   `embed:""`
	Gateways `embed:""`
	Mode     models.Mode `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live."`
	JSON     bool        `name:"json" help:"Print the result as JSON."`
}

// Sandbox is the sandbox gateway alone.
type Sandbox struct {
	Listen        string         `name:"sandbox-listen" default:"127.0.0.1:9100" env:"CAPSTAN_SANDBOX_LISTEN" placeholder:"ADDR" help:"Where to listen (${default})."`
	Data          string         `env:"CAPSTAN_DATA" type:"path" placeholder:"DIR" help:"Where to keep the book; empty keeps it in memory."`
	WebhookURL    string         `env:"CAPSTAN_SANDBOX_WEBHOOK_URL" placeholder:"URL" help:"Where to send events."`
	WebhookSecret gateway.Secret `env:"STRIPE_WEBHOOK_SECRET" placeholder:"SECRET" help:"Signs the events."`
}

// Health asks a URL.
type Health struct {
	URL string `arg:"" help:"For example http://127.0.0.1:8080/healthz."`
}

// Remote says which API the operator's commands call.
type Remote struct {
	URL   string         `name:"api-url" default:"http://127.0.0.1:8080" env:"CAPSTAN_API_URL" placeholder:"URL" help:"The API (${default})."`
	Token gateway.Secret `default:"dev" env:"CAPSTAN_API_TOKEN" placeholder:"TOKEN" help:"The bearer token (dev)."`
	JSON  bool           `name:"json" help:"Print JSON."`
}

// Captures are the operator's hands on captures.
type Captures struct {
	Remote  `embed:""`
	List    CapturesList  `cmd:"" help:"List captures, newest first."`
	Show    CaptureShow   `cmd:"" help:"One capture with its history."`
	Check   CaptureIDs    `cmd:"" help:"Compare captures with the gateway's book, without acting; exit status 1 if one differs or cannot be compared."`
	Forward CaptureID     `cmd:"" help:"Record, with proof from the gateway, that a stuck capture succeeded."`
	Cancel  CaptureID     `cmd:"" help:"Give the money of a mismatched capture back."`
	Retry   CaptureID     `cmd:"" help:"Look at an open capture now and clear its flag; look a failed one up, then ask for it anew."`
	Assert  CaptureWord   `cmd:"" help:"Say, and answer for it, that a capture took effect or that it did not, where its gateway cannot be asked; needs a token of scope admin."`
	Ack     CaptureID     `cmd:"" name:"acknowledge" help:"Clear the flag of a finished capture that a person has dealt with."`
	Refund  CaptureRefund `cmd:"" help:"Refund a capture, in full or in part."`
}

// CapturesList selects captures.
type CapturesList struct {
	Order     string `placeholder:"ID" help:"Of one order."`
	State     string `placeholder:"STATE" help:"In one state: pending, capturing, submitted, unknown, succeeded, failed, cancelled, reset, reversed."`
	Attention bool   `help:"Only those that wait for a person."`
	Size      int    `default:"25" help:"How many, at most 25."`
	Page      int    `default:"1" help:"Which page."`
}

// CaptureID names a capture, and says why.
type CaptureID struct {
	ID     string `arg:"" help:"The capture's id."`
	Reason string `placeholder:"TEXT" help:"Why; the history keeps it."`
}

// CaptureWord names an operation, and says what became of it.
type CaptureWord struct {
	ID        string `arg:"" help:"The capture's id, or with --kind that of a refund or a void."`
	Kind      string `enum:"capture,refund,void" default:"capture" help:"capture, refund or void (${default})."`
	Succeeded bool   `xor:"word" required:"" help:"It took effect."`
	Failed    bool   `xor:"word" required:"" help:"It did not take effect, and never will."`
	Manual    bool   `help:"A person did it, and not its gateway, which is not asked about it: with --succeeded, of what was never sent."`
	Reason    string `required:"" placeholder:"TEXT" help:"Why; the history keeps it."`
	By        string `env:"CAPSTAN_BY" placeholder:"NAME" help:"Your name, kept beside the token's."`
}

// Validate keeps what means nothing apart.
func (c CaptureWord) Validate() error {
	if c.Manual && (c.Failed || c.Kind == "void") {
		return errors.New("--manual goes with --succeeded, for a capture or a refund")
	}
	return nil
}

// CaptureShow names a capture.
type CaptureShow struct {
	ID string `arg:"" help:"The capture's id."`
}

// Validate keeps 0 from meaning everything.
func (c CaptureRefund) Validate() error {
	if c.Amount != nil && *c.Amount < 1 {
		return fmt.Errorf("--amount %d: at least 1; leave it out to refund all that is left", *c.Amount)
	}
	if c.Manual && c.Reason == "" {
		return errors.New("--reason: say why; the history keeps it beside your name")
	}
	return nil
}

// CaptureRefund names a capture and an amount.
type CaptureRefund struct {
	ID     string `arg:"" help:"The capture's id."`
	Amount *int64 `placeholder:"CENTS" help:"In minor units, at least 1; all that is left without it."`
	Manual bool   `help:"A person gave the money back already: record that, and ask the gateway for nothing. Needs a token of scope admin."`
	Reason string `placeholder:"TEXT" help:"Why; the history keeps it."`
	By     string `env:"CAPSTAN_BY" placeholder:"NAME" help:"Your name, kept beside the token's."`
}

// Orders are the operator's hands on orders.
type Orders struct {
	Remote  `embed:""`
	Approve OrderIDs `cmd:"" help:"Approve orders."`
}

// OrderIDs names orders.
type OrderIDs struct {
	IDs []string `arg:"" name:"id" help:"The orders' ids."`
}

// ErrHelp: help was printed instead of a command.
var ErrHelp = errors.New("help was asked for")

// exit is how kong leaves after printing help.
type exit int

// Parse reads args and the environment, and validates the chosen command. The
// command's name comes back: "dev", "captures list".
func Parse(args []string, stdout, stderr io.Writer) (cli CLI, command string, err error) {
	defer func() {
		if code, ok := recover().(exit); ok {
			err = ErrHelp
			if code != 0 {
				err = fmt.Errorf("usage: exit %d", code)
			}
		}
	}()
	parser, err := kong.New(&cli, kong.Name("capstan"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(exit(code)) }),
		kong.Description("Capstan captures the payment of every approved order exactly once, finds the captures that got stuck or went wrong, repairs them, and can prove it."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return cli, "", err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return cli, "", err
	}
	words := strings.Fields(ctx.Command())
	for _, w := range words {
		if !strings.HasPrefix(w, "<") {
			command = strings.TrimSpace(command + " " + w)
		}
	}
	return cli, command, nil
}
