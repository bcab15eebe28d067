-- An account that a person disabled is paused, and not resumed by itself when its
-- credentials work.
ALTER TABLE payment_gateways ADD COLUMN disabled_at timestamptz CHECK (disabled_at IS NULL OR paused_at IS NOT NULL);
