package commercelayer

import (
	"errors"

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

// vouched is a person's word, or why it does not count.
func (c *call) vouched(actor, reason string, elsewhere bool) (worker.Word, error) {
	return c.api.engine.Vouched(c.Context(), actor, reason, elsewhere)
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
	if change.cancel {
		return c.api.engine.CancelledElsewhere(c.Context(), op, change.actor, change.reason)
	}
	return c.api.engine.RefundedElsewhere(c.Context(), op, change.refundCents, change.actor, change.reason)
}

// capturedElsewhere records a capture that a person made beside the hold's
// gateway account.
func (c *call) capturedElsewhere(hold models.Authorization, amount int64, actor, reason string, labels models.Labels) (models.Operation, error) {
	return c.api.engine.CapturedElsewhere(c.Context(), hold, amount, actor, reason, labels)
}
