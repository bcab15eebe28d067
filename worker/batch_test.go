package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
	"github.com/capstan-pay/capstan/worker"
)

// slowly is a tempo at which nothing in a batch is too late, whatever else the
// machine does.
var slowly = models.Tempo{Scale: 2}

// batcher is a runner that is set up as a test needs it, under its own name. It
// works slowly; hurry makes up for it.
func (w *world) batcher(t testing.TB, name string, set func(*worker.RunnerConfig)) *worker.Runner {
	t.Helper()
	patient := openStore(t, w.databaseURL, slowly)
	adapter := newAdapter(w.front.url(), slowly, w.log)
	t.Cleanup(adapter.Close)
	c := worker.RunnerConfig{Store: patient, Accounts: gateway.Accounts{account: adapter}, Name: name, Log: w.log}
	if set != nil {
		set(&c)
	}
	return worker.NewRunner(c)
}

// hurry makes everything due that a slow worker put off, and ends its leases.
func (w *world) hurry(t testing.TB) {
	t.Helper()
	w.exec(t, `UPDATE captures SET next_at = now(), not_before = now() WHERE next_at > now() AND state <> 'capturing'`)
	w.exec(t, `UPDATE captures SET lease_until = now() - interval '1 second' WHERE state = 'capturing'`)
	w.exec(t, `UPDATE captures SET last_sent_at = now() - interval '1 minute' WHERE last_sent_at IS NOT NULL AND state NOT IN ('succeeded', 'failed')`)
	w.exec(t, `UPDATE work SET due_at = now()`)
}

// alike buys n times, with a fault each.
func (w *world) alike(t testing.TB, faults ...string) []purchase {
	t.Helper()
	bought := make([]purchase, len(faults))
	for i, f := range faults {
		bought[i] = w.order(t, f)
	}
	return bought
}

func captureIDs(bought []purchase) []string {
	ids := make([]string, len(bought))
	for i, p := range bought {
		ids[i] = p.op.ID
	}
	return ids
}

