package store_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/store"
)

// anchor anchors at most so many days and returns what was written.
func (b bench) anchor(t *testing.T, days int) []store.DailyAnchor {
	t.Helper()
	var made []store.DailyAnchor
	must(t, b.AnchorDays(context.Background(), days, func(a store.DailyAnchor) { made = append(made, a) }))
	return made
}

// Every day that ended and had a step is anchored once, oldest first, today is
// not, and neither detaching a month nor moving its rows breaks an anchor.
func TestAnchorDays(t *testing.T) {
	b := aged(t)
	today := read[string](t, b, `SELECT (now() AT TIME ZONE 'UTC' - interval '1 hour')::date::text`)
	days := read[int](t, b, `SELECT count(DISTINCT (occurred_at AT TIME ZONE 'UTC')::date) FROM events WHERE occurred_at < $1::date`, today)
	steps := read[int64](t, b, `SELECT (SELECT count(*) FROM events WHERE occurred_at < $1::date) + (SELECT count(*) FROM attempts WHERE claimed_at < $1::date)`, today)

	first := b.anchor(t, 10)
	if len(first) != 10 || first[0].Number != 1 || len(first[0].Hash) != 64 || first[0].Day >= first[9].Day || !strings.HasPrefix(first[0].Day, first[0].Month) {
		t.Fatalf("%+v", first)
	}
	var wg sync.WaitGroup // several at once write each once
	for range 3 {
		wg.Go(func() { b.anchor(t, 1000) })
	}
	wg.Wait()
	if made := b.anchor(t, 1000); len(made) != 0 {
		t.Errorf("again: %+v", made)
	}
	if n := read[int](t, b, `SELECT count(DISTINCT day) FROM daily_anchors`); n != days {
		t.Errorf("%d days, want %d", n, days)
	}
	if n := read[int64](t, b, `SELECT sum(steps) FROM daily_anchors`); n != steps {
		t.Errorf("%d steps, want %d", n, steps)
	}
	b.audited(t)

	b.retain(t)
	b.audited(t)
	last, err := b.DailyAnchors(t.Context(), 1)
	must(t, err)
	if last[0].Day >= today || last[0].Number != int64(days) {
		t.Errorf("the last is %+v", last[0])
	}
	// What happens to an operation of a detached month is anchored with its day.
	op := b.detachedOne(t)
	_, err = b.Apply(t.Context(), takenBack(op))
	must(t, err)
	if made := b.anchor(t, 1000); len(made) != 0 {
		t.Errorf("today: %+v", made)
	}
	for _, table := range []string{"UPDATE daily_anchors SET steps = 1", "DELETE FROM daily_anchors", "TRUNCATE daily_anchors"} {
		if _, err := b.db.Exec(table); code(err) != guarded {
			t.Errorf("%s: %v", table, err)
		}
	}
	if n := read[int](t, b, `SELECT count(*) FROM daily_folds((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date + 1) AS f WHERE f.month = history_month($1)`, op.ID); n != 1 {
		t.Errorf("today folds the detached month %d times", n)
	}
}

// Rows that wait in the default partition count to their month, before they
// are moved there and after.
func TestAnchorsSurviveSettling(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, load(t.Context(), b.url, 60, 2))
	made := b.anchor(t, 1000)
	if len(made) < 30 {
		t.Fatalf("%d days", len(made))
	}
	b.audited(t)
	for range 2 { // the second time finds the names of the first taken
		b.exec(t, `INSERT INTO events SELECT operation_id, 99, event, from_state, to_state, actor, reason, amount_cents, currency_code, gateway_transaction_id, evidence, now(), hash FROM events LIMIT 0`)
		_, err := b.EnsurePartitionsSince(t.Context(), time.Now().AddDate(0, -3, 0))
		must(t, err)
	}
	if n := read[int](t, b, `SELECT count(*) FROM events_default`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	b.audited(t)
	if n := read[int](t, b, `SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%brin%' AND schemaname = 'public' AND tablename LIKE 'events_%'`); n < 6 {
		t.Errorf("%d partitions have their index of times", n)
	}
}

// A transaction that is open may still write a step of the day it began on.
func TestAnchorsWaitForOpenTransactions(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	tx, err := b.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	began := time.Time{}
	must(t, tx.QueryRow(`SELECT now()`).Scan(&began))
	oldest, err := b.OldestTransaction(t.Context())
	must(t, err)
	if oldest.After(began) {
		t.Errorf("the oldest began at %s, one is open since %s", oldest, began)
	}
	// Without the right to see when it began, it is waited for.
	b.exec(t, `DO $$ BEGIN CREATE ROLE anchor_nobody; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	b.rolledBack(t, func(me *sql.Tx) {
		_, err := me.Exec(`SET LOCAL ROLE anchor_nobody`)
		must(t, err)
		hidden, err := b.HiddenTransactions(t.Context(), me)
		must(t, err)
		if len(hidden) == 0 {
			t.Error("an open transaction goes unseen")
		}
	})
	must(t, tx.Rollback())
}
