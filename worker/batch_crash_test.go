package worker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// batchFaults are what the captures of one batch meet at the gateway.
var batchFaults = []string{"", "charge_then_drop", "drop_before", "decline:1"}

// batchCrash is one way to lose a worker in the middle of a batch.
type batchCrash struct {
	at  worker.Step
	nth int64
	// after: each capture had been claimed before, by a worker that died, so the
	// batch looks first.
	after bool
	// ended: the batch had nothing left to do; the sweep is not needed.
	ended bool
}

// batchCrashes are the first and the last arrival at each step.
var batchCrashes = []batchCrash{
	{at: worker.StepClaimed, nth: 1},
	{at: worker.StepClaimed, nth: 4},
	{at: worker.StepAnswered, nth: 1},
	{at: worker.StepAnswered, nth: 4},
	{at: worker.StepRecorded, nth: 1},
	{at: worker.StepRecorded, nth: 4, ended: true},
	{at: inCall},
	{after: true, at: worker.StepLooked, nth: 1},
	{after: true, at: worker.StepLooked, nth: 4},
	{after: true, at: worker.StepSending, nth: 1},
	{after: true, at: worker.StepSending, nth: 4},
	{after: true, at: worker.StepAnswered, nth: 4},
}

func (c batchCrash) name() string {
	name := "killed " + string(c.at)
	if c.nth > 1 {
		name = fmt.Sprintf("killed %s (%d.)", c.at, c.nth)
	}
	if c.after {
		return "taken over, " + name
	}
	return name
}

// TestBatchCrashTable kills a worker process with SIGKILL wherever its batch can
// be, has a second worker recover, and asks the gateway's own book about each
// capture.
func TestBatchCrashTable(t *testing.T) {
	t.Parallel()
	places := newPlaces(t, len(batchCrashes))
	for _, c := range batchCrashes {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			c.run(t, places.world(t))
		})
	}
}

func (c batchCrash) run(t *testing.T, w *world) {
	bought := w.alike(t, batchFaults...)
	ids := captureIDs(bought)
	if c.after {
		claims, err := w.store.ClaimAll(t.Context(), models.Capture, ids, "dead")
		if err != nil || len(claims) != len(ids) {
			t.Fatal(claims, err)
		}
		w.hurry(t)
	}
	w.enqueueBatch(t, ids)
	if c.at == inCall {
		gate := w.front.holdBack(http.MethodPost, "/capture")
		victim := w.spawn(t, orders{})
		eventually(t, "all calls are under way", func() (bool, any) { return w.front.held(gate) == len(ids), w.front.held(gate) })
		victim.kill()
		w.front.release(gate)
	} else {
		w.spawn(t, orders{Step: c.at, Nth: c.nth, Signal: syscall.SIGKILL}).died(t)
	}
	if n := w.count(t, `SELECT count(*) FROM attempts WHERE worker = 'victim'`); n < len(ids) {
		t.Fatalf("%d of %d captures were claimed by the batch", n, len(ids))
	}
	if c.ended {
		w.leftBatch(t, ids)
	}
	w.start(t, staff{name: "second"})
	w.settle(t)
	republished := 0
	var history []string
	for i, id := range ids {
		if slices.Contains(w.verdicts(t, id), models.Republish) {
			republished++
		}
		sends, looks := w.claims(t, id)
		history = append(history, fmt.Sprintf("%s: %d sends, %d look-ups", strings.TrimSpace("capture "+batchFaults[i]), sends, looks))
	}
	w.allCaptured(t, bought)
	t.Logf("%s: the sweep found %d of %d; %s", c.name(), republished, len(ids), strings.Join(history, "; "))
}
