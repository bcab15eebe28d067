package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// Config is what a Server needs.
type Config struct {
	Runner *Runner
	Redis  redis.UniversalClient
	// Concurrency is how many tasks run at once.
	Concurrency int
	// SweepEvery is the pause between scheduled reconciliations.
	SweepEvery time.Duration
	// CancelAfter is how long an open order's changed total must stand.
	CancelAfter time.Duration
	// PollEvery is how often an idle server asks Redis for work.
	PollEvery time.Duration
	Deliverer *Deliverer
	Metrics   *Metrics
	Now       func() time.Time
	Log       *slog.Logger
}

// Server takes tasks from Redis until it is shut down.
type Server struct {
	c       Config
	asynq   *asynq.Server
	queue   *asynq.Client
	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewServer returns a Server that is not started.
func NewServer(c Config) *Server {
	s := &Server{c: c, queue: asynq.NewClientFromRedisClient(c.Redis)}
	tempo := c.Runner.tempo
	s.asynq = asynq.NewServerFromRedisClient(c.Redis, asynq.Config{
		Concurrency:              c.Concurrency,
		Queues:                   tasks.Queues(),
		RetryDelayFunc:           retryDelay(tempo),
		IsFailure:                isFailure,
		ShutdownTimeout:          tempo.ShutdownTimeout(),
		TaskCheckInterval:        c.PollEvery,
		DelayedTaskCheckInterval: max(100*time.Millisecond, tempo.Of(time.Second)),
		Logger:                   asynqLog{c.Log},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler:             asynq.ErrorHandlerFunc(s.taskFailed),
	})
	return s
}

// Start begins to take tasks and returns.
func (s *Server) Start(ctx context.Context) error {
	if err := CheckRedis(ctx, s.c.Redis); err != nil {
		return err
	}
	if err := s.asynq.Start(asynq.HandlerFunc(s.handle)); err != nil {
		return fmt.Errorf("start the Asynq server: %w", err)
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.running.Go(func() { s.schedule(ctx) })
	return nil
}

// Shutdown stops in order: no new sweeps, no new tasks, then calls under way end
// and their outcomes are recorded. It returns when all has ended, or after the
// shutdown time-out; what is cut off then is looked up by the next worker. A
// server that never started has nothing to stop.
func (s *Server) Shutdown() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.asynq.Stop()
	s.asynq.Shutdown()
	s.running.Wait()
}

// handle runs one task of any type. What cannot be understood goes to the
// archive with the reason, where it harms nothing.
func (s *Server) handle(ctx context.Context, t *asynq.Task) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.Runner.tempo.TaskTimeout())
	defer cancel()
	if t.Type() == tasks.ReconcileSweep {
		return s.sweep(ctx)
	}
	kind, known := kinds[t.Type()]
	if !known && t.Type() != tasks.WebhookDeliver {
		return fmt.Errorf("task type %q is not known to this worker: %w", t.Type(), asynq.SkipRetry)
	}
	p, err := tasks.Parse(t.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	if known {
		err = s.c.Runner.Run(ctx, kind, p.ID)
	} else {
		err = s.c.Deliverer.Deliver(ctx, p.ID)
	}
	return archiveUnknown(err)
}

var kinds = map[string]models.Kind{tasks.CaptureRun: models.Capture, tasks.RefundRun: models.Refund, tasks.VoidRun: models.Void}

// taskFailed logs what nobody expected; a task that merely comes again is the
// row's business and logged with its move.
func (s *Server) taskFailed(ctx context.Context, t *asynq.Task, err error) {
	if isLater(err) {
		return
	}
	id, _ := asynq.GetTaskID(ctx)
	s.c.Log.ErrorContext(ctx, "task failed", "task_type", t.Type(), "task_id", id, "error", err)
}

// CheckRedis refuses a Redis that may throw tasks away without a word. Losing
// them costs only time, but nobody should lose time every day.
func CheckRedis(ctx context.Context, r redis.UniversalClient) error {
	values, err := r.ConfigGet(ctx, "maxmemory-policy").Result()
	if err != nil {
		if pingErr := r.Ping(ctx).Err(); pingErr != nil {
			return fmt.Errorf("reach Redis: %w; check REDIS_URL and that the server runs", pingErr)
		}
		return nil // a managed Redis may forbid CONFIG
	}
	if policy := values["maxmemory-policy"]; policy != "" && policy != "noeviction" {
		return fmt.Errorf("the Redis at REDIS_URL evicts keys (maxmemory-policy %s): run CONFIG SET maxmemory-policy noeviction", policy)
	}
	return nil
}

// asynqLog hands Asynq's own messages to slog.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...), "source", "asynq") }
func (l asynqLog) Info(args ...any)  { l.log.Info(fmt.Sprint(args...), "source", "asynq") }
func (l asynqLog) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...), "source", "asynq") }
func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...), "source", "asynq") }
func (l asynqLog) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...), "source", "asynq") }

var _ ledger = (*store.Store)(nil)
