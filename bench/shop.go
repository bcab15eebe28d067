package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/till"
	"github.com/capstan-pay/capstan/models"
)

// claim is a capture that a worker holds.
type claim struct {
	id, order, hold, holdID string
	reference, key          string
	currency                string
	cents, holdCents        int64
	version                 int64
	// look: it may have been sent before.
	look bool
	// of is what a batched ledger keeps of its own.
	of any
}

// ledger is how a peer claims and records.
type ledger interface {
	// claim takes a capture, in one committed transaction; false when there is
	// nothing to do for it now.
	claim(ctx context.Context, id string) (claim, bool, error)
	// record writes what became of it, in one committed transaction. wait is
	// when to come again, for what is not final.
	record(ctx context.Context, c claim, ev models.Evidence, wait time.Duration) error
	// settings says with what it runs, for people.
	settings() string
	close() error
}

// opener opens a ledger.
type opener func(ctx context.Context, job meter.Job, conns int) (ledger, error)

// workerName is who claims, in the history.
func workerName() string { return fmt.Sprintf("peer:%d", os.Getpid()) }

// shop is the handler of a peer's jobs.
type shop struct {
	ledger ledger
	till   *till.Till
	tempo  models.Tempo
	want   int64
	ended  atomic.Int64
	once   sync.Once
	done   chan struct{}
	last   time.Time
}

func newShop(job meter.Job, l ledger) *shop {
	return &shop{
		ledger: l, tempo: models.Tempo{Scale: job.TimeScale}, want: int64(job.Captures), done: make(chan struct{}),
		till: till.New(till.Config{Latency: job.Latency, Plan: till.Plan{PerMille: job.FailuresPerMille}, AtOnce: job.InFlight}, job.Captures),
	}
}

// capture works on one capture: claim, call, record. A wait above 0 says when
// to come again. It is the whole of a naive handler.
func (s *shop) capture(ctx context.Context, id string) (wait time.Duration, err error) {
	c, ok, err := s.ledger.claim(ctx, id)
	if err != nil || !ok {
		return 0, err
	}
	r := gateway.Request{
		Kind: models.Capture, Reference: c.reference, Key: c.key, AmountCents: c.cents, CurrencyCode: c.currency, Hold: c.hold, Final: true, OnlyOne: true, HoldCents: c.holdCents,
	}
	ev := models.Evidence{Outcome: models.OutcomeNone}
	if c.look {
		ev = s.till.LookUp(ctx, r)
		ev.Source = models.FromLookUp
	}
	if ev.Outcome == models.OutcomeNone { // never sent, or without effect: under the same key
		ev = s.till.Capture(ctx, r)
		ev.Source = models.FromAnswer
	}
	switch ev.Outcome {
	case models.OutcomeLost:
		wait = s.tempo.LookAfter(0, false, 0)
	case models.OutcomeNotSent:
		wait = s.tempo.UnsentAfter(0)
	}
	if err := s.ledger.record(context.WithoutCancel(ctx), c, ev, wait); err != nil {
		return 0, err
	}
	s.till.Touch()
	if wait == 0 {
		s.end()
	}
	return wait, nil
}

// end counts a capture that is done.
func (s *shop) end() {
	at := time.Now()
	if s.ended.Add(1) == s.want {
		s.once.Do(func() {
			s.last = at
			close(s.done)
		})
	}
}

// wait ends with the last capture, and closes the window.
func (s *shop) wait(ctx context.Context, w *meter.Window, r *meter.Report) error {
	select {
	case <-s.done:
	case <-ctx.Done():
		return fmt.Errorf("%d of %d captures ended: %w", s.ended.Load(), s.want, ctx.Err())
	}
	sums := s.till.Sums()
	r.Booked, r.Twice, r.InFlight, r.Waited = sums.Booked, sums.Twice, sums.InFlight, sums.Waited.Seconds()
	return w.End(ctx, r, s.last)
}

// waiting lists the captures that wait.
func waiting(ctx context.Context, url string) (ids []string, err error) {
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
