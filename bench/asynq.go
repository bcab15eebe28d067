package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/devstack/meter"
)

const (
	taskType  = "capture"
	queueName = "captures"
	// enqueuers is how many enqueue at once; the time is not measured.
	enqueuers = 16
)

// again ends a task that has to come again.
type again struct{ in time.Duration }

func (a again) Error() string { return fmt.Sprintf("again in %s", a.in) }

// runAsynq works the captures off with one Asynq server, a task for each. The
// tasks are in the queue before the window begins.
func runAsynq(ctx context.Context, job meter.Job, openLedger opener) (report meter.Report, err error) {
	workers := job.Setting("workers", asynqWorkers(job))
	conns := job.Setting("conns", min(workers, 20))
	l, err := openLedger(ctx, job, conns)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	redis, err := asynq.ParseRedisURI(job.RedisURL)
	if err != nil {
		return report, fmt.Errorf("read the Redis URL: %w", err)
	}
	if err := enqueue(ctx, job, redis); err != nil {
		return report, err
	}
	s := newShop(job, l)
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency: workers, Queues: map[string]int{queueName: 1}, TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
		LogLevel: asynq.ErrorLevel, RetryDelayFunc: retryDelay, IsFailure: func(err error) bool { return !isAgain(err) },
	})
	report.Settings = fmt.Sprintf("one server, %d workers, %s", workers, l.settings())
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	err = server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		wait, err := s.capture(ctx, string(t.Payload()))
		if err == nil && wait > 0 {
			err = again{wait}
		}
		return err
	}))
	if err != nil {
		return report, fmt.Errorf("start the Asynq server: %w", err)
	}
	defer server.Shutdown()
	return report, s.wait(ctx, window, &report)
}

// asynqWorkers is what was best here: more when calls take time.
func asynqWorkers(job meter.Job) int {
	if job.Latency > 0 {
		return min(job.InFlight, 500)
	}
	return 50
}

func isAgain(err error) bool {
	_, ok := errors.AsType[again](err)
	return ok
}

// retryDelay comes at the time that the handler named; Asynq counts in seconds.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	if a, ok := errors.AsType[again](err); ok {
		return a.in + time.Second
	}
	return time.Second
}

func enqueue(ctx context.Context, job meter.Job, redis asynq.RedisConnOpt) (err error) {
	ids, err := waiting(ctx, job.DatabaseURL)
	if err != nil {
		return err
	}
	client := asynq.NewClient(redis)
	defer func() { err = errors.Join(err, client.Close()) }()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueuers)
	for _, id := range ids {
		g.Go(func() error {
			_, err := client.EnqueueContext(ctx, asynq.NewTask(taskType, []byte(id)), asynq.Queue(queueName), asynq.TaskID("capture:"+id), asynq.MaxRetry(1000))
			if err != nil {
				return fmt.Errorf("enqueue capture %s: %w", id, err)
			}
			return nil
		})
	}
	return g.Wait()
}
