package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// AuthorizationKind is the Kind of a delivery that is about a hold.
const AuthorizationKind = "authorization"

// dropIdle ends due reviews of orders that have nothing open: no hold, no
// operation, nothing captured that an order which closed or changed might have to
// give back or show. The order is locked with its check, so that one that
// changes right now is judged as it will be. ?0 is how many at most.
const dropIdle = `WITH idle AS MATERIALIZED (SELECT c.order_id FROM order_checks AS c JOIN orders AS o ON o.id = c.order_id
	WHERE c.due_at <= now() AND o.held_cents = 0 AND o.live_operations = 0 AND o.cancel_requested_at IS NULL
	  AND (o.captured_cents = 0 OR o.status = 'approved' AND o.captured_cents - o.refunded_cents <= o.total_amount_cents)
	  AND NOT EXISTS (SELECT 1 FROM captures AS p WHERE p.order_id = o.id AND p.needs_attention = '` + models.FlagAboveTotal + `')
	ORDER BY c.due_at LIMIT ?0 FOR NO KEY UPDATE OF o, c SKIP LOCKED)
	DELETE FROM order_checks WHERE order_id IN (SELECT order_id FROM idle)`

// idleBatch bounds one statement that drops checks.
const idleBatch = 5000

// dropIdleChecks ends the reviews that would find nothing, in one statement for
// thousands: most orders are finished long before their hold would have ended.
func (s *Store) dropIdleChecks(ctx context.Context) error {
	for {
		n, err := s.exec(ctx, nil, dropIdle, idleBatch)
		if err != nil {
			return fmt.Errorf("drop the reviews of finished orders: %w", err)
		}
		if n < idleBatch {
			return nil
		}
	}
}

