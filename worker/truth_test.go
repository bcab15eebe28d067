package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func (w *world) reread(t testing.TB, p purchase) models.Operation {
	t.Helper()
	return w.operation(t, p.op.Kind, p.op.ID)
}

func (w *world) operation(t testing.TB, kind models.Kind, id string) models.Operation {
	t.Helper()
	op, err := w.store.Operation(context.WithoutCancel(t.Context()), models.Test, kind, id)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func (w *world) orderNow(t testing.TB, p purchase) models.Order {
	t.Helper()
	o, err := w.store.Order(t.Context(), models.Test, p.orderID)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (w *world) operations(t testing.TB, kind models.Kind, p purchase) []models.Operation {
	t.Helper()
	ops, _, err := w.store.Operations(t.Context(), kind, store.Filter{Mode: models.Test, OrderID: p.orderID}, store.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// verdicts lists the verdicts about an operation, oldest first.
func (w *world) verdicts(t testing.TB, id string) []models.Verdict {
	t.Helper()
	rows, _, err := w.store.FindVerdicts(t.Context(), store.VerdictFilter{Mode: models.Test, OperationID: id}, store.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	var out []models.Verdict
	for _, row := range rows {
		out = append(out, row.Verdict)
	}
	return out
}

// settle waits until no operation is open, and nothing is on its way at the gateway.
func (w *world) settle(t testing.TB) {
	t.Helper()
	eventually(t, "no operation is open", func() (bool, any) {
		open, err := w.open(t)
		return err == nil && open == "", []any{open, err}
	})
}

// reaches waits until an operation is in a state, and returns it.
func (w *world) reaches(t testing.TB, p purchase, want ...models.State) models.Operation {
	t.Helper()
	var op models.Operation
	eventually(t, "the operation reaches its state", func() (bool, any) {
		op = w.reread(t, p)
		for _, s := range want {
			if op.State == s {
				return true, nil
			}
		}
		return false, op
	})
	return op
}

// truth is what the gateway's own book must say about a hold.
type truth struct {
	captured, refunded, voided int64 // 0: none of it was ever booked
	currency                   string
}

// check asks the gateway's own book about a purchase, whatever our ledger
// believes: each booked at most once, the right amounts, nothing refused at
// booking time, every request preceded by its attempt. Then it audits the ledger.
func (w *world) check(t testing.TB, p purchase, want truth) {
	t.Helper()
	w.checkBook(t, p, want)
	w.audit(t)
}

func (w *world) checkBooked(t testing.TB, what string, got []sandbox.Booking, cents int64, currency string) {
	t.Helper()
	switch {
	case cents == 0 && len(got) == 0:
	case cents == 0 || len(got) != 1:
		t.Errorf("%s booked: %+v, want %d cents once", what, got, cents)
	case got[0].Amount != cents || got[0].Currency != currency:
		t.Errorf("%s booked: %d %s, want %d %s", what, got[0].Amount, got[0].Currency, cents, currency)
	}
}

// checkAttempts: every call that the gateway saw has an attempt with that key,
// committed before it arrived.
func (w *world) checkAttempts(t testing.TB, p purchase, b sandbox.Snapshot) {
	t.Helper()
	claimed := map[string]time.Time{}
	rows, err := w.db.QueryContext(t.Context(), `SELECT a.idempotency_key, min(a.claimed_at) FROM attempts AS a
		JOIN operations AS o ON o.id = a.operation_id WHERE a.call = 'send' AND o.order_id = $1 GROUP BY 1`, p.orderID)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var at time.Time
		if err := rows.Scan(&key, &at); err != nil {
			t.Fatal(err)
		}
		claimed[key] = at
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.Requests {
		if r.Key == "" || (r.Call != "capture" && r.Call != "refund" && r.Call != "cancel") {
			continue
		}
		at, ok := claimed[r.Key]
		if !ok || at.After(r.At) {
			t.Errorf("request %+v has no attempt before it (first %v)", r, at)
		}
	}
}

// audit checks every invariant that the ledger alone can show.
func (w *world) audit(t testing.TB) {
	t.Helper()
	found, err := w.store.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range found {
		if i.BrokenCount != 0 {
			t.Errorf("invariant %s is broken (%s): %v", i.ID, i.Rule, i.Broken)
		}
	}
}

// claims counts an operation's claims by what they were for.
func (w *world) claims(t testing.TB, id string) (sends, looks int) {
	t.Helper()
	return w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'send'`, id),
		w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'look_up'`, id)
}

// refused unwraps the rule that said no.
func refused(err error) (*store.Refusal, bool) {
	var r *store.Refusal
	return r, errors.As(err, &r)
}

// count runs a query that answers one number.
func (w *world) count(t testing.TB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := w.db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// exec changes the ledger behind the program's back, to save hours.
func (w *world) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := w.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
