package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// Retention asks for the history of old months to be detached.
type Retention struct {
	// OlderThan is how many whole months of history stay attached beside the
	// current one; at least 1.
	OlderThan int
	// DryRun shows what would be detached, and changes nothing.
	DryRun bool
	// Actor is who asks; the anchor keeps it.
	Actor string
}

// RetainedMonth is what became of one month's history.
type RetainedMonth struct {
	Month          string `json:"month"`
	Operations     int64  `json:"operations"`
	Events         int64  `json:"events"`
	Attempts       int64  `json:"attempts"`
	AttemptResults int64  `json:"attempt_results"`
	Bytes          int64  `json:"bytes"`
	// Anchor is the hash, in hex, of the anchor that stands for the month now.
	// Keep it outside the database: it vouches for this anchor and for all before.
	Anchor string `json:"anchor,omitempty"`
	// Detached names the tables to dump and drop.
	Detached []string `json:"detached"`
	// Refused says why the month stays attached, and Names what stands against
	// it, at most [auditNames].
	Refused string   `json:"refused,omitempty"`
	Names   []string `json:"names,omitempty"`
}

// RetentionReport is what a retention found and did, oldest month first.
type RetentionReport struct {
	DryRun bool `json:"dry_run"`
	// Before is the month, as 2006-01, before which history is detached.
	Before string          `json:"before"`
	Months []RetainedMonth `json:"months"`
}

// Retain detaches the history of every month that is old enough, if all of its
// operations have ended and their history verifies. An anchor, written in the
// same commit, stands for it from then on: a hash over the last hash of each
// operation. Orders, holds and operations stay where they are, and nothing is
// dropped: the tables wait under the schema "detached".
//
// What is expensive is done before anything is locked; the ledger waits for a
// count of the month's operations. Two retentions at once are one after the
// other. A month that is refused does not keep later ones from being detached.
func (s *Store) Retain(ctx context.Context, r Retention) (RetentionReport, error) {
	report := RetentionReport{DryRun: r.DryRun, Months: []RetainedMonth{}}
	if r.OlderThan < 1 {
		return report, fmt.Errorf("retain %d months: keep at least 1", r.OlderThan)
	}
	now, err := s.Now(ctx, nil)
	if err != nil {
		return report, err
	}
	cutoff := monthOf(now).add(-r.OlderThan)
	report.Before = cutoff.Format("2006-01")
	months, err := s.attachedMonths(ctx, nil)
	if err != nil {
		return report, err
	}
	var errs []error
	for _, m := range months {
		if !m.Before(cutoff.Time) {
			continue
		}
		found, err := s.retain(ctx, m, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("retire the history of %s: %w", m.Format("2006-01"), err))
			continue
		}
		report.Months = append(report.Months, found)
	}
	return report, errors.Join(errs...)
}

// attachedMonths are those that all tables of history have a partition for.
func (s *Store) attachedMonths(ctx context.Context, tx Tx) ([]month, error) {
	var there []string
	err := s.query(ctx, tx, &there, `SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent IN ('events'::regclass, 'attempts'::regclass, 'attempt_results'::regclass) ORDER BY c.relname`)
	if err != nil {
		return nil, fmt.Errorf("list the partitions of the history: %w", err)
	}
	var months []month
	for _, name := range there {
		first, err := time.Parse("events_2006_01", name)
		if err != nil {
			continue
		}
		m := monthOf(first)
		if slices.Contains(there, m.partition("attempts")) && slices.Contains(there, m.partition("attempt_results")) {
			months = append(months, m)
		}
	}
	return months, nil
}

// errRetired: another retention was faster.
var errRetired = errors.New("detached by another retention meanwhile")

// retainTries bounds how often a month is begun anew because one of its
// operations moved, or because its locks were not to be had.
const retainTries = 5

// seal is what of a month goes into its anchor and is read without a lock.
type seal struct {
	Operations, Events, Attempts, Results, Bytes int64
	FirstID, LastID                              *string
	Heads                                        string // hex
	// Versions is the sum of the operations' versions, which rises with whatever
	// happens to one of them.
	Versions string
}

