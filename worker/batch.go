package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// RunBatch works on the captures of one task: claimed in one statement, called
// at once as far as their accounts allow, each recorded as its answer comes.
//
// The task ends when all have: with nil, since whatever is still open has left
// the batch for a task of its own, or with an error when the ledger could not be
// asked. If the process dies here, the task comes again, finds out which
// captures are left, and those whose lease is over are looked up.
func (r *Runner) RunBatch(ctx context.Context, ids []string) error {
	if err := r.enoughRoom(ctx, len(ids)); err != nil {
		return &later{reason: "this worker has enough under way", at: time.Now().Add(time.Second)}
	}
	claims, err := r.ledger.ClaimAll(ctx, models.Capture, ids, r.name)
	r.intake.give(len(ids) - len(claims))
	if err != nil {
		return fmt.Errorf("claim a batch of %d captures: %w", len(ids), err)
	}
	failed := r.workAll(ctx, inOrder(claims, ids))
	// Whatever was not claimed is done, or not due, or someone else's; a task of
	// its own finds out.
	if left := without(ids, claims); len(left) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.tempo.RecordTimeout())
		defer cancel()
		failed = errors.Join(failed, r.ledger.Unbundle(ctx, left))
	}
	return failed
}

// enoughRoom waits until n more captures may be claimed, as long as their calls
// still have the time they need afterwards.
func (r *Runner) enoughRoom(ctx context.Context, n int) error {
	if ends, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, ends.Add(-r.tempo.Budget()))
		defer cancel()
	}
	return r.intake.take(ctx, n, r.bound())
}

// workAll works on claims at once, and joins what nobody expected: an outcome
// that could not be recorded. That it comes later is the row's business.
func (r *Runner) workAll(ctx context.Context, claims []store.Claim) error {
	var crowd sync.WaitGroup
	errs := make([]error, len(claims))
	for i, c := range claims {
		c.InBatch = true
		crowd.Go(func() {
			defer r.intake.give(1)
			if err := r.work(ctx, c); !isLater(err) {
				errs[i] = err
			}
		})
	}
	crowd.Wait()
	return errors.Join(errs...)
}

// inOrder sorts claims as their task names them, the nearest end first: where
// the account lets few calls through at once, these go before the others.
func inOrder(claims []store.Claim, ids []string) []store.Claim {
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	slices.SortFunc(claims, func(a, b store.Claim) int { return at[a.ID] - at[b.ID] })
	return claims
}

// without lists those of ids that no claim was made for.
func without(ids []string, claims []store.Claim) []string {
	claimed := make(map[string]bool, len(claims))
	for _, c := range claims {
		claimed[c.ID] = true
	}
	var left []string
	for _, id := range ids {
		if !claimed[id] {
			left = append(left, id)
		}
	}
	return left
}

// bound is how many captures this worker may have claimed at once, so that the
// slowest account gets through its share before their leases are nearly over.
func (r *Runner) bound() int {
	bound := r.intake.most
	for _, a := range r.accounts {
		if n := a.room.unbounded(); n > 0 {
			bound = min(bound, n)
		}
	}
	return bound
}

// defaultInFlight is how many captures batches may have claimed at once.
const defaultInFlight = 4096

// intake bounds what batches have claimed and not finished: a capture that
// waits for its turn spends its lease.
type intake struct {
	most int

	mu      sync.Mutex
	taken   int
	waiting int
	freed   chan struct{} // closed when something is given back to who waits
}

func newIntake(most int) *intake { return &intake{most: most, freed: make(chan struct{})} }

// take waits until n more fit under bound, or nothing is taken at all. It
// returns ctx's error when that ends first.
func (i *intake) take(ctx context.Context, n, bound int) error {
	for {
		i.mu.Lock()
		if i.taken == 0 || i.taken+n <= bound {
			i.taken += n
			i.mu.Unlock()
			return nil
		}
		freed := i.freed
		i.waiting++
		i.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (i *intake) inFlight() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.taken
}

func (i *intake) give(n int) {
	if n == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.taken -= n
	if i.waiting > 0 {
		i.waiting = 0
		close(i.freed)
		i.freed = make(chan struct{})
	}
}
