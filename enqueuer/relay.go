package enqueuer

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// relayBatch bounds one round; a longer backlog is several rounds without a pause.
const relayBatch = 500

// Relay publishes open work that Redis was not told of: whatever a crash, a
// full Redis or a sweep left. Any number of relays may run.
type Relay struct {
	enqueuer *Enqueuer
	every    time.Duration
}

// NewRelay returns a relay that looks every so often.
func NewRelay(e *Enqueuer, every time.Duration) *Relay { return &Relay{enqueuer: e, every: every} }

// Run publishes until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	ticker := time.NewTicker(r.every)
	defer ticker.Stop()
	for {
		if _, err := r.RunOnce(ctx); err != nil && ctx.Err() == nil {
			r.enqueuer.log.WarnContext(ctx, "relay could not publish; it tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// RunOnce publishes everything that is unpublished now and returns how many
// tasks that were.
func (r *Relay) RunOnce(ctx context.Context) (int, error) {
	var errs []error
	total := 0
	for _, list := range []func(context.Context, int) ([]store.Publication, error){
		r.enqueuer.store.Unpublished, r.enqueuer.store.UnpublishedDeliveries,
	} {
		n, err := r.drain(ctx, list)
		total += n
		errs = append(errs, err)
	}
	if total > 0 {
		errs = append(errs, tasks.Announce(ctx, r.enqueuer.redis))
	}
	return total, errors.Join(errs...)
}

func (r *Relay) drain(ctx context.Context, list func(context.Context, int) ([]store.Publication, error)) (int, error) {
	total := 0
	for {
		work, err := list(ctx, relayBatch)
		if err != nil || len(work) == 0 {
			return total, err
		}
		if err := r.enqueuer.publish(ctx, work); err != nil {
			return total, err
		}
		total += len(work)
		if len(work) < relayBatch {
			return total, nil
		}
	}
}
