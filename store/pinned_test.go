package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/store"
)

// TestPlansOfBatches: whatever the tables held when a plan was made, a batch
// reads by index, and nothing in it costs the square of its size.
func TestPlansOfBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	statements := b.BatchStatements()
	check := func(ledger string) {
		for name, statement := range statements {
			plan := b.plan(t, statement)
			for _, bad := range []string{
				"Hash Join", "Merge Join", "Seq Scan on orders", "Seq Scan on authorizations", "Seq Scan on captures", "Seq Scan on refunds", "Seq Scan on voids",
				"Seq Scan on operations", "Seq Scan on work", "Seq Scan on events", "Seq Scan on attempts",
			} {
				if strings.Contains(plan, bad) {
					t.Errorf("%s on %s has a %s:\n%s", name, ledger, bad, plan)
				}
			}
		}
	}
	check("an empty ledger")
	must(t, fill(t.Context(), b.Store, b.url, 4000, 1))
	for range 3 {
		b.approved(t)
	}
	b.exec(t, `ANALYZE`)
	check("a ledger of some thousand captures")
}

// TestPlanOfSweep: a sweep goes from open work to the operations, even by a plan
// that was made while the ledger was known to be empty. The other way round it
// would read an index of all operations from end to end once there are some.
func TestPlanOfSweep(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	b.exec(t, `ANALYZE`)
	plan := b.plan(t, b.BatchStatements()["publish overdue work again"])
	lines := strings.Split(plan, "\n")
	for i, line := range lines {
		if strings.Contains(line, "Scan using captures") && !strings.Contains(lines[i+1], "(id = ") {
			t.Errorf("the sweep does not look captures up by their id:\n%s", plan)
		}
	}
}

// plan is how Postgres carries a statement out on a connection of batches.
func (b bench) plan(t *testing.T, statement string) string {
	t.Helper()
	conn, err := b.db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	for name, value := range store.PlanSettings() {
		_, err := conn.ExecContext(t.Context(), `SELECT set_config($1, $2, false)`, name, value)
		must(t, err)
	}
	defer conn.ExecContext(t.Context(), `RESET ALL`)
	arguments := 0
	for strings.Contains(statement, fmt.Sprintf("$%d", arguments+1)) {
		arguments++
	}
	_, err = conn.ExecContext(t.Context(), `PREPARE batch AS `+statement)
	must(t, err)
	defer conn.ExecContext(t.Context(), `DEALLOCATE batch`)
	rows, err := conn.QueryContext(t.Context(), `EXPLAIN EXECUTE batch (`+strings.TrimSuffix(strings.Repeat("NULL, ", arguments), ", ")+`)`)
	must(t, err)
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		must(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	must(t, rows.Err())
	return plan.String()
}
