-- Captures as they stand after their approval: the order approved, the hold
-- asked for its whole amount, the capture pending at version 1 with its first
-- history row, and its open work unpublished. ?captures rows of each; ids are
-- UUIDs of version 7, twenty to a millisecond.
CREATE TEMP TABLE seed ON COMMIT DROP AS
SELECT i, 1500 + i % 1000 AS cents, ?shape AS id FROM (
    SELECT i, lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + i / 20), 12, '0') AS ms, md5('capture ' || i || now()) AS h
    FROM generate_series(1, ?captures) AS i) AS s;
ALTER TABLE seed ADD COLUMN order_id uuid, ADD COLUMN hold_id uuid;
UPDATE seed SET order_id = overlay(id::text PLACING 'a' FROM 20 FOR 1)::uuid, hold_id = overlay(id::text PLACING '9' FROM 20 FOR 1)::uuid;

INSERT INTO payment_gateways (id, slug, provider, mode) VALUES ('01900000-0000-7000-8000-000000000001', 'stripe', 'stripe', 'test') ON CONFLICT DO NOTHING;
INSERT INTO payment_methods (id, mode, payment_gateway_id, name, payment_source_type, currency_code, auto_capture, capture_trigger, created_at, updated_at)
SELECT '01900000-0000-7000-8000-000000000002', 'test', id, 'Card', 'stripe_payments', 'EUR', true, 'approval', now(), now()
FROM payment_gateways WHERE slug = 'stripe' ON CONFLICT DO NOTHING;

INSERT INTO orders (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status, approved_at, held_cents, live_cents,
                    live_operations, transactions, reference)
SELECT order_id, 'test', '01900000-0000-7000-8000-000000000002', 'EUR', cents, 'approved', 'unfulfilled', now(), cents, cents, 1, 2, 'bench-' || order_id FROM seed;

INSERT INTO authorizations (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents, capture_before,
                            requested_cents, live_operation_id, capture_sequence)
SELECT s.hold_id, 'test', o.number || '/T/001', s.order_id, g.id, 'hold_' || s.id, 'EUR', s.cents, now() + interval '7 days', s.cents, s.id, 1
FROM seed AS s JOIN orders AS o ON o.id = s.order_id CROSS JOIN payment_gateways AS g WHERE g.slug = 'stripe';

INSERT INTO captures (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, cause, sequence, gateway_reference, amount_cents, currency_code,
                      reserved_cents, order_version, order_total_cents, state, version, chain_hash, next_at, not_before)
SELECT 'capture', s.id, 'test', o.number || '/T/002', s.order_id, s.hold_id, g.id, 'approval', 1, 'cap_' || substr(md5('reference ' || s.id), 1, 26),
       s.cents, 'EUR', s.cents, o.version, s.cents, 'pending', 1,
       step_hash('', s.id, 1, 'created', '', 'pending', s.cents, 'EUR', 'bench', E'\x1e{}', now()), now(), now()
FROM seed AS s JOIN orders AS o ON o.id = s.order_id CROSS JOIN payment_gateways AS g WHERE g.slug = 'stripe';

INSERT INTO events (operation_id, version, event, from_state, to_state, actor, amount_cents, currency_code, occurred_at, hash)
SELECT s.id, 1, 'created', '', 'pending', 'bench', s.cents, 'EUR', now(), c.chain_hash FROM seed AS s JOIN captures AS c ON c.id = s.id;

INSERT INTO work (operation_id, kind, payment_gateway_id, due_at, deadline)
SELECT c.id, 'capture', c.payment_gateway_id, c.next_at, a.capture_before
FROM seed AS s JOIN captures AS c ON c.id = s.id JOIN authorizations AS a ON a.id = s.hold_id
