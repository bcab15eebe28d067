package enqueuer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

// backlog approves orders and tells Redis of none.
func (s *shop) backlog(t *testing.T, orders int) []string {
	t.Helper()
	var names []string
	for range orders {
		orderID, _ := s.held(t)
		err := s.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			p, err := s.captures.Approve(ctx, tx, models.Test, orderID, "shop")
			if err == nil {
				names = append(names, fmt.Sprintf("capture:%s:1", p.Operations[0].ID))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	return names
}

func (s *shop) spawnRelay(t *testing.T) *exec.Cmd {
	t.Helper()
	config, err := json.Marshal(s.servers)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), relayVariable+"="+string(config))
	cmd.Stderr = t.Output()
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a relay process: %v", err)
	}
	return cmd
}

// TestRelayDiesBetweenEnqueueAndMark: Redis has the tasks, the ledger does not
// know it, and the relay is killed. The next one publishes the same names.
func TestRelayDiesBetweenEnqueueAndMark(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	names := s.backlog(t, 12)
	rival, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rival.Rollback() }()
	if _, err := rival.ExecContext(t.Context(), `LOCK TABLE work IN EXCLUSIVE MODE`); err != nil { // reads pass, marks wait
		t.Fatal(err)
	}
	relay := s.spawnRelay(t)
	eventually(t, "Redis has every task", func() (bool, any) {
		got := s.queued(t, tasks.Captures)
		return len(got) == len(names), got
	})
	if err := relay.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = relay.Wait()
	if err := rival.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dead relay's statement is gone", func() (bool, any) {
		n := s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'capstan' AND datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'`)
		return n == 0, n
	})
	s.exec(t, `UPDATE work SET published_at = NULL`) // whatever of the mark went through meanwhile
	n, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context())
	if err != nil || n != len(names) {
		t.Errorf("the next relay published %d, %v; want all %d again", n, err, len(names))
	}
	got := s.queued(t, tasks.Captures)
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("queued %v, want each once: %v", got, names)
	}
	if n := s.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
}

// TestManyRelays publish everything, and what goes singly once.
func TestManyRelays(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	names := s.backlog(t, 16)
	var relays sync.WaitGroup
	for range 6 {
		relays.Go(func() {
			if _, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context()); err != nil {
				t.Errorf("relay: %v", err)
			}
		})
	}
	relays.Wait()
	got := s.queued(t, tasks.Captures)
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("queued %d tasks, want %d", len(got), len(names))
	}
	if n, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context()); err != nil || n != 0 {
		t.Errorf("one more relay published %d, %v", n, err)
	}
}

// TestLongBacklog is several rounds without a pause. Deliveries make one without
// a thousand orders.
func TestLongBacklog(t *testing.T) {
	t.Parallel()
	const many = 5203
	s := newShop(t, onApproval)
	if err := s.store.EnsureWebhook(t.Context(), "default", "http://127.0.0.1:1/"); err != nil {
		t.Fatal(err)
	}
	s.exec(t, `INSERT INTO deliveries (id, webhook_id, topic, operation_id, kind, version, payload)
		SELECT gen_random_uuid(), w.id, 'captures.succeeded', gen_random_uuid(), 'capture', 1, '{}' FROM webhooks AS w, generate_series(1, $1)`, many)
	n, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context())
	if err != nil || n != many {
		t.Errorf("published %d, %v; want %d", n, err, many)
	}
	if got := s.queued(t, tasks.Webhooks); len(got) != many {
		t.Errorf("queued %d, want %d", len(got), many)
	}
	if n := s.count(t, `SELECT count(*) FROM deliveries WHERE published_at IS NULL`); n != 0 {
		t.Errorf("%d deliveries count as unpublished", n)
	}
}

// TestRelayRuns until its context ends, and finds what comes meanwhile, what was
// published under an older generation included.
func TestRelayRuns(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		enqueuer.NewRelay(s.captures, 20*time.Millisecond).Run(ctx)
	}()
	names := s.backlog(t, 3)
	published := func(want int) func() (bool, any) {
		return func() (bool, any) {
			got := s.queued(t, tasks.Captures)
			return len(got) == want && s.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`) == 0, got
		}
	}
	eventually(t, "all is published", published(len(names)))
	s.exec(t, `UPDATE work SET generation = generation + 1, published_at = NULL`)
	eventually(t, "all is published again under new names", published(2*len(names)))
	cancel()
	<-ended
}
