package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// auditResult is what `capstan audit` prints.
type auditResult struct {
	store.AuditReport
	// Anchor is the last anchor of a day; nil while there is none.
	Anchor *store.DailyAnchor `json:"anchor"`
}

// anchorDays bounds how many days one audit anchors.
const anchorDays = 366

// audit checks every invariant, anchors the days that ended, and keeps the result where the metrics and the
// report find it.
func audit(ctx context.Context, c config.Audit, stdout, stderr io.Writer, log *slog.Logger) error {
	st, err := openMigrated(ctx, c.DatabaseURL, store.Options{MaxConns: 4, Tempo: models.Tempo{Scale: c.TimeScale}})
	if err != nil {
		return err
	}
	defer st.Close()
	show := newAuditProgress(stderr)
	run := store.AuditRun{Scope: store.AuditFull, Owner: operator("audit"), Idle: c.Check.Offline, Each: show.each}
	if !c.Check.Recent && !c.Check.Offline {
		run.Before = func(ctx context.Context) error { return st.AnchorDays(ctx, anchorDays, func(store.DailyAnchor) {}) }
	}
	if c.Check.Recent {
		run.Scope = store.AuditRecent
	}
	if c.Check.Books {
		if run.Also, err = auditBooks(ctx, c, st, show, log); err != nil {
			return err
		}
	}
	report, err := st.RunAudit(ctx, run)
	show.end()
	if errors.Is(err, store.ErrAuditing) {
		return fmt.Errorf("%w, of the same scope; come again when it has ended", err)
	}
	if err != nil && report.FinishedAt.IsZero() {
		return err
	}
	result := auditResult{AuditReport: report}
	last, lastErr := st.DailyAnchors(ctx, 1)
	if len(last) > 0 {
		result.Anchor = &last[0]
	}
	if c.JSON {
		err = errors.Join(err, lastErr, printJSON(stdout, result))
	} else {
		err = errors.Join(err, lastErr, printAudit(stdout, result))
	}
	return errors.Join(err, holds(report.Invariants))
}

// auditBooks makes the part of an audit that asks the gateways.
func auditBooks(ctx context.Context, c config.Audit, st *store.Store, show *auditProgress, log *slog.Logger) (func(context.Context) ([]store.Invariant, error), error) {
	if err := c.Check.Gateways.Validate(c.Check.Mode); err != nil {
		return nil, err
	}
	tempo := models.Tempo{Scale: c.TimeScale}
	accounts := accountsOf(accountOptions{c.Check.Gateways, c.Check.Mode, tempo, prometheus.NewRegistry(), log, st})
	if len(accounts) == 0 {
		return nil, errors.New("--gateways: no account is configured; set its credentials as for the workers")
	}
	now, err := st.Now(ctx, nil)
	if err != nil {
		return nil, err
	}
	runner := worker.NewRunner(worker.RunnerConfig{
		Store: st, Accounts: accounts, Name: workerName(), Log: log, RatePerSecond: c.Check.RatePerSecond, CallsAtOnce: c.Check.CallsAtOnce, SkipUnknownHolds: c.Check.SkipUnknownHolds(),
	})
	return func(ctx context.Context) ([]store.Invariant, error) {
		books, err := runner.CompareBooks(ctx, worker.Books{Since: now.Add(-c.Check.Since), Progress: show.books})
		if err != nil {
			return nil, err
		}
		show.each(books)
		return []store.Invariant{books}, nil
	}, nil
}

func printAudit(w io.Writer, r auditResult) error {
	if err := printInvariants(w, r.Invariants); err != nil {
		return err
	}
	if r.Anchor == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nThe last anchor is number %d, of %s: %s\n", r.Anchor.Number, r.Anchor.Day, r.Anchor.Hash)
	return err
}

func printInvariants(w io.Writer, found []store.Invariant) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "INVARIANT\tCHECKED\tBROKEN\tRULE")
	for _, i := range found {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", i.ID, i.Checked, i.BrokenCount, i.Rule)
		for _, name := range i.Broken {
			fmt.Fprintf(t, "\t\t\t  %s\n", name)
		}
		if more := i.BrokenCount - int64(len(i.Broken)); more > 0 {
			fmt.Fprintf(t, "\t\t\t  and %d more\n", more)
		}
	}
	return t.Flush()
}

func holds(found []store.Invariant) error {
	for _, i := range found {
		if i.BrokenCount > 0 {
			return errFailed
		}
	}
	return nil
}

// auditAnchors lists the anchors of days.
func auditAnchors(ctx context.Context, c config.Audit, stdout io.Writer) error {
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer st.Close()
	anchors, err := st.DailyAnchors(ctx, c.Anchors.Size)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(stdout, anchors)
	}
	if len(anchors) == 0 {
		_, err := fmt.Fprintln(stdout, "No day is anchored yet: a worker does it at CAPSTAN_AUDIT_AT.")
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tDAY\tHISTORY OF\tSTEPS\tHASH")
	for _, a := range anchors {
		fmt.Fprintf(t, "%d\t%s\t%s\t%d\t%s\n", a.Number, a.Day, a.Month, a.Steps, a.Hash)
	}
	return t.Flush()
}

// auditSilence is how long an audit may work before it says how far it is, where
// nobody watches.
const auditSilence = 10 * time.Second

// auditProgress says how far an audit is: in one line of a terminal, elsewhere
// in lines now and then.
type auditProgress struct {
	w        io.Writer
	terminal bool
	last     time.Time
}

func newAuditProgress(w io.Writer) *auditProgress {
	p := &auditProgress{w: w, last: time.Now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *auditProgress) each(i store.Invariant) {
	p.say(i.ID + ": " + strconv.FormatInt(i.Checked, 10) + " checked, " + strconv.FormatInt(i.BrokenCount, 10) + " broken")
}

func (p *auditProgress) books(account string, compared int) {
	p.say(fmt.Sprintf("I4: %d compared with %s", compared, account))
}

func (p *auditProgress) say(line string) {
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	case time.Since(p.last) >= auditSilence:
		fmt.Fprintln(p.w, line)
		p.last = time.Now()
	}
}

// end clears the line of a terminal.
func (p *auditProgress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
