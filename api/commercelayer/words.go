package commercelayer

import (
	"errors"
	"net/http"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// manual reads how a person did something: manual, or nothing.
func (in *input) manual(name string) bool {
	v, there := in.get(name)
	if !there || v == nil {
		return false
	}
	if v != models.MechanismManual {
		in.invalid(name, "inclusion", "must be "+models.MechanismManual+", or left out", nil)
		return false
	}
	return true
}

// goesWith complains about an attribute that means nothing by itself.
func (in *input) goesWith(name string, sent, meant bool, with string) {
	if sent && !meant {
		in.invalid(name, "dependent", "goes with "+with, nil)
	}
}

// noReason is the problem of a change that needs to be answered for.
func noReason() *api.Problem {
	return &api.Problem{
		Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error",
		Detail: "reason must say why; it is kept with your name", Pointer: "/meta/reason", Meta: map[string]any{"error": "blank"},
	}
}

// vouched is a person's word, or why it does not count: it takes scope admin, and
// a reason.
func (c *call) vouched(actor, reason string, elsewhere bool) (worker.Word, error) {
	switch {
	case c.api.person == nil:
		return worker.Word{}, &store.Refusal{Rule: "words_not_taken", Detail: "nobody's word about money is taken here"}
	case c.who.Scope < api.ScopeAdmin:
		return worker.Word{}, api.Forbidden(c.who, api.ScopeAdmin)
	case reason == "":
		return worker.Word{}, noReason()
	}
	return worker.Word{By: actor, Reason: reason, Elsewhere: elsewhere}, nil
}

// actor is the caller, with the person that meta.by names.
func (c *call) actor(in *input) string {
	if by := in.said("by", 100); by != "" {
		return c.who.Actor() + " (" + by + ")"
	}
	return c.who.Actor()
}

// told records a person's word about an operation.
func (c *call) told(op models.Operation, happened, elsewhere bool, actor, reason string) (models.Decision, error) {
	w, err := c.vouched(actor, reason, elsewhere)
	if err != nil {
		return models.Decision{}, err
	}
	return c.api.person.Assert(c.Context(), c.who.Mode, op.Kind, op.ID, happened, w)
}

// forwarded has the gateway asked whether an operation succeeded there. Where it
// cannot be asked, a person who may, and who says why, vouches for it.
func (c *call) forwarded(op models.Operation, actor, reason string) (models.Decision, error) {
	d, err := c.api.forward(c.Context(), c.who.Mode, op.Kind, op.ID, actor, reason)
	refusal, ok := errors.AsType[*store.Refusal](err)
	if !ok {
		return d, err
	}
	switch refusal.Rule {
	case worker.RuleCannotBeAsked:
		return c.told(op, true, false, actor, reason)
	case "inconclusive":
		if c.who.Scope < api.ScopeAdmin || reason == "" {
			return d, err
		}
		said, sayErr := c.told(op, true, false, actor, reason)
		if _, asks := errors.AsType[*store.Refusal](sayErr); asks {
			return d, err // it can be asked, or is being asked right now
		}
		return said, sayErr
	}
	return d, err
}

// returnedElsewhere records a refund, or a cancel, that a person made beside the
// capture's gateway account.
func (c *call) returnedElsewhere(op models.Operation, change operationChange) error {
	w, err := c.vouched(change.actor, change.reason, true)
	if err != nil {
		return err
	}
	if err := c.settleFirst(op.OrderID); err != nil {
		return err
	}
	if change.cancel {
		_, err = c.api.person.CancelledElsewhere(c.Context(), c.who.Mode, op.ID, w)
	} else {
		_, err = c.api.person.RefundedElsewhere(c.Context(), c.who.Mode, op.ID, change.refundCents, w)
	}
	return c.whenKnown(err, op.OrderID)
}

// capturedElsewhere records a capture that a person made beside the hold's
// gateway account.
func (c *call) capturedElsewhere(hold models.Authorization, amount int64, actor, reason string, labels models.Labels) (models.Operation, error) {
	w, err := c.vouched(actor, reason, true)
	if err != nil {
		return models.Operation{}, err
	}
	if err := c.settleFirst(hold.OrderID); err != nil {
		return models.Operation{}, err
	}
	op, err := c.api.person.CapturedElsewhere(c.Context(), c.who.Mode, hold.ID, amount, w, labels)
	return op, c.whenKnown(err, hold.OrderID)
}
