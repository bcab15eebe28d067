-- What the reconciler knows beside the operations: deadlines, what the
-- gateways list, what was found and what people made of it, audits and anchors.

-- Why an operation exists: two more causes. A difference is given back because
-- the method says so; what was adopted happened at the gateway without us, is
-- recorded with proof and never sent.
ALTER TABLE operations DROP CONSTRAINT operations_cause_check;
ALTER TABLE operations ADD CONSTRAINT operations_cause_check
    CHECK (cause IN ('approval', 'authorization', 'fulfillment', 'delay', 'at', 'last_chance', 'manual', 'cancel', 'difference', 'adopted'));
DROP INDEX captures_once;
CREATE UNIQUE INDEX captures_once ON captures (authorization_id, cause) WHERE cause NOT IN ('manual', 'adopted');

-- Deadlines. capture_before is what the gateway or the client said, and nothing
-- is sent after it; estimated_before is ours, by network and initiator, and only
-- warns and sorts.
ALTER TABLE authorizations ADD COLUMN estimated_before timestamptz;
ALTER TABLE authorizations ADD COLUMN network text;
ALTER TABLE authorizations ADD COLUMN initiator text CHECK (initiator IN ('customer', 'merchant'));
-- The id it was registered under, once a renewal gave it another.
ALTER TABLE authorizations ADD COLUMN first_transaction_id text;
CREATE UNIQUE INDEX authorizations_first_transaction ON authorizations (payment_gateway_id, first_transaction_id) WHERE first_transaction_id IS NOT NULL;
-- Who told capture_before.
ALTER TABLE authorizations ADD COLUMN capture_before_source text CHECK (capture_before_source IN ('gateway', 'client'));
-- 48 or 24: the nearest warning that was given.
ALTER TABLE authorizations ADD COLUMN warned_hours smallint;
-- A renewal is a call that makes a new hold of an old one: the intent is
-- committed before it, and the same name is used again until it has an outcome.
ALTER TABLE authorizations ADD COLUMN renewals integer NOT NULL DEFAULT 0;
ALTER TABLE authorizations ADD COLUMN renewing_since timestamptz;
ALTER TABLE authorizations ADD COLUMN renewal_lease timestamptz;
ALTER TABLE authorizations ADD COLUMN renewal_error text;
CREATE UNIQUE INDEX authorizations_renewing ON authorizations (id) WHERE renewing_since IS NOT NULL;
-- How long holds of an account live as a rule, most special first:
-- [{"network", "initiator", "seconds"}].
ALTER TABLE payment_gateways ADD COLUMN hold_lives jsonb NOT NULL DEFAULT '[]';
ALTER TABLE payment_methods ADD COLUMN refund_difference boolean NOT NULL DEFAULT false;
ALTER TABLE payment_methods ADD COLUMN reauthorize boolean NOT NULL DEFAULT false;
-- When the nearest hold of an order ends that a warning was given for.
ALTER TABLE order_checks ADD COLUMN deadline timestamptz;
CREATE INDEX order_checks_deadline ON order_checks (deadline) WHERE deadline IS NOT NULL;

-- After a restore every operation is looked up before it is sent, even one that
-- this database believes was never sent.
ALTER TABLE payment_gateways ADD COLUMN look_first_since timestamptz;
ALTER TABLE payment_gateways ADD COLUMN look_first_until timestamptz;
-- Where this database comes from, as it was seen last: a restore and a
-- promotion begin another timeline.
CREATE TABLE origin (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL,
    timeline_id       bigint NOT NULL,
    noted_at          timestamptz NOT NULL DEFAULT now()
);

-- How far an account's own listing was compared, and the window that is being
-- compared: a run that dies goes on at its page. Paged: every page was compared,
-- and what the list does not have is being asked for.
CREATE TABLE listings (
    payment_gateway_id uuid PRIMARY KEY REFERENCES payment_gateways,
    listed_through     timestamptz NOT NULL,
    window_from        timestamptz,
    window_until       timestamptz,
    cursor             text NOT NULL DEFAULT '',
    paged              boolean NOT NULL DEFAULT false,
    entries            bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL DEFAULT now()
);

