package store_test

import (
	"context"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

var ledgerSize = flag.Int("ledger", 50_000, "finished captures of the large ledger in BenchmarkSweep")

// BenchmarkSweep sweeps an empty ledger and a large one in turn, with nothing
// open in either, and reports the medians and their ratio. What follows open
// work keeps the ratio at 1 whatever -ledger says.
func BenchmarkSweep(b *testing.B) {
	var ledgers [2]*store.Store
	for i, n := range []int{0, *ledgerSize} {
		url := devstacktest.NewDatabase(b, nil)
		s, err := store.Open(b.Context(), url, store.Options{Tempo: models.Tempo{}, StatementTimeout: time.Hour})
		must(b, err)
		b.Cleanup(func() { _ = s.Close() })
		_, err = s.Migrate(b.Context())
		must(b, err)
		must(b, fill(b.Context(), s, url, n, 12))
		ledgers[i] = s
	}
	var took [2][]time.Duration
	sweep := store.Sweep{Owner: "bench", Source: "test"}
	for b.Loop() {
		for i, s := range ledgers {
			began := time.Now()
			report, err := s.RunSweep(context.Background(), sweep)
			must(b, err)
			took[i] = append(took[i], time.Since(began))
			if len(report.Findings) > 0 {
				b.Fatalf("found %+v", report.Findings)
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
}
