package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/store"
)

// retain detaches the history of old months. A month that has to stay is
// printed with the reason, and the exit status says so.
func retain(ctx context.Context, c config.Retain, stdout io.Writer) error {
	st, err := openMigrated(ctx, c.DatabaseURL, store.Options{MaxConns: 2, StatementTimeout: time.Hour})
	if err != nil {
		return err
	}
	defer st.Close()
	report, err := st.Retain(ctx, store.Retention{OlderThan: c.OlderThan, DryRun: c.DryRun, Actor: operator("retain")})
	answers, pruneErr := st.PruneRequests(ctx, c.DryRun)
	err = errors.Join(err, pruneErr)
	if c.JSON {
		err = errors.Join(err, printJSON(stdout, retained{report, answers}))
	} else {
		err = errors.Join(err, printRetention(stdout, report), printPruned(stdout, answers, c.DryRun))
	}
	if err != nil {
		return err
	}
	for _, m := range report.Months {
		if m.Refused != "" {
			return errFailed
		}
	}
	return nil
}

// retained is what a retention did: to the history, and to the answers that are
// not given again.
type retained struct {
	store.RetentionReport
	Answers int64 `json:"idempotency_answers"`
}

func printPruned(w io.Writer, answers int64, dryRun bool) error {
	if answers == 0 {
		return nil
	}
	verb := "removed"
	if dryRun {
		verb = "would be removed"
	}
	_, err := fmt.Fprintf(w, "%d answers under idempotency keys are older than a day and %s.\n", answers, verb)
	return err
}

// openMigrated opens a ledger whose schema is up to date.
func openMigrated(ctx context.Context, url gateway.Secret, o store.Options) (*store.Store, error) {
	st, err := store.Open(ctx, url.Reveal(), o)
	if err != nil {
		return nil, err
	}
	pending, err := st.Pending(ctx)
	if err == nil && pending > 0 {
		err = fmt.Errorf("the schema lacks %d migrations; run `capstan migrate` first", pending)
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

// operator names the person at this terminal and the command.
func operator(command string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	name := "uid " + fmt.Sprint(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return "capstan " + command + ", " + name + " on " + host
}

func printRetention(w io.Writer, r store.RetentionReport) error {
	if len(r.Months) == 0 {
		_, err := fmt.Fprintf(w, "No history before %s is attached.\n", r.Before)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MONTH\tOPERATIONS\tROWS\tMB\tRESULT")
	for _, m := range r.Months {
		result := "detached; its anchor is " + m.Anchor
		switch {
		case m.Refused != "":
			result = "stays: " + m.Refused
		case r.DryRun:
			result = "would be detached"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", m.Month, m.Operations, m.Events+m.Attempts+m.AttemptResults, m.Bytes>>20, result)
		for _, name := range m.Names {
			fmt.Fprintf(t, "\t\t\t\t  %s\n", name)
		}
		for _, name := range m.Detached {
			fmt.Fprintf(t, "\t\t\t\t  dump it, then: DROP TABLE %s\n", name)
		}
	}
	return t.Flush()
}
