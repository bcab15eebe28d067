package gatewaytest

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// do calls an operation once.
func (h Harness) do(ctx context.Context, g gateway.Gateway, r gateway.Request) models.Evidence {
	switch r.Kind {
	case models.Refund:
		return g.Refund(ctx, r)
	case models.Void:
		return g.Void(ctx, r)
	}
	return g.Capture(ctx, r)
}

// end calls an operation once, and waits for the result where the provider tells
// it later.
func (h Harness) end(t *testing.T, r gateway.Request) models.Evidence {
	t.Helper()
	return h.result(t, r, h.do(t.Context(), h.Gateway, r))
}

// result is an answer, or what the provider makes of what it accepted.
func (h Harness) result(t *testing.T, r gateway.Request, ev models.Evidence) models.Evidence {
	t.Helper()
	if ev.Outcome != models.OutcomeAccepted {
		return ev
	}
	accepted := ev
	waitFor(t, "the result of "+r.Reference, func() bool {
		switch {
		case h.Told != nil:
			for _, told := range h.Told(t, r) {
				if told.Outcome != models.OutcomeLost {
					ev = told
				}
			}
		case h.Gateway.Capabilities().LookUp:
			ev = h.Gateway.LookUp(t.Context(), r)
		default:
			t.Fatalf("accepted by an adapter without look-up, and Told is nil: %s", accepted.JSON())
		}
		return ev.Outcome != models.OutcomeAccepted && ev.Outcome != models.OutcomeLost
	})
	return ev
}

func (h Harness) mustConfirm(t *testing.T, ev models.Evidence, cents int64) {
	t.Helper()
	if ev.Outcome != models.OutcomeConfirmed || ev.Foreign || ev.AmountCents != cents || ev.CurrencyCode != h.Currency || ev.GatewayTransactionID == "" {
		t.Fatalf("got %s, want %d %s confirmed", ev.JSON(), cents, h.Currency)
	}
}

func (h Harness) booked(t *testing.T, kind models.Kind, hold Hold, want int) {
	t.Helper()
	if got := h.Bookings(t, kind, hold.ID); len(got) != want {
		t.Fatalf("%d bookings, want %d: %+v", len(got), want, got)
	}
}

// twice: the same key moves money once, and answers the same.
func (h Harness) twice(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	r := h.request(kind, hold, amount, 1)
	first := h.end(t, r)
	h.mustConfirm(t, first, amount)
	again := h.do(t.Context(), h.Gateway, r)
	if again.Outcome != models.OutcomeAccepted || !h.Gateway.Capabilities().Async {
		h.mustConfirm(t, again, amount)
	}
	if first.GatewayTransactionID != again.GatewayTransactionID {
		t.Fatalf("two ids for one key: %q and %q", first.GatewayTransactionID, again.GatewayTransactionID)
	}
	if h.Gateway.Capabilities().LookUp {
		looked := h.Gateway.LookUp(t.Context(), r)
		h.mustConfirm(t, looked, amount)
		if looked.GatewayTransactionID != first.GatewayTransactionID || looked.Source != models.FromLookUp {
			t.Fatalf("the look-up names %q from %s, the call %q", looked.GatewayTransactionID, looked.Source, first.GatewayTransactionID)
		}
	}
	h.booked(t, kind, hold, 1)
}

// atOnce: many calls under one key book once, and none claims that nothing happened.
func (h Harness) atOnce(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	r := h.request(kind, hold, amount, 1)
	var group sync.WaitGroup
	answers := make([]models.Evidence, 16)
	for i := range answers {
		group.Go(func() { answers[i] = h.do(t.Context(), h.Gateway, r) })
	}
	group.Wait()
	confirmed := 0
	for _, ev := range answers {
		switch ev.Outcome {
		case models.OutcomeConfirmed, models.OutcomeAccepted:
			confirmed++
		case models.OutcomeRefused, models.OutcomeDeclined, models.OutcomeNotSent:
			t.Errorf("a concurrent call says %s", ev.JSON())
		}
	}
	if confirmed == 0 {
		t.Fatal("no call was confirmed or accepted")
	}
	waitFor(t, "the booking", func() bool { return len(h.Bookings(t, kind, hold.ID)) > 0 })
	h.booked(t, kind, hold, 1)
}

