package worker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// mode is one way for a gateway to fail a worker that stays alive, and what
// has to come of it.
type mode struct {
	kind  models.Kind // capture if empty
	fault string
	// state, flag and what the operation confirms; -1 for nothing.
	state models.State
	flag  string
	cents int64
	truth truth
	// verdicts that must be among the operation's.
	verdicts []models.Verdict
	payment  models.PaymentStatus
	closed   string // why the hold is closed; "" while it is open
	epochs   int    // how often the key was rotated
}

func succeeds(fault string, verdicts ...models.Verdict) mode {
	return mode{
		fault: fault, state: models.Succeeded, cents: total, truth: truth{captured: total}, verdicts: verdicts, payment: models.Paid, closed: models.ClosedCaptured,
	}
}

func returns(fault string, verdicts ...models.Verdict) mode {
	return mode{
		kind: models.Refund, fault: fault, state: models.Succeeded, cents: returned, truth: truth{captured: total, refunded: returned},
		verdicts: verdicts, payment: models.PartiallyRefunded, closed: models.ClosedCaptured,
	}
}

func releases(fault string, verdicts ...models.Verdict) mode {
	return mode{
		kind: models.Void, fault: fault, state: models.Succeeded, cents: total, truth: truth{voided: total}, verdicts: verdicts, payment: models.Voided, closed: models.ClosedVoided,
	}
}

func (m mode) with(change func(*mode)) mode {
	change(&m)
	return m
}

func flagged(flag string, cents int64) func(*mode) {
	return func(m *mode) { m.flag, m.cents = flag, cents }
}

func rotated(m *mode) { m.epochs = 1 }

// modes are in groups that share a gateway account: small ones, so that its
// breaker stays closed.
var modes = map[string][]mode{
	"the answer is lost, the money moved": {
		succeeds("charge_then_drop", models.Forward),
		succeeds("charge_then_rst", models.Forward),
		succeeds("charge_then_500", models.Forward),
		succeeds("charge_then_502html", models.Forward),
		succeeds("charge_then_hang", models.Forward),
		succeeds("truncated", models.Forward),
		succeeds("empty200", models.Forward),
		succeeds("book_after=200ms", models.Forward),
	},
	"the answer is lost, the money did not move": {
		succeeds("drop_before", models.Retry),
		succeeds("hang", models.Retry),
		succeeds("500_unbooked", models.Retry).with(rotated),
		succeeds("sticky_500", models.Retry).with(rotated),
		succeeds("409_in_progress"),
		succeeds("drop_before,charge_then_drop", models.Retry, models.Forward),
		succeeds("sticky_500,charge_then_500", models.Retry, models.Forward).with(rotated),
		succeeds("amnesia"),
	},
	"the look-up fails, too": {
		succeeds("charge_then_drop,lookup_404", models.Wait, models.Forward),
		succeeds("charge_then_drop,lookup_500", models.Wait, models.Forward),
		succeeds("charge_then_drop,lookup_stale"),
		succeeds("drop_before,lookup_404", models.Wait, models.Retry),
		succeeds("drop_before,lookup_500", models.Wait, models.Retry),
		succeeds("charge_then_drop,amnesia", models.Forward),
		succeeds("sticky_500,amnesia", models.Retry).with(rotated),
	},
	"it says no": {
		succeeds("decline:1", models.Retry).with(rotated),
		{fault: "decline_hard", state: models.Failed, cents: -1, payment: models.Authorized},
		{fault: "expired", state: models.Failed, cents: -1, truth: truth{voided: total}, payment: models.Voided, closed: models.ClosedGone},
		{fault: "drop_before,expired", state: models.Failed, cents: -1, truth: truth{voided: total}, verdicts: []models.Verdict{models.Retry}, payment: models.Voided, closed: models.ClosedGone},
		{fault: "401", state: models.Pending, flag: models.FlagConfig, cents: -1, verdicts: []models.Verdict{models.NeedsAttention}, payment: models.Authorized},
	},
	"it does something else": {
		{
			fault: "wrong_amount=1400", state: models.Succeeded, flag: models.FlagAmount, cents: 1400, truth: truth{captured: 1400},
			verdicts: []models.Verdict{models.AmountConflict}, payment: models.PartiallyPaid, closed: models.ClosedCaptured,
		},
		{
			fault: "partial", state: models.Succeeded, flag: models.FlagAmount, cents: 750, truth: truth{captured: 750},
			verdicts: []models.Verdict{models.AmountConflict}, payment: models.PartiallyPaid, closed: models.ClosedCaptured,
		},
		{
			fault: "wrong_currency", state: models.Unknown, flag: models.FlagCurrency, cents: -1, truth: truth{captured: total, currency: "usd"},
			verdicts: []models.Verdict{models.AmountConflict}, payment: models.Authorized,
		},
	},
	"refunds": {
		returns("charge_then_drop", models.Forward),
		returns("charge_then_drop,refund.amnesia", models.Forward),
		returns("drop_before", models.Retry),
		returns("sticky_500", models.Retry).with(rotated),
		returns("charge_then_500", models.Forward),
		returns("charge_then_drop,lookup_500", models.Wait, models.Forward),
		returns("wrong_amount=400", models.AmountConflict).with(flagged(models.FlagAmount, 400)).with(func(m *mode) { m.truth.refunded = 400 }),
		{
			kind: models.Refund, fault: "401", state: models.Pending, flag: models.FlagConfig, cents: -1, truth: truth{captured: total},
			verdicts: []models.Verdict{models.NeedsAttention}, payment: models.Paid, closed: models.ClosedCaptured,
		},
	},
	"voids": {
		releases("charge_then_drop", models.Forward),
		releases("drop_before", models.Retry),
		releases("sticky_500", models.Retry).with(rotated),
		releases("charge_then_500", models.Forward),
		releases("charge_then_drop,lookup_404", models.Wait, models.Forward),
		releases("expired"),
	},
}

