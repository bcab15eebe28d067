-- Makes operations of one kind, and writes everything that follows in the same
-- commit: the approval of their orders if that is what made them, first history
-- row, open work, and what they ask of hold, order and capture.
--
-- ?0 the orders: {id, seen, approved_at, last_chance, overpaid, live_cents, operations}.
--    seen is the xmin under which the order was read; without it the caller
--    holds the order's lock. With approved_at the order is approved, with
--    last_chance its holds are looked at now, and with overpaid its captures. The
--    sums are those of its rows in ?2.
-- ?1 the holds that the decision rests on: {id, order_id, seen}.
-- ?2 the operations, at most one of each hold; an order may have none.
-- ?3 who does it.
--
-- An order that changed since it was read, itself or a hold of it, drops out:
-- nothing is written for it, and it is missing from the answer, which has a row
-- for each order that was written and for each operation that was made.
-- Orders are locked first, then holds, each by id. A row that was waited for is
-- compared again: another's change makes it drop out.
--
-- The parts are lists without an index: what one needs of another it asks by
-- NOT IN, which is a hash table, or of the few that were lost, never by a join.
WITH o AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(?0::jsonb) AS o (
        id uuid, seen xid, approved_at timestamptz, last_chance boolean, overpaid boolean, live_cents bigint, operations integer)
), h AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(?1::jsonb) AS h (id uuid, order_id uuid, seen xid)
), locked AS MATERIALIZED (
    SELECT r.id FROM o JOIN orders AS r ON r.id = o.id
    WHERE o.seen IS NULL OR r.xmin = o.seen
    ORDER BY r.id FOR UPDATE OF r
), gone AS MATERIALIZED (
    SELECT o.id FROM o WHERE o.id NOT IN (SELECT id FROM locked)
), kept AS MATERIALIZED (
    SELECT a.id FROM h JOIN authorizations AS a ON a.id = h.id
    WHERE (h.seen IS NULL OR a.xmin = h.seen) AND h.order_id <> ALL (ARRAY(SELECT id FROM gone))
    ORDER BY a.id FOR UPDATE OF a
), lost AS MATERIALIZED (
    SELECT id FROM gone UNION ALL SELECT h.order_id FROM h WHERE h.id NOT IN (SELECT id FROM kept)
), n AS MATERIALIZED (
    SELECT *, step_hash('', id, 1, 'created', '', 'pending', amount_cents, currency_code, ?3::text, E'\x1e{}', now()) AS hash
    FROM jsonb_to_recordset(?2::jsonb) AS n (
        id uuid, mode text, number text, order_id uuid, authorization_id uuid, payment_gateway_id uuid, capture_id uuid, cause text, sequence integer,
        gateway_reference text, amount_cents bigint, currency_code text, reserved_cents bigint, order_version bigint, order_total_cents bigint,
        reference text, reference_origin text, metadata jsonb, retry_of uuid, due_at timestamptz, deadline timestamptz)
    WHERE order_id <> ALL (ARRAY(SELECT id FROM lost))
), made AS (
    INSERT INTO ?table (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, capture_id, cause, sequence,
        gateway_reference, amount_cents, currency_code, reserved_cents, order_version, order_total_cents, state, version, chain_hash,
        next_at, not_before, reference, reference_origin, metadata, retry_of)
    SELECT '?kind', id, mode, number, order_id, authorization_id, payment_gateway_id, capture_id, cause, sequence,
        gateway_reference, amount_cents, currency_code, reserved_cents, order_version, order_total_cents, 'pending', 1, hash,
        COALESCE(due_at, now()), COALESCE(due_at, now()), reference, reference_origin, COALESCE(metadata, '{}'), retry_of
    FROM n
), born AS (
    INSERT INTO events (operation_id, version, event, from_state, to_state, actor, amount_cents, currency_code, occurred_at, hash)
    SELECT id, 1, 'created', '', 'pending', ?3::text, amount_cents, currency_code, now(), hash FROM n
), opened AS (
    INSERT INTO work (operation_id, kind, payment_gateway_id, due_at, deadline)
    SELECT id, '?kind', payment_gateway_id, COALESCE(due_at, now()), deadline FROM n
), held AS (
    UPDATE authorizations AS a SET ?asked, updated_at = now() FROM n WHERE a.id = n.authorization_id
), returned AS (
    ?returned
), ordered AS (
    UPDATE orders AS r
    SET status = CASE WHEN o.approved_at IS NULL THEN r.status ELSE 'approved' END, approved_at = COALESCE(o.approved_at, r.approved_at),
        live_cents = r.live_cents + o.live_cents, live_operations = r.live_operations + o.operations,
        transactions = r.transactions + o.operations, updated_at = now()
    FROM o WHERE r.id = o.id AND o.id <> ALL (ARRAY(SELECT id FROM lost))
), checked AS (
    -- The last chance of a hold may have waited for nothing but the approval.
    UPDATE order_checks AS c SET due_at = least(c.due_at, now())
    FROM o WHERE c.order_id = o.id AND o.last_chance AND o.overpaid IS NULL AND o.id <> ALL (ARRAY(SELECT id FROM lost))
), above AS (
    INSERT INTO order_checks (order_id, due_at) SELECT o.id, now() FROM o WHERE o.overpaid AND o.id <> ALL (ARRAY(SELECT id FROM lost))
    ON CONFLICT (order_id) DO UPDATE SET due_at = least(order_checks.due_at, excluded.due_at)
)
SELECT o.id, now() AS at, NULL::bytea AS hash FROM o WHERE o.id <> ALL (ARRAY(SELECT id FROM lost))
UNION ALL
SELECT n.id, now(), n.hash FROM n
