-- What a person says about money.

-- How it was done: manual is by a person, and not through the account that the
-- row names, so that nothing is asked of that account for it afterwards. Who said
-- so stands in asserted_by.
ALTER TABLE operations ADD COLUMN mechanism text CONSTRAINT operations_mechanism CHECK (mechanism = 'manual');
