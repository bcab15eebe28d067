package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// AdoptRefund records a refund that somebody else made at the gateway, as a line
// of the gateway's list tells it: what a person decides about a finding
// foreign_refund. The row is made and claimed to be looked up, and the line is
// the evidence; nothing is sent, now or later. The capture's flag is cleared.
//
// It is idempotent. A [store.Refusal] says which guard failed; a busy one, that
// the same may be asked again in a moment.
func (r *Runner) AdoptRefund(ctx context.Context, mode models.Mode, captureID string, line models.Movement, actor, reason string) (models.Operation, error) {
	op, err := r.store.AdoptRefund(ctx, mode, captureID, line, actor)
	if err != nil {
		return op, err
	}
	if op.State != models.Succeeded {
		if err := r.believe(ctx, op, line.Evidence(), actor, reason); err != nil {
			return op, err
		}
		if op, err = r.store.Operation(ctx, mode, models.Refund, op.ID); err != nil {
			return op, err
		}
	}
	if op.State != models.Succeeded {
		return op, &store.Refusal{
			Rule: "operation_under_way", Field: "_adopt", Busy: true, Detail: fmt.Sprintf("the adopted refund is %s: a worker looks at it right now; ask again in a moment", op.State),
		}
	}
	capture, err := r.store.Operation(ctx, mode, models.Capture, captureID)
	if err == nil && capture.NeedsAttention == models.FlagForeignRefund {
		err = r.store.Acknowledge(ctx, nil, capture, actor, reason)
	}
	if errors.Is(err, store.ErrStale) {
		err = nil // it moved meanwhile; its flag is its own
	}
	return op, err
}

// believe records a line of a gateway's list inside a claim, or, when another
// has it, from outside.
func (r *Runner) believe(ctx context.Context, op models.Operation, ev models.Evidence, actor, reason string) error {
	if op.State.Live() {
		claims, err := r.store.ClaimAll(ctx, op.Kind, []string{op.ID}, actor)
		if err != nil {
			return err
		}
		if len(claims) == 1 {
			c := claims[0]
			a, ok := r.accounts[c.Account]
			if !ok {
				_ = r.release(ctx, c, "no adapter is configured for "+c.Account, 0)
				return noAdapter(c.Account)
			}
			c.InBatch = true // no task comes again for it
			return ignoreLater(r.record(ctx, c, ev, models.Judge(c.Operation, ev, r.facts(ctx, a, c, ev)), true))
		}
	}
	_, err := r.store.Observe(ctx, store.Observation{Kind: op.Kind, ID: op.ID, Evidence: ev, Actor: actor, Reason: reason})
	return err
}

// adopt makes a row for what the gateway has under our own derived name. Where
// the line does not name it, the gateway is asked; what is somebody else's, or
// does not fit, is for a person.
func (c *comparer) adopt(ctx context.Context, l store.Listed, result models.Comparison, f store.ListedFinding) error {
	amount, currency := l.AmountCents, l.CurrencyCode
	if result.Sequence == 0 {
		ev, sequence, err := c.whose(ctx, l)
		if err != nil {
			return err
		}
		if sequence == 0 {
			f.Outcome = "a person has to act: the gateway does not have it under a name of ours"
			if ev.Outcome == models.OutcomeLost {
				f.Outcome = "a person has to act: nobody could be asked whose it is: " + ev.Message
			}
			return c.write(ctx, f, l.Hold)
		}
		result.Sequence, amount, currency = sequence, ev.AmountCents, ev.CurrencyCode
		f.Verdict, f.Rule = models.Forward, "the gateway has a capture under our own name that is not in our book"
		f.Name = findingName(c.run.Slug, l.ID, f.Verdict)
	}
	if c.dry {
		f.Outcome = "it would be adopted"
		return c.write(ctx, f, l.Hold)
	}
	f.Outcome = "adopted; its next claim looks"
	made, err := c.r.store.Adopt(ctx, c.run, store.Adoption{
		Hold: *l.Book, Kind: result.Kind, Sequence: result.Sequence, Capture: result.Capture, AmountCents: amount, CurrencyCode: currency,
		Actor: c.actor(), Finding: f,
	})
	if refusal, ok := errors.AsType[*store.Refusal](err); ok {
		f.Verdict, f.Outcome = models.NeedsAttention, "it cannot be adopted: "+refusal.Detail
		f.Name = findingName(c.run.Slug, l.ID, f.Verdict)
		return c.write(ctx, f, l.Hold)
	}
	if err != nil {
		return err
	}
	f.Operation = &made
	c.add(f, l.Hold, true)
	_, err = c.note(ctx, []store.Seen{{OperationID: made.ID, MovementID: l.ID, At: l.At}})
	return err
}

// adoptNames is how many of our next names the gateway is asked for.
const adoptNames = 3

// whose asks the gateway whether a capture that its list shows without a name
// was made under one of our next ones.
func (c *comparer) whose(ctx context.Context, l store.Listed) (ev models.Evidence, sequence int, err error) {
	if c.a == nil || !c.a.caps.LookUp {
		return models.Evidence{Message: "no look-up is configured"}, 0, nil
	}
	for n := 1; n <= adoptNames; n++ {
		sequence = l.Book.CaptureSequence + n
		reference := models.GatewayReference(c.run.Slug, l.Book.Origin(), models.Capture, sequence)
		ev, err = c.ask(ctx, gateway.Request{
			Kind: models.Capture, Reference: reference, Key: models.IdempotencyKey(reference, 0), AmountCents: l.AmountCents, CurrencyCode: l.CurrencyCode,
			Hold: l.Book.GatewayTransactionID, HoldCents: l.Book.AmountCents,
			// The order's own system says that it was taken for this order, and nothing was ever asked of the hold.
			OnlyOne: c.hearsay && sequence == 1,
		})
		if err != nil || ev.Outcome == models.OutcomeLost {
			return ev, 0, err
		}
		if ev.Outcome == models.OutcomeTakenBack {
			ev.AmountCents = ev.TookCents // of the capture, not of what was withdrawn since
		}
		if (ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeTakenBack) && !ev.Foreign && ev.AmountCents > 0 {
			return ev, sequence, nil
		}
	}
	return ev, 0, nil
}
