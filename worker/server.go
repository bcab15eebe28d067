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
	// Connect opens another client of the same Redis. Each Asynq server gets one
	// of its own, which Shutdown closes.
	Connect func() redis.UniversalClient
	// Concurrency is how many tasks run at once.
	Concurrency int
	// Servers is how many Asynq servers share the concurrency; 0 is one. Each
	// takes one task at a time from Redis, so two take nearly twice as many.
	Servers int
	// SweepEvery is the pause between scheduled reconciliations.
	SweepEvery time.Duration
	// ListingEvery is the pause between comparisons with the gateways' own lists; 0
	// leaves them out.
	ListingEvery time.Duration
	// AuditEvery is the pause between audits of what is open and recent; 0 leaves
	// them out.
	AuditEvery time.Duration
	// AuditAt is when the whole ledger is audited and the days before anchored,
	// counted from midnight UTC; nil leaves it out.
	AuditAt *time.Duration
	// CancelAfter is how long an open order's changed total must stand.
	CancelAfter time.Duration
	// PollEvery is how often an idle server asks Redis for work while nothing can
	// wake it: see tasks.Bell.
	PollEvery time.Duration
	Deliverer *Deliverer
	Metrics   *Metrics
	Now       func() time.Time
	Log       *slog.Logger
}

// Server takes tasks from Redis until it is shut down.
type Server struct {
	c       Config
	bell    *doorbell
	servers []*asynq.Server
	clients []redis.UniversalClient
	queue   *asynq.Client
	stop    context.CancelFunc
	// stopping is closed when Shutdown begins.
	stopping <-chan struct{}
	running  sync.WaitGroup
	hidden   sync.Once // it was said that a restore cannot be noticed
	// anchored is the night whose days this worker knows to be anchored.
	anchored time.Time
}

// NewServer returns a Server that is not started.
func NewServer(c Config) *Server {
	return &Server{c: c, queue: asynq.NewClientFromRedisClient(c.Redis), bell: newDoorbell(c.Redis, c.PollEvery, c.Log)}
}

// Start begins to take tasks and returns.
func (s *Server) Start(ctx context.Context) error {
	if err := CheckRedis(ctx, s.c.Redis); err != nil {
		return err
	}
	if err := s.noticeRestore(ctx); err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.stopping = ctx.Done()
	s.running.Go(func() { s.bell.listen(ctx) })
	for _, concurrency := range shares(s.c.Concurrency, s.c.Servers) {
		server := s.newAsynq(concurrency)
		if err := server.Start(asynq.HandlerFunc(s.handle)); err != nil {
			s.Shutdown()
			return fmt.Errorf("start an Asynq server: %w", err)
		}
		s.servers = append(s.servers, server)
	}
	s.c.Metrics.lists(s.c.Runner.accounts)
	s.schedule(ctx)
	s.audits(ctx)
	s.running.Go(func() { s.tellRooms(ctx) })
	return nil
}

// shares divides the tasks at once among servers, as evenly as it goes.
func shares(concurrency, servers int) []int {
	concurrency = max(1, concurrency)
	servers = min(max(1, servers), concurrency)
	out := make([]int, servers)
	for i := range out {
		out[i] = concurrency / servers
		if i < concurrency%servers {
			out[i]++
		}
	}
	return out
}

// lookAgainAfter is Asynq's own pause after it found every queue empty. It is
// next to nothing, since the doorbell does the waiting.
const lookAgainAfter = time.Millisecond

// newAsynq makes one Asynq server with a Redis client and a bell of its own.
func (s *Server) newAsynq(concurrency int) *asynq.Server {
	tempo := s.c.Runner.tempo
	client := s.c.Connect()
	s.clients = append(s.clients, client)
	s.bell.attach(client, len(tasks.Queues()))
	return asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency:              concurrency,
		Queues:                   tasks.Queues(),
		RetryDelayFunc:           retryDelay(tempo),
		IsFailure:                isFailure,
		ShutdownTimeout:          tempo.ShutdownTimeout(),
		TaskCheckInterval:        lookAgainAfter,
		DelayedTaskCheckInterval: max(200*time.Millisecond, tempo.Of(time.Second)),
		Logger:                   asynqLog{s.c.Log},
		LogLevel:                 asynq.WarnLevel,
		ErrorHandler:             asynq.ErrorHandlerFunc(s.taskFailed),
	})
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
	s.bell.close() // nobody waits for a ring any more
	var stopping sync.WaitGroup
	for _, server := range s.servers {
		stopping.Go(func() {
			server.Stop()
			server.Shutdown()
		})
	}
	stopping.Wait()
	s.running.Wait()
	for _, client := range s.clients {
		_ = client.Close()
	}
	s.clients, s.servers = nil, nil
}

// handle runs one task of any type. What cannot be understood goes to the
// archive with the reason, where it harms nothing.
func (s *Server) handle(ctx context.Context, t *asynq.Task) error {
	if len(t.Payload()) == 0 {
		if p, ok := s.periodicOf(t.Type()); ok {
			return s.runPeriodic(ctx, p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.Runner.tempo.TaskTimeout())
	defer cancel()
	if t.Type() == tasks.CapturesRun {
		b, err := tasks.ParseBatch(t.Payload())
		if err != nil {
			return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		return s.c.Runner.RunBatch(ctx, b.IDs)
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
