package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// AuditRun asks for an audit that leaves its result in the table audits.
type AuditRun struct {
	Scope AuditScope
	// Owner is who runs it.
	Owner string
	// Idle: nobody works on the ledger right now, or it is a copy. So waiting is no
	// fault, nobody is kept away, and nothing is written.
	Idle bool
	// Unless skips the run when one of this scope began at or after this time
	// and ended, or when three did and died. The zero time skips none.
	Unless time.Time
	// Before runs first, and Also afterwards, both while others are kept away.
	// What Also finds belongs to the result.
	Before func(ctx context.Context) error
	Also   func(ctx context.Context) ([]Invariant, error)
	// Each is told of every invariant as it was found.
	Each func(Invariant)
}

// AuditReport is the result of an audit, as the table audits keeps it.
type AuditReport struct {
	ID         string      `json:"id,omitempty"`
	Scope      AuditScope  `json:"scope"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt time.Time   `json:"finished_at"`
	Broken     int64       `json:"broken"`
	Invariants []Invariant `json:"invariants"`
}

var (
	// ErrAuditing: another process audits in the same scope right now.
	ErrAuditing = errors.New("another audit is running")
	// ErrAudited: an audit of the scope is recent enough; see [AuditRun.Unless].
	ErrAudited = errors.New("the audit was done already")
)

// How far back a recent audit looks: to where the last one began and a little
// more, since a step carries the time at which its transaction began. What is
// older than the limit is left to the full audit.
const (
	auditOverlap  = time.Minute
	auditFirst    = 10 * time.Minute
	auditFarthest = time.Hour
)

// keepRecent is how long recent audits that found nothing are kept.
const keepRecent = 7 * 24 * time.Hour

// auditTries bounds how often a full audit that dies is begun anew on one day.
const auditTries = 3

// RunAudit audits under a lease, one of each scope at a time over all
// processes, and keeps the result. A process that dies leaves a row without an
// end and a lease that runs out.
func (s *Store) RunAudit(ctx context.Context, run AuditRun) (AuditReport, error) {
	report := AuditReport{Scope: run.Scope, Invariants: []Invariant{}}
	keepAway := s.alone
	if run.Idle {
		keepAway = func(ctx context.Context, _, _ string, fn func(context.Context) error) error { return fn(ctx) }
	}
	err := keepAway(ctx, "audit "+string(run.Scope), run.Owner, func(ctx context.Context) error {
		since, err := s.auditFrom(ctx, run)
		if err != nil {
			return err
		}
		if err := s.beginAudit(ctx, run, &report); err != nil {
			return err
		}
		var errs []error
		if run.Before != nil {
			errs = append(errs, run.Before(ctx))
		}
		found, err := s.audit(ctx, audit{scope: run.Scope, since: since, idle: run.Idle, each: run.Each})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if run.Also != nil {
			also, err := run.Also(ctx)
			found, errs = append(found, also...), append(errs, err)
		}
		report.Invariants = found
		return errors.Join(append(errs, s.endAudit(ctx, run, &report))...)
	})
	return report, err
}

// auditFrom returns where what happened lately begins, or ErrAudited.
func (s *Store) auditFrom(ctx context.Context, run AuditRun) (time.Time, error) {
	var row struct {
		Now   time.Time  `bun:"db_now"`
		Last  *time.Time `bun:"last"`
		Done  bool       `bun:"done"`
		Begun int        `bun:"begun"`
	}
	err := s.query(ctx, nil, &row, `SELECT now() AS db_now,
			(SELECT started_at FROM audits WHERE scope = ?0 AND finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1) AS last,
			EXISTS (SELECT 1 FROM audits WHERE scope = ?0 AND started_at >= ?1 AND finished_at IS NOT NULL) AS done,
			(SELECT count(*) FROM audits WHERE scope = ?0 AND started_at >= ?1) AS begun`, run.Scope, run.Unless)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the last audit: %w", err)
	}
	if !run.Unless.IsZero() && (row.Done || row.Begun >= auditTries) {
		return time.Time{}, ErrAudited
	}
	since := row.Now.Add(-auditFirst)
	if row.Last != nil {
		since = row.Last.Add(-auditOverlap)
	}
	if farthest := row.Now.Add(-auditFarthest); since.Before(farthest) {
		since = farthest
	}
	return since, nil
}

func (s *Store) beginAudit(ctx context.Context, run AuditRun, r *AuditReport) (err error) {
	if run.Idle {
		r.StartedAt, err = s.Now(ctx, nil)
		return err
	}
	r.ID = NewID()
	err = s.query(ctx, nil, &r.StartedAt, `INSERT INTO audits (id, scope) VALUES (?, ?) RETURNING started_at`, r.ID, r.Scope)
	if err != nil {
		return fmt.Errorf("begin an audit: %w", err)
	}
	return nil
}

func (s *Store) endAudit(ctx context.Context, run AuditRun, r *AuditReport) (err error) {
	for _, i := range r.Invariants {
		r.Broken += i.BrokenCount
	}
	if run.Idle {
		r.FinishedAt, err = s.Now(ctx, nil)
		return err
	}
	results, err := json.Marshal(r.Invariants)
	if err != nil {
		return fmt.Errorf("encode the result of an audit: %w", err)
	}
	err = s.query(ctx, nil, &r.FinishedAt, `UPDATE audits SET finished_at = now(), broken = ?, results = ?::jsonb WHERE id = ? RETURNING finished_at`,
		r.Broken, clean(string(results)), r.ID)
	if err != nil {
		return fmt.Errorf("keep the result of audit %s: %w", r.ID, err)
	}
	_, err = s.exec(ctx, nil, `DELETE FROM audits WHERE scope = 'recent' AND broken = 0 AND started_at < now() - ? * interval '1 second'`, keepRecent.Seconds())
	if err != nil {
		return fmt.Errorf("drop old audits: %w", err)
	}
	return nil
}

// LastAudits returns the last audit of each scope that ended.
func (s *Store) LastAudits(ctx context.Context) ([]AuditReport, error) {
	return s.lastAudits(ctx, nil)
}

func (s *Store) lastAudits(ctx context.Context, tx Tx) ([]AuditReport, error) {
	var rows []struct {
		ID         string          `bun:"id"`
		Scope      AuditScope      `bun:"scope"`
		StartedAt  time.Time       `bun:"started_at"`
		FinishedAt time.Time       `bun:"finished_at"`
		Broken     int64           `bun:"broken"`
		Results    json.RawMessage `bun:"results,type:jsonb"`
	}
	err := s.query(ctx, tx, &rows, `SELECT a.id, a.scope, a.started_at, a.finished_at, a.broken, a.results
		FROM unnest('{full,recent}'::text[]) AS s (scope) CROSS JOIN LATERAL (
			SELECT * FROM audits AS x WHERE x.scope = s.scope AND x.finished_at IS NOT NULL ORDER BY x.started_at DESC LIMIT 1) AS a
		ORDER BY a.scope`)
	if err != nil {
		return nil, fmt.Errorf("read the last audits: %w", err)
	}
	reports := make([]AuditReport, 0, len(rows))
	for _, r := range rows {
		report := AuditReport{ID: r.ID, Scope: r.Scope, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Broken: r.Broken}
		if err := json.Unmarshal(r.Results, &report.Invariants); err != nil {
			return nil, fmt.Errorf("read the results of audit %s: %w", r.ID, err)
		}
		reports = append(reports, report)
	}
	return reports, nil
}

// unwritable reports that nothing may be written: a standby, or too few rights.
func unwritable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "25006" || pg.Code == "42501")
}

// aloneFor is how long a lease lasts that is not renewed.
const aloneFor = 2 * time.Minute

// alone runs fn while nobody else runs one of the same name, and renews its
// lease meanwhile. When the lease is lost fn's context ends. ErrAuditing means
// that somebody else holds it.
func (s *Store) alone(ctx context.Context, name, owner string, fn func(context.Context) error) error {
	owner += " " + NewID()
	const take = `INSERT INTO leases AS l (name, owner, lease_until) VALUES (?0, ?1, now() + ?2 * interval '1 microsecond')
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until WHERE l.lease_until < now() OR l.owner = ?1`
	hold := max(s.tempo.Of(aloneFor), 10*time.Second)
	n, err := s.exec(ctx, nil, take, name, owner, hold.Microseconds())
	if unwritable(err) {
		return fmt.Errorf("take the lease %s: %w; of a copy, or for a role that only reads, `capstan audit --offline` checks without writing", name, err)
	}
	if err != nil {
		return fmt.Errorf("take the lease %s: %w", name, err)
	}
	if n == 0 {
		return ErrAuditing
	}
	ctx, lose := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		last := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(hold / 4):
			}
			n, err := s.exec(ctx, nil, take, name, owner, hold.Microseconds())
			if err == nil && n == 1 {
				last = time.Now()
			} else if n == 0 && err == nil || time.Since(last) > hold {
				lose(fmt.Errorf("the lease %s was lost: %w", name, ErrAuditing))
			}
		}
	}()
	err = fn(ctx)
	lose(nil)
	<-stopped
	free, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.tempo.RecordTimeout())
	defer cancel()
	_, freeErr := s.exec(free, nil, `DELETE FROM leases WHERE name = ? AND owner = ?`, name, owner)
	return errors.Join(err, freeErr)
}
