package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// comparer compares lines of a gateway's list or report with the ledger, and
// does what the comparison asks for. It is for one goroutine.
type comparer struct {
	r *Runner
	// a is nil when no adapter is configured: then nothing can be looked up, and
	// a line is judged as it stands.
	a      *account
	run    *store.ListingRun
	dry    bool
	report ListingReport
	// keep renews the run's lease, before each thing that is done.
	keep func(context.Context) error
	// note remembers which line explained which operation, and returns the lines
	// whose operation another one had explained.
	note func(context.Context, []store.Seen) (map[string]bool, error)
	// asked is told of each success that was asked about because no line explained it.
	asked func()
	// insist: a look-up without an answer ends the run, to be asked again by the next.
	insist bool
	// hearsay: the lines are not the gateway's own. None is believed as it stands.
	hearsay bool
	// touched are holds of the present page that something was done to.
	touched map[string]bool
}

func (r *Runner) newComparer(a *account, run *store.ListingRun, dry bool) *comparer {
	c := &comparer{
		r: r, a: a, run: run, dry: dry, report: ListingReport{ID: run.ID, Gateway: run.Slug, DryRun: dry, Counts: run.Counts, Findings: []ListFinding{}},
		keep: func(context.Context) error { return nil }, asked: func() {},
	}
	c.note = func(ctx context.Context, seen []store.Seen) (map[string]bool, error) {
		return r.store.NoteSeen(ctx, run, seen)
	}
	return c
}

// page compares a page of lines, oldest first.
func (c *comparer) page(ctx context.Context, page []models.Movement) error {
	lines, err := c.r.store.MatchListed(ctx, c.run.GatewayID, page)
	if err != nil {
		return err
	}
	var seen []store.Seen
	results := make([]models.Comparison, len(lines))
	for i, l := range lines {
		results[i] = models.Compare(c.run.Slug, l.Movement, l.Book, l.Operations)
		if o := results[i].Operation; o != nil && (l.Kind == models.MovedCaptured && o.Kind == models.Capture || l.Kind == models.MovedRefunded && o.Kind == models.Refund) {
			seen = append(seen, store.Seen{OperationID: o.ID, MovementID: l.ID, At: l.At})
		}
	}
	again, err := c.note(ctx, seen)
	if err != nil {
		return err
	}
	c.touched = map[string]bool{}
	for i, l := range lines {
		c.report.Lines++
		if err := c.line(ctx, l, results[i], again[l.ID]); err != nil {
			return err
		}
	}
	return nil
}

// line does what one line asks for. What agrees is only counted.
func (c *comparer) line(ctx context.Context, l store.Listed, result models.Comparison, again bool) error {
	touched := l.Book != nil && c.touched[l.Book.ID]
	if touched { // a line before this one changed our book
		fresh, err := c.r.store.MatchListed(ctx, c.run.GatewayID, []models.Movement{l.Movement})
		if err != nil {
			return err
		}
		l = fresh[0]
		result = models.Compare(c.run.Slug, l.Movement, l.Book, l.Operations)
	}
	if l.Book == nil && c.r.skipUnknown {
		c.report.Skipped++
		return nil
	}
	if again && !touched {
		result = models.Again(result)
	}
	if result.Verdict == models.InSync || result.Verdict == models.Wait {
		c.run.Counts[result.Verdict]++
		return c.remember(ctx, l, result)
	}
	if err := c.keep(ctx); err != nil {
		return err
	}
	f := store.ListedFinding{
		Name: findingName(c.run.Slug, l.ID, result.Verdict), Verdict: result.Verdict, Rule: result.Rule, Action: string(result.Action),
		Hold: l.Book, Operation: result.Operation, Theirs: l.Movement, AmountCents: l.AmountCents, CurrencyCode: l.CurrencyCode,
	}
	there, settled, err := c.r.store.HasFinding(ctx, f.Name)
	if err != nil {
		return err
	}
	if there { // done, and written, by a run before
		f.Outcome = "found before"
		if settled {
			f.Outcome = "found before, and settled by a person"
		}
		c.add(f, l.Hold, false)
		c.report.settle(settled)
		return nil
	}
	if l.Book != nil {
		c.touched[l.Book.ID] = true
	}
	return c.act(ctx, l, result, f)
}

// reversals are the kinds of lines that take back what another one said, with
// the verdict under which each of them is acted on.
var reversals = map[models.MovementKind]models.Verdict{
	models.MovedTakenBack: models.NeedsAttention, models.MovedReinstated: models.LateSuccess, models.MovedFailed: models.NeedsAttention,
}

// remember writes down that a reversal agreed, as if it had been acted on: seen
// once more after the next one, it would undo that.
func (c *comparer) remember(ctx context.Context, l store.Listed, result models.Comparison) error {
	verdict, ok := reversals[l.Kind]
	if !ok || c.dry || result.Operation == nil || result.Verdict != models.InSync {
		return nil
	}
	_, err := c.r.store.WriteFinding(ctx, nil, c.run, store.ListedFinding{
		Name: findingName(c.run.Slug, l.ID, verdict), Verdict: result.Verdict, Rule: result.Rule, Action: string(result.Action), Outcome: "it was recorded before",
		Hold: l.Book, Operation: result.Operation, Theirs: l.Movement, AmountCents: l.AmountCents, CurrencyCode: l.CurrencyCode,
	})
	return err
}

