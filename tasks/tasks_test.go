package tasks_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/tasks"
)

func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }

const id = "01a20259-8ea4-769d-b494-6d8bd3f380ff"

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, payload string
		reason        string // "" when it is read
	}{
		{"ours", `{"v":1,"id":"` + id + `"}`, ""},
		{"spaced", " {\n\"v\": 1, \"id\": \"" + id + "\" } \n", ""},
		{"upper case", `{"v":1,"id":"` + strings.ToUpper(id) + `"}`, ""},
		{"nothing", "", "EOF"},
		{"spaces", "   ", "EOF"},
		{"half", `{"v":1,"id":"` + id, "EOF"},
		{"garbage", "\x00\xff\xfe", "invalid character"},
		{"a list", `[1]`, "cannot unmarshal array"},
		{"null", `null`, "schema version 0"},
		{"no version", `{"id":"` + id + `"}`, "schema version 0"},
		{"a later version", `{"v":2,"id":"` + id + `"}`, "schema version 2, this worker knows 1; upgrade it"},
		{"a negative version", `{"v":-1,"id":"` + id + `"}`, "schema version -1"},
		{"a version in words", `{"v":"1","id":"` + id + `"}`, "cannot unmarshal string"},
		{"a broken version", `{"v":1.5,"id":"` + id + `"}`, "cannot unmarshal number"},
		{"no id", `{"v":1}`, "the id is no UUID"},
		{"short id", `{"v":1,"id":"7"}`, "the id is no UUID"},
		{"braced id", `{"v":1,"id":"{` + id + `}"}`, "the id is no UUID"},
		{"urn", `{"v":1,"id":"urn:uuid:` + id + `"}`, "the id is no UUID"},
		{"bare id", `{"v":1,"id":"` + strings.ReplaceAll(id, "-", "") + `"}`, "the id is no UUID"},
		{"sql", `{"v":1,"id":"';DROP TABLE captures;--"}`, "the id is no UUID"},
		{"id as a number", `{"v":1,"id":7}`, "cannot unmarshal number"},
		{"an amount", `{"v":1,"id":"` + id + `","amount_cents":1}`, "unknown field"},
		{"two documents", `{"v":1,"id":"` + id + `"}{"v":1}`, "more than one document"},
		{"a tail", `{"v":1,"id":"` + id + `"} x`, "more than one document"},
		{"large", `{"v":1,"id":"` + strings.Repeat("x", 2000) + `"}`, "bytes, at most 1024"},
		{"deep", strings.Repeat("[", 1000), "EOF"},
		{"a closed tail", `{"v":1,"id":"` + id + `"}}`, "more than one document"},
		{"another closed tail", `{"v":1,"id":"` + id + `"}]`, "more than one document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tasks.Parse([]byte(tt.payload))
			switch {
			case tt.reason == "" && (err != nil || !strings.EqualFold(p.ID, id) || p.Version != 1):
				t.Errorf("Parse = %+v, %v", p, err)
			case tt.reason != "" && (!errors.Is(err, tasks.ErrPayload) || !strings.Contains(err.Error(), tt.reason)):
				t.Errorf("Parse = %+v, %v; want a refusal with %q", p, err, tt.reason)
			}
		})
	}
}

// FuzzParse: whatever is read has a valid id and is what New would write.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"v":1,"id":"` + id + `"}`, `null`, `{"v":1}`, "\x00", `{"v":1,"id":"` + id + `","x":1}`, `{"V":1,"ID":"` + id + `"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := tasks.Parse(raw)
		if err != nil {
			if !errors.Is(err, tasks.ErrPayload) {
				t.Errorf("%q: %v is no ErrPayload", raw, err)
			}
			return
		}
		if len(raw) > 1024 || p.Version != 1 || len(p.ID) != 36 || strings.Trim(strings.ToLower(p.ID), "0123456789abcdef-") != "" {
			t.Errorf("%q was read as %+v", raw, p)
		}
		again, err := tasks.Parse(tasks.New("capture", p.ID, 1, 0, time.Second).Payload())
		if err != nil || again != p {
			t.Errorf("%+v came back as %+v, %v", p, again, err)
		}
	})
}

func connect(t *testing.T) (redis.UniversalClient, *asynq.Client, *asynq.Inspector) {
	t.Helper()
	o, err := redis.ParseURL(devstacktest.NewRedis(t))
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c, asynq.NewClientFromRedisClient(c), asynq.NewInspectorFromRedisClient(c)
}

