package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Invariant is one rule of the ledger as it was found.
type Invariant struct {
	ID   string `json:"id"`
	Rule string `json:"rule"`
	// Checked is how many rows the rule was tried on.
	Checked int64 `json:"checked"`
	// Broken names rows that break it, at most [auditNames] of them.
	Broken []string `json:"broken"`
	// BrokenCount is how many there are.
	BrokenCount int64 `json:"broken_count"`
}

// auditNames bounds how many offenders an audit names.
const auditNames = 20

// invariants are checked by SQL alone: each query returns a row per thing
// checked, with its name and whether it is broken. What stands in braces is put
// in by [auditOf].
//
// {bases} says where the attached history of an operation begins when its first
// steps were detached. What an anchor stands for was checked before it was
// written; I15 folds it again.
var invariants = []struct{ id, rule, sql string }{
	{"I1", "no hold is asked for more than its amount", `
		SELECT a.id::text AS name, (a.requested_cents > a.amount_cents OR a.requested_cents <> COALESCE(o.reserved, 0)) AS broken
		FROM authorizations AS a LEFT JOIN (SELECT authorization_id, sum(reserved_cents) AS reserved FROM captures GROUP BY 1) AS o ON o.authorization_id = a.id`},
	{"I2", "each operation has one reference of its own", `
		SELECT min(id::text) AS name, count(*) > 1 AS broken FROM operations GROUP BY gateway_reference`},
	{"I3", "every approved, automatically captured order has a capture with an end and a reason", `
		SELECT c.id::text AS name, (c.state IN ('failed', 'cancelled') AND COALESCE(c.error_code, c.message, (
			SELECT e.reason FROM events AS e WHERE e.operation_id = c.id AND e.version = c.version), (
			SELECT 'detached' FROM history_anchors AS n WHERE n.from_id <= c.id AND c.id < n.to_id), '') = '') AS broken
		FROM captures AS c JOIN orders AS o ON o.id = c.order_id WHERE o.approved_at IS NOT NULL AND c.cause <> 'manual'
		UNION ALL
		SELECT o.id || ' has no capture', NOT EXISTS (SELECT 1 FROM captures AS c WHERE c.order_id = o.id AND c.cause <> 'manual')
			AND NOT EXISTS (SELECT 1 FROM order_checks AS k WHERE k.order_id = o.id AND k.due_at <= now() + interval '5 minutes')
		FROM orders AS o JOIN payment_methods AS m ON m.id = o.payment_method_id
		WHERE o.status = 'approved' AND m.auto_capture AND m.capture_trigger IN ('approval', 'authorization') AND m.updated_at <= o.approved_at
			AND o.total_amount_cents BETWEEN 1 AND COALESCE(m.auto_capture_max_amount_cents, o.total_amount_cents)
			AND o.live_operations = 0 AND o.refunded_cents = 0 AND o.reset_cents = 0 AND o.captured_cents < o.total_amount_cents
			AND EXISTS (SELECT 1 FROM authorizations AS a WHERE a.order_id = o.id AND a.closed_at IS NULL AND a.requested_cents < a.amount_cents
				AND (a.capture_before IS NULL OR a.capture_before > now()))`},
	{"I5", "every send has its attempt, committed before it", `
		SELECT o.id::text AS name, o.sent_version > COALESCE(d.version, 0) AND a.version IS NULL AS broken
		FROM {operations} AS o
		LEFT JOIN {attempts} AS a ON a.operation_id = o.id AND a.version = o.sent_version AND a.call = 'send'
		LEFT JOIN {bases} AS d ON d.id = o.id`},
	{"I6", "every history is a path of the transition table", `
		SELECT s.operation_id || ' v' || s.version AS name,
		       CASE WHEN claim THEN COALESCE(s.before, d.state, '') NOT IN ('pending', 'capturing', 'submitted', 'unknown')
		            ELSE from_state <> COALESCE(s.before, d.state, '') END AS broken
		FROM (SELECT *, lag(to_state) OVER (PARTITION BY operation_id ORDER BY version) AS before
			FROM (SELECT operation_id, version, from_state, to_state, false AS claim FROM {events}
			      UNION ALL SELECT operation_id, version, '', 'capturing', true FROM {attempts}) AS h) AS s
		LEFT JOIN {bases} AS d ON d.id = s.operation_id`},
	{"I7", "a hold has at most one live capture or void, and names it", `
		SELECT a.id::text AS name, (l.live > 1 OR l.live = 1 AND a.live_operation_id IS DISTINCT FROM l.one OR l.live = 0 AND a.live_operation_id IS NOT NULL) AS broken
		FROM authorizations AS a CROSS JOIN LATERAL (
			SELECT count(*) AS live, min(id::text)::uuid AS one FROM operations AS o
			WHERE o.authorization_id = a.id AND o.kind IN ('capture', 'void') AND o.order_id = a.order_id AND o.state IN ('pending', 'capturing', 'submitted', 'unknown')) AS l`},
	{"I9", "versions have no gap, and the last step is the row's state", `
		SELECT o.id::text AS name, (COALESCE(d.version, 0) + COALESCE(h.n, 0) <> o.version
			OR COALESCE(h.last, d.version, 0) <> o.version OR COALESCE(h.state, d.state, '') <> o.state) AS broken
		FROM {operations} AS o
		LEFT JOIN (SELECT operation_id, count(*) AS n, max(version) AS last, (array_agg(to_state ORDER BY version DESC))[1] AS state
			FROM (SELECT operation_id, version, to_state FROM {events}
			      UNION ALL SELECT operation_id, version, 'capturing' FROM {attempts}) AS s GROUP BY 1) AS h ON h.operation_id = o.id
		LEFT JOIN {bases} AS d ON d.id = o.id`},
	{"I10", "open work stands in the work table, and nothing else does", `
		SELECT COALESCE(o.id, w.operation_id)::text AS name, (o.id IS NULL OR w.operation_id IS NULL) AS broken
		FROM (SELECT id FROM operations WHERE state IN ('pending', 'capturing', 'submitted', 'unknown')) AS o
		FULL JOIN work AS w ON w.operation_id = o.id`},
	{"I11", "every webhook was applied, refused or parked with a reason, or waits", `
		SELECT id::text AS name, (processed_at IS NOT NULL AND outcome = '') AS broken FROM inbox`},
	{"I13", "every order's sums fold from its operations", `
		SELECT r.id::text AS name, (r.captured_cents <> COALESCE(c.captured, 0) OR r.reset_cents <> COALESCE(c.reset, 0) OR r.live_cents <> COALESCE(c.live, 0)
			OR r.refunded_cents <> COALESCE(f.refunded, 0) OR r.live_operations <> COALESCE(l.live, 0) OR r.held_cents <> COALESCE(h.held, 0)) AS broken
		FROM orders AS r
		LEFT JOIN (SELECT order_id, sum(confirmed_cents) FILTER (WHERE state = 'succeeded') AS captured, sum(confirmed_cents) FILTER (WHERE state = 'reset') AS reset,
		                  sum(amount_cents) FILTER (WHERE state IN ('pending', 'capturing', 'submitted', 'unknown')) AS live FROM captures GROUP BY 1) AS c ON c.order_id = r.id
		LEFT JOIN (SELECT f.order_id, sum(f.confirmed_cents) AS refunded FROM refunds AS f JOIN captures AS c ON c.id = f.capture_id
		           WHERE f.state = 'succeeded' AND c.state = 'succeeded' GROUP BY 1) AS f ON f.order_id = r.id
		LEFT JOIN (SELECT order_id, count(*) AS live FROM operations WHERE state IN ('pending', 'capturing', 'submitted', 'unknown') GROUP BY 1) AS l ON l.order_id = r.id
		LEFT JOIN (SELECT order_id, sum(amount_cents) AS held FROM authorizations WHERE closed_at IS NULL GROUP BY 1) AS h ON h.order_id = r.id`},
	{"I14", "every hold's sums fold from its operations", `
		SELECT a.id::text AS name, (a.confirmed_cents <> COALESCE(c.confirmed, 0) OR a.returned_cents <> COALESCE(f.returned, 0)) AS broken
		FROM authorizations AS a
		LEFT JOIN (SELECT authorization_id, sum(confirmed_cents) FILTER (WHERE state IN ('succeeded', 'reset')) AS confirmed FROM captures GROUP BY 1) AS c ON c.authorization_id = a.id
		LEFT JOIN (SELECT authorization_id, sum(confirmed_cents) FILTER (WHERE state = 'succeeded') AS returned FROM refunds GROUP BY 1) AS f ON f.authorization_id = a.id`},
	{"I15", "every operation's chain of hashes verifies, up to the anchor of what was detached", chain + `
		UNION ALL
		SELECT 'the anchor of ' || a.month, f.operations <> a.operations OR f.heads <> a.heads
		FROM history_anchors AS a CROSS JOIN LATERAL history_fold(a.from_id, a.to_id) AS f
		UNION ALL
		SELECT 'the anchor of ' || a.month || ', itself', a.hash <> anchor_hash(COALESCE(lag(a.hash) OVER (ORDER BY a.number), ''), a)
			OR a.number <> row_number() OVER (ORDER BY a.number)
		FROM history_anchors AS a`},
}

