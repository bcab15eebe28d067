package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// AccessToken is one who may call. Its secret is nowhere: Hash is its SHA-256.
type AccessToken struct {
	ID         string      `bun:"id" json:"id"`
	Family     string      `bun:"family" json:"family"`
	Name       string      `bun:"name" json:"name"`
	Mode       models.Mode `bun:"mode" json:"mode"`
	Scope      string      `bun:"scope" json:"scope"`
	Hash       []byte      `bun:"hash" json:"-"`
	CreatedBy  string      `bun:"created_by" json:"created_by"`
	CreatedAt  time.Time   `bun:"created_at" json:"created_at"`
	ExpiresAt  *time.Time  `bun:"expires_at" json:"expires_at"`
	LastUsedAt *time.Time  `bun:"last_used_at" json:"last_used_at"`
	RevokedAt  *time.Time  `bun:"revoked_at" json:"revoked_at"`
	RevokedBy  *string     `bun:"revoked_by" json:"revoked_by"`
	ReplacedBy *string     `bun:"replaced_by" json:"replaced_by"`
	// Status is live, replaced, expired or revoked, by the database's clock. A
	// replaced one is valid until it expires.
	Status string `bun:"status" json:"status"`
	// LeftMicros is how long it is valid from now; nil is without end.
	LeftMicros *int64 `bun:"left_micros" json:"-"`
	// UnusedMicros is how long ago its use was last written; nil is never.
	UnusedMicros *int64 `bun:"unused_micros" json:"-"`
}

const tokenColumns = `t.id, t.family, t.name, t.mode, t.scope, t.hash, t.created_by, t.created_at, t.expires_at, t.last_used_at, t.revoked_at, t.revoked_by, t.replaced_by,
	CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked' WHEN t.expires_at <= now() THEN 'expired' WHEN t.replaced_by IS NOT NULL THEN 'replaced' ELSE 'live' END AS status,
	(extract(epoch FROM t.expires_at - now()) * 1000000)::bigint AS left_micros, (extract(epoch FROM now() - t.last_used_at) * 1000000)::bigint AS unused_micros`

// CreateToken makes a token known. life is how long it is valid; 0 is without
// end. A name is one client's at a time, in each mode.
func (s *Store) CreateToken(ctx context.Context, t AccessToken, life time.Duration) (AccessToken, error) {
	return s.createToken(ctx, nil, t, life)
}

func (s *Store) createToken(ctx context.Context, tx Tx, t AccessToken, life time.Duration) (AccessToken, error) {
	if t.Family == "" {
		t.Family = t.ID
	}
	var micros *int64
	if life > 0 {
		n := life.Microseconds()
		micros = &n
	}
	name := t.Name
	err := s.query(ctx, tx, &t, `INSERT INTO access_tokens AS t (id, family, name, mode, scope, hash, created_by, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, now() + ?::bigint * interval '1 microsecond') RETURNING `+tokenColumns, t.ID, t.Family, t.Name, t.Mode, t.Scope, t.Hash, t.CreatedBy, micros)
	switch {
	case violated(err, "access_tokens_named"):
		return t, refuse("name_taken", "name", "a token %s of that mode is live already; rotate or revoke it", name)
	case violated(err, "access_tokens_name"):
		return t, refuse("name_invalid", "name", "a name has 1 to 64 letters, digits, dots, dashes and underscores, not %.80q", name)
	case err != nil:
		return t, fmt.Errorf("create token %s: %w", name, err)
	}
	return t, nil
}

// Token reads one token by its id, whatever has become of it.
func (s *Store) Token(ctx context.Context, id string) (AccessToken, error) {
	var t AccessToken
	err := s.one(ctx, nil, &t, "token "+id, `SELECT `+tokenColumns+` FROM access_tokens AS t WHERE t.id = ?`, id)
	return t, err
}

// Tokens lists tokens, newest first: all of them, or those that are valid.
func (s *Store) Tokens(ctx context.Context, all bool) ([]AccessToken, error) {
	ts := []AccessToken{}
	err := s.query(ctx, nil, &ts, `SELECT `+tokenColumns+` FROM access_tokens AS t
		WHERE ? OR (t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())) ORDER BY t.created_at DESC, t.id`, all)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return ts, nil
}

// UsedToken notes that a token was used, once a minute at most.
func (s *Store) UsedToken(ctx context.Context, id string) error {
	_, err := s.exec(ctx, nil, `UPDATE access_tokens SET last_used_at = now() WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= now() - interval '1 minute')`, id)
	if err != nil {
		return fmt.Errorf("note the use of token %s: %w", id, err)
	}
	return nil
}

// RevokeToken ends a token for ever. A second time changes nothing.
func (s *Store) RevokeToken(ctx context.Context, id, actor string) (AccessToken, error) {
	_, err := s.exec(ctx, nil, `UPDATE access_tokens SET revoked_at = now(), revoked_by = ? WHERE id = ? AND revoked_at IS NULL`, actor, id)
	if err != nil {
		return AccessToken{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return s.Token(ctx, id)
}

// RotateToken puts next, of which ID, Hash and CreatedBy are set, in the place of
// the token id. That one stays valid for overlap, so that its users can change
// over. The new one is valid for as long as the old one was made for.
func (s *Store) RotateToken(ctx context.Context, id string, next AccessToken, overlap time.Duration) (made AccessToken, err error) {
	err = s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		var old AccessToken
		if err := s.one(ctx, tx, &old, "token "+id, `SELECT `+tokenColumns+` FROM access_tokens AS t WHERE t.id = ? FOR UPDATE`, id); err != nil {
			return err
		}
		if old.Status != "live" {
			return refuse("not_live", "id", "the token %s is %s; only a live one is rotated", id, old.Status)
		}
		next := next
		next.Family, next.Name, next.Mode, next.Scope = old.Family, old.Name, old.Mode, old.Scope
		var life time.Duration
		if old.ExpiresAt != nil {
			life = old.ExpiresAt.Sub(old.CreatedAt)
		}
		// The old one gives its name up first; what it points at is there at the end.
		if _, err := s.exec(ctx, tx, `UPDATE access_tokens SET expires_at = least(expires_at, now() + ? * interval '1 microsecond'), replaced_by = id WHERE id = ?`,
			overlap.Microseconds(), id); err != nil {
			return fmt.Errorf("retire token %s: %w", id, err)
		}
		if made, err = s.createToken(ctx, tx, next, life); err != nil {
			return err
		}
		_, err := s.exec(ctx, tx, `UPDATE access_tokens SET replaced_by = ? WHERE id = ?`, made.ID, id)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return made, fmt.Errorf("rotate token %s: %w", id, err)
	}
	return made, err
}
