package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The steps of a comparison with a gateway's list.
const (
	StepListed   Step = "listed"   // a page was fetched, nothing of it compared
	StepActed    Step = "acted"    // a line was acted on, the page is not turned
	StepCompared Step = "compared" // every line of a page was compared, the page is not turned
	StepTurned   Step = "turned"   // the page is turned
	StepReversed Step = "reversed" // what the list does not have was asked for, the window is not closed
)

// listingTimeout ends one run; the next goes on where it stopped.
const listingTimeout = 10 * time.Minute

// listingSpan is which time a run compares. Lines appear with the call that makes
// them, as a rule; the overlap is for those that do not.
func listingSpan(t models.Tempo) store.ListingSpan {
	return store.ListingSpan{
		Settle: t.Of(2 * time.Minute), Overlap: max(t.Of(10*time.Minute), time.Second), Longest: time.Hour, First: 24 * time.Hour,
	}
}

// listingSlack is how far before the end of a window a success must have been
// recorded for its line to be in it, however far the two clocks are apart.
func listingSlack(t models.Tempo) time.Duration { return max(t.Of(time.Minute), time.Second) }

// insistFor is how long a comparison waits at one line whose look-up is never
// answered before it leaves the line to a person and goes on.
const insistFor = time.Hour

// ListingReport is what a comparison found.
type ListingReport struct {
	ID      string                 `json:"id,omitempty"`
	Gateway string                 `json:"gateway"`
	DryRun  bool                   `json:"dry_run"`
	Lines   int                    `json:"lines"`
	Skipped int                    `json:"skipped"`
	Counts  map[models.Verdict]int `json:"counts"`
	// Findings are what does not agree, those of earlier runs included.
	Findings []ListFinding `json:"findings"`
}

// ListFinding is one thing on which the books differ.
type ListFinding struct {
	Name    string         `json:"name"`
	Verdict models.Verdict `json:"verdict"`
	Rule    string         `json:"rule"`
	Action  string         `json:"action"`
	Outcome string         `json:"outcome"`
	New     bool           `json:"new"`
	// Settled: a person has applied or dismissed it.
	Settled      bool        `json:"settled"`
	OrderID      string      `json:"order_id,omitempty"`
	OperationID  string      `json:"operation_id,omitempty"`
	Kind         models.Kind `json:"kind,omitempty"`
	Hold         string      `json:"hold,omitempty"`
	AmountCents  int64       `json:"amount_cents"`
	CurrencyCode string      `json:"currency_code"`
}

// settle marks the newest finding.
func (r *ListingReport) settle(settled bool) {
	if n := len(r.Findings); n > 0 && n < maxReported {
		r.Findings[n-1].Settled = settled
	}
}

// NeedsPerson reports whether a finding waits for one.
func (f ListFinding) NeedsPerson() bool { return f.Verdict.CallsPerson() && !f.Settled }

// CompareListing compares an account's own list with the ledger, window by
// window, as far as time is closed. One run at a time by a lease; one that dies
// anywhere is gone on with from its last page, and what was written is not
// written again. It says store.ErrListing when another one runs.
//
// Lines that agree cost a look-up in an index for a page of them. Anything else
// is acted on under the rules of models.Compare, one line after the other.
func (r *Runner) CompareListing(ctx context.Context, slug string) (ListingReport, error) {
	a, ok := r.accounts[slug]
	if !ok || !a.caps.Lists {
		return ListingReport{}, fmt.Errorf("compare the list of %s: %w", slug, gateway.ErrUnsupported)
	}
	run, err := r.store.BeginListing(ctx, slug, r.name, "listing "+slug, r.listing)
	if err != nil {
		return ListingReport{}, err
	}
	c := r.newComparer(a, run, false)
	c.keep = func(ctx context.Context) error { return r.store.KeepListing(ctx, run) }
	err = c.windows(ctx)
	return c.report, errors.Join(err, r.store.EndListing(ctx, run))
}

// windows compares one window after the other.
func (c *comparer) windows(ctx context.Context) error {
	for {
		w, err := c.r.store.NextWindow(ctx, c.run)
		if err != nil || w == nil {
			return err
		}
		if err := c.window(ctx, w); err != nil {
			return fmt.Errorf("compare the list of %s from %s to %s: %w", c.run.Slug, w.From.Format(time.RFC3339), w.Until.Format(time.RFC3339), err)
		}
	}
}

