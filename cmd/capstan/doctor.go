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
	note("redis", checkRedisURL(ctx, c), "reachable, keeps what it is given")
	if c.StripeKey == "" {
		note("stripe", nil, "not configured: STRIPE_SECRET_KEY is empty")
	} else {
		err := newStripe(c.Gateways, config.Pace{}.Tempo(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler)).Probe(ctx)
		note("stripe", err, "the secret key is accepted")
	}
	if len(c.StripeWebhookSecrets) == 0 {
		note("stripe webhooks", errors.New("STRIPE_WEBHOOK_SECRET is empty: webhooks are refused, and results are found by looking only"), "")
	} else {
		note("stripe webhooks", nil, fmt.Sprintf("%d secrets", len(c.StripeWebhookSecrets)))
	}
	return printFindings(stdout, c.JSON, found)
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