func findingName(slug, id string, v models.Verdict) string { return slug + ":" + id + ":" + string(v) }

// act does what a comparison asks for. What is done and what is written about it
// are one transaction: if the process dies, there is both or neither, and the
// same line compared again finds the books agree or its own finding.
func (c *comparer) act(ctx context.Context, l store.Listed, result models.Comparison, f store.ListedFinding) (err error) {
	defer c.r.at(StepActed)
	switch {
	case result.Action == models.CompareAdopt:
		return c.adopt(ctx, l, result, f)
	case result.Action == models.CompareLook && result.Operation.State.Live():
		f.Outcome = "its next claim looks"
		return c.annotate(ctx, f, models.Hinted, "", l.Hold)
	case result.Action == models.CompareLook && c.a != nil && c.a.caps.LookUp:
		return c.lookAt(ctx, l, result, f)
	case c.hearsay && (result.Action == models.CompareLook || result.Action == models.CompareObserve):
		f.Outcome = "a person has to act: the gateway cannot be asked"
		return c.write(ctx, f, l.Hold)
	case result.Action == models.CompareLook, result.Action == models.CompareObserve:
		// A line that nobody can be asked about is judged as it stands.
		return c.observe(ctx, l.Movement.Evidence(), false, f, l.Hold)
	case result.Action == models.CompareFlag:
		f.Outcome = "flagged: " + result.Flag
		return c.annotate(ctx, f, models.Flagged, result.Flag, l.Hold)
	}
	f.Outcome = "a person has to act"
	return c.write(ctx, f, l.Hold)
}

// lookAt asks the gateway about an operation that has ended, and has the answer
// judged.
func (c *comparer) lookAt(ctx context.Context, l store.Listed, result models.Comparison, f store.ListedFinding) error {
	ev, conclusive, err := c.lookUp(ctx, *result.Operation)
	switch {
	case err != nil:
		return err
	case ev.Outcome == models.OutcomeLost:
		f.Outcome = "the look-up could not tell: " + ev.Message
		return c.write(ctx, f, l.Hold)
	case result.Flag != "" && c.agrees(*result.Operation, ev):
		f.Outcome = "the look-up agrees with our book; flagged: " + result.Flag
		return c.annotate(ctx, f, models.Flagged, result.Flag, l.Hold)
	}
	return c.observe(ctx, ev, conclusive, f, l.Hold)
}

// agrees: a look-up says of a success what is recorded.
func (c *comparer) agrees(op models.Operation, ev models.Evidence) bool {
	return models.Judge(op, ev, models.Facts{Tempo: c.r.tempo, Now: time.Now()}).Verdict == models.InSync
}

// observe has evidence judged and applied.
func (c *comparer) observe(ctx context.Context, ev models.Evidence, conclusive bool, f store.ListedFinding, hold string) error {
	op := f.Operation
	if c.dry {
		d := models.Judge(*op, ev, models.Facts{Tempo: c.r.tempo, Now: time.Now(), NoneConclusive: conclusive, HoldLeftConfirmed: models.MaxCents})
		f.Verdict, f.Rule, f.Outcome = d.Verdict, d.Rule, "it would be judged on: "+ev.Outcome.String()
		return c.write(ctx, f, hold)
	}
	f, isNew, err := c.r.store.ObserveListed(ctx, c.run, store.Observation{
		Kind: op.Kind, ID: op.ID, Evidence: ev, Actor: c.actor(), Reason: f.Rule, NoneConclusive: conclusive,
	}, f)
	if err != nil {
		return err
	}
	if f.Verdict == models.InSync || f.Verdict == models.Wait {
		c.run.Counts[f.Verdict]++
		return nil
	}
	c.add(f, hold, isNew)
	return nil
}

func (c *comparer) annotate(ctx context.Context, f store.ListedFinding, event models.Event, flag, hold string) error {
	if c.dry {
		return c.write(ctx, f, hold)
	}
	isNew, err := c.r.store.AnnotateListed(ctx, c.run, f, event, flag)
	if err == nil {
		c.add(f, hold, isNew)
	}
	return err
}

// successBatch bounds how many of our successes are read at once.
const successBatch = 200

// unexplained asks about every success that read returns, page by page, unless
// explained says that a line told of it.
func (c *comparer) unexplained(ctx context.Context, read func(ctx context.Context, after string, limit int) ([]models.Operation, error), explained func(id string) bool) error {
	for after := ""; ; {
		ops, err := read(ctx, after, successBatch)
		if err != nil {
			return err
		}
		for _, op := range ops {
			if after = op.ID; explained(op.ID) {
				continue
			}
			if err := c.missing(ctx, op); err != nil {
				return err
			}
			c.asked()
		}
		if len(ops) < successBatch {
			return nil
		}
	}
}

