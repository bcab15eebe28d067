package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// historyTables are partitioned by the month of the operation's id, in the
// order in which whoever needs them all locks them.
var historyTables = []string{"events", "attempts", "attempt_results"}

// partitionsAhead is how many months are ready beyond the current one. A store
// that nobody sweeps for longer writes into the default partition: slower to
// retire, and otherwise the same.
const partitionsAhead = 3

// partitionLock keeps two processes from changing partitions at once. It is a
// transaction's advisory lock: poolers share sessions, not transactions.
const partitionLock = 0x63617070 // "capp"

// ddlWait bounds how long a change of partitions waits for a lock, and with it
// how long others queue up behind it. It is below Postgres' deadlock_timeout,
// so that in a deadlock it is never the ledger's own work that is ended.
const ddlWait = 500 * time.Millisecond

// settleLimit bounds how many rows of a default partition a sweep moves to
// where they belong; more are left to [Store.Migrate].
const settleLimit = 50_000

// tendEvery is how often the sweeps of one process look whether a partition is
// missing: there are months of time to notice, and the catalog's answer takes
// longer the more of them there are.
const tendEvery = time.Hour

// Month is a month of history, its first moment in UTC.
type month struct{ time.Time }

func monthOf(t time.Time) month {
	t = t.UTC()
	return month{time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)}
}

func (m month) add(n int) month { return month{m.AddDate(0, n, 0)} }

// from is the smallest UUIDv7 of the month, to that of the next.
func (m month) from() string {
	ms := m.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", ms>>16, ms&0xffff)
}

func (m month) to() string { return m.add(1).from() }

func (m month) partition(table string) string { return table + m.Format("_2006_01") }

// EnsurePartitions makes the partitions of the current month and of the next
// three where they are missing, and returns their names. When none is missing
// it costs one query of the catalog. Several processes may call it at once; it
// waits for a lock only briefly, since the ledger waits behind it.
//
// Rows that reached the default partition meanwhile are copied into their month;
// the old default partition is put aside under the schema "detached", as it
// was: history is never deleted, not even to move it.
func (s *Store) EnsurePartitions(ctx context.Context) ([]string, error) {
	return s.ensurePartitions(ctx, s.db, time.Time{}, settleLimit)
}

// EnsurePartitionsSince is [Store.EnsurePartitions] from an earlier month on: for
// an import of old operations. A month that was detached stays so.
func (s *Store) EnsurePartitionsSince(ctx context.Context, since time.Time) ([]string, error) {
	return s.ensurePartitions(ctx, s.db, since, settleLimit)
}

func (s *Store) ensurePartitions(ctx context.Context, db *bun.DB, since time.Time, limit int64) ([]string, error) {
	now, err := s.Now(ctx, db)
	if err != nil {
		return nil, err
	}
	wanted := monthsOf(since, now)
	if len(wanted) > partitionsAhead+1 {
		if wanted, err = s.neverDetached(ctx, wanted); err != nil {
			return nil, err
		}
	}
	missing, err := s.missingPartitions(ctx, db, wanted)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	err = db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		if err := s.lockPartitions(ctx, tx); err != nil {
			return err
		}
		stray, err := s.strayMonths(ctx, tx, now, limit)
		if err != nil {
			return err
		}
		for _, m := range stray {
			if !slices.Contains(wanted, m) {
				wanted = append(wanted, m)
			}
		}
		if missing, err = s.missingPartitions(ctx, tx, wanted); err != nil {
			return err
		}
		return s.makePartitions(ctx, tx, missing, len(stray) > 0, now)
	})
	if err != nil {
		return nil, fmt.Errorf("make partitions of the history from %s on: %w; rows go to the default partition until `capstan migrate`, as the owner of the tables, makes them",
			wanted[0].Format("2006-01"), err)
	}
	return names(missing), nil
}

// firstPartitions is [Store.EnsurePartitions] as a migration does it: however
// many rows have to be settled, and again while others hold the tables.
func (s *Store) firstPartitions(ctx context.Context, db *bun.DB) error {
	for try := 1; ; try++ {
		_, err := s.ensurePartitions(ctx, db, time.Time{}, 0)
		if !lockedOut(err) || try == migrateTries {
			return err
		}
		if err := s.breathe(ctx); err != nil {
			return err
		}
	}
}

