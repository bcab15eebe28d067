-- Batches: what may travel together in one task, and what may not.

-- Alone: its task is its own. A capture that has to be retried or looked up
-- leaves its batch for good. The account groups what is put into one task.
ALTER TABLE work ADD COLUMN alone boolean NOT NULL DEFAULT false;
ALTER TABLE work ADD COLUMN payment_gateway_id uuid;
UPDATE work AS w SET payment_gateway_id = o.payment_gateway_id, alone = true FROM operations AS o WHERE o.kind = w.kind AND o.id = w.operation_id;
ALTER TABLE work ALTER COLUMN payment_gateway_id SET NOT NULL;

-- Everything that asks for an operation names its id; the kind alone finds nothing.
ALTER TABLE operations DROP CONSTRAINT operations_pkey;
ALTER TABLE operations ADD PRIMARY KEY (id, kind);
ALTER TABLE operations DROP CONSTRAINT operations_kind_gateway_reference_key;
ALTER TABLE operations ADD UNIQUE (gateway_reference, kind);
