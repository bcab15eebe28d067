package main

import (
	"regexp"
	"strconv"

	"github.com/capstan-pay/capstan/models"
)

// The statements of a claim and of an outcome: one for each table, as a handler
// is usually written. Arguments stand as ?0, ?1, …, as bun has them. What they
// write is what store/claim.sql and store/apply.sql write.
const (
	readSQL = `SELECT o.order_id::text, o.authorization_id::text, a.gateway_transaction_id, o.gateway_reference, o.gateway_reference || '_e' || o.key_epoch,
		o.currency_code, o.amount_cents, a.amount_cents, o.version, o.state IN ('unknown', 'capturing'),
		(o.state IN ('pending', 'unknown') AND o.next_at <= now() OR o.state = 'capturing' AND o.lease_until < now())
		AND a.closed_at IS NULL AND r.status = 'approved' AND r.version = o.order_version AND g.paused_at IS NULL
	FROM captures AS o JOIN authorizations AS a ON a.id = o.authorization_id JOIN orders AS r ON r.id = o.order_id
		JOIN payment_gateways AS g ON g.id = o.payment_gateway_id
	WHERE o.kind = 'capture' AND o.id = ?0 FOR UPDATE OF o`

	claimSQL = `UPDATE captures AS o SET state = 'capturing', version = o.version + 1, lease_until = now() + ?2::bigint * interval '1 microsecond', lease_owner = ?3::text,
		sent_version = COALESCE(o.sent_version, o.version + 1), last_sent_at = now(),
		chain_hash = step_hash(o.chain_hash, o.id, o.version + 1, 'claimed', '', 'capturing', o.amount_cents, o.currency_code, ?3::text,
			o.gateway_reference || '_e' || o.key_epoch, now()), updated_at = now()
	WHERE o.kind = 'capture' AND o.id = ?0 AND o.version = ?1 RETURNING o.version, o.chain_hash`

	attemptSQL = `INSERT INTO attempts (operation_id, version, call, idempotency_key, amount_cents, currency_code, worker, claimed_at, deadline, hash)
	VALUES (?0, ?1, ?2, ?3, ?4, ?5, ?6, now(), now() + ?7::bigint * interval '1 microsecond', ?8)`

	leaseSQL = `UPDATE work SET due_at = now() + ?1::bigint * interval '1 microsecond', published_at = COALESCE(published_at, now()) WHERE operation_id = ?0`

	// ?2 event, ?3 state, ?4 amount, ?5 currency, ?6 worker, ?7 reason, ?8 evidence
	stepHash = `step_hash(o.chain_hash, o.id, o.version + 1, ?2::text, 'capturing', ?3::text, ?4::bigint, ?5::text, ?6::text, ?7::text || E'\x1e' || ?8::jsonb::text, now())`

	succeedSQL = `UPDATE captures AS o SET state = ?3::text, version = o.version + 1, chain_hash = ` + stepHash + `,
		confirmed_cents = ?4::bigint, gateway_transaction_id = ?9::text, last_sent_at = now(), lease_until = NULL, lease_owner = NULL, next_at = NULL, unknown_since = NULL,
		unsent = 0, look_ups = 0, finished_at = now(), updated_at = now()
	WHERE o.kind = 'capture' AND o.id = ?0 AND o.version = ?1 AND o.state = 'capturing' RETURNING o.version, o.chain_hash`

	failSQL = `UPDATE captures AS o SET state = ?3::text, version = o.version + 1, chain_hash = ` + stepHash + `,
		reserved_cents = 0, error_code = ?9::text, error_detail = ?10::text, message = ?11::text, last_sent_at = now(), lease_until = NULL, lease_owner = NULL, next_at = NULL,
		unknown_since = NULL, finished_at = now(), updated_at = now()
	WHERE o.kind = 'capture' AND o.id = ?0 AND o.version = ?1 AND o.state = 'capturing' RETURNING o.version, o.chain_hash`

	loseSQL = `UPDATE captures AS o SET state = ?3::text, version = o.version + 1, chain_hash = ` + stepHash + `,
		last_sent_at = now(), lease_until = NULL, lease_owner = NULL, next_at = now() + ?9::bigint * interval '1 microsecond', tries = o.tries + 1,
		unknown_since = COALESCE(o.unknown_since, now()), message = ?10::text, updated_at = now()
	WHERE o.kind = 'capture' AND o.id = ?0 AND o.version = ?1 AND o.state = 'capturing' RETURNING o.version, o.chain_hash`

	postponeSQL = `UPDATE captures AS o SET state = ?3::text, version = o.version + 1, chain_hash = ` + stepHash + `,
		sent_version = NULL, last_sent_at = NULL, lease_until = NULL, lease_owner = NULL, next_at = now() + ?9::bigint * interval '1 microsecond', unsent = o.unsent + 1,
		message = ?10::text, updated_at = now()
	WHERE o.kind = 'capture' AND o.id = ?0 AND o.version = ?1 AND o.state = 'capturing' RETURNING o.version, o.chain_hash`

	eventSQL = `INSERT INTO events (operation_id, version, event, from_state, to_state, actor, reason, amount_cents, currency_code, gateway_transaction_id, evidence, occurred_at, hash)
	VALUES (?0, ?1, ?2, 'capturing', ?3, ?4, ?5, ?6, ?7, ?8, ?9::jsonb, now(), ?10)`

	resultSQL = `INSERT INTO attempt_results (operation_id, version, outcome, status, error_code, request_id) VALUES (?0, ?1, ?2, ?3, ?4, '')`

	holdTakenSQL = `UPDATE authorizations SET confirmed_cents = confirmed_cents + ?1::bigint, live_operation_id = NULL, closed_at = now(), closed_reason = 'captured',
		updated_at = now() WHERE id = ?0`

	holdFreedSQL = `UPDATE authorizations SET requested_cents = requested_cents - ?1::bigint, live_operation_id = NULL, updated_at = now() WHERE id = ?0`

	orderPaidSQL = `UPDATE orders SET captured_cents = captured_cents + ?1::bigint, live_cents = live_cents - ?1::bigint, live_operations = live_operations - 1,
		held_cents = held_cents - ?2::bigint, updated_at = now() WHERE id = ?0`

	orderFreedSQL = `UPDATE orders SET live_cents = live_cents - ?1::bigint, live_operations = live_operations - 1, updated_at = now() WHERE id = ?0`

	checkSQL = `INSERT INTO order_checks (order_id, due_at) VALUES (?0, now()) ON CONFLICT (order_id) DO UPDATE SET due_at = least(order_checks.due_at, excluded.due_at)`

	workDoneSQL = `DELETE FROM work WHERE operation_id = ?0`

	workLaterSQL = `UPDATE work SET due_at = now() + ?1::bigint * interval '1 microsecond' WHERE operation_id = ?0`
)

var placeholder = regexp.MustCompile(`\?(\d+)`)

// numbered turns bun's placeholders, which count from 0, into Postgres' own.
func numbered(sql string) string {
	return placeholder.ReplaceAllStringFunc(sql, func(p string) string {
		n, err := strconv.Atoi(p[1:])
		if err != nil {
			return p // the pattern has digits only
		}
		return "$" + strconv.Itoa(n+1)
	})
}

// ending is what an outcome does to a capture.
type ending struct {
	event  models.Event
	state  models.State
	reason string
	sql    string
}

// endings by outcome, in the words of package models.
var endings = map[models.Outcome]ending{
	models.OutcomeConfirmed: {models.Confirmed, models.Succeeded, "the gateway confirms it", succeedSQL},
	models.OutcomeRefused:   {models.Refused, models.Failed, "the gateway refuses it for good", failSQL},
	models.OutcomeLost:      {models.Lost, models.Unknown, "no proof of anything; look again", loseSQL},
	models.OutcomeNotSent:   {models.NotSent, models.Pending, "nothing reached the gateway", postponeSQL},
}