// forget empties Redis: what approvals published is gone, and the batch of the
// test is the only task.
func (w *world) forget(t testing.TB) {
	t.Helper()
	if err := w.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

// enqueueBatch hands Redis one task of these captures and no other, as a relay does.
func (w *world) enqueueBatch(t testing.TB, ids []string) {
	t.Helper()
	w.forget(t)
	generations := make([]int, len(ids))
	for i := range generations {
		generations[i] = 1
	}
	w.exec(t, `UPDATE work SET published_at = now()`)
	if err := tasks.Enqueue(t.Context(), asynq.NewClientFromRedisClient(w.redis), tasks.NewBatch(ids, generations, w.store.Tempo().TaskTimeout())); err != nil {
		t.Fatal(err)
	}
}

// left is what a capture is once its batch has ended: its state, and whether
// and how it goes on.
type left struct {
	state      models.State
	open       bool
	alone      bool
	published  bool
	generation int
}

func (w *world) leftOf(t testing.TB, id string) left {
	t.Helper()
	var l left
	err := w.db.QueryRowContext(context.WithoutCancel(t.Context()), `SELECT o.state, w.operation_id IS NOT NULL, COALESCE(w.alone, false), w.published_at IS NOT NULL, COALESCE(w.generation, 0)
		FROM captures AS o LEFT JOIN work AS w ON w.operation_id = o.id WHERE o.id = $1`, id).Scan(&l.state, &l.open, &l.alone, &l.published, &l.generation)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// leftBatch checks that a batch left nothing to chance: each capture has ended,
// or is to be published as a task of its own.
func (w *world) leftBatch(t testing.TB, ids []string) (open []string) {
	t.Helper()
	for _, id := range ids {
		l := w.leftOf(t, id)
		if l.open != l.state.Live() {
			t.Errorf("%s is %s, its open work %t", id, l.state, l.open)
		}
		if !l.open {
			continue
		}
		open = append(open, id)
		if !l.alone || l.published || l.generation < 2 {
			t.Errorf("%s left its batch as %+v", id, l)
		}
	}
	return open
}

// published is the task of a capture in Redis, under its present generation.
func (w *world) published(t testing.TB, id string) bool {
	t.Helper()
	_, err := w.inspector.GetTaskInfo(tasks.Captures, fmt.Sprintf("capture:%s:%d", id, w.leftOf(t, id).generation))
	if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func (w *world) relayOnce(t testing.TB) {
	t.Helper()
	if _, err := enqueuer.NewRelay(w.enqueuer, time.Hour).RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestBatchOfAllSorts: whatever a batch meets, what can be final is, and what is
// open goes on as a task of its own, which settles it.
func TestBatchOfAllSorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	sorts := []struct {
		name   string
		fault  string
		before func(p purchase)
		want   models.State // after the batch
		ends   models.State
		truth  truth
	}{
		{name: "plain", want: models.Succeeded},
		{name: "declined for now", fault: "decline:1", want: models.Pending},
		{name: "declined for good", fault: "decline_hard", want: models.Failed, ends: models.Failed},
		{name: "answer lost, booked", fault: "charge_then_drop", want: models.Unknown},
		{name: "answer lost, not booked", fault: "drop_before", want: models.Unknown},
		{name: "error, booked", fault: "charge_then_500", want: models.Unknown},
		{
			name: "hold expired", want: models.Pending, ends: models.Failed,
			before: func(p purchase) {
				w.exec(t, `UPDATE authorizations SET capture_before = now() - interval '1 second' WHERE id = $1`, p.authID)
			},
		},
		{name: "order cancelled", want: models.Cancelled, ends: models.Cancelled, truth: truth{voided: total}, before: func(p purchase) { w.cancel(t, p) }},
		{name: "captured already", want: models.Succeeded, before: func(p purchase) {
			if err := w.batcher(t, "setup", nil).Run(t.Context(), models.Capture, p.op.ID); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "another worker's", want: models.Capturing, before: func(p purchase) {
			if claims, err := openStore(t, w.databaseURL, slowly).ClaimAll(t.Context(), models.Capture, []string{p.op.ID}, "dead"); err != nil || len(claims) != 1 {
				t.Fatal(claims, err)
			}
		}},
		{name: "waits for a person", want: models.Pending, before: func(p purchase) {
			w.exec(t, `UPDATE captures SET needs_attention = 'bad_request' WHERE id = $1`, p.op.ID)
		}},
		{name: "not due", want: models.Pending, before: func(p purchase) {
			w.exec(t, `WITH later AS (UPDATE captures SET next_at = now() + interval '1 hour' WHERE id = $1 RETURNING id, next_at)
				UPDATE work AS w SET due_at = later.next_at FROM later WHERE w.operation_id = later.id`, p.op.ID)
		}},
		{name: "plain, last", want: models.Succeeded},
	}
	var bought []purchase
	for _, s := range sorts {
		bought = append(bought, w.order(t, s.fault))
	}
	for i, s := range sorts {
		if s.before != nil {
			s.before(bought[i])
		}
	}
	ids := captureIDs(bought)
	w.forget(t)
	if err := w.batcher(t, "one", nil).RunBatch(t.Context(), ids); err != nil {
		t.Fatalf("the task of a batch: %v", err)
	}
	for i, s := range sorts {
		if got := w.leftOf(t, ids[i]).state; got != s.want {
			t.Errorf("%s: %s, want %s", s.name, got, s.want)
		}
	}
	open := w.leftBatch(t, ids)
	w.relayOnce(t)
	for _, id := range open {
		if !w.published(t, id) {
			t.Errorf("%+v of %s is not in Redis", w.leftOf(t, id), id)
		}
	}
	for i, s := range sorts {
		if s.name != "waits for a person" {
			continue
		}
		if err := w.store.Retry(t.Context(), nil, w.reread(t, bought[i]), "person", "looks well"); err != nil {
			t.Fatal(err)
		}
	}
	w.hurry(t)
	w.start(t, staff{name: "two"})
	w.recovered(t)
	for i, s := range sorts {
		if s.ends == "" {
			s.ends, s.truth = models.Succeeded, truth{captured: total}
		}
		if got := w.reread(t, bought[i]); got.State != s.ends {
			t.Errorf("%s ended %s, want %s: %+v", s.name, got.State, s.ends, got)
		}
		w.booked(t, bought[i], s.truth)
	}
	w.audit(t)
}

// booked is check without the audit, for many.
func (w *world) booked(t testing.TB, p purchase, want truth) {
	t.Helper()
	b := w.book(t, p.hold)
	for _, v := range b.Violations {
		t.Errorf("the gateway refused to be robbed: %+v", v)
	}
	w.checkBooked(t, "captures", b.Captures, want.captured, "eur")
	w.checkBooked(t, "releases", b.Cancels, want.voided, "eur")
	w.checkAttempts(t, p, b)
}

// TestBatchIsThrottled: what the gateway turns away, and what waits for it too
// long, leaves the batch as not sent.
func TestBatchIsThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, "429=3", "", "", "")
	ids := captureIDs(bought)
	w.forget(t)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.CallsAtOnce = 1 })
	if err := runner.RunBatch(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if l := w.leftOf(t, ids[0]); l.state != models.Pending {
		t.Errorf("turned away and %+v", l)
	}
	for _, id := range w.leftBatch(t, ids) {
		if op := w.operation(t, models.Capture, id); op.Tries != 0 || op.SentVersion != nil || op.KeyEpoch != 0 {
			t.Errorf("what was not sent counts as a try: %+v", op)
		}
	}
	w.hurry(t)
	w.start(t, staff{name: "two"})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestBatchDeliveredTwice, one while the other calls: the second takes nothing,
// and what the first ends has ended.
func TestBatchDeliveredTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, "", "", "decline:1", "charge_then_drop", "", "drop_before")
	ids := captureIDs(bought)
	w.forget(t)
	one, two := w.batcher(t, "one", nil), w.batcher(t, "two", nil)
	gate := w.front.holdBack(http.MethodPost, "/capture")
	done := make(chan error, 1)
	go func() { done <- one.RunBatch(context.WithoutCancel(t.Context()), ids) }()
	eventually(t, "all calls are under way", func() (bool, any) { return w.front.held(gate) == len(ids), w.front.held(gate) })
	if err := two.RunBatch(t.Context(), ids); err != nil {
		t.Errorf("the second delivery: %v", err)
	}
	if open := w.leftBatch(t, ids); len(open) != len(ids) {
		t.Errorf("open: %v", open)
	}
	w.front.release(gate)
	if err := <-done; err != nil {
		t.Errorf("the first delivery: %v", err)
	}
	for i, want := range []models.State{models.Succeeded, models.Succeeded, models.Pending, models.Unknown, models.Succeeded, models.Unknown} {
		if got := w.leftOf(t, ids[i]).state; got != want {
			t.Errorf("capture %d is %s, want %s", i, got, want)
		}
	}
	w.leftBatch(t, ids)
	if n := w.count(t, `SELECT count(*) FROM attempts`); n != len(ids) {
		t.Errorf("%d attempts of %d captures", n, len(ids))
	}
	if err := two.RunBatch(t.Context(), ids); err != nil {
		t.Errorf("the third delivery: %v", err)
	}
	w.hurry(t)
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestBatchDeliveredToTwoAtOnce: overlapping batches in opposite order.
func TestBatchDeliveredToTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var faults []string
	for i := range 24 {
		faults = append(faults, []string{"", "", "charge_then_drop", "", "drop_before", ""}[i%6])
	}
	bought := w.alike(t, faults...)
	ids := captureIDs(bought)
	w.forget(t)
	back := slices.Clone(ids)
	slices.Reverse(back)
	var crowd sync.WaitGroup
	for i, batch := range [][]string{ids, back, ids[6:18], back[:9]} {
		runner := w.batcher(t, fmt.Sprintf("worker-%d", i%2), nil)
		crowd.Go(func() {
			if err := runner.RunBatch(context.WithoutCancel(t.Context()), batch); err != nil {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	crowd.Wait()
	w.leftBatch(t, ids)
	if n := w.count(t, `SELECT count(*) FROM attempts`); n != len(ids) {
		t.Errorf("%d attempts of %d captures", n, len(ids))
	}
	w.hurry(t)
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestLostAcknowledgementsOfABatch loses each statement that a batch makes, and
// each acknowledgement of one that was committed.
func TestLostAcknowledgementsOfABatch(t *testing.T) {
	t.Parallel()
	places := newPlaces(t, 10)
	for _, tt := range []struct {
		method string
		nth    int
	}{{"ClaimAll", 1}, {"Record", 1}, {"Record", 3}, {"Unbundle", 1}} {
		for _, committed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %d, committed %t", tt.method, tt.nth, committed), func(t *testing.T) {
				t.Parallel()
				w := places.world(t)
				bought := w.alike(t, "", "charge_then_drop", "drop_before", "", "")
				ids := captureIDs(bought)
				w.exec(t, `WITH later AS (UPDATE captures SET next_at = now() + interval '2 seconds' WHERE id = $1 RETURNING id, next_at)
					UPDATE work AS w SET due_at = later.next_at FROM later WHERE w.operation_id = later.id`, ids[4])
				w.enqueueBatch(t, ids)
				f := &faulty{method: tt.method, nth: tt.nth, committed: committed}
				w.start(t, staff{wrap: func(l worker.Ledger) worker.Ledger {
					f.Ledger = l
					return f
				}})
				w.settle(t)
				f.mu.Lock()
				met := f.met
				f.mu.Unlock()
				if !met {
					t.Errorf("the fault was never met")
				}
				w.allCaptured(t, bought)
			})
		}
	}
}

// crowded counts the captures that are at the gateway at once.
type crowded struct {
	next http.Handler

	mu        sync.Mutex
	now, most int
}

func (c *crowded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/capture") {
		c.next.ServeHTTP(w, r)
		return
	}
	c.add(1)
	defer c.add(-1)
	c.next.ServeHTTP(w, r)
}

func (c *crowded) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

// TestBatchLargerThanItsAccount: two calls at once, and batches larger than the
// worker may have under way: all are captured, none is released.
func TestBatchLargerThanItsAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	calls := &crowded{next: w.front.handler}
	bought := w.alike(t, make([]string, 30)...)
	w.front.handler = calls
	ids := captureIDs(bought)
	w.forget(t)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.CallsAtOnce, c.InFlight = 2, 8 })
	var crowd sync.WaitGroup
	for batch := range slices.Chunk(ids, 10) {
		crowd.Go(func() {
			if err := runner.RunBatch(context.WithoutCancel(t.Context()), batch); err != nil {
				t.Error(err)
			}
		})
	}
	crowd.Wait()
	if open := w.leftBatch(t, ids); len(open) != 0 {
		t.Errorf("%d of %d are open", len(open), len(ids))
	}
	calls.mu.Lock()
	if calls.most > 2 {
		t.Errorf("%d calls at once", calls.most)
	}
	calls.mu.Unlock()
	w.allCaptured(t, bought)
}

