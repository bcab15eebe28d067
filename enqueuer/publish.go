package enqueuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/gather"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// Published is work that a transaction made. Publish tells Redis of it and is
// to be called after the commit; without it the relay does.
type Published struct {
	Order      models.Order
	Operations []models.Operation
	enqueuer   *Enqueuer
}

// publishTimeout keeps a hanging Redis away from whoever approves orders: it
// bounds the wait for a round, and the round.
const publishTimeout = 2 * time.Second

// gatherRounds: one round tells Redis while the one before it is noted in
// Postgres. What is published meanwhile waits for the next, together.
var gatherRounds = gather.Options{Max: 256, Waiting: 4096, Lanes: 2}

// Publish tells Redis of the new operations. An error loses nothing: the relay
// publishes what Redis did not take. Calls at the same time share their round
// trips.
func (p Published) Publish(ctx context.Context) error {
	if len(p.Operations) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	work := make([]store.Publication, len(p.Operations))
	for i, op := range p.Operations {
		work[i] = store.Publication{ID: op.ID, Kind: string(op.Kind), Generation: 1, Account: op.PaymentGatewayID}
		if op.NextAt != nil { // both by the database's clock
			work[i].In = op.NextAt.Sub(op.CreatedAt)
		}
	}
	_, err := p.enqueuer.rounds.Do(ctx, work)
	return err
}

// round publishes what several calls of Publish brought.
//
// A round of one is not noted: its claim does that, in the statement that it
// makes anyway. If the task is lost, or takes long to be claimed, the relay
// finds the row unpublished and enqueues it again, under the same name.
func (e *Enqueuer) round(ctx context.Context, calls [][]store.Publication) []gather.Answer[struct{}] {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	work := slices.Concat(calls...)
	left, err := e.send(ctx, work)
	if len(work) > 1 {
		if markErr := e.mark(ctx, work, left); markErr != nil {
			left, err = allOf(work), errors.Join(err, markErr)
		}
	}
	answers := make([]gather.Answer[struct{}], len(calls))
	for i, call := range calls {
		if slices.ContainsFunc(call, func(p store.Publication) bool { return left[p.ID] }) {
			answers[i].Err = err
		}
	}
	return answers
}

func allOf(work []store.Publication) map[string]bool {
	ids := make(map[string]bool, len(work))
	for _, p := range work {
		ids[p.ID] = true
	}
	return ids
}

// mark notes all of work but what is left. Dying before it publishes the same
// again, under the same names; where more has come meanwhile, batches are cut
// otherwise, and whichever comes second finds its captures claimed.
func (e *Enqueuer) mark(ctx context.Context, work []store.Publication, left map[string]bool) error {
	if len(left) > 0 {
		work = slices.DeleteFunc(slices.Clone(work), func(p store.Publication) bool { return left[p.ID] })
	}
	return e.store.MarkPublished(ctx, work)
}

const (
	// publishers bounds how many enqueues are under way at once; Asynq enqueues
	// one task at a time.
	publishers = 8
	// ringEvery is after how many tasks of a long round the workers are told.
	ringEvery = 64
)

// send enqueues work and tells idle workers. With an error come the ids of what
// may not have been enqueued.
func (e *Enqueuer) send(ctx context.Context, work []store.Publication) (left map[string]bool, err error) {
	parcels := bundle(work, e.maxBatch, func() map[string]int {
		room, err := tasks.ReadRoom(ctx, e.redis)
		if err != nil {
			e.log.DebugContext(ctx, "batches are of ordinary size", "error", err)
		}
		return room
	})
	for len(parcels) > 0 {
		n := min(ringEvery, len(parcels))
		sent, err := e.enqueue(ctx, parcels[:n])
		if slices.Contains(sent, true) {
			e.ring(ctx)
		}
		if err != nil {
			return without(parcels, sent), err
		}
		parcels = parcels[n:]
	}
	return nil, nil
}

// ring tells idle workers. They look by themselves within a second.
func (e *Enqueuer) ring(ctx context.Context) {
	if err := tasks.Ring(ctx, e.redis); err != nil {
		e.log.DebugContext(ctx, "workers were not told", "error", err)
	}
}

// without collects the ids of all parcels that are not marked as sent.
func without(parcels [][]store.Publication, sent []bool) map[string]bool {
	left := map[string]bool{}
	for i, parcel := range parcels {
		if i < len(sent) && sent[i] {
			continue
		}
		for _, p := range parcel {
			left[p.ID] = true
		}
	}
	return left
}

// enqueue hands parcels to Redis, several at a time, until one is refused. It
// tells which were accepted.
func (e *Enqueuer) enqueue(ctx context.Context, parcels [][]store.Publication) (sent []bool, err error) {
	sent = make([]bool, len(parcels))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(publishers)
	for i, parcel := range parcels {
		g.Go(func() error {
			if err := tasks.Enqueue(ctx, e.queue, e.task(parcel)); err != nil {
				return fmt.Errorf("enqueue %s %s: %w; check REDIS_URL and that Redis accepts writes", parcel[0].Kind, parcel[0].ID, err)
			}
			sent[i] = true
			return nil
		})
	}
	return sent, g.Wait()
}

// task makes the task of one parcel.
func (e *Enqueuer) task(parcel []store.Publication) *asynq.Task {
	timeout := e.store.Tempo().TaskTimeout()
	if len(parcel) == 1 {
		p := parcel[0]
		return tasks.New(p.Kind, p.ID, p.Generation, p.In, timeout)
	}
	ids, generations := make([]string, len(parcel)), make([]int, len(parcel))
	for i, p := range parcel {
		ids[i], generations[i] = p.ID, p.Generation
	}
	return tasks.NewBatch(ids, generations, timeout)
}
