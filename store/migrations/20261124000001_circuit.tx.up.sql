-- The circuit of a gateway that cannot be tried without effect, shared by all
-- processes: how many calls in a row proved nothing while it was closed, since
-- when it is open, and when an operation was last let through to try it.
ALTER TABLE payment_gateways
    ADD COLUMN circuit_failures  integer NOT NULL DEFAULT 0 CHECK (circuit_failures >= 0),
    ADD COLUMN circuit_opened_at timestamptz,
    ADD COLUMN circuit_tried_at  timestamptz;