// TestGatewayModes lets a worker meet every way in which the gateway fails.
func TestGatewayModes(t *testing.T) {
	t.Parallel()
	for name, group := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			var bought []purchase
			for _, m := range group {
				bought = append(bought, m.begin(t, w))
			}
			stop := w.start(t, staff{})
			for i, m := range group {
				m.wait(t, w, bought[i])
			}
			stop()
			for i, m := range group {
				t.Run(m.name(), func(t *testing.T) { m.check(t, w, bought[i]) })
			}
		})
	}
}

func (m mode) name() string { return strings.TrimSpace(string(m.kind) + " " + m.fault) }

func (m mode) begin(t *testing.T, w *world) purchase {
	t.Helper()
	switch m.kind {
	case models.Refund:
		return w.refund(t, w.captured(t, "refund."+m.fault))
	case models.Void:
		return w.void(t, w.place(t, "void."+m.fault))
	}
	return w.order(t, m.fault)
}

func (m mode) wait(t *testing.T, w *world, p purchase) {
	t.Helper()
	eventually(t, "the outcome of "+m.name(), func() (bool, any) {
		op := w.reread(t, p)
		return op.State == m.state && op.NeedsAttention == m.flag, op
	})
}

func (m mode) check(t *testing.T, w *world, p purchase) {
	t.Helper()
	op := w.reread(t, p)
	switch {
	case m.cents < 0 && op.ConfirmedCents != nil:
		t.Errorf("it confirms %d, want nothing", *op.ConfirmedCents)
	case m.cents >= 0 && (op.ConfirmedCents == nil || *op.ConfirmedCents != m.cents):
		t.Errorf("it confirms %v, want %d", op.ConfirmedCents, m.cents)
	}
	if op.KeyEpoch != m.epochs {
		t.Errorf("the key was rotated %d times, want %d", op.KeyEpoch, m.epochs)
	}
	if op.State == models.Failed && op.ErrorCode == "" {
		t.Errorf("it failed without a code: %+v", op)
	}
	if got := w.orderNow(t, p).PaymentStatus; got != m.payment {
		t.Errorf("the order is %s, want %s", got, m.payment)
	}
	hold, err := w.store.Authorization(t.Context(), models.Test, p.authID)
	if err != nil {
		t.Fatal(err)
	}
	if hold.ClosedReason != m.closed {
		t.Errorf("the hold is closed for %q, want %q", hold.ClosedReason, m.closed)
	}
	got := w.verdicts(t, op.ID)
	for _, v := range m.verdicts {
		if !slices.Contains(got, v) {
			t.Errorf("verdicts %v, want %s among them", got, v)
		}
	}
	w.check(t, p, m.truth)
	sends, looks := w.claims(t, op.ID)
	t.Logf("%-40s %-10s flag %-18s sends %d look-ups %d verdicts %v", m.name(), op.State, op.NeedsAttention, sends, looks, got)
}

