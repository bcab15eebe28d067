package commercelayer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// remedyOf is what _apply does about a verdict. A hold that a gateway's list says
// has ended is not captured any more.
func remedyOf(v store.VerdictRow, op *models.Operation) string {
	if _, ok := foreignRefund(v, op); ok {
		return models.ActAdopt
	}
	remedy := models.Remedy(v.Verdict, op)
	if remedy == models.ActCapture && (v.OrderID == nil || v.Finding != nil) {
		return ""
	}
	return remedy
}

// foreignRefund is the line of the gateway's list that a finding is about, when it
// tells of a refund of our capture that somebody else made there.
func foreignRefund(v store.VerdictRow, op *models.Operation) (line models.Movement, ok bool) {
	if v.Finding == nil || v.Verdict != models.NeedsAttention || op == nil || op.Kind != models.Capture || op.State != models.Succeeded {
		return line, false
	}
	err := json.Unmarshal(v.Theirs, &line)
	return line, err == nil && line.Kind == models.MovedRefunded && line.TransactionID != ""
}

// changeVerdict answers PATCH /api/verdicts/{id}: a person applies what was
// found, or dismisses it, and says why.
func (c *call) changeVerdict() error {
	t, id := c.api.verdictType, c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	apply, dismiss := in.trigger("_apply"), in.trigger("_dismiss")
	in.only(map[string]bool{"_apply": apply, "_dismiss": dismiss})
	reason := in.reason()
	if (apply || dismiss) && reason == "" {
		in.problems = append(in.problems, api.NoReason())
	}
	if err := in.done(t.attributes); err != nil {
		return err
	}
	v, err := c.api.store.Verdict(c.Context(), c.who.Mode, id)
	if err != nil {
		return err
	}
	asked := "/data/attributes/_apply"
	if dismiss {
		asked = "/data/attributes/_dismiss"
	}
	actor := c.actor(in)
	switch {
	case !apply && !dismiss:
	case v.ResolvedAt != nil:
		err = store.AlreadyResolved()
	case apply:
		err = c.applyVerdict(v, actor, reason)
	default:
		err = c.api.store.Resolve(c.Context(), nil, v.ID, store.VerdictDismissed, actor, reason, "")
	}
	if err != nil {
		return in.refused(err, asked)
	}
	return c.again(http.StatusOK, t, v.ID, in.query)
}

// applyVerdict does what a verdict asks for, under the guards that the same
// action has by hand, and writes the resolution: beside the action in one
// transaction where the action is one; after a forward, which asks a gateway, and
// after an adoption, which is a claim of its own. If the process dies after that
// and before the resolution, the next apply finds it done and writes it then.
func (c *call) applyVerdict(v store.VerdictRow, actor, reason string) error {
	op, err := c.operationOf(v)
	if err != nil {
		return err
	}
	remedy := remedyOf(v, op)
	if remedy == "" {
		return nothingToApply(v, op)
	}
	var outcome string
	switch remedy {
	case models.ActForward:
		outcome, err = c.applyForward(*op, actor, reason)
	case models.ActAdopt:
		outcome, err = c.applyAdoption(v, *op, actor, reason)
	default:
		return c.applyAtOnce(v, op, remedy, actor, reason)
	}
	if err != nil {
		return c.unless(v, err)
	}
	return c.api.store.Resolve(c.Context(), nil, v.ID, store.VerdictApplied, actor, reason, outcome)
}

func (c *call) operationOf(v store.VerdictRow) (*models.Operation, error) {
	if v.OperationID == nil || v.Kind == "" {
		return nil, nil
	}
	op, err := c.api.store.Operation(c.Context(), c.who.Mode, v.Kind, *v.OperationID)
	return &op, err
}

// nothingToApply says what a person can do instead.
func nothingToApply(v store.VerdictRow, op *models.Operation) error {
	detail := fmt.Sprintf("a verdict %s without an operation of ours is settled at the gateway or by the shop; dismiss it when that is done", v.Verdict)
	if op != nil {
		waits := "nobody"
		if op.NeedsAttention == models.FlagWord {
			waits = "a person's word"
		}
		detail = fmt.Sprintf("the %s is %s and waits for %s; %s", op.Kind, op.State, waits, models.Instead(*op))
	}
	return &store.Refusal{Rule: "nothing_to_apply", Detail: detail}
}

// unless answers with err unless somebody resolved the verdict meanwhile, whose
// action is then why this one failed.
func (c *call) unless(v store.VerdictRow, err error) error {
	if err == nil {
		return nil
	}
	if now, readErr := c.api.store.Verdict(c.Context(), c.who.Mode, v.ID); readErr == nil && now.ResolvedAt != nil {
		return store.AlreadyResolved()
	}
	return err
}

