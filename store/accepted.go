package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/capstan-pay/capstan/models"
)

// OpenByToken finds the one open operation of an account that its gateway gave
// this token. Its cost follows open work; what has ended is not found.
func (s *Store) OpenByToken(ctx context.Context, account, token string) (models.Operation, error) {
	var ops []models.Operation
	if token == "" {
		return models.Operation{}, fmt.Errorf("an operation without a token: %w", ErrNotFound)
	}
	for _, kind := range models.Kinds {
		var found []models.Operation
		err := s.query(ctx, nil, &found, `SELECT `+s.columns(models.Operation{}, "o")+` FROM work AS w
			JOIN payment_gateways AS g ON g.id = w.payment_gateway_id JOIN `+tables[kind]+` AS o ON o.id = w.operation_id
			WHERE w.kind = ? AND g.slug = ? AND o.token = ? LIMIT 2`, kind, account, token)
		if err != nil {
			return models.Operation{}, fmt.Errorf("find the open %s with token %.80q: %w", kind, token, err)
		}
		ops = append(ops, found...)
	}
	if len(ops) != 1 {
		return models.Operation{}, fmt.Errorf("open operation with token %.80q: %d found: %w", token, len(ops), ErrNotFound)
	}
	return ops[0], nil
}

// AcceptedAnswer is what a gateway answered when it accepted an operation.
type AcceptedAnswer struct {
	AmountCents          int64  `json:"amount_cents"`
	CurrencyCode         string `json:"currency_code"`
	GatewayTransactionID string `json:"gateway_transaction_id"`
	Token                string `json:"token"`
}

// AcceptedAs reads the first answer with which a gateway accepted an operation;
// false when none did.
func (s *Store) AcceptedAs(ctx context.Context, id string) (a AcceptedAnswer, there bool, err error) {
	var row struct {
		Evidence json.RawMessage `bun:"evidence,type:jsonb"`
	}
	err = s.one(ctx, nil, &row, "the answer that accepted "+id, `SELECT evidence FROM events
		WHERE operation_id = ? AND event = ? AND evidence ->> 'source' = 'answer' AND evidence ->> 'outcome' = 'accepted' ORDER BY version LIMIT 1`, id, models.Accepted)
	if errors.Is(err, ErrNotFound) {
		return a, false, nil
	}
	if err == nil {
		err = json.Unmarshal(row.Evidence, &a)
	}
	if err != nil {
		return a, false, fmt.Errorf("read how %s was accepted: %w", id, err)
	}
	return a, true, nil
}
