// Command capstan-peers is what `capstan bench` compares Capstan with: the same
// captures, worked off in the usual ways. It runs one case for its parent, by
// the protocol of package meter, and has no use by itself.
//
// A peer writes the rows that Capstan writes, under the same triggers, with a
// claim committed before the gateway is called and the outcome committed before
// the job is acknowledged; `capstan audit` holds on its ledger. What it does not
// have is what makes the difference: it takes captures one at a time.
//
// It is a module of its own so that the product does not depend on River.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/capstan-pay/capstan/devstack/meter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(meter.Serve(ctx, os.Stdin, os.Stdout, run))
}

// run runs one case. A failure plan or a latency is part of a case's name, and
// changes nothing about who works it off.
func run(ctx context.Context, job meter.Job) (meter.Report, error) {
	name := job.Case
	for _, condition := range []string{"-50ms", "-1%", "-10%"} {
		name = strings.TrimSuffix(name, condition)
	}
	switch name {
	case "naive":
		return runAsynq(ctx, job, openBun)
	case "naive-pgx":
		return runAsynq(ctx, job, openNative)
	case "river":
		return runRiver(ctx, job, openNative)
	case "river-batched":
		return runRiver(ctx, job, openBatched)
	}
	return meter.Report{}, fmt.Errorf("there is no peer %q: the peers are naive, naive-pgx, river and river-batched", job.Case)
}
