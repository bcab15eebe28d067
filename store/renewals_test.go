package store_test

import (
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func renewedAs(id string, in time.Duration) models.Evidence {
	return models.Evidence{Outcome: models.OutcomeConfirmed, GatewayTransactionID: id, HoldEndsAt: ptr(time.Now().Add(in).Truncate(time.Second))}
}

func (b bench) beginRenewal(t *testing.T, id string) store.Renewal {
	t.Helper()
	r, err := b.BeginRenewal(t.Context(), models.Test, id)
	must(t, err)
	return r
}

// A renewal gives the hold another id and another end, and its captures the names
// that they would have had.
func TestRenewal(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, 12*time.Hour)
	counted(t, b.sweep(t), models.Expiring, 1)
	r := b.beginRenewal(t, hold.ID)
	if !r.Fresh || r.Account != "stripe" || r.Reference != models.RenewalReference("stripe", hold) {
		t.Errorf("%+v", r)
	}
	// Nothing else is asked of the hold meanwhile.
	_, err := b.BeginRenewal(t.Context(), models.Test, hold.ID)
	refused(t, err, "renewal_under_way")
	if made := b.approve(t, o.ID); len(made) != 0 {
		t.Fatalf("captured while it is renewed: %+v", made)
	}
	_, err = b.capture(hold.ID, 100)
	refused(t, err, "renewal_under_way")
	_, err = b.void(hold.ID)
	refused(t, err, "renewal_under_way")
	b.verify(t)

	ev := renewedAs("second", 72*time.Hour)
	must(t, b.EndRenewal(t.Context(), r, ev, "worker"))
	must(t, b.EndRenewal(t.Context(), r, renewedAs("third", time.Hour), "worker")) // comes second: changes nothing
	got := b.holdNow(t, hold.ID)
	if got.GatewayTransactionID != "second" || got.FirstTransactionID != hold.GatewayTransactionID || got.Origin() != hold.GatewayTransactionID ||
		!got.CaptureBefore.Equal(*ev.HoldEndsAt) || got.DeadlineSource() != models.ToldByGateway || got.WarnedHours != nil || got.RenewingSince != nil || got.Renewals != 1 {
		t.Errorf("the hold is %+v", got)
	}
	// What waited for it is made now.
	b.sweep(t)
	live := b.live(t, o.ID)
	if len(live) != 1 || live[0].GatewayReference != models.GatewayReference("stripe", hold.GatewayTransactionID, models.Capture, 1) {
		t.Fatalf("captures %+v", live)
	}
	if c := b.claim(t, live[0]); c.Hold != "second" {
		t.Errorf("captured under the id %s", c.Hold)
	}
	// The same hold, under either id, is registered already.
	for _, id := range []string{hold.GatewayTransactionID, "second"} {
		again, _, err := b.register(models.Authorization{OrderID: o.ID, AmountCents: 1500, GatewayTransactionID: id})
		must(t, err)
		if again.ID != hold.ID {
			t.Errorf("%s was registered again", id)
		}
	}
	_, err = b.BeginRenewal(t.Context(), models.Test, hold.ID)
	refused(t, err, "operation_under_way")
	b.verify(t)
	b.audited(t)
}

// A renewal without an answer is asked for again under the same name, and what
// the policy wants is found by the warnings alone.
func TestRenewalWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, Reauthorize: true})
	due := func() []store.DueRenewal {
		t.Helper()
		found, err := b.DueRenewals(t.Context(), []string{"stripe"}, 10)
		must(t, err)
		return found
	}
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, 30*time.Hour)
	b.sweep(t)
	if found := due(); len(found) != 0 {
		t.Errorf("renewed 30 hours before its end: %+v", found)
	}
	b.pass(t, 7*time.Hour)
	b.sweep(t)
	if found := due(); len(found) != 1 || found[0].ID != hold.ID {
		t.Fatalf("due are %+v", found)
	}
	if found, err := b.DueRenewals(t.Context(), []string{"another"}, 10); err != nil || len(found) != 0 {
		t.Errorf("due at another account: %+v (%v)", found, err)
	}
	first := b.beginRenewal(t, hold.ID)
	must(t, b.EndRenewal(t.Context(), first, models.Evidence{Outcome: models.OutcomeLost}, "worker"))
	if found := due(); len(found) != 0 {
		t.Errorf("asked again under the lease: %+v", found)
	}
	b.pass(t, 2*time.Minute)
	if found := due(); len(found) != 1 {
		t.Fatalf("the answer that was lost is not asked for: %+v", found)
	}
	must(t, b.cancelOrder(o.ID)) // the truth is wanted all the same
	again := b.beginRenewal(t, hold.ID)
	if again.Fresh || again.Reference != first.Reference || again.Age < 2*time.Minute {
		t.Errorf("asked again as %+v", again)
	}
	b.sweep(t)
	if live := b.live(t, o.ID); len(live) != 0 {
		t.Errorf("voided while it is renewed: %+v", live)
	}
	must(t, b.EndRenewal(t.Context(), again, models.Evidence{Outcome: models.OutcomeNotSent}, "worker"))
	b.pass(t, 2*time.Minute)
	last := b.beginRenewal(t, hold.ID)
	if last.Fresh {
		t.Error("a call that did not leave makes the lost one before it unsent")
	}
	must(t, b.EndRenewal(t.Context(), last, renewedAs("second", 72*time.Hour), "worker"))
	b.sweep(t)
	live := b.live(t, o.ID)
	if len(live) != 1 || live[0].Kind != models.Void {
		t.Fatalf("the cancelled order's hold is not let go: %+v", live)
	}
	if c := b.claim(t, live[0]); c.Hold != "second" {
		t.Errorf("voided under the id %s", c.Hold)
	}
	b.verify(t)
	b.audited(t)
}

