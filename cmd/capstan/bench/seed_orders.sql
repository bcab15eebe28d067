-- Orders with a hold that wait for their approval: ?captures of them.
CREATE TEMP TABLE seed ON COMMIT DROP AS
SELECT i, 1500 + i % 1000 AS cents, ?shape AS id FROM (
    SELECT i, lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + i / 20), 12, '0') AS ms, md5('order ' || i || now()) AS h
    FROM generate_series(1, ?captures) AS i) AS s;

INSERT INTO payment_gateways (id, slug, provider, mode) VALUES ('01900000-0000-7000-8000-000000000001', 'stripe', 'stripe', 'test') ON CONFLICT DO NOTHING;
INSERT INTO payment_methods (id, mode, payment_gateway_id, name, payment_source_type, currency_code, auto_capture, capture_trigger, created_at, updated_at)
SELECT '01900000-0000-7000-8000-000000000002', 'test', id, 'Card', 'stripe_payments', 'EUR', true, 'approval', now(), now()
FROM payment_gateways WHERE slug = 'stripe' ON CONFLICT DO NOTHING;

INSERT INTO orders (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status, held_cents, transactions, reference)
SELECT id, 'test', '01900000-0000-7000-8000-000000000002', 'EUR', cents, 'pending', 'unfulfilled', cents, 1, 'bench-' || id FROM seed;

INSERT INTO authorizations (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents, capture_before)
SELECT overlay(s.id::text PLACING '9' FROM 20 FOR 1)::uuid, 'test', o.number || '/T/001', s.id, g.id, 'hold_' || s.id, 'EUR', s.cents, now() + interval '7 days'
FROM seed AS s JOIN orders AS o ON o.id = s.id CROSS JOIN payment_gateways AS g WHERE g.slug = 'stripe'
