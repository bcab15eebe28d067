package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/models"
)

// Ledger is the part of the store that a Runner uses, for tests that wrap it.
type Ledger = ledger

// Wrap puts something between the runner and its ledger.
func (r *Runner) Wrap(wrap func(Ledger) Ledger) { r.ledger = wrap(r.ledger) }

// What the unit tables check.
var (
	RetryDelay = retryDelay
	IsFailure  = isFailure
	Every      = every
)

// DeliverySchedule is when a failed delivery is tried again.
var DeliverySchedule = deliverySchedule

// BreakAfter is how many calls in a row must go unanswered to open the breaker.
const BreakAfter = breakAfter

// NewLater makes the error that ends a task which is to come again.
func NewLater(reason string, at time.Time, failure bool) error {
	return &later{reason: reason, at: at, failure: failure}
}

// Doorbell keeps idle servers from asking.
type Doorbell = doorbell

// NewDoorbell makes a doorbell with waits that suit the test.
func NewDoorbell(r redis.UniversalClient, poll, longest time.Duration, log *slog.Logger) *Doorbell {
	d := newDoorbell(r, poll, log)
	d.longest = longest
	return d
}

// Attach puts the hook on a client.
func (d *doorbell) Attach(client redis.UniversalClient, queues int) { d.attach(client, queues) }

// Listen rings for every message until ctx ends.
func (d *doorbell) Listen(ctx context.Context) { d.listen(ctx) }

// Close ends every wait.
func (d *doorbell) Close() { d.close() }

// Asleep is how many servers wait.
func (d *doorbell) Asleep() int { return int(d.asleep.Load()) }

// Subscribed tells whether a ring would be heard.
func (d *doorbell) Subscribed() bool { return d.subscribed.Load() }

// Bell is the doorbell of a server that is not started, with its longest wait.
func (s *Server) Bell(longest time.Duration) *Doorbell {
	s.bell.longest = longest
	return s.bell
}

// Recognise tells what a command of Asynq's is to the doorbell, and of which queue.
func Recognise(cmd redis.Cmder) (what, queue string) {
	c, queue := recognise(cmd)
	return map[call]string{callDequeue: "dequeue", callForward: "forward"}[c], queue
}

// Shares divides the tasks at once among servers.
var Shares = shares

// Room bounds batches by the latest calls.
type Room = room

// NewRoom makes a room that observed calls.
func NewRoom(concurrency int, perSecond float64, tempo models.Tempo, calls ...time.Duration) *Room {
	r := newRoom(concurrency, perSecond, tempo)
	for _, d := range calls {
		r.observe(d)
	}
	return r
}

// Bound is the most captures of one batch.
func (r *room) Bound() int { return r.bound() }

// Observe notes how long one call took.
func (r *room) Observe(d time.Duration) { r.observe(d) }
