package store_test

import (
	"context"
	"database/sql"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// fill makes n finished captures, spread over the months before this one, with
// their partitions.
func fill(ctx context.Context, s *store.Store, url string, n, months int) error {
	if _, err := s.EnsurePartitionsSince(ctx, time.Now().AddDate(0, -months, 0)); err != nil {
		return err
	}
	return load(ctx, url, n, months)
}

// load is fill without the partitions.
func load(ctx context.Context, url string, n, months int) error {
	script, err := os.ReadFile("../cmd/capstan/bench_ledger.sql")
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, string(script)); err != nil {
		return err
	}
	const chunk = 250_000
	for first := 1; first <= n; first += chunk {
		if _, err = conn.Exec(ctx, `SELECT pg_temp.bench_ledger($1, $2, $3, $4)`, first, min(n, first+chunk-1), n, months); err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, `ANALYZE`)
	return err
}

func (b bench) partitions(t *testing.T, table string) []string {
	t.Helper()
	return column[string](t, b, `SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass ORDER BY 1`, table)
}

// months names the partitions of a table from the month now+from to now+to.
func months(table string, from, to int) []string {
	now := time.Now().UTC()
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, table+time.Date(now.Year(), now.Month()+time.Month(i), 1, 0, 0, 0, 0, time.UTC).Format("_2006_01"))
	}
	return all
}

var history = []string{"events", "attempts", "attempt_results"}

func TestPartitionsOfThisMonthAndThreeMore(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for _, table := range history {
		if diff := cmp.Diff(append(months(table, 0, 3), table+"_default"), b.partitions(t, table)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", table, diff)
		}
	}
	made, err := b.EnsurePartitions(t.Context())
	must(t, err)
	if len(made) != 0 {
		t.Errorf("made again: %v", made)
	}
	b.paid(t)
	for _, table := range history {
		if n := read[int](t, b, `SELECT count(*) FROM `+table+`_default`); n != 0 {
			t.Errorf("%s_default has %d rows", table, n)
		}
		if n := read[int](t, b, `SELECT count(*) FROM `+months(table, 0, 0)[0]); n == 0 {
			t.Errorf("this month's %s are not in their partition", table)
		}
	}
	b.verify(t)
	b.audited(t)
}

// The bounds are the ids' own: nothing of a month is outside its partition.
func TestBoundsOfAMonth(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	bounds := column[string](t, b, `SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_class AS c WHERE c.relname = ANY ($1) ORDER BY c.relname`, months("events", 0, 3))
	next := ""
	for i, bound := range bounds {
		parts := strings.Split(bound, "'")
		if len(parts) != 5 || next != "" && parts[1] != next {
			t.Errorf("%s begins where the one before ends not (%s)", bound, next)
		}
		next = parts[3]
		first, err := time.Parse("events_2006_01", months("events", i, i)[0])
		must(t, err)
		for at, inside := range map[time.Time]bool{first.Add(-time.Millisecond): false, first: true, first.AddDate(0, 1, 0).Add(-time.Millisecond): true, first.AddDate(0, 1, 0): false} {
			for _, tail := range []string{"-7000-8000-000000000000", "-7fff-bfff-ffffffffffff"} {
				ms := at.UnixMilli()
				id := strings.ToLower(strings.Join([]string{hex(ms>>16, 8), hex(ms&0xffff, 4)}, "-")) + tail
				if got := id >= parts[1] && id < parts[3]; got != inside {
					t.Errorf("%s of %s in %s: %v", id, at, bound, got)
				}
			}
		}
	}
	if len(bounds) != 4 {
		t.Errorf("%d partitions", len(bounds))
	}
}

func hex(v int64, digits int) string {
	s := ""
	for range digits {
		s = string("0123456789abcdef"[v&15]) + s
		v >>= 4
	}
	return s
}

// gone takes partitions away, as if the months ahead had never been made.
func (b bench) gone(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		b.exec(t, `DROP TABLE `+name)
	}
}

// Four processes find partitions missing at once, while the ledger is at work.
func TestPartitionsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for _, table := range history {
		b.gone(t, months(table, 1, 3)...)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := b.EnsurePartitions(context.Background()); err != nil && !strings.Contains(err.Error(), "lock timeout") {
				t.Error(err)
			}
		})
	}
	for range 4 {
		b.paid(t)
	}
	wg.Wait()
	_, err := b.EnsurePartitions(t.Context())
	must(t, err)
	for _, table := range history {
		if diff := cmp.Diff(append(months(table, 0, 3), table+"_default"), b.partitions(t, table)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", table, diff)
		}
	}
	b.verify(t)
}

