package store

// What is checked of the history: attempts, paths, folds and chains. {tracked}
// are the operations whose history stands in {events} and {attempts}.

// A result needs its attempt, a send committed before it, and a success that an
// answer told needs a send. {bases} leaves out what is detached.
var traceParts = []auditPart{
	{byOrder, `SELECT o.id::text AS name, o.sent_version IS NOT NULL AND o.sent_version > COALESCE(d.version, 0) AND a.version IS NULL AS broken
		FROM {tracked} AS o
		LEFT JOIN {attempts} AS a ON a.operation_id = o.id AND a.version = o.sent_version AND a.call = 'send'
		LEFT JOIN {bases} AS d ON d.id = o.id`},
	{byOrder, `SELECT r.operation_id || ' v' || r.version || ' has an answer to no attempt', r.version > COALESCE(d.version, 0) AND (a.version IS NULL OR r.recorded_at < a.claimed_at)
		FROM {attempt_results} AS r LEFT JOIN {attempts} AS a ON a.operation_id = r.operation_id AND a.version = r.version LEFT JOIN {bases} AS d ON d.id = r.operation_id`},
	{byOrder, `SELECT e.operation_id || ' v' || e.version || ' succeeded unsent', a.operation_id IS NULL AND d.id IS NULL
		FROM {events} AS e LEFT JOIN (SELECT DISTINCT operation_id FROM {attempts} AS t) AS a ON a.operation_id = e.operation_id
		LEFT JOIN {bases} AS d ON d.id = e.operation_id WHERE e.event = 'confirmed' AND e.evidence ->> 'source' = 'answer'`},
}

var pathParts = []auditPart{
	{byOrder, `SELECT s.operation_id || ' v' || s.version AS name,
		       (s.event || ' ' || COALESCE(s.before, d.state, '') || ' ' || s.to_state <> ALL (` + edges() + `) OR s.event <> 'claimed' AND s.from_state <> COALESCE(s.before, d.state, '')) AS broken
		FROM (SELECT *, lag(to_state) OVER (PARTITION BY operation_id ORDER BY version) AS before
			FROM (SELECT operation_id, version, event, from_state, to_state FROM {events} AS e
			      UNION ALL SELECT operation_id, version, 'claimed', '', 'capturing' FROM {attempts} AS a) AS h) AS s
		LEFT JOIN {bases} AS d ON d.id = s.operation_id`},
}

// A send after one that may have had an effect follows at once on a look that
// found nothing, or that the gateway declined it, or, of a gateway that cannot
// be asked, goes out under the same key. An outcome that a fence kept
// out may have had one.
var keyParts = []auditPart{
	{byOrder, `SELECT s.operation_id || ' v' || s.version || ' sent again' AS name,
			s.call = 'send' AND COALESCE(s.sent, false) AND NOT COALESCE(s.call_before = 'look_up' AND s.version_before = s.version - 1 AND (s.found IN ('none', 'declined') OR s.found = 'unasked' AND s.idempotency_key = s.key_before), false) AS broken
		FROM (SELECT a.operation_id, a.version, a.call, a.idempotency_key, lag(a.idempotency_key) OVER w AS key_before, lag(a.call) OVER w AS call_before, lag(a.version) OVER w AS version_before, lag(r.outcome) OVER w AS found,
			bool_or(a.call = 'send' AND (r.outcome IS DISTINCT FROM 'not_sent' OR r.fenced)) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS sent
			FROM {attempts} AS a LEFT JOIN {attempt_results} AS r ON r.operation_id = a.operation_id AND r.version = a.version
			WINDOW w AS (PARTITION BY a.operation_id ORDER BY a.version)) AS s`},
	{byOrder, `SELECT a.operation_id || ' has more keys than looks that found nothing', count(DISTINCT a.idempotency_key) FILTER (WHERE a.call = 'send')
			> 1 + count(*) FILTER (WHERE a.call = 'look_up' AND r.outcome IN ('none', 'declined'))
		FROM {attempts} AS a LEFT JOIN {attempt_results} AS r ON r.operation_id = a.operation_id AND r.version = a.version GROUP BY a.operation_id`},
	{byOrder, `SELECT a.operation_id || ' v' || a.version || ' has a key of another', CASE WHEN a.idempotency_key !~ '_e[0-9]{1,9}$' THEN true
			ELSE a.idempotency_key <> o.gateway_reference || '_e' || substring(a.idempotency_key from '[0-9]+$') OR substring(a.idempotency_key from '[0-9]+$')::bigint > o.key_epoch END
		FROM {attempts} AS a JOIN {tracked} AS o ON o.id = a.operation_id`},
	// What an attempt came to is hashed with the event that recorded it.
	{byOrder, `SELECT r.operation_id || ' v' || r.version || ' says another outcome than its event', NOT r.fenced AND r.outcome IS DISTINCT FROM e.evidence ->> 'outcome'
		FROM {attempt_results} AS r JOIN {events} AS e ON e.operation_id = r.operation_id AND e.version = r.version + 1 AND e.evidence ->> 'outcome' <> '' AND e.evidence ->> 'source' IN ('answer', 'look_up')`},
}