// TestNew: what Redis and Asynqmon see of a task.
func TestNew(t *testing.T) {
	_, queue, inspector := connect(t)
	for i, tt := range []struct {
		kind, typ, queue string
		delay, timeout   time.Duration
		want             time.Duration
	}{
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 45 * time.Second, 45 * time.Second},
		{"refund", tasks.RefundRun, tasks.Returns, 0, 45 * time.Second, 45 * time.Second},
		{"void", tasks.VoidRun, tasks.Returns, 0, 45 * time.Second, 45 * time.Second},
		{"delivery", tasks.WebhookDeliver, tasks.Webhooks, 0, 45 * time.Second, 45 * time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, time.Hour, 45 * time.Second, 45 * time.Second},
		// Asynq cuts to whole seconds, and takes 0 for half an hour.
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 2250 * time.Millisecond, 3 * time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 3 * time.Second, 3 * time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 450 * time.Millisecond, time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 1, time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, 0, 0, time.Second},
		{"capture", tasks.CaptureRun, tasks.Captures, 0, -time.Second, time.Second},
	} {
		generation := i + 1
		if err := tasks.Enqueue(t.Context(), queue, tasks.New(tt.kind, id, generation, tt.delay, tt.timeout)); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%s:%s:%d", tt.kind, id, generation)
		got, err := inspector.GetTaskInfo(tt.queue, name)
		if err != nil {
			t.Errorf("task %s: %v", name, err)
			continue
		}
		if got.Type != tt.typ || got.Timeout != tt.want || got.MaxRetry != 1000 || got.Retention != 0 || !got.Deadline.IsZero() {
			t.Errorf("task = %+v, want type %s and time-out %s", got, tt.typ, tt.want)
		}
		if string(got.Payload) != `{"v":1,"id":"`+id+`"}` {
			t.Errorf("payload %s: an id and a version, nothing else", got.Payload)
		}
		if want := map[bool]asynq.TaskState{true: asynq.TaskStateScheduled, false: asynq.TaskStatePending}[tt.delay > 0]; got.State != want {
			t.Errorf("task %s is %s, want %s", name, got.State, want)
		}
	}
}

// TestEnqueueTwice is one task, and no error.
func TestEnqueueTwice(t *testing.T) {
	_, queue, inspector := connect(t)
	for range 3 {
		if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", id, 1, 0, time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := inspector.GetQueueInfo(tasks.Captures)
	if err != nil || info.Size != 1 {
		t.Errorf("queue = %+v, %v; want one task", info, err)
	}
}

// TestSweepOfASlot: two schedulers make one task in a slot, and another in the next.
func TestSweepOfASlot(t *testing.T) {
	_, queue, inspector := connect(t)
	slot := time.Now().Truncate(30 * time.Second)
	for _, at := range []time.Time{slot, slot, slot.Add(30 * time.Second)} {
		if err := tasks.Enqueue(t.Context(), queue, tasks.Periodic(tasks.ReconcileSweep, "sweep", at, 45*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := inspector.ListPendingTasks(tasks.Housekeeping)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d sweeps wait, %v; want two", len(list), err)
	}
	for _, i := range list {
		if i.MaxRetry < 1 || i.Type != tasks.ReconcileSweep || i.Timeout != 45*time.Second {
			t.Errorf("sweep = %+v; with no retry a crash would archive it", i)
		}
	}
}

// TestAnnounce puts the queues back that a flush has removed.
func TestAnnounce(t *testing.T) {
	r, queue, inspector := connect(t)
	if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", id, 1, 0, time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := r.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", id, 2, 0, time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := inspector.Queues(); err != nil || len(got) != 0 {
		t.Fatalf("queues %v, %v: Asynq's client publishes them again by itself, and Announce is not needed any more", got, err)
	}
	if err := tasks.Announce(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got, err := inspector.Queues()
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(tasks.Queues())); err != nil || !slices.Equal(got, want) {
		t.Errorf("queues %v, %v; want %v", got, err, want)
	}
}

// TestHints: what a publisher reads of what workers told.
func TestHints(t *testing.T) {
	r, _, _ := connect(t)
	read := func() map[string]int {
		t.Helper()
		room, err := tasks.ReadRoom(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	if got := read(); len(got) != 0 {
		t.Errorf("room %v before anyone told", got)
	}
	if err := tasks.TellRoom(t.Context(), r, nil); err != nil {
		t.Errorf("tell nothing: %v", err)
	}
	if err := tasks.TellRoom(t.Context(), r, map[string]int{"a": 25, "slow": 0, "fast": 100_000}); err != nil {
		t.Fatal(err)
	}
	if err := tasks.TellRoom(t.Context(), r, map[string]int{"b": 7, "a": 30}); err != nil {
		t.Fatal(err)
	}
	if err := r.HSet(t.Context(), tasks.Room, "garbage", "x", "negative", "-3", "zero", "0", "huge", "99999", "float", "1.5", "endless", "99999999999999999999999").Err(); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"a": 30, "b": 7, "slow": 1, "fast": tasks.MaxBatch, "huge": tasks.MaxBatch}
	if got := read(); !maps.Equal(got, want) {
		t.Errorf("room %v, want %v", got, want)
	}
	if ttl, err := r.PTTL(t.Context(), tasks.Room).Result(); err != nil || ttl <= 0 || ttl > time.Minute {
		t.Errorf("the room is forgotten in %v, %v; want within a minute", ttl, err)
	}
	bell := r.Subscribe(t.Context(), tasks.Bell)
	defer bell.Close()
	if _, err := bell.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tasks.Ring(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if m, err := bell.ReceiveMessage(t.Context()); err != nil || m.Channel != tasks.Bell {
		t.Errorf("heard %+v, %v", m, err)
	}
}

// TestTypeOf: each kind has its own type, and every type its queue.
func TestTypeOf(t *testing.T) {
	seen := map[string]string{}
	for _, kind := range []string{"capture", "refund", "void", "delivery"} {
		typ := tasks.TypeOf(kind)
		if other, taken := seen[typ]; taken {
			t.Errorf("%s and %s are both %s", kind, other, typ)
		}
		seen[typ] = kind
	}
}
