// Command capstan is the whole of Capstan in one binary: the roles of
// production, the embedded set-up for development, and the operator's hands.
// Wiring is here and nowhere else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/capstan-pay/capstan/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1 // it ran, and the answer is no: an invariant broken, work still open
	exitUsage       = 2 // it could not run: wrong flags, missing settings, nothing reachable
	exitInterrupted = 130
)

// errFailed ends a command that ran and has printed why the answer is no.
var errFailed = errors.New("failed")

// run is the program: arguments in, exit status out.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cli, command, err := config.Parse(args, stdout, stderr)
	if errors.Is(err, config.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "capstan: %v\nTry: capstan --help\n", err)
		return exitUsage
	}
	err = dispatch(ctx, cli, command, stdout, stderr)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitFailed
	case isRefused(err):
		fmt.Fprintf(stderr, "capstan %s: %v\n", command, err)
		return exitFailed
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintf(stderr, "capstan %s: interrupted\n", command)
		return exitInterrupted // a long-running role ends with nil instead
	}
	fmt.Fprintf(stderr, "capstan %s: %v\n", command, err)
	return exitUsage
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*refused](err)
	return ok
}

func dispatch(ctx context.Context, cli config.CLI, command string, stdout, stderr io.Writer) error {
	log := newLog(cli.Log, stderr, command == "dev" || command == "demo")
	switch command {
	case "dev":
		return dev(ctx, cli.Dev, stdout, log)
	case "demo":
		return demo(ctx, cli.Demo, stdout, newLog(cli.Log, stderr, true))
	case "bench":
		return runBench(ctx, cli.Bench, stdout, stderr, newLog(cli.Log, stderr, true))
	case "bench-child":
		return benchChild(ctx, os.Stdin, stdout)
	case "api":
		return serve(ctx, cli.API, roles{api: true}, log)
	case "worker":
		return serve(ctx, cli.Worker, roles{worker: true}, log)
	case "relay":
		return serve(ctx, cli.Relay, roles{relay: true}, log)
	case "all":
		return serve(ctx, cli.All, roles{api: true, worker: true, relay: true}, log)
	case "migrate":
		return migrate(ctx, cli.Migrate, stdout)
	case "reconcile sweep":
		return reconcile(ctx, cli.Reconcile.Sweep, stdout, stderr, log)
	case "reconcile import":
		return importReport(ctx, cli.Reconcile.Import, stdout, stderr, log)
	case "audit", "audit check":
		return audit(ctx, cli.Audit, stdout, stderr, log)
	case "audit anchors":
		return auditAnchors(ctx, cli.Audit, stdout)
	case "retain":
		return retain(ctx, cli.Retain, stdout)
	case "tokens create", "tokens list", "tokens revoke", "tokens rotate":
		return tokens(ctx, cli.Tokens, command, stdout)
	case "doctor":
		return doctor(ctx, cli.Doctor, stdout)
	case "sandbox":
		return serveSandbox(ctx, cli.Sandbox, log)
	case "health":
		return health(ctx, cli.Health)
	}
	return hands(ctx, cli, command, stdout)
}

// newLog makes the process's logger. People read text, programs JSON.
func newLog(c config.Log, w io.Writer, person bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" || c.Format == "auto" && !person {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
