package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// reportPage is how many lines of a report are compared at once.
const reportPage = 500

// Report is a gateway's report that is compared with the ledger.
type Report struct {
	// Slug is the account whose report it is; Source says where it comes from.
	Slug, Source string
	// Read hands out the report's lines, from the first, each time it is called. An
	// error of each ends it.
	Read   func(each func(models.Movement) error) (skipped int, err error)
	DryRun bool
	// Progress, if set, is told how many lines of how many were compared.
	Progress func(lines, of int)
}

// reportSpan is what a report covers.
type reportSpan struct {
	lines, skipped int
	from, until    time.Time
}

// CompareReport compares a report with the ledger as the gateway's own list is
// compared: line by line, and then what the ledger recorded as a success in the
// middle of the report's time and the report does not have. All of the report is
// read before anything of it is done: one that cannot be understood changes
// nothing. Without an adapter for the account nothing is looked up, and lines
// are judged as they stand.
//
// It holds about 50 bytes in memory for each line that names an operation of ours.
func (r *Runner) CompareReport(ctx context.Context, report Report) (ListingReport, error) {
	span, err := readSpan(report)
	if err != nil {
		return ListingReport{}, err
	}
	run, err := r.store.BeginReport(ctx, report.Slug, r.name, report.Source, report.DryRun)
	if err != nil {
		return ListingReport{}, err
	}
	c := r.newComparer(r.accounts[report.Slug], run, report.DryRun)
	explained := explanations{}
	c.note = explained.note
	c.report.Skipped = span.skipped
	err = c.reportLines(ctx, report, span)
	if err == nil && span.lines > 0 {
		err = c.unreported(ctx, explained, span)
	}
	if !report.DryRun {
		err = errors.Join(err, r.store.EndListing(ctx, run))
	}
	return c.report, err
}

// readSpan reads all of a report, and sees whether it can be understood.
func readSpan(report Report) (reportSpan, error) {
	var span reportSpan
	var err error
	span.skipped, err = report.Read(func(m models.Movement) error {
		if span.lines++; span.lines == 1 || m.At.Before(span.from) {
			span.from = m.At
		}
		if m.At.After(span.until) {
			span.until = m.At
		}
		return nil
	})
	return span, err
}

// reportLines compares the lines, in pages. A report may be in any order: what
// was given again comes after everything that was taken back.
func (c *comparer) reportLines(ctx context.Context, report Report, span reportSpan) error {
	var page []models.Movement
	flush := func() error {
		err := c.page(ctx, page)
		page = page[:0]
		if err == nil && report.Progress != nil {
			report.Progress(c.report.Lines, span.lines)
		}
		return err
	}
	for _, last := range []bool{false, true} {
		_, err := report.Read(func(m models.Movement) error {
			if (m.Kind == models.MovedReinstated) != last {
				return nil
			}
			if page = append(page, m); len(page) < reportPage {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return nil
}

// unreported asks about every success within a report's time that none of its
// lines explained. Its edges are left out: what was recorded there may stand in
// the report before, or in the next.
func (c *comparer) unreported(ctx context.Context, explained explanations, span reportSpan) error {
	slack := listingSlack(c.r.tempo)
	from, until := span.from.Add(slack), span.until.Add(-slack)
	if !from.Before(until) {
		return nil
	}
	for _, kind := range []models.Kind{models.Capture, models.Refund} {
		err := c.unexplained(ctx, func(ctx context.Context, after string, limit int) ([]models.Operation, error) {
			return c.r.store.Successes(ctx, c.run.GatewayID, kind, from, until, after, limit)
		}, explained.has)
		if err != nil {
			return err
		}
	}
	return nil
}

// explanations remember which line explained which operation, each by a hash.
type explanations map[uuid.UUID][8]byte

func (e explanations) has(id string) bool {
	_, ok := e[uuid.MustParse(id)]
	return ok
}

func (e explanations) note(_ context.Context, seen []store.Seen) (map[string]bool, error) {
	again := map[string]bool{}
	for _, s := range seen {
		id, err := uuid.Parse(s.OperationID)
		if err != nil {
			return nil, fmt.Errorf("the id of an operation of ours: %w", err)
		}
		sum := sha256.Sum256([]byte(s.MovementID))
		line := [8]byte(sum[:8])
		if old, there := e[id]; !there {
			e[id] = line
		} else if old != line {
			again[s.MovementID] = true
		}
	}
	return again, nil
}
