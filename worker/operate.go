package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// ledger is the part of the store that an operation needs: a store.Committer.
// Tests wrap the real one to lose answers.
type ledger interface {
	ClaimAll(ctx context.Context, kind models.Kind, ids []string, owner string) ([]store.Claim, error)
	ClaimSend(ctx context.Context, look store.Outcome) (store.Claim, error)
	WhyNot(ctx context.Context, kind models.Kind, id, worker string) error
	Unbundle(ctx context.Context, ids []string) error
	Record(ctx context.Context, o store.Outcome) error
	Release(ctx context.Context, c store.Claim, worker, why string, wait time.Duration) error
}

// Step names a point in an operation where a crash is tried.
type Step string

// The steps, in order.
const (
	StepClaimed  Step = "claimed"  // the claim is committed, nothing was called
	StepLooked   Step = "looked"   // the gateway told what it has, nothing is recorded
	StepSending  Step = "sending"  // a claim that looked became one that sends
	StepAnswered Step = "answered" // the call ended, nothing is recorded
	StepRecorded Step = "recorded" // the outcome is committed, the task is not acknowledged
)

// Runner works operations, one by one and in batches. It is safe for concurrent use.
type Runner struct {
	ledger ledger
	// committer is the ledger, without what a test puts before it.
	committer *store.Committer
	intake    *intake
	store     *store.Store
	accounts  map[string]*account
	tempo     models.Tempo
	name      string
	log       *slog.Logger
	at        func(Step)
	listing   store.ListingSpan
	// skipUnknown: lines about holds that we never had are only counted.
	skipUnknown bool
}

// RunnerConfig is what a Runner needs.
type RunnerConfig struct {
	Store    *store.Store
	Accounts gateway.Accounts
	// Name tells this worker apart in leases and history.
	Name string
	Log  *slog.Logger
	// RatePerSecond bounds the calls to each account; 0 is unbounded.
	RatePerSecond float64
	// CallsAtOnce bounds the calls under way to each account; 0 means 256.
	CallsAtOnce int
	// InFlight bounds the captures that batches have claimed and not finished; 0 means 4096.
	InFlight int
	// Listing replaces which time a comparison with a gateway's list covers.
	Listing *store.ListingSpan
	// SkipUnknownHolds: what a gateway's list tells about holds that we never had is
	// only counted, for accounts that others use, too.
	SkipUnknownHolds bool
	// AtStep, if set, is called at each step of each operation. Fault tests end
	// the process there.
	AtStep func(Step)
}

// NewRunner returns a Runner.
func NewRunner(c RunnerConfig) *Runner {
	if c.CallsAtOnce == 0 {
		c.CallsAtOnce = defaultCalls
	}
	if c.InFlight == 0 {
		c.InFlight = defaultInFlight
	}
	committer := store.NewCommitter(c.Store, c.Name)
	r := &Runner{
		ledger: committer, committer: committer, intake: newIntake(c.InFlight), store: c.Store, accounts: map[string]*account{}, tempo: c.Store.Tempo(), name: c.Name, log: c.Log, at: c.AtStep,
	}
	if r.at == nil {
		r.at = func(Step) {}
	}
	r.listing, r.skipUnknown = listingSpan(r.tempo), c.SkipUnknownHolds
	if c.Listing != nil {
		r.listing = *c.Listing
	}
	for slug, g := range c.Accounts {
		r.accounts[slug] = newAccount(slug, g, c)
	}
	return r
}

// Run works on one operation as far as it goes now. Nil means that it ended or
// waits for something that is no task's business; a [later] error says when to
// come again.
func (r *Runner) Run(ctx context.Context, kind models.Kind, id string) error {
	claims, err := r.ledger.ClaimAll(ctx, kind, []string{id}, r.name)
	if err != nil {
		return err
	}
	if len(claims) == 0 {
		return r.notClaimed(ctx, kind, id)
	}
	return r.work(ctx, claims[0])
}

func (r *Runner) notClaimed(ctx context.Context, kind models.Kind, id string) error {
	err := r.ledger.WhyNot(ctx, kind, id, r.name)
	if notYet, ok := errors.AsType[*store.NotYet](err); ok {
		return &later{reason: notYet.Reason, at: notYet.At}
	}
	if _, ok := errors.AsType[*store.Done](err); ok {
		return nil
	}
	return err
}

