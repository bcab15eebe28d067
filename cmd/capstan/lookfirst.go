package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// lookFirst begins or ends the mode in which everything is looked up before it
// is sent, and says what that means.
func lookFirst(ctx context.Context, c config.Reconcile, stdout io.Writer) error {
	if c.DryRun {
		return errors.New("--look-first and --look-first-off change something: leave --dry-run out, and run that afterwards")
	}
	if err := errors.Join(c.Ledger.Validate(), c.LookFirst.Validate()); err != nil {
		return err
	}
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{Tempo: c.Tempo(), MaxConns: c.MaxConns})
	if err != nil {
		return err
	}
	defer st.Close()
	var until time.Time
	if c.LookFirst.On {
		now, err := st.Now(ctx, nil)
		if err != nil {
			return err
		}
		until = now.Add(c.LookFirst.For)
	}
	accounts, err := st.LookFirst(ctx, c.LookFirst.Gateway, until, workerName())
	if err != nil {
		return err
	}
	if c.JSON && c.Once {
		return nil // one document: the sweep's report
	}
	if c.JSON {
		return printJSON(stdout, modes(accounts))
	}
	for _, g := range accounts {
		if c.LookFirst.Off {
			fmt.Fprintf(stdout, "%s: nothing is doubted for a restore any more\n", g.Slug)
			continue
		}
		fmt.Fprintf(stdout, "%s: everything is looked up before it is sent, until %s; its open work is published anew\n", g.Slug, g.LookFirstUntil.UTC().Format(time.RFC3339))
	}
	if len(accounts) == 0 {
		fmt.Fprintln(stdout, "There are no gateway accounts in this database.")
	}
	return nil
}

// mode is an account's look-first mode; Until is left out when it is off.
type mode struct {
	Gateway string     `json:"gateway"`
	Since   *time.Time `json:"look_first_since,omitempty"`
	Until   *time.Time `json:"look_first_until,omitempty"`
}

func modes(accounts []models.PaymentGateway) []mode {
	out := make([]mode, len(accounts))
	for i, g := range accounts {
		out[i] = mode{Gateway: g.Slug, Since: g.LookFirstSince, Until: g.LookFirstUntil}
	}
	return out
}

// looking says which accounts look first, for the doctor.
func looking(accounts []models.PaymentGateway) string {
	if len(accounts) == 0 {
		return "off: what was never sent is sent without a look"
	}
	words := make([]string, len(accounts))
	for i, g := range accounts {
		words[i] = fmt.Sprintf("%s until %s", g.Slug, g.LookFirstUntil.UTC().Format(time.RFC3339))
	}
	return "on, as after a restore: " + strings.Join(words, ", ") + "; end it with capstan reconcile --look-first-off"
}