// Every column that a step writes follows from the steps. Releases before this
// rule took the transaction's id from a flag, too.
var foldParts = []auditPart{
	{byOrder, `SELECT o.id::text AS name, (COALESCE(d.version, 0) + COALESCE(h.n, 0) <> o.version
			OR COALESCE(h.last, d.version, 0) <> o.version OR COALESCE(h.state, d.state, '') <> o.state
			OR (d.id IS NULL OR h.confirmed IS NOT NULL) AND o.state IN ('succeeded', 'reset', 'reversed') AND o.confirmed_cents IS DISTINCT FROM h.confirmed
			OR d.id IS NULL AND (o.amount_cents, o.currency_code::text) IS DISTINCT FROM (h.amount, h.currency)
			OR (d.id IS NULL OR h.transaction IS NOT NULL) AND o.gateway_transaction_id IS DISTINCT FROM h.transaction
				AND o.gateway_transaction_id IS DISTINCT FROM h.flagged) AS broken
		FROM {tracked} AS o
		LEFT JOIN (SELECT operation_id, count(*) AS n, max(version) AS last, (array_agg(to_state ORDER BY version DESC))[1] AS state,
				min(amount_cents) FILTER (WHERE event IN ('created', 'lowered')) AS amount, min(currency_code) FILTER (WHERE event = 'created') AS currency,
				(array_agg(amount_cents ORDER BY version DESC) FILTER (WHERE event = 'confirmed'))[1] AS confirmed,
				(array_agg(gateway_transaction_id ORDER BY version DESC) FILTER (WHERE gateway_transaction_id <> '' AND event NOT IN ` + annotations + `))[1] AS transaction,
				(array_agg(gateway_transaction_id ORDER BY version DESC) FILTER (WHERE gateway_transaction_id <> ''))[1] AS flagged
			FROM (SELECT operation_id, version, event, to_state, amount_cents, currency_code, gateway_transaction_id FROM {events} AS e
			      UNION ALL SELECT operation_id, version, 'claimed', 'capturing', NULL, '', '' FROM {attempts} AS a) AS s GROUP BY 1) AS h ON h.operation_id = o.id
		LEFT JOIN {bases} AS d ON d.id = o.id`},
	// A person's word is in the history, with who said it; and what it says is booked.
	{byOrder, `SELECT o.id || ' was told by nobody', d.id IS NULL AND NOT EXISTS (SELECT 1 FROM {events} AS e WHERE e.operation_id = o.id AND e.evidence ->> 'source' = 'operator'
			AND e.evidence ->> 'by' = o.asserted_by AND (o.mechanism IS NULL OR e.evidence ->> 'mechanism' = o.mechanism))
		FROM {tracked} AS o LEFT JOIN {bases} AS d ON d.id = o.id WHERE o.asserted_by IS NOT NULL OR o.mechanism IS NOT NULL`},
	{byOrder, `SELECT e.operation_id || ' v' || e.version || ' is a word that does not count', COALESCE(e.evidence ->> 'by', '') = '' OR o.asserted_by IS NULL
			OR e.evidence ->> 'mechanism' IS NOT NULL AND o.mechanism IS NULL
		FROM {events} AS e JOIN {tracked} AS o ON o.id = e.operation_id WHERE e.event = 'confirmed' AND e.evidence ->> 'source' = 'operator'`},
	{byOrder, `SELECT o.id || ' is ' || o.state, (o.state IN ` + live + `) = (o.finished_at IS NOT NULL) OR (o.state = 'capturing') <> (o.lease_until IS NOT NULL)
		FROM {tracked} AS o`},
}

// chain checks each step's hash, that the operation carries the last one, and
// that no step has a transaction id that its evidence, which is hashed, does not.
const chain = `
		WITH step AS (
			SELECT operation_id, version, event, from_state, to_state, amount_cents, currency_code, actor AS who, reason || E'\x1e' || evidence::text AS what,
			       occurred_at AS at, hash, gateway_transaction_id <> '' AND evidence ->> 'source' <> '' AND gateway_transaction_id IS DISTINCT FROM evidence ->> 'gateway_transaction_id' AS odd
			FROM {events} AS e
			UNION ALL
			SELECT operation_id, version, 'claimed', '', 'capturing', amount_cents, currency_code, worker, idempotency_key, claimed_at, hash, false FROM {attempts} AS a
		), chain AS (
			SELECT s.*, lag(hash) OVER w AS prev, lead(version) OVER w IS NULL AS ends FROM step AS s WINDOW w AS (PARTITION BY operation_id ORDER BY version)
		)
		SELECT operation_id || ' v' || c.version AS name,
		       c.odd OR c.hash IS DISTINCT FROM step_hash(COALESCE(prev, d.hash, ''), operation_id, c.version, event, from_state, to_state, amount_cents, currency_code, who, what, at) AS broken
		FROM chain AS c LEFT JOIN {bases} AS d ON d.id = c.operation_id
		UNION ALL
		SELECT o.id || ' end', o.chain_hash IS DISTINCT FROM COALESCE(c.hash, d.hash)
		FROM {tracked} AS o LEFT JOIN chain AS c ON c.operation_id = o.id AND c.ends LEFT JOIN {bases} AS d ON d.id = o.id`

// orphans are steps of operations that are gone: the other rules begin with the
// operation.
const orphans = `SELECT h.operation_id || ' v' || h.version || ' has no operation', o.id IS NULL
	FROM (SELECT operation_id, version FROM {events} AS e WHERE version = 1 UNION ALL SELECT operation_id, version FROM {attempts} AS a) AS h
	LEFT JOIN {tracked} AS o ON o.id = h.operation_id`

var chainParts = []auditPart{
	{byOrder, chain},
	{onlyFull, orphans},
	{onlyFull, `SELECT 'the anchor of ' || a.month AS name, f.operations <> a.operations OR f.heads <> a.heads AS broken
		FROM history_anchors AS a CROSS JOIN LATERAL history_fold(a.from_id, a.to_id) AS f`},
	{onlyFull, `SELECT 'the anchor of ' || a.month || ', itself', a.hash <> anchor_hash(COALESCE(lag(a.hash) OVER (ORDER BY a.number), ''), a)
			OR a.number <> row_number() OVER (ORDER BY a.number)
		FROM history_anchors AS a`},
	{onlyFull, dailyChain},
	{onlyFull, dailyFolds},
}
