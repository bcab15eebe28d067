package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Delivery is one outgoing webhook: a finished or flagged operation, told to
// one endpoint. Its ID is the event id that the receiver sees on every try.
type Delivery struct {
	ID          string          `bun:"id"`
	Endpoint    string          `bun:"endpoint"`
	URL         string          `bun:"callback_url"`
	Topic       string          `bun:"topic"`
	Payload     json.RawMessage `bun:"payload,type:jsonb"`
	CreatedAt   time.Time       `bun:"created_at"`
	Tries       int             `bun:"tries"`
	Done        bool            `bun:"done"`
	DueInMicros int64           `bun:"due_in"`
}

// EnsureWebhook registers the endpoint that outgoing webhooks go to, or moves it
// to another URL. An empty URL disables it.
func (s *Store) EnsureWebhook(ctx context.Context, name, url string) error {
	if url == "" {
		_, err := s.exec(ctx, nil, `UPDATE webhooks SET disabled_at = COALESCE(disabled_at, now()), updated_at = now() WHERE name = ?`, name)
		return err
	}
	_, err := s.exec(ctx, nil, `INSERT INTO webhooks (id, name, callback_url) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET callback_url = excluded.callback_url, disabled_at = NULL, updated_at = now(),
			enabled_at = CASE WHEN webhooks.disabled_at IS NULL THEN webhooks.enabled_at ELSE now() END`, NewID(), name, url)
	if err != nil {
		return fmt.Errorf("register webhook %s: %w", name, err)
	}
	return nil
}

// Delivery reads one outgoing webhook.
func (s *Store) Delivery(ctx context.Context, id string) (Delivery, error) {
	var d Delivery
	if !ValidID(id) {
		return d, fmt.Errorf("delivery %q: %w", id, ErrNotFound)
	}
	err := s.one(ctx, nil, &d, "delivery "+id, `SELECT d.id, h.name AS endpoint, h.callback_url, d.topic, d.payload, d.created_at, d.tries,
			(d.delivered_at IS NOT NULL OR d.given_up_at IS NOT NULL OR h.disabled_at IS NOT NULL) AS done,
			greatest(0, extract(epoch FROM d.due_at - now()) * 1000000)::bigint AS due_in
		FROM deliveries AS d JOIN webhooks AS h ON h.id = d.webhook_id WHERE d.id = ?`, id)
	return d, err
}

// DeliveryTry is how one try of a delivery ended.
type DeliveryTry struct {
	Status    int // HTTP status, 0 without an answer
	Err       string
	Delivered bool
	GiveUp    bool
	Wait      time.Duration
}

// RecordDelivery writes how a try ended.
func (s *Store) RecordDelivery(ctx context.Context, id string, t DeliveryTry) error {
	_, err := s.exec(ctx, nil, `UPDATE deliveries SET tries = tries + 1, last_status = ?, last_error = ?,
			delivered_at = CASE WHEN ? THEN now() END, given_up_at = CASE WHEN ? THEN now() END, due_at = now() + ? * interval '1 microsecond'
		WHERE id = ? AND delivered_at IS NULL`, t.Status, clean(t.Err), t.Delivered, t.GiveUp, t.Wait.Microseconds(), id)
	if err != nil {
		return fmt.Errorf("record delivery %s: %w", id, err)
	}
	return nil
}
