package worker_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// mixed are faults for a crowd of orders, all of which end captured.
var mixed = []string{"", "charge_then_drop", "", "drop_before", "", "charge_then_500", "", "sticky_500", "", "truncated"}

func (w *world) crowd(t *testing.T, n int) []purchase {
	t.Helper()
	var bought []purchase
	for i := range n {
		bought = append(bought, w.order(t, mixed[i%len(mixed)]))
	}
	return bought
}

// allCaptured checks every purchase in the gateway's book, and the ledger once.
func (w *world) allCaptured(t *testing.T, bought []purchase) {
	t.Helper()
	for _, p := range bought {
		if op := w.reread(t, p); op.State != models.Succeeded {
			t.Errorf("capture = %+v, want succeeded", op)
		}
		b := w.book(t, p.hold)
		w.checkBooked(t, "captures", b.Captures, total, "eur")
		w.checkAttempts(t, p, b)
		if len(b.Violations) > 0 {
			t.Errorf("violations: %+v", b.Violations)
		}
	}
	w.audit(t)
}

// TestRedisIsFlushedInTheMiddle throws everything in Redis away again and again
// while captures run.
func TestRedisIsFlushedInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.crowd(t, 40)
	w.start(t, staff{tasks: 4})
	for _, share := range []int{5, 15, 25, 35} {
		eventually(t, "some are captured", func() (bool, any) {
			n := w.count(t, `SELECT count(*) FROM captures WHERE state = 'succeeded'`)
			return n >= share, n
		})
		if err := w.redis.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestQueuesAreShownAgain: after a flush Asynqmon knows no queue, until a sweep.
func TestQueuesAreShownAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.start(t, staff{})
	want := slices.Sorted(maps.Keys(tasks.Queues()))
	shown := func() (bool, any) {
		got, err := w.inspector.Queues()
		slices.Sort(got)
		return err == nil && slices.Equal(got, want), fmt.Sprint(got, err)
	}
	eventually(t, "the queues are shown", shown)
	for range 3 {
		if err := w.redis.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the queues are shown again", shown)
	}
	w.order(t, "")
	w.settle(t)
}