-- Which line of a gateway's list explained which operation, for a day: a second
-- one is a duplicate, and a success without one is asked for.
CREATE TABLE listing_seen (
    operation_id       uuid PRIMARY KEY,
    payment_gateway_id uuid NOT NULL,
    movement_id        text NOT NULL,
    at                 timestamptz NOT NULL
);
CREATE INDEX listing_seen_at ON listing_seen (payment_gateway_id, at);

-- A verdict may be about something that no order of ours knows.
ALTER TABLE verdicts ALTER COLUMN order_id DROP NOT NULL;
ALTER TABLE verdicts ADD COLUMN mode text CHECK (mode IN ('test', 'live'));
-- Rows from before have none; their order says it.
ALTER TABLE verdicts ADD CONSTRAINT verdicts_mode CHECK (mode IS NOT NULL) NOT VALID;
ALTER TABLE verdicts ADD COLUMN payment_gateway_id uuid;
ALTER TABLE verdicts ADD COLUMN amount_cents bigint;
ALTER TABLE verdicts ADD COLUMN currency_code text;
-- The name of a lasting finding, so that it is written once however often it is seen.
ALTER TABLE verdicts ADD COLUMN finding text;
CREATE UNIQUE INDEX verdicts_finding ON verdicts (finding) WHERE finding IS NOT NULL;
CREATE INDEX verdicts_created ON verdicts (created_at, id);
CREATE INDEX verdicts_verdict ON verdicts (verdict, created_at);
CREATE INDEX verdicts_listed ON verdicts (mode, created_at, id);
CREATE INDEX verdicts_before_modes ON verdicts (created_at, id) WHERE mode IS NULL;

-- What people made of a verdict.
CREATE TABLE resolutions (
    verdict_id uuid PRIMARY KEY REFERENCES verdicts,
    action     text NOT NULL CHECK (action IN ('applied', 'dismissed')),
    actor      text NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    outcome    text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER resolutions_append BEFORE UPDATE OR DELETE ON resolutions FOR EACH ROW EXECUTE FUNCTION refuse('resolutions are append-only');
CREATE TRIGGER resolutions_truncate BEFORE TRUNCATE ON resolutions EXECUTE FUNCTION refuse('resolutions are append-only');

-- What calls for a person and was neither applied nor dismissed: of an
-- operation, while its flag stands, the last verdict that calls for one
-- (models.Verdict.CallsPerson names them; a test compares); the last warning of
-- a hold that is about to end; and every finding with such a verdict. Its cost
-- follows what is flagged, warned of or found.
CREATE VIEW open_verdicts AS
    SELECT v.id AS verdict_id
    FROM operations AS o CROSS JOIN LATERAL (
        SELECT v.id FROM verdicts AS v
        WHERE v.operation_id = o.id AND v.verdict IN ('amount_conflict', 'duplicate', 'late_success', 'expiring', 'needs_attention')
        ORDER BY v.created_at DESC, v.id DESC LIMIT 1) AS v
    WHERE o.needs_attention IS NOT NULL AND NOT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = v.id)
    UNION
    SELECT v.id
    FROM order_checks AS k CROSS JOIN LATERAL (
        SELECT v.id FROM verdicts AS v
        WHERE v.order_id = k.order_id AND v.verdict = 'expiring' AND v.operation_id IS NULL
        ORDER BY v.created_at DESC, v.id DESC LIMIT 1) AS v
    WHERE k.deadline IS NOT NULL AND NOT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = v.id)
    UNION
    SELECT v.id FROM verdicts AS v
    WHERE v.finding IS NOT NULL AND v.verdict IN ('amount_conflict', 'duplicate', 'late_success', 'expiring', 'needs_attention')
      AND NOT EXISTS (SELECT 1 FROM resolutions AS x WHERE x.verdict_id = v.id);

