package enqueuer_test

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// TestApproveMany in a transaction of the shop's, and without one: each order
// has its own answer, and what was made is published once.
func TestApproveMany(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	first, _ := s.held(t)
	second, _ := s.held(t)
	third, _ := s.held(t)
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.captures.ApproveMany(t.Context(), tx, models.Test, []string{first, store.NewID(), second, first}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO parcels VALUES ($1)`, first); err != nil {
		t.Errorf("the shop cannot go on after a refusal: %v", err)
	}
	if approved, unchanged, refused := a.Counts(); approved != 2 || unchanged != 0 || refused != 1 || !errors.Is(a.Each[1].Err, store.ErrNotFound) {
		t.Errorf("%d approved, %d unchanged, %d refused: %+v", approved, unchanged, refused, a.Each)
	}
	if a.Each[3].OrderID != first || a.Each[3].Operations[0].ID != a.Each[0].Operations[0].ID {
		t.Errorf("the order that came twice is answered in two ways: %+v and %+v", a.Each[0], a.Each[3])
	}
	if n := s.count(t, `SELECT count(*) FROM captures`); n != 0 {
		t.Errorf("%d captures before the commit", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := s.queued(t, tasks.Captures); len(got) != 0 {
		t.Errorf("queued before Publish: %v", got)
	}
	if err := a.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.queued(t, tasks.Captures); len(got) != 2 {
		t.Errorf("queued: %v, want two tasks", got)
	}
	now, err := s.captures.ApproveNow(t.Context(), models.Test, []string{first, third}, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if approved, unchanged, refused := now.Counts(); approved != 1 || unchanged != 1 || refused != 0 {
		t.Errorf("%d approved, %d unchanged, %d refused", approved, unchanged, refused)
	}
	if got := s.queued(t, tasks.Captures); len(got) != 3 {
		t.Errorf("queued: %v, want a third task at once", got)
	}
}

// TestSerializableBulk: in a transaction that others overtook, an approval is an
// error to come again with, and never half of one.
func TestSerializableBulk(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	order, _ := s.held(t)
	tx, err := s.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT count(*) FROM parcels`); err != nil { // from here on it sees this moment
		t.Fatal(err)
	}
	if _, err := s.captures.ApproveNow(t.Context(), models.Test, []string{order}, "another"); err != nil {
		t.Fatal(err)
	}
	if a, err := s.captures.ApproveMany(t.Context(), tx, models.Test, []string{order}, "shop"); err == nil {
		t.Errorf("approved what another had approved: %+v", a.Each)
	}
	if n := s.count(t, `SELECT count(*) FROM captures`); n != 1 {
		t.Errorf("%d captures, want the other's one", n)
	}
}
