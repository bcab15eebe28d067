-- What a client told about how a payment is paid, beside the hold that it
-- registered: shown again as it was, and read by nobody. Never a card number.
CREATE TABLE payment_sources (
    authorization_id uuid PRIMARY KEY REFERENCES authorizations,
    use_case         text NOT NULL,
    source           jsonb NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