func (s *Store) retain(ctx context.Context, m month, r Retention) (RetainedMonth, error) {
	for try := 1; ; try++ {
		found, sealed, err := s.measure(ctx, m)
		if noSuchTable(err) {
			found.Refused = errRetired.Error()
			return found, nil
		}
		if err != nil || found.Refused != "" || r.DryRun {
			return found, err
		}
		err = s.InTx(ctx, func(ctx context.Context, tx Tx) error { return s.detach(ctx, tx, m, r.Actor, sealed, &found) })
		switch {
		case errors.Is(err, errRetired):
			found.Refused = err.Error()
			return found, nil
		case lockedOut(err) && try == retainTries:
			return found, fmt.Errorf("%w; a long transaction reads the history, a dump perhaps: come again when it has ended", err)
		case (lockedOut(err) || errors.Is(err, ErrStale)) && try < retainTries:
			if err := s.breathe(ctx); err != nil {
				return found, err
			}
			continue
		}
		return found, err
	}
}

func noSuchTable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42P01"
}

// measure reads a month without locking anything: what stands against retiring
// it, and what its anchor has to hold.
func (s *Store) measure(ctx context.Context, m month) (RetainedMonth, seal, error) {
	var row seal
	found := RetainedMonth{Month: m.Format("2006-01"), Detached: []string{}}
	var open []string
	err := s.query(ctx, nil, &open, `SELECT o.kind || ' ' || o.id || ' is ' || o.state FROM operations AS o
			WHERE o.id >= ?0 AND o.id < ?1 AND o.state IN `+live+`
		UNION ALL SELECT w.kind || ' ' || w.operation_id || ' has open work' FROM work AS w
			WHERE w.operation_id >= ?0 AND w.operation_id < ?1
			  AND NOT EXISTS (SELECT 1 FROM operations AS o WHERE o.kind = w.kind AND o.id = w.operation_id AND o.state IN `+live+`)
		ORDER BY 1`, m.from(), m.to())
	if err != nil {
		return found, row, err
	}
	if len(open) > 0 {
		found.Refused, found.Names = fmt.Sprintf("%d operations are open", len(open)), open[:min(len(open), auditNames)]
		return found, row, nil
	}
	if err := s.verifyMonth(ctx, m, &found); err != nil || found.Refused != "" {
		return found, row, err
	}
	err = s.query(ctx, nil, &row, fmt.Sprintf(`SELECT f.operations, f.versions::text AS versions, f.first_id, f.last_id, encode(f.heads, 'hex') AS heads, (SELECT count(*) FROM %[1]s) AS events,
			(SELECT count(*) FROM %[2]s) AS attempts, (SELECT count(*) FROM %[3]s) AS results,
			pg_total_relation_size('%[1]s') + pg_total_relation_size('%[2]s') + pg_total_relation_size('%[3]s') AS bytes
		FROM history_fold(?, ?) AS f`, m.partition("events"), m.partition("attempts"), m.partition("attempt_results")), m.from(), m.to())
	if err != nil {
		return found, row, fmt.Errorf("fold the operations: %w", err)
	}
	found.Operations, found.Events, found.Attempts, found.AttemptResults, found.Bytes = row.Operations, row.Events, row.Attempts, row.Results, row.Bytes
	return found, row, nil
}

// verifyMonth holds the month's history against the invariants that it will no
// longer be there for: an anchor must never seal what was tampered with.
func (s *Store) verifyMonth(ctx context.Context, m month, found *RetainedMonth) error {
	part := map[string]string{
		"tracked":         fmt.Sprintf("(SELECT * FROM operations WHERE id >= '%s' AND id < '%s')", m.from(), m.to()),
		"events":          m.partition("events"),
		"attempts":        m.partition("attempts"),
		"attempt_results": m.partition("attempt_results"),
		"bases":           "(SELECT * FROM history_bases WHERE false)", // nothing of the month is detached
	}
	for _, id := range []string{"I5", "I6", "I8", "I9", "I15"} {
		inv := Invariant{}
		for _, p := range ofInvariant(id).parts {
			if p.reach != byOrder {
				continue
			}
			if err := s.checkPart(ctx, nil, "", auditOf(p.sql, part), &inv); err != nil {
				return fmt.Errorf("check invariant %s: %w", id, err)
			}
		}
		if inv.BrokenCount > 0 {
			found.Refused = fmt.Sprintf("%s is broken %d times: run `capstan audit`", id, inv.BrokenCount)
			found.Names = inv.Broken
			return nil
		}
	}
	return nil
}

