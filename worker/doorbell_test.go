package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/tasks"
	"github.com/capstan-pay/capstan/worker"
)

// never is a wait that no test sits out: what happens all the same was rung for.
const never = time.Hour

// ringing are Asynq servers behind a doorbell. Their handler notes which tasks
// ran.
type ringing struct {
	bell  *worker.Doorbell
	redis redis.UniversalClient
	queue *asynq.Client
	count int // servers
	stop  func()

	mu  sync.Mutex
	ran map[string]int
}

// deaf starts servers whose bell has no subscription.
func deaf(t *testing.T, redisURL string, servers int, poll time.Duration, hooks ...redis.Hook) *ringing {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &ringing{redis: openRedis(t, redisURL), count: servers, ran: map[string]int{}}
	r.queue = asynq.NewClientFromRedisClient(r.redis)
	r.bell = worker.NewDoorbell(r.redis, poll, never, log)
	var running []*asynq.Server
	for range servers {
		client := openRedis(t, redisURL)
		for _, h := range hooks {
			client.AddHook(h)
		}
		r.bell.Attach(client, len(tasks.Queues()))
		server := asynq.NewServerFromRedisClient(client, asynq.Config{
			Concurrency: 4, Queues: tasks.Queues(), TaskCheckInterval: time.Millisecond, DelayedTaskCheckInterval: 50 * time.Millisecond,
			RetryDelayFunc:  func(int, error, *asynq.Task) time.Duration { return time.Millisecond },
			ShutdownTimeout: time.Minute, LogLevel: asynq.FatalLevel,
		})
		if err := server.Start(asynq.HandlerFunc(r.handle)); err != nil {
			t.Fatal(err)
		}
		running = append(running, server)
	}
	r.stop = sync.OnceFunc(func() {
		r.bell.Close()
		for _, s := range running {
			s.Shutdown()
		}
	})
	t.Cleanup(r.stop)
	return r
}

// idle starts servers and waits until all of them sleep.
func idle(t *testing.T, redisURL string, servers int, hooks ...redis.Hook) *ringing {
	t.Helper()
	r := deaf(t, redisURL, servers, never, hooks...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		r.bell.Listen(ctx)
	}()
	stop := r.stop
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-listening
		stop()
	})
	t.Cleanup(r.stop)
	r.sleeps(t)
	return r
}

func (r *ringing) sleeps(t *testing.T) {
	t.Helper()
	eventually(t, "all servers sleep, and somebody listens", func() (bool, any) {
		return r.bell.Subscribed() && r.bell.Asleep() == r.count, r.bell.Asleep()
	})
}

// handle notes a task; the first run of one called "again" fails.
func (r *ringing) handle(ctx context.Context, _ *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ran[id]++
	if id == "again" && r.ran[id] == 1 {
		return errors.New("once more")
	}
	return nil
}

// runs waits until each of these tasks ran so many times.
func (r *ringing) runs(t *testing.T, want map[string]int) {
	t.Helper()
	eventually(t, "the tasks ran", func() (bool, any) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return maps.Equal(r.ran, want), maps.Clone(r.ran)
	})
}

// put enqueues a task and tells nobody.
func (r *ringing) put(t *testing.T, queue, id string, options ...asynq.Option) {
	t.Helper()
	task := asynq.NewTask("test", nil, append(options, asynq.Queue(queue), asynq.TaskID(id), asynq.MaxRetry(3))...)
	if _, err := r.queue.EnqueueContext(t.Context(), task); err != nil {
		t.Fatal(err)
	}
}

func (r *ringing) ring(t *testing.T) {
	t.Helper()
	if err := tasks.Ring(t.Context(), r.redis); err != nil {
		t.Fatal(err)
	}
}

// TestRing wakes sleeping servers: a task in any queue is taken although nobody
// would look for an hour, each task once, and then all sleep again.
func TestRing(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d servers", servers), func(t *testing.T) {
			t.Parallel()
			r := idle(t, devstacktest.NewRedis(t), servers)
			want := map[string]int{}
			for queue := range tasks.Queues() {
				r.put(t, queue, queue)
				r.ring(t)
				want[queue] = 1
				r.runs(t, want)
				r.sleeps(t)
			}
			for i := range 60 {
				id := fmt.Sprint("crowd", i)
				r.put(t, tasks.Captures, id)
				want[id] = 1
				if i%7 == 0 {
					r.ring(t)
				}
			}
			r.ring(t)
			r.runs(t, want)
			r.sleeps(t)
		})
	}
}

