-- Moves operations of one kind, each guarded by the version and state it was
-- decided on, and writes everything that follows from the move in the same
-- commit: history, attempt result, verdict, open work, capture, hold, order, webhooks.
-- What did not match is missing from the answer, and nothing of it is written.
--
-- Orders are locked first, in the order of their ids, each with its hold and the
-- capture of a refund, which nobody locks without the order; then the operations.
--
-- What a later part needs is carried along, never joined again: the parts are
-- lists without an index, and joining two of them costs the square of a batch.
WITH m AS (
    SELECT m.id, m.version, m.order_id, m.authorization_id, m.event, m.from_state, m.to_state, m.was_live, m.is_live, m.sent, m.actor, m.reason,
           m.evidence, m.outcome, m.reserved, m.attempt, m.amount, m.currency, m.gateway_transaction_id, m.request_id, m.status,
           (m.rest ->> 'capture_id')::uuid AS capture_id, COALESCE((m.rest ->> 'annotates')::boolean, false) AS annotates,
           COALESCE((m.rest ->> 'wait')::bigint, 0) AS wait, COALESCE((m.rest ->> 'defer')::boolean, false) AS defer,
           COALESCE((m.rest ->> 'rotate')::boolean, false) AS rotate, COALESCE((m.rest ->> 'replayed')::boolean, false) AS replayed,
           COALESCE((m.rest ->> 'try')::integer, 0) AS try, COALESCE((m.rest ->> 'look')::integer, 0) AS look,
           COALESCE((m.rest ->> 'unsent')::integer, 0) AS unsent, COALESCE((m.rest ->> 'unsent_proof')::boolean, false) AS unsent_proof,
           COALESCE(m.rest ->> 'flag', '') AS flag, COALESCE((m.rest ->> 'clear_flag')::boolean, false) AS clear_flag,
           COALESCE((m.rest ->> 'lowered')::bigint, 0) AS lowered, (m.rest ->> 'order_version')::bigint AS order_version,
           (m.rest ->> 'order_total')::bigint AS order_total, COALESCE(m.rest ->> 'message', '') AS message,
           COALESCE(m.rest ->> 'error_code', '') AS error_code, COALESCE(m.rest ->> 'error_detail', '') AS error_detail,
           COALESCE(m.rest ->> 'token', '') AS token, COALESCE(m.rest ->> 'asserted_by', '') AS asserted_by, COALESCE(m.rest ->> 'mechanism', '') AS mechanism,
           (m.rest ->> 'metadata')::jsonb AS metadata,
           COALESCE(m.rest ->> 'hold_close', '') AS hold_close, COALESCE((m.rest ->> 'leaves')::boolean, false) AS leaves,
           COALESCE(m.rest ->> 'verdict', '') AS verdict, COALESCE(m.rest ->> 'rule', '') AS rule, COALESCE(m.rest ->> 'action', '') AS action,
           (m.rest ->> 'verdict_id')::uuid AS verdict_id, (m.rest ->> 'reconciliation_id')::uuid AS reconciliation_id
    FROM (SELECT u.id, u.version, u.order_id, u.authorization_id, u.event, u.from_state, u.to_state, u.was_live, u.is_live, u.sent, u.actor, u.reason,
                 COALESCE(NULLIF(u.evidence, '')::jsonb, '{}') AS evidence, u.outcome, u.reserved, u.attempt, u.amount, u.currency,
                 u.gateway_transaction_id, u.request_id, u.status, NULLIF(u.rest, '')::jsonb AS rest
          FROM unnest(?0::uuid[], ?1::bigint[], ?2::uuid[], ?3::uuid[], ?4::text[], ?5::text[], ?6::text[], ?7::boolean[], ?8::boolean[], ?9::boolean[],
                      ?10::text[], ?11::text[], ?12::text[], ?13::text[], ?14::bigint[], ?15::bigint[], ?16::bigint[], ?17::text[], ?18::text[],
                      ?19::text[], ?20::integer[], ?21::text[])
               AS u (id, version, order_id, authorization_id, event, from_state, to_state, was_live, is_live, sent,
                     actor, reason, evidence, outcome, reserved, attempt, amount, currency, gateway_transaction_id,
                     request_id, status, rest)
          OFFSET 0) AS m -- read each document once
), locked AS (
    SELECT m.*, r.status AS order_status, r.total_amount_cents, r.captured_cents - r.refunded_cents AS order_net,
           (r.status = 'cancelled' OR r.cancel_requested_at IS NOT NULL) AS closing,
           a.amount_cents AS hold_cents, a.requested_cents AS hold_requested, a.confirmed_cents AS hold_confirmed,
           a.closed_at AS hold_closed_at, a.closed_reason AS hold_closed_reason, a.multi_capture, ?capture_facts
    FROM m JOIN orders AS r ON r.id = m.order_id JOIN authorizations AS a ON a.id = m.authorization_id ?capture_join
    ORDER BY r.id, a.id FOR UPDATE OF r, a ?capture_lock
), moved AS (
    UPDATE ?table AS o
    SET state = m.to_state, version = o.version + 1,
        chain_hash = step_hash(o.chain_hash, o.id, o.version + 1, m.event, m.from_state, m.to_state, m.amount, m.currency, m.actor,
                               m.reason || E'\x1e' || m.evidence::text, now()),
        confirmed_cents = CASE WHEN m.event = 'confirmed' THEN m.amount ELSE o.confirmed_cents END,
        amount_cents = o.amount_cents - m.lowered,
        reserved_cents = CASE WHEN m.to_state IN ('failed', 'cancelled') OR (m.event = 'taken_back' AND o.kind = 'refund') THEN 0
                              WHEN m.event = 'confirmed' AND NOT m.was_live AND (m.from_state <> 'reversed' OR o.kind = 'refund') THEN ?room
                              ELSE o.reserved_cents - m.lowered END,
        order_version = COALESCE(m.order_version, o.order_version), order_total_cents = COALESCE(m.order_total, o.order_total_cents),
        key_epoch = o.key_epoch + m.rotate::integer,
        replayed = CASE WHEN m.annotates THEN o.replayed ELSE m.replayed END,
        sent_version = CASE WHEN m.unsent_proof AND o.sent_version = o.version THEN NULL ELSE o.sent_version END,
        last_sent_at = CASE WHEN m.unsent_proof AND o.sent_version = o.version THEN NULL WHEN m.sent THEN now() ELSE o.last_sent_at END,
        look_first = m.event = 'hinted' OR (m.to_state = 'pending' AND m.closing AND o.kind = 'capture') OR (o.look_first AND m.to_state <> 'pending') OR (o.look_first AND m.annotates),
        lease_until = CASE WHEN m.annotates THEN o.lease_until END, lease_owner = CASE WHEN m.annotates THEN o.lease_owner END,
        next_at = CASE WHEN NOT m.is_live THEN NULL WHEN m.event = 'hinted' AND o.state IN ('submitted', 'unknown') THEN now() WHEN m.annotates THEN o.next_at
                       WHEN m.to_state = 'pending' AND m.closing AND o.kind = 'capture' THEN now()
                       ELSE now() + m.wait * interval '1 microsecond' END,
        not_before = CASE WHEN m.defer THEN now() + m.wait * interval '1 microsecond'
                          WHEN m.event = 'hinted' AND m.clear_flag AND o.tries > 0 THEN now() ELSE o.not_before END,
        tries = CASE WHEN m.event = 'hinted' AND m.clear_flag THEN 0 ELSE o.tries + m.try END,
        look_ups = CASE WHEN m.look = 1 THEN o.look_ups + 1 WHEN m.try = 1 OR m.event = 'hinted' THEN 0 ELSE o.look_ups END,
        unsent = CASE WHEN m.unsent = 1 THEN o.unsent + 1 WHEN m.annotates THEN o.unsent ELSE 0 END,
        unknown_since = CASE WHEN m.annotates THEN o.unknown_since WHEN m.to_state = 'unknown' THEN COALESCE(o.unknown_since, now()) END,
        needs_attention = CASE WHEN m.flag <> '' THEN m.flag WHEN m.clear_flag THEN NULL ELSE o.needs_attention END,
        gateway_transaction_id = CASE WHEN m.annotates THEN o.gateway_transaction_id ELSE COALESCE(NULLIF(m.gateway_transaction_id, ''), o.gateway_transaction_id) END,
        gateway_request_id = COALESCE(NULLIF(m.request_id, ''), o.gateway_request_id),
        message = CASE WHEN m.event = 'confirmed' THEN NULLIF(m.message, '') ELSE COALESCE(NULLIF(m.message, ''), o.message) END,
        error_code = CASE WHEN m.event = 'confirmed' THEN NULL ELSE COALESCE(NULLIF(m.error_code, ''), o.error_code) END,
        error_detail = CASE WHEN m.event = 'confirmed' THEN NULL ELSE COALESCE(NULLIF(m.error_detail, ''), o.error_detail) END,
        token = COALESCE(NULLIF(m.token, ''), o.token),
        asserted_by = COALESCE(NULLIF(m.asserted_by, ''), o.asserted_by), mechanism = COALESCE(NULLIF(m.mechanism, ''), o.mechanism),
        metadata = CASE WHEN m.metadata IS NULL THEN o.metadata ELSE m.metadata || o.metadata END,
        finished_at = CASE WHEN m.annotates THEN o.finished_at WHEN m.is_live THEN NULL ELSE now() END,
        updated_at = now()
    FROM locked AS m
    WHERE o.id = m.id AND o.version = m.version AND o.state = m.from_state
    RETURNING o.id, o.kind, o.order_id, o.authorization_id, o.capture_id, o.version, o.state, o.amount_cents, o.currency_code, o.confirmed_cents,
              o.reserved_cents, o.refunded_cents, o.order_total_cents, o.next_at, o.lease_until, o.chain_hash, o.gateway_reference, o.needs_attention,
              o.cause, o.number, o.mode, o.payment_gateway_id,
              m.version AS was_version, m.event, m.from_state, m.to_state, m.annotates, m.was_live, m.is_live, m.actor, m.reason, m.evidence, m.flag,
              m.amount, m.lowered, m.currency, m.gateway_transaction_id, m.reserved, m.hold_close, m.attempt, m.leaves, m.outcome, m.status, m.error_code, m.request_id,
              m.verdict, m.rule, m.action, m.verdict_id, m.reconciliation_id,
              m.order_status, m.total_amount_cents, m.order_net, m.closing, m.hold_cents, m.hold_confirmed, m.hold_closed_at, m.hold_closed_reason,
              m.multi_capture, m.capture_state
), history AS (
    INSERT INTO events (operation_id, version, event, from_state, to_state, actor, reason, amount_cents, currency_code, gateway_transaction_id,
                        evidence, occurred_at, hash)
    SELECT o.id, o.version, o.event, o.from_state, o.to_state, o.actor, o.reason, o.amount, o.currency, o.gateway_transaction_id,
           o.evidence, now(), o.chain_hash
    FROM moved AS o
), closed_attempts AS (
    INSERT INTO attempt_results (operation_id, version, outcome, status, error_code, request_id)
    SELECT o.id, o.attempt, o.outcome, o.status, o.error_code, o.request_id
    FROM moved AS o WHERE o.attempt > 0
    ON CONFLICT DO NOTHING
), judged AS (
    INSERT INTO verdicts (id, reconciliation_id, operation_id, kind, order_id, mode, payment_gateway_id, amount_cents, currency_code,
                          verdict, rule, action, outcome, actor, ours, theirs)
    SELECT o.verdict_id, o.reconciliation_id, o.id, o.kind, o.order_id, o.mode, o.payment_gateway_id, o.amount_cents, o.currency_code,
           o.verdict, o.rule, o.action, o.state, o.actor,
           jsonb_build_object('state', o.from_state, 'version', o.was_version, 'amount_cents', o.amount_cents, 'currency_code', o.currency_code,
                              'reference', o.gateway_reference),
           o.evidence
    FROM moved AS o WHERE o.verdict_id IS NOT NULL
), work_done AS (
    DELETE FROM work AS w USING moved AS o WHERE w.operation_id = o.id AND NOT o.is_live
), work_left AS (
    -- Published anew, as a task of its own: what a hint made urgent, what a
    -- cancelled order ends, and what leaves its batch.
    UPDATE work AS w
    SET due_at = CASE WHEN o.event <> 'hinted' THEN COALESCE(o.next_at, w.due_at) WHEN o.state = 'capturing' THEN greatest(w.due_at, o.lease_until) ELSE now() END,
        generation = w.generation + o.anew::integer,
        published_at = CASE WHEN NOT o.anew THEN w.published_at END,
        alone = w.alone OR o.anew
    FROM (SELECT *, event = 'hinted' OR (state = 'pending' AND closing AND kind = 'capture') OR leaves AS anew FROM moved) AS o
    WHERE w.operation_id = o.id AND o.is_live AND (NOT o.annotates OR o.event = 'hinted')
), effect AS (
    SELECT o.*, o.was_live AND NOT o.is_live AS ended,
           -- What the hold is asked for changes with the reservation.
           CASE WHEN o.kind <> 'capture' THEN 0
                WHEN o.was_live AND o.to_state IN ('failed', 'cancelled') THEN -o.amount_cents
                WHEN o.event = 'confirmed' AND NOT o.was_live AND o.from_state <> 'reversed' THEN o.reserved_cents
                ELSE -o.lowered END AS requested,
           CASE o.event WHEN 'confirmed' THEN o.confirmed_cents WHEN 'taken_back' THEN -o.confirmed_cents ELSE 0 END AS confirmed,
           CASE WHEN o.kind <> 'capture' THEN 0
                WHEN o.event = 'confirmed' THEN o.confirmed_cents
                WHEN o.event IN ('taken_back', 'returned') THEN -o.confirmed_cents ELSE 0 END AS captured,
           CASE WHEN o.kind = 'refund' AND o.capture_state = 'succeeded' THEN
                     CASE o.event WHEN 'confirmed' THEN o.confirmed_cents WHEN 'taken_back' THEN -o.confirmed_cents ELSE 0 END
                WHEN o.kind = 'capture' AND o.event IN ('taken_back', 'returned') THEN -o.refunded_cents
                WHEN o.kind = 'capture' AND o.event = 'confirmed' AND o.from_state = 'reversed' THEN o.refunded_cents
                ELSE 0 END AS refunded,
           CASE WHEN o.event = 'returned' THEN o.confirmed_cents ELSE 0 END AS reset,
           CASE WHEN o.kind = 'capture' AND o.was_live AND NOT o.is_live THEN -(o.amount_cents + o.lowered) ELSE 0 END
               - CASE WHEN o.kind = 'capture' AND o.is_live THEN o.lowered ELSE 0 END AS live,
           CASE WHEN o.kind <> 'refund' THEN 0
                WHEN o.was_live AND o.to_state IN ('failed', 'cancelled') THEN -o.amount_cents
                WHEN o.event = 'taken_back' THEN -o.reserved
                WHEN o.event = 'confirmed' AND NOT o.was_live THEN o.reserved_cents
                ELSE 0 END AS refund_requested,
           CASE WHEN o.hold_closed_at IS NOT NULL THEN NULL
                WHEN o.kind = 'capture' AND o.event = 'confirmed'
                     AND (NOT o.multi_capture OR o.hold_confirmed + o.confirmed_cents >= o.hold_cents) THEN 'captured'
                WHEN o.kind = 'void' AND o.event = 'confirmed' THEN 'voided'
                WHEN o.hold_close <> '' THEN o.hold_close END AS closes
    FROM moved AS o
), hold_effect AS (
    SELECT e.*, CASE WHEN e.closes IS NOT NULL THEN e.hold_cents ELSE 0 END AS unheld,
           -- What of a hold ended uncaptured; a late success takes it back.
           CASE WHEN COALESCE(e.hold_closed_reason, e.closes) IN ('voided', 'expired', 'gone') THEN greatest(0, e.hold_cents - e.hold_confirmed - e.confirmed) ELSE 0 END
               - CASE WHEN e.hold_closed_reason IN ('voided', 'expired', 'gone') THEN greatest(0, e.hold_cents - e.hold_confirmed) ELSE 0 END AS voided
    FROM (SELECT order_id, authorization_id, sum(requested) AS requested, sum(CASE WHEN kind = 'capture' THEN confirmed ELSE 0 END) AS confirmed,
                 sum(CASE WHEN kind = 'refund' THEN confirmed ELSE 0 END) AS returned, max(closes) AS closes,
                 array_agg(id) FILTER (WHERE ended) AS ended, count(*) FILTER (WHERE ended) AS ended_count,
                 sum(captured) AS captured, sum(refunded) AS refunded, sum(reset) AS reset, sum(live) AS live,
                 max(hold_cents) AS hold_cents, max(hold_confirmed) AS hold_confirmed, max(hold_closed_reason) AS hold_closed_reason
          FROM effect GROUP BY order_id, authorization_id) AS e
), captures_done AS (
    ?captures_done
), holds_done AS (
    UPDATE authorizations AS a
    SET requested_cents = a.requested_cents + e.requested, confirmed_cents = a.confirmed_cents + e.confirmed,
        returned_cents = a.returned_cents + e.returned,
        live_operation_id = CASE WHEN a.live_operation_id = ANY (e.ended) THEN NULL ELSE a.live_operation_id END,
        closed_at = COALESCE(a.closed_at, CASE WHEN e.closes IS NOT NULL THEN now() END), closed_reason = COALESCE(a.closed_reason, e.closes),
        updated_at = now()
    FROM hold_effect AS e
    WHERE a.id = e.authorization_id AND (e.requested <> 0 OR e.confirmed <> 0 OR e.returned <> 0 OR e.closes IS NOT NULL OR e.ended IS NOT NULL)
), orders_done AS (
    UPDATE orders AS r
    SET captured_cents = r.captured_cents + e.captured, refunded_cents = r.refunded_cents + e.refunded, reset_cents = r.reset_cents + e.reset,
        live_cents = r.live_cents + e.live, live_operations = r.live_operations - e.ended,
        held_cents = r.held_cents - e.unheld, voided_cents = r.voided_cents + e.voided,
        status = CASE WHEN r.cancel_requested_at IS NOT NULL AND r.live_operations = e.ended THEN 'cancelled' ELSE r.status END,
        cancelled_at = CASE WHEN r.cancel_requested_at IS NOT NULL AND r.live_operations = e.ended THEN COALESCE(r.cancelled_at, now()) ELSE r.cancelled_at END,
        updated_at = now()
    FROM (SELECT order_id, sum(captured) AS captured, sum(refunded) AS refunded, sum(reset) AS reset, sum(live) AS live, sum(unheld) AS unheld,
                 sum(voided) AS voided, sum(ended_count) AS ended
          FROM hold_effect GROUP BY order_id) AS e
    WHERE r.id = e.order_id
      AND (e.ended > 0 OR e.captured <> 0 OR e.refunded <> 0 OR e.reset <> 0 OR e.live <> 0 OR e.unheld <> 0 OR e.voided <> 0)
), to_check AS (
    INSERT INTO order_checks (order_id, due_at)
    SELECT DISTINCT o.order_id, now()
    FROM moved AS o
    WHERE NOT o.is_live AND ((o.was_live OR o.event = 'confirmed')
      AND (o.closing
           OR (o.kind <> 'refund' AND o.state IN ('failed', 'cancelled') AND o.order_status = 'approved')
           OR (o.kind = 'capture' AND o.state = 'succeeded' AND o.order_status <> 'approved' AND o.order_total_cents <> o.total_amount_cents))
      -- Captures that stand above an approved order's total, or did until now.
      OR (o.order_status = 'approved' AND (o.order_net > o.total_amount_cents
           OR o.kind = 'capture' AND o.event = 'confirmed' AND o.order_net + o.confirmed_cents > o.total_amount_cents
           OR o.kind = 'refund' AND o.event = 'taken_back' AND o.order_net + o.confirmed_cents > o.total_amount_cents)))
    ON CONFLICT (order_id) DO UPDATE SET due_at = least(order_checks.due_at, excluded.due_at)
), told AS (
    INSERT INTO deliveries (id, webhook_id, topic, operation_id, kind, version, payload)
    SELECT gen_random_uuid(), h.id, o.kind || 's.' || CASE WHEN o.annotates OR o.is_live THEN 'needs_attention' ELSE o.state END, o.id, o.kind, o.version,
           jsonb_build_object('id', o.id, 'type', o.kind || 's', 'number', o.number, 'order_id', o.order_id, 'state', o.state, 'version', o.version,
                              'amount_cents', COALESCE(o.confirmed_cents, o.amount_cents), 'currency_code', o.currency_code, 'cause', o.cause,
                              'needs_attention', o.needs_attention, 'mode', o.mode)
    FROM moved AS o CROSS JOIN webhooks AS h
    WHERE h.disabled_at IS NULL AND (NOT o.is_live AND NOT o.annotates OR o.flag <> '')
)
SELECT o.id, o.version, o.state FROM moved AS o
