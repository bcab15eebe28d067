package webhooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The outcomes of a message, as the inbox keeps them.
const (
	applied    = "applied"    // it moved something
	inSync     = "in_sync"    // it said what was known
	hinted     = "hint"       // it proves nothing; what it may be about is looked up
	compared   = "compared"   // it does not agree with the ledger; a verdict says what was found
	ignored    = "ignored"    // it is about nothing we do
	refused    = "refused"    // a rule said no; the reason begins with its name
	parked     = "parked"     // it was kept long enough; a person may look
	unreadable = "unreadable" // genuine, and not understood
)

// end is what became of a message.
type end struct {
	outcome string
	reason  string
	// later keeps the message: what it is about is not known yet.
	later bool
	// blind: it names nothing of ours, and gives up early.
	blind bool
}

func ended(outcome, format string, args ...any) end {
	return end{outcome: outcome, reason: fmt.Sprintf(format, args...)}
}

func notYet(blind bool, format string, args ...any) end {
	return end{later: true, blind: blind, reason: fmt.Sprintf(format, args...)}
}

// How long a message waits for what it is about.
const (
	firstWait = 5 * time.Second
	longest   = time.Hour
	keepFor   = 30 * 24 * time.Hour
	// blindTries is how often a message that names nothing of ours is tried: over
	// three hours, which is longer than a checkout takes to register its hold.
	blindTries = 12
)

// wait is the pause after so many tries.
func wait(tries int) time.Duration {
	return min(longest, firstWait<<min(max(tries-1, 0), 10))
}

// settle works one message and writes what became of it. An error keeps it.
func (w *Webhooks) settle(ctx context.Context, e store.InboxEvent) error {
	var result end
	var err error
	switch {
	case e.Source == commerceLayer && e.Topic == topicPaidNote:
		return w.store.FinishInbox(ctx, e.ID, inSync, "a note that the order's money was taken there, for an approval that comes later")
	case e.Topic == topicUnreadable:
		result = ended(unreadable, "it is genuine and could not be understood")
	case e.Source == commerceLayer:
		result, err = w.applyOrder(ctx, e)
	default:
		result, err = w.applyNotice(ctx, e)
	}
	if err != nil && ctx.Err() != nil {
		return err // stopping; the message is due again within a minute
	}
	if err != nil {
		result = notYet(false, "failed: %v", err)
	}
	if result.later && !w.giveUp(e, result, err) {
		w.log.InfoContext(ctx, "webhook kept for later", "source", e.Source, "event_id", e.EventID, "topic", e.Topic, "tries", e.Tries, "reason", result.reason)
		return w.store.PostponeInbox(ctx, e.ID, result.reason, w.tempo.Of(wait(e.Tries)))
	}
	if result.later {
		result.outcome = parked
	}
	w.metrics.applied.WithLabelValues(e.Source, result.outcome).Inc()
	w.log.InfoContext(ctx, "webhook worked", "source", e.Source, "event_id", e.EventID, "topic", e.Topic, "outcome", result.outcome, "reason", result.reason)
	return w.store.FinishInbox(ctx, e.ID, result.outcome, result.reason)
}

// giveUp ends the waiting, never for an error of our own.
func (w *Webhooks) giveUp(e store.InboxEvent, result end, err error) bool {
	if err != nil {
		return false
	}
	return result.blind && e.Tries >= blindTries || w.now().Sub(e.ReceivedAt) > w.tempo.Of(keepFor)
}

// applyNotice applies what a gateway says.
func (w *Webhooks) applyNotice(ctx context.Context, e store.InboxEvent) (end, error) {
	source, known := w.sources[e.Source]
	if !known {
		return notYet(false, "no webhook source %s is configured here any more", e.Source), nil
	}
	n, err := unwrap(e.Body)
	if err != nil {
		return ended(unreadable, "%v", err), nil
	}
	switch {
	case n.Live != (source.Mode == models.Live):
		return ended(ignored, "the account is in %s mode, and the event is not", source.Mode), nil
	case n.AsAnswered:
		return w.byAnswer(ctx, source, n)
	case n.Hold == "" && n.Reference == "":
		return ended(ignored, "it names no payment"), nil
	case n.Reference != "" && n.Kind != "":
		return w.byReference(ctx, source, n)
	}
	return w.byHold(ctx, source, n)
}

