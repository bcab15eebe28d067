package enqueuer

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// relayRound bounds one round; a longer backlog is several rounds without a pause.
const relayRound = 5000

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
// operations and deliveries that were.
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

// drain publishes rounds until one is short. What Redis took of a round that
// failed is noted all the same, so that what is left is not cut into batches with it.
func (r *Relay) drain(ctx context.Context, list func(context.Context, int) ([]store.Publication, error)) (int, error) {
	total := 0
	for {
		work, err := list(ctx, relayRound)
		if err != nil || len(work) == 0 {
			return total, err
		}
		left, err := r.enqueuer.send(ctx, work)
		if err = errors.Join(err, r.mark(ctx, work, left)); err != nil {
			return total, err
		}
		total += len(work)
		if len(work) < relayRound {
			return total, nil
		}
	}
}

// markTimeout bounds the note of one round.
const markTimeout = 10 * time.Second

// mark notes a round even while the relay is being stopped.
func (r *Relay) mark(ctx context.Context, work []store.Publication, left map[string]bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	return r.enqueuer.mark(ctx, work, left)
}
