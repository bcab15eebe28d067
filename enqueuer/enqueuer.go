package enqueuer

import (
	"context"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/gather"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// Enqueuer makes operations and publishes them. It is safe for concurrent use.
type Enqueuer struct {
	store       *store.Store
	redis       redis.UniversalClient
	queue       *asynq.Client
	rounds      *gather.Gatherer[[]store.Publication, struct{}]
	maxBatch    int
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
	// MaxBatch is the most captures that travel in one task: 0 is tasks.MaxBatch,
	// 1 gives each a task of its own.
	MaxBatch int
	Log      *slog.Logger
}

// New returns an Enqueuer.
func New(c Config) *Enqueuer {
	e := &Enqueuer{
		store: c.Store, redis: c.Redis, queue: asynq.NewClientFromRedisClient(c.Redis), maxBatch: tasks.MaxBatch, cancelAfter: c.CancelAfter, log: c.Log,
	}
	if c.MaxBatch > 0 {
		e.maxBatch = min(c.MaxBatch, tasks.MaxBatch)
	}
	e.rounds = gather.New(gatherRounds, e.round)
	return e
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
	e.tell(ctx, p)
	return p, nil
}