// chain checks each step's hash, and that the operation carries the last one.
const chain = `
		WITH step AS (
			SELECT operation_id, version, event, from_state, to_state, amount_cents, currency_code, actor AS who, reason || E'\x1e' || evidence::text AS what,
			       occurred_at AS at, hash FROM {events}
			UNION ALL
			SELECT operation_id, version, 'claimed', '', 'capturing', amount_cents, currency_code, worker, idempotency_key, claimed_at, hash FROM {attempts}
		), chain AS (
			SELECT s.*, lag(hash) OVER w AS prev, lead(version) OVER w IS NULL AS ends FROM step AS s WINDOW w AS (PARTITION BY operation_id ORDER BY version)
		)
		SELECT operation_id || ' v' || c.version AS name,
		       c.hash <> step_hash(COALESCE(prev, d.hash, ''), operation_id, c.version, event, from_state, to_state, amount_cents, currency_code, who, what, at) AS broken
		FROM chain AS c LEFT JOIN {bases} AS d ON d.id = c.operation_id
		UNION ALL
		SELECT o.id || ' end', o.chain_hash IS DISTINCT FROM COALESCE(c.hash, d.hash)
		FROM {operations} AS o LEFT JOIN chain AS c ON c.operation_id = o.id AND c.ends LEFT JOIN {bases} AS d ON d.id = o.id`

