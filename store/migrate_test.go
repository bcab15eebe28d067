package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// empty is a bench on a database without a schema.
func empty(t *testing.T) bench {
	t.Helper()
	url := devstacktest.NewDatabase(t, nil)
	return bench{shop: shop{Store: openAt(t, url, models.Tempo{})}, url: url, db: openSQL(t, url)}
}

func (b bench) tables(t *testing.T) []string {
	t.Helper()
	return column[string](t, b, `SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
		AND relname NOT LIKE 'bun_%' ORDER BY 1`)
}

func (b bench) marked(t *testing.T) int {
	t.Helper()
	return read[int](t, b, `SELECT count(*) FROM bun_migrations`)
}

func TestMigrateTwice(t *testing.T) {
	b := empty(t)
	if _, err := b.Pending(t.Context()); err == nil {
		t.Error("an empty database is said to know its migrations")
	}
	first, err := b.Migrate(t.Context())
	must(t, err)
	if len(first) == 0 || len(b.tables(t)) == 0 {
		t.Fatalf("applied %v, made %v", first, b.tables(t))
	}
	again, err := b.Migrate(t.Context())
	must(t, err)
	pending, err := b.Pending(t.Context())
	must(t, err)
	if len(again) != 0 || pending != 0 || b.marked(t) != len(first) {
		t.Errorf("again applied %v, %d pending, %d marked", again, pending, b.marked(t))
	}
	if locks := read[int](t, b, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`); locks != 0 {
		t.Errorf("%d advisory locks are left", locks)
	}
}

// Four processes start at once on an empty database: one migrates.
func TestMigrateAtOnce(t *testing.T) {
	b := empty(t)
	applied := make([][]string, 4)
	var wg sync.WaitGroup
	for i := range applied {
		s := openAt(t, b.url, models.Tempo{})
		wg.Go(func() {
			var err error
			if applied[i], err = s.Migrate(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	total := 0
	for _, names := range applied {
		total += len(names)
	}
	if total != b.marked(t) {
		t.Errorf("%v applied, %d marked", applied, b.marked(t))
	}
}

// A process with a single connection can migrate.
func TestMigrateOverOneConnection(t *testing.T) {
	b := empty(t)
	s, err := store.Open(t.Context(), b.url, store.Options{MaxConns: 1})
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
}

// What stands in the way of a step leaves nothing of it behind, and the step
// is done once the way is free.
func TestFailedMigrationLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name, obstacle, removal string
		steps                   int
	}{
		{"in the first step", "CREATE TABLE verdicts (x int)", "DROP TABLE verdicts", 0},
		{"in the second step", "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'", "DROP FUNCTION refuse", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := empty(t)
			b.exec(t, c.obstacle)
			before := b.tables(t)
			if done, err := b.Migrate(t.Context()); err == nil {
				t.Fatalf("migrated %v over an obstacle", done)
			}
			if got := b.marked(t); got != c.steps {
				t.Errorf("%d steps are marked, want %d", got, c.steps)
			}
			if c.steps == 0 {
				if diff := cmp.Diff(before, b.tables(t)); diff != "" {
					t.Errorf("tables of the failed step (-before +after):\n%s", diff)
				}
			}
			if n := read[int](t, b, `SELECT count(*) FROM pg_proc WHERE proname = 'step_hash'`); n != 0 {
				t.Error("a function of the failed step is left")
			}
			b.exec(t, c.removal)
			_, err := b.Migrate(t.Context())
			must(t, err)
			pending, err := b.Pending(t.Context())
			must(t, err)
			if pending != 0 {
				t.Errorf("%d pending", pending)
			}
		})
	}
}
