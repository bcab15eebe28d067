package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/capstan-pay/capstan/models"
)

// one operation of each kind, pending.
func (b bench) oneOfEach(t *testing.T) map[models.Kind]models.Operation {
	t.Helper()
	_, capture := b.approved(t)
	_, succeeded := b.paid(t)
	refund, err := b.refund(succeeded.ID, 500)
	must(t, err)
	void, err := b.void(b.hold(t, b.order(t, 1500).ID, 1500).ID)
	must(t, err)
	return map[models.Kind]models.Operation{models.Capture: capture, models.Refund: refund, models.Void: void}
}

// code is the SQLSTATE of a database's refusal, or "".
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

const (
	guarded = "CP001" // refused by a trigger of ours
	checked = "23514" // refused by a CHECK
)

// rolledBack runs fn in a transaction that is never committed.
func (b bench) rolledBack(t *testing.T, fn func(tx *sql.Tx)) {
	t.Helper()
	tx, err := b.db.BeginTx(context.Background(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	fn(tx)
}

// put brings an operation into a state with every trigger asleep.
func put(t *testing.T, tx *sql.Tx, op models.Operation, s models.State) error {
	t.Helper()
	_, err := tx.Exec(`SET LOCAL session_replication_role = replica`)
	must(t, err)
	_, err = tx.Exec(`UPDATE operations SET state = $1, confirmed_cents = CASE WHEN $1 IN ('succeeded', 'reset', 'reversed') THEN amount_cents END
		WHERE kind = $2 AND id = $3`, s, op.Kind, op.ID)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`SET LOCAL session_replication_role = origin`)
	must(t, err)
	return nil
}

// The database has the same table as models: whoever writes past the program
// meets it as well.
func TestTriggerIsTheTransitionTable(t *testing.T) {
	b := sharedBench(t, onApproval)
	edges := models.Edges()
	for kind, op := range b.oneOfEach(t) {
		for _, from := range models.States {
			for _, to := range models.States {
				b.rolledBack(t, func(tx *sql.Tx) {
					if err := put(t, tx, op, from); err != nil {
						if from != models.Reset || kind == models.Capture || code(err) != checked {
							t.Fatalf("%s in %s: %v", kind, from, err)
						}
						return // only captures are reset, whatever the triggers say
					}
					_, err := tx.Exec(`UPDATE operations SET state = $1, version = version + 1, chain_hash = 'next',
						confirmed_cents = CASE WHEN $1 IN ('succeeded', 'reset', 'reversed') THEN amount_cents END WHERE kind = $2 AND id = $3`, to, kind, op.ID)
					legal := (from == to || edges[[2]models.State{from, to}]) && (to != models.Reset || kind == models.Capture)
					if legal != (err == nil) {
						t.Errorf("%s: %s -> %s: %v, legal %v", kind, from, to, err, legal)
					}
				})
			}
		}
	}
}

func TestGuardsOfAnOperation(t *testing.T) {
	b := sharedBench(t, onApproval)
	ops := b.oneOfEach(t)
	other := b.hold(t, b.order(t, 1500).ID, 1500)
	b.record(t, b.claim(t, ops[models.Capture]), evidence(ops[models.Capture], models.FromAnswer, models.OutcomeLost))
	_, unsent := b.approved(t)
	for _, c := range []struct {
		name string
		op   models.Operation
		set  string
		want string
	}{
		{"state without a version", unsent, "state = 'capturing'", guarded},
		{"state by two versions", unsent, "state = 'capturing', version = version + 2, chain_hash = 'next'", guarded},
		{"state without its hash", unsent, "state = 'capturing', version = version + 1", guarded},
		{"version back", ops[models.Capture], "version = version - 1, chain_hash = 'next'", guarded},
		{"hash alone", unsent, "chain_hash = 'next'", guarded},
		{"another order", unsent, "order_id = '" + other.OrderID + "'", guarded},
		{"another hold", unsent, "authorization_id = '" + other.ID + "'", guarded},
		{"another reference", unsent, "gateway_reference = 'cap_x'", guarded},
		{"another sequence", unsent, "sequence = sequence + 1", guarded},
		{"another currency", unsent, "currency_code = 'USD'", guarded},
		{"another cause", unsent, "cause = 'manual'", guarded},
		{"another kind", unsent, "kind = 'void'", guarded},
		{"another id", unsent, "id = gen_random_uuid()", guarded},
		{"another capture", ops[models.Refund], "capture_id = gen_random_uuid()", guarded},
		{"an older key", unsent, "key_epoch = -1", guarded},
		{"a newer key", unsent, "key_epoch = 1", ""},
		{"a higher amount", unsent, "amount_cents = amount_cents + 1", guarded},
		{"a lower amount", unsent, "amount_cents = amount_cents - 1", ""},
		{"a lower amount of what was sent", ops[models.Capture], "amount_cents = amount_cents - 1", guarded},
		{"no amount", unsent, "amount_cents = 0", checked},
		{"a figure without a success", unsent, "confirmed_cents = 1", checked},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.rolledBack(t, func(tx *sql.Tx) {
				_, err := tx.Exec(`UPDATE operations SET `+c.set+` WHERE id = $1`, c.op.ID)
				if code(err) != c.want || c.want == "" && err != nil {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestBirthIsPending(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.approved(t)
	insert := `INSERT INTO captures (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, cause, sequence, gateway_reference, amount_cents,
			currency_code, order_version, order_total_cents, state, version, chain_hash, confirmed_cents)
		SELECT kind, gen_random_uuid(), mode, number, order_id, authorization_id, payment_gateway_id, 'manual', 2, 'cap_new', amount_cents,
			currency_code, order_version, order_total_cents, $1, $2, 'hash', CASE WHEN $1 IN ('succeeded', 'reset', 'reversed') THEN 1 END
		FROM captures WHERE id = $3`
	for _, s := range models.States {
		for _, version := range []int{0, 1, 2} {
			b.rolledBack(t, func(tx *sql.Tx) {
				_, err := tx.Exec(insert, s, version, op.ID)
				if born := s == models.Pending && version == 1; born != (err == nil) || !born && code(err) != guarded {
					t.Errorf("born %s at version %d: %v", s, version, err)
				}
			})
		}
	}
}

// What happened cannot be unwritten, by statement or by table.
func TestHistoryIsAppendOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ops := b.oneOfEach(t)
	b.record(t, b.claim(t, ops[models.Capture]), evidence(ops[models.Capture], models.FromAnswer, models.OutcomeRefused))
	must(t, b.cancelOrder(ops[models.Capture].OrderID)) // a verdict
	facts := []string{"events", "attempts", "attempt_results", "verdicts"}
	kept := slices.Concat(facts, []string{"operations", "orders", "authorizations"})
	kept = append(kept, column[string](t, b, `SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		JOIN pg_class AS p ON p.oid = i.inhparent WHERE p.relkind = 'p' AND p.relname = ANY ($1)`, kept)...)
	if len(kept) < 13 {
		t.Fatalf("only %v", kept)
	}
	ahead := regexp.MustCompile(`_(default|\d{4}_\d{2})$`) // partitions of history that wait for their month
	for _, table := range kept {
		statements := []string{"DELETE FROM " + table, "TRUNCATE " + table, "TRUNCATE " + table + " CASCADE"}
		if read[int](t, b, `SELECT count(*) FROM `+table) == 0 {
			if !ahead.MatchString(table) {
				t.Errorf("%s is empty: nothing is tried on it", table)
			}
			statements = statements[1:]
		}
		if slices.Contains(facts, table) {
			column := map[string]string{"events": "actor", "attempts": "worker", "attempt_results": "outcome", "verdicts": "actor"}[table]
			statements = append(statements, fmt.Sprintf("UPDATE %s SET %s = 'nobody'", table, column))
		}
		for _, statement := range statements {
			b.rolledBack(t, func(tx *sql.Tx) {
				if _, err := tx.Exec(statement); code(err) != guarded && code(err) != "0A000" { // 0A000: truncated alone, a foreign key forbids it
					t.Errorf("%s: %v", statement, err)
				}
			})
		}
	}
}

func TestCapsAreChecks(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.paid(t)
	for _, statement := range []string{
		`UPDATE authorizations SET requested_cents = amount_cents + 1`,
		`UPDATE authorizations SET requested_cents = -1`,
		`UPDATE captures SET refund_requested_cents = confirmed_cents + 1`,
		`UPDATE captures SET refund_requested_cents = -1`,
		`UPDATE orders SET live_operations = -1`,
	} {
		b.rolledBack(t, func(tx *sql.Tx) {
			if _, err := tx.Exec(statement); code(err) != checked {
				t.Errorf("%s: %v", statement, err)
			}
		})
	}
	// The truth has no upper bound.
	b.rolledBack(t, func(tx *sql.Tx) {
		_, err := tx.Exec(`UPDATE authorizations SET confirmed_cents = amount_cents + 1 WHERE id = $1`, op.AuthorizationID)
		must(t, err)
	})
	b.rolledBack(t, func(tx *sql.Tx) {
		if _, err := tx.Exec(`UPDATE orders SET payment_status = 'paid'`); code(err) != "428C9" {
			t.Errorf("the payment status was set by hand: %v", err)
		}
	})
}

// The generated column is models.Sums.PaymentStatus, over a whole grid at once.
func TestPaymentStatusInBothWorlds(t *testing.T) {
	b := sharedBench(t, onApproval)
	formula := read[string](t, b, `SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef AS d JOIN pg_attribute AS a ON (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
		WHERE a.attrelid = 'orders'::regclass AND a.attname = 'payment_status'`)
	rows, err := b.db.Query(`WITH cents (c) AS (VALUES (0::bigint), (1), (1499), (1500), (1501))
		SELECT total_amount_cents, held_cents, voided_cents, captured_cents, refunded_cents, reset_cents, status, ` + formula + `
		FROM cents AS a (total_amount_cents), cents AS b (held_cents), cents AS c (voided_cents), cents AS d (captured_cents),
		     cents AS e (refunded_cents), cents AS f (reset_cents), unnest('{pending,placed,editing,approved,cancelled}'::text[]) AS status`)
	must(t, err)
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var s models.Sums
		var status models.OrderStatus
		var got models.PaymentStatus
		must(t, rows.Scan(&s.Total, &s.Held, &s.Voided, &s.Captured, &s.Refunded, &s.Reset, &status, &got))
		if want := s.PaymentStatus(status); got != want {
			t.Fatalf("%+v, %s: the database says %s, models %s", s, status, got, want)
		}
	}
	must(t, rows.Err())
	if n != 5*5*5*5*5*5*5 {
		t.Errorf("%d cases", n)
	}
}
