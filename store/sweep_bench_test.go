package store_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

var (
	ledgerSize = flag.Int("ledger", 50_000, "finished captures of the large ledger in BenchmarkSweep")
	stuckSize  = flag.Int("stuck", 1000, "stuck captures of both ledgers in BenchmarkSweep/stuck")
)

// emptyAndLarge are an empty ledger, and one with -ledger finished captures of
// twelve months.
func emptyAndLarge(b *testing.B) [2]bench {
	b.Helper()
	var ledgers [2]bench
	for i, n := range []int{0, *ledgerSize} {
		url := devstacktest.NewDatabase(b, nil)
		s, err := store.Open(b.Context(), url, store.Options{Tempo: models.Tempo{}, StatementTimeout: time.Hour})
		must(b, err)
		b.Cleanup(func() { _ = s.Close() })
		_, err = s.Migrate(b.Context())
		must(b, err)
		must(b, fill(b.Context(), s, url, n, 12))
		ledgers[i] = bench{shop: newShop(b, s, onApproval), url: url, db: openSQL(b, url)}
	}
	return ledgers
}

// BenchmarkSweep sweeps an empty ledger and one with -ledger finished captures in
// turn, with nothing open in either and then with -stuck captures that are stuck
// in both, and reports the medians and their ratio. What follows open work keeps
// the ratio at 1 whatever -ledger says. The plans of both are printed.
func BenchmarkSweep(b *testing.B) {
	ledgers := emptyAndLarge(b)
	for i := range ledgers {
		// Each of their holds is looked at once more when it would have ended.
		ledgers[i].exec(b, `INSERT INTO order_checks (order_id, due_at) SELECT id, now() + interval '3 days' FROM orders`)
		ledgers[i].exec(b, `ANALYZE order_checks`)
	}
	b.Run("nothing", func(b *testing.B) { sweepBoth(b, ledgers, 0) })
	for _, l := range ledgers {
		l.jam(b, *stuckSize)
	}
	b.Run("stuck", func(b *testing.B) { sweepBoth(b, ledgers, *stuckSize) })
}

// sweepBoth measures sweeps that find as much as is stuck, in turn.
func sweepBoth(b *testing.B, ledgers [2]bench, stuck int) {
	var took [2][]time.Duration
	for turn := 0; b.Loop(); turn++ {
		for _, i := range []int{turn % 2, 1 - turn%2} { // neither is always the one that comes second
			b.StopTimer()
			ledgers[i].jamAgain(b)
			b.StartTimer()
			began := time.Now()
			report, err := ledgers[i].RunSweep(context.Background(), store.Sweep{Owner: "bench", Source: "test"})
			must(b, err)
			took[i] = append(took[i], time.Since(began))
			if len(report.Findings) != stuck {
				b.Fatalf("found %d, want %d", len(report.Findings), stuck)
			}
		}
	}
	var median [2]float64
	for i := range took {
		slices.Sort(took[i])
		median[i] = float64(took[i][len(took[i])/2].Microseconds())
	}
	b.ReportMetric(median[0], "µs/empty")
	b.ReportMetric(median[1], "µs/large")
	b.ReportMetric(median[1]/median[0], "large/empty")
	for i, name := range []string{"an empty ledger", fmt.Sprintf("a ledger of %d finished captures", *ledgerSize)} {
		ledgers[i].jamAgain(b)
		fmt.Printf("\n%d stuck, on %s:\n%s", stuck, name, ledgers[i].sweepPlans(b)) // b.Log cuts it short
	}
}

// jam makes captures whose worker is gone: claimed an hour ago, or published
// and never seen again.
func (b bench) jam(t testing.TB, n int) {
	t.Helper()
	answers, err := b.ApproveAll(t.Context(), nil, models.Test, b.stock(t, n), "bench")
	must(t, err)
	var claimed []string
	for i, a := range answers {
		if i%2 == 0 {
			claimed = append(claimed, a.Operations[0].ID)
		}
	}
	_, err = b.ClaimAll(t.Context(), models.Capture, claimed, "ghost")
	must(t, err)
	b.exec(t, `UPDATE captures SET lease_until = now() - interval '1 hour' WHERE state = 'capturing'`)
	b.exec(t, `ANALYZE`)
}

// jamAgain takes back what a sweep did about it. A sweep with nothing to find
// finds nothing to take back.
func (b bench) jamAgain(t testing.TB) {
	t.Helper()
	b.exec(t, `UPDATE work SET due_at = now() - interval '1 hour', published_at = now() - interval '1 hour'`)
	b.exec(t, `VACUUM work`)
}

// sweepPlans is how Postgres carries out what a sweep asks, on a connection like
// the sweep's own, and what that costs. Nothing of it is kept.
func (b bench) sweepPlans(t testing.TB) string {
	t.Helper()
	var plans strings.Builder
	for _, s := range b.SweepStatements() {
		fmt.Fprintf(&plans, "-- %s\n%s", s.What, b.analyze(t, s))
	}
	return plans.String()
}

func (b bench) analyze(t testing.TB, s store.SweepStatement) string {
	t.Helper()
	tx, err := b.db.BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	if s.Pinned {
		for _, name := range slices.Sorted(maps.Keys(store.PlanSettings())) {
			_, err := tx.ExecContext(t.Context(), `SELECT set_config($1, $2, true)`, name, store.PlanSettings()[name])
			must(t, err)
		}
	}
	_, err = tx.ExecContext(t.Context(), `PREPARE sweep AS `+s.SQL)
	must(t, err)
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		args[i] = fmt.Sprintf("'%v'", a)
	}
	rows, err := tx.QueryContext(t.Context(), `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS) EXECUTE sweep (`+strings.Join(args, ", ")+`)`)
	must(t, err)
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		must(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	must(t, rows.Err())
	must(t, rows.Close())
	_, err = tx.ExecContext(t.Context(), `DEALLOCATE sweep`)
	must(t, err)
	return plan.String()
}
