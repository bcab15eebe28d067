package worker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/tasks"
)

// longestWait is how long an idle server waits for the bell before it looks by
// itself. Asynq's lease of 30 s on a task starts when the wait does, and what
// nobody rings for is started after this long: a task that Asynqmon runs, or a
// queue that is resumed.
const longestWait = time.Second

const (
	// silence is how long the subscription may be quiet before it is tried.
	silence = 5 * time.Second
	// resubscribeAfter is the pause after a subscription was lost.
	resubscribeAfter = 100 * time.Millisecond
)

// doorbell keeps the idle Asynq servers of one process from asking Redis again
// and again. Asynq polls, and cannot be told when; so a hook on each server's
// own Redis client holds a dequeue back after every queue was found empty, until
// a publisher rings [tasks.Bell].
//
// It is never needed for correctness. While the subscription is lost, the wait is
// short: polling. A ring is never missed: one that comes while a server asks is
// kept for its next wait, and a subscription that came (back) rings once.
type doorbell struct {
	redis redis.UniversalClient
	log   *slog.Logger
	// poll is the wait while nobody can ring, longest the wait otherwise.
	poll, longest time.Duration

	subscribed atomic.Bool
	asleep     atomic.Int32 // servers that wait
	closed     chan struct{}
	closing    sync.Once

	mu      sync.Mutex
	waiters []*waiter
}

func newDoorbell(r redis.UniversalClient, poll time.Duration, log *slog.Logger) *doorbell {
	return &doorbell{redis: r, log: log, poll: poll, longest: longestWait, closed: make(chan struct{})}
}

// attach puts the hook on the client of one Asynq server, which looks into so
// many queues. The client must be that server's own.
func (d *doorbell) attach(client redis.UniversalClient, queues int) {
	w := &waiter{bell: d, queues: queues, rung: make(chan struct{}, 1), empty: map[string]bool{}}
	d.mu.Lock()
	d.waiters = append(d.waiters, w)
	d.mu.Unlock()
	client.AddHook(w)
}

// ring wakes every server of this process that waits; one that is busy looks
// once more before it waits.
func (d *doorbell) ring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.waiters {
		select {
		case w.rung <- struct{}{}:
		default: // it is to look anyway
		}
	}
}

// close ends every wait, for good: a server that stops must not wait for a ring.
func (d *doorbell) close() { d.closing.Do(func() { close(d.closed) }) }

// listen rings for every message until ctx ends.
func (d *doorbell) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.subscription(ctx)
		if d.subscribed.Swap(false) && ctx.Err() == nil {
			d.log.WarnContext(ctx, "the doorbell's subscription is lost; idle servers poll until it is back", "every", d.poll, "error", err)
		}
		d.ring() // whoever waits long now polls
		pause(ctx, resubscribeAfter)
	}
}

// subscription listens until its connection fails, or is silent although asked.
func (d *doorbell) subscription(ctx context.Context) error {
	s := d.redis.Subscribe(ctx, tasks.Bell)
	defer func() { _ = s.Close() }()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	for asked := false; ; {
		message, err := s.ReceiveTimeout(ctx, silence)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !asked {
			asked = true
			err = s.Ping(ctx)
		}
		if err != nil {
			return err
		}
		switch message.(type) {
		case *redis.Subscription:
			d.subscribed.Store(true)
			d.ring() // for what was published while nobody listened
		case *redis.Message:
			d.ring()
		}
		asked = asked && message == nil
	}
}

// waiter is the hook on one server's client. Asynq asks for tasks from one
// goroutine, queue by queue.
type waiter struct {
	bell   *doorbell
	queues int
	rung   chan struct{}

	mu    sync.Mutex
	empty map[string]bool // queues that were empty since the last task, or wait
}

// DialHook changes nothing.
func (w *waiter) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook changes nothing.
func (w *waiter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook holds a dequeue back that would find nothing. Asynq's other calls
// on this client, heartbeats and acknowledgements, pass untouched.
func (w *waiter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		call, queue := recognise(cmd)
		if call == callDequeue && w.foundNothing() {
			w.wait(ctx, w.bell.patience())
		}
		err := next(ctx, cmd)
		switch {
		case call == callDequeue:
			w.answered(queue, errors.Is(err, redis.Nil))
		case call == callForward && moved(cmd):
			w.bell.ring() // a retry or a delayed task is due
		case call == callOther && errors.Is(err, redis.Nil) && namesPending(cmd):
			// An Asynq that asks in another way than the one known here: it polls.
			w.wait(ctx, w.bell.poll/time.Duration(w.queues))
		}
		return err
	}
}

// foundNothing tells, once, that every queue was empty.
func (w *waiter) foundNothing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.empty) < w.queues {
		return false
	}
	clear(w.empty)
	return true
}

func (w *waiter) answered(queue string, nothing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if nothing {
		w.empty[queue] = true
	} else { // a task, or an error: look again
		clear(w.empty)
	}
}

// patience is how long to wait for a ring.
func (d *doorbell) patience() time.Duration {
	if d.subscribed.Load() {
		return d.longest
	}
	return d.poll
}

func (w *waiter) wait(ctx context.Context, limit time.Duration) {
	w.bell.asleep.Add(1)
	defer w.bell.asleep.Add(-1)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.rung:
	case <-timer.C:
	case <-ctx.Done():
	case <-w.bell.closed:
	}
}

// call is what a command of Asynq's is to the doorbell.
type call int

const (
	callOther   call = iota
	callDequeue      // takes a task from one queue, or answers nil
	callForward      // moves tasks that are due into a queue, and answers how many
)

// recognise tells Asynq's scripts apart by the shape of their keys, and names
// the queue. A test pins the shape.
func recognise(cmd redis.Cmder) (call, string) {
	keys := scriptKeys(cmd)
	switch len(keys) {
	case 4:
		queue, ok := queueIn(keys[0], "pending")
		if ok && keys[1] == key(queue, "paused") && keys[2] == key(queue, "active") && keys[3] == key(queue, "lease") {
			return callDequeue, queue
		}
	case 2:
		queue, ok := queueIn(keys[1], "pending")
		if ok && (keys[0] == key(queue, "retry") || keys[0] == key(queue, "scheduled")) {
			return callForward, queue
		}
	}
	return callOther, ""
}

// scriptKeys are the keys of a script's call: EVALSHA sha 4 key key key key …
func scriptKeys(cmd redis.Cmder) []any {
	if name := cmd.Name(); name != "evalsha" && name != "eval" {
		return nil
	}
	args := cmd.Args()
	if len(args) < 3 {
		return nil
	}
	n, ok := args[2].(int)
	if !ok || n < 0 || n > len(args)-3 {
		return nil
	}
	return args[3 : 3+n]
}

// key is how Asynq names a list or set of a queue.
func key(queue, name string) string { return "asynq:{" + queue + "}:" + name }

func queueIn(k any, name string) (queue string, ok bool) {
	s, _ := k.(string)
	s, before := strings.CutPrefix(s, "asynq:{")
	s, after := strings.CutSuffix(s, "}:"+name)
	return s, before && after
}

// moved tells whether a forward script moved anything.
func moved(cmd redis.Cmder) bool {
	c, ok := cmd.(*redis.Cmd)
	if !ok {
		return false
	}
	n, err := c.Int64()
	return err == nil && n > 0
}

func namesPending(cmd redis.Cmder) bool {
	for _, arg := range cmd.Args() {
		if _, ok := queueIn(arg, "pending"); ok {
			return true
		}
	}
	return false
}
