package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

var ada = worker.Word{By: "api:admin (Ada)", Reason: "seen on the statement"}

// byHand is a runner whose account is worked by a person.
func (w *world) byHand(t *testing.T) *worker.Runner {
	t.Helper()
	return worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{account: manual.New()}, Name: "clerk", Log: w.log})
}

func (w *world) says(t *testing.T, r *worker.Runner, p purchase, happened bool) models.Operation {
	t.Helper()
	if _, err := r.Assert(t.Context(), models.Test, p.op.Kind, p.op.ID, happened, ada); err != nil {
		t.Fatal(err)
	}
	return w.reread(t, p)
}

// only is the one operation of a kind that an order has.
func (w *world) only(t *testing.T, kind models.Kind, p purchase) purchase {
	t.Helper()
	ops := w.operations(t, kind, p)
	if len(ops) != 1 {
		t.Fatalf("%d %ss, want one: %+v", len(ops), kind, ops)
	}
	p.op = ops[0]
	return p
}

// TestAPersonMovesTheMoney: every operation of such an account waits for a word,
// the automatic ones as well; nothing runs in circles meanwhile.
func TestAPersonMovesTheMoney(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	r := w.byHand(t)
	waits := func(p purchase) {
		t.Helper()
		_ = r.Run(t.Context(), p.op.Kind, p.op.ID) // its error is when to come again
		op := w.reread(t, p)
		if op.State != models.Submitted || op.NeedsAttention != models.FlagWord || op.NextAt.Before(time.Now().Add(tempo.Of(6*24*time.Hour))) || op.GatewayTransactionID != op.GatewayReference {
			t.Fatalf("%s is %s %q, next looked at %v", op.Kind, op.State, op.NeedsAttention, op.NextAt)
		}
		if d, err := r.Forward(t.Context(), models.Test, op.Kind, op.ID, "shop", "why"); err == nil {
			t.Errorf("forwarded without a word: %+v", d)
		} else if refusal, ok := refused(err); !ok || refusal.Rule != worker.RuleCannotBeAsked {
			t.Error(err)
		}
	}
	p := w.order(t, "")
	waits(p)
	w.settleOrder(t, r, p)
	if after := w.reread(t, p); after.Version != 3 {
		t.Errorf("settling moved it to v%d", after.Version)
	}
	if op := w.says(t, r, p, true); op.State != models.Succeeded || op.AssertedBy != ada.By || op.Mechanism != "" {
		t.Errorf("said to have happened, it is %s by %q, %q", op.State, op.AssertedBy, op.Mechanism)
	}
	w.wantOrder(t, p, models.OrderApproved, models.Paid)
	w.cancel(t, p)
	refund := w.only(t, models.Refund, p)
	waits(refund)
	w.says(t, r, refund, true)
	w.wantOrder(t, p, models.OrderCancelled, models.Refunded)

	// Cancelled while a person is asked: their word decides, and the hold is released by another.
	p = w.order(t, "")
	waits(p)
	if o := w.cancel(t, p); o.Status == models.OrderCancelled {
		t.Error("cancelled before the word")
	}
	_ = r.Run(t.Context(), p.op.Kind, p.op.ID)
	w.says(t, r, p, false)
	w.exec(t, `UPDATE order_checks SET due_at = now()`)
	if _, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", CancelAfter: time.Hour, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	void := w.only(t, models.Void, p)
	waits(void)
	w.says(t, r, void, true)
	w.wantOrder(t, p, models.OrderCancelled, models.Voided)
	w.audit(t)
}

// TestAWordInsteadOfALook: at a gateway that is asked by repeating, a person may
// say what became of a call, while a repeat might still tell and when none may any
// more; what is recorded so is nothing that the gateway is asked to give back.
func TestAWordInsteadOfALook(t *testing.T) {
	t.Parallel()
	at := models.Tempo{Scale: 60}
	w := newWorld(t, setup{tempo: &at})
	for name, window := range map[string]time.Duration{"inconclusive": 24 * time.Hour, worker.RuleCannotBeAsked: at.Lease()} {
		p := w.order(t, "charge_then_drop")
		r := w.muteRunner(t, mute{window: window})
		w.runs(t, r, p, "its call was made", func(o models.Operation) bool { return o.SentVersion != nil })
		_, err := r.Forward(t.Context(), models.Test, p.op.Kind, p.op.ID, "shop", "why")
		if refusal, ok := refused(err); !ok || refusal.Rule != name {
			t.Errorf("forwarded: %v, want the refusal %s", err, name)
		}
		if op := w.says(t, r, p, true); op.State != models.Succeeded || !op.Manual() || op.NeedsAttention != "" {
			t.Errorf("%s by %q, flagged %q", op.State, op.Mechanism, op.NeedsAttention)
		}
		w.wantOrder(t, p, models.OrderApproved, models.Paid)
		w.cancel(t, p)
		if refunds := w.operations(t, models.Refund, p); len(refunds) != 0 {
			t.Errorf("%d refunds by themselves", len(refunds))
		}
		if got := w.reread(t, p); got.NeedsAttention != store.FlagCancelFailed || !slices.Contains(models.NextActions(got), models.ActRefundByHand) {
			t.Errorf("flagged %q, next %v", got.NeedsAttention, models.NextActions(got))
		}
		if _, err := r.CancelledElsewhere(t.Context(), models.Test, p.op.ID, ada); err != nil {
			t.Error(err)
		}
		w.wantOrder(t, p, models.OrderCancelled, models.Refunded)
	}
	w.audit(t)
}

// TestAWordBesideAClaim: it has to wait for what the claim comes to.
func TestAWordBesideAClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "")
	r := w.byHand(t)
	tried := 0
	claiming := w.runner(t, staff{at: func(worker.Step) {
		if op := w.reread(t, p); op.State != models.Capturing {
			return
		}
		tried++
		for _, happened := range []bool{true, false} {
			_, err := r.Assert(t.Context(), models.Test, p.op.Kind, p.op.ID, happened, ada)
			if refusal, ok := refused(err); !ok || refusal.Rule != "operation_under_way" || !refusal.Busy {
				t.Errorf("during a claim: %v", err)
			}
		}
	}})
	_ = claiming.Run(t.Context(), p.op.Kind, p.op.ID)
	if op := w.reread(t, p); op.State != models.Succeeded || op.AssertedBy != "" || tried == 0 {
		t.Errorf("%s by %q after %d words", op.State, op.AssertedBy, tried)
	}
	w.check(t, p, truth{captured: total})
}
