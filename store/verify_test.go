package store_test

import (
	"context"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// verifier finds whatever is wrong with the orders $1. It is written from the
// reference's invariants, not from the store, and folds every sum anew. $2 are
// the legal edges; with $3 the orders are all there are.
const verifier = `
WITH ord AS MATERIALIZED (SELECT * FROM orders WHERE id = ANY ($1::uuid[])),
hold AS MATERIALIZED (SELECT * FROM authorizations WHERE order_id = ANY ($1::uuid[])),
op AS MATERIALIZED (
	SELECT *, state IN ('pending', 'capturing', 'submitted', 'unknown') AS live FROM operations WHERE order_id = ANY ($1::uuid[])
), cap AS (SELECT * FROM op WHERE kind = 'capture'), ref AS (SELECT * FROM op WHERE kind = 'refund'),
step AS (
	SELECT e.operation_id, e.version, e.event, e.from_state, e.to_state, e.amount_cents, e.currency_code, e.actor AS who,
	       e.reason || E'\x1e' || e.evidence::text AS what, e.occurred_at AS at, e.hash, false AS claim
	FROM events AS e JOIN op ON op.id = e.operation_id
	UNION ALL
	SELECT a.operation_id, a.version, 'claimed', '', 'capturing', a.amount_cents, a.currency_code, a.worker, a.idempotency_key, a.claimed_at, a.hash, true
	FROM attempts AS a JOIN op ON op.id = a.operation_id
), path AS (
	SELECT s.*, row_number() OVER w AS n, COALESCE(lag(to_state) OVER w, '') AS before, COALESCE(lag(hash) OVER w, '') AS prev
	FROM step AS s WINDOW w AS (PARTITION BY operation_id ORDER BY version)
), money AS (
	SELECT o.id,
	       (SELECT COALESCE(sum(amount_cents), 0) FROM hold WHERE order_id = o.id AND closed_at IS NULL) AS held,
	       (SELECT COALESCE(sum(greatest(0, amount_cents - confirmed_cents)), 0) FROM hold WHERE order_id = o.id AND closed_reason IN ('voided', 'expired', 'gone')) AS voided,
	       (SELECT COALESCE(sum(confirmed_cents), 0) FROM cap WHERE order_id = o.id AND state = 'succeeded') AS captured,
	       (SELECT COALESCE(sum(r.confirmed_cents), 0) FROM ref AS r JOIN cap AS c ON c.id = r.capture_id
	        WHERE r.order_id = o.id AND r.state = 'succeeded' AND c.state = 'succeeded') AS refunded,
	       (SELECT COALESCE(sum(confirmed_cents), 0) FROM cap WHERE order_id = o.id AND state = 'reset') AS reset,
	       (SELECT COALESCE(sum(amount_cents), 0) FROM cap WHERE order_id = o.id AND live) AS live,
	       (SELECT count(*) FROM op WHERE order_id = o.id AND live) AS operations,
	       (SELECT count(*) FROM op WHERE order_id = o.id) + (SELECT count(*) FROM hold WHERE order_id = o.id) AS transactions
	FROM ord AS o
)
SELECT 'I1 a hold is asked for more than it has: ' || id FROM hold WHERE requested_cents NOT BETWEEN 0 AND amount_cents
UNION ALL SELECT 'a reservation does not fit its state: ' || id || ' ' || state || ' ' || reserved_cents FROM op
	WHERE kind <> 'void' AND (live AND reserved_cents <> amount_cents OR state IN ('failed', 'cancelled') AND reserved_cents <> 0 OR reserved_cents > amount_cents)
UNION ALL SELECT 'I5 a send without its attempt: ' || id FROM op WHERE sent_version IS NOT NULL
	AND NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.operation_id = op.id AND a.version = op.sent_version AND a.call = 'send')
UNION ALL SELECT 'I6 no such edge: ' || operation_id || ' v' || version || ' ' || before || ' ' || event || ' ' || to_state FROM path
	WHERE NOT claim AND from_state <> before
	   OR before = '' AND (event <> 'created' OR to_state <> 'pending')
	   OR before <> '' AND NOT (before || ' ' || to_state = ANY ($2::text[]))
	      AND NOT (before = to_state AND event IN ('flagged', 'unflagged', 'hinted', 'lowered'))
UNION ALL SELECT 'I7 a hold with more than one live capture or void, or naming another: ' || h.id FROM hold AS h
	WHERE h.live_operation_id IS DISTINCT FROM (SELECT min(id::text)::uuid FROM op WHERE authorization_id = h.id AND kind <> 'refund' AND live)
	   OR 1 < (SELECT count(*) FROM op WHERE authorization_id = h.id AND kind <> 'refund' AND live)
UNION ALL SELECT 'I8 more keys than rotations: ' || op.id FROM op
	WHERE op.key_epoch < (SELECT count(DISTINCT idempotency_key) - 1 FROM attempts AS a WHERE a.operation_id = op.id)
UNION ALL SELECT 'sent again without a conclusive look: ' || a.operation_id || ' v' || a.version FROM attempts AS a JOIN op ON op.id = a.operation_id
	WHERE a.call = 'send'
	  AND EXISTS (SELECT 1 FROM attempts AS s LEFT JOIN attempt_results AS r ON (r.operation_id, r.version) = (s.operation_id, s.version)
	              WHERE s.operation_id = a.operation_id AND s.version < a.version AND s.call = 'send' AND (r.outcome IS DISTINCT FROM 'not_sent' OR r.fenced))
	  AND NOT EXISTS (SELECT 1 FROM attempts AS l JOIN attempt_results AS r ON (r.operation_id, r.version) = (l.operation_id, l.version)
	                  WHERE l.operation_id = a.operation_id AND l.version = a.version - 1 AND l.call = 'look_up' AND r.outcome IN ('none', 'declined'))
UNION ALL SELECT 'I9 versions with a gap: ' || operation_id || ' v' || version FROM path WHERE n <> version
UNION ALL SELECT 'I9 the last step is not the row: ' || op.id || ' ' || op.state FROM op
	WHERE NOT EXISTS (SELECT 1 FROM path AS p WHERE p.operation_id = op.id AND p.version = op.version AND p.to_state = op.state AND p.hash = op.chain_hash)
	   OR op.version <> (SELECT count(*) FROM path AS p WHERE p.operation_id = op.id)
UNION ALL SELECT 'an attempt closed that never was: ' || r.operation_id FROM attempt_results AS r JOIN op ON op.id = r.operation_id
	WHERE NOT EXISTS (SELECT 1 FROM attempts AS a WHERE a.operation_id = r.operation_id AND a.version = r.version)
UNION ALL SELECT 'I10 open work and live operations differ: ' || COALESCE(op.id, w.operation_id) FROM (SELECT * FROM op WHERE live) AS op
	FULL JOIN (SELECT * FROM work WHERE $3 OR operation_id IN (SELECT id FROM op)) AS w ON w.operation_id = op.id AND w.kind = op.kind
	WHERE op.id IS NULL OR w.operation_id IS NULL
UNION ALL SELECT 'I13 an order does not fold: ' || o.id || ' ' || m::text FROM ord AS o JOIN money AS m ON m.id = o.id
	WHERE (o.held_cents, o.voided_cents, o.captured_cents, o.refunded_cents, o.reset_cents, o.live_cents, o.live_operations, o.transactions)
	      IS DISTINCT FROM (m.held, m.voided, m.captured, m.refunded, m.reset, m.live, m.operations, m.transactions)
UNION ALL SELECT 'I14 a hold does not fold: ' || h.id FROM hold AS h
	WHERE (h.requested_cents, h.confirmed_cents, h.returned_cents) IS DISTINCT FROM (
	       (SELECT COALESCE(sum(reserved_cents), 0) FROM cap WHERE authorization_id = h.id),
	       (SELECT COALESCE(sum(confirmed_cents), 0) FROM cap WHERE authorization_id = h.id AND state IN ('succeeded', 'reset')),
	       (SELECT COALESCE(sum(confirmed_cents), 0) FROM ref WHERE authorization_id = h.id AND state = 'succeeded'))
UNION ALL SELECT 'I14 a capture does not fold: ' || c.id FROM cap AS c
	WHERE (c.refund_requested_cents, c.refunded_cents) IS DISTINCT FROM (
	       (SELECT COALESCE(sum(reserved_cents), 0) FROM ref WHERE capture_id = c.id),
	       (SELECT COALESCE(sum(confirmed_cents), 0) FROM ref WHERE capture_id = c.id AND state = 'succeeded'))
UNION ALL SELECT 'I15 the chain is broken: ' || operation_id || ' v' || version FROM path
	WHERE hash IS DISTINCT FROM step_hash(prev, operation_id, version, event, from_state, to_state, amount_cents, currency_code, who, what, at)
UNION ALL SELECT 'a hold is closed without a reason: ' || id FROM hold WHERE (closed_at IS NULL) <> (closed_reason IS NULL)
UNION ALL SELECT 'an end without its time: ' || id FROM op WHERE live = (finished_at IS NOT NULL)
UNION ALL SELECT 'a lease without a claim: ' || id FROM op WHERE (state = 'capturing') <> (lease_until IS NOT NULL)
UNION ALL SELECT 'a wish to cancel with nothing under way: ' || id FROM ord WHERE cancel_requested_at IS NOT NULL AND live_operations = 0 AND status <> 'cancelled'
UNION ALL SELECT 'a cancelled order with a live capture: ' || id FROM ord WHERE status = 'cancelled' AND live_cents > 0
`

// verify holds the test's orders, or one of them, against every invariant.
func (b bench) verify(t tester, orderID ...string) {
	t.Helper()
	var edges []string
	for e := range models.Edges() {
		edges = append(edges, string(e[0])+" "+string(e[1]))
	}
	all := len(orderID) == 0 && !b.shared
	if len(orderID) == 0 {
		orderID = b.orders(t)
	}
	if wrong := column[string](t, b, verifier, orderID, edges, all); len(wrong) > 0 {
		t.Fatalf("the ledger is wrong: %q", wrong)
	}
	orders, err := b.OrdersByID(context.Background(), models.Test, orderID)
	must(t, err)
	for _, o := range orders {
		if want := o.Sums().PaymentStatus(o.Status); o.PaymentStatus != want {
			t.Fatalf("order %s says %s, its sums say %s: %+v", o.ID, o.PaymentStatus, want, o.Sums())
		}
	}
}

// audited is the ledger's own audit, which must agree.
func (b bench) audited(t *testing.T) {
	t.Helper()
	found, err := b.Audit(t.Context())
	must(t, err)
	for _, i := range found {
		if i.BrokenCount != 0 {
			t.Errorf("the audit finds %s broken: %s: %v", i.ID, i.Rule, i.Broken)
		}
	}
}
