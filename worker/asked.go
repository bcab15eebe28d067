package worker

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

// Contradiction is what a gateway says otherwise about a hold than whoever
// registers it. Field is amount_cents, currency_code or gateway_transaction_id;
// Word is a stable name of what is wrong, Value what the gateway has.
type Contradiction struct {
	Field, Word, Detail string
	Value               any
}

// askTimeout is how long a registration waits for the gateway. Without an
// answer the hold is registered as it was told, and its end estimated.
const askTimeout = 3 * time.Second

// AskedOf asks the gateway about a hold that is to be registered, before any
// transaction and moving nothing, and completes it with what it learns. describe
// is [Runner.Describe]. A gateway that cannot tell stands in nobody's way; an
// error is one of the ledger's. currencyGiven: whoever registers named the
// currency, else it is the order's.
func AskedOf(
	ctx context.Context, s *store.Store, describe func(ctx context.Context, account, hold string) (gateway.HoldFacts, error),
	account models.PaymentGateway, h *models.Authorization, currencyGiven bool, now time.Time,
) ([]Contradiction, error) {
	_, err := s.HoldByTransaction(ctx, h.PaymentGatewayID, h.GatewayTransactionID)
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err // registered already: the store compares
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	facts, err := describe(ctx, account.Slug, h.GatewayTransactionID)
	if errors.Is(err, gateway.ErrNoSuchHold) {
		return []Contradiction{{"gateway_transaction_id", "not_found", "is no hold that the gateway account " + account.Slug + " knows", nil}}, nil
	}
	if err != nil {
		return nil, nil
	}
	// After a restore a hold may be new here and captured or voided there, by what
	// was lost: it is registered, and looked up before anything is sent.
	restored := account.LookFirstUntil != nil && now.Before(*account.LookFirstUntil)
	facts.Open = facts.Open || restored
	if found := contradictions(facts, *h, currencyGiven); len(found) > 0 {
		return found, nil
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
	return nil, nil
}

// contradictions names what the gateway says otherwise. A hold may be registered
// for less than it is worth; that only lowers what is ever captured.
func contradictions(facts gateway.HoldFacts, h models.Authorization, currencyGiven bool) []Contradiction {
	const at = "gateway_transaction_id"
	switch {
	case !facts.Open:
		return []Contradiction{{at, "not_open", fmt.Sprintf("is %q at the gateway, and cannot be captured", facts.Status), facts.Status}}
	case facts.CurrencyCode != h.CurrencyCode && currencyGiven:
		return []Contradiction{{"currency_code", "gateway_differs", "is " + h.CurrencyCode + ", and the gateway holds " + facts.CurrencyCode, facts.CurrencyCode}}
	case facts.CurrencyCode != h.CurrencyCode:
		return []Contradiction{{at, "gateway_differs", "is a hold in " + facts.CurrencyCode + ", and the order is in " + h.CurrencyCode, facts.CurrencyCode}}
	case facts.AmountCents < h.AmountCents:
		return []Contradiction{{"amount_cents", "less_than_or_equal_to", fmt.Sprintf("is %d, and the gateway holds %d", h.AmountCents, facts.AmountCents), facts.AmountCents}}
	}
	return nil
}
