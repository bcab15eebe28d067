-- The ledger: accounts, methods, orders, holds, operations, their history, and
-- the small tables of open work. Money is bigint minor units. Times are
-- timestamptz by this database's clock.

CREATE TABLE payment_gateways (
    id            uuid PRIMARY KEY,
    slug          text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    provider      text NOT NULL,
    mode          text NOT NULL CHECK (mode IN ('test', 'live')),
    paused_at     timestamptz,
    paused_reason text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE payment_methods (
    id                            uuid PRIMARY KEY,
    mode                          text NOT NULL CHECK (mode IN ('test', 'live')),
    payment_gateway_id            uuid NOT NULL REFERENCES payment_gateways,
    name                          text NOT NULL,
    payment_source_type           text NOT NULL,
    currency_code                 char(3) NOT NULL,
    auto_capture                  boolean NOT NULL,
    auto_capture_max_amount_cents bigint CHECK (auto_capture_max_amount_cents >= 0),
    capture_trigger               text NOT NULL CHECK (capture_trigger IN ('approval', 'authorization', 'fulfillment', 'delay', 'at', 'manual')),
    capture_delay_seconds         bigint NOT NULL DEFAULT 0 CHECK (capture_delay_seconds >= 0),
    require_capture               boolean NOT NULL DEFAULT false,
    last_chance_seconds           bigint CHECK (last_chance_seconds > 0),
    reference                     text,
    reference_origin              text,
    metadata                      jsonb NOT NULL DEFAULT '{}',
    created_at                    timestamptz NOT NULL DEFAULT now(),
    updated_at                    timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE order_numbers;

CREATE TABLE orders (
    id                  uuid PRIMARY KEY,
    mode                text NOT NULL CHECK (mode IN ('test', 'live')),
    number              bigint NOT NULL DEFAULT nextval('order_numbers'),
    payment_method_id   uuid NOT NULL REFERENCES payment_methods,
    currency_code       char(3) NOT NULL,
    total_amount_cents  bigint NOT NULL CHECK (total_amount_cents >= 0),
    status              text NOT NULL CHECK (status IN ('pending', 'placed', 'editing', 'approved', 'cancelled')),
    fulfillment_status  text NOT NULL CHECK (fulfillment_status IN ('unfulfilled', 'in_progress', 'fulfilled')),
    version             bigint NOT NULL DEFAULT 1,
    capture_at          timestamptz,
    approved_at         timestamptz,
    cancelled_at        timestamptz,
    cancel_requested_at timestamptz,
    total_changed_at    timestamptz,
    held_cents          bigint NOT NULL DEFAULT 0,
    voided_cents        bigint NOT NULL DEFAULT 0,
    captured_cents      bigint NOT NULL DEFAULT 0,
    refunded_cents      bigint NOT NULL DEFAULT 0,
    reset_cents         bigint NOT NULL DEFAULT 0,
    live_cents          bigint NOT NULL DEFAULT 0,
    live_operations     integer NOT NULL DEFAULT 0 CHECK (live_operations >= 0),
    -- How many transactions were numbered: 42/T/001 is the first of order 42.
    transactions        integer NOT NULL DEFAULT 0,
    -- The same function as models.Sums.PaymentStatus; a test compares them over
    -- all cases. Being generated, it can never be set by hand.
    payment_status      text NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN captured_cents > 0 AND refunded_cents >= captured_cents THEN 'refunded'
            WHEN captured_cents > 0 AND refunded_cents > 0 THEN 'partially_refunded'
            WHEN captured_cents > 0 AND captured_cents >= total_amount_cents THEN 'paid'
            WHEN captured_cents > 0 THEN 'partially_paid'
            WHEN status = 'cancelled' AND reset_cents > 0 THEN 'refunded'
            WHEN total_amount_cents = 0 THEN 'free'
            WHEN held_cents >= total_amount_cents THEN 'authorized'
            WHEN held_cents > 0 AND voided_cents > 0 THEN 'partially_voided'
            WHEN held_cents > 0 THEN 'partially_authorized'
            WHEN voided_cents > 0 THEN 'voided'
            ELSE 'unpaid'
        END) STORED,
    reference           text,
    reference_origin    text,
    metadata            jsonb NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX orders_reference ON orders (mode, reference) WHERE reference IS NOT NULL;

CREATE TABLE authorizations (
    id                     uuid PRIMARY KEY,
    mode                   text NOT NULL CHECK (mode IN ('test', 'live')),
    number                 text NOT NULL,
    order_id               uuid NOT NULL REFERENCES orders,
    payment_gateway_id     uuid NOT NULL REFERENCES payment_gateways,
    gateway_transaction_id text NOT NULL,
    currency_code          char(3) NOT NULL,
    amount_cents           bigint NOT NULL CHECK (amount_cents > 0),
    capture_before         timestamptz,
    multi_capture          boolean NOT NULL DEFAULT false,
    -- The cap: what captures ask for, gross, never exceeds the hold.
    requested_cents        bigint NOT NULL DEFAULT 0,
    -- No upper bound here: the truth must be recordable.
    confirmed_cents        bigint NOT NULL DEFAULT 0,
    returned_cents         bigint NOT NULL DEFAULT 0,
    live_operation_id      uuid,
    closed_at              timestamptz,
    closed_reason          text CHECK (closed_reason IN ('captured', 'voided', 'expired', 'gone')),
    capture_sequence       integer NOT NULL DEFAULT 0,
    refund_sequence        integer NOT NULL DEFAULT 0,
    void_sequence          integer NOT NULL DEFAULT 0,
    reference              text,
    reference_origin       text,
    metadata               jsonb NOT NULL DEFAULT '{}',
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT hold_cap CHECK (requested_cents >= 0 AND requested_cents <= amount_cents),
    CONSTRAINT authorizations_gateway_transaction UNIQUE (payment_gateway_id, gateway_transaction_id)
) WITH (fillfactor = 70);
CREATE INDEX authorizations_order ON authorizations (order_id);

-- Captures, refunds and voids are one machine; a person finds three tables.
CREATE TABLE operations (
    kind                   text NOT NULL CHECK (kind IN ('capture', 'refund', 'void')),
    id                     uuid NOT NULL,
    mode                   text NOT NULL CHECK (mode IN ('test', 'live')),
    number                 text NOT NULL,
    order_id               uuid NOT NULL REFERENCES orders,
    authorization_id       uuid NOT NULL REFERENCES authorizations,
    payment_gateway_id     uuid NOT NULL,
    capture_id             uuid CHECK ((capture_id IS NOT NULL) = (kind = 'refund')),
    cause                  text NOT NULL CHECK (cause IN ('approval', 'authorization', 'fulfillment', 'delay', 'at', 'last_chance', 'manual', 'cancel')),
    sequence               integer NOT NULL CHECK (sequence > 0),
    gateway_reference      text NOT NULL,
    key_epoch              integer NOT NULL DEFAULT 0,
    amount_cents           bigint NOT NULL CHECK (amount_cents > 0),
    currency_code          char(3) NOT NULL,
    confirmed_cents        bigint CHECK (confirmed_cents >= 0),
    reserved_cents         bigint NOT NULL DEFAULT 0 CHECK (reserved_cents >= 0),
    refund_requested_cents bigint NOT NULL DEFAULT 0 CHECK (refund_requested_cents >= 0),
    refunded_cents         bigint NOT NULL DEFAULT 0,
    order_version          bigint NOT NULL,
    order_total_cents      bigint NOT NULL,
    state                  text NOT NULL CHECK (state IN ('pending', 'capturing', 'submitted', 'unknown', 'succeeded', 'failed', 'cancelled', 'reset', 'reversed')),
    version                bigint NOT NULL,
    chain_hash             bytea NOT NULL,
    sent_version           bigint,
    last_sent_at           timestamptz,
    look_first             boolean NOT NULL DEFAULT false,
    replayed               boolean NOT NULL DEFAULT false,
    lease_until            timestamptz,
    lease_owner            text,
    next_at                timestamptz,
    not_before             timestamptz NOT NULL DEFAULT now(),
    retry_of               uuid,
    tries                  integer NOT NULL DEFAULT 0,
    look_ups               integer NOT NULL DEFAULT 0,
    unsent                 integer NOT NULL DEFAULT 0,
    unknown_since          timestamptz,
    needs_attention        text,
    gateway_transaction_id text,
    gateway_request_id     text,
    message                text,
    error_code             text,
    error_detail           text,
    token                  text,
    asserted_by            text,
    finished_at            timestamptz,
    reference              text,
    reference_origin       text,
    metadata               jsonb NOT NULL DEFAULT '{}',
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id),
    UNIQUE (kind, gateway_reference),
    CHECK (state <> 'reset' OR kind = 'capture'),
    CONSTRAINT refund_cap CHECK (refund_requested_cents <= COALESCE(confirmed_cents, 0)),
    CHECK ((confirmed_cents IS NOT NULL) = (state IN ('succeeded', 'reset', 'reversed')))
) PARTITION BY LIST (kind);
CREATE TABLE captures PARTITION OF operations FOR VALUES IN ('capture') WITH (fillfactor = 40);
CREATE TABLE refunds PARTITION OF operations FOR VALUES IN ('refund') WITH (fillfactor = 40);
CREATE TABLE voids PARTITION OF operations FOR VALUES IN ('void') WITH (fillfactor = 40);
-- No index holds a column that a claim or an outcome changes: their updates stay HOT.
CREATE INDEX captures_order ON captures (order_id);
CREATE INDEX refunds_order ON refunds (order_id);
CREATE INDEX voids_order ON voids (order_id);
CREATE INDEX captures_authorization ON captures (authorization_id);
CREATE INDEX refunds_capture ON refunds (capture_id);
CREATE INDEX voids_authorization ON voids (authorization_id);
-- What waits for a person is few, and found without reading the rest.
CREATE INDEX captures_flagged ON captures (id) WHERE needs_attention IS NOT NULL;
CREATE INDEX refunds_flagged ON refunds (id) WHERE needs_attention IS NOT NULL;
CREATE INDEX voids_flagged ON voids (id) WHERE needs_attention IS NOT NULL;
-- An automatic cause captures a hold once, over all states.
CREATE UNIQUE INDEX captures_once ON captures (authorization_id, cause) WHERE cause <> 'manual';
-- A failed operation is tried again by hand once.
CREATE UNIQUE INDEX captures_retried_once ON captures (retry_of) WHERE retry_of IS NOT NULL;
CREATE UNIQUE INDEX refunds_retried_once ON refunds (retry_of) WHERE retry_of IS NOT NULL;
CREATE UNIQUE INDEX voids_retried_once ON voids (retry_of) WHERE retry_of IS NOT NULL;
-- A capture is given back by cancel once.
CREATE UNIQUE INDEX refunds_cancel_once ON refunds (capture_id) WHERE cause = 'cancel';

-- Open work: a row per live operation, written with it and deleted when it
-- ends. The relay and the sweep read nothing else.
CREATE TABLE work (
    operation_id uuid PRIMARY KEY,
    kind         text NOT NULL,
    due_at       timestamptz NOT NULL,
    deadline     timestamptz,
    generation   integer NOT NULL DEFAULT 1,
    published_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX work_unpublished ON work (deadline NULLS LAST, operation_id) WHERE published_at IS NULL;
CREATE INDEX work_due ON work (due_at);

-- Open orders that the sweep must look at again: cancelled or changed after a
-- capture, or with a hold that ends.
CREATE TABLE order_checks (
    order_id uuid PRIMARY KEY REFERENCES orders,
    due_at   timestamptz NOT NULL
);
CREATE INDEX order_checks_due ON order_checks (due_at);

-- The history: what happened, insert-only, one row a version, chained by hash.
-- A claim's row is its attempt, below.
CREATE TABLE events (
    operation_id           uuid NOT NULL,
    version                bigint NOT NULL,
    event                  text NOT NULL,
    from_state             text NOT NULL,
    to_state               text NOT NULL,
    actor                  text NOT NULL,
    reason                 text NOT NULL DEFAULT '',
    amount_cents           bigint,
    currency_code          text NOT NULL DEFAULT '',
    gateway_transaction_id text NOT NULL DEFAULT '',
    evidence               jsonb NOT NULL DEFAULT '{}',
    occurred_at            timestamptz NOT NULL,
    hash                   bytea NOT NULL,
    PRIMARY KEY (operation_id, version)
) PARTITION BY RANGE (operation_id);
CREATE TABLE events_default PARTITION OF events DEFAULT;

-- An attempt is the intent, committed before the call.
CREATE TABLE attempts (
    operation_id    uuid NOT NULL,
    version         bigint NOT NULL,
    call            text NOT NULL CHECK (call IN ('send', 'look_up')),
    idempotency_key text NOT NULL,
    amount_cents    bigint NOT NULL,
    currency_code   text NOT NULL,
    worker          text NOT NULL,
    claimed_at      timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    hash            bytea NOT NULL,
    PRIMARY KEY (operation_id, version)
) PARTITION BY RANGE (operation_id);
CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

-- What became of an attempt. Fenced: the row had moved on meanwhile.
CREATE TABLE attempt_results (
    operation_id uuid NOT NULL,
    version      bigint NOT NULL,
    outcome      text NOT NULL,
    status       integer NOT NULL DEFAULT 0,
    error_code   text NOT NULL DEFAULT '',
    request_id   text NOT NULL DEFAULT '',
    fenced       boolean NOT NULL DEFAULT false,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (operation_id, version)
) PARTITION BY RANGE (operation_id);
CREATE TABLE attempt_results_default PARTITION OF attempt_results DEFAULT;

-- One reconciliation: a sweep, by schedule or by hand.
CREATE TABLE reconciliations (
    id          uuid PRIMARY KEY,
    source      text NOT NULL,
    dry_run     boolean NOT NULL DEFAULT false,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    counts      jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX reconciliations_started ON reconciliations (started_at);

-- One sweep runs at a time: whoever holds the lease. A row and not a session
-- lock, since poolers share sessions.
CREATE TABLE leases (
    name        text PRIMARY KEY,
    owner       text NOT NULL,
    lease_until timestamptz NOT NULL
);

-- Every comparison of our books with theirs, with its evidence.
CREATE TABLE verdicts (
    id                uuid PRIMARY KEY,
    reconciliation_id uuid,
    operation_id      uuid,
    kind              text NOT NULL DEFAULT '',
    order_id          uuid NOT NULL,
    verdict           text NOT NULL,
    rule              text NOT NULL,
    action            text NOT NULL,
    outcome           text NOT NULL,
    actor             text NOT NULL,
    ours              jsonb NOT NULL DEFAULT '{}',
    theirs            jsonb NOT NULL DEFAULT '{}',
    created_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX verdicts_operation ON verdicts (operation_id);
CREATE INDEX verdicts_order ON verdicts (order_id);

-- Webhooks in: stored before they are answered, applied afterwards.
CREATE TABLE inbox (
    id           uuid PRIMARY KEY,
    source       text NOT NULL,
    event_id     text NOT NULL,
    topic        text NOT NULL,
    body         bytea NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz NOT NULL DEFAULT now(),
    tries        integer NOT NULL DEFAULT 0,
    processed_at timestamptz,
    outcome      text NOT NULL DEFAULT '',
    reason       text NOT NULL DEFAULT '',
    UNIQUE (source, event_id)
);
CREATE INDEX inbox_due ON inbox (due_at) WHERE processed_at IS NULL;

-- Webhooks out. The signing secret is named, not stored.
CREATE TABLE webhooks (
    id           uuid PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    callback_url text NOT NULL,
    disabled_at  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE deliveries (
    id            uuid PRIMARY KEY,
    webhook_id    uuid NOT NULL REFERENCES webhooks,
    topic         text NOT NULL,
    operation_id  uuid NOT NULL,
    kind          text NOT NULL,
    version       bigint NOT NULL,
    payload       jsonb NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    generation    integer NOT NULL DEFAULT 1,
    published_at  timestamptz,
    tries         integer NOT NULL DEFAULT 0,
    delivered_at  timestamptz,
    given_up_at   timestamptz,
    last_status   integer,
    last_error    text NOT NULL DEFAULT '',
    UNIQUE (webhook_id, operation_id, version)
);
CREATE INDEX deliveries_open ON deliveries (due_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