// missing asks about a success that no line explained.
func (c *comparer) missing(ctx context.Context, op models.Operation) error {
	if c.a == nil || !c.a.caps.LookUp {
		return nil
	}
	if err := c.keep(ctx); err != nil {
		return err
	}
	ev, conclusive, err := c.lookUp(ctx, op)
	if err != nil {
		return err
	}
	f := store.ListedFinding{
		Name: c.run.Slug + ":" + op.ID + ":unlisted", Verdict: models.NeedsAttention, Rule: "recorded here, and not in the gateway's list", Action: "look",
		Operation: &op, Theirs: ev, AmountCents: op.AmountCents, CurrencyCode: op.CurrencyCode, Outcome: "the look-up could not tell: " + ev.Message,
	}
	if ev.Outcome == models.OutcomeLost {
		err = c.write(ctx, f, "")
	} else {
		err = c.observe(ctx, ev, conclusive, f, "")
	}
	c.r.at(StepActed)
	if err != nil || c.dry {
		return err
	}
	_, err = c.note(ctx, []store.Seen{{OperationID: op.ID, MovementID: store.LookedUp, At: time.Now()}})
	return err
}

// lookUp asks what became of an operation, and whether "none" would be proof.
func (c *comparer) lookUp(ctx context.Context, op models.Operation) (models.Evidence, bool, error) {
	claim, err := c.r.describe(ctx, op)
	if err != nil {
		return models.Evidence{}, false, err
	}
	ev, err := c.ask(ctx, request(claim))
	return ev, c.r.known(ctx, c.a, claim).NoneConclusive, err
}

const (
	// askTries is how often a look-up without an answer is repeated before it is
	// told as it is.
	askTries = 3
	// askWaits is how often a look-up waits for its account's pace.
	askWaits = 100
)

// ask makes one look-up at the account's pace. Its error means that the gateway
// cannot be asked now: the run ends, and the next goes on at the same page.
func (c *comparer) ask(ctx context.Context, r gateway.Request) (models.Evidence, error) {
	lost := 0
	for range askWaits {
		call, cancel := context.WithTimeout(ctx, c.r.tempo.Budget())
		ev := c.a.lookUp(call, r, time.Now().Add(patience))
		cancel()
		switch {
		case ctx.Err() != nil:
			return ev, ctx.Err()
		case ev.Outcome == models.OutcomeNotSent && ev.RetryAfter > 0:
			if !pause(ctx, max(ev.RetryAfter, time.Millisecond)) {
				return ev, ctx.Err()
			}
		case ev.Outcome == models.OutcomeNotSent:
			return ev, fmt.Errorf("look up %s: %s; the next run goes on here", r.Reference, ev.Message)
		case ev.Outcome == models.OutcomeLost && lost+1 < askTries && (ev.Status == 0 || ev.Status >= 500):
			lost++
			pause(ctx, c.r.tempo.Of(time.Duration(lost)*time.Second))
		case ev.Outcome == models.OutcomeLost && c.insist && (ev.Status == 0 || ev.Status >= 500):
			return ev, fmt.Errorf("look up %s: %s; the next run goes on here", r.Reference, ev.Message)
		default:
			return ev, nil
		}
	}
	return models.Evidence{}, fmt.Errorf("look up %s: the account's pace did not allow it; the next run goes on here", r.Reference)
}

// write writes a finding, once; what a look-up found to agree is only counted.
func (c *comparer) write(ctx context.Context, f store.ListedFinding, hold string) error {
	if f.Verdict == models.InSync || f.Verdict == models.Wait {
		c.run.Counts[f.Verdict]++
		return nil
	}
	if c.dry {
		c.add(f, hold, true)
		return nil
	}
	isNew, err := c.r.store.WriteFinding(ctx, nil, c.run, f)
	if err == nil {
		c.add(f, hold, isNew)
	}
	return err
}

// maxReported bounds the findings of a report; the counts and the ledger have all.
const maxReported = 10_000

// add puts a finding into the report.
func (c *comparer) add(f store.ListedFinding, hold string, isNew bool) {
	c.run.Counts[f.Verdict]++
	out := ListFinding{
		Name: f.Name, Verdict: f.Verdict, Rule: f.Rule, Action: f.Action, Outcome: f.Outcome, New: isNew, Hold: hold, AmountCents: f.AmountCents, CurrencyCode: f.CurrencyCode,
	}
	if f.Hold != nil {
		out.OrderID = f.Hold.OrderID
	}
	if f.Operation != nil {
		out.OrderID, out.OperationID, out.Kind = f.Operation.OrderID, f.Operation.ID, f.Operation.Kind
	}
	if len(c.report.Findings) < maxReported {
		c.report.Findings = append(c.report.Findings, out)
	}
}

func (c *comparer) actor() string { return "listing:" + c.run.Slug }
