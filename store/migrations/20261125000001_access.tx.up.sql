-- Who may call, and what was answered under an Idempotency-Key.

-- Tokens that are made by `capstan tokens`. Of a secret only the SHA-256 is here:
-- it is 256 random bits, which nobody finds by trying.
CREATE TABLE access_tokens (
    -- Part of the token, and what it is looked up by. No secret.
    id           text PRIMARY KEY CONSTRAINT access_tokens_id CHECK (id ~ '^[a-z2-7]{12}$'),
    -- The id of the first token of a line of rotations: the client behind it.
    family       text NOT NULL,
    name         text NOT NULL CONSTRAINT access_tokens_name CHECK (name ~ '^[A-Za-z0-9._-]{1,64}$'),
    mode         text NOT NULL CHECK (mode IN ('test', 'live')),
    scope        text NOT NULL CHECK (scope IN ('read', 'operate', 'admin')),
    hash         bytea NOT NULL UNIQUE CONSTRAINT access_tokens_hash CHECK (octet_length(hash) = 32),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    -- Written once a minute at most.
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text,
    -- The token that a rotation put in its place; this one ends at expires_at.
    replaced_by  text REFERENCES access_tokens
);

-- The history names callers by name, so that a name means one client at a time.
CREATE UNIQUE INDEX access_tokens_named ON access_tokens (name, mode) WHERE revoked_at IS NULL AND replaced_by IS NULL;

-- Requests with an Idempotency-Key. A row without finished_at is in progress
-- while its lease runs; after that the next request with its key runs it again.
CREATE TABLE api_requests (
    id          uuid PRIMARY KEY,
    caller      text NOT NULL,
    mode        text NOT NULL CHECK (mode IN ('test', 'live')),
    key         text NOT NULL,
    -- SHA-256 of method, path, query, media type and body. The body itself is not kept.
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    tries       integer NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz,
    status      integer,
    headers     jsonb,
    body        bytea CONSTRAINT api_requests_body CHECK (octet_length(body) <= 262144),
    CONSTRAINT api_requests_key UNIQUE (caller, mode, key),
    CONSTRAINT api_requests_answer CHECK ((finished_at IS NULL) = (status IS NULL))
);

CREATE INDEX api_requests_expiry ON api_requests (expires_at);

-- What such a request made, in the commit that made it: a request that is run
-- again finds it and makes nothing twice.
CREATE TABLE api_effects (
    request_id uuid NOT NULL,
    kind       text NOT NULL,
    -- What it was made of: a hold, a capture; and the order that both are of.
    target     text NOT NULL,
    order_id   text NOT NULL,
    -- Which run of the request made it: tries, as the request has it.
    run        integer NOT NULL,
    made       uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, kind, target)
);
