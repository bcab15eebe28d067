package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func ids(ps []store.Publication) []string {
	var all []string
	for _, p := range ps {
		all = append(all, p.ID)
	}
	return all
}

// The nearest deadline goes first, then the oldest.
func TestRelayOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	make := func(in time.Duration) string {
		o := b.order(t, 1500)
		if in == 0 {
			b.hold(t, o.ID, 1500)
		} else {
			b.holdUntil(t, o.ID, 1500, in)
		}
		return b.approve(t, o.ID)[0].ID
	}
	never, late, soon, alsoNever := make(0), make(2*time.Hour), make(time.Hour), make(0)
	ps, err := b.Unpublished(t.Context(), 10)
	must(t, err)
	if diff := cmp.Diff([]string{soon, late, never, alsoNever}, ids(ps)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, p := range ps {
		if p.Kind != string(models.Capture) || p.Generation != 1 || p.In != 0 {
			t.Errorf("%+v", p)
		}
	}
	some, err := b.Unpublished(t.Context(), 2)
	must(t, err)
	if len(some) != 2 {
		t.Errorf("%d of at most 2", len(some))
	}
}

// A capture that is due later is published with its delay.
func TestRelayDelay(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3600})
	b.approved(t)
	ps, err := b.Unpublished(t.Context(), 10)
	must(t, err)
	if len(ps) != 1 || ps[0].In > time.Hour || ps[0].In < 59*time.Minute {
		t.Errorf("%+v", ps)
	}
}

// What became more urgent between the list and the mark stays to be published.
func TestGenerationRaisedWhilePublishing(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.approved(t)
	b.approved(t)
	listed, err := b.Unpublished(t.Context(), 10)
	must(t, err)
	must(t, b.Hint(t.Context(), nil, op, "test", "look"))
	must(t, b.MarkPublished(t.Context(), listed))
	must(t, b.MarkPublished(t.Context(), listed)) // the relay died before it knew
	left, err := b.Unpublished(t.Context(), 10)
	must(t, err)
	if len(left) != 1 || left[0].ID != op.ID || left[0].Generation != 2 {
		t.Errorf("left: %+v", left)
	}
	must(t, b.MarkPublished(t.Context(), nil))
}

// What did not leave waits in its own task; no second one is published.
func TestUnsentKeepsItsTask(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	o, _ := b.paid(t)
	must(t, b.cancelOrder(o.ID))
	refund := b.refundOf(t, o.ID)
	b.publish(t)
	for range 3 {
		b.record(t, b.claim(t, refund), evidence(refund, models.FromAnswer, models.OutcomeNotSent))
		b.pass(t, 2*time.Minute)
	}
	if ps, err := b.Unpublished(t.Context(), 10); err != nil || len(ps) != 0 {
		t.Errorf("published beside its task: %+v, %v", ps, err)
	}
	b.verify(t)
}

// After an outage an account's open rows are due now; nobody else's are.
func TestWakeGateway(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, unsent := b.approved(t)
	b.record(t, b.claim(t, unsent), evidence(unsent, models.FromAnswer, models.OutcomeNotSent))
	_, unknown := b.approved(t)
	b.record(t, b.claim(t, unknown), evidence(unknown, models.FromAnswer, models.OutcomeLost))
	_, declined := b.approved(t)
	b.record(t, b.claim(t, declined), evidence(declined, models.FromAnswer, models.OutcomeDeclined))
	_, claimed := b.approved(t)
	b.claim(t, claimed)
	b.publish(t)
	must(t, b.WakeGateway(t.Context(), "another"))
	if ps, _ := b.Unpublished(t.Context(), 10); len(ps) != 0 {
		t.Errorf("another gateway woke %+v", ps)
	}
	must(t, b.WakeGateway(t.Context(), "stripe"))
	woken := column[string](t, b, `SELECT operation_id FROM work WHERE published_at IS NULL AND generation = 2 AND due_at <= now() + interval '5 seconds' ORDER BY 1`)
	if diff := cmp.Diff([]string{unsent.ID, unknown.ID}, woken); diff != "" {
		t.Errorf("woken (-want +got):\n%s", diff)
	}
	for _, op := range []models.Operation{unsent, unknown} {
		if got := b.reread(t, op); got.NextAt.After(time.Now().Add(6 * time.Second)) {
			t.Errorf("%s is due at %s", got.State, got.NextAt)
		}
	}
	b.verify(t)
}

// A pause holds everything and fails nothing; the end of it makes rows due.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.unknownCapture(t)
	b.publish(t)
	must(t, b.PauseGateway(t.Context(), "stripe", "credentials \x00refused"))
	must(t, b.PauseGateway(t.Context(), "stripe", "again"))
	b.unclaimed(t, op)
	paused, err := b.Paused(t.Context())
	must(t, err)
	if len(paused) != 1 || paused[0].PausedReason != "again" {
		t.Errorf("%+v", paused)
	}
	must(t, b.ResumeGateway(t.Context(), "stripe"))
	must(t, b.ResumeGateway(t.Context(), "stripe"))
	if got := read[int](t, b, `SELECT generation FROM work WHERE operation_id = $1`, op.ID); got != 2 {
		t.Errorf("generation %d: a second resume is none", got)
	}
	b.pass(t, 6*time.Second)
	b.claim(t, op)
	b.verify(t)
}
