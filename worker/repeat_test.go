package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// mute is a gateway without a look-up, which is asked by sending again.
type mute struct {
	gateway.Gateway
	window time.Duration
	// later: it takes every capture and tells the result some other time.
	later bool
	// forgets: it does not know a key again, and refuses what was captured already.
	forgets bool
}

func (d mute) Capabilities() gateway.Capabilities {
	c := d.Gateway.Capabilities()
	c.LookUp, c.RepeatIsLookUp, c.ReplaysErrors, c.IdempotencyWindow = false, true, false, d.window
	return c
}

func (d mute) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	if facts, err := d.Describe(ctx, r.Hold); d.forgets && err == nil && facts.CapturedCents > 0 {
		return models.Evidence{Outcome: models.OutcomeRefused, Status: 422, ErrorCode: "already_captured"}
	}
	ev := d.Gateway.Capture(ctx, r)
	if d.later && ev.Outcome == models.OutcomeConfirmed {
		return models.Evidence{Outcome: models.OutcomeAccepted, GatewayTransactionID: ev.GatewayTransactionID, Status: 202}
	}
	return ev
}

func (w *world) muteRunner(t *testing.T, d mute) *worker.Runner {
	t.Helper()
	adapter := newAdapter(w.front.url(), w.store.Tempo(), w.log)
	t.Cleanup(adapter.Close)
	d.Gateway = adapter
	return worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{account: d}, Name: "mute", Log: w.log})
}

// runs takes the operation on whenever it is due, until it is as it should be.
func (w *world) runs(t *testing.T, r *worker.Runner, p purchase, what string, good func(models.Operation) bool) models.Operation {
	t.Helper()
	var op models.Operation
	eventually(t, what, func() (bool, any) {
		_ = r.Run(t.Context(), p.op.Kind, p.op.ID) // its error is when to come again
		op = w.reread(t, p)
		return good(op), op
	})
	return op
}

