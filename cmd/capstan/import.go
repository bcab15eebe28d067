package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// importReport compares a gateway's report with the ledger. What differs is
// printed, and the exit status says whether a person has to act.
func importReport(ctx context.Context, c config.Import, stdout, stderr io.Writer, log *slog.Logger) error {
	tempo := models.Tempo{Scale: c.TimeScale}
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{Tempo: tempo, MaxConns: 4})
	if err != nil {
		return err
	}
	defer st.Close()
	g, err := st.GatewayBySlug(ctx, c.Gateway)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Mode != c.Mode {
		return fmt.Errorf("no gateway account %q in mode %s; accounts come into being when a worker starts with their credentials", c.Gateway, c.Mode)
	}
	if err != nil {
		return err
	}
	accounts := accountsOf(accountOptions{c.Gateways, c.Mode, tempo, prometheus.NewRegistry(), log, st})
	if accounts[c.Gateway] == nil {
		fmt.Fprintf(stderr, "No credentials for %s: nothing is looked up, and lines are judged as they stand.\n", c.Gateway)
	}
	runner := worker.NewRunner(worker.RunnerConfig{
		Store: st, Accounts: accounts, Name: workerName(), Log: log, RatePerSecond: c.RatePerSecond, CallsAtOnce: c.CallsAtOnce, SkipUnknownHolds: c.SkipUnknownHolds(),
	})
	report, err := runner.CompareReport(ctx, worker.Report{
		Slug: c.Gateway, Source: "report " + c.Gateway + " " + filepath.Base(c.File), DryRun: c.DryRun, Read: reader(c, g.Provider), Progress: progress(stderr),
	})
	if err != nil {
		return fmt.Errorf("compare %s with the ledger: %w", c.File, err)
	}
	if c.JSON {
		err = printJSON(stdout, report)
	} else {
		err = printListing(stdout, report)
	}
	if err == nil && slices.ContainsFunc(report.Findings, worker.ListFinding.NeedsPerson) {
		err = errFailed
	}
	return err
}

// reader reads the file in its format, anew each time.
func reader(c config.Import, provider string) func(each func(models.Movement) error) (int, error) {
	format := c.Format
	if format == "auto" {
		format = "capstan"
		if provider == stripe.Provider {
			format = stripe.Provider
		}
	}
	return func(each func(models.Movement) error) (skipped int, err error) {
		f, err := os.Open(c.File)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if format == stripe.Provider {
			return stripe.ReadReport(f, each)
		}
		return 0, gateway.ReadMovements(f, each)
	}
}

// progressEvery is how often a long comparison says how far it is.
const progressEvery = 2 * time.Second

func progress(stderr io.Writer) func(lines, of int) {
	last := time.Now()
	return func(lines, of int) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(stderr, "%d of %d lines compared\n", lines, of)
		}
	}
}

func printListing(w io.Writer, r worker.ListingReport) error {
	what := "Compared"
	if r.DryRun {
		what = "Compared, changing nothing,"
	}
	fmt.Fprintf(w, "%s %d lines of %s with the ledger; %d more are no payments.\n", what, r.Lines, r.Gateway, r.Skipped)
	for _, v := range models.Verdicts {
		if n := r.Counts[v]; n > 0 {
			fmt.Fprintf(w, "%8d  %s\n", n, v)
		}
	}
	if len(r.Findings) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\nVERDICT\tHOLD\tAMOUNT\tOPERATION\tRULE\tOUTCOME")
	for _, f := range r.Findings {
		amount := ""
		if f.CurrencyCode != "" {
			amount = models.Decimal(f.AmountCents, f.CurrencyCode) + " " + f.CurrencyCode
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Verdict, f.Hold, amount, f.OperationID, f.Rule, f.Outcome)
	}
	return t.Flush()
}