// TestDueTasksRing: a delayed task and a retry are moved by Asynq itself, which
// nobody rings for.
func TestDueTasksRing(t *testing.T) {
	t.Parallel()
	r := idle(t, devstacktest.NewRedis(t), 2)
	r.put(t, tasks.Returns, "delayed", asynq.ProcessIn(time.Millisecond))
	r.runs(t, map[string]int{"delayed": 1})
	r.sleeps(t)
	r.put(t, tasks.Webhooks, "again")
	r.ring(t)
	r.runs(t, map[string]int{"delayed": 1, "again": 2})
	r.sleeps(t)
}

// TestSubscriptionIsLost: what was published meanwhile is found when the
// subscription is back, and a ring is heard again.
func TestSubscriptionIsLost(t *testing.T) {
	t.Parallel()
	r := idle(t, devstacktest.NewRedis(t), 2)
	for i := range 3 {
		unheard := fmt.Sprint("unheard", i)
		r.put(t, tasks.Captures, unheard)
		if n, err := r.redis.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int(); err != nil || n == 0 {
			t.Fatalf("%d connections were killed, %v", n, err)
		}
		eventually(t, "what nobody rang for ran", func() (bool, any) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.ran[unheard] == 1, maps.Clone(r.ran)
		})
		r.sleeps(t)
	}
	r.put(t, tasks.Captures, "heard")
	r.ring(t)
	r.runs(t, map[string]int{"unheard0": 1, "unheard1": 1, "unheard2": 1, "heard": 1})
}

// TestNoSubscriptionPolls: servers look by themselves while nobody can ring.
func TestNoSubscriptionPolls(t *testing.T) {
	t.Parallel()
	r := deaf(t, devstacktest.NewRedis(t), 2, 20*time.Millisecond)
	want := map[string]int{}
	for queue := range tasks.Queues() {
		r.put(t, queue, queue)
		want[queue] = 1
		r.runs(t, want)
	}
}

// TestCloseEndsWaits: servers that sleep for an hour shut down, with tasks that
// nobody took left in Redis.
func TestCloseEndsWaits(t *testing.T) {
	t.Parallel()
	r := idle(t, devstacktest.NewRedis(t), 4)
	r.stop()
	if n := r.bell.Asleep(); n != 0 {
		t.Errorf("%d servers sleep after the end", n)
	}
}

// TestRedisRestarts under sleeping servers.
func TestRedisRestarts(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{NoPostgres: true})
	r := idle(t, stack.RedisURL, 2)
	if err := stack.StopRedis(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is noticed", func() (bool, any) { return !r.bell.Subscribed(), nil })
	if err := stack.StartRedis(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.sleeps(t)
	r.put(t, tasks.Captures, "after")
	r.ring(t)
	r.runs(t, map[string]int{"after": 1})
	r.sleeps(t)
}

// recorder notes what passes through a client.
type recorder struct {
	mu   sync.Mutex
	seen []seen
}

type seen struct {
	cmd redis.Cmder
	nil bool
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, seen{cmd, errors.Is(err, redis.Nil)})
		return err
	}
}

