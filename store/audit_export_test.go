package store

import (
	"context"
	"time"
)

// AuditIn audits within a transaction, so that what a test breaks there is gone
// with it. Nothing is looked at a second time.
func (s *Store) AuditIn(ctx context.Context, tx Tx, scope AuditScope, since time.Time) ([]Invariant, error) {
	return s.audit(ctx, audit{scope: scope, since: since, on: tx, within: func(ctx context.Context, _ string, fn func(context.Context, Tx) error) error { return fn(ctx, tx) }})
}

// RecentStatement is one of a recent audit, and what its transaction sets first.
type RecentStatement struct{ Invariant, Settings, SQL string }

// RecentStatements are what a recent audit of one order runs.
func (s *Store) RecentStatements(orderID, operationID string, since time.Time) []RecentStatement {
	c := auditChunk{[]string{orderID}, []string{operationID}}
	a := audit{scope: AuditRecent, since: since}
	all := []RecentStatement{{"touched", byProbe, s.db.NewRaw(touchedSQL, since, firstID(since)).String()}}
	for _, i := range invariants {
		for _, p := range i.parts {
			switch p.reach {
			case byOrder:
				sql := `WITH ` + c.with() + `checks (name, broken) AS (` + s.auditSQL(p.sql, c.ledger()) + `) SELECT * FROM checks`
				all = append(all, RecentStatement{i.id, byIndex, sql})
			case small:
				all = append(all, RecentStatement{i.id, byProbe, s.auditSQL(p.sql, s.recently(a))})
			case waiting:
				all = append(all, RecentStatement{i.id, byProbe, s.auditSQL(p.sql, wholeLedger)})
			}
		}
	}
	return all
}

// OldestTransaction is the beginning of the oldest that is open.
func (s *Store) OldestTransaction(ctx context.Context) (time.Time, error) {
	now, err := s.Now(ctx, nil)
	if err != nil {
		return now, err
	}
	return s.awaitOldest(ctx, now)
}

// HiddenTransactions are those whose beginning the role of tx may not see.
func (s *Store) HiddenTransactions(ctx context.Context, tx Tx) ([]string, error) {
	open, err := s.openTransactions(ctx, tx, nil)
	return open.Hidden, err
}
