package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Publication is one task that Redis should hold: which operation or delivery
// to look at, and under which generation. A task's name carries the generation,
// since an archived or orphaned task blocks its name for ever.
type Publication struct {
	ID         string `bun:"id"`
	Kind       string `bun:"kind"`
	Generation int    `bun:"generation"`
	// Alone: its task is its own, never a batch.
	Alone bool `bun:"alone"`
	// Account is the id of the payment gateway; empty for a delivery. One batch is one account's.
	Account string `bun:"account,nullzero"`
	// In is how long the task is to wait.
	In     time.Duration `bun:"-"`
	Micros int64         `bun:"micros"`
}

// Unpublished lists open work that Redis was not told of, the nearest deadline
// first. It takes no lock: two relays publish the same names, and the second
// finds them there.
func (s *Store) Unpublished(ctx context.Context, limit int) ([]Publication, error) {
	return s.publications(ctx, `SELECT w.operation_id AS id, w.kind, w.generation, w.alone, w.payment_gateway_id AS account,
			greatest(0, extract(epoch FROM w.due_at - now()) * 1000000)::bigint AS micros
		FROM work AS w WHERE w.published_at IS NULL ORDER BY w.deadline NULLS LAST, w.operation_id LIMIT ?`, limit)
}

// UnpublishedDeliveries lists outgoing webhooks that Redis was not told of.
func (s *Store) UnpublishedDeliveries(ctx context.Context, limit int) ([]Publication, error) {
	return s.publications(ctx, `SELECT d.id, 'delivery' AS kind, d.generation,
			greatest(0, extract(epoch FROM d.due_at - now()) * 1000000)::bigint AS micros
		FROM deliveries AS d JOIN webhooks AS h ON h.id = d.webhook_id AND h.disabled_at IS NULL
		WHERE d.published_at IS NULL AND d.delivered_at IS NULL AND d.given_up_at IS NULL ORDER BY d.due_at LIMIT ?`, limit)
}

func (s *Store) publications(ctx context.Context, sql string, args ...any) ([]Publication, error) {
	var ps []Publication
	if err := s.query(ctx, nil, &ps, sql, args...); err != nil {
		return nil, fmt.Errorf("list unpublished work: %w", err)
	}
	for i := range ps {
		ps[i].In = time.Duration(ps[i].Micros) * time.Microsecond
	}
	return ps, nil
}

// DeliveryKind is the Kind of a publication that is an outgoing webhook.
const DeliveryKind = "delivery"

// MarkPublished notes that Redis accepted these, all operations or all deliveries. It comes after the enqueue: if
// the relay dies in between they are published again, under the same names. A
// row whose generation rose meanwhile stays unpublished.
func (s *Store) MarkPublished(ctx context.Context, ps []Publication) error {
	if len(ps) == 0 {
		return nil
	}
	ids, generations := make([]string, len(ps)), make([]int64, len(ps))
	for i, p := range ps {
		ids[i], generations[i] = p.ID, int64(p.Generation)
	}
	// A row that somebody works on right now is left out: its claim notes it, and
	// waiting for many of them in another order than theirs would be a deadlock.
	sql := `UPDATE work AS w SET published_at = now() FROM (
			SELECT q.operation_id FROM unnest(?::uuid[], ?::bigint[]) AS p (id, generation)
			JOIN work AS q ON q.operation_id = p.id AND q.generation = p.generation
			WHERE q.published_at IS NULL FOR UPDATE OF q SKIP LOCKED
		) AS free WHERE w.operation_id = free.operation_id`
	if ps[0].Kind == DeliveryKind {
		sql = `UPDATE deliveries AS d SET published_at = now() FROM unnest(?::uuid[], ?::bigint[]) AS p (id, generation)
		WHERE d.id = p.id AND d.generation = p.generation AND d.published_at IS NULL`
	}
	if _, err := s.exec(ctx, nil, sql, pgdialect.Array(ids), pgdialect.Array(generations)); err != nil {
		return fmt.Errorf("mark %d tasks published: %w", len(ps), err)
	}
	return nil
}