-- Audits that ran: of everything at night, of what is open and recent each minute.
CREATE TABLE audits (
    id          uuid PRIMARY KEY,
    scope       text NOT NULL CHECK (scope IN ('full', 'recent')),
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    broken      bigint NOT NULL DEFAULT 0,
    results     jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX audits_started ON audits (scope, started_at);

-- One line a day and month of history: a hash over the hashes of all steps
-- that happened on that day to operations of that month, chained.
CREATE TABLE daily_anchors (
    number      bigint PRIMARY KEY,
    day         date NOT NULL,
    month       date NOT NULL,
    steps       bigint NOT NULL,
    heads       bytea NOT NULL,
    -- How many months of history were detached when it was folded: what was
    -- detached later can no longer be folded here.
    detached    integer NOT NULL,
    anchored_at timestamptz NOT NULL DEFAULT now(),
    hash        bytea NOT NULL,
    UNIQUE (day, month)
);
CREATE TRIGGER daily_anchors_append BEFORE UPDATE OR DELETE ON daily_anchors FOR EACH ROW EXECUTE FUNCTION refuse('anchors are append-only');
CREATE TRIGGER daily_anchors_truncate BEFORE TRUNCATE ON daily_anchors EXECUTE FUNCTION refuse('anchors are append-only');

-- The hash of one line, over the line before it.
CREATE FUNCTION daily_anchor_hash(prev bytea, a daily_anchors) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(prev || convert_to(concat_ws(E'\x1f', a.number, to_char(a.day, 'YYYY-MM-DD'), to_char(a.month, 'YYYY-MM'), a.steps, encode(a.heads, 'hex'),
                  a.detached, extract(epoch FROM a.anchored_at)), 'UTF8'))
$$;

-- The month of history that an operation belongs to: a UUIDv7 begins with its time.
CREATE FUNCTION history_month(id uuid) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT date_trunc('month', timestamp '1970-01-01' + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 millisecond')::date
$$;

-- The folds of the days from $1 to before $2, UTC, one line for each day and month
-- of history. With a step's hash goes what that leaves out. Hashed in spans of
-- 2^20 ms (the first seven digits of an id), since one value cannot hold more
-- than 1 GB. It goes by ids, not by partitions: a row may move to its own later.
CREATE FUNCTION daily_folds(date, date) RETURNS TABLE (day date, month date, steps bigint, heads bytea)
LANGUAGE sql STABLE AS $$
    SELECT s.day, s.month, sum(s.n)::bigint, sha256(string_agg(s.hash, '' ORDER BY s.span))
    FROM (SELECT h.day, history_month(h.operation_id) AS month, left(h.operation_id::text, 7) AS span, count(*) AS n,
                 sha256(string_agg(h.hash || convert_to(h.more, 'UTF8'), '' ORDER BY h.operation_id, h.version)) AS hash
          FROM (SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, operation_id, version, hash, gateway_transaction_id AS more FROM events
                WHERE occurred_at >= $1::timestamp AT TIME ZONE 'UTC' AND occurred_at < $2::timestamp AT TIME ZONE 'UTC'
                UNION ALL
                SELECT (claimed_at AT TIME ZONE 'UTC')::date, operation_id, version, hash, call FROM attempts
                WHERE claimed_at >= $1::timestamp AT TIME ZONE 'UTC' AND claimed_at < $2::timestamp AT TIME ZONE 'UTC') AS h
          GROUP BY 1, 2, 3) AS s
    GROUP BY 1, 2
$$;

-- What happened on a day, or in the last minutes. Rows are only ever appended,
-- nearly in the order of their time, so a summary of each stretch of pages is
-- enough: it costs a few pages and next to nothing to write.
CREATE INDEX events_occurred ON events USING brin (occurred_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX attempts_claimed ON attempts USING brin (claimed_at) WITH (pages_per_range = 32, autosummarize = on);

-- Since when an endpoint has been told without a break, as far as is known.
ALTER TABLE webhooks ADD COLUMN enabled_at timestamptz NOT NULL DEFAULT now();