// TestIntakeIsGivenBack: a batch that finds nothing to claim, or cannot ask,
// leaves room for the next one; a batch that waits for room ends with its task.
func TestIntakeIsGivenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, "", "", "")
	ids := captureIDs(bought)
	w.forget(t)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.InFlight = 4 })
	f := &faulty{method: "ClaimAll", nth: 1}
	runner.Wrap(func(l worker.Ledger) worker.Ledger {
		f.Ledger = l
		return f
	})
	if err := runner.RunBatch(t.Context(), ids); !errors.Is(err, errLost) {
		t.Errorf("a claim that failed: %v", err)
	}
	none := []string{store.NewID(), store.NewID(), store.NewID()}
	if err := runner.RunBatch(t.Context(), none); err != nil {
		t.Errorf("a batch of nothing: %v", err)
	}
	gate := w.front.holdBack(http.MethodPost, "/capture")
	done := make(chan error, 1)
	go func() { done <- runner.RunBatch(context.WithoutCancel(t.Context()), ids) }()
	eventually(t, "all calls are under way", func() (bool, any) { return w.front.held(gate) == len(ids), nil })
	ended, end := context.WithCancel(t.Context())
	end()
	err := runner.RunBatch(ended, none)
	if err == nil || worker.IsFailure(err) {
		t.Errorf("there was no room, and the task of a batch ends with %v", err)
	}
	w.front.release(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := runner.RunBatch(t.Context(), ids); err != nil {
		t.Errorf("room was not given back: %v", err)
	}
	w.leftBatch(t, ids)
	w.allCaptured(t, bought)
}

