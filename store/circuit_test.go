package store_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/capstan-pay/capstan/store"
)

// TestCircuit: more than thirty failures in a row open it, an answer in between
// begins anew, one of many who ask may try it each minute, and an answer closes
// it and makes the open rows due.
func TestCircuit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ctx := t.Context()
	fail := func(n int) (opened int) {
		t.Helper()
		for range n {
			_, now, err := b.CircuitFailed(ctx, "stripe", 30)
			must(t, err)
			if now {
				opened++
			}
		}
		return opened
	}
	state := func() store.Circuit {
		t.Helper()
		c, err := b.EnterCircuit(ctx, "stripe")
		must(t, err)
		return c
	}
	if opened := fail(30); opened != 0 || state() != (store.Circuit{Failures: 30}) {
		t.Fatalf("thirty failures: opened %d times, %+v", opened, state())
	}
	closed, err := b.CircuitAnswered(ctx, "stripe")
	must(t, err)
	if closed || state() != (store.Circuit{}) {
		t.Fatalf("an answer before it opened: closed %t, %+v", closed, state())
	}
	if opened := fail(30); opened != 0 {
		t.Fatal("thirty that were not in a row with the first opened it")
	}
	if opened := fail(5); opened != 1 || state() != (store.Circuit{Failures: 31, Open: true}) {
		t.Fatalf("the thirty-first: opened %d times, %+v", opened, state())
	}
	for minute := range 3 {
		b.exec(t, `UPDATE payment_gateways SET circuit_opened_at = circuit_opened_at - interval '61 seconds', circuit_tried_at = circuit_tried_at - interval '61 seconds'`)
		var tries atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if c, err := b.EnterCircuit(ctx, "stripe"); err == nil && c.Open && c.Try {
					tries.Add(1)
				}
			})
		}
		group.Wait()
		if n := tries.Load(); n != 1 {
			t.Fatalf("minute %d: %d may try it", minute, n)
		}
		fail(1)
	}
	_, op := b.approved(t)
	b.exec(t, `UPDATE captures SET unsent = 3, next_at = now() + interval '1 hour' WHERE id = $1`, op.ID)
	b.exec(t, `UPDATE work SET due_at = now() + interval '1 hour', published_at = now()`)
	if closed, err = b.CircuitAnswered(ctx, "stripe"); err != nil || !closed || state() != (store.Circuit{}) {
		t.Fatalf("an answer: closed %t, %v, %+v", closed, err, state())
	}
	if n := read[int](t, b, `SELECT count(*) FROM work WHERE due_at < now() + interval '10 seconds' AND published_at IS NULL`); n != 1 {
		t.Errorf("%d rows were made due", n)
	}
	if _, err := b.EnterCircuit(ctx, "nobody"); err == nil {
		t.Error("an account that is not there has a circuit")
	}
}

// TestActOnGateway: each action does its part, and says who did it and why.
func TestActOnGateway(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	g, err := b.GatewayBySlug(t.Context(), "stripe")
	must(t, err)
	for range 31 {
		_, _, err := b.CircuitFailed(t.Context(), "stripe", 30)
		must(t, err)
	}
	for _, action := range []store.GatewayAction{store.DisableGateway, store.DisableGateway, store.EnableGateway, store.ResetGatewayCircuit} {
		must(t, b.ActOnGateway(t.Context(), nil, g, action, "olga", "because\x00"))
		now, err := b.GatewayBySlug(t.Context(), "stripe")
		must(t, err)
		if (now.PausedAt != nil) != (action == store.DisableGateway) || (now.CircuitOpenedAt == nil) != (action == store.ResetGatewayCircuit) {
			t.Errorf("after %s: %+v", action, now)
		}
		must(t, b.ResumeGateway(t.Context(), "stripe")) // as a sweep does when the credentials work
		waiting, err := b.Paused(t.Context())
		must(t, err)
		if still, err := b.GatewayBySlug(t.Context(), "stripe"); err != nil || len(waiting) != 0 || (still.PausedAt != nil) != (action == store.DisableGateway) {
			t.Errorf("after %s a sweep made of it %+v, %v", action, still, err)
		}
	}
	if err := b.ActOnGateway(t.Context(), nil, g, "explode", "olga", "because"); err == nil {
		t.Error("anything can be done")
	}
	actions := column[string](t, b, `SELECT action || ' by ' || actor FROM verdicts WHERE payment_gateway_id IS NOT NULL ORDER BY created_at, id`)
	if len(actions) != 4 || actions[0] != "gateway_disable by olga" {
		t.Errorf("kept: %q", actions)
	}
}
