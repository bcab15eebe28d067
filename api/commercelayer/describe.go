package commercelayer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Describe is worker.Runner.Describe: it reads a hold at an account's gateway
// and moves nothing.
type Describe func(ctx context.Context, account, hold string) (gateway.HoldFacts, error)

// Reauthorize is worker.Runner.Reauthorize: it renews a hold at its gateway.
type Reauthorize func(ctx context.Context, mode models.Mode, id, actor string) error

// networks are the words that a hold's end can be estimated by.
var networks = []string{"visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "cartes_bancaires", "eftpos_au", "interac", "paypal", "other"}

// describeTimeout is how long a registration waits for the gateway. Without an
// answer the hold is registered as it was told, and its end estimated.
const describeTimeout = 3 * time.Second

// askedOf asks the gateway about a hold that is to be registered, before any
// transaction, and completes it. What contradicts the request is a problem; a
// gateway that cannot tell stands in nobody's way.
func (c *call) askedOf(in *input, account models.PaymentGateway, h *models.Authorization) error {
	if c.api.describe == nil {
		return nil
	}
	_, err := c.api.store.HoldByTransaction(c.Context(), h.PaymentGatewayID, h.GatewayTransactionID)
	if !errors.Is(err, store.ErrNotFound) {
		return err // registered already: the store compares
	}
	ctx, cancel := context.WithTimeout(c.Context(), describeTimeout)
	defer cancel()
	facts, err := c.api.describe(ctx, account.Slug, h.GatewayTransactionID)
	if errors.Is(err, gateway.ErrNoSuchHold) {
		in.invalid("gateway_transaction_id", "not_found", "is no hold that the gateway account "+account.Slug+" knows", nil)
		return in.done(nil)
	}
	if err != nil {
		return nil
	}
	// After a restore a hold may be new here and captured or voided there, by what
	// was lost: it is registered, and looked up before anything is sent.
	restored := account.LookFirstUntil != nil && c.api.now().Before(*account.LookFirstUntil)
	facts.Open = facts.Open || restored
	in.compare(facts, *h)
	if len(in.problems) > 0 {
		return in.problems
	}
	if h.CaptureBefore == nil && facts.CaptureBefore != nil {
		h.CaptureBefore, h.CaptureBeforeSource = facts.CaptureBefore, models.ToldByGateway
	}
	if h.Network == "" {
		h.Network = strings.ToLower(facts.Network)
	}
	if h.Initiator == "" && (facts.Initiator == models.ByCustomer || facts.Initiator == models.ByMerchant) {
		h.Initiator = facts.Initiator
	}
	return nil
}

// compare names what the gateway says otherwise. A hold may be registered for
// less than it is worth; that only lowers what is ever captured.
func (in *input) compare(facts gateway.HoldFacts, h models.Authorization) {
	const at = "gateway_transaction_id"
	switch {
	case !facts.Open:
		in.invalid(at, "not_open", fmt.Sprintf("is %q at the gateway, and cannot be captured", facts.Status), facts.Status)
	case facts.CurrencyCode != h.CurrencyCode && in.sent("currency_code"):
		in.invalid("currency_code", "gateway_differs", "is "+h.CurrencyCode+", and the gateway holds "+facts.CurrencyCode, facts.CurrencyCode)
	case facts.CurrencyCode != h.CurrencyCode:
		in.invalid(at, "gateway_differs", "is a hold in "+facts.CurrencyCode+", and the order is in "+h.CurrencyCode, facts.CurrencyCode)
	case facts.AmountCents < h.AmountCents:
		in.invalid("amount_cents", "less_than_or_equal_to", fmt.Sprintf("is %d, and the gateway holds %d", h.AmountCents, facts.AmountCents), facts.AmountCents)
	}
}
