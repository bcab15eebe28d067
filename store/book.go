package store

import (
	"context"
	"fmt"
	"time"
)

// BookEntry is one operation as our books have it, for comparing with a
// gateway's own book.
type BookEntry struct {
	ID             string `bun:"id"`
	Kind           string `bun:"kind"`
	Reference      string `bun:"reference"`
	Hold           string `bun:"hold"`
	State          string `bun:"state"`
	ConfirmedCents *int64 `bun:"confirmed_cents"`
	CurrencyCode   string `bun:"currency_code"`
}

// Book lists every operation of one account.
func (s *Store) Book(ctx context.Context, account string) ([]BookEntry, error) {
	var entries []BookEntry
	err := s.query(ctx, nil, &entries, `SELECT o.id, o.kind, o.gateway_reference AS reference, a.gateway_transaction_id AS hold, o.state, o.confirmed_cents, o.currency_code
		FROM operations AS o JOIN authorizations AS a ON a.id = o.authorization_id JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
		WHERE g.slug = ? ORDER BY o.id`, account)
	if err != nil {
		return nil, fmt.Errorf("read the book of %s: %w", account, err)
	}
	return entries, nil
}

// SendIntents returns, for every idempotency key that was ever allowed to be
// sent, when its first attempt was written.
func (s *Store) SendIntents(ctx context.Context) (map[string]time.Time, error) {
	var rows []struct {
		Key string    `bun:"idempotency_key"`
		At  time.Time `bun:"at"`
	}
	if err := s.query(ctx, nil, &rows, `SELECT idempotency_key, min(claimed_at) AS at FROM attempts WHERE call = 'send' GROUP BY idempotency_key`); err != nil {
		return nil, fmt.Errorf("read the attempts: %w", err)
	}
	intents := make(map[string]time.Time, len(rows))
	for _, r := range rows {
		intents[r.Key] = r.At
	}
	return intents, nil
}

// OpenWork counts live operations, orders due for a review, and webhooks
// waiting to be applied: all zero is quiescence.
func (s *Store) OpenWork(ctx context.Context) (operations, orders, inbox int, err error) {
	var row struct {
		Operations int `bun:"operations"`
		Orders     int `bun:"orders"`
		Inbox      int `bun:"inbox"`
	}
	err = s.query(ctx, nil, &row, `SELECT (SELECT count(*) FROM work) AS operations,
		(SELECT count(*) FROM order_checks AS c JOIN orders AS o ON o.id = c.order_id
		 WHERE c.due_at <= now() OR o.status = 'cancelled' OR o.cancel_requested_at IS NOT NULL OR o.total_changed_at IS NOT NULL) AS orders,
		(SELECT count(*) FROM inbox WHERE processed_at IS NULL) AS inbox`)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("count open work: %w", err)
	}
	return row.Operations, row.Orders, row.Inbox, nil
}
