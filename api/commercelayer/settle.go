package commercelayer

import (
	"context"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Settle is worker.Runner.Settle: it asks the gateway what became of an order's
// operations whose outcome is open, and records what that proves.
type Settle func(ctx context.Context, mode models.Mode, orderID, actor string) error

// settled does something with an order whose operations decide whether it may
// be done: see [api.Engine.Settled].
func (c *call) settled(orderID string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	return c.api.engine.Settled(c.Context(), orderID, fn)
}

// unsettled does something that depends on no outcome.
func (c *call) unsettled(_ string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	return c.api.enqueuer.Do(c.Context(), fn)
}
