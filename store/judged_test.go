package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Chargebacks: whole ones reverse the capture, won ones bring it back, and the
// rest calls a person. The recorded transaction stays the recorded one.
func TestChargebacks(t *testing.T) {
	b := sharedBench(t, onApproval)
	o, op := b.paid(t)
	taken := evidence(op, models.FromWebhook, models.OutcomeTakenBack)
	part := taken
	part.AmountCents = 500
	b.observe(t, op, part)
	if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != models.FlagPartlyReversed {
		t.Errorf("after a part of it: %s %q", got.State, got.NeedsAttention)
	}
	other := taken
	other.GatewayTransactionID = "tx_other"
	b.observe(t, op, other)
	if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != models.FlagDuplicate || got.GatewayTransactionID != taken.GatewayTransactionID {
		t.Errorf("after another transaction's: %s %q, transaction %s", got.State, got.NeedsAttention, got.GatewayTransactionID)
	}
	b.observe(t, op, taken)
	b.observe(t, op, taken)
	if got := b.reread(t, op); got.State != models.Reversed || got.NeedsAttention != models.FlagReversed {
		t.Errorf("after all of it: %s %q", got.State, got.NeedsAttention)
	}
	if got := b.orderNow(t, o.ID); got.CapturedCents != 0 {
		t.Errorf("the order has %d captured", got.CapturedCents)
	}
	b.verify(t)
	b.observe(t, op, evidence(op, models.FromListing, models.OutcomeConfirmed))
	if got := b.reread(t, op); got.State != models.Succeeded || got.NeedsAttention != models.FlagLateSuccess {
		t.Errorf("after it was won: %s %q", got.State, got.NeedsAttention)
	}
	if got := b.orderNow(t, o.ID); got.PaymentStatus != models.Paid {
		t.Errorf("the order is %s", got.PaymentStatus)
	}
	b.verify(t)
}

// What is recorded and not booked is flagged by a look that proves it, and not
// by one that began before.
func TestRecordedAndNotBooked(t *testing.T) {
	b := sharedBench(t, onApproval)
	_, op := b.paid(t)
	none := store.Observation{Kind: op.Kind, ID: op.ID, Actor: "listing", Evidence: models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeNone}}
	if _, err := b.Observe(t.Context(), none); err != nil || b.reread(t, op).NeedsAttention != "" {
		t.Errorf("an inconclusive none: %v %q", err, b.reread(t, op).NeedsAttention)
	}
	none.NoneConclusive = true
	d, err := b.Observe(t.Context(), none)
	if err != nil || d.Verdict != models.NeedsAttention || b.reread(t, op).NeedsAttention != models.FlagNotBooked || b.reread(t, op).State != models.Succeeded {
		t.Errorf("a conclusive none: %+v %v", d, err)
	}
	b.verify(t)
}

// The estimated end of a hold makes looks rare, and stops no send.
func TestEstimatedEndMovesLooksOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.approved(t)
	b.exec(t, `UPDATE authorizations SET estimated_before = now() - interval '1 day'`)
	c := b.claim(t, op)
	if f := c.Facts(b.Tempo(), 0, true); !c.MaySend || f.HoldEnded || !f.HoldOver {
		t.Errorf("may send %v, hold ended %v, over %v", c.MaySend, f.HoldEnded, f.HoldOver)
	}
	c.LookUps = 6
	lost := models.Judge(c.Operation, models.Evidence{Source: models.FromLookUp}, c.Facts(b.Tempo(), 0, true))
	if lost.Wait != 24*time.Hour {
		t.Errorf("the seventh look comes after %s", lost.Wait)
	}
	c.HoldEstimate = nil
	lost = models.Judge(c.Operation, models.Evidence{Source: models.FromLookUp}, c.Facts(b.Tempo(), 0, true))
	if lost.Wait != time.Hour {
		t.Errorf("without an estimate it comes after %s", lost.Wait)
	}
}

// The sweep selects what models.Overdue calls overdue: both are asked about
// every combination of what they look at.
func TestOverdueIsTheSame(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	sql := func(at *time.Time) string { // as far from the database's now
		if at == nil {
			return "NULL::timestamptz"
		}
		return fmt.Sprintf("now() - %d * interval '1 microsecond'", now.Sub(*at).Microseconds())
	}
	tempo, n := b.Tempo(), 0
	var values string
	want := map[int]bool{}
	for _, state := range []models.State{models.Pending, models.Capturing, models.Submitted, models.Unknown} {
		for _, flag := range []string{"", models.FlagTries} {
			for _, look := range []bool{false, true} {
				for _, paused := range []bool{false, true} {
					for _, published := range []*time.Time{nil, ago(0), ago(tempo.RepublishAfter() - time.Second), ago(tempo.RepublishAfter() + time.Second)} {
						for _, due := range []*time.Time{ago(-time.Minute), ago(time.Second), ago(tempo.DueGrace() + time.Second)} {
							for _, lease := range []*time.Time{nil, ago(time.Second), ago(-time.Minute)} {
								op := models.Operation{State: state, NeedsAttention: flag, LookFirst: look, LeaseUntil: lease}
								d := models.Overdue(op, models.Publication{PublishedAt: published, DueAt: *due, Paused: paused}, tempo, now)
								want[n] = d.Verdict == models.Republish
								values += fmt.Sprintf(", (%d, '%s', NULLIF('%s', ''), %v, CASE WHEN %v THEN now() END, %s, %s, %s)", n, state, flag, look, paused,
									sql(published), sql(due), sql(lease))
								n++
							}
						}
					}
				}
			}
		}
	}
	found := map[int]bool{}
	for _, i := range column[int](t, b, store.OverdueAmong(tempo, `VALUES `+values[2:])) {
		found[i] = true
	}
	overdue := 0
	for i := range n {
		if want[i] != found[i] {
			t.Errorf("row %d: models says %v, the sweep %v", i, want[i], found[i])
		}
		overdue += map[bool]int{true: 1}[want[i]]
	}
	if overdue == 0 || overdue == n {
		t.Errorf("%d of %d are overdue", overdue, n)
	}
}