// detach anchors a month and takes its partitions out, in the caller's
// transaction. It gives up as stale when an operation of the month moved since
// it was measured.
//
// A step of an operation is written by a statement that locks its history
// first. So whoever moved one before this lock is seen here, and whoever comes
// after it sees the anchor.
func (s *Store) detach(ctx context.Context, tx Tx, m month, actor string, sealed seal, found *RetainedMonth) error {
	found.Detached = []string{}
	if err := s.lockPartitions(ctx, tx); err != nil {
		return err
	}
	there, err := s.attachedMonths(ctx, tx)
	if err != nil {
		return err
	}
	if !slices.Contains(there, m) {
		return errRetired
	}
	if _, err := s.exec(ctx, tx, `LOCK TABLE `+strings.Join(historyTables, ", ")+` IN ACCESS EXCLUSIVE MODE`); err != nil {
		return err
	}
	var same bool
	err = s.query(ctx, tx, &same, fmt.Sprintf(`SELECT count(*) = ?2 AND COALESCE(sum(version), 0) = ?3::numeric AND (SELECT count(*) FROM %s) = ?4
		FROM operations WHERE id >= ?0 AND id < ?1`, m.partition("attempt_results")), m.from(), m.to(), sealed.Operations, sealed.Versions, sealed.Results)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("an operation of %s: %w", found.Month, ErrStale)
	}
	for _, table := range historyTables {
		name := m.partition(table)
		err := s.statements(ctx, tx, fmt.Sprintf(`ALTER TABLE %[1]s DETACH PARTITION %[2]s;
			ALTER TABLE %[2]s SET SCHEMA detached;
			CREATE TRIGGER %[2]s_append BEFORE UPDATE OR DELETE ON detached.%[2]s FOR EACH ROW EXECUTE FUNCTION refuse('history is append-only')`, table, name))
		if err != nil {
			return err
		}
		found.Detached = append(found.Detached, "detached."+name)
	}
	return s.anchor(ctx, tx, m, actor, sealed, found)
}

// anchor writes what stands for a detached month from now on, chained to the
// anchor before it.
func (s *Store) anchor(ctx context.Context, tx Tx, m month, actor string, sealed seal, found *RetainedMonth) error {
	err := s.query(ctx, tx, &found.Anchor, `WITH last AS (
			SELECT number, hash FROM history_anchors ORDER BY number DESC LIMIT 1
		), made AS (
			SELECT ROW(COALESCE((SELECT number FROM last), 0) + 1, ?::date, ?::text[], ?::uuid, ?::uuid, ?::bigint, ?::uuid, ?::uuid, ?::bigint, ?::bigint, ?::bigint,
			           decode(?, 'hex'), ?::text, now(), ''::bytea)::history_anchors AS a
		) INSERT INTO history_anchors (number, month, partitions, from_id, to_id, operations, first_id, last_id, events, attempts, attempt_results, heads, actor, detached_at, hash)
		SELECT (a).number, (a).month, (a).partitions, (a).from_id, (a).to_id, (a).operations, (a).first_id, (a).last_id, (a).events, (a).attempts, (a).attempt_results,
		       (a).heads, (a).actor, (a).detached_at, anchor_hash(COALESCE((SELECT hash FROM last), ''), a) FROM made
		RETURNING encode(hash, 'hex')`,
		m.Format("2006-01-02"), pgdialect.Array(found.Detached), m.from(), m.to(), sealed.Operations, sealed.FirstID, sealed.LastID,
		sealed.Events, sealed.Attempts, sealed.Results, sealed.Heads, actor)
	if err != nil {
		return fmt.Errorf("write the anchor: %w", err)
	}
	return nil
}
