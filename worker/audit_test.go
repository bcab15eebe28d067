package worker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// TestAuditsRaiseTheAlarm: a row that breaks behind the program's back is in the
// metrics of any process, and named in the log, by the next audit; mended, it is
// gone from them by the one after. Two workers share the audits, and Redis may
// be away.
func TestAuditsRaiseTheAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.captured(t, "")
	var out lines
	at := time.Since(time.Now().UTC().Truncate(24 * time.Hour)).Truncate(time.Minute) // the night's time has just come
	for _, name := range []string{"one", "two"} {
		s := worker.NewServer(worker.Config{
			Runner: w.runner(t, staff{name: name}), Redis: w.redis, Connect: another(w.redis), Concurrency: 1, SweepEvery: time.Hour, PollEvery: pollEvery,
			AuditEvery: 300 * time.Millisecond, AuditAt: &at, Deliverer: worker.NewDeliverer(w.store, nil, time.Now),
			Metrics: worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: slog.New(slog.NewJSONHandler(&out, nil)),
		})
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(worker.NewAuditCollector(w.store))
	broken := func(invariant string) (n float64, there bool) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "capstan_invariant_broken" && m.GetLabel()[0].GetValue() == invariant {
					return m.GetGauge().GetValue(), true
				}
			}
		}
		return 0, false
	}
	eventually(t, "the full audit ends", func() (bool, any) {
		last, err := w.store.LastAudits(t.Context())
		return len(last) == 2 && last[0].Scope == store.AuditFull, err
	})
	if n, there := broken("I13"); n != 0 || !there {
		t.Errorf("I13 is broken %v times before anything is, %v", n, there)
	}
	if _, there := broken("I4"); !there {
		t.Error("the full audit does not compare the gateways' books")
	}
	w.exec(t, `UPDATE orders SET voided_cents = 7 WHERE id = $1`, p.orderID)
	w.exec(t, `UPDATE captures SET reserved_cents = reserved_cents - 1 WHERE id = $1`, p.op.ID)
	eventually(t, "the alarm is raised", func() (bool, any) {
		sums, _ := broken("I13")
		holds, _ := broken("I1")
		return sums == 1 && holds == 1, []float64{sums, holds}
	})
	eventually(t, "the log names them", func() (bool, any) {
		text := out.String()
		return strings.Contains(text, `"level":"ERROR","msg":"invariant broken"`) && strings.Contains(text, p.orderID) && strings.Contains(text, p.authID), text
	})
	w.exec(t, `UPDATE orders SET voided_cents = 0 WHERE id = $1`, p.orderID)
	w.exec(t, `UPDATE captures SET reserved_cents = reserved_cents + 1 WHERE id = $1`, p.op.ID)
	eventually(t, "the alarm is over", func() (bool, any) {
		sums, _ := broken("I13")
		return sums == 0, sums
	})
	if n := w.count(t, `SELECT count(*) FROM audits WHERE scope = 'full'`); n != 1 {
		t.Errorf("%d full audits on one night", n)
	}
	if n := testutil.CollectAndCount(worker.NewAuditCollector(w.store), "capstan_audit_last_success_timestamp_seconds"); n != 2 {
		t.Errorf("%d scopes", n)
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}
