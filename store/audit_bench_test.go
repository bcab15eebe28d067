package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/store"
)

// BenchmarkAudit audits a ledger with -ledger finished captures of twelve
// months: recently, with -stuck captures open, against an empty ledger with as
// many; and in full. It anchors its days first, and reports what a day costs.
func BenchmarkAudit(b *testing.B) {
	ledgers := emptyAndLarge(b)
	b.Run("anchors", func(b *testing.B) {
		for b.Loop() {
			days, steps := 0, int64(0)
			began := time.Now()
			must(b, ledgers[1].AnchorDays(context.Background(), 1000, func(a store.DailyAnchor) { days, steps = days+1, steps+a.Steps }))
			if days > 0 {
				b.ReportMetric(float64(time.Since(began).Microseconds())/float64(days), "µs/day")
				b.ReportMetric(float64(steps)/float64(days), "steps/day")
			}
		}
	})
	for _, l := range ledgers {
		l.jam(b, *stuckSize)
	}
	b.Run("recent", func(b *testing.B) {
		var took [2][]time.Duration
		for turn := 0; b.Loop(); turn++ {
			for _, i := range []int{turn % 2, 1 - turn%2} {
				took[i] = append(took[i], ledgers[i].auditTook(b, store.AuditRecent))
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
	})
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			ledgers[1].auditTook(b, store.AuditFull)
		}
		b.ReportMetric(float64(*ledgerSize+*stuckSize)*float64(b.N)/b.Elapsed().Seconds(), "captures/s")
	})
}

// auditTook audits without asking how long anything waited: what is stuck does.
func (b bench) auditTook(t testing.TB, scope store.AuditScope) time.Duration {
	began := time.Now()
	report, err := b.RunAudit(context.Background(), store.AuditRun{Scope: scope, Idle: true, Each: func(i store.Invariant) {
		if testing.Verbose() {
			t.Logf("%s %s after %s: %d checked", scope, i.ID, time.Since(began).Round(time.Millisecond), i.Checked)
		}
	}})
	must(t, err)
	if report.Broken > 0 {
		t.Fatalf("%+v", report.Invariants)
	}
	return time.Since(began)
}
