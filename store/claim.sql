-- Takes operations of one kind: each that passes ?guard moves to capturing
-- under a new version and a lease by this database's clock, and its attempt is
-- written: the intent is durable before any call. Rows that do not pass are
-- left alone and missing from the answer.
--
-- ?sends says whether the claim is one to send (a row never sent, with nothing
-- against it) or one to look up (a row that may have been sent: the truth is
-- wanted whatever stands against sending). ?first says what remains of the wish
-- to look first, or of the doubt that a restore casts: all of it, until a look
-- proved something.
--
-- Whoever claims was told of the row, so it counts as published: an approval
-- need not note that.
--
-- last_sent_at becomes the latest moment at which this claim may still begin a
-- send; the outcome, once recorded, replaces it by the true one.
--
-- To take a row the order is not locked: a cancel or an edit changes the row of
-- an operation that was never sent, and that row decides who came first. To
-- send after a look it is, and read as it is after the wait: a cancel leaves a
-- row that is being captured alone.
WITH want AS (
    SELECT m.id, m.version FROM unnest(?0::uuid[], ?1::bigint[]) AS m (id, version)
)?locked, taken AS (
    UPDATE ?table AS o
    SET state = 'capturing', version = o.version + 1,
        lease_until = now() + ?2 * interval '1 microsecond', lease_owner = ?4,
        sent_version = CASE WHEN ?sends THEN COALESCE(o.sent_version, o.version + 1) ELSE o.sent_version END,
        last_sent_at = CASE WHEN ?sends THEN now() + ?5 * interval '1 microsecond' ELSE o.last_sent_at END,
        look_first = ?first,
        chain_hash = step_hash(o.chain_hash, o.id, o.version + 1, 'claimed', '', 'capturing', o.amount_cents, o.currency_code,
                               ?4, o.gateway_reference || '_e' || o.key_epoch, now()),
        updated_at = now()
    FROM want, authorizations AS a, ?orders AS r, payment_gateways AS g
    WHERE o.id = want.id AND a.id = o.authorization_id AND r.id = o.order_id AND g.id = o.payment_gateway_id
      AND ?guard
    RETURNING ?columns, ?looks AS look, ?facts, o.chain_hash
), intent AS (
    INSERT INTO attempts (operation_id, version, call, idempotency_key, amount_cents, currency_code, worker, claimed_at, deadline, hash)
    SELECT o.id, o.version, CASE WHEN o.look THEN 'look_up' ELSE 'send' END, o.gateway_reference || '_e' || o.key_epoch,
           o.amount_cents, o.currency_code, ?4, now(), now() + ?3 * interval '1 microsecond', o.chain_hash
    FROM taken AS o
), published AS (
    UPDATE work AS w SET published_at = now() FROM taken AS o
    -- Written so that the index of unpublished rows, which may be long, does not offer itself.
    WHERE w.operation_id = o.id AND COALESCE(w.published_at, '-infinity') = '-infinity'
)?looked
SELECT * FROM taken
