package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// backlog approves orders, whose holds carry mixed faults, and tells Redis of none.
func (w *world) backlog(t *testing.T, orders int) []purchase {
	t.Helper()
	var bought []purchase
	for i := range orders {
		p := w.place(t, mixed[i%len(mixed)])
		err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			made, err := w.enqueuer.Approve(ctx, tx, models.Test, p.orderID, "shop")
			if err == nil {
				p.op = made.Operations[0]
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		bought = append(bought, p)
	}
	return bought
}

// TestBacklogTravelsTogether: what waits becomes batches, which several relays
// publish at once. What fails leaves its batch; everything ends captured, once,
// and no task is left behind.
func TestBacklogTravelsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	bought := w.backlog(t, 40)
	var relays sync.WaitGroup
	for range 3 {
		relays.Go(func() {
			if _, err := enqueuer.NewRelay(w.enqueuer, time.Hour).RunOnce(t.Context()); err != nil {
				t.Errorf("relay: %v", err)
			}
		})
	}
	relays.Wait()
	list, err := w.inspector.ListPendingTasks(tasks.Captures)
	if err != nil || len(list) == 0 || len(list) >= len(bought) {
		t.Fatalf("%d tasks wait, %v; want batches of %d captures", len(list), err, len(bought))
	}
	for _, i := range list {
		if !strings.HasPrefix(i.ID, "captures:") {
			t.Errorf("task %s waits; want batches only", i.ID)
		}
	}
	w.start(t, staff{tasks: 4})
	w.settle(t)
	w.allCaptured(t, bought)
	eventually(t, "the queue is empty", func() (bool, any) {
		info, err := w.inspector.GetQueueInfo(tasks.Captures)
		return err == nil && info.Size == 0, fmt.Sprintf("%+v %v", info, err)
	})
}