// TestThrottledIsNotCalledSooner: a 429 is proof that nothing happened, costs no
// try, and its Retry-After is kept for the whole account.
func TestThrottledIsNotCalledSooner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	throttled, other := w.order(t, "429=2"), w.order(t, "")
	w.start(t, staff{})
	w.settle(t)
	for _, p := range []purchase{throttled, other} {
		if op := w.reread(t, p); op.State != models.Succeeded || op.Tries != 0 || op.KeyEpoch != 0 {
			t.Errorf("capture = %+v, want succeeded without a try counted", op)
		}
		w.check(t, p, truth{captured: total})
	}
	var calls []time.Time
	for _, r := range w.book(t, throttled.hold).Requests {
		if r.Call == "capture" {
			calls = append(calls, r.At)
		}
	}
	if len(calls) != 2 || calls[1].Sub(calls[0]) < 2*time.Second {
		t.Errorf("called at %v, want twice and 2 s apart", calls)
	}
}

// TestRevokedKeyPausesTheAccount: credentials that stop working fail no capture.
func TestRevokedKeyPausesTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	var bought []purchase
	for range 5 {
		bought = append(bought, w.order(t, ""))
	}
	w.front.revoke(true)
	w.start(t, staff{})
	eventually(t, "the account is paused", func() (bool, any) {
		paused, err := w.store.Paused(t.Context())
		return len(paused) == 1, fmt.Sprint(paused, err)
	})
	eventually(t, "every capture was given back", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM captures WHERE state <> 'pending'`)
		return n == 0, n
	})
	seen := w.front.seen()
	eventually(t, "sweeps have probed the account and left it paused", func() (bool, any) { return w.front.seen() > seen+2, nil })
	if n := w.count(t, `SELECT count(*) FROM captures WHERE state <> 'pending' OR needs_attention IS NOT NULL OR tries > 0`); n != 0 {
		t.Errorf("%d captures were touched by bad credentials", n)
	}
	w.front.revoke(false)
	w.settle(t)
	for _, p := range bought {
		if op := w.reread(t, p); op.State != models.Succeeded {
			t.Errorf("capture = %+v, want succeeded", op)
		}
		w.check(t, p, truth{captured: total})
	}
	if paused, err := w.store.Paused(t.Context()); err != nil || len(paused) != 0 {
		t.Errorf("still paused: %v %v", paused, err)
	}
}

// TestRevokedKeyDuringALookUp: what may have been charged stays unknown until
// the account can be asked again.
func TestRevokedKeyDuringALookUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "charge_then_drop")
	gate := w.front.holdBack(http.MethodGet, p.hold)
	w.start(t, staff{})
	eventually(t, "the look-up is under way", func() (bool, any) { return w.front.held(gate) > 0, w.reread(t, p) })
	w.front.revoke(true)
	w.front.release(gate)
	eventually(t, "the account is paused", func() (bool, any) {
		paused, err := w.store.Paused(t.Context())
		return len(paused) == 1, fmt.Sprint(paused, err, w.reread(t, p))
	})
	w.reaches(t, p, models.Unknown)
	w.front.revoke(false)
	w.settle(t)
	w.check(t, p, truth{captured: total})
}
