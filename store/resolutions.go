package store

import (
	"context"
	"fmt"
	"time"
)

// Resolution is what a person made of a verdict. Of one that nobody has
// resolved all is empty.
type Resolution struct {
	Resolved          string     `bun:"resolved" json:"resolved,omitempty"` // applied or dismissed
	ResolvedBy        string     `bun:"resolved_by" json:"resolved_by,omitempty"`
	Reason            string     `bun:"reason" json:"reason,omitempty"`
	ResolutionOutcome string     `bun:"resolution_outcome" json:"resolution_outcome,omitempty"`
	ResolvedAt        *time.Time `bun:"resolved_at" json:"resolved_at,omitempty"`
}

// Resolve writes what a person made of a verdict, once: the second of two gets
// the refusal already_resolved. In the transaction of what was done about it the
// two stand or fall together; with a nil tx the action came before, and when the
// process dies in between it is found done by whoever applies the verdict again.
func (s *Store) Resolve(ctx context.Context, tx Tx, verdictID string, status VerdictStatus, actor, reason, outcome string) error {
	n, err := s.exec(ctx, tx, `INSERT INTO resolutions (verdict_id, action, actor, reason, outcome) VALUES (?, ?, ?, ?, ?) ON CONFLICT (verdict_id) DO NOTHING`,
		verdictID, status, actor, reason, outcome)
	if err != nil {
		return fmt.Errorf("write the resolution of verdict %s: %w", verdictID, err)
	}
	if n == 0 {
		return AlreadyResolved()
	}
	return nil
}

// AlreadyResolved is the refusal of a second resolution.
func AlreadyResolved() error {
	return refuse("already_resolved", "", "the verdict was applied or dismissed before; what it led to stands in its resolution")
}