// unreachable: a refused connection is the proof that nothing was sent.
func (h Harness) unreachable(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	r := h.request(kind, hold, amount, 1)
	if ev := h.do(t.Context(), h.Unreachable, r); ev.Outcome != models.OutcomeNotSent || ev.Class != "" {
		t.Fatalf("got %s, want not_sent", ev.JSON())
	}
	if ev := h.Unreachable.LookUp(t.Context(), r); ev.Outcome != models.OutcomeNotSent && ev.Outcome != models.OutcomeLost && !h.cannotAsk(ev) {
		t.Fatalf("look-up: got %s", ev.JSON())
	}
	h.booked(t, kind, hold, 0)
}

// deadline: a call that hangs ends when its context does, and proves nothing,
// unless the machine is so slow that not even a connection was had.
func (h Harness) deadline(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "hang")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	done := make(chan models.Evidence, 1)
	go func() { done <- h.do(ctx, h.Gateway, h.request(kind, hold, amount, 1)) }()
	select {
	case ev := <-done:
		if ev.Outcome != models.OutcomeLost && ev.Outcome != models.OutcomeNotSent || ctx.Err() == nil {
			t.Fatalf("got %s, context %v", ev.JSON(), ctx.Err())
		}
	case <-time.After(10 * time.Second): // a hundred times the deadline
		t.Fatal("the call did not end with its context")
	}
}

// cancelled: with a context that has ended nothing is ever confirmed or refused.
func (h Harness) cancelled(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := h.request(kind, hold, amount, 1)
	if ev := h.do(ctx, h.Gateway, r); ev.Outcome != models.OutcomeNotSent && ev.Outcome != models.OutcomeLost {
		t.Fatalf("got %s", ev.JSON())
	}
}

// unknownHold: "no such hold" says nothing about the operation.
func (h Harness) unknownHold(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	wrong := hold
	wrong.ID += "doesnotexist"
	r := h.request(kind, wrong, amount, 1)
	if ev := h.do(t.Context(), h.Gateway, r); ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeAccepted && !h.Gateway.Capabilities().Async || ev.Outcome == models.OutcomeDeclined {
		t.Fatalf("call: got %s", ev.JSON())
	}
	if ev := h.Gateway.LookUp(t.Context(), r); ev.Outcome != models.OutcomeLost && !h.cannotAsk(ev) {
		t.Fatalf("look-up: got %s, want lost", ev.JSON())
	}
	h.booked(t, kind, hold, 0)
}

// cannotAsk: the adapter says that its provider has no look-up.
func (h Harness) cannotAsk(ev models.Evidence) bool {
	return !h.Gateway.Capabilities().LookUp && ev.Outcome == models.OutcomeUnasked && ev.Source == models.FromLookUp
}

// neverSent: the look-up of what was never asked says None.
func (h Harness) neverSent(t *testing.T, kind models.Kind) {
	hold := h.Hold(t, kind, amount, "")
	ev := h.Gateway.LookUp(t.Context(), h.request(kind, hold, amount, 1))
	if h.cannotAsk(ev) {
		return
	}
	if ev.Outcome != models.OutcomeNone || ev.Source != models.FromLookUp {
		t.Fatalf("got %s, want none", ev.JSON())
	}
}

// asked are the ways in which an adapter says what became of an operation: its
// call's result, and its look-up where there is one.
func (h Harness) asked(t *testing.T, r gateway.Request) map[string]models.Evidence {
	answers := map[string]models.Evidence{"call": h.end(t, r)}
	if ev := h.Gateway.LookUp(t.Context(), r); !h.cannotAsk(ev) {
		answers["look-up"] = ev
	}
	return answers
}

// foreign: an operation under another reference is not ours.
func (h Harness) foreign(t *testing.T) {
	hold := h.Hold(t, models.Capture, amount, "")
	h.mustConfirm(t, h.end(t, h.request(models.Capture, hold, amount, 1)), amount)
	for what, ev := range h.asked(t, h.request(models.Capture, hold, amount, 2)) {
		if ev.Outcome == models.OutcomeConfirmed && !ev.Foreign {
			t.Errorf("%s: another operation's success was taken for ours: %s", what, ev.JSON())
		}
	}
	h.booked(t, models.Capture, hold, 1)
}

