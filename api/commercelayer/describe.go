package commercelayer

import (
	"context"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// Describe is worker.Runner.Describe: it reads a hold at an account's gateway
// and moves nothing.
type Describe func(ctx context.Context, account, hold string) (gateway.HoldFacts, error)

// Reauthorize is worker.Runner.Reauthorize: it renews a hold at its gateway.
type Reauthorize func(ctx context.Context, mode models.Mode, id, actor string) error

// networks are the words that a hold's end can be estimated by.
var networks = []string{"visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "cartes_bancaires", "eftpos_au", "interac", "paypal", "other"}

// askedOf asks the gateway about a hold that is to be registered, before any
// transaction, and completes it. What contradicts the request is a problem; a
// gateway that cannot tell stands in nobody's way.
func (c *call) askedOf(in *input, account models.PaymentGateway, h *models.Authorization) error {
	if c.api.describe == nil {
		return nil
	}
	found, err := worker.AskedOf(c.Context(), c.api.store, c.api.describe, account, h, in.sent("currency_code"), c.api.now())
	if err != nil || len(found) == 0 {
		return err
	}
	for _, f := range found {
		in.invalid(f.Field, f.Word, f.Detail, f.Value)
	}
	return in.problems
}
