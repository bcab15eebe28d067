package commercelayer

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Settle is worker.Runner.Settle: it asks the gateway what became of an order's
// operations whose outcome is open, and records what that proves.
type Settle func(ctx context.Context, mode models.Mode, orderID, actor string) error

// settled does something with an order whose operations decide whether it may
// be done: a refund, a cancel, a capture, a void, another total. The gateway is
// asked first about whatever has no outcome yet. Where it cannot tell, the
// ledger refuses as it stands, and the refusal says when it will be known.
func (c *call) settled(orderID string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	if err := c.settleFirst(orderID); err != nil {
		return enqueuer.Published{}, err
	}
	p, err := c.api.enqueuer.Do(c.Context(), fn)
	return p, c.whenKnown(err, orderID)
}

func (c *call) settleFirst(orderID string) error {
	if c.api.settle == nil {
		return nil
	}
	return c.api.settle(c.Context(), c.who.Mode, orderID, c.who.Actor())
}

// unsettled does something that depends on no outcome.
func (c *call) unsettled(_ string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	return c.api.enqueuer.Do(c.Context(), fn)
}

// whenKnown adds to a refusal that waits for an outcome when that is looked for
// again.
func (c *call) whenKnown(err error, orderID string) error {
	refusal, ok := errors.AsType[*store.Refusal](err)
	if !ok || !refusal.Busy {
		return err
	}
	open, listErr := c.api.store.OpenOutcomes(c.Context(), c.who.Mode, orderID, 1)
	if listErr != nil || len(open) == 0 || open[0].NextAt == nil {
		return err // it is said without the time
	}
	worded := *refusal
	worded.Detail += "; the gateway is asked again at " + open[0].NextAt.UTC().Format(time.RFC3339)
	return &worded
}
