package worker

import (
	"context"
	"fmt"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// RuleCannotBeAsked is the rule of the refusal to look where nobody can: whoever
// knows, and answers for it, says it instead. See [Runner.Assert].
const RuleCannotBeAsked = "cannot_be_asked"

// Word is what a person says of money, and answers for.
type Word struct {
	// Elsewhere: a person did it beside the operation's gateway account, which is
	// not asked about it, and for nothing about it afterwards.
	Elsewhere bool
	// By is who says so, Reason why.
	By, Reason string
}

// Assert records a person's word that an operation took effect, or that it did
// not and never will. It counts where the gateway cannot be asked; where it can,
// only that something was done elsewhere which was never sent. A refusal is a
// *store.Refusal.
func (r *Runner) Assert(ctx context.Context, mode models.Mode, kind models.Kind, id string, happened bool, w Word) (models.Decision, error) {
	op, err := r.store.Operation(ctx, mode, kind, id)
	if err != nil {
		return models.Decision{}, err
	}
	slug, a, err := r.accountOf(ctx, op)
	if err != nil {
		return models.Decision{}, err
	}
	// Of an account that is unknown here the least is believed.
	said := store.Word{Kind: kind, ID: id, Happened: happened, Unsent: a == nil || a.caps.LookUp, Mechanism: mechanism(a), By: w.By, Reason: w.Reason}
	if w.Elsewhere && happened || !said.Unsent {
		return r.store.Assert(ctx, nil, mode, said)
	}
	if a == nil {
		return models.Decision{}, noAdapter(slug)
	}
	detail := fmt.Sprintf("%s can be asked what became of the %s: send _forward", a.caps.Provider, kind)
	if !happened {
		detail = fmt.Sprintf("%s can be asked what became of the %s, and is: send _retry to have it asked now", a.caps.Provider, kind)
	}
	return models.Decision{}, &store.Refusal{Rule: "can_be_asked", Field: "succeeded", Detail: detail}
}

// CapturedElsewhere records a capture that a person made beside the hold's gateway
// account: amount, or with 0 as much as hold and order allow.
func (r *Runner) CapturedElsewhere(ctx context.Context, mode models.Mode, authorizationID string, amount int64, w Word, labels models.Labels) (op models.Operation, err error) {
	hold, err := r.store.Authorization(ctx, mode, authorizationID)
	if err != nil {
		return op, err
	}
	return r.elsewhere(ctx, hold.PaymentGatewayID, w, func(ctx context.Context, tx store.Tx, said store.Word) (models.Operation, error) {
		return r.store.CapturedElsewhere(ctx, tx, mode, authorizationID, amount, said, labels)
	})
}

// RefundedElsewhere records that a person gave money of a capture back beside its
// gateway account: amount, or with 0 all that is left.
func (r *Runner) RefundedElsewhere(ctx context.Context, mode models.Mode, captureID string, amount int64, w Word) (op models.Operation, err error) {
	capture, err := r.store.Operation(ctx, mode, models.Capture, captureID)
	if err != nil {
		return op, err
	}
	return r.elsewhere(ctx, capture.PaymentGatewayID, w, func(ctx context.Context, tx store.Tx, said store.Word) (models.Operation, error) {
		return r.store.RefundedElsewhere(ctx, tx, mode, captureID, amount, said)
	})
}

// CancelledElsewhere records that a person gave the money of a mismatched capture
// back beside its gateway account, under the conditions of any cancel.
func (r *Runner) CancelledElsewhere(ctx context.Context, mode models.Mode, captureID string, w Word) (op models.Operation, err error) {
	capture, err := r.store.Operation(ctx, mode, models.Capture, captureID)
	if err != nil {
		return op, err
	}
	return r.elsewhere(ctx, capture.PaymentGatewayID, w, func(ctx context.Context, tx store.Tx, said store.Word) (models.Operation, error) {
		return r.store.CancelledElsewhere(ctx, tx, mode, captureID, said)
	})
}

func (r *Runner) elsewhere(ctx context.Context, gatewayID string, w Word, say func(context.Context, store.Tx, store.Word) (models.Operation, error)) (op models.Operation, err error) {
	_, a, err := r.accountOf(ctx, models.Operation{PaymentGatewayID: gatewayID})
	if err != nil {
		return op, err
	}
	err = r.store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		op, err = say(ctx, tx, store.Word{Mechanism: mechanism(a), By: w.By, Reason: w.Reason})
		return err
	})
	return op, err
}

// mechanism is how a person did it, as it is remembered: on an account whose money
// a person moves anyway there is nothing to remember.
func mechanism(a *account) string {
	if a != nil && a.caps.ByHand {
		return ""
	}
	return models.MechanismManual
}

// accountOf finds the account of an operation; nil when no adapter is configured.
func (r *Runner) accountOf(ctx context.Context, op models.Operation) (slug string, a *account, err error) {
	g, err := r.store.GatewayByID(ctx, op.PaymentGatewayID)
	if err != nil {
		return "", nil, err
	}
	return g.Slug, r.accounts[g.Slug], nil
}

// cannotBeAsked says who has to tell instead.
func cannotBeAsked(kind models.Kind, provider string) error {
	return &store.Refusal{Rule: RuleCannotBeAsked, Field: "_forward", Detail: fmt.Sprintf(
		"%s cannot be asked what became of the %s; whoever knows says so: succeeded true or false, with a token of scope admin and a reason in meta.reason", provider, kind)}
}
