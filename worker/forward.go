package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Forward looks an operation up at the gateway at an operator's word, and
// records with proof that it succeeded there. It moves no money.
//
// An open operation is looked up inside a claim, like any other look; when the
// gateway conclusively has nothing the claim goes back and the refusal says
// not_found_at_gateway. One that was given up is looked up as well, and a late
// success recorded. Where the gateway cannot be asked the refusal says
// cannot_be_asked. A refusal is a *store.Refusal.
func (r *Runner) Forward(ctx context.Context, mode models.Mode, kind models.Kind, id, actor, reason string) (models.Decision, error) {
	op, err := r.store.Operation(ctx, mode, kind, id)
	if err != nil {
		return models.Decision{}, err
	}
	if op.State == models.Succeeded || op.State == models.Reset {
		return models.Decision{}, &store.Refusal{Rule: "already_succeeded", Field: "_forward", Detail: fmt.Sprintf("the %s is %s already", kind, op.State)}
	}
	_, a, err := r.accountOf(ctx, op)
	if err != nil {
		return models.Decision{}, err
	}
	if a != nil && !a.caps.LookUp && !a.caps.RepeatIsLookUp {
		return models.Decision{}, cannotBeAsked(kind, a.caps.Provider)
	}
	if !op.State.Live() {
		return r.forwardEnded(ctx, op, actor, reason)
	}
	c, err := r.claimToLook(ctx, op, actor, "forward by hand: "+reason)
	if err != nil {
		return models.Decision{}, err
	}
	if c == nil {
		return models.Decision{}, changed(kind)
	}
	ev, d, err := r.lookOnly(ctx, *c, actor, 0)
	if err != nil {
		return d, err
	}
	return d, forwardRefusal(c.Kind, ev, d)
}

func changed(kind models.Kind) error {
	return &store.Refusal{Rule: "operation_under_way", Field: "_forward", Busy: true, Detail: fmt.Sprintf("the %s is being worked on right now; ask again in a minute", kind)}
}

// forwardRefusal explains a look that did not prove success.
func forwardRefusal(kind models.Kind, ev models.Evidence, d models.Decision) error {
	switch {
	case ev.Outcome == models.OutcomeTakenBack && (d.Event != models.Confirmed || d.Then != ""):
		return &store.Refusal{Rule: "taken_back_at_gateway", Field: "_forward", Detail: fmt.Sprintf("the gateway had the %s and took money of it back (%s): it is no success", kind, ev.Message)}
	case d.Event == models.Confirmed:
		return nil
	case ev.Outcome == models.OutcomeUnasked && (d.Untold() || d.Name == ""):
		return cannotBeAsked(kind, "the gateway")
	case d.Verdict == models.AmountConflict || d.Verdict == models.Duplicate:
		return &store.Refusal{Rule: string(d.Verdict), Field: "_forward", Detail: d.Rule}
	case ev.Outcome == models.OutcomeNone && d.Event != models.Lost, ev.Outcome == models.OutcomeRefused, ev.Outcome == models.OutcomeDeclined:
		return &store.Refusal{Rule: "not_found_at_gateway", Field: "_forward", Detail: fmt.Sprintf("the gateway has no such %s: %s", kind, d.Rule)}
	}
	return &store.Refusal{
		Rule: "inconclusive", Field: "_forward", Busy: true,
		Detail: fmt.Sprintf("the gateway could not tell: %s; it is looked up again at %s", d.Rule, time.Now().Add(d.Wait).UTC().Format(time.RFC3339)),
	}
}

func noAdapter(account string) error {
	return &store.Refusal{Rule: "gateway_not_configured", Field: "_forward", Detail: "no adapter is configured for the gateway account " + account}
}

