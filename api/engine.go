package api

import (
	"context"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// Engine is what every dialect moves money with. What has to be the same whoever
// asks, and in whatever words, stands here and below; a dialect reads requests
// and writes answers. The caller is that of the context: see [CallerOf].
type Engine struct {
	Store    *store.Store
	Enqueuer *enqueuer.Enqueuer
	// Settle is worker.Runner.Settle, which comes before what depends on an
	// outcome; nil leaves open ones to their schedule.
	Settle func(ctx context.Context, mode models.Mode, orderID, actor string) error
	// Person records what a person says became of money; nil takes nobody's word.
	Person *worker.Runner
}

// Settled does something with an order whose operations decide whether it may
// be done: a refund, a cancel, a capture, a void, another total. The gateway is
// asked first about whatever has no outcome yet. Where it cannot tell, the
// ledger refuses as it stands, and the refusal says when it will be known.
func (e Engine) Settled(ctx context.Context, orderID string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	if err := e.settleFirst(ctx, orderID); err != nil {
		return enqueuer.Published{}, err
	}
	p, err := e.Enqueuer.Do(ctx, fn)
	return p, e.Store.WhenKnown(ctx, CallerOf(ctx).Mode, orderID, err)
}

func (e Engine) settleFirst(ctx context.Context, orderID string) error {
	if e.Settle == nil {
		return nil
	}
	who := CallerOf(ctx)
	return e.Settle(ctx, who.Mode, orderID, who.Actor())
}

// Vouched is a person's word, or why it does not count: it takes scope admin, and
// a reason.
func (e Engine) Vouched(ctx context.Context, actor, reason string, elsewhere bool) (worker.Word, error) {
	who := CallerOf(ctx)
	switch {
	case e.Person == nil:
		return worker.Word{}, &store.Refusal{Rule: "words_not_taken", Detail: "nobody's word about money is taken here"}
	case who.Scope < ScopeAdmin:
		return worker.Word{}, Forbidden(who, ScopeAdmin)
	case reason == "":
		return worker.Word{}, NoReason()
	}
	return worker.Word{By: actor, Reason: reason, Elsewhere: elsewhere}, nil
}

// NoReason is the problem of a change that needs to be answered for.
func NoReason() *Problem {
	return &Problem{
		Status: http.StatusUnprocessableEntity, Code: CodeValidation, Title: "Validation error",
		Detail: "reason must say why; it is kept with your name", Pointer: "/meta/reason", Meta: map[string]any{"error": "blank"},
	}
}

// Told records a person's word that an operation took effect. Elsewhere: they did
// it beside its gateway account.
func (e Engine) Told(ctx context.Context, op models.Operation, elsewhere bool, actor, reason string) error {
	w, err := e.Vouched(ctx, actor, reason, elsewhere)
	if err != nil {
		return err
	}
	_, err = e.Person.Assert(ctx, CallerOf(ctx).Mode, op.Kind, op.ID, true, w)
	return err
}

// CapturedElsewhere records a capture that a person made beside the hold's
// gateway account: cents, or with 0 as much as hold and order allow.
func (e Engine) CapturedElsewhere(ctx context.Context, hold models.Authorization, cents int64, actor, reason string, labels models.Labels) (models.Operation, error) {
	w, err := e.Vouched(ctx, actor, reason, true)
	if err != nil {
		return models.Operation{}, err
	}
	if err := e.settleFirst(ctx, hold.OrderID); err != nil {
		return models.Operation{}, err
	}
	op, err := e.Person.CapturedElsewhere(ctx, CallerOf(ctx).Mode, hold.ID, cents, w, labels)
	return op, e.Store.WhenKnown(ctx, hold.Mode, hold.OrderID, err)
}

// RefundedElsewhere records a refund that a person made beside the capture's
// gateway account: cents, or with 0 all that is left.
func (e Engine) RefundedElsewhere(ctx context.Context, capture models.Operation, cents int64, actor, reason string) error {
	return e.returnedElsewhere(ctx, capture, actor, reason, func(w worker.Word) error {
		_, err := e.Person.RefundedElsewhere(ctx, CallerOf(ctx).Mode, capture.ID, cents, w)
		return err
	})
}

// CancelledElsewhere records that a person gave the money of a mismatched capture
// back beside its gateway account, under the conditions of any cancel.
func (e Engine) CancelledElsewhere(ctx context.Context, capture models.Operation, actor, reason string) error {
	return e.returnedElsewhere(ctx, capture, actor, reason, func(w worker.Word) error {
		_, err := e.Person.CancelledElsewhere(ctx, CallerOf(ctx).Mode, capture.ID, w)
		return err
	})
}

func (e Engine) returnedElsewhere(ctx context.Context, capture models.Operation, actor, reason string, say func(worker.Word) error) error {
	w, err := e.Vouched(ctx, actor, reason, true)
	if err != nil {
		return err
	}
	if err := e.settleFirst(ctx, capture.OrderID); err != nil {
		return err
	}
	return e.Store.WhenKnown(ctx, capture.Mode, capture.OrderID, say(w))
}

// Await waits for the outcome of an operation that was just asked for, so that a
// client which expects its answer at once has it. It returns the operation as it
// stands after at most within: what is still open then goes on by itself.
func (e Engine) Await(ctx context.Context, op models.Operation, within time.Duration) (models.Operation, error) {
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ends, _ := waiting.Deadline()
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, awaitPause) {
		now, err := e.Store.Operation(ctx, op.Mode, op.Kind, op.ID)
		if err != nil || !now.State.Live() || now.NeedsAttention != "" || now.State == models.Submitted {
			return now, err
		}
		if now.State == models.Pending && now.NextAt != nil && now.NextAt.After(ends) {
			return now, nil // its next try comes too late for this answer
		}
		timer := time.NewTimer(pause)
		select {
		case <-waiting.Done():
			timer.Stop()
			return now, nil
		case <-timer.C:
		}
	}
}

// awaitPause is the longest pause between two reads of an operation that a client
// waits for.
const awaitPause = 250 * time.Millisecond