// A renewal that is refused leaves the hold as it is, and is not tried again by itself.
func TestRenewalThatIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, Reauthorize: true})
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, 12*time.Hour)
	b.sweep(t)
	unsent := b.beginRenewal(t, hold.ID)
	must(t, b.EndRenewal(t.Context(), unsent, models.Evidence{Outcome: models.OutcomeNotSent}, "worker"))
	if got := b.holdNow(t, hold.ID); got.RenewingSince != nil || got.Renewals != 0 {
		t.Errorf("what did not leave stays intended: %+v", got)
	}
	r := b.beginRenewal(t, hold.ID)
	must(t, b.EndRenewal(t.Context(), r, models.Evidence{Outcome: models.OutcomeRefused, ErrorCode: "REAUTHORIZATION_TOO_SOON"}, "worker"))
	if got := b.holdNow(t, hold.ID); got.RenewalError != "REAUTHORIZATION_TOO_SOON" || got.GatewayTransactionID != hold.GatewayTransactionID || got.Renewals != 1 || got.ClosedAt != nil {
		t.Errorf("the hold is %+v", got)
	}
	if found, err := b.DueRenewals(t.Context(), []string{"stripe"}, 10); err != nil || len(found) != 0 {
		t.Errorf("tried again by itself: %+v (%v)", found, err)
	}
	if again := b.beginRenewal(t, hold.ID); !again.Fresh || again.Reference == r.Reference {
		t.Errorf("by hand it is a new one: %+v", again)
	} else {
		must(t, b.EndRenewal(t.Context(), again, models.Evidence{Outcome: models.OutcomeRefused, ErrorCode: "AUTHORIZATION_VOIDED", HoldGone: true}, "worker"))
	}
	if got := b.holdNow(t, hold.ID); got.ClosedReason != models.ClosedGone {
		t.Errorf("the hold is closed %q", got.ClosedReason)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Voided {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	_, err := b.BeginRenewal(t.Context(), models.Test, hold.ID)
	refused(t, err, "hold_closed")
	b.verify(t)
	b.audited(t)
}

// A run that hung until its lease was over, and then finds that nothing had left,
// does not end the renewal that another has taken up meanwhile.
func TestRenewalTakenOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o := b.order(t, 1500)
	hold, _ := b.holdUntil(t, o.ID, 1500, 12*time.Hour)
	slow := b.beginRenewal(t, hold.ID)
	b.exec(t, `UPDATE authorizations SET renewal_lease = now() - interval '1 second' WHERE id = $1`, hold.ID)
	next := b.beginRenewal(t, hold.ID)
	if next.Fresh || next.Reference != slow.Reference {
		t.Errorf("taken over as %+v", next)
	}
	must(t, b.EndRenewal(t.Context(), slow, models.Evidence{Outcome: models.OutcomeNotSent}, "slow"))
	_, err := b.capture(hold.ID, 100)
	refused(t, err, "renewal_under_way")
	must(t, b.EndRenewal(t.Context(), next, renewedAs("second", 72*time.Hour), "next"))
	if got := b.holdNow(t, hold.ID); got.GatewayTransactionID != "second" || got.RenewingSince != nil {
		t.Errorf("the hold is %s, renewing since %v", got.GatewayTransactionID, got.RenewingSince)
	}
	b.verify(t)
}
