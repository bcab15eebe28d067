package enqueuer

import (
	"context"
	"errors"
	"strings"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Approve approves an order inside the caller's transaction, a *sql.Tx or a
// bun.Tx, and makes the captures that its payment method wants. Approving
// twice, or a thousand times at once, makes one capture. A refusal is a
// *store.Refusal; nothing was written then.
func (e *Enqueuer) Approve(ctx context.Context, tx store.Tx, mode models.Mode, orderID, actor string) (Published, error) {
	order, ops, err := e.store.Approve(ctx, tx, mode, orderID, actor)
	return e.made(order, ops, err)
}

// Approvals is what became of the orders of one call.
type Approvals struct {
	// Each answers the ids in the order in which they were asked for.
	Each []store.Approval
	made Published
}

// Publish tells Redis of the captures of all orders, after the commit: see
// [Published.Publish].
func (a Approvals) Publish(ctx context.Context) error { return a.made.Publish(ctx) }

// Counts tells how many orders, each counted once, were approved by the call,
// were approved before it, and were refused or not found.
func (a Approvals) Counts() (approved, unchanged, refused int) {
	for _, one := range firsts(a.Each) {
		switch {
		case one.Err != nil:
			refused++
		case one.Unchanged:
			unchanged++
		default:
			approved++
		}
	}
	return approved, unchanged, refused
}

// ApproveMany is Approve for many orders, at the cost of two statements
// altogether. What is refused or not found is told beside its order and leaves
// the others and the transaction as they are; an error is one of the whole call.
func (e *Enqueuer) ApproveMany(ctx context.Context, tx store.Tx, mode models.Mode, ids []string, actor string) (Approvals, error) {
	return e.approve(ctx, tx, mode, ids, actor)
}

// ApproveNow is ApproveMany without a transaction of the caller's: when it
// returns, the approvals are committed and the captures published. What Redis
// did not take is left to the relay, and is no error.
func (e *Enqueuer) ApproveNow(ctx context.Context, mode models.Mode, ids []string, actor string) (Approvals, error) {
	a, err := e.approve(ctx, nil, mode, ids, actor)
	if err != nil {
		return Approvals{}, err
	}
	e.tell(ctx, a.made)
	return a, nil
}

func (e *Enqueuer) approve(ctx context.Context, tx store.Tx, mode models.Mode, ids []string, actor string) (Approvals, error) {
	each, err := e.store.ApproveAll(ctx, tx, mode, ids, actor)
	if err != nil {
		return Approvals{}, err
	}
	a := Approvals{Each: each, made: Published{enqueuer: e}}
	for _, one := range firsts(each) {
		a.made.Operations = append(a.made.Operations, one.Operations...)
		if _, refused := errors.AsType[*store.Refusal](one.Err); one.Err != nil && !refused && !errors.Is(one.Err, store.ErrNotFound) {
			e.log.ErrorContext(ctx, "order could not be approved", "order_id", one.OrderID, "error", one.Err)
		}
	}
	return a, nil
}

// firsts leaves out the ids that came before.
func firsts(each []store.Approval) []store.Approval {
	seen := make(map[string]bool, len(each))
	kept := make([]store.Approval, 0, len(each))
	for _, one := range each {
		if key := strings.ToLower(one.OrderID); !seen[key] {
			seen[key] = true
			kept = append(kept, one)
		}
	}
	return kept
}

// tell publishes what was committed. A Redis that is down fails nobody's call.
func (e *Enqueuer) tell(ctx context.Context, p Published) {
	if err := p.Publish(ctx); err != nil {
		e.log.WarnContext(ctx, "left to the relay", "operations", len(p.Operations), "error", err)
	}
}
