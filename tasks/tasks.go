package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// The task types.
const (
	CaptureRun     = "capture:run"
	CapturesRun    = "captures:run" // many captures in one task
	RefundRun      = "refund:run"
	VoidRun        = "void:run"
	ReconcileSweep = "reconcile:sweep"
	ListingCompare = "listing:compare" // what gateways list, against the ledger
	HoldsRenew     = "holds:renew"     // holds that end, where gateways renew them
	WebhookDeliver = "webhook:deliver"
)

// The queues. They are few because an idle server asks Redis for each.
const (
	Captures     = "captures"
	Returns      = "returns"      // refunds and voids
	Housekeeping = "housekeeping" // what is done by the clock
	Webhooks     = "webhooks"     // outgoing; a slow receiver holds up nothing else
)

// Queues maps each queue to its share of a worker's attention.
func Queues() map[string]int {
	return map[string]int{Captures: 6, Returns: 3, Housekeeping: 2, Webhooks: 1}
}

var queueOf = map[string]string{
	CaptureRun: Captures, CapturesRun: Captures, RefundRun: Returns, VoidRun: Returns, ReconcileSweep: Housekeeping, ListingCompare: Housekeeping, HoldsRenew: Housekeeping, WebhookDeliver: Webhooks,
}

// maxRetry is out of reach on purpose: the budget of an operation lives in its
// row, and a task that gave up would only hide that.
const maxRetry = 1000

// version is the payload schema that this program writes. It reads this one only.
const version = 1

// maxPayload bounds what is parsed; a payload is about 60 bytes.
const maxPayload = 1024

// Payload is what every task carries.
type Payload struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
}

// ErrPayload: no retry repairs the task; it belongs in the archive.
var ErrPayload = errors.New("unreadable task payload")

// Parse reads a payload, strictly.
func Parse(raw []byte) (Payload, error) {
	var p Payload
	if err := decode(raw, maxPayload, &p); err != nil {
		return p, err
	}
	if err := known(p.Version); err != nil {
		return p, err
	}
	if !isID(p.ID) {
		return p, fmt.Errorf("%w: the id is no UUID", ErrPayload)
	}
	return p, nil
}

// decode reads one JSON document of at most limit bytes, and nothing beside it.
func decode(raw []byte, limit int, into any) error {
	if len(raw) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrPayload, len(raw), limit)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one document", ErrPayload)
	}
	return nil
}

func known(v int) error {
	if v != version {
		return fmt.Errorf("%w: schema version %d, this worker knows %d; upgrade it and run the task again", ErrPayload, v, version)
	}
	return nil
}

func isID(id string) bool { return len(id) == 36 && uuid.Validate(id) == nil }

// New makes the task of one operation or delivery. Its name carries the
// generation: an archived or orphaned task blocks its name for ever. delay
// postpones it; timeout is the handler's, rounded up since Asynq counts seconds.
func New(kind, id string, generation int, delay, timeout time.Duration) *asynq.Task {
	typ := TypeOf(kind)
	payload, err := json.Marshal(Payload{Version: version, ID: id})
	if err != nil {
		panic(err) // a number and a string always marshal
	}
	options := []asynq.Option{
		asynq.Queue(queueOf[typ]), asynq.TaskID(fmt.Sprintf("%s:%s:%d", kind, id, generation)),
		asynq.MaxRetry(maxRetry), asynq.Timeout(seconds(timeout)),
	}
	if delay > 0 {
		options = append(options, asynq.ProcessIn(delay))
	}
	return asynq.NewTask(typ, payload, options...)
}

// TypeOf returns the task type that works on a kind of operation, or delivery.
func TypeOf(kind string) string {
	switch kind {
	case "capture":
		return CaptureRun
	case "refund":
		return RefundRun
	case "void":
		return VoidRun
	}
	return WebhookDeliver
}

// Periodic makes the task of one slot of something that is done by the clock.
// Several schedulers make the same name in the same slot of time.
func Periodic(typ, name string, slot time.Time, timeout time.Duration) *asynq.Task {
	return asynq.NewTask(typ, nil, asynq.Queue(Housekeeping), asynq.TaskID(fmt.Sprintf("%s:%d", name, slot.UnixMilli())),
		asynq.MaxRetry(1), asynq.Timeout(seconds(timeout)))
}

// seconds rounds up: Asynq cuts a time-out to whole seconds, and takes 0 for half an hour.
func seconds(d time.Duration) time.Duration {
	return max(time.Second, (d + time.Second - 1).Truncate(time.Second))
}

// Announce puts our queues back into Asynq's index, which its client fills only
// once: without it a flushed Redis shows no queue in Asynqmon until a restart.
func Announce(ctx context.Context, r redis.UniversalClient) error {
	names := make([]any, 0, len(queueOf))
	for name := range Queues() {
		names = append(names, name)
	}
	if err := r.SAdd(ctx, "asynq:queues", names...).Err(); err != nil {
		return fmt.Errorf("announce the queues in Redis: %w", err)
	}
	return nil
}

// Enqueue hands a task to Redis. A task of the same name that is there already
// is a success: it is the same hint.
func Enqueue(ctx context.Context, q *asynq.Client, t *asynq.Task) error {
	_, err := q.EnqueueContext(ctx, t)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return nil
	}
	return err
}
