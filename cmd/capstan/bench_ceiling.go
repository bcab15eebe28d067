package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// benchCeiling is what Postgres gives at most: the product's own statements for
// claim and record, batch by batch, with no queue around them.
func benchCeiling(ctx context.Context, job meter.Job) (report meter.Report, err error) {
	hands, size := job.Setting("workers", 4), job.Setting("batch", 250)
	s, err := store.Open(ctx, job.DatabaseURL, store.Options{Tempo: models.Tempo{Scale: job.TimeScale}, MaxConns: max(2, hands)})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ids, err := openCaptures(ctx, job.DatabaseURL)
	if err != nil {
		return report, err
	}
	if err := benchWarm(ctx, s, hands); err != nil {
		return report, err
	}
	gate := benchTill(job)
	report.Settings = fmt.Sprintf("%d batches at once of %d", hands, size)
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(hands)
	for from := 0; from < len(ids); from += size {
		batch := ids[from:min(from+size, len(ids))]
		g.Go(func() error { return captureBatch(gctx, s, gate, batch) })
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	if err := window.End(ctx, &report, time.Now()); err != nil {
		return report, err
	}
	sums := gate.Sums()
	report.Booked, report.Twice, report.InFlight = sums.Booked, sums.Twice, sums.InFlight
	return report, nil
}

// captureBatch claims, captures and records one batch.
func captureBatch(ctx context.Context, s *store.Store, gate gateway.Gateway, ids []string) error {
	claims, err := s.ClaimAll(ctx, models.Capture, ids, "ceiling")
	if err != nil {
		return err
	}
	moves := make([]store.Move, len(claims))
	for i, c := range claims {
		ev := gate.Capture(ctx, gateway.Request{
			Kind: c.Kind, Reference: c.GatewayReference, Key: c.IdempotencyKey(), AmountCents: c.AmountCents, CurrencyCode: c.CurrencyCode, Hold: c.Hold,
		})
		ev.Source = models.FromAnswer
		moves[i] = store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(s.Tempo(), 0, false)), Worker: "ceiling"}.Move()
	}
	moved, err := s.ApplyAll(ctx, moves)
	if err == nil && len(moved) != len(ids) {
		err = fmt.Errorf("%d of a batch of %d captures were recorded", len(moved), len(ids))
	}
	return err
}

// openCaptures lists what waits, in the order in which the relay publishes.
func openCaptures(ctx context.Context, url string) (ids []string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	rows, err := conn.Query(ctx, "SELECT operation_id::text FROM work ORDER BY deadline NULLS LAST, operation_id")
	if err != nil {
		return nil, fmt.Errorf("list the open captures: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// benchSweep runs sweeps one after the other in a ledger where nothing is open.
func benchSweep(ctx context.Context, job meter.Job) (report meter.Report, err error) {
	s, err := store.Open(ctx, job.DatabaseURL, store.Options{MaxConns: 2})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	window, err := meter.Begin(ctx, job)
	if err != nil {
		return report, err
	}
	for range job.Captures {
		if _, err := s.RunSweep(ctx, store.Sweep{Owner: "bench", Source: "schedule", CancelAfter: time.Minute}); err != nil {
			return report, err
		}
	}
	return report, window.End(ctx, &report, time.Now())
}
