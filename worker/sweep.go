package worker

import (
	"context"
	"errors"

	"github.com/capstan-pay/capstan/store"
)

// sweep is the handler of one scheduled reconciliation.
func (s *Server) sweep(ctx context.Context) error {
	s.resume(ctx)
	if err := s.noticeRestore(ctx); err != nil {
		s.c.Log.WarnContext(ctx, "whether the database was restored could not be seen", "error", err)
	}
	report, err := s.c.Runner.store.RunSweep(ctx, store.Sweep{
		Owner: s.c.Runner.name, Source: "schedule", CancelAfter: s.c.CancelAfter,
	})
	if errors.Is(err, store.ErrSweeping) {
		return nil // one at a time; the other one does it
	}
	if err != nil {
		return err
	}
	s.c.Metrics.swept(report, s.c.Now())
	if len(report.Findings) > 0 {
		s.c.Log.InfoContext(ctx, "sweep", "reconciliation_id", report.ID, "findings", len(report.Findings), "counts", report.Counts)
	}
	return nil
}

// resume tries the accounts that were paused for their credentials, with a call
// that moves nothing.
func (s *Server) resume(ctx context.Context) {
	paused, err := s.c.Runner.store.Paused(ctx)
	if err != nil {
		s.c.Log.WarnContext(ctx, "paused gateways could not be read", "error", err)
		return
	}
	for _, g := range paused {
		a, ok := s.c.Runner.accounts[g.Slug]
		if !ok {
			continue
		}
		if err := a.probe(ctx); err != nil {
			s.c.Log.WarnContext(ctx, "gateway stays paused", "gateway", g.Slug, "error", err)
			continue
		}
		if err := s.c.Runner.store.ResumeGateway(ctx, g.Slug); err != nil {
			s.c.Log.WarnContext(ctx, "gateway could not be resumed", "gateway", g.Slug, "error", err)
			continue
		}
		s.c.Log.InfoContext(ctx, "gateway resumed", "gateway", g.Slug)
	}
}
