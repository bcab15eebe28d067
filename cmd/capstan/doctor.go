package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// finding is one line of the doctor's report.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// doctor checks the set-up from the outside in and says what to do about what
// is wrong. It changes nothing.
func doctor(ctx context.Context, c config.Doctor, stdout io.Writer) error {
	var found []finding
	note := func(check string, err error, good string) {
		f := finding{Check: check, OK: err == nil, Detail: good}
		if err != nil {
			f.Detail = err.Error()
		}
		found = append(found, f)
	}
	note("settings", errors.Join(c.Ledger.Validate(), c.Gateways.Validate(c.Mode)), "complete")
	note("postgres", checkPostgres(ctx, c), "reachable, durable, schema up to date")
	if mode, err := lookFirstMode(ctx, c); err != nil || mode != "" {
		note("look-first mode", err, mode)
	}
	note("redis", checkRedisURL(ctx, c), "reachable, keeps what it is given")
	checkAccounts(ctx, c, note)
	return printFindings(stdout, c.JSON, found)
}

// checkAccounts tries every account's credentials with a call that moves nothing.
func checkAccounts(ctx context.Context, c config.Doctor, note func(check string, err error, good string)) {
	accounts := accountsOf(accountOptions{c.Gateways, c.Mode, config.Pace{}.Tempo(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler), nil})
	if len(accounts) == 0 {
		note("gateways", errors.New("no account is configured: set STRIPE_SECRET_KEY, or another gateway's settings as docs/gateways.md lists them"), "")
	}
	for _, p := range providers() {
		a, ok := accounts[p.slug]
		if !ok {
			note(p.slug, nil, "not configured: "+p.setting+" is empty")
			continue
		}
		note(p.slug, a.Probe(ctx), "the credentials are accepted")
		switch {
		case p.verifiable == nil:
		case p.verifiable(c.Gateways):
			note(p.slug+" webhooks", nil, p.secret+" is set")
		case !a.Capabilities().LookUp:
			note(p.slug+" webhooks", fmt.Errorf("%s is empty: webhooks are refused, and no result is learned, since this gateway cannot be asked", p.secret), "")
		default:
			note(p.slug+" webhooks", fmt.Errorf("%s is empty: webhooks are refused, and results are found by looking only", p.secret), "")
		}
	}
}

func printFindings(w io.Writer, asJSON bool, found []finding) error {
	var failed error
	for _, f := range found {
		if !f.OK {
			failed = errFailed
		}
	}
	if asJSON {
		return errors.Join(printJSON(w, found), failed)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range found {
		mark := "ok"
		if !f.OK {
			mark = "WRONG"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", mark, f.Check, strings.ReplaceAll(f.Detail, "\n", "; "))
	}
	return errors.Join(t.Flush(), failed)
}

func checkPostgres(ctx context.Context, c config.Doctor) error {
	if c.DatabaseURL == "" {
		return errors.New("DATABASE_URL is not set")
	}
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer st.Close()
	return (&system{store: st}).check(ctx)
}

// lookFirstMode says what of the mode a person must know; nothing while the
// database cannot be reached, which is said already.
func lookFirstMode(ctx context.Context, c config.Doctor) (string, error) {
	if checkPostgres(ctx, c) != nil {
		return "", nil
	}
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{MaxConns: 2})
	if err != nil {
		return "", err
	}
	defer st.Close()
	accounts, err := st.LookingFirst(ctx)
	return looking(accounts), err
}

func checkRedisURL(ctx context.Context, c config.Doctor) error {
	if c.RedisURL == "" {
		return errors.New("REDIS_URL is not set")
	}
	o, err := redisOption(c.RedisURL.Reveal())
	if err != nil {
		return err
	}
	client := o.MakeRedisClient().(redis.UniversalClient)
	defer client.Close()
	return worker.CheckRedis(ctx, client)
}