// TestRedisIsLost kills Redis and starts an empty one, then stops it in order
// and starts it with what it had.
func TestRedisIsLost(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{NoPostgres: true})
	w := newWorld(t, setup{redisURL: stack.RedisURL})
	bought := w.crowd(t, 20)
	w.start(t, staff{tasks: 2})
	for _, lose := range []bool{true, false, true} {
		before := w.count(t, `SELECT count(*) FROM captures WHERE state = 'succeeded'`)
		if err := stack.StopRedis(t.Context(), lose); err != nil {
			t.Fatal(err)
		}
		bought = append(bought, w.order(t, "")) // approving needs no Redis
		if err := stack.StartRedis(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "captures go on", func() (bool, any) {
			n := w.count(t, `SELECT count(*) FROM captures WHERE state = 'succeeded'`)
			return n > before, n
		})
	}
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestApprovingNeedsNoRedis: down, hanging, full and read-only.
func TestApprovingNeedsNoRedis(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{NoPostgres: true})
	w := newWorld(t, setup{redisURL: stack.RedisURL})
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var bought []purchase
	do(stack.StopRedis(t.Context(), false))
	bought = append(bought, w.order(t, ""))
	do(stack.StartRedis(t.Context()))
	do(stack.PauseRedis())
	bought = append(bought, w.order(t, ""))
	do(stack.ResumeRedis())
	eventually(t, "Redis answers", func() (bool, any) { err := w.redis.Ping(t.Context()).Err(); return err == nil, err })
	do(w.redis.ConfigSet(t.Context(), "maxmemory", "1").Err())
	bought = append(bought, w.order(t, ""))
	do(w.redis.ConfigSet(t.Context(), "maxmemory", "0").Err())
	do(w.redis.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	bought = append(bought, w.order(t, ""))
	do(w.redis.ConfigSet(t.Context(), "min-replicas-to-write", "0").Err())
	if n := w.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`); n != len(bought) {
		t.Errorf("%d of %d captures count as unpublished", n, len(bought))
	}
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestOldSnapshotOfRedisIsRestored: tasks that are long done come back.
func TestOldSnapshotOfRedisIsRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.crowd(t, 15)
	old := snapshot(t, w.redis)
	stop := w.start(t, staff{})
	w.settle(t)
	stop()
	requests := len(w.book(t, "").Requests)
	claims := w.count(t, `SELECT count(*) FROM attempts`)
	restore(t, w.redis, old)
	w.start(t, staff{})
	eventually(t, "the old tasks are gone", func() (bool, any) {
		info, err := w.inspector.GetQueueInfo(tasks.Captures)
		return err == nil && info.Size == 0, fmt.Sprint(info, err)
	})
	if n := len(w.book(t, "").Requests); n != requests {
		t.Errorf("the gateway saw %d requests more", n-requests)
	}
	if n := w.count(t, `SELECT count(*) FROM attempts`); n != claims {
		t.Errorf("%d claims were made for old tasks", n-claims)
	}
	w.allCaptured(t, bought)
}

// snapshot copies every key of Redis as it is.
func snapshot(t *testing.T, r redis.UniversalClient) map[string]string {
	t.Helper()
	keys, err := r.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("list the keys: %d, %v", len(keys), err)
	}
	old := map[string]string{}
	for _, k := range keys {
		if old[k], err = r.Dump(t.Context(), k).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return old
}

func restore(t *testing.T, r redis.UniversalClient, old map[string]string) {
	t.Helper()
	if err := r.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for k, v := range old {
		if err := r.RestoreReplace(t.Context(), k, 0, v).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheSameTaskFiftyTimes: one claim, one call.
func TestTheSameTaskFiftyTimes(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"", "charge_then_drop"} {
		t.Run("gateway "+fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := w.order(t, fault)
			queue := asynq.NewClientFromRedisClient(w.redis)
			for i := range 50 {
				if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", p.op.ID, 100+i, 0, tempo.TaskTimeout())); err != nil {
					t.Fatal(err)
				}
			}
			w.start(t, staff{tasks: 16})
			w.settle(t)
			eventually(t, "the queue is empty", func() (bool, any) {
				info, err := w.inspector.GetQueueInfo(tasks.Captures)
				return err == nil && info.Size == 0, fmt.Sprint(info, err)
			})
			if sends, _ := w.claims(t, p.op.ID); sends != 1 {
				t.Errorf("sent %d times, want once", sends)
			}
			w.check(t, p, truth{captured: total})
			if n := archived(t, w, tasks.Captures); len(n) != 0 {
				t.Errorf("archived: %v", n)
			}
		})
	}
}

// archived lists the archived tasks of a queue: id to last error.
func archived(t *testing.T, w *world, queue string) map[string]string {
	t.Helper()
	list, err := w.inspector.ListArchivedTasks(queue, asynq.PageSize(100))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, i := range list {
		out[i.ID] = i.LastErr
	}
	return out
}

// TestPoisonIsArchived: what no worker understands goes to the archive with its
// reason, and the queue moves on.
func TestPoisonIsArchived(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.place(t, "")
	payload := func(v int, id string) []byte { return fmt.Appendf(nil, `{"v":%d,"id":%q}`, v, id) }
	poison := []struct {
		name, typ, queue string
		payload          []byte
		reason           string
	}{
		{"garbage", tasks.CaptureRun, tasks.Captures, []byte("\x00\xff{{{"), "unreadable task payload"},
		{"nothing", tasks.CaptureRun, tasks.Captures, nil, "unreadable task payload"},
		{"null", tasks.CaptureRun, tasks.Captures, []byte("null"), "schema version 0"},
		{"ten-megabytes", tasks.CaptureRun, tasks.Captures, bytes.Repeat([]byte("x"), 10<<20), "10485760 bytes"},
		{"later-version", tasks.CaptureRun, tasks.Captures, payload(2, p.authID), "schema version 2, this worker knows 1"},
		{"no-uuid", tasks.CaptureRun, tasks.Captures, payload(1, "'; DROP TABLE captures; --"), "the id is no UUID"},
		{"another-member", tasks.CaptureRun, tasks.Captures, []byte(`{"v":1,"id":"` + p.authID + `","amount":1}`), "unknown field"},
		{"no-such-capture", tasks.CaptureRun, tasks.Captures, payload(1, store.NewID()), "not found"},
		{"an-id-of-something-else", tasks.CaptureRun, tasks.Captures, payload(1, p.authID), "not found"},
		{"no-such-refund", tasks.RefundRun, tasks.Returns, payload(1, store.NewID()), "not found"},
		{"no-such-void", tasks.VoidRun, tasks.Returns, payload(1, store.NewID()), "not found"},
		{"unknown-type", "capture:explode", tasks.Captures, payload(1, p.authID), `task type "capture:explode" is not known`},
		{"batch-garbage", tasks.CapturesRun, tasks.Captures, []byte("\x00\xff{{{"), "unreadable task payload"},
		{"empty-batch", tasks.CapturesRun, tasks.Captures, []byte(`{"v":1,"ids":[]}`), "0 ids, from 1 to 500"},
		{"single-as-batch", tasks.CapturesRun, tasks.Captures, payload(1, p.authID), "unknown field"},
		{"batch-as-single", tasks.CaptureRun, tasks.Captures, []byte(`{"v":1,"ids":["` + p.authID + `"]}`), "unknown field"},
		{"no-such-delivery", tasks.WebhookDeliver, tasks.Webhooks, payload(1, store.NewID()), "not found"},
	}
	queue := asynq.NewClientFromRedisClient(w.redis)
	for _, x := range poison {
		if _, err := queue.Enqueue(asynq.NewTask(x.typ, x.payload), asynq.Queue(x.queue), asynq.TaskID(x.name), asynq.MaxRetry(1000)); err != nil {
			t.Fatalf("enqueue %s: %v", x.name, err)
		}
	}
	p.op = w.approve(t, p)[0] // behind all of it
	w.start(t, staff{tasks: 1})
	w.settle(t)
	w.check(t, p, truth{captured: total})
	for _, x := range poison {
		eventually(t, x.name+" is archived", func() (bool, any) {
			got := archived(t, w, x.queue)
			return strings.Contains(got[x.name], x.reason), got
		})
	}
}

// TestBlockedTaskNames: an archived task, and one that is active for ever, keep
// their names. The next generation gets past them.
func TestBlockedTaskNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	archivedOne, orphan := w.order(t, ""), w.order(t, "")
	if err := w.inspector.ArchiveTask(tasks.Captures, name(archivedOne, 1)); err != nil {
		t.Fatal(err)
	}
	orphaned(t, w, name(orphan, 1))
	w.start(t, staff{})
	w.settle(t)
	for _, p := range []purchase{archivedOne, orphan} {
		w.check(t, p, truth{captured: total})
		if got := w.verdicts(t, p.op.ID); !slices.Equal(got, []models.Verdict{models.Republish}) {
			t.Errorf("verdicts %v, want one republish", got)
		}
		if _, err := w.inspector.GetTaskInfo(tasks.Captures, name(p, 1)); err != nil {
			t.Errorf("the blocked task is gone, so that this test proves nothing: %v", err)
		}
	}
}

func name(p purchase, generation int) string {
	return fmt.Sprintf("%s:%s:%d", p.op.Kind, p.op.ID, generation)
}

// orphaned puts a pending task where a failover of Redis may leave it: active,
// without a lease.
func orphaned(t *testing.T, w *world, id string) {
	t.Helper()
	key := "asynq:{" + tasks.Captures + "}:"
	if n, err := w.redis.LRem(t.Context(), key+"pending", 1, id).Result(); err != nil || n != 1 {
		t.Fatalf("take %s from pending: %d %v", id, n, err)
	}
	if err := w.redis.LPush(t.Context(), key+"active", id).Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.redis.HSet(t.Context(), key+"t:"+id, "state", "active").Err(); err != nil {
		t.Fatal(err)
	}
}

// TestRedisThatEvicts: a worker does not start on it, and stopping what did not
// start is harmless.
func TestRedisThatEvicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	if err := w.redis.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	server := w.server(t, staff{}, w.redis)
	if err := server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "CONFIG SET maxmemory-policy noeviction") {
		t.Errorf("start: %v, want a refusal that says what to run", err)
	}
	server.Shutdown()
	nowhere := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialTimeout: time.Second})
	defer nowhere.Close()
	server = w.server(t, staff{}, nowhere)
	if err := server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "REDIS_URL") {
		t.Errorf("start without a Redis: %v, want a refusal that names the setting", err)
	}
	server.Shutdown()
}
