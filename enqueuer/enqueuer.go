package enqueuer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// Enqueuer makes operations and publishes them. It is safe for concurrent use.
type Enqueuer struct {
	store       *store.Store
	redis       redis.UniversalClient
	queue       *asynq.Client
	cancelAfter time.Duration
	log         *slog.Logger
}

// Config is what an Enqueuer needs.
type Config struct {
	Store *store.Store
	Redis redis.UniversalClient
	// CancelAfter is how long an open order's changed total must stand before
	// its captured payment is given back.
	CancelAfter time.Duration
	Log         *slog.Logger
}

// New returns an Enqueuer.
func New(c Config) *Enqueuer {
	return &Enqueuer{
		store: c.Store, redis: c.Redis, queue: asynq.NewClientFromRedisClient(c.Redis), cancelAfter: c.CancelAfter, log: c.Log,
	}
}

// Published is work that a transaction made. Publish tells Redis of it and is
// to be called after the commit; without it the relay does.
type Published struct {
	Order      models.Order
	Operations []models.Operation
	enqueuer   *Enqueuer
}

// publishTimeout keeps a hanging Redis away from whoever approves orders.
const publishTimeout = 2 * time.Second

// Publish tells Redis of the new operations. An error loses nothing: the relay
// publishes what Redis did not take.
func (p Published) Publish(ctx context.Context) error {
	if len(p.Operations) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	work := make([]store.Publication, len(p.Operations))
	for i, op := range p.Operations {
		work[i] = store.Publication{ID: op.ID, Kind: string(op.Kind), Generation: 1}
		if op.NextAt != nil { // both by the database's clock
			work[i].In = op.NextAt.Sub(op.CreatedAt)
		}
	}
	return p.enqueuer.publish(ctx, work)
}

func (e *Enqueuer) made(order models.Order, ops []models.Operation, err error) (Published, error) {
	return Published{Order: order, Operations: ops, enqueuer: e}, err
}

func (e *Enqueuer) madeOne(op models.Operation, err error) (Published, error) {
	if err != nil {
		return Published{}, err
	}
	return e.made(models.Order{}, []models.Operation{op}, nil)
}

// Approve approves an order inside the caller's transaction, a *sql.Tx or a
// bun.Tx, and makes the captures that its payment method wants. Approving
// twice, or a thousand times at once, makes one capture. A refusal is a
// *store.Refusal; nothing was written then.
func (e *Enqueuer) Approve(ctx context.Context, tx store.Tx, mode models.Mode, orderID, actor string) (Published, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return Published{}, err
	}
	order, ops, err := e.store.Approve(ctx, tx, mode, orderID, now, actor)
	return e.made(order, ops, err)
}

// RegisterHold stores a hold made at the gateway and captures it if the policy
// wants that now. The hold and whether it is new come back beside the work.
func (e *Enqueuer) RegisterHold(ctx context.Context, tx store.Tx, a models.Authorization, actor string) (Published, models.Authorization, bool, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return Published{}, a, false, err
	}
	hold, ops, isNew, err := e.store.RegisterHold(ctx, tx, a, now, actor)
	p, err := e.made(models.Order{}, ops, err)
	return p, hold, isNew, err
}

// Fulfill starts an order's delivery, and captures on the trigger fulfillment.
func (e *Enqueuer) Fulfill(ctx context.Context, tx store.Tx, mode models.Mode, orderID, actor string) (Published, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return Published{}, err
	}
	order, ops, err := e.store.Fulfill(ctx, tx, mode, orderID, now, actor)
	return e.made(order, ops, err)
}

// ChangeTotal changes what an order costs: see store.ChangeTotal.
func (e *Enqueuer) ChangeTotal(ctx context.Context, tx store.Tx, mode models.Mode, orderID string, total int64, actor string) (models.Order, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return models.Order{}, err
	}
	return e.store.ChangeTotal(ctx, tx, mode, orderID, total, now, e.cancelAfter, actor)
}

// Cancel cancels an order: see store.CancelOrder. What has to be given back is
// published by the relay.
func (e *Enqueuer) Cancel(ctx context.Context, tx store.Tx, mode models.Mode, orderID, actor string) (models.Order, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return models.Order{}, err
	}
	return e.store.CancelOrder(ctx, tx, mode, orderID, now, actor)
}

// Capture captures a hold by hand: amount, or with 0 all that hold and order allow.
func (e *Enqueuer) Capture(ctx context.Context, tx store.Tx, mode models.Mode, authorizationID string, amount int64, actor string, labels models.Labels) (Published, error) {
	return e.madeOne(e.store.CaptureByHand(ctx, tx, mode, authorizationID, amount, actor, labels))
}

// Retry asks for a failed operation anew, as one of its own. The caller has
// looked at the gateway and found conclusively nothing. A second retry makes
// nothing and is no error.
func (e *Enqueuer) Retry(ctx context.Context, tx store.Tx, op models.Operation, actor string) (Published, error) {
	made, err := e.store.RetryFailed(ctx, tx, op, actor)
	return e.made(models.Order{}, made, err)
}

// Void releases a hold by hand.
func (e *Enqueuer) Void(ctx context.Context, tx store.Tx, mode models.Mode, authorizationID, actor string) (Published, error) {
	return e.madeOne(e.store.VoidByHand(ctx, tx, mode, authorizationID, actor))
}

// Refund gives amount of a capture back, or with 0 all that is left.
func (e *Enqueuer) Refund(ctx context.Context, tx store.Tx, mode models.Mode, captureID string, amount int64, actor string) (Published, error) {
	return e.madeOne(e.store.RefundByHand(ctx, tx, mode, captureID, amount, actor))
}

// CancelCapture gives the money of a mismatched capture back at an operator's word.
func (e *Enqueuer) CancelCapture(ctx context.Context, tx store.Tx, mode models.Mode, captureID, actor string) (Published, error) {
	now, err := e.store.Now(ctx, tx)
	if err != nil {
		return Published{}, err
	}
	return e.madeOne(e.store.CancelCapture(ctx, tx, mode, captureID, now, actor))
}

// Do runs fn in a transaction of the store's own, and publishes what it made
// after the commit. A Redis that is down does not fail the call.
func (e *Enqueuer) Do(ctx context.Context, fn func(ctx context.Context, tx store.Tx) (Published, error)) (Published, error) {
	var p Published
	err := e.store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		p, err = fn(ctx, tx)
		return err
	})
	if err != nil {
		return Published{}, err
	}
	if err := p.Publish(ctx); err != nil {
		e.log.WarnContext(ctx, "left to the relay", "operations", len(p.Operations), "error", err)
	}
	return p, nil
}

// publishers bounds how many enqueues are under way at once.
const publishers = 8

// publish enqueues work and then notes it. Dying in between publishes it again,
// under the same names.
func (e *Enqueuer) publish(ctx context.Context, work []store.Publication) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(publishers)
	for _, p := range work {
		g.Go(func() error {
			task := tasks.New(p.Kind, p.ID, p.Generation, p.In, e.store.Tempo().TaskTimeout())
			if err := tasks.Enqueue(gctx, e.queue, task); err != nil {
				return fmt.Errorf("enqueue %s %s: %w; check REDIS_URL and that Redis accepts writes", p.Kind, p.ID, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return e.store.MarkPublished(ctx, work)
}