// The sweep makes what is missing, and does not fail as long as next month is there.
func TestSweepMakesPartitions(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	sweep := store.Sweep{Owner: "sweeper", Source: "test", Now: time.Now()}
	b.gone(t, months("attempts", 2, 3)...)
	b.sweep(t)
	if got := b.partitions(t, "attempts"); len(got) != 5 {
		t.Errorf("%v", got)
	}
	b.gone(t, months("attempts", 3, 3)...)
	b.sweep(t)
	if got := b.partitions(t, "attempts"); len(got) != 4 {
		t.Errorf("%v: a sweep that looked a moment ago looked again", got)
	}
	anew := func() { b.Store = openAt(t, b.url, models.Tempo{}) } // another process, or this one an hour later
	anew()
	b.gone(t, months("attempts", 1, 2)...)
	b.exec(t, `CREATE TABLE `+months("attempts", 3, 3)[0]+` (x int)`) // stands in the way
	if _, err := b.RunSweep(t.Context(), sweep); err == nil || !strings.Contains(err.Error(), "capstan migrate") {
		t.Errorf("without a place for next month: %v", err)
	}
	b.exec(t, `DROP TABLE `+months("attempts", 3, 3)[0])
	b.sweep(t)
	anew()
	b.gone(t, months("attempts", 3, 3)...)
	b.exec(t, `CREATE TABLE `+months("attempts", 3, 3)[0]+` (x int)`)
	b.sweep(t)
}

// What was written before there were partitions, or while none could be made,
// comes to its month. Nothing is deleted for it: the old default is put aside.
func TestRowsInTheDefaultPartition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		migrate bool
	}{{"at a migration", true}, {"by a sweep", false}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, onApproval)
			for _, table := range history {
				b.gone(t, months(table, 0, 3)...)
			}
			must(t, load(t.Context(), b.url, 300, 3))
			_, op := b.paid(t)
			b.approved(t)
			// From the future, and no time at all: they stay where they are.
			b.exec(t, `INSERT INTO attempt_results (operation_id, version, outcome) VALUES ('ffffffff-ffff-7fff-bfff-ffffffffffff', 1, 'confirmed'), ('00000000-0000-7000-8000-000000000000', 1, 'confirmed')`)
			before := map[string]int{}
			for _, table := range history {
				before[table] = read[int](t, b, `SELECT count(*) FROM `+table)
			}
			if c.migrate {
				_, err := b.Migrate(t.Context())
				must(t, err)
			} else {
				made, err := b.EnsurePartitions(t.Context())
				must(t, err)
				if len(made) != 7*3 {
					t.Errorf("made %v", made)
				}
			}
			for _, table := range history {
				if diff := cmp.Diff(append(months(table, -3, 3), table+"_default"), b.partitions(t, table)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", table, diff)
				}
				left := map[string]int{"attempt_results": 2}[table]
				if n := read[int](t, b, `SELECT count(*) FROM `+table+`_default`); n != left {
					t.Errorf("%d rows left in %s_default", n, table)
				}
				if n := read[int](t, b, `SELECT count(*) FROM `+table); n != before[table] {
					t.Errorf("%d of %d rows of %s", n, before[table], table)
				}
			}
			aside := column[string](t, b, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'detached'`)
			if len(aside) != 3 {
				t.Errorf("put aside: %v", aside)
			}
			again, err := b.EnsurePartitions(t.Context())
			must(t, err)
			if len(again) != 0 {
				t.Errorf("again: %v", again)
			}
			if h, err := b.History(t.Context(), op.ID); err != nil || len(h) != 3 {
				t.Errorf("%d steps, %v", len(h), err)
			}
			b.exec(t, `SET session_replication_role = replica; DELETE FROM attempt_results WHERE operation_id::text ~ '^(ffff|0000)'`)
			b.verify(t)
			b.audited(t)
		})
	}
}

// Insert-only holds on every partition, however it came to be.
func TestNewPartitionsAreAppendOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, fill(t.Context(), b.Store, b.url, 24, 2))
	for _, table := range history {
		for _, name := range months(table, -2, -1) {
			for _, statement := range []string{"DELETE FROM " + name, "UPDATE " + name + " SET version = version", "TRUNCATE " + name, "TRUNCATE " + table} {
				b.rolledBack(t, func(tx *sql.Tx) {
					if _, err := tx.Exec(statement); code(err) != guarded {
						t.Errorf("%s: %v", statement, err)
					}
				})
			}
		}
	}
}

// Somebody reads the history for long, a dump: nobody waits for partitions longer than a moment.
func TestPartitionsDoNotWait(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	b.gone(t, slices.Concat(months("events", 1, 3))...)
	tx, err := b.db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.Exec(`SELECT count(*) FROM events`) // ACCESS SHARE on all of them
	must(t, err)
	if _, err := b.EnsurePartitions(t.Context()); err == nil || !strings.Contains(err.Error(), "lock timeout") {
		t.Errorf("beside a reader of all: %v", err)
	}
	b.paid(t)
	must(t, tx.Rollback())
	made, err := b.EnsurePartitions(t.Context())
	must(t, err)
	if diff := cmp.Diff(months("events", 1, 3), made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}