// Unbundle lets those of ids that are still open leave their batch: each is
// published anew as a task of its own, which finds out why it was not claimed.
// Doing it twice does nothing.
func (s *Store) Unbundle(ctx context.Context, ids []string) error {
	// Locked in the order in which claims and outcomes lock them, whatever the plan.
	err := s.retry(ctx, func() error {
		_, err := s.exec(ctx, nil, `UPDATE work AS w SET alone = true, generation = w.generation + 1, published_at = NULL FROM (
			SELECT q.operation_id FROM unnest(?::uuid[]) AS b (id) JOIN work AS q ON q.operation_id = b.id
			WHERE NOT q.alone ORDER BY q.operation_id FOR UPDATE OF q
		) AS b WHERE w.operation_id = b.operation_id`, uuidArray(ids))
		return err
	})
	if err != nil {
		return fmt.Errorf("let %d captures leave their batch: %w", len(ids), err)
	}
	return nil
}

// WhyNot explains why an operation that a task named was not claimed, as Done
// (nothing left to do), or NotYet with the time to come again. A row that was
// never sent and never can be is ended here: withdrawn when its order is
// cancelled, failed when its hold has ended. A refund needs neither.
func (s *Store) WhyNot(ctx context.Context, kind models.Kind, id, worker string) error {
	if !ValidID(id) {
		return fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	var row struct {
		models.Operation
		Account    string     `bun:"account"`
		Paused     string     `bun:"paused"`
		HoldClosed bool       `bun:"hold_closed"`
		HoldReason string     `bun:"hold_reason"`
		Before     *time.Time `bun:"hold_before"`
		Closing    bool       `bun:"closing"`
		Doubted    bool       `bun:"doubted"`
		Wanted     int64      `bun:"wanted_version"`
		Now        time.Time  `bun:"db_now"`
	}
	err := s.one(ctx, nil, &row, fmt.Sprintf("%s %s", kind, id), `SELECT `+s.columns(models.Operation{}, "o")+`, g.slug AS account,
			COALESCE(CASE WHEN g.paused_at IS NOT NULL THEN COALESCE(g.paused_reason, 'paused') END, '') AS paused,
			a.closed_at IS NOT NULL AS hold_closed, COALESCE(a.closed_reason, '') AS hold_reason, a.capture_before AS hold_before,
			(r.status = 'cancelled' OR r.cancel_requested_at IS NOT NULL) AS closing, `+restored+` AND NOT `+proven+` AS doubted, r.version AS wanted_version, now() AS db_now
		FROM `+tables[kind]+` AS o JOIN authorizations AS a ON a.id = o.authorization_id JOIN orders AS r ON r.id = o.order_id
			JOIN payment_gateways AS g ON g.id = o.payment_gateway_id WHERE o.id = ?`, id)
	if err != nil {
		return err
	}
	o, wait := row.Operation, func(d time.Duration) time.Time { return time.Now().Add(d) }
	switch {
	case !o.State.Live():
		return &Done{Reason: string(o.State)}
	case row.Paused != "":
		return &NotYet{Reason: "gateway " + row.Account + " is paused: " + row.Paused, At: wait(s.tempo.Of(30 * time.Second))}
	case o.State == models.Capturing && o.LeaseUntil != nil && o.LeaseUntil.After(row.Now):
		return &NotYet{Reason: "another worker holds it", At: wait(o.LeaseUntil.Sub(row.Now))}
	case o.State != models.Capturing && o.NextAt != nil && o.NextAt.After(row.Now):
		return &NotYet{Reason: "not due yet", At: wait(o.NextAt.Sub(row.Now))}
	case o.State == models.Pending && o.NeedsAttention != "":
		return &Done{Reason: "waits for a person: " + o.NeedsAttention}
	case !neverSent(o) || row.Doubted: // something changed since the claim
		return &NotYet{Reason: "it changed while it was claimed", At: wait(time.Second)}
	case o.Cause == models.CauseAdopted:
		return s.endAdopted(ctx, o, worker)
	case kind == models.Refund:
		return s.endUnreturned(ctx, o, worker)
	case kind == models.Void && !row.HoldClosed:
		return &NotYet{Reason: "it changed while it was claimed", At: wait(time.Second)}
	}
	return s.endUnsent(ctx, o, worker, row.Closing, row.HoldClosed || holdEnds(row.Before, row.Now, s.tempo), row.HoldReason, o.OrderVersion == row.Wanted)
}

func holdEnds(before *time.Time, now time.Time, t models.Tempo) bool {
	return before != nil && !before.After(now.Add(t.HoldMargin()))
}

// endUnsent ends, or flags, a capture that nothing was ever sent for and that
// the claim refused.
func (s *Store) endUnsent(ctx context.Context, o models.Operation, worker string, closing, ended bool, reason string, sameOrder bool) error {
	d := models.JudgeUnsent(o, models.Unsent{Closing: closing, HoldEnded: ended, HoldReason: reason, SameOrder: sameOrder})
	if d.Event == "" {
		return &NotYet{Reason: d.Rule, At: time.Now().Add(time.Second)}
	}
	m := Move{Op: o, Actor: worker, LogVerdict: true, Decision: d}
	if d.Event == models.Refused {
		m.Evidence = models.Evidence{ErrorCode: models.ErrorHoldEnded, ErrorDetail: "The hold ended before it was captured.", Message: "hold ended"}
	}
	m.Action = string(m.Decision.Event)
	if _, err := s.Apply(ctx, m); err != nil {
		return err
	}
	return &Done{Reason: m.Decision.Rule}
}

// endUnreturned ends, or flags, a refund that nothing was ever sent for when the
// gateway took back what it returns.
func (s *Store) endUnreturned(ctx context.Context, o models.Operation, worker string) error {
	capture, err := s.operation(ctx, nil, models.Capture, *o.CaptureID, "")
	if err != nil {
		return err
	}
	d := models.JudgeUnsent(o, models.Unsent{CaptureGone: capture.State == models.Reversed || capture.State == models.Reset, CaptureDoubted: capture.TakenBackFlag()})
	if d.Event == "" {
		return &NotYet{Reason: d.Rule, At: time.Now().Add(time.Second)}
	}
	if _, err := s.Apply(ctx, Move{Op: o, Actor: worker, LogVerdict: true, Action: string(d.Event), Decision: d}); err != nil {
		return err
	}
	return &Done{Reason: d.Rule}
}

// endAdopted ends what was adopted from a gateway's list and is not there after
// all. Nothing was ever sent for it, and nothing will be. What the list meant is
// for a person; should it turn up, it is a late success.
func (s *Store) endAdopted(ctx context.Context, o models.Operation, worker string) error {
	d := models.JudgeUnsent(o, models.Unsent{})
	if _, err := s.Apply(ctx, Move{Op: o, Actor: worker, LogVerdict: true, Action: string(d.Event), Decision: d}); err != nil {
		return err
	}
	return &Done{Reason: d.Rule}
}

// WakeGateway makes an account's open rows due now, spread over a few seconds:
// the gateway answers again after an outage.
func (s *Store) WakeGateway(ctx context.Context, slug string) error {
	return s.InTx(ctx, func(ctx context.Context, tx Tx) error { return s.wakeGateway(ctx, tx, slug) })
}

func (s *Store) wakeGateway(ctx context.Context, tx Tx, slug string) error {
	for _, kind := range models.Kinds {
		_, err := s.exec(ctx, tx, `WITH woken AS (
				UPDATE `+tables[kind]+` AS o SET next_at = greatest(now() + random() * ? * interval '1 microsecond', CASE WHEN o.state = 'pending' THEN o.not_before END), updated_at = now()
				FROM work AS w, payment_gateways AS g
				WHERE w.operation_id = o.id AND g.id = o.payment_gateway_id AND g.slug = ?
				  AND (o.state IN ('submitted', 'unknown') OR (o.state = 'pending' AND o.unsent > 0 AND o.needs_attention IS NULL))
				RETURNING o.id, o.next_at
			) UPDATE work AS w SET due_at = o.next_at, generation = w.generation + 1, published_at = NULL FROM woken AS o WHERE w.operation_id = o.id`,
			s.tempo.Of(5*time.Second).Microseconds(), slug)
		if err != nil {
			return fmt.Errorf("wake the open %ss of gateway %s: %w", kind, slug, err)
		}
	}
	return nil
}
