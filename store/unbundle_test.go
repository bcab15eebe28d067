package store_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/capstan-pay/capstan/store"
)

type workRow struct {
	Generation int
	Alone      bool
	Published  bool
}

func (b bench) workOf(t *testing.T, id string) (w workRow, open bool) {
	t.Helper()
	err := b.db.QueryRow(`SELECT generation, alone, published_at IS NOT NULL FROM work WHERE operation_id = $1`, id).Scan(&w.Generation, &w.Alone, &w.Published)
	if errors.Is(err, sql.ErrNoRows) {
		return w, false
	}
	must(t, err)
	return w, true
}

// TestUnbundle: what is open goes on as a task of its own, once, however often
// it is asked for; what has ended, or went on alone before, is left as it is.
func TestUnbundle(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, pending := b.approved(t)
	_, under := b.approved(t)
	_, alone := b.approved(t)
	_, ended := b.approved(t)
	b.publish(t)
	b.record(t, b.claim(t, ended), confirmed(ended))
	must(t, b.Hint(t.Context(), nil, b.reread(t, alone), "test", "look"))
	b.publish(t)
	claim := b.claim(t, under)
	all := []string{pending.ID, under.ID, alone.ID, ended.ID, store.NewID(), "x"}
	for range 2 {
		must(t, b.Unbundle(t.Context(), all))
		for id, want := range map[string]workRow{
			pending.ID: {Generation: 2, Alone: true}, under.ID: {Generation: 2, Alone: true}, alone.ID: {Generation: 2, Alone: true, Published: true},
		} {
			if got, open := b.workOf(t, id); !open || got != want {
				t.Errorf("%s: %+v, open %t, want %+v", id, got, open, want)
			}
		}
		if got, open := b.workOf(t, ended.ID); open {
			t.Errorf("it had ended and is %+v", got)
		}
	}
	must(t, b.Unbundle(t.Context(), nil))
	// Whoever holds it goes on under its fence.
	b.record(t, claim, confirmed(under))
	b.publish(t)
	must(t, b.Unbundle(t.Context(), all))
	if got, _ := b.workOf(t, pending.ID); got != (workRow{Generation: 2, Alone: true, Published: true}) {
		t.Errorf("asked for again after it was published: %+v", got)
	}
	b.right(t)
}

// TestUnbundleInOppositeOrders: two deliveries of overlapping batches do not
// wait for each other in a circle.
func TestUnbundleInOppositeOrders(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	var ids []string
	for range 9 {
		_, op := b.approved(t)
		ids = append(ids, op.ID)
	}
	slices.Sort(ids)
	back := slices.Clone(ids)
	slices.Reverse(back)
	b.exec(t, `ANALYZE`)
	tx, err := b.db.Begin()
	must(t, err)
	defer tx.Rollback()
	_, err = tx.Exec(`UPDATE work SET due_at = due_at WHERE operation_id = $1`, ids[4])
	must(t, err)
	done := make(chan error, 2)
	go func() { done <- b.Unbundle(context.Background(), ids) }()
	b.stuck(t, 1)
	go func() { done <- b.Unbundle(context.Background(), back) }()
	b.stuck(t, 2)
	must(t, tx.Commit())
	must(t, errors.Join(<-done, <-done))
	for _, id := range ids {
		if got, _ := b.workOf(t, id); got != (workRow{Generation: 2, Alone: true}) {
			t.Errorf("%+v", got)
		}
	}
	if n := read[int](t, b, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n != 0 {
		t.Errorf("%d deadlocks", n)
	}
}