// byReference applies a notice that names its operation.
func (w *Webhooks) byReference(ctx context.Context, s Source, n gateway.Notice) (end, error) {
	op, err := w.store.FindOperation(ctx, s.Slug, n.Kind, n.Reference, "")
	if errors.Is(err, store.ErrNotFound) {
		return notYet(false, "no %s %s is known yet", n.Kind, n.Reference), nil
	}
	if err != nil {
		return end{}, err
	}
	account, err := w.store.GatewayBySlug(ctx, s.Slug)
	if err != nil {
		return end{}, err
	}
	if op.PaymentGatewayID != account.ID {
		return ended(parked, "the %s %s belongs to another gateway account than the sender's", n.Kind, n.Reference), nil
	}
	// Shops hand what a payment carries on to the next, our reference with it.
	if hold, err := w.store.Authorization(ctx, op.Mode, op.AuthorizationID); err != nil {
		return end{}, err
	} else if n.Hold != "" && n.Hold != hold.GatewayTransactionID && n.Hold != hold.FirstTransactionID {
		n.Evidence.Outcome, n.Evidence.Message = models.OutcomeLost, "it is about another hold, "+clip(n.Hold)
	}
	return w.observe(ctx, s, op, n)
}

// byHold applies a notice that names a hold only. It proves something when
// just one operation can be meant; a refund may always be somebody else's.
func (w *Webhooks) byHold(ctx context.Context, s Source, n gateway.Notice) (end, error) {
	ops, known, err := w.store.OperationsOfHold(ctx, s.Slug, n.Hold)
	if err != nil {
		return end{}, err
	}
	if !known {
		return notYet(true, "no hold %s is known", n.Hold), nil
	}
	var same []models.Operation
	for _, op := range ops {
		if op.Kind == n.Kind {
			same = append(same, op)
		}
	}
	switch {
	case n.Kind == "":
		return w.hint(ctx, s, n, ops, func(op models.Operation) bool { return op.State.Live() && op.State != models.Pending })
	case n.Kind == models.Refund && len(same) == 0:
		return ended(parked, "refund unknown to us: hold %s was refunded outside Capstan", n.Hold), nil
	case n.Kind == models.Capture && len(same) == 0:
		return notYet(true, "hold %s is known, and no capture of it: it may have been captured outside Capstan", n.Hold), nil
	case len(same) > 1 && n.Kind == models.Capture && n.Evidence.Outcome == models.OutcomeTakenBack:
		return w.oneOf(ctx, s, n, same)
	case len(same) == 1 && n.Kind != models.Refund && n.Evidence.Outcome != models.OutcomeLost:
		result, err := w.observe(ctx, s, same[0], n)
		if err != nil || n.Kind != models.Void {
			return result, err
		}
	}
	// The end of a hold is the end of its open captures too: they are looked up.
	return w.hint(ctx, s, n, ops, func(op models.Operation) bool {
		return op.State.Live() && (op.Kind == n.Kind || n.Kind == models.Void && op.Kind == models.Capture)
	})
}

// oneOf finds what a gateway means when it says that it took something of a hold
// back, and not which operation's. Where several stand a person looks at them all:
// it proves no amount of any.
func (w *Webhooks) oneOf(ctx context.Context, s Source, n gateway.Notice, same []models.Operation) (end, error) {
	same = slices.DeleteFunc(same, func(op models.Operation) bool { return op.State == models.Failed || op.State == models.Cancelled })
	if len(same) > 1 {
		n.Evidence.AmountCents, n.Evidence.TookCents, n.Evidence.GatewayTransactionID = 0, 0, ""
	}
	result := ended(inSync, "nothing of hold %s stands that it could be about", n.Hold)
	for _, op := range same {
		one, err := w.observe(ctx, s, op, n)
		if err != nil {
			return end{}, err
		}
		if one.later || one.outcome == applied || !result.later && one.outcome == hinted {
			result = one
		}
	}
	return result, nil
}

func (w *Webhooks) observe(ctx context.Context, s Source, op models.Operation, n gateway.Notice) (end, error) {
	d, err := w.store.Observe(ctx, store.Observation{Kind: op.Kind, ID: op.ID, Evidence: n.Evidence, Actor: "webhook:" + s.Slug, Reason: n.Type + " " + n.EventID})
	if err != nil {
		return end{}, err
	}
	if s.TellsOnce && n.Evidence.Outcome != models.OutcomeLost && (d.Event == models.Hinted || d.Event == "" && d.Verdict == models.Wait) {
		return notYet(false, "it proves something, and cannot be recorded yet: %s", d.Rule), nil
	}
	switch d.Event {
	case "":
		return ended(inSync, "%s", d.Rule), nil
	case models.Hinted:
		return ended(hinted, "%s", d.Rule), nil
	}
	return ended(applied, "%s: %s", d.Event, d.Rule), nil
}

// hint has operations looked up.
func (w *Webhooks) hint(ctx context.Context, s Source, n gateway.Notice, ops []models.Operation, which func(models.Operation) bool) (end, error) {
	n.Evidence.Outcome = models.OutcomeLost
	count := 0
	for _, op := range ops {
		if !which(op) {
			continue
		}
		if _, err := w.observe(ctx, s, op, n); err != nil {
			return end{}, err
		}
		count++
	}
	if count == 0 {
		return ended(inSync, "nothing of hold %s is open that it could be about", n.Hold), nil
	}
	return ended(hinted, "%d operations of hold %s are looked up", count, n.Hold), nil
}