// work takes a fresh claim through look and send to its outcome.
//
// If the process dies anywhere below, the claim's lease runs out and the sweep
// brings the row back. It may have been sent, so the next claim looks first.
func (r *Runner) work(ctx context.Context, c store.Claim) error {
	r.at(StepClaimed)
	a, ok := r.accounts[c.Account]
	if !ok {
		return r.release(ctx, c, "no adapter is configured here for the gateway account "+c.Account, r.tempo.Of(30*time.Second))
	}
	if c.Look {
		ev, d := r.look(ctx, a, c)
		r.at(StepLooked)
		if !d.Send {
			return r.record(ctx, c, ev, d, true)
		}
		// Conclusively nothing there. The intent to send is committed anew, under
		// a fresh lease, with everything that could stand against it read again.
		sending, err := r.ledger.ClaimSend(ctx, store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: r.name})
		if errors.Is(err, store.ErrStale) {
			return r.release(ctx, c, "something came to stand against sending", 0)
		}
		if err != nil {
			return err
		}
		c = sending
		r.at(StepSending)
	}
	return r.send(ctx, a, c)
}

// send makes the one call that may move money.
func (r *Runner) send(ctx context.Context, a *account, c store.Claim) error {
	leave, wait, why := a.enter(ctx, r.until(ctx, c))
	if why != "" {
		return r.release(ctx, c, why, wait)
	}
	defer leave()
	if !c.Enough(r.tempo) {
		return r.release(ctx, c, "too little of the lease was left to send", 0)
	}
	call, cancel := context.WithTimeout(ctx, r.tempo.Budget())
	defer cancel()
	// From here on money may have moved: the outcome is recorded even if the
	// task is cancelled meanwhile.
	ev := a.call(call, request(c))
	leave()
	r.at(StepAnswered)
	return r.record(ctx, c, ev, models.Judge(c.Operation, ev, r.facts(ctx, a, c, ev)), false)
}

// patience is how long a task of its own waits in place for its account rather
// than giving the row back: two commits cost more than a moment.
const patience = 2 * time.Second