// TestBatchIsCutOff: its task is cancelled while the money moves. Whatever became
// of each is recorded, and nothing more is sent.
func TestBatchIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, "charge_then_hang", "charge_then_hang", "charge_then_hang", "charge_then_hang", "charge_then_hang")
	ids := captureIDs(bought)
	w.forget(t)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.CallsAtOnce = 3 })
	ctx, cut := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runner.RunBatch(ctx, ids) }()
	eventually(t, "the money of three has moved", func() (bool, any) {
		n := len(w.book(t, "").Captures)
		return n == 3, n
	})
	cut()
	if err := <-done; err != nil {
		t.Errorf("the task of a batch that was cut off: %v", err)
	}
	states := map[models.State]int{}
	for _, id := range ids {
		states[w.leftOf(t, id).state]++
	}
	if states[models.Unknown] != 3 || states[models.Pending] != 2 {
		t.Errorf("states %v, want three unknown and two pending", states)
	}
	if n := len(w.leftBatch(t, ids)); n != len(ids) {
		t.Errorf("%d are open", n)
	}
	w.hurry(t)
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}

// TestBatchAtARate: what is a little more than the rate of its account waits its
// turn inside its claim.
func TestBatchAtARate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, make([]string, 30)...)
	ids := captureIDs(bought)
	w.forget(t)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.RatePerSecond = 20 })
	if err := runner.RunBatch(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	if n := w.count(t, `SELECT count(*) FROM attempt_results WHERE outcome = 'not_sent'`); n != 0 {
		t.Errorf("%d were released", n)
	}
	if open := w.leftBatch(t, ids); len(open) != 0 {
		t.Errorf("%d are open", len(open))
	}
	w.allCaptured(t, bought)
}

// TestBreakerOpensInABatch: the rest of the batch is given back as not sent,
// with no try counted, and goes on when the gateway answers again.
func TestBreakerOpensInABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.alike(t, make([]string, worker.BreakAfter+4)...)
	ids := captureIDs(bought)
	w.forget(t)
	w.setFault(t, "drop_before", "capture", worker.BreakAfter)
	runner := w.batcher(t, "one", func(c *worker.RunnerConfig) { c.CallsAtOnce = 1 })
	if err := runner.RunBatch(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	states := map[models.State]int{}
	for _, id := range w.leftBatch(t, ids) {
		op := w.operation(t, models.Capture, id)
		states[op.State]++
		if op.State == models.Pending && (op.Tries != 0 || op.SentVersion != nil) {
			t.Errorf("what was not sent counts as a try: %+v", op)
		}
	}
	if states[models.Unknown] != worker.BreakAfter || states[models.Pending] != 4 {
		t.Errorf("states %v, want %d unknown and 4 pending", states, worker.BreakAfter)
	}
	w.hurry(t)
	w.start(t, staff{})
	w.settle(t)
	w.allCaptured(t, bought)
}