// forwardEnded looks for a late success of an operation that was given up.
func (r *Runner) forwardEnded(ctx context.Context, op models.Operation, actor, reason string) (models.Decision, error) {
	c, err := r.describe(ctx, op)
	if err != nil {
		return models.Decision{}, err
	}
	a, ok := r.accounts[c.Account]
	if !ok {
		return models.Decision{}, noAdapter(c.Account)
	}
	call, cancel := context.WithTimeout(ctx, r.tempo.Budget())
	defer cancel()
	ev := a.lookUp(call, request(c), time.Now().Add(patience))
	if facts := r.known(ctx, a, c); ev.Outcome == models.OutcomeNone && !facts.NoneConclusive {
		return models.Decision{}, forwardRefusal(op.Kind, ev, models.Decision{Event: models.Lost, Wait: facts.NoneSettlesIn, Rule: "not there yet; a call may still land"})
	}
	if ev.Outcome != models.OutcomeConfirmed && ev.Outcome != models.OutcomeTakenBack {
		return models.Decision{}, forwardRefusal(op.Kind, ev, models.Decision{Rule: "it is " + string(op.State) + " here, and " + ev.Outcome.String() + " there"})
	}
	d, err := r.store.Observe(ctx, store.Observation{Kind: op.Kind, ID: op.ID, Evidence: ev, Actor: actor, Reason: "forward by hand: " + reason})
	if err != nil {
		return d, err
	}
	return d, forwardRefusal(op.Kind, ev, d)
}

// describe makes the claim that op would be taken under, without taking it.
func (r *Runner) describe(ctx context.Context, op models.Operation) (store.Claim, error) {
	hold, err := r.store.Authorization(ctx, op.Mode, op.AuthorizationID)
	if err != nil {
		return store.Claim{}, err
	}
	g, err := r.store.GatewayByID(ctx, op.PaymentGatewayID)
	if err != nil {
		return store.Claim{}, err
	}
	asked := map[models.Kind]int{models.Capture: hold.CaptureSequence, models.Refund: hold.RefundSequence, models.Void: hold.VoidSequence}[op.Kind]
	c := store.Claim{
		Operation: op, Account: g.Slug, Hold: hold.GatewayTransactionID, HoldCents: hold.AmountCents, HoldConfirmedCents: hold.ConfirmedCents,
		HoldBefore: hold.CaptureBefore, HoldEstimate: hold.EstimatedBefore, HoldClosed: hold.ClosedAt != nil, MultiCapture: hold.MultiCapture, Asked: asked,
		CaptureAsked: hold.CaptureSequence > 0,
		MaySend:      op.NeedsAttention == "" && op.Cause != models.CauseAdopted, NoneSince: g.LookFirstSince, Now: time.Now(),
	}
	if op.CaptureID != nil {
		capture, err := r.store.Operation(ctx, op.Mode, models.Capture, *op.CaptureID)
		if err != nil {
			return store.Claim{}, err
		}
		c.Capture, c.CaptureGone = capture.GatewayTransactionID, capture.State == models.Reversed || capture.State == models.Reset
		if capture.ConfirmedCents != nil {
			c.CaptureCents = *capture.ConfirmedCents
		}
	}
	return c, nil
}

// Inspect asks the gateway about an operation without claiming or changing
// anything: what a dry run shows. The decision is what a claim would come to now.
func (r *Runner) Inspect(ctx context.Context, mode models.Mode, kind models.Kind, id string) (models.Evidence, models.Decision, error) {
	op, err := r.store.Operation(ctx, mode, kind, id)
	if err != nil {
		return models.Evidence{}, models.Decision{}, err
	}
	c, err := r.describe(ctx, op)
	if err != nil {
		return models.Evidence{}, models.Decision{}, err
	}
	a, ok := r.accounts[c.Account]
	if !ok {
		return models.Evidence{}, models.Decision{}, noAdapter(c.Account)
	}
	call, cancel := context.WithTimeout(ctx, r.tempo.Budget())
	defer cancel()
	ev := a.ask(call, request(c), time.Now().Add(patience), false)
	facts := r.known(ctx, a, c)
	facts.Fenced = op.State.Live()
	if facts.Fenced {
		op.State = models.Capturing
	}
	return ev, models.Judge(op, ev, facts), nil
}