// breathe lets the ledger, which waited behind a lock that was not to be had,
// work for a while before the next try.
func (s *Store) breathe(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(s.tempo.Of(2 * time.Second)):
		return nil
	}
}

// migrateTries bounds how often a migration asks for the locks, [ddlWait] each.
const migrateTries = 20

// tendPartitions is [Store.EnsurePartitions] as the sweep does it: what stands
// in its way is an error only when the next month has no place yet. Until then
// each sweep tries again, and nothing is at risk.
func (s *Store) tendPartitions(ctx context.Context) error {
	if last := s.tended.Load(); last != nil && time.Since(*last) < tendEvery {
		return nil
	}
	_, err := s.EnsurePartitions(ctx)
	if err == nil {
		now := time.Now()
		s.tended.Store(&now)
	}
	if err == nil {
		return nil
	}
	now, nowErr := s.Now(ctx, nil)
	missing, missingErr := s.missingPartitions(ctx, nil, []month{monthOf(now), monthOf(now).add(1)})
	if errors.Join(nowErr, missingErr) == nil && len(missing) == 0 {
		return nil
	}
	return err
}

// monthsOf are the months from the earlier of two times to the last one ahead
// of now; without since, those from now.
func monthsOf(since, now time.Time) []month {
	m := monthOf(now)
	last := m.add(partitionsAhead)
	if !since.IsZero() && since.Before(now) {
		m = monthOf(since)
	}
	var months []month
	for ; !m.After(last.Time); m = m.add(1) {
		months = append(months, m)
	}
	return months
}

func (s *Store) neverDetached(ctx context.Context, months []month) ([]month, error) {
	var gone []string
	if err := s.query(ctx, nil, &gone, `SELECT to_char(month, 'YYYY-MM') FROM history_anchors`); err != nil {
		return nil, fmt.Errorf("list the detached months: %w", err)
	}
	return slices.DeleteFunc(months, func(m month) bool { return slices.Contains(gone, m.Format("2006-01")) }), nil
}

// partition is one month of one table.
type partition struct {
	table string
	month month
}

func (p partition) name() string { return p.month.partition(p.table) }

func names(ps []partition) []string {
	all := make([]string, 0, len(ps))
	for _, p := range ps {
		all = append(all, p.name())
	}
	return all
}

func (s *Store) missingPartitions(ctx context.Context, tx Tx, months []month) ([]partition, error) {
	var wanted []partition
	for _, table := range historyTables {
		for _, m := range months {
			wanted = append(wanted, partition{table, m})
		}
	}
	var there []string
	err := s.query(ctx, tx, &there, `SELECT w.name FROM unnest(?::text[]) AS w (name) JOIN pg_class AS c ON c.oid = to_regclass(w.name) WHERE c.relispartition`,
		pgdialect.Array(names(wanted)))
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return slices.DeleteFunc(wanted, func(p partition) bool { return slices.Contains(there, p.name()) }), nil
}

// lockPartitions takes the lock of whoever changes partitions, until the
// transaction ends.
func (s *Store) lockPartitions(ctx context.Context, tx Tx) error {
	if _, err := s.exec(ctx, tx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, ddlWait.Milliseconds())); err != nil {
		return err
	}
	_, err := s.exec(ctx, tx, `SELECT pg_advisory_xact_lock(?)`, partitionLock)
	return err
}

// lockedOut reports whether a lock was not to be had in time: somebody reads
// or changes the tables for long.
func lockedOut(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03"
}

