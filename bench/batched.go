package main

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// batched is a ledger whose claims and outcomes are gathered into the product's
// own batch statements: the best that handlers of one capture each can do.
type batched struct {
	committer *store.Committer
	tempo     models.Tempo
	worker    string
}

func openBatched(ctx context.Context, job meter.Job, conns int) (ledger, error) {
	tempo := models.Tempo{Scale: job.TimeScale}
	s, err := store.Open(ctx, job.DatabaseURL, store.Options{Tempo: tempo, MaxConns: conns})
	if err != nil {
		return nil, err
	}
	return &batched{committer: store.NewCommitter(s, workerName()), tempo: tempo, worker: workerName()}, nil
}

func (b *batched) settings() string {
	return "claims and outcomes gathered by the product's own committer"
}
func (b *batched) close() error { return b.committer.Close() }

func (b *batched) claim(ctx context.Context, id string) (claim, bool, error) {
	claims, err := b.committer.ClaimAll(ctx, models.Capture, []string{id}, b.worker)
	if err != nil {
		return claim{}, false, fmt.Errorf("claim capture %s: %w", id, err)
	}
	if len(claims) == 0 {
		return claim{}, false, nil
	}
	held := claims[0]
	return claim{
		id: held.ID, order: held.OrderID, hold: held.Hold, holdID: held.AuthorizationID, reference: held.GatewayReference, key: held.IdempotencyKey(),
		currency: held.CurrencyCode, cents: held.AmountCents, holdCents: held.HoldCents, version: held.Version, look: held.Look, of: held,
	}, true, nil
}

func (b *batched) record(ctx context.Context, c claim, ev models.Evidence, _ time.Duration) error {
	held, ok := c.of.(store.Claim)
	if !ok {
		return fmt.Errorf("record capture %s: it was not claimed here", c.id)
	}
	d := models.Judge(held.Operation, ev, held.Facts(b.tempo, 0, false))
	if err := b.committer.Record(ctx, store.Outcome{Claim: held, Evidence: ev, Decision: d, Worker: b.worker}); err != nil {
		return fmt.Errorf("record capture %s: %w", c.id, err)
	}
	return nil
}
