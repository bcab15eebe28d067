package worker

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/store"
)

const (
	// nightLate is how long after its time the full audit may still begin: a
	// worker that starts at noon must not read the whole ledger beside its work.
	nightLate = 6 * time.Hour
	// nightEvery is how often a worker looks whether it is time.
	nightEvery = time.Minute
	// anchorsANight bounds how many days one night anchors.
	anchorsANight = 366
	// booksBack is how far back the full audit compares the gateways' lists: a day
	// and a little more, so that nights overlap.
	booksBack = 25 * time.Hour
	// auditLogged is how many offenders a log line names.
	auditLogged = 5
)

// audits runs the audits until ctx ends. They are not tasks: they must go on
// while Redis is away, and may take hours. Every worker asks, and a lease in the
// ledger makes it one of each scope at a time.
func (s *Server) audits(ctx context.Context) {
	if s.c.AuditEvery > 0 {
		s.running.Go(func() { every(ctx, s.c.AuditEvery, s.auditRecent) })
	}
	if s.c.AuditAt != nil {
		s.running.Go(func() { every(ctx, nightEvery, s.auditNightly) })
	}
}

// auditRecent checks what is open and what moved, unless another worker just did.
func (s *Server) auditRecent(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*s.c.AuditEvery)
	defer cancel()
	_ = s.runAudit(ctx, store.AuditRun{Scope: store.AuditRecent, Unless: s.c.Now().Add(-s.c.AuditEvery * 4 / 5)})
}

// auditNightly anchors the days that ended and checks everything, once a day.
func (s *Server) auditNightly(ctx context.Context) {
	now := s.c.Now()
	at, ok := nightOf(now, *s.c.AuditAt)
	if !ok {
		return
	}
	err := s.runAudit(ctx, store.AuditRun{Scope: store.AuditFull, Unless: at, Before: s.anchor, Also: func(ctx context.Context) ([]store.Invariant, error) {
		books, err := s.c.Runner.CompareBooks(ctx, Books{Since: now.Add(-booksBack), ListedOnly: true})
		return []store.Invariant{books}, err
	}})
	if !errors.Is(err, store.ErrAudited) || s.anchored.Equal(at) {
		return
	}
	// Somebody else audited, by hand perhaps: the days are anchored all the same.
	if err := s.anchor(ctx); err != nil {
		s.c.Log.WarnContext(ctx, "days could not be anchored; tried again in a minute", "error", err)
		return
	}
	s.anchored = at
}

// nightOf returns the last time of the full audit, and whether it may still begin.
func nightOf(now time.Time, at time.Duration) (time.Time, bool) {
	night := now.UTC().Truncate(24 * time.Hour).Add(at)
	if night.After(now) {
		night = night.AddDate(0, 0, -1)
	}
	return night, now.Sub(night) < nightLate
}

// anchor writes the anchors of the days that ended. The log is where their
// hashes are kept outside the database.
func (s *Server) anchor(ctx context.Context) error {
	return s.c.Runner.store.AnchorDays(ctx, anchorsANight, func(a store.DailyAnchor) {
		s.c.Log.InfoContext(ctx, "day anchored", "number", a.Number, "day", a.Day, "month", a.Month, "steps", a.Steps, "hash", a.Hash)
	})
}

// runAudit audits, and says what is broken and what went wrong.
func (s *Server) runAudit(ctx context.Context, run store.AuditRun) error {
	run.Owner = s.c.Runner.name
	began := s.c.Now()
	report, err := s.c.Runner.store.RunAudit(ctx, run)
	if errors.Is(err, store.ErrAuditing) || errors.Is(err, store.ErrAudited) {
		return err
	}
	for _, i := range report.Invariants {
		if i.BrokenCount > 0 {
			s.c.Log.ErrorContext(ctx, "invariant broken", "invariant", i.ID, "rule", i.Rule, "broken", i.BrokenCount,
				"names", i.Broken[:min(len(i.Broken), auditLogged)], "scope", report.Scope, "audit_id", report.ID)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.c.Log.WarnContext(ctx, "audit is not complete", "scope", run.Scope, "finished", !report.FinishedAt.IsZero(), "error", err)
	}
	if err == nil && run.Scope == store.AuditFull {
		s.c.Log.InfoContext(ctx, "the ledger was audited", "broken", report.Broken, "took", s.c.Now().Sub(began).Round(time.Second), "audit_id", report.ID)
	}
	return err
}

// AuditCollector shows the result of the last audit of each scope, from
// whichever process is asked.
type AuditCollector struct {
	store        *store.Store
	broken, last *prometheus.Desc
}

// NewAuditCollector returns a collector over the table audits.
func NewAuditCollector(s *store.Store) *AuditCollector {
	return &AuditCollector{
		store:  s,
		broken: prometheus.NewDesc("capstan_invariant_broken", "What breaks an invariant, by the last audit: the greater of the full one and the recent one.", []string{"invariant"}, nil),
		last:   prometheus.NewDesc("capstan_audit_last_success_timestamp_seconds", "When the last audit ended, whatever it found, by scope.", []string{"scope"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *AuditCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.broken
	ch <- c.last
}

// Collect implements prometheus.Collector. What cannot be read is left out: a
// missing series is what the alerts look for.
func (c *AuditCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	reports, err := c.store.LastAudits(ctx)
	if err != nil {
		return
	}
	broken := map[string]int64{}
	for _, r := range reports {
		ch <- prometheus.MustNewConstMetric(c.last, prometheus.GaugeValue, float64(r.FinishedAt.Unix()), string(r.Scope))
		for _, i := range r.Invariants {
			broken[i.ID] = max(broken[i.ID], i.BrokenCount)
		}
	}
	for id, n := range broken {
		ch <- prometheus.MustNewConstMetric(c.broken, prometheus.GaugeValue, float64(n), id)
	}
}
