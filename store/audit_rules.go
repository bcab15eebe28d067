package store

import (
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// reach says when, and over what, a part of an invariant is tried.
type reach int

const (
	// byOrder parts ask nothing beyond one order, so they can be tried on some.
	byOrder reach = iota
	// small parts read tables that hold open work only, or choose by themselves.
	small
	// waiting parts are small ones about how long something waits: nothing for a
	// ledger that nobody works on.
	waiting
	// onlyFull parts read everything.
	onlyFull
)

// auditPart is one query of an invariant: it returns a row per thing checked,
// with its name and whether it is broken. What stands in braces is put in by
// [auditOf].
//
// {bases} says where the attached history of an operation begins when its first
// steps were detached. What an anchor stands for was checked before it was
// written; I15 folds it again.
type auditPart struct {
	reach reach
	sql   string
}

// invariant is a rule and how it is checked.
type invariant struct {
	id, rule string
	parts    []auditPart
}

// invariants are checked by SQL alone. I4 takes the gateways: see package worker.
var invariants = []invariant{
	{"I1", "no hold is asked for more than its amount, and what it is asked for is what its captures reserve", capParts},
	{"I2", "each operation has one reference and each transaction at the gateway one operation; no order is captured beyond its total unseen", doubleParts},
	{"I3", "every approved, automatically captured order has a capture with an end and a reason", lostParts},
	{"I5", "every send has its attempt, committed before it", traceParts},
	{"I6", "every history is a path of the transition table", pathParts},
	{"I7", "a hold has at most one live capture or void, and names it", liveParts},
	{"I8", "nothing is sent again, and no key changes, but after a look that found nothing; where there is no look-up, the same goes out under the same key", keyParts},
	{"I9", "versions have no gap, and every row is what its history folds to", foldParts},
	{"I10", "open work stands in the work table, nothing else does, and none of it waits unseen", workParts},
	{"I11", "every webhook was applied, refused or parked with a reason, or waits its turn", inboxParts},
	{"I12", "every outcome was told, or is about to be, to each endpoint that was enabled then", toldParts},
	{"I13", "every order's sums fold from its operations and holds", orderParts},
	{"I14", "every hold's and capture's sums fold from its operations, which belong to it", holdParts},
	{"I15", "every operation's chain of hashes verifies, up to the anchor of what was detached, and so do the anchors of the days", chainParts},
}

// ofInvariant finds one by its id.
func ofInvariant(id string) invariant {
	for _, i := range invariants {
		if i.id == id {
			return i
		}
	}
	return invariant{}
}

const annotations = `('flagged', 'unflagged', 'hinted', 'lowered')`

const live = `('pending', 'capturing', 'submitted', 'unknown')`

// seen says whether a person was told that an order's money is not as asked: an
// operation is or was flagged, a verdict says so, or its history is detached.
// Each look is by an index, and only made for the few that need it.
const seen = `COALESCE(
	(SELECT true FROM operations AS p WHERE p.order_id = {order} AND (p.needs_attention IS NOT NULL OR p.cause = 'adopted') LIMIT 1),
	(SELECT true FROM verdicts AS v WHERE v.order_id = {order} AND v.verdict IN ('amount_conflict', 'duplicate', 'late_success', 'needs_attention') LIMIT 1),
	(SELECT true FROM operations AS p JOIN events AS e ON e.operation_id = p.id AND e.event = 'unflagged' WHERE p.order_id = {order} LIMIT 1),
	(SELECT true FROM operations AS p JOIN history_anchors AS n ON p.id >= n.from_id AND p.id < n.to_id WHERE p.order_id = {order} LIMIT 1), false)`

func seenOf(order string) string { return strings.ReplaceAll(seen, "{order}", order) }

var capParts = []auditPart{
	{byOrder, `SELECT a.id::text AS name, (a.requested_cents > a.amount_cents OR a.requested_cents <> COALESCE(o.reserved, 0)) AS broken
		FROM {authorizations} AS a LEFT JOIN (SELECT authorization_id, sum(reserved_cents) AS reserved FROM {captures} AS c GROUP BY 1) AS o ON o.authorization_id = a.id`},
	{byOrder, `SELECT o.id || ' reserves ' || o.reserved_cents, o.kind <> 'void' AND o.cause <> 'adopted' AND (o.reserved_cents > o.amount_cents
			OR o.state IN ` + live + ` AND o.reserved_cents <> o.amount_cents OR o.state IN ('failed', 'cancelled') AND o.reserved_cents <> 0)
		FROM {operations} AS o`},
	{byOrder, `SELECT a.id || ' gave more than it held, and nobody was told', CASE WHEN a.confirmed_cents > a.amount_cents THEN NOT ` + seenOf("a.order_id") + ` ELSE false END
		FROM {authorizations} AS a`},
}

var doubleParts = []auditPart{
	{byOrder, `SELECT min(id::text) AS name, count(*) > 1 AS broken FROM {operations} AS o GROUP BY gateway_reference`},
	// A gap is an operation that was lost. Beside one that was adopted it is an
	// operation that a restore has forgotten and that never took effect.
	{byOrder, `SELECT a.id || ' counts other operations than it has',
			NOT COALESCE(o.adopted, false) AND ((a.capture_sequence, a.refund_sequence, a.void_sequence) IS DISTINCT FROM (COALESCE(o.captures, 0), COALESCE(o.refunds, 0), COALESCE(o.voids, 0))
			OR COALESCE(o.numbers, 0) <> (a.capture_sequence::bigint * (a.capture_sequence + 1) + a.refund_sequence::bigint * (a.refund_sequence + 1)
				+ a.void_sequence::bigint * (a.void_sequence + 1)) / 2)
		FROM {authorizations} AS a LEFT JOIN (SELECT authorization_id, sum(sequence) AS numbers, bool_or(cause = 'adopted') AS adopted, count(*) FILTER (WHERE kind = 'capture') AS captures,
			count(*) FILTER (WHERE kind = 'refund') AS refunds, count(*) FILTER (WHERE kind = 'void') AS voids FROM {operations} AS p GROUP BY 1) AS o ON o.authorization_id = a.id`},
	{byOrder, `SELECT min(id::text) || ' and ' || max(id::text) || ' are one at the gateway', count(DISTINCT authorization_id) > 1
		FROM {operations} AS o WHERE gateway_transaction_id IS NOT NULL AND state IN ('succeeded', 'reset', 'reversed') GROUP BY payment_gateway_id, kind, gateway_transaction_id`},
	{byOrder, `SELECT r.id || ' is captured beyond every total it had, and nobody was told',
			CASE WHEN r.captured_cents - r.refunded_cents + r.live_cents > greatest(r.total_amount_cents, c.total) THEN NOT ` + seenOf("r.id") + ` ELSE false END
		FROM {orders} AS r JOIN (SELECT order_id, max(order_total_cents) AS total FROM {captures} AS c GROUP BY 1) AS c ON c.order_id = r.id`},
}

var lostParts = []auditPart{
	{byOrder, `SELECT c.id::text AS name, (c.state IN ('failed', 'cancelled') AND COALESCE(c.error_code, c.message, (
			SELECT e.reason FROM events AS e WHERE e.operation_id = c.id AND e.version = c.version), (
			SELECT 'detached' FROM history_anchors AS n WHERE n.from_id <= c.id AND c.id < n.to_id), '') = '') AS broken
		FROM {captures} AS c JOIN {orders} AS o ON o.id = c.order_id WHERE o.approved_at IS NOT NULL AND c.cause <> 'manual'`},
	{byOrder, `SELECT o.id || ' has no capture', NOT EXISTS (SELECT 1 FROM captures AS c WHERE c.order_id = o.id AND c.cause <> 'manual')
			AND NOT EXISTS (SELECT 1 FROM order_checks AS k WHERE k.order_id = o.id AND k.due_at <= now() + interval '5 minutes')
		FROM {orders} AS o JOIN payment_methods AS m ON m.id = o.payment_method_id
		WHERE o.status = 'approved' AND m.auto_capture AND m.updated_at <= o.approved_at
			AND (m.capture_trigger IN ('approval', 'authorization', 'delay') OR m.capture_trigger = 'at' AND o.capture_at IS NOT NULL
				OR m.capture_trigger = 'fulfillment' AND o.fulfillment_status <> 'unfulfilled')
			AND o.total_amount_cents BETWEEN 1 AND COALESCE(m.auto_capture_max_amount_cents, o.total_amount_cents)
			AND o.live_operations = 0 AND o.refunded_cents = 0 AND o.reset_cents = 0 AND o.captured_cents < o.total_amount_cents
			AND EXISTS (SELECT 1 FROM authorizations AS a WHERE a.order_id = o.id AND a.closed_at IS NULL AND a.requested_cents < a.amount_cents AND a.renewing_since IS NULL
				AND (a.capture_before IS NULL OR a.capture_before > now()))`},
}

var liveParts = []auditPart{
	{byOrder, `SELECT a.id::text AS name, COALESCE(l.live, 0) > 1 OR a.live_operation_id IS DISTINCT FROM l.one AS broken
		FROM {authorizations} AS a LEFT JOIN (SELECT authorization_id, count(*) AS live, min(id::text)::uuid AS one FROM {operations} AS o
			WHERE kind IN ('capture', 'void') AND state IN ` + live + ` GROUP BY 1) AS l ON l.authorization_id = a.id`},
}

// ofWork is the operation of a row of work w, looked up from there.
const ofWork = `LATERAL (SELECT id, state, payment_gateway_id, updated_at, lease_until, needs_attention, look_first
		FROM operations AS p WHERE p.id = w.operation_id AND p.kind = w.kind OFFSET 0) AS o`

var workParts = []auditPart{
	{small, `SELECT w.operation_id::text AS name, o.id IS NULL OR w.payment_gateway_id <> o.payment_gateway_id AS broken
		FROM work AS w LEFT JOIN ` + ofWork + ` ON o.state IN ` + live},
	{byOrder, `SELECT o.id::text, w.operation_id IS NULL
		FROM {operations} AS o LEFT JOIN work AS w ON w.operation_id = o.id AND w.kind = o.kind WHERE o.state IN ` + live},
	// A name carries the generation: what was published anew meanwhile is another.
	{waiting, `SELECT w.operation_id || ' is not published, generation ' || w.generation,
			w.published_at IS NULL AND greatest(w.due_at, o.updated_at) < now() - {late}
			AND NOT EXISTS (SELECT 1 FROM verdicts AS v WHERE v.operation_id = o.id AND v.created_at > now() - {late})
		FROM work AS w CROSS JOIN ` + ofWork},
	{waiting, `SELECT w.operation_id || ' is due and left alone, generation ' || w.generation,
			g.paused_at IS NULL AND w.published_at < now() - {late}
			AND CASE WHEN o.state = 'capturing' THEN o.lease_until < now() - {late}
			         ELSE w.due_at < now() - {late} AND (o.state <> 'pending' OR o.needs_attention IS NULL OR o.look_first) END
		FROM work AS w CROSS JOIN ` + ofWork + ` JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
		WHERE w.published_at IS NOT NULL`},
}

var inboxParts = []auditPart{
	{small, `SELECT id::text AS name, (processed_at IS NOT NULL AND (outcome = '' OR outcome NOT IN ('applied', 'in_sync') AND reason = '')) AS broken FROM {inbox} AS i`},
	{waiting, `SELECT id || ' waits, try ' || tries, received_at < now() - {late} AND due_at < now() - {late} FROM inbox WHERE processed_at IS NULL`},
}

// A statement reads the endpoints a moment after its transaction began, so the
// minute around a change is left out.
var toldParts = []auditPart{
	{byOrder, `SELECT e.operation_id || ' v' || e.version || ' to ' || h.name AS name,
			d.id IS NULL OR d.topic NOT LIKE '%.' || CASE WHEN e.event = 'flagged' THEN 'needs_attention' ELSE e.to_state END
			OR d.delivered_at IS NOT NULL AND COALESCE(d.last_status, 0) / 100 <> 2 OR (d.delivered_at IS NOT NULL OR d.given_up_at IS NOT NULL) AND d.tries = 0 AS broken
		FROM {events} AS e JOIN webhooks AS h ON h.enabled_at < e.occurred_at - interval '1 minute'
			AND (h.disabled_at IS NULL OR h.disabled_at > e.occurred_at + interval '1 minute')
		LEFT JOIN deliveries AS d ON d.webhook_id = h.id AND d.operation_id = e.operation_id AND d.version = e.version
		WHERE e.event = 'flagged' OR e.to_state NOT IN ` + live + ` AND e.event NOT IN ('unflagged', 'hinted', 'lowered')`},
	{waiting, `SELECT d.id || ' to ' || h.name || ' waits, generation ' || d.generation, h.disabled_at IS NULL AND d.due_at < now() - {late}
			AND d.created_at < now() - {late} AND COALESCE(d.published_at < now() - {late}, true)
		FROM deliveries AS d JOIN webhooks AS h ON h.id = d.webhook_id WHERE d.delivered_at IS NULL AND d.given_up_at IS NULL`},
}

var orderParts = []auditPart{
	{byOrder, `SELECT r.id::text AS name, (r.captured_cents, r.reset_cents, r.live_cents, r.refunded_cents, r.live_operations, r.held_cents, r.voided_cents, r.transactions)
			IS DISTINCT FROM (COALESCE(c.captured, 0), COALESCE(c.reset, 0), COALESCE(c.live, 0), COALESCE(f.refunded, 0), COALESCE(l.live, 0), COALESCE(h.held, 0),
				COALESCE(h.voided, 0), COALESCE(l.n, 0) + COALESCE(h.n, 0)) AS broken
		FROM {orders} AS r
		LEFT JOIN (SELECT order_id, sum(confirmed_cents) FILTER (WHERE state = 'succeeded') AS captured, sum(confirmed_cents) FILTER (WHERE state = 'reset') AS reset,
		                  sum(amount_cents) FILTER (WHERE state IN ` + live + `) AS live FROM {captures} AS o GROUP BY 1) AS c ON c.order_id = r.id
		LEFT JOIN (SELECT f.order_id, sum(f.confirmed_cents) AS refunded FROM {refunds} AS f JOIN {captures} AS c ON c.id = f.capture_id
		           WHERE f.state = 'succeeded' AND c.state = 'succeeded' GROUP BY 1) AS f ON f.order_id = r.id
		LEFT JOIN (SELECT order_id, count(*) AS n, count(*) FILTER (WHERE state IN ` + live + `) AS live FROM {operations} AS o GROUP BY 1) AS l ON l.order_id = r.id
		LEFT JOIN (SELECT order_id, count(*) AS n, sum(amount_cents) FILTER (WHERE closed_at IS NULL) AS held,
		                  sum(greatest(0, amount_cents - confirmed_cents)) FILTER (WHERE closed_reason IN ('voided', 'expired', 'gone')) AS voided
		           FROM {authorizations} AS a GROUP BY 1) AS h ON h.order_id = r.id`},
}

var holdParts = []auditPart{
	{byOrder, `SELECT a.id::text AS name, (a.confirmed_cents, a.returned_cents) IS DISTINCT FROM (COALESCE(c.confirmed, 0), COALESCE(f.returned, 0))
			OR (a.closed_at IS NULL) <> (a.closed_reason IS NULL) AS broken
		FROM {authorizations} AS a
		LEFT JOIN (SELECT authorization_id, sum(confirmed_cents) FILTER (WHERE state IN ('succeeded', 'reset')) AS confirmed FROM {captures} AS o GROUP BY 1) AS c ON c.authorization_id = a.id
		LEFT JOIN (SELECT authorization_id, sum(confirmed_cents) FILTER (WHERE state = 'succeeded') AS returned FROM {refunds} AS o GROUP BY 1) AS f ON f.authorization_id = a.id`},
	{byOrder, `SELECT c.id || ' and its refunds', (c.refund_requested_cents, c.refunded_cents) IS DISTINCT FROM (COALESCE(f.requested, 0), COALESCE(f.refunded, 0))
		FROM {captures} AS c LEFT JOIN (SELECT capture_id, sum(reserved_cents) AS requested, sum(confirmed_cents) FILTER (WHERE state = 'succeeded') AS refunded
			FROM {refunds} AS o GROUP BY 1) AS f ON f.capture_id = c.id`},
	{byOrder, `SELECT o.id || ' belongs elsewhere', a.id IS NULL OR (o.order_id, o.payment_gateway_id, o.currency_code, o.mode) IS DISTINCT FROM (a.order_id, a.payment_gateway_id, a.currency_code, a.mode)
			OR o.kind = 'refund' AND c.authorization_id IS DISTINCT FROM o.authorization_id
		FROM {operations} AS o LEFT JOIN {authorizations} AS a ON a.id = o.authorization_id LEFT JOIN {captures} AS c ON c.id = o.capture_id`},
}

// edges are the steps that the transition table has, as an array of Postgres:
// event, state before, state after.
func edges() string {
	var all []string
	for _, from := range append([]models.State{""}, models.States...) {
		for _, e := range append([]models.Event{models.Created}, models.Events...) {
			if to, err := from.Next(models.Capture, e); err == nil {
				all = append(all, "'"+string(e)+" "+string(from)+" "+string(to)+"'")
			}
		}
	}
	return "ARRAY[" + strings.Join(all, ",") + "]"
}
