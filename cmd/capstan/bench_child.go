package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/cmd/capstan/bench"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/till"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// benchChild runs one case of the benchmark for its parent.
func benchChild(ctx context.Context, in io.Reader, out io.Writer) error {
	if meter.Serve(ctx, in, out, benchCase) != 0 {
		return errFailed
	}
	return nil
}

func benchCase(ctx context.Context, job meter.Job) (meter.Report, error) {
	switch job.Case {
	case bench.SandboxServer:
		return meter.Report{}, benchSandbox(ctx, job)
	case "ceiling":
		return benchCeiling(ctx, job)
	case "latency":
		return benchLatency(ctx, job)
	case "idle":
		return benchIdle(ctx, job)
	case "sweep", "sweep-large":
		return benchSweep(ctx, job)
	}
	return benchQueue(ctx, job)
}

// benchToken opens the API of a case that has one.
const benchToken gateway.Secret = "bench-bench-bench-bench"

// benchSettings are those of production, with what a case is about.
func benchSettings(job meter.Job) config.Role {
	settings := config.Role{
		Ledger: config.Ledger{DatabaseURL: gateway.Secret(job.DatabaseURL), RedisURL: gateway.Secret(job.RedisURL), MaxConns: job.Setting("conns", 16)},
		Listen: config.Listen{API: "127.0.0.1:0", Admin: "127.0.0.1:0"}, Access: config.Access{Token: benchToken, Mode: models.Test},
		Pace: config.Pace{
			TimeScale: job.TimeScale, Concurrency: job.Setting("workers", 64), Servers: job.Setting("servers", 2), SweepEvery: 30 * time.Second, RelayEvery: 500 * time.Millisecond,
			PollEvery: 50 * time.Millisecond, CancelAfter: 10 * time.Minute,
		},
	}
	if job.GatewayURL != "" {
		settings.StripeKey, settings.StripeURL = "sk_test_bench", job.GatewayURL
	}
	return settings
}

// benchSystem is a system as production wires it, with a till for a gateway
// unless there is one over HTTP, and a watch on what it records.
func benchSystem(ctx context.Context, job meter.Job, watch *benchWatch) (*system, error) {
	settings := benchSettings(job)
	s, err := open(ctx, settings, slog.New(watch))
	if err != nil || job.GatewayURL != "" {
		return s, err
	}
	s.accounts = gateway.Accounts{stripeAccount: watch.till}
	s.runner = worker.NewRunner(worker.RunnerConfig{Store: s.store, Accounts: s.accounts, Name: workerName(), Log: s.log, CallsAtOnce: job.InFlight})
	if job.Case == "capstan-single" {
		s.enqueuer = enqueuer.New(enqueuer.Config{Store: s.store, Redis: s.redis, CancelAfter: settings.CancelAfter, Log: s.log, MaxBatch: 1})
	}
	return s, nil
}

// benchTill is the gateway of a case.
func benchTill(job meter.Job) *till.Till {
	return till.New(till.Config{
		Latency: job.Latency, Plan: till.Plan{PerMille: job.FailuresPerMille}, AtOnce: job.InFlight, NoBook: job.Case == "memory",
	}, job.Captures)
}

// benchWatch is the system's log, read for the steps that it tells of: what is
// logged as moved is committed. Warnings go to standard error.
type benchWatch struct {
	slog.Handler
	till *till.Till
	want int64
	// final is told each operation that ended, from the goroutine that ended it.
	final func(id string, n int64, at time.Time)
	ended atomic.Int64
	once  sync.Once
	done  chan struct{}
	last  atomic.Pointer[time.Time]
}

func newBenchWatch(job meter.Job) *benchWatch {
	return &benchWatch{
		Handler: slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}), till: benchTill(job), want: int64(job.Captures), done: make(chan struct{}),
	}
}