// TestRepeatIsLookUp: where a gateway cannot be asked, a lost answer is found out
// by the same call under the same key, while the key protects and nothing stands
// against a send.
func TestRepeatIsLookUp(t *testing.T) {
	t.Parallel()
	at := models.Tempo{Scale: 60}
	w := newWorld(t, setup{tempo: &at})
	day := 24 * time.Hour
	t.Run("a lost answer, and a lost call", func(t *testing.T) {
		for _, fault := range []string{"charge_then_drop", "drop_before", "drop_before:2,charge_then_rst"} {
			p := w.order(t, fault)
			w.runs(t, w.muteRunner(t, mute{window: day}), p, "the capture succeeds", func(o models.Operation) bool { return o.State == models.Succeeded })
			w.check(t, p, truth{captured: total})
			if keys := w.count(t, `SELECT count(DISTINCT idempotency_key) FROM attempts WHERE operation_id = $1`, p.op.ID); keys != 1 {
				t.Errorf("%s: sent under %d keys", fault, keys)
			}
		}
	})
	t.Run("a key that does not protect any more", func(t *testing.T) {
		p := w.order(t, "drop_before")
		op := w.runs(t, w.muteRunner(t, mute{window: at.Lease()}), p, "a person is called", func(o models.Operation) bool { return o.NeedsAttention != "" })
		if sends, _ := w.claims(t, p.op.ID); op.State != models.Unknown || op.NeedsAttention != models.FlagNoLookUp || sends != 1 {
			t.Errorf("%s, flagged %q, %d sends; want unknown, no_look_up and one", op.State, op.NeedsAttention, sends)
		}
		if b := w.book(t, p.hold); len(b.Captures) != 0 {
			t.Errorf("money moved: %+v", b.Captures)
		}
	})
	t.Run("an order cancelled meanwhile", func(t *testing.T) {
		p := w.order(t, "drop_before")
		r := w.muteRunner(t, mute{window: day})
		w.runs(t, r, p, "its call was made", func(o models.Operation) bool { return o.SentVersion != nil })
		w.cancel(t, p)
		op := w.runs(t, r, p, "it was looked at twice more", func(o models.Operation) bool { return o.LookUps >= 2 })
		if sends, _ := w.claims(t, p.op.ID); op.State != models.Unknown || sends != 1 || len(w.book(t, p.hold).Captures) != 0 {
			t.Errorf("%s after %d sends, booked %+v; want unknown after one and nothing", op.State, sends, w.book(t, p.hold).Captures)
		}
		if _, err := w.store.Observe(t.Context(), store.Observation{
			Kind: op.Kind, ID: op.ID, Actor: "webhook", Reason: "told",
			Evidence: models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeRefused, ErrorCode: "hold_gone", HoldGone: true},
		}); err != nil {
			t.Fatal(err)
		}
		if op = w.reread(t, p); op.State != models.Failed {
			t.Errorf("%s after the webhook's word, want failed", op.State)
		}
	})
	t.Run("accepted, and told later", func(t *testing.T) {
		p := w.order(t, "")
		r := w.muteRunner(t, mute{window: day, later: true})
		op := w.runs(t, r, p, "it was looked at twice", func(o models.Operation) bool { return o.LookUps >= 2 })
		if sends, _ := w.claims(t, p.op.ID); op.State != models.Submitted || sends != 1 {
			t.Errorf("%s after %d sends, want submitted after one", op.State, sends)
		}
	})
	t.Run("refused by a gateway that forgot the key", func(t *testing.T) {
		p := w.order(t, "charge_then_drop")
		op := w.runs(t, w.muteRunner(t, mute{window: day, forgets: true}), p, "a person is called", func(o models.Operation) bool { return o.NeedsAttention != "" })
		if sends, _ := w.claims(t, p.op.ID); op.State != models.Unknown || op.NeedsAttention != models.FlagNoLookUp || sends != 2 || len(w.book(t, p.hold).Captures) != 1 {
			t.Errorf("%s, flagged %q after %d sends, booked %+v; want unknown, no_look_up, two and once", op.State, op.NeedsAttention, sends, w.book(t, p.hold).Captures)
		}
	})
	t.Run("refused by a gateway that forgot the key, after a crash", func(t *testing.T) {
		p := w.order(t, "")
		r := w.muteRunner(t, mute{window: day, forgets: true})
		if claims, err := w.store.ClaimAll(t.Context(), p.op.Kind, []string{p.op.ID}, "dead"); err != nil || len(claims) != 1 {
			t.Fatalf("%d claims: %v", len(claims), err)
		}
		adapter := newAdapter(w.front.url(), w.store.Tempo(), w.log)
		t.Cleanup(adapter.Close)
		op := w.reread(t, p)
		if ev := adapter.Capture(t.Context(), gateway.Request{
			Kind: op.Kind, Reference: op.GatewayReference, Key: op.IdempotencyKey(), AmountCents: total, CurrencyCode: op.CurrencyCode, Hold: p.hold, Final: true,
		}); ev.Outcome != models.OutcomeConfirmed {
			t.Fatalf("%s", ev.JSON())
		}
		op = w.runs(t, r, p, "a person is called", func(o models.Operation) bool { return o.NeedsAttention != "" || !o.State.Live() })
		if op.State != models.Unknown || op.NeedsAttention != models.FlagNoLookUp {
			t.Errorf("%s, flagged %q, and the money is gone: %+v", op.State, op.NeedsAttention, w.book(t, p.hold).Captures)
		}
	})
	t.Run("asked before something else is done", func(t *testing.T) {
		p := w.order(t, "drop_before")
		r := w.muteRunner(t, mute{window: day})
		w.runs(t, r, p, "its call was made", func(o models.Operation) bool { return o.SentVersion != nil })
		w.settleOrder(t, r, p)
		if op := w.reread(t, p); op.State != models.Unknown || len(w.book(t, p.hold).Captures) != 0 {
			t.Errorf("%s, booked %+v: settling sends nothing and proves nothing here", op.State, w.book(t, p.hold).Captures)
		}
	})
	w.audit(t)
}

// shy takes everything, and shows nothing of it when it is asked.
type shy struct {
	gateway.Gateway
	window time.Duration
}

func (d shy) Capabilities() gateway.Capabilities {
	c := d.Gateway.Capabilities()
	c.IdempotencyWindow, c.SettleAfter = d.window, time.Second
	return c
}

func (shy) Capture(_ context.Context, r gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeAccepted, GatewayTransactionID: "act_" + r.Key, Status: 202}
}

func (shy) LookUp(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeNone}
}

// TestAcceptedAndNotListed: what a gateway accepted, and does not list, is sent
// again only while its key protects.
func TestAcceptedAndNotListed(t *testing.T) {
	t.Parallel()
	at := models.Tempo{Scale: 120}
	w := newWorld(t, setup{tempo: &at})
	adapter := newAdapter(w.front.url(), at, w.log)
	t.Cleanup(adapter.Close)
	const window = 2 * time.Second
	r := worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{account: shy{adapter, window}}, Name: "shy", Log: w.log})
	p := w.order(t, "")
	w.runs(t, r, p, "it was looked at after its key", func(o models.Operation) bool {
		return w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'look_up' AND claimed_at > (SELECT min(claimed_at) FROM attempts WHERE operation_id = $1) + interval '3 seconds'`, p.op.ID) > 1
	})
	if late := w.count(t, `SELECT count(*) FROM attempts WHERE operation_id = $1 AND call = 'send' AND claimed_at > (SELECT min(claimed_at) FROM attempts WHERE operation_id = $1) + interval '2 seconds'`, p.op.ID); late != 0 {
		t.Errorf("sent %d times under a key that does not protect any more", late)
	}
	if op := w.reread(t, p); !op.State.Live() {
		t.Errorf("it is %s", op.State)
	}
}
