package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// migrate brings the schema up to date and says what it did.
func migrate(ctx context.Context, c config.Migrate, stdout io.Writer) error {
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{MaxConns: 4})
	if err != nil {
		return err
	}
	defer st.Close()
	applied, err := st.Migrate(ctx)
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		fmt.Fprintln(stdout, "The schema is up to date.")
	}
	for _, name := range applied {
		fmt.Fprintln(stdout, "applied", name)
	}
	return nil
}

// reconcile runs one sweep, or shows what one would find.
func reconcile(ctx context.Context, c config.Reconcile, stdout, stderr io.Writer, log *slog.Logger) error {
	if c.LookFirst.On || c.LookFirst.Off {
		if err := lookFirst(ctx, c, stdout); err != nil || !c.Once {
			return err
		}
	}
	if !c.Once && !c.DryRun {
		return errors.New("say --once to sweep, or --dry-run to see what a sweep would find; the workers sweep on a schedule by themselves")
	}
	if err := errors.Join(c.Ledger.Validate(), c.Gateways.Validate(c.Mode), c.Pace.Validate()); err != nil {
		return err
	}
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{Tempo: c.Tempo(), MaxConns: c.MaxConns})
	if err != nil {
		return err
	}
	defer st.Close()
	report, err := sweepOnce(ctx, c, st)
	if err != nil {
		return err
	}
	if c.DryRun {
		return preview(ctx, c, st, report, stdout, log)
	}
	open, err := awaitSettled(ctx, c, st, report, stderr)
	if err != nil {
		return err
	}
	if err := printReport(stdout, c.JSON, report); err != nil {
		return err
	}
	if open > 0 {
		fmt.Fprintf(stderr, "%d of what was found is still open after %s; do the relay and a worker run?\n", open, c.Wait)
		return errFailed
	}
	return nil
}

// sweepOnce sweeps, after the scheduled sweep that may be running right now.
func sweepOnce(ctx context.Context, c config.Reconcile, st *store.Store) (store.SweepReport, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Wait, fmt.Errorf("%w all the time; is its worker alive?", store.ErrSweeping))
	defer cancel()
	var report store.SweepReport
	err := until(ctx, "no other sweep is running", func() (bool, error) {
		var err error
		report, err = st.RunSweep(ctx, store.Sweep{
			Owner: workerName(), Source: "command", DryRun: c.DryRun, CancelAfter: c.Tempo().Of(c.CancelAfter),
		})
		if errors.Is(err, store.ErrSweeping) {
			return false, nil
		}
		return err == nil, err
	})
	return report, err
}

// preview completes a dry run with what the gateways say about each open
// operation. Nothing is claimed and nothing changes.
func preview(ctx context.Context, c config.Reconcile, st *store.Store, report store.SweepReport, stdout io.Writer, log *slog.Logger) error {
	accounts := accountsOf(accountOptions{c.Gateways, c.Mode, c.Tempo(), prometheus.NewRegistry(), log, st})
	runner := worker.NewRunner(worker.RunnerConfig{Store: st, Accounts: accounts, Name: workerName(), Log: log})
	for i, f := range report.Findings {
		if f.Verdict != models.Republish {
			continue
		}
		ev, d, err := runner.Inspect(ctx, c.Mode, f.Kind, f.OperationID)
		if err != nil {
			report.Findings[i].Rule += "; the gateway was not asked: " + err.Error()
			continue
		}
		report.Counts[models.Republish]--
		report.Counts[d.Verdict]++
		report.Findings[i].Verdict = d.Verdict
		report.Findings[i].Rule = fmt.Sprintf("%s; the gateway says %s: %s", f.Rule, ev.Outcome, d.Rule)
	}
	return printReport(stdout, c.JSON, report)
}

// awaitSettled waits until what a sweep published has an outcome, and returns
// how much of it has none.
func awaitSettled(ctx context.Context, c config.Reconcile, st *store.Store, report store.SweepReport, stderr io.Writer) (int, error) {
	waiting := map[string]bool{}
	for _, f := range report.Findings {
		if f.Verdict == models.Republish {
			waiting[f.OperationID] = true
		}
	}
	if len(waiting) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	for {
		settled, err := st.Settled(ctx, report.Findings)
		if err != nil && ctx.Err() == nil {
			return 0, err
		}
		left := len(waiting) - len(settled)
		if left == 0 {
			return 0, nil
		}
		fmt.Fprintf(stderr, "waiting for %d of %d operations\n", left, len(waiting))
		select {
		case <-ctx.Done():
			return left, nil
		case <-time.After(time.Second):
		}
	}
}

func printReport(w io.Writer, asJSON bool, report store.SweepReport) error {
	if asJSON {
		return printJSON(w, report)
	}
	if len(report.Findings) == 0 {
		fmt.Fprintln(w, "Nothing is overdue, and no order needs a review. What is open and not yet due: capstan captures list --state unknown, --attention")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERDICT\tKIND\tID\tSTATE\tWHY")
	for _, f := range report.Findings {
		id := f.OperationID
		if id == "" {
			id = "order " + f.OrderID
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Verdict, f.Kind, id, f.State, f.Rule)
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// healthTimeout bounds one health question.
const healthTimeout = 5 * time.Second

// health asks a URL whether it is well.
func health(ctx context.Context, c config.Health) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.URL, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("ask %s: HTTP %d", c.URL, res.StatusCode)
	}
	return nil
}