func (w *benchWatch) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (w *benchWatch) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		return w.Handler.Handle(ctx, r)
	}
	if r.Message != "moved" {
		return nil
	}
	at := time.Now()
	w.till.Touch()
	var state models.State
	var id string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "state":
			state = models.State(a.Value.String())
		case "operation_id":
			id = a.Value.String()
		}
		return true
	})
	if state.Live() {
		return nil
	}
	n := w.ended.Add(1)
	if w.final != nil {
		w.final(id, n, at)
	}
	if n >= w.want {
		w.once.Do(func() {
			w.last.Store(&at)
			close(w.done)
		})
	}
	return nil
}

func (w *benchWatch) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *benchWatch) WithGroup(string) slog.Handler      { return w }

// wait returns when the last capture was committed.
func (w *benchWatch) wait(ctx context.Context) (time.Time, error) {
	select {
	case <-w.done:
		return *w.last.Load(), nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("%d of %d captures ended: %w", w.ended.Load(), w.want, ctx.Err())
	}
}

// report fills in what the till counted.
func (w *benchWatch) report(r *meter.Report) {
	sums := w.till.Sums()
	r.Booked, r.Twice, r.InFlight, r.Waited = sums.Booked, sums.Twice, sums.InFlight, sums.Waited.Seconds()
}

// benchQueue has relay and worker, as production runs them, work off what waits
// in the database. Publishing is part of it.
func benchQueue(ctx context.Context, job meter.Job) (report meter.Report, err error) {
	watch := newBenchWatch(job)
	if job.Case == "memory" {
		watch.final = benchMemory(&report, job.Captures)
	}
	s, err := benchSystem(ctx, job, watch)
	if err != nil {
		return report, err
	}
	defer func() { err = joinShutdown(err, s) }()
	report.Settings = fmt.Sprintf("%d servers, %d tasks at once, %d connections", s.settings.Servers, s.settings.Concurrency, s.settings.MaxConns)
	if job.FailuresPerMille > 0 {
		report.Settings += fmt.Sprintf(", CAPSTAN_TIME_SCALE=%d", job.TimeScale)
	}
	if err := benchWarm(ctx, s.store, s.settings.MaxConns); err != nil {
		return report, err
	}
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	if err := s.start(ctx, roles{worker: true, relay: true}); err != nil {
		return report, err
	}
	last, err := watch.wait(ctx)
	if err != nil {
		return report, err
	}
	watch.report(&report)
	return report, window.End(ctx, &report, last)
}

// benchWarm opens connections, as the peers do before their window.
func benchWarm(ctx context.Context, s *store.Store, conns int) error {
	g, ctx := errgroup.WithContext(ctx)
	for range conns {
		g.Go(func() error {
			_, err := s.ClaimAll(ctx, models.Capture, []string{store.NewID()}, "bench")
			return errors.Join(err, s.Ping(ctx))
		})
	}
	return g.Wait()
}

// benchMemory reads the memory at each tenth of the way.
func benchMemory(report *meter.Report, captures int) func(string, int64, time.Time) {
	step := int64(max(1, captures/10))
	var mu sync.Mutex
	return func(_ string, n int64, _ time.Time) {
		if n%step == 0 {
			mu.Lock()
			defer mu.Unlock()
			report.Memory = append(report.Memory, meter.TakeMemory(int(n)))
		}
	}
}

// joinShutdown stops s and keeps both errors.
func joinShutdown(err error, s *system) error {
	if stopErr := s.shutdown(); err == nil {
		err = stopErr
	}
	return err
}

// benchSandbox serves the sandbox gateway until the parent lets go.
func benchSandbox(ctx context.Context, job meter.Job) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	gate, err := sandbox.New(sandbox.Config{Log: log, Now: time.Now})
	if err != nil {
		return fmt.Errorf("open the sandbox's book: %w", err)
	}
	listener, err := net.Listen("tcp", job.GatewayURL)
	if err != nil {
		return fmt.Errorf("listen on %s for the sandbox: %w", job.GatewayURL, err)
	}
	server := api.HTTPServer(job.GatewayURL, gate.Handler(), log)
	go func() { _ = server.Serve(listener) }() // ends with Close, below
	<-ctx.Done()
	if err := server.Close(); err != nil {
		return err
	}
	return gate.Close()
}