// strayMonths are the months up to the last one ahead that have rows in a
// default partition and were never detached. limit 0 is none.
func (s *Store) strayMonths(ctx context.Context, tx Tx, now time.Time, limit int64) ([]month, error) {
	var all []month
	for _, table := range historyTables {
		if limit > 0 {
			var n int64
			err := s.query(ctx, tx, &n, fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM %s_default LIMIT ?) AS d`, table), limit+1)
			if err != nil {
				return nil, err
			}
			if n > limit {
				return nil, fmt.Errorf("%s_default holds more than %d rows", table, limit)
			}
		}
		var found []time.Time
		err := s.query(ctx, tx, &found, fmt.Sprintf(`SELECT DISTINCT date_trunc('month', to_timestamp(('x' || left(replace(operation_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
			FROM %s_default AS d WHERE operation_id >= ? AND operation_id < ?
			  AND NOT EXISTS (SELECT 1 FROM history_anchors AS a WHERE a.from_id <= d.operation_id AND d.operation_id < a.to_id)`, table),
			month{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}.from(), monthOf(now).add(partitionsAhead).to())
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if m := monthOf(t); !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// makePartitions makes and attaches partitions; with settle, the rows of the
// default partitions are distributed anew.
func (s *Store) makePartitions(ctx context.Context, tx Tx, ps []partition, settle bool, now time.Time) error {
	aside := now.UTC().Format("_default_20060102_150405")
	if settle {
		for _, table := range historyTables {
			err := s.statements(ctx, tx, fmt.Sprintf(`ALTER TABLE %[1]s DETACH PARTITION %[1]s_default;
				ALTER TABLE %[1]s_default SET SCHEMA detached`, table))
			if err != nil {
				return err
			}
			renames, err := s.renames(ctx, tx, table, aside)
			if err != nil {
				return err
			}
			err = s.statements(ctx, tx, append(renames, fmt.Sprintf(`ALTER TABLE detached.%[1]s_default RENAME TO %[1]s%[2]s`, table, aside),
				partitionDDL(table, table+"_default", "DEFAULT"))...)
			if err != nil {
				return err
			}
		}
	}
	for _, p := range ps {
		bounds := fmt.Sprintf("FOR VALUES FROM ('%s') TO ('%s')", p.month.from(), p.month.to())
		if err := s.statements(ctx, tx, partitionDDL(p.table, p.name(), bounds)); err != nil {
			return err
		}
	}
	if !settle {
		return nil
	}
	for _, table := range historyTables {
		if _, err := s.exec(ctx, tx, fmt.Sprintf(`INSERT INTO %[1]s SELECT * FROM detached.%[1]s%[2]s`, table, aside)); err != nil {
			return err
		}
	}
	return nil
}

// renames are statements that name the indexes of a default partition which was
// put aside after the table they are of from now on: the next one's come to lie
// beside them.
func (s *Store) renames(ctx context.Context, tx Tx, table, aside string) ([]string, error) {
	var indexes []string
	err := s.query(ctx, tx, &indexes, `SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
		WHERE i.indrelid = to_regclass(?) ORDER BY c.relname`, "detached."+table+"_default")
	if err != nil {
		return nil, fmt.Errorf("list the indexes of detached.%s_default: %w", table, err)
	}
	for i, name := range indexes {
		indexes[i] = fmt.Sprintf("ALTER INDEX detached.%s RENAME TO %s", name, strings.Replace(name, "_default", aside, 1))
	}
	return indexes, nil
}

// partitionDDL makes a partition beside its table and then attaches it, which
// keeps nobody from reading and writing the others. Row triggers come with the
// table; TRUNCATE needs one of its own. Rows never change: the first vacuum
// after the inserts freezes them for good.
func partitionDDL(table, name, bounds string) string {
	return fmt.Sprintf(`CREATE TABLE %[2]s (LIKE %[1]s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)
			WITH (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_scale_factor = 0.1);
		CREATE TRIGGER %[2]s_truncate BEFORE TRUNCATE ON %[2]s EXECUTE FUNCTION refuse('history is append-only');
		ALTER TABLE %[1]s ATTACH PARTITION %[2]s %[3]s`, table, name, bounds)
}

// statements runs several statements without arguments, one by one.
func (s *Store) statements(ctx context.Context, tx Tx, scripts ...string) error {
	for _, script := range scripts {
		for statement := range strings.SplitSeq(script, ";") {
			if _, err := s.exec(ctx, tx, statement); err != nil {
				return fmt.Errorf("%s: %w", strings.Join(strings.Fields(statement), " "), err)
			}
		}
	}
	return nil
}
