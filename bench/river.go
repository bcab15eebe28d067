package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/capstan-pay/capstan/devstack/meter"
)

const (
	// fetchCooldown and fetchPoll keep River's producer from waiting: its
	// defaults, 100 ms and 1 s, would bound the rate at workers by cooldown.
	fetchCooldown = time.Millisecond
	fetchPoll     = 20 * time.Millisecond
	// riverConns is River's own pool, beside that of the handlers.
	riverConns = 10
	// insertStep is how many jobs are inserted by one call.
	insertStep = 5000
)

// captureArgs is the job of one capture.
type captureArgs struct {
	ID string `json:"id"`
}

// Kind is River's word for a type of job.
func (captureArgs) Kind() string { return taskType }

// riverWorker hands jobs to the shop.
type riverWorker struct {
	river.WorkerDefaults[captureArgs]
	shop *shop
}

func (w *riverWorker) Work(ctx context.Context, job *river.Job[captureArgs]) error {
	wait, err := w.shop.capture(ctx, job.Args.ID)
	if err == nil && wait > 0 {
		return river.JobSnooze(wait)
	}
	return err
}

// Timeout is none: the shop's own is the gateway's.
func (w *riverWorker) Timeout(*river.Job[captureArgs]) time.Duration { return -1 }

// runRiver works the captures off with River, a job for each. The jobs are in
// the queue before the window begins.
func runRiver(ctx context.Context, job meter.Job, openLedger opener) (report meter.Report, err error) {
	workers := job.Setting("workers", riverWorkers(job))
	l, err := openLedger(ctx, job, job.Setting("conns", min(workers, 20)))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	pool, err := openPool(ctx, job, riverConns)
	if err != nil {
		return report, err
	}
	defer pool.Close()
	s := newShop(job, l)
	workersOf := river.NewWorkers()
	river.AddWorker(workersOf, &riverWorker{shop: s})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}, Workers: workersOf, FetchCooldown: fetchCooldown, FetchPollInterval: fetchPoll,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return report, fmt.Errorf("make the River client: %w", err)
	}
	if err := insertJobs(ctx, job, pool, client); err != nil {
		return report, err
	}
	report.Settings = fmt.Sprintf("%d workers, FetchCooldown %s, FetchPollInterval %s, %d connections of its own, %s", workers, fetchCooldown, fetchPoll, riverConns, l.settings())
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return report, fmt.Errorf("start River: %w", err)
	}
	err = s.wait(ctx, window, &report)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return report, errors.Join(err, client.StopAndCancel(stop))
}

// riverWorkers is what was best here.
func riverWorkers(job meter.Job) int {
	if job.Case == "river-batched" {
		return 1000
	}
	return 100
}

// insertJobs makes River's tables and a job for each capture.
func insertJobs(ctx context.Context, job meter.Job, pool *pgxpool.Pool, client *river.Client[pgx.Tx]) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return fmt.Errorf("prepare River's tables: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("make River's tables: %w", err)
	}
	ids, err := waiting(ctx, job.DatabaseURL)
	if err != nil {
		return err
	}
	for from := 0; from < len(ids); from += insertStep {
		step := ids[from:min(from+insertStep, len(ids))]
		params := make([]river.InsertManyParams, len(step))
		for i, id := range step {
			params[i] = river.InsertManyParams{Args: captureArgs{ID: id}}
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return fmt.Errorf("insert River's jobs: %w", err)
		}
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE river_job"); err != nil {
		return fmt.Errorf("analyze River's jobs: %w", err)
	}
	return nil
}