// part: less than the hold can be captured.
func (h Harness) part(t *testing.T) {
	hold := h.Hold(t, models.Capture, amount, "")
	for _, ev := range h.asked(t, h.request(models.Capture, hold, amount-500, 1)) {
		h.mustConfirm(t, ev, amount-500)
	}
}

// tooMuch: more than the hold is never booked.
func (h Harness) tooMuch(t *testing.T) {
	hold := h.Hold(t, models.Capture, amount, "")
	if ev := h.end(t, h.request(models.Capture, hold, amount*2, 1)); ev.Outcome == models.OutcomeConfirmed {
		t.Fatalf("got %s", ev.JSON())
	}
	h.booked(t, models.Capture, hold, 0)
}

// voidCaptured: what was taken cannot be voided; that is final.
func (h Harness) voidCaptured(t *testing.T) {
	hold := h.Hold(t, models.Capture, amount, "")
	h.mustConfirm(t, h.end(t, h.request(models.Capture, hold, amount, 1)), amount)
	for what, ev := range h.asked(t, h.request(models.Void, hold, amount, 1)) {
		if ev.Outcome != models.OutcomeRefused {
			t.Errorf("%s: got %s, want refused", what, ev.JSON())
		}
	}
	h.booked(t, models.Void, hold, 0)
}

// captureVoided: what was released cannot be taken; the hold is gone.
func (h Harness) captureVoided(t *testing.T) {
	hold := h.Hold(t, models.Void, amount, "")
	h.mustConfirm(t, h.end(t, h.request(models.Void, hold, amount, 1)), amount)
	for what, ev := range h.asked(t, h.request(models.Capture, hold, amount, 1)) {
		if ev.Outcome != models.OutcomeRefused || !ev.HoldGone && h.Told == nil {
			t.Errorf("%s: got %s, want refused with the hold gone", what, ev.JSON())
		}
	}
	h.booked(t, models.Capture, hold, 0)
}

// twoRefunds: each is found by its own reference.
func (h Harness) twoRefunds(t *testing.T) {
	hold := h.Hold(t, models.Refund, amount, "")
	first, second := h.request(models.Refund, hold, 500, 1), h.request(models.Refund, hold, 300, 2)
	h.mustConfirm(t, h.end(t, first), 500)
	if ev := h.Gateway.LookUp(t.Context(), second); ev.Outcome != models.OutcomeNone && !h.cannotAsk(ev) {
		t.Fatalf("the second, never sent: got %s", ev.JSON())
	}
	h.mustConfirm(t, h.end(t, second), 300)
	if h.Gateway.Capabilities().LookUp {
		h.mustConfirm(t, h.Gateway.LookUp(t.Context(), first), 500)
		h.mustConfirm(t, h.Gateway.LookUp(t.Context(), second), 300)
	}
	h.booked(t, models.Refund, hold, 2)
}

func (h Harness) probe(t *testing.T) {
	if err := h.Gateway.Probe(t.Context()); err != nil {
		t.Errorf("a good account: %v", err)
	}
	if err := h.Unreachable.Probe(t.Context()); err == nil {
		t.Error("an account nobody can reach was found good")
	}
}

// capabilities: what an adapter says of itself must make sense together.
func (h Harness) capabilities(t *testing.T) {
	c := h.Gateway.Capabilities()
	if c.Provider == "" || c.IdempotencyWindow < 0 || c.SettleAfter < 0 || c.HoldLife <= 0 {
		t.Errorf("capabilities: %+v", c)
	}
	if (c.RepeatIsLookUp || c.ByHand) && c.LookUp || c.RepeatIsLookUp && c.IdempotencyWindow == 0 {
		t.Errorf("how it is asked contradicts itself: %+v", c)
	}
	if !reflect.DeepEqual(c, h.Gateway.Capabilities()) {
		t.Error("capabilities change")
	}
}
