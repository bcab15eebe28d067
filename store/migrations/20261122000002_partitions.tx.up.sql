-- Storage that stays fast: months of history, their anchors once they are
-- detached, and how the hot tables are vacuumed. The partitions themselves are
-- made by the program, here and for every month to come (partitions.go).

-- What is detached waits here to be dumped and dropped by hand.
CREATE SCHEMA IF NOT EXISTS detached;

-- What stands for a month of history that was detached: how much it was, and a
-- hash over the last hash of every operation, so that the audit still sees a
-- change of any of them. Chained, so that none goes missing.
CREATE TABLE history_anchors (
    number          integer PRIMARY KEY,
    month           date NOT NULL UNIQUE,
    partitions      text[] NOT NULL,
    from_id         uuid NOT NULL,
    to_id           uuid NOT NULL,
    operations      bigint NOT NULL,
    first_id        uuid,
    last_id         uuid,
    events          bigint NOT NULL,
    attempts        bigint NOT NULL,
    attempt_results bigint NOT NULL,
    heads           bytea NOT NULL,
    actor           text NOT NULL,
    detached_at     timestamptz NOT NULL DEFAULT now(),
    hash            bytea NOT NULL,
    CHECK (from_id < to_id)
);

-- An operation that went on after its history was detached: where it stood
-- then. Its later steps are chained to this hash.
CREATE TABLE history_resumed (
    operation_id uuid PRIMARY KEY,
    version      bigint NOT NULL,
    state        text NOT NULL,
    hash         bytea NOT NULL,
    resumed_at   timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION anchor_hash(prev bytea, a history_anchors) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(prev || convert_to(concat_ws(E'\x1f', a.number, to_char(a.month, 'YYYY-MM'), array_to_string(a.partitions, ','), a.from_id, a.to_id, a.operations, a.first_id, a.last_id,
                  a.events, a.attempts, a.attempt_results, encode(a.heads, 'hex'), a.actor, extract(epoch FROM a.detached_at)), 'UTF8'))
$$;

-- The fold of a range of operations, as they stood when it was detached if it
-- was. Hashed in spans of 2^24 ms (the first six digits of an id), since one
-- value cannot hold more than 1 GB.
CREATE FUNCTION history_fold(from_id uuid, to_id uuid, OUT operations bigint, OUT versions numeric, OUT first_id uuid, OUT last_id uuid, OUT heads bytea)
LANGUAGE sql STABLE AS $$
    SELECT COALESCE(sum(s.n), 0)::bigint, COALESCE(sum(s.versions), 0), min(s.lo)::uuid, max(s.hi)::uuid, sha256(COALESCE(string_agg(s.hash, '' ORDER BY s.span), ''))
    FROM (SELECT left(o.id::text, 6) AS span, count(*) AS n, sum(COALESCE(r.version, o.version)) AS versions, min(o.id::text) AS lo, max(o.id::text) AS hi,
                 sha256(string_agg(COALESCE(r.hash, o.chain_hash) || convert_to(o.id || ' ' || COALESCE(r.version, o.version) || ' ' || COALESCE(r.state, o.state), 'UTF8'), '' ORDER BY o.id)) AS hash
          FROM operations AS o LEFT JOIN history_resumed AS r ON r.operation_id = o.id
          WHERE o.id >= $1 AND o.id < $2 GROUP BY 1) AS s
$$;

-- Where the attached history of an operation begins, for those whose first
-- steps are detached.
CREATE VIEW history_bases AS
    SELECT o.id, COALESCE(r.version, o.version) AS version, COALESCE(r.state, o.state) AS state, COALESCE(r.hash, o.chain_hash) AS hash
    FROM history_anchors AS a JOIN operations AS o ON o.id >= a.from_id AND o.id < a.to_id
    LEFT JOIN history_resumed AS r ON r.operation_id = o.id;

-- Only what had ended can be detached, so only a step of an ended operation can
-- be one that resumes.
CREATE FUNCTION keep_anchored() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM history_anchors WHERE from_id <= OLD.id AND OLD.id < to_id) THEN
        INSERT INTO history_resumed (operation_id, version, state, hash) VALUES (OLD.id, OLD.version, OLD.state, OLD.chain_hash) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER operations_resumed BEFORE UPDATE ON operations FOR EACH ROW
WHEN (OLD.version <> NEW.version AND OLD.state NOT IN ('pending', 'capturing', 'submitted', 'unknown'))
EXECUTE FUNCTION keep_anchored();

CREATE TRIGGER history_anchors_append BEFORE UPDATE OR DELETE ON history_anchors FOR EACH ROW EXECUTE FUNCTION refuse('anchors are append-only');
CREATE TRIGGER history_anchors_truncate BEFORE TRUNCATE ON history_anchors EXECUTE FUNCTION refuse('anchors are append-only');
CREATE TRIGGER history_resumed_append BEFORE UPDATE OR DELETE ON history_resumed FOR EACH ROW EXECUTE FUNCTION refuse('anchors are append-only');
CREATE TRIGGER history_resumed_truncate BEFORE TRUNCATE ON history_resumed EXECUTE FUNCTION refuse('anchors are append-only');

-- Room for the versions of a row that follow its first: with it an update stays
-- on its page and touches no index (HOT). A hold and an order get theirs in
-- batches, a page's rows at once, so a page is half filled; a capture grows as
-- well. Measured in docs/storage.md: less room costs more disk, in indexes and
-- in rows that had to move.
ALTER TABLE orders SET (fillfactor = 50);
ALTER TABLE authorizations SET (fillfactor = 50);
ALTER TABLE deliveries SET (fillfactor = 70);

-- Vacuum by the share that changed is too late for tables that are large, and
-- too slow for those that are small and never rest.
ALTER TABLE orders SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE authorizations SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE captures SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE work SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE order_checks SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
