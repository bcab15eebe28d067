-- The referees: what no program may do to the ledger, whatever its intentions.

-- The hash of one step of an operation, over the step before it.
CREATE FUNCTION step_hash(prev bytea, operation uuid, version bigint, event text, from_state text, to_state text,
                          amount bigint, currency text, who text, what text, at timestamptz) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(prev || convert_to(concat_ws(E'\x1f', operation, version, event, from_state, to_state,
                  COALESCE(amount::text, ''), currency, who, what, extract(epoch FROM at)), 'UTF8'))
$$;

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'CP001';
END $$;

-- The transition table of package models; a test compares the two.
CREATE TRIGGER operations_edge BEFORE UPDATE ON operations FOR EACH ROW
WHEN (OLD.state <> NEW.state AND (OLD.state || ' ' || NEW.state) NOT IN (
    'pending capturing', 'pending cancelled', 'pending failed',
    'capturing succeeded', 'capturing failed', 'capturing submitted', 'capturing unknown', 'capturing pending',
    'submitted capturing', 'submitted succeeded', 'submitted failed',
    'unknown capturing', 'unknown succeeded', 'unknown failed',
    'succeeded reversed', 'succeeded reset',
    'failed succeeded', 'reversed succeeded', 'cancelled succeeded'))
EXECUTE FUNCTION refuse('the transition table has no such edge');

CREATE TRIGGER operations_birth BEFORE INSERT ON operations FOR EACH ROW
WHEN (NEW.state <> 'pending' OR NEW.version <> 1)
EXECUTE FUNCTION refuse('an operation begins pending, at version 1');

CREATE TRIGGER operations_version BEFORE UPDATE ON operations FOR EACH ROW
WHEN ((OLD.state <> NEW.state OR OLD.version <> NEW.version OR OLD.chain_hash <> NEW.chain_hash)
      AND (NEW.version <> OLD.version + 1 OR NEW.chain_hash = OLD.chain_hash))
EXECUTE FUNCTION refuse('a step raises the version by one and extends the chain');

CREATE TRIGGER operations_identity BEFORE UPDATE ON operations FOR EACH ROW
WHEN (OLD.id <> NEW.id OR OLD.kind <> NEW.kind OR OLD.order_id <> NEW.order_id OR OLD.authorization_id <> NEW.authorization_id
      OR OLD.gateway_reference <> NEW.gateway_reference OR OLD.sequence <> NEW.sequence OR OLD.currency_code <> NEW.currency_code
      OR OLD.cause <> NEW.cause OR NEW.key_epoch < OLD.key_epoch OR OLD.capture_id IS DISTINCT FROM NEW.capture_id)
EXECUTE FUNCTION refuse('what an operation is never changes');

CREATE TRIGGER operations_amount BEFORE UPDATE ON operations FOR EACH ROW
WHEN (OLD.amount_cents <> NEW.amount_cents
      AND (NEW.amount_cents > OLD.amount_cents OR OLD.state <> 'pending' OR OLD.sent_version IS NOT NULL))
EXECUTE FUNCTION refuse('an amount is only lowered, and only while nothing was sent');

CREATE TRIGGER operations_keep BEFORE DELETE ON operations FOR EACH ROW EXECUTE FUNCTION refuse('operations are kept');
CREATE TRIGGER authorizations_keep BEFORE DELETE ON authorizations FOR EACH ROW EXECUTE FUNCTION refuse('holds are kept');
CREATE TRIGGER orders_keep BEFORE DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse('orders are kept');

CREATE TRIGGER events_append BEFORE UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION refuse('history is append-only');
CREATE TRIGGER attempts_append BEFORE UPDATE OR DELETE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER attempt_results_append BEFORE UPDATE OR DELETE ON attempt_results FOR EACH ROW EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER verdicts_append BEFORE UPDATE OR DELETE ON verdicts FOR EACH ROW EXECUTE FUNCTION refuse('verdicts are append-only');
CREATE TRIGGER operations_truncate BEFORE TRUNCATE ON operations EXECUTE FUNCTION refuse('operations are kept');
CREATE TRIGGER events_truncate BEFORE TRUNCATE ON events EXECUTE FUNCTION refuse('history is append-only');
CREATE TRIGGER events_default_truncate BEFORE TRUNCATE ON events_default EXECUTE FUNCTION refuse('history is append-only');
CREATE TRIGGER attempts_truncate BEFORE TRUNCATE ON attempts EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER attempts_default_truncate BEFORE TRUNCATE ON attempts_default EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER attempt_results_truncate BEFORE TRUNCATE ON attempt_results EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER attempt_results_default_truncate BEFORE TRUNCATE ON attempt_results_default EXECUTE FUNCTION refuse('attempts are append-only');
CREATE TRIGGER verdicts_truncate BEFORE TRUNCATE ON verdicts EXECUTE FUNCTION refuse('verdicts are append-only');
CREATE TRIGGER captures_truncate BEFORE TRUNCATE ON captures EXECUTE FUNCTION refuse('operations are kept');
CREATE TRIGGER refunds_truncate BEFORE TRUNCATE ON refunds EXECUTE FUNCTION refuse('operations are kept');
CREATE TRIGGER voids_truncate BEFORE TRUNCATE ON voids EXECUTE FUNCTION refuse('operations are kept');
