package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack/meter"
)

const (
	// benchRate is the pause between two approvals: ten a second.
	benchRate = 100 * time.Millisecond
	// benchWarmUp is how many approvals come before those that count.
	benchWarmUp = 10
	// benchSettle is how long an idle process is left alone before it is watched.
	benchSettle = 3 * time.Second
)

// latencyRun times approvals, and three commits between every two of them.
type latencyRun struct {
	remote config.Remote
	orders []string
	conn   *pgx.Conn

	mu      sync.Mutex
	began   map[string]time.Time // by order
	ended   map[string]time.Time // by capture
	failed  error
	units   []float64
	flights sync.WaitGroup
}

// benchLatency approves orders over HTTP at a low rate, and times from the
// request to the commit that captured the order.
func benchLatency(ctx context.Context, job meter.Job) (report meter.Report, err error) {
	watch := newBenchWatch(job)
	run := &latencyRun{began: map[string]time.Time{}, ended: map[string]time.Time{}}
	watch.final = run.captured
	s, err := benchSystem(ctx, job, watch)
	if err != nil {
		return report, err
	}
	defer func() { err = joinShutdown(err, s) }()
	if err := run.prepare(ctx, job); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, run.conn.Close(context.WithoutCancel(ctx))) }()
	if err := s.start(ctx, roles{api: true, worker: true, relay: true}); err != nil {
		return report, err
	}
	run.remote = config.Remote{URL: s.url("api"), Token: benchToken}
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	if err := run.approve(ctx); err != nil {
		return report, err
	}
	last, err := watch.wait(ctx)
	if err != nil {
		return report, err
	}
	if err := window.End(ctx, &report, last); err != nil {
		return report, err
	}
	watch.report(&report)
	report.Units = run.units
	report.Samples, err = run.samples(ctx)
	return report, err
}

func (l *latencyRun) captured(id string, _ int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[id] = at
}

// prepare finds the orders and a table for the commits to compare with.
func (l *latencyRun) prepare(ctx context.Context, job meter.Job) error {
	var err error
	if l.conn, err = pgx.Connect(ctx, job.DatabaseURL); err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	if _, err := l.conn.Exec(ctx, "CREATE TABLE bench_commits (n bigint, at timestamptz NOT NULL DEFAULT now())"); err != nil {
		return fmt.Errorf("make a table to commit to: %w", err)
	}
	rows, err := l.conn.Query(ctx, "SELECT id::text FROM orders WHERE status = 'pending' ORDER BY id LIMIT $1", job.Captures)
	if err != nil {
		return fmt.Errorf("find the orders: %w", err)
	}
	l.orders, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// approve approves one order after the other at a steady rate, however long
// each takes, and commits three times half-way between two.
func (l *latencyRun) approve(ctx context.Context) error {
	tick := time.NewTicker(benchRate / 2)
	defer tick.Stop()
	for i := 0; i < 2*len(l.orders); i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if i%2 == 1 {
			if err := l.threeCommits(ctx, i); err != nil {
				return err
			}
			continue
		}
		order := l.orders[i/2]
		l.flights.Go(func() { l.approveOne(ctx, order) })
	}
	l.flights.Wait()
	return l.failed
}

func (l *latencyRun) approveOne(ctx context.Context, order string) {
	began := time.Now()
	err := call(ctx, l.remote, http.MethodPatch, "/api/orders/"+order, map[string]any{"type": "orders", "id": order, "attributes": map[string]any{"_approve": true}}, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.began[order] = began
	if err != nil {
		l.failed = fmt.Errorf("approve order %s: %w", order, err)
	}
}

// threeCommits is what an approval, a claim and an outcome cost at the least.
func (l *latencyRun) threeCommits(ctx context.Context, i int) error {
	began := time.Now()
	for range 3 {
		if _, err := l.conn.Exec(ctx, "INSERT INTO bench_commits (n) VALUES ($1)", i); err != nil {
			return fmt.Errorf("commit a row: %w", err)
		}
	}
	l.units = append(l.units, milliseconds(time.Since(began)))
	return nil
}

// samples brings requests and captures together.
func (l *latencyRun) samples(ctx context.Context) ([]float64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.conn.Query(ctx, "SELECT id::text, order_id::text FROM captures ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read the captures: %w", err)
	}
	var id, order string
	var samples []float64
	_, err = pgx.ForEachRow(rows, []any{&id, &order}, func() error {
		samples = append(samples, milliseconds(l.ended[id].Sub(l.began[order])))
		return nil
	})
	if len(samples) > 2*benchWarmUp {
		samples = samples[benchWarmUp:]
	}
	return samples, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// benchIdle watches a worker that has nothing to do.
func benchIdle(ctx context.Context, job meter.Job) (report meter.Report, err error) {
	s, err := benchSystem(ctx, job, newBenchWatch(job))
	if err != nil {
		return report, err
	}
	defer func() { err = joinShutdown(err, s) }()
	if err := s.start(ctx, roles{worker: true}); err != nil {
		return report, err
	}
	if err := sleep(ctx, benchSettle); err != nil {
		return report, err
	}
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	if err := sleep(ctx, job.Quiet); err != nil {
		return report, err
	}
	return report, window.End(ctx, &report, time.Now())
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
