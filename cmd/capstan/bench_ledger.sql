-- Fills a private benchmark database with finished captures: orders of one
-- hold and one capture each, with all of their history, in ids that are spread
-- over the months before this one, so that history lies in its partitions and
-- every sum and every hash of the audit holds. Never for a ledger with money in
-- it: the triggers sleep while it writes, which takes a superuser.
--
-- One statement makes the function, in this session only:
--     (this file)
-- and each call makes the captures numbered from "first" to "last" of "total":
--     SELECT pg_temp.bench_ledger(1, 500000, 10000000, 12)
-- Call it with consecutive ranges on the same connection, and analyze at the end.
-- The account "bench" and its payment method are made by the first call. The
-- partitions must be there already: store.EnsurePartitionsSince makes them.
CREATE OR REPLACE FUNCTION pg_temp.bench_ledger(first bigint, last bigint, total bigint, months integer) RETURNS bigint
LANGUAGE plpgsql SET session_replication_role = replica SET synchronous_commit = off SET work_mem = '256MB' SET client_min_messages = warning AS $$
DECLARE
    account uuid; method uuid; loaded bigint;
    since timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - make_interval(months => months);
    -- Evenly spread, and over before this month begins.
    span double precision := extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - since) - 60;
BEGIN
    SELECT id INTO account FROM payment_gateways WHERE slug = 'bench';
    IF account IS NULL THEN
        INSERT INTO payment_gateways (id, slug, provider, mode) VALUES (gen_random_uuid(), 'bench', 'sandbox', 'test') RETURNING id INTO account;
    END IF;
    SELECT id INTO method FROM payment_methods WHERE payment_gateway_id = account AND name = 'bench ledger';
    IF method IS NULL THEN
        INSERT INTO payment_methods (id, mode, payment_gateway_id, name, payment_source_type, currency_code, auto_capture, capture_trigger)
        VALUES (gen_random_uuid(), 'test', account, 'bench ledger', 'stripe_payments', 'EUR', true, 'approval') RETURNING id INTO method;
    END IF;

    CREATE TEMPORARY TABLE IF NOT EXISTS bench_rows (
        n bigint, order_id uuid, hold_id uuid, id uuid, reference text, cents bigint, made timestamptz, claimed timestamptz, ended timestamptz,
        number bigint, evidence jsonb, h1 bytea, h2 bytea, h3 bytea) ON COMMIT DELETE ROWS;
    DELETE FROM bench_rows;
    INSERT INTO bench_rows
    SELECT n, order_id, hold_id, id, reference, cents, made, claimed, ended, number, evidence, h1, h2,
           step_hash(h2, id, 3, 'confirmed', 'capturing', 'succeeded', cents, 'EUR', 'bench', E'\x1e' || evidence::text, ended)
    FROM (SELECT *, step_hash(h1, id, 2, 'claimed', '', 'capturing', cents, 'EUR', 'bench', reference || '_e0', claimed) AS h2
          FROM (SELECT *, step_hash('', id, 1, 'created', '', 'pending', cents, 'EUR', 'bench', E'\x1e{}', made) AS h1
                FROM (SELECT n, nextval('order_numbers') AS number, 100 + n * 37 % 50000 AS cents, made, made + interval '20 ms' AS claimed, made + interval '200 ms' AS ended,
                             (stamp || left(salt, 4) || '-8' || substr(salt, 5, 3) || '-' || substr(salt, 8, 12))::uuid AS order_id,
                             (stamp || left(salt, 4) || '-9' || substr(salt, 5, 3) || '-' || substr(salt, 8, 12))::uuid AS hold_id,
                             (stamp || left(salt, 4) || '-a' || substr(salt, 5, 3) || '-' || substr(salt, 8, 12))::uuid AS id,
                             'cap_' || substr(salt, 1, 26) AS reference,
                             jsonb_build_object('source', 'answer', 'outcome', 'confirmed', 'gateway_transaction_id', 'tx_' || salt) AS evidence
                      FROM (SELECT n, made, '7' || substr(md5(n::text), 2) AS salt,
                                   regexp_replace(lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0'), '^(.{8})(.{4})$', '\1-\2-') AS stamp
                            FROM (SELECT n, date_trunc('milliseconds', since + (n - 1) * span / greatest(total, 1) * interval '1 second') AS made
                                  FROM generate_series(first, last) AS n) AS spread) AS salted) AS named) AS born) AS claimed;
    GET DIAGNOSTICS loaded = ROW_COUNT;

    INSERT INTO orders (id, mode, number, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status, approved_at, captured_cents, transactions,
                        reference, created_at, updated_at)
    SELECT order_id, 'test', number, method, 'EUR', cents, 'approved', 'unfulfilled', b.made, cents, 2, 'bench-' || n, b.made, b.ended FROM bench_rows AS b ORDER BY n;
    INSERT INTO authorizations (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents, requested_cents, confirmed_cents,
                                closed_at, closed_reason, capture_sequence, created_at, updated_at)
    SELECT hold_id, 'test', number || '/T/001', order_id, account, 'pi_' || md5(n::text), 'EUR', cents, cents, cents, b.ended, 'captured', 1, b.made, b.ended
    FROM bench_rows AS b ORDER BY n;
    INSERT INTO captures (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, cause, sequence, gateway_reference, amount_cents, currency_code,
                          confirmed_cents, reserved_cents, order_version, order_total_cents, state, version, chain_hash, sent_version, last_sent_at, not_before, tries,
                          gateway_transaction_id, message, finished_at, created_at, updated_at)
    SELECT 'capture', id, 'test', number || '/T/002', order_id, hold_id, account, 'approval', 1, reference, cents, 'EUR',
           cents, cents, 1, cents, 'succeeded', 3, h3, 2, b.ended, b.made, 1, evidence ->> 'gateway_transaction_id', 'ok', b.ended, b.made, b.ended
    FROM bench_rows AS b ORDER BY n;
    INSERT INTO events (operation_id, version, event, from_state, to_state, actor, amount_cents, currency_code, gateway_transaction_id, evidence, occurred_at, hash)
    SELECT id, 1, 'created', '', 'pending', 'bench', cents, 'EUR', '', '{}', b.made, h1 FROM bench_rows AS b
    UNION ALL
    SELECT id, 3, 'confirmed', 'capturing', 'succeeded', 'bench', cents, 'EUR', evidence ->> 'gateway_transaction_id', evidence, b.ended, h3 FROM bench_rows AS b
    ORDER BY 1, 2;
    INSERT INTO attempts (operation_id, version, call, idempotency_key, amount_cents, currency_code, worker, claimed_at, deadline, hash)
    SELECT id, 2, 'send', reference || '_e0', cents, 'EUR', 'bench', b.claimed, b.claimed + interval '20 s', h2 FROM bench_rows AS b ORDER BY n;
    INSERT INTO attempt_results (operation_id, version, outcome, status, request_id, recorded_at)
    SELECT id, 2, 'confirmed', 200, 'req_' || md5(n::text), b.ended FROM bench_rows AS b ORDER BY n;
    RETURN loaded;
END $$;