// window compares one window both ways.
//
// If the process dies anywhere below, the next run compares the same page
// again: lines that were acted on agree by now, or have their finding already.
func (c *comparer) window(ctx context.Context, w *store.ListingWindow) error {
	c.insist = time.Since(w.Moved) < c.r.tempo.Of(insistFor)
	for !w.Paged {
		if err := c.keep(ctx); err != nil {
			return err
		}
		page, err := c.a.list(ctx, gateway.ListRequest{From: w.From, To: w.Until, Cursor: w.Cursor})
		if err != nil {
			return err
		}
		c.r.at(StepListed)
		if err := c.page(ctx, page.Movements); err != nil {
			return err
		}
		c.report.Skipped += page.Skipped
		c.r.at(StepCompared)
		if err := c.r.store.TurnPage(ctx, c.run, page.Next, len(page.Movements)); err != nil {
			return err
		}
		c.r.at(StepTurned)
		w.Cursor, w.Paged = page.Next, page.Next == ""
	}
	slack := listingSlack(c.r.tempo)
	for _, kind := range []models.Kind{models.Capture, models.Refund} {
		err := c.unexplained(ctx, func(ctx context.Context, after string, limit int) ([]models.Operation, error) {
			return c.r.store.Unlisted(ctx, c.run.GatewayID, kind, w.Begin.Add(-slack), w.Until.Add(-slack), after, limit)
		}, func(string) bool { return false })
		if err != nil {
			return err
		}
	}
	c.r.at(StepReversed)
	return c.r.store.CloseWindow(ctx, c.run, w)
}

// listTries is how often a page is asked for before the next run is left to try.
const listTries = 4

// list fetches a page, at the account's pace and under its breaker.
func (a *account) list(ctx context.Context, r gateway.ListRequest) (gateway.ListPage, error) {
	for try := 1; ; try++ {
		page, err := a.listOnce(ctx, r)
		call, ok := errors.AsType[*gateway.CallError](err)
		if err == nil || !ok || !call.Throttled && !call.Unanswered() || try == listTries || !pause(ctx, a.tempo.Of(time.Duration(try)*time.Second)) {
			return page, err
		}
	}
}

func (a *account) listOnce(ctx context.Context, r gateway.ListRequest) (gateway.ListPage, error) {
	leave, _, why := a.enter(ctx, time.Now().Add(a.tempo.Budget()))
	if why != "" {
		return gateway.ListPage{}, fmt.Errorf("list what %s booked: %s", a.slug, why)
	}
	defer leave()
	done, err := a.breaker.Allow()
	if err != nil {
		return gateway.ListPage{}, fmt.Errorf("list what %s booked: the gateway does not answer: its circuit breaker is open", a.slug)
	}
	call, cancel := context.WithTimeout(ctx, a.tempo.Budget())
	defer cancel()
	page, err := a.gateway.List(call, r)
	refused, ok := errors.AsType[*gateway.CallError](err)
	if ok && refused.Unanswered() && ctx.Err() == nil {
		done(errUnanswered)
		return page, err
	}
	done(nil)
	if ok && refused.Throttled {
		a.slowDown(refused.RetryAfter)
	}
	return page, err
}

// listings is the handler of one scheduled comparison: of every account that has
// a list, side by side.
func (s *Server) listings(ctx context.Context) error {
	r := s.c.Runner
	results := make(chan error, len(r.accounts))
	for slug, a := range r.accounts {
		go func() {
			if !a.caps.Lists {
				results <- nil
				return
			}
			results <- s.listing(ctx, slug)
		}()
	}
	var errs []error
	for range r.accounts {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

func (s *Server) listing(ctx context.Context, slug string) error {
	g, err := s.c.Runner.store.GatewayBySlug(ctx, slug)
	if err != nil || g.PausedAt != nil {
		return err // an account that is paused for its credentials lists nothing either
	}
	report, err := s.c.Runner.CompareListing(ctx, slug)
	if errors.Is(err, store.ErrListing) {
		return nil // the other one does it
	}
	s.c.Metrics.listed(report)
	for _, f := range report.Findings {
		if f.New {
			s.c.Log.WarnContext(ctx, "the gateway's list differs from the ledger", "gateway", slug, "verdict", f.Verdict, "rule", f.Rule,
				"hold", f.Hold, "operation_id", f.OperationID, "amount_cents", f.AmountCents, "currency_code", f.CurrencyCode, "outcome", f.Outcome)
		}
	}
	return err
}
