package worker

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

const (
	// settleAtOnce is how many open outcomes of one order are asked for before
	// something is done with it. An order rarely has two.
	settleAtOnce = 4
	// settleWithin is how long a caller waits for the answers altogether. It is
	// shorter than the budget of a claim, so that a gateway that hangs does not
	// hang every caller.
	settleWithin = 8 * time.Second
	// settlePause is how long what a look cleared stays pending before it is sent:
	// whoever asked is about to withdraw it, more often than not.
	settlePause = 2 * time.Second
)

// Settle asks the gateway what became of an order's operations that may have
// been sent and have no outcome, before something is done that depends on it.
// What the gateway proves is recorded like any other look, inside a claim, with
// its verdict; nothing is ever sent. Claims of others are left alone.
//
// A gateway that does not answer is no error, and neither is a row that moved
// meanwhile: what is open stays open, and the caller meets it as it is. An error
// is one of the ledger's. An order with nothing open costs one query.
func (r *Runner) Settle(ctx context.Context, mode models.Mode, orderID, actor string) error {
	open, err := r.store.OpenOutcomes(ctx, mode, orderID, settleAtOnce)
	if err != nil || len(open) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.tempo.Of(settleWithin))
	defer cancel()
	for _, op := range open {
		if ctx.Err() != nil {
			return nil // the caller's patience, or ours, is at its end
		}
		a, ok := r.accounts[op.Account]
		if !ok {
			continue // this process cannot ask; a worker does by the schedule
		}
		if a.caps.ByHand {
			continue // nobody can
		}
		c, err := r.claimToLook(ctx, op.Operation, actor, "asked before something else is done with the order")
		if err == nil && c != nil {
			_, _, err = r.lookOnly(ctx, *c, actor, r.tempo.Of(settlePause))
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// claimToLook takes an open operation to be looked up now, whatever its time. It
// returns nil when another has it, or it moved meanwhile.
func (r *Runner) claimToLook(ctx context.Context, op models.Operation, actor, reason string) (*store.Claim, error) {
	if op.State != models.Capturing {
		err := r.store.Hint(ctx, nil, op, actor, reason)
		if errors.Is(err, store.ErrStale) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	claims, err := r.store.ClaimAll(ctx, op.Kind, []string{op.ID}, actor)
	if err != nil || len(claims) == 0 {
		return nil, err
	}
	c := claims[0]
	c.InBatch = true // no task comes again for it: what stays open is published anew
	if !c.Look {     // somebody's look settled it since the hint, and now it would be sent
		return nil, ignoreLater(r.release(ctx, c, "it was looked up meanwhile", 0))
	}
	return &c, nil
}

// lookOnly looks a claimed operation up and records what that proved. It never
// sends: what the gateway conclusively does not have goes back, and its own task
// sends it, after wait; so it does where sending again is how the gateway is
// asked. A refusal says that no adapter is configured here.
func (r *Runner) lookOnly(ctx context.Context, c store.Claim, actor string, wait time.Duration) (models.Evidence, models.Decision, error) {
	a, ok := r.accounts[c.Account]
	if !ok {
		_ = r.release(ctx, c, "no adapter is configured for "+c.Account, 0)
		return models.Evidence{}, models.Decision{}, noAdapter(c.Account)
	}
	ev, d := r.look(ctx, a, c)
	switch {
	case d.Send && ev.Outcome == models.OutcomeUnasked:
		d = models.Repeated(c.Operation, wait)
	case d.Send:
		d = models.Decision{Event: models.NotSent, Verdict: models.Retry, Replayed: c.Replayed, Wait: wait, Rule: d.Rule}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.tempo.RecordTimeout())
	defer cancel()
	return ev, d, r.ledger.Record(ctx, store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: actor, LogVerdict: true})
}

func ignoreLater(err error) error {
	if isLater(err) {
		return nil
	}
	return err
}