// warn tells people of holds that end soon: a verdict, and a webhook. The mark on
// the hold, written in the same transaction, keeps it to once; and the webhook's
// id is derived, so that a database that forgot both tells under the same id.
func (s *Store) warn(ctx context.Context, tx Tx, order *models.Order, review models.Review, actor, run string) ([]Finding, error) {
	var found []Finding
	for _, w := range review.Warnings {
		var told []string
		err := s.query(ctx, tx, &told, `WITH warned AS (
				UPDATE authorizations AS a SET warned_hours = ?1, renewal_error = NULL, updated_at = now() -- a renewal has another chance
				WHERE a.id = ?0 AND (a.warned_hours IS NULL OR a.warned_hours > ?1) RETURNING a.*
			), sent AS (
				INSERT INTO deliveries (id, webhook_id, topic, operation_id, kind, version, payload)
				SELECT md5(concat_ws(':', 'expiring', h.id, a.payment_gateway_id, COALESCE(a.first_transaction_id, a.gateway_transaction_id), a.renewals, ?1::int))::uuid,
				       h.id, 'authorizations.expiring', a.id, ?2, a.renewals * 1000 + ?1::int,
				       jsonb_build_object('id', a.id, 'type', 'authorizations', 'number', a.number, 'order_id', a.order_id, 'mode', a.mode,
				                          'gateway_transaction_id', a.gateway_transaction_id, 'amount_cents', a.amount_cents, 'value_at_risk_cents', ?3::bigint,
				                          'currency_code', a.currency_code, 'hours', ?1::int, 'expires_at', ?4::timestamptz, 'estimated', a.capture_before IS NULL)
				FROM warned AS a CROSS JOIN webhooks AS h WHERE h.disabled_at IS NULL
				ON CONFLICT DO NOTHING
			) SELECT number FROM warned`,
			w.AuthorizationID, w.Hours, AuthorizationKind, w.Cents, w.Deadline)
		if err != nil {
			return nil, fmt.Errorf("warn of the end of hold %s: %w", w.AuthorizationID, err)
		}
		if len(told) == 0 {
			continue
		}
		f := Finding{OrderID: order.ID, Verdict: models.Expiring, Rule: w.Rule}
		action := fmt.Sprintf("warned of authorization %s: %d %s at risk, ends %s", told[0], w.Cents, order.CurrencyCode, w.Deadline.UTC().Format(time.RFC3339))
		if err := s.say(ctx, tx, order, f, action, actor, run); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, nil
}

// HoldLife is how long a hold lives as a rule. Empty members fit any.
type HoldLife struct {
	Network   string
	Initiator string
	Life      time.Duration
}

// SetHoldLives stores how long holds of an account live as a rule, the most
// special first: what their end is estimated by where nobody tells it.
func (s *Store) SetHoldLives(ctx context.Context, slug string, lives []HoldLife) error {
	type life struct {
		Network   string `json:"network"`
		Initiator string `json:"initiator"`
		Seconds   int64  `json:"seconds"`
	}
	rows := []life{}
	for _, l := range lives {
		if l.Life > 0 {
			rows = append(rows, life{l.Network, l.Initiator, int64(l.Life / time.Second)})
		}
	}
	encoded, err := json.Marshal(rows)
	if err != nil {
		return fmt.Errorf("encode %d lives of holds: %w", len(rows), err)
	}
	_, err = s.exec(ctx, nil, `UPDATE payment_gateways SET hold_lives = ?, updated_at = now() WHERE slug = ? AND hold_lives <> ?::jsonb`, string(encoded), slug, string(encoded))
	if err != nil {
		return fmt.Errorf("store how long the holds of payment gateway %s live: %w", slug, err)
	}
	return nil
}

// AtRisk is what ends soon and is not captured.
type AtRisk struct {
	CurrencyCode string `bun:"currency_code"`
	Hours        int    `bun:"hours"`
	Holds        int64  `bun:"holds"`
	Cents        int64  `bun:"cents"`
}

// atRisk measures the holds that a warning was given for, as they are now; what
// ends within 24 hours counts within 48 as well. It reads the orders with a
// warning and nothing else. ?0 and ?1 are the two spans in microseconds, ?2
// the mode, or empty for both.
const atRisk = `SELECT currency_code, hours, sum(holds)::bigint AS holds, sum(least(held, owed))::bigint AS cents
	FROM (SELECT o.id, o.currency_code, w.hours, count(*) AS holds, sum(a.amount_cents - a.confirmed_cents) AS held,
	             max(o.total_amount_cents - o.captured_cents) AS owed
	      FROM order_checks AS k JOIN orders AS o ON o.id = k.order_id JOIN authorizations AS a ON a.order_id = o.id
	           CROSS JOIN (VALUES (48, ?0::bigint), (24, ?1::bigint)) AS w (hours, span)
	      WHERE k.deadline IS NOT NULL AND k.deadline <= now() + w.span * interval '1 microsecond' AND (?2::text = '' OR o.mode = ?2)
	        AND o.status <> 'cancelled' AND o.cancel_requested_at IS NULL AND o.refunded_cents = 0 AND o.captured_cents < o.total_amount_cents
	        AND a.closed_at IS NULL AND a.confirmed_cents < a.amount_cents
	        AND COALESCE(a.capture_before, a.estimated_before) <= now() + w.span * interval '1 microsecond'
	      GROUP BY o.id, o.currency_code, w.hours) AS each
	GROUP BY currency_code, hours ORDER BY currency_code, hours`

// ValueAtRisk measures what ends soon and is not captured, for metrics. Its cost
// follows what people were warned of.
func (s *Store) ValueAtRisk(ctx context.Context) ([]AtRisk, error) {
	return s.valueAtRisk(ctx, nil, "")
}

func (s *Store) valueAtRisk(ctx context.Context, tx Tx, mode models.Mode) ([]AtRisk, error) {
	var all []AtRisk
	if err := s.query(ctx, tx, &all, atRisk, s.tempo.FirstWarning().Microseconds(), s.tempo.LastWarning().Microseconds(), mode); err != nil {
		return nil, fmt.Errorf("measure what ends soon: %w", err)
	}
	return all, nil
}