// auditOf puts tables into an invariant, by name: those of the ledger, or what
// stands for a part of it.
func auditOf(sql string, tables map[string]string) string {
	for name, table := range tables {
		sql = strings.ReplaceAll(sql, "{"+name+"}", table)
	}
	return sql
}

// wholeLedger is what an audit reads.
var wholeLedger = map[string]string{"operations": "operations", "events": "events", "attempts": "attempts", "bases": "history_bases"}

// Audit checks every invariant that the ledger alone can show. It reads all of
// the ledger: run it at night, or on a copy.
func (s *Store) Audit(ctx context.Context) ([]Invariant, error) {
	found := make([]Invariant, 0, len(invariants))
	for _, i := range invariants {
		inv, err := s.checkInvariant(ctx, i.id, i.rule, auditOf(i.sql, wholeLedger))
		if err != nil {
			return nil, err
		}
		found = append(found, inv)
	}
	return found, nil
}

// checkInvariant tries one.
func (s *Store) checkInvariant(ctx context.Context, id, rule, sql string) (Invariant, error) {
	inv := Invariant{ID: id, Rule: rule, Broken: []string{}}
	var rows []struct {
		Checked     int64   `bun:"checked"`
		BrokenCount int64   `bun:"broken_count"`
		Name        *string `bun:"name"`
	}
	err := s.query(ctx, nil, &rows, `WITH checks AS MATERIALIZED (`+sql+`), total AS (
			SELECT count(*) AS checked, count(*) FILTER (WHERE broken) AS broken_count FROM checks
		) SELECT t.checked, t.broken_count, b.name FROM total AS t
		LEFT JOIN LATERAL (SELECT name FROM checks WHERE broken ORDER BY name LIMIT ?) AS b ON true`, auditNames)
	if err != nil {
		return inv, fmt.Errorf("check invariant %s: %w", id, err)
	}
	for _, r := range rows {
		inv.Checked, inv.BrokenCount = r.Checked, r.BrokenCount
		if r.Name != nil {
			inv.Broken = append(inv.Broken, *r.Name)
		}
	}
	return inv, nil
}

// BookEntry is one operation as our books have it, for comparing with a
// gateway's own book.
type BookEntry struct {
	ID             string `bun:"id"`
	Kind           string `bun:"kind"`
	Reference      string `bun:"reference"`
	Hold           string `bun:"hold"`
	State          string `bun:"state"`
	AmountCents    int64  `bun:"amount_cents"`
	ConfirmedCents *int64 `bun:"confirmed_cents"`
	CurrencyCode   string `bun:"currency_code"`
	NeedsAttention string `bun:"needs_attention"`
}

// Book lists every operation of one account.
func (s *Store) Book(ctx context.Context, account string) ([]BookEntry, error) {
	var entries []BookEntry
	err := s.query(ctx, nil, &entries, `SELECT o.id, o.kind, o.gateway_reference AS reference, a.gateway_transaction_id AS hold, o.state, o.amount_cents,
			o.confirmed_cents, o.currency_code, COALESCE(o.needs_attention, '') AS needs_attention
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
