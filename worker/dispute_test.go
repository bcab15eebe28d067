package worker_test

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestDisputedCaptures: what a look proves about captures that the payer's bank
// took back, in whole, in part, and not for good.
func TestDisputedCaptures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	is := func(p purchase, state models.State, flag string) {
		t.Helper()
		if op := w.reread(t, p); op.State != state || op.NeedsAttention != flag {
			t.Errorf("the capture is %s, flagged %q; want %s, flagged %q", op.State, op.NeedsAttention, state, flag)
		}
	}
	// look asks the gateway and has the answer judged, as a comparison with its list does.
	look := func(p purchase) models.Decision {
		t.Helper()
		ev, _, err := w.runner(t, staff{}).Inspect(t.Context(), models.Test, models.Capture, p.op.ID)
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.store.Observe(t.Context(), store.Observation{Kind: models.Capture, ID: p.op.ID, Evidence: ev, Actor: "listing:stripe", NoneConclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}

	// Taken, and taken back, before anybody here knew of it.
	open := w.order(t, "charge_then_drop")
	w.stuck(t, open)
	is(open, models.Unknown, "")
	w.dashboard(t, "dispute", open.hold, 0, "")
	_, err := w.forward(t, open)
	wantRefusal(t, err, "taken_back_at_gateway", false)
	is(open, models.Reversed, models.FlagReversed)
	if order := w.orderNow(t, open); order.CapturedCents != 0 || order.PaymentStatus == models.Paid {
		t.Errorf("the order counts %d as paid (%s)", order.CapturedCents, order.PaymentStatus)
	}
	w.dashboard(t, "dispute_won", open.hold, 0, "")
	if _, err := w.forward(t, open); err != nil {
		t.Errorf("forward of what was won: %v", err)
	}
	is(open, models.Succeeded, models.FlagLateSuccess)

	// A part of it: the rest is recorded, and the person is called.
	rest := w.order(t, "charge_then_drop")
	w.stuck(t, rest)
	w.dashboard(t, "dispute", rest.hold, 500, "")
	w.exec(t, `UPDATE captures SET next_at = now() WHERE id = $1`, rest.op.ID)
	if err := w.runner(t, staff{}).Run(t.Context(), models.Capture, rest.op.ID); err != nil {
		t.Errorf("the look of what was taken back in part: %v", err)
	}
	is(rest, models.Succeeded, models.FlagPartlyReversed)
	if order := w.orderNow(t, rest); order.CapturedCents != total {
		t.Errorf("the order has %d captured", order.CapturedCents)
	}

	// Given up here, taken there, and taken back: all of it is known in the end.
	given := w.order(t, "decline_hard")
	w.stuck(t, given)
	w.setHoldFault(t, given.hold, "")
	w.bookAs(t, given, given.op.GatewayReference, total)
	w.dashboard(t, "dispute", given.hold, 0, "")
	_, err = w.forward(t, given)
	wantRefusal(t, err, "taken_back_at_gateway", false)
	is(given, models.Reversed, models.FlagReversed)
	if order := w.orderNow(t, given); order.CapturedCents != 0 {
		t.Errorf("the order has %d captured", order.CapturedCents)
	}

	// Recorded as taken, then taken back; it stays so until it is won.
	paid := w.captured(t, "")
	w.dashboard(t, "dispute", paid.hold, 0, "")
	look(paid)
	is(paid, models.Reversed, models.FlagReversed)
	if d := look(paid); d.Event != "" {
		t.Errorf("the same again: %+v", d)
	}
	_, err = w.forward(t, paid)
	wantRefusal(t, err, "taken_back_at_gateway", false)
	is(paid, models.Reversed, models.FlagReversed)
	w.dashboard(t, "dispute_won", paid.hold, 0, "")
	if d, err := w.forward(t, paid); err != nil || d.Verdict != models.LateSuccess {
		t.Errorf("forward of what was won: %+v, %v", d, err)
	}
	is(paid, models.Succeeded, models.FlagLateSuccess)

	// A part: the rest stands, and nothing goes back by itself when the order ends.
	part := w.captured(t, "")
	w.dashboard(t, "dispute", part.hold, 500, "")
	look(part)
	is(part, models.Succeeded, models.FlagPartlyReversed)
	w.cancel(t, part)
	if n := len(w.operations(t, models.Refund, part)); n != 0 {
		t.Errorf("%d refunds of a capture that was charged back in part", n)
	}
	for _, p := range []purchase{open, paid, part, rest, given} {
		w.check(t, p, truth{captured: total})
	}
}
