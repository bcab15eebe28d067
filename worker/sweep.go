package worker

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// sweep is the handler of one scheduled reconciliation.
func (s *Server) sweep(ctx context.Context) error {
	s.resume(ctx)
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

// schedule enqueues a sweep in each slot of time until ctx ends. Every worker
// does; the slot's name makes them one task, and a lease one sweep.
func (s *Server) schedule(ctx context.Context) {
	every(ctx, s.c.SweepEvery, func(ctx context.Context) {
		slot := s.c.Now().Truncate(s.c.SweepEvery)
		err := tasks.Enqueue(ctx, s.queue, tasks.Sweep(slot, s.c.Runner.tempo.TaskTimeout()))
		s.bell.ring()
		err = errors.Join(err, tasks.Announce(ctx, s.c.Redis))
		if err != nil && ctx.Err() == nil {
			s.c.Log.WarnContext(ctx, "sweep could not be enqueued; the next slot tries again", "error", err)
		}
	})
}

// every runs fn at once and then at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, fn func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		fn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if ctx.Err() != nil { // both at once: select takes either
				return
			}
		}
	}
}