// until is the latest moment at which a claim's call may begin, with its whole
// budget before the lease and the task end: before that it waits for its account.
// A capture in a batch waits for those before it.
func (r *Runner) until(ctx context.Context, c store.Claim) time.Time {
	latest := c.LeaseEnds.Add(-r.tempo.Budget() - r.tempo.SendMargin())
	if ends, ok := ctx.Deadline(); ok {
		latest = earlier(latest, ends.Add(-r.tempo.Budget()))
	}
	if !c.InBatch {
		latest = earlier(latest, time.Now().Add(patience))
	}
	return latest
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// facts gathers what the judgement of ev needs. After a refusal of the
// credentials a harmless call tells a bad account, which is paused, from a bad
// row, which is parked.
func (r *Runner) facts(ctx context.Context, a *account, c store.Claim, ev models.Evidence) models.Facts {
	facts := r.known(ctx, a, c)
	if ev.Class != models.ClassConfig {
		return facts
	}
	ctx = context.WithoutCancel(ctx)
	err := a.probe(ctx)
	facts.CredentialsWork = err == nil
	if errors.Is(err, gateway.ErrCredentials) {
		r.log.ErrorContext(ctx, "gateway paused: it refuses the credentials", "gateway", c.Account, "status", ev.Status, "error_code", ev.ErrorCode)
		if err := r.store.PauseGateway(ctx, c.Account, fmt.Sprintf("credentials refused: HTTP %d %s", ev.Status, ev.ErrorCode)); err != nil {
			r.log.ErrorContext(ctx, "gateway could not be paused", "gateway", c.Account, "error", err)
		}
	}
	return facts
}

// known are the facts of a claim at its account. A key whose age cannot be read
// protects nothing.
func (r *Runner) known(ctx context.Context, a *account, c store.Claim) models.Facts {
	facts := c.Facts(r.tempo, a.caps.SettleAfter, a.caps.ReplaysErrors)
	facts.Repeats, facts.ByHand = a.caps.RepeatIsLookUp, a.caps.ByHand
	if !facts.Repeats {
		return facts
	}
	facts.KeyProtects = r.protects(ctx, a, c)
	return facts
}

// protects: the key of a claim is young enough for its gateway to know it again.
func (r *Runner) protects(ctx context.Context, a *account, c store.Claim) bool {
	age, err := r.store.KeyAge(ctx, c.ID, c.IdempotencyKey())
	if err != nil {
		r.log.WarnContext(ctx, "the age of an idempotency key could not be read; nothing is repeated under it now", "operation_id", c.ID, "error", err)
		return false
	}
	return age+r.tempo.Lease() < a.caps.IdempotencyWindow
}

// unlisted: the gateway accepted the operation once and would not know its key
// again, so that a look which does not find it is no proof that it may be sent.
func (r *Runner) unlisted(ctx context.Context, a *account, c store.Claim) bool {
	if a.caps.IdempotencyWindow == 0 || c.GatewayTransactionID == "" || c.Replayed || r.protects(ctx, a, c) {
		return false
	}
	_, there, err := r.store.AcceptedAs(ctx, c.ID)
	return there || err != nil
}

// look asks the gateway what became of an operation that may have been sent.
func (r *Runner) look(ctx context.Context, a *account, c store.Claim) (models.Evidence, models.Decision) {
	call, cancel := context.WithTimeout(ctx, r.tempo.Budget())
	defer cancel()
	ev := a.lookUp(call, request(c), r.until(ctx, c))
	if ev.Outcome == models.OutcomeNone && r.unlisted(ctx, a, c) {
		ev.Outcome, ev.NextAction = models.OutcomeLost, "contact gateway"
		ev.Message = "the gateway accepted it and does not list it, and its key does not protect any more"
	}
	return ev, models.Judge(c.Operation, ev, r.facts(ctx, a, c, ev))
}

// record commits an outcome, and says when to come again if it is not final. A
// comparison is kept as a verdict: every look that left, and whatever calls a person.
func (r *Runner) record(ctx context.Context, c store.Claim, ev models.Evidence, d models.Decision, looked bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.tempo.RecordTimeout())
	defer cancel()
	compared := looked && ev.Outcome != models.OutcomeNotSent || d.Flag != ""
	if err := r.ledger.Record(ctx, store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: r.name, LogVerdict: compared}); err != nil {
		return fmt.Errorf("record the outcome %s: %w; the lease will run out and the next claim looks first", ev.Outcome, err)
	}
	r.at(StepRecorded)
	return r.next(c, ev, d)
}

func (r *Runner) release(ctx context.Context, c store.Claim, why string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.tempo.RecordTimeout())
	defer cancel()
	wait = max(wait, r.tempo.UnsentAfter(c.Unsent))
	if err := r.ledger.Release(ctx, c, r.name, why, wait); err != nil {
		return err
	}
	return &later{reason: why, at: time.Now().Add(wait)}
}

// next turns a decision into the task's end: nil when there is nothing left to
// do, else an error that carries the reason and the time, as Asynqmon shows it.
func (r *Runner) next(c store.Claim, ev models.Evidence, d models.Decision) error {
	to, err := models.Capturing.Next(c.Kind, d.Event)
	if err != nil || !to.Live() || d.Then != "" {
		return nil
	}
	if to == models.Pending && d.Flag != "" {
		return nil // waits for a person
	}
	reason := d.Rule
	if ev.Message != "" || ev.ErrorCode != "" {
		reason = fmt.Sprintf("%s (%s %s)", d.Rule, ev.ErrorCode, ev.Message)
	}
	return &later{reason: string(to) + ": " + reason, at: time.Now().Add(d.Wait), failure: ev.Outcome == models.OutcomeLost || ev.Outcome == models.OutcomeDeclined}
}

// request describes a claim to an adapter.
func request(c store.Claim) gateway.Request {
	return gateway.Request{
		Kind: c.Kind, Reference: c.GatewayReference, Key: c.IdempotencyKey(), AmountCents: c.AmountCents, CurrencyCode: c.CurrencyCode,
		Hold: c.Hold, Capture: c.Capture, Final: !c.MultiCapture, OnlyOne: c.Asked == 1, HoldCents: c.HoldCents, CaptureAsked: c.CaptureAsked,
		// A cancel returns the balance; all of it, when nothing was refunded before.
		Whole: c.Kind == models.Refund && c.Cause == models.CauseCancel && c.AmountCents == c.CaptureCents,
	}
}
