package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// InboxEvent is one webhook that arrived, verified, and was stored before it
// was answered.
type InboxEvent struct {
	ID         string    `bun:"id"`
	Source     string    `bun:"source"` // a gateway's slug, or commercelayer
	EventID    string    `bun:"event_id"`
	Topic      string    `bun:"topic"`
	Body       []byte    `bun:"body"`
	ReceivedAt time.Time `bun:"received_at"`
	Tries      int       `bun:"tries"`
}

// InboxMessage is what a verified webhook says about one thing.
type InboxMessage struct {
	// EventID is the sender's id of it, by which a repetition is known.
	EventID string
	Topic   string
	Body    []byte
}

// Receive stores a verified webhook and reports whether it is new. The sender's
// event id makes a repetition harmless.
func (s *Store) Receive(ctx context.Context, source, eventID, topic string, body []byte) (bool, error) {
	fresh, err := s.ReceiveAll(ctx, source, []InboxMessage{{EventID: eventID, Topic: topic, Body: body}})
	return fresh == 1, err
}

// ReceiveAll stores all that one verified webhook says, or nothing of it, and
// returns how much of it is new.
func (s *Store) ReceiveAll(ctx context.Context, source string, messages []InboxMessage) (fresh int, err error) {
	if len(messages) == 0 {
		return 0, nil
	}
	// One order for everybody, so that two who store the same at once do not wait for each other.
	messages = slices.SortedStableFunc(slices.Values(messages), func(a, b InboxMessage) int { return strings.Compare(a.EventID, b.EventID) })
	rows := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?), ", len(messages)), ", ")
	args := make([]any, 0, 5*len(messages))
	for _, m := range messages {
		args = append(args, NewID(), source, clean(m.EventID), clean(m.Topic), m.Body)
	}
	n, err := s.exec(ctx, nil, `INSERT INTO inbox (id, source, event_id, topic, body) VALUES `+rows+` ON CONFLICT (source, event_id) DO NOTHING`, args...)
	if err != nil {
		return 0, fmt.Errorf("store webhook %.80s of %.80s: %w", messages[0].EventID, source, tooLong(err, "id"))
	}
	return int(n), nil
}

// NextInbox takes events that are due, and keeps others away from them for a
// minute: if the process dies, they are due again then.
func (s *Store) NextInbox(ctx context.Context, limit int) ([]InboxEvent, error) {
	var events []InboxEvent
	err := s.query(ctx, nil, &events, `UPDATE inbox AS i SET due_at = now() + ? * interval '1 microsecond', tries = tries + 1
		WHERE i.id IN (SELECT id FROM inbox WHERE processed_at IS NULL AND due_at <= now() ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED)
		RETURNING i.id, i.source, i.event_id, i.topic, i.body, i.received_at, i.tries`, s.tempo.Of(time.Minute).Microseconds(), limit)
	if err != nil {
		return nil, fmt.Errorf("take webhooks from the inbox: %w", err)
	}
	return events, nil
}

// FinishInbox ends an event with what became of it and why.
func (s *Store) FinishInbox(ctx context.Context, id, outcome, reason string) error {
	_, err := s.exec(ctx, nil, `UPDATE inbox SET processed_at = now(), outcome = ?, reason = ? WHERE id = ?`, outcome, clean(reason), id)
	if err != nil {
		return fmt.Errorf("finish webhook %s: %w", id, err)
	}
	return nil
}

// PostponeInbox keeps an event for later: its operation is not known yet, or
// the attempt to apply it failed.
func (s *Store) PostponeInbox(ctx context.Context, id, reason string, wait time.Duration) error {
	_, err := s.exec(ctx, nil, `UPDATE inbox SET due_at = now() + ? * interval '1 microsecond', reason = ? WHERE id = ? AND processed_at IS NULL`,
		wait.Microseconds(), clean(reason), id)
	if err != nil {
		return fmt.Errorf("postpone webhook %s: %w", id, err)
	}
	return nil
}

// InboxOutcome reads what became of one event, "" while it is open.
func (s *Store) InboxOutcome(ctx context.Context, source, eventID string) (outcome, reason string, err error) {
	var row struct {
		Outcome string `bun:"outcome"`
		Reason  string `bun:"reason"`
	}
	err = s.one(ctx, nil, &row, "webhook "+eventID, `SELECT outcome, reason FROM inbox WHERE source = ? AND event_id = ?`, source, eventID)
	return row.Outcome, row.Reason, err
}