// TestAsynqAsksAsKnown pins how Asynq asks Redis. If it fails after an upgrade of
// Asynq, idle workers still find their tasks, but by polling: recognise has to
// learn the new way.
func TestAsynqAsksAsKnown(t *testing.T) {
	t.Parallel()
	spy := &recorder{}
	r := idle(t, devstacktest.NewRedis(t), 1, spy)
	r.put(t, tasks.Captures, "again")
	r.put(t, tasks.Captures, "delayed", asynq.ProcessIn(time.Millisecond))
	r.ring(t)
	r.runs(t, map[string]int{"again": 2, "delayed": 1})
	r.stop()
	queues := slices.Sorted(maps.Keys(tasks.Queues()))
	dequeued, forwarded := map[string]bool{}, map[string]bool{}
	for _, s := range spy.seen {
		args := s.cmd.Args()
		what, queue := worker.Recognise(s.cmd)
		prefix := "asynq:{" + queue + "}:"
		switch what {
		case "dequeue":
			dequeued[queue] = true
			if d := cmp.Diff([]any{4, prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}, args[2:7]); d != "" {
				t.Errorf("dequeue: %s", d)
			}
		case "forward":
			forwarded[queue] = true
			if n, err := s.cmd.(*redis.Cmd).Int64(); err != nil && s.cmd.Err() == nil {
				t.Errorf("a forward answered %v, %v; want how many it moved", n, err)
			}
		default:
			if s.nil {
				t.Errorf("%v answers nil, and the doorbell does not know it", args)
			}
		}
	}
	for what, got := range map[string]map[string]bool{"dequeue": dequeued, "forward": forwarded} {
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, queues) {
			t.Errorf("calls recognised as %s: of the queues %v, want %v", what, names, queues)
		}
	}
}

// TestUnknownDequeuePolls: an Asynq that takes tasks in another way waits a
// moment after each empty answer. Nothing else that answers nil waits.
func TestUnknownDequeuePolls(t *testing.T) {
	t.Parallel()
	client := openRedis(t, devstacktest.NewRedis(t))
	bell := worker.NewDoorbell(client, never, never, slog.New(slog.NewTextHandler(t.Output(), nil)))
	bell.Attach(client, 1)
	for name, cmd := range map[string]*redis.Cmd{
		"a missing key":  client.Do(t.Context(), "GET", "asynq:{captures}:paused"),
		"another script": client.Eval(t.Context(), "return nil", []string{"asynq:{captures}:lease"}),
		"another queue":  client.Do(t.Context(), "RPOP", "queue:pending"),
	} {
		if !errors.Is(cmd.Err(), redis.Nil) {
			t.Errorf("%s: %v", name, cmd.Err())
		}
	}
	if err := client.Do(t.Context(), "LPUSH", "asynq:{captures}:pending", "a").Err(); err != nil {
		t.Error(err)
	}
	if err := client.Do(t.Context(), "RPOP", "asynq:{captures}:pending").Err(); err != nil {
		t.Error(err)
	}
	answered := make(chan error, 1)
	go func() { answered <- client.Do(t.Context(), "RPOP", "asynq:{captures}:pending").Err() }()
	eventually(t, "the empty answer waits", func() (bool, any) { return bell.Asleep() == 1, bell.Asleep() })
	bell.Close()
	if err := <-answered; !errors.Is(err, redis.Nil) {
		t.Errorf("the answer is %v, want nil from Redis", err)
	}
}

// TestServerSleeps: a whole worker without a relay sleeps, is woken by an
// approval, and shuts down in its sleep.
func TestServerSleeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	server := w.server(t, staff{servers: 3, sweep: never}, w.redis)
	bell := server.Bell(never)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(server.Shutdown)
	t.Cleanup(stop)
	for range 3 {
		eventually(t, "all servers sleep", func() (bool, any) { return bell.Subscribed() && bell.Asleep() == 3, bell.Asleep() })
		p := w.order(t, "")
		eventually(t, "the capture succeeded", func() (bool, any) {
			op := w.reread(t, p)
			return op.State == models.Succeeded, op.State
		})
	}
	eventually(t, "all servers sleep", func() (bool, any) { return bell.Asleep() == 3, bell.Asleep() })
	stop()
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		concurrency, servers int
		want                 []int
	}{
		{64, 2, []int{32, 32}}, {7, 3, []int{3, 2, 2}}, {1, 4, []int{1}}, {3, 8, []int{1, 1, 1}}, {5, 0, []int{5}}, {0, 0, []int{1}}, {-1, -1, []int{1}},
	} {
		if got := worker.Shares(tt.concurrency, tt.servers); !slices.Equal(got, tt.want) {
			t.Errorf("%d tasks among %d servers: %v, want %v", tt.concurrency, tt.servers, got, tt.want)
		}
	}
}