func (c *call) applyForward(op models.Operation, actor, reason string) (string, error) {
	if op.State == models.Succeeded || op.State == models.Reset {
		return fmt.Sprintf("the %s was %s already", op.Kind, op.State), nil
	}
	if err := c.forwardable(op); err != nil {
		return "", err
	}
	d, err := c.forwarded(op, actor, reason)
	return d.Rule, err
}

// applyAdoption records a refund that somebody else made at the gateway.
func (c *call) applyAdoption(v store.VerdictRow, capture models.Operation, actor, reason string) (string, error) {
	line, _ := foreignRefund(v, &capture)
	refund, err := c.api.adoptRefund(c.Context(), c.who.Mode, capture.ID, line, actor, reason)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("recorded the gateway's refund %s as %s; no money moved", line.TransactionID, refund.Number), nil
}

// step is an action in a transaction: what it made, and what came of it in words.
type step func(ctx context.Context, tx store.Tx) (enqueuer.Published, string, error)

// applyAtOnce does what needs the ledger alone, and writes the resolution with it.
func (c *call) applyAtOnce(v store.VerdictRow, op *models.Operation, remedy, actor, reason string) error {
	act, orderID, err := c.stepOf(v, op, remedy, actor, reason)
	if err != nil {
		return err
	}
	do := func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		p, outcome, err := act(ctx, tx)
		if err != nil {
			return p, err
		}
		return p, c.api.store.Resolve(ctx, tx, v.ID, store.VerdictApplied, actor, reason, outcome)
	}
	if orderID == "" { // depends on no outcome
		_, err = c.api.enqueuer.Do(c.Context(), do)
	} else {
		_, err = c.settled(orderID, do)
	}
	return c.unless(v, err)
}

// stepOf is what a remedy does, and the order whose open outcomes are asked for
// before, if it depends on them.
func (c *call) stepOf(v store.VerdictRow, op *models.Operation, remedy, actor, reason string) (act step, orderID string, err error) {
	switch remedy {
	case models.ActRetry:
		return func(ctx context.Context, tx store.Tx) (enqueuer.Published, string, error) {
			return enqueuer.Published{}, "looked at again; its flag, if it had one, is cleared", c.api.store.Retry(ctx, tx, *op, actor, reason)
		}, "", nil
	case models.ActAcknowledge:
		return func(ctx context.Context, tx store.Tx) (enqueuer.Published, string, error) {
			return enqueuer.Published{}, "acknowledged " + op.NeedsAttention, c.api.store.Acknowledge(ctx, tx, *op, actor, reason)
		}, "", nil
	case models.ActCancel:
		return func(ctx context.Context, tx store.Tx) (enqueuer.Published, string, error) {
			return made(c.api.enqueuer.CancelCapture(ctx, tx, c.who.Mode, op.ID, actor))
		}, op.OrderID, nil
	}
	hold, err := c.nearestHold(*v.OrderID)
	return func(ctx context.Context, tx store.Tx) (enqueuer.Published, string, error) {
		return made(c.api.enqueuer.Capture(ctx, tx, c.who.Mode, hold.ID, 0, actor, models.Labels{}))
	}, hold.OrderID, err
}

// made says what came into being.
func made(p enqueuer.Published, err error) (enqueuer.Published, string, error) {
	var numbers []string
	for _, op := range p.Operations {
		numbers = append(numbers, "created "+string(op.Kind)+" "+op.Number)
	}
	return p, strings.Join(numbers, ", "), err
}

// nearestHold is the hold of an approved order that ends first and has something
// left to capture.
func (c *call) nearestHold(orderID string) (models.Authorization, error) {
	no := func(rule, detail string) (models.Authorization, error) {
		return models.Authorization{}, &store.Refusal{Rule: rule, Detail: detail}
	}
	order, err := c.api.store.Order(c.Context(), c.who.Mode, orderID)
	if err != nil {
		return models.Authorization{}, err
	}
	if order.Status != models.OrderApproved {
		return no("order_not_approved", fmt.Sprintf("the order is %s; approve it, or capture its authorization by hand", order.Status))
	}
	holds, err := c.api.store.Authorizations(c.Context(), orderID)
	if err != nil {
		return models.Authorization{}, err
	}
	var nearest *models.Authorization
	for i, h := range holds {
		if h.Left() > 0 && (nearest == nil || sooner(h, *nearest)) {
			nearest = &holds[i]
		}
	}
	if nearest == nil || order.Left() == 0 {
		return no("nothing_left", fmt.Sprintf("the order has %d left to capture and no open hold with more than that; nothing is about to be lost", order.Left()))
	}
	return *nearest, nil
}

// sooner reports whether a ends before b as far as anybody knows.
func sooner(a, b models.Authorization) bool {
	at, other := a.Deadline(), b.Deadline()
	return at != nil && (other == nil || at.Before(*other))
}
