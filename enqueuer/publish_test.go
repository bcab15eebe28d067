package enqueuer_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/tasks"
)

// hinted lists the captures that waiting tasks name: those of batches, and those
// that have a task of their own.
func (s *shop) hinted(t *testing.T) (batched, single []string) {
	t.Helper()
	for _, name := range s.queued(t, tasks.Captures) {
		info, err := s.inspector.GetTaskInfo(tasks.Captures, name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Type != tasks.CapturesRun {
			single = append(single, strings.Split(name, ":")[1])
			continue
		}
		b, err := tasks.ParseBatch(info.Payload)
		if err != nil || len(b.IDs) < 2 {
			t.Fatalf("batch %s = %+v, %v", name, b, err)
		}
		batched = append(batched, b.IDs...)
	}
	slices.Sort(batched)
	slices.Sort(single)
	return batched, single
}

// idsOf are the captures of task names.
func idsOf(names []string) []string {
	var ids []string
	for _, n := range names {
		ids = append(ids, strings.Split(n, ":")[1])
	}
	return ids
}

// rings subscribes to the bell and returns how to wait for the next ring.
func (s *shop) rings(t *testing.T) (wait func()) {
	t.Helper()
	bell := s.redis.Subscribe(t.Context(), tasks.Bell)
	t.Cleanup(func() { _ = bell.Close() })
	if _, err := bell.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if _, err := bell.ReceiveMessage(t.Context()); err != nil {
			t.Fatalf("nobody rang: %v", err)
		}
	}
}

// unpublished counts the open work that Redis is not known to have.
func (s *shop) unpublished(t *testing.T) int {
	t.Helper()
	return s.count(t, `SELECT count(*) FROM work WHERE published_at IS NULL`)
}

// TestRelayBundles a backlog, as large as the workers can take it, and leaves
// refused captures alone.
func TestRelayBundles(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	ids := idsOf(s.backlog(t, 40))
	s.exec(t, `UPDATE work SET alone = true WHERE operation_id = $1 OR operation_id = $2`, ids[0], ids[1])
	if err := tasks.TellRoom(t.Context(), s.redis, map[string]int{s.gateway.ID: 5}); err != nil {
		t.Fatal(err)
	}
	rung := s.rings(t)
	relay := enqueuer.NewRelay(s.captures, time.Hour)
	if n, err := relay.RunOnce(t.Context()); err != nil || n != 40 {
		t.Fatalf("published %d, %v; want 40", n, err)
	}
	rung()
	batched, single := s.hinted(t)
	if !slices.Equal(batched, ids[2:]) || !slices.Equal(single, ids[:2]) {
		t.Errorf("batched %d, single %d; want each capture once, and two alone", len(batched), len(single))
	}
	if got := len(s.queued(t, tasks.Captures)); got != 2+8 {
		t.Errorf("%d tasks, want 38 captures in batches of 5 and two alone", got)
	}
	if n := s.unpublished(t); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
	if n, err := relay.RunOnce(t.Context()); err != nil || n != 0 {
		t.Errorf("the next round published %d, %v", n, err)
	}
}

// TestRelayDiesWithBatches: Redis has them and the ledger does not know it. Published
// again they are the same tasks; with more beside them they are cut otherwise,
// and no capture is left out.
func TestRelayDiesWithBatches(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	ids := idsOf(s.backlog(t, 40))
	relay := enqueuer.NewRelay(s.captures, time.Hour)
	for range 3 {
		s.exec(t, `UPDATE work SET published_at = NULL`)
		if n, err := relay.RunOnce(t.Context()); err != nil || n != len(ids) {
			t.Fatalf("published %d, %v", n, err)
		}
	}
	if batched, single := s.hinted(t); !slices.Equal(batched, ids) || len(single) != 0 {
		t.Errorf("%d hints, want each of %d captures once", len(batched)+len(single), len(ids))
	}
	s.exec(t, `UPDATE work SET published_at = NULL`)
	ids = append(ids, idsOf(s.backlog(t, 40))...)
	if n, err := relay.RunOnce(t.Context()); err != nil || n != len(ids) {
		t.Fatalf("published %d, %v", n, err)
	}
	batched, single := s.hinted(t)
	all := slices.Sorted(slices.Values(append(batched, single...)))
	slices.Sort(ids)
	if all = slices.Compact(all); !slices.Equal(all, ids) {
		t.Errorf("%d captures are hinted at, want %d", len(all), len(ids))
	}
}

// TestManyRelaysBundle the same backlog at once: it is the same tasks.
func TestManyRelaysBundle(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	ids := idsOf(s.backlog(t, 40))
	var relays sync.WaitGroup
	for range 6 {
		relays.Go(func() {
			if _, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context()); err != nil {
				t.Errorf("relay: %v", err)
			}
		})
	}
	relays.Wait()
	batched, single := s.hinted(t)
	all := slices.Sorted(slices.Values(append(batched, single...)))
	if all = slices.Compact(all); !slices.Equal(all, ids) {
		t.Errorf("%d captures are hinted at, want %d", len(all), len(ids))
	}
	if n := s.unpublished(t); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
}

// TestBatchesOff gives every capture its own task.
func TestBatchesOff(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	names := s.backlog(t, 40)
	e := enqueuer.New(enqueuer.Config{Store: s.store, Redis: s.redis, MaxBatch: 1, Log: s.log(t)})
	if n, err := enqueuer.NewRelay(e, time.Hour).RunOnce(t.Context()); err != nil || n != len(names) {
		t.Fatalf("published %d, %v", n, err)
	}
	got := s.queued(t, tasks.Captures)
	slices.Sort(got)
	if !slices.Equal(got, names) {
		t.Errorf("queued %v, want %v", got, names)
	}
}

// published makes what an approval would return for captures that exist.
func (s *shop) published(t *testing.T, n int) []enqueuer.Published {
	t.Helper()
	var made []enqueuer.Published
	for range n {
		orderID, _ := s.held(t)
		tx, err := s.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.captures.Approve(t.Context(), tx, models.Test, orderID, "shop")
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		made = append(made, p)
	}
	return made
}

// TestPublishTogether: a crowd of calls shares rounds. Each capture is hinted
// at, whatever the rounds were, and the relay has nothing to add but notes.
func TestPublishTogether(t *testing.T) {
	t.Parallel()
	const orders = 60
	s := newShop(t, onApproval)
	made := s.published(t, orders)
	rung := s.rings(t)
	var crowd sync.WaitGroup
	for _, p := range made {
		crowd.Go(func() {
			for range 2 { // a caller that is not sure, too
				if err := p.Publish(t.Context()); err != nil {
					t.Errorf("publish: %v", err)
				}
			}
		})
	}
	crowd.Wait()
	rung()
	var want []string
	for _, p := range made {
		want = append(want, p.Operations[0].ID)
	}
	slices.Sort(want)
	batched, single := s.hinted(t)
	got := append(batched, single...)
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%d captures are hinted at, want %d", len(got), len(want))
	}
	if _, err := enqueuer.NewRelay(s.captures, time.Hour).RunOnce(t.Context()); err != nil {
		t.Errorf("relay: %v", err)
	}
	if n := s.unpublished(t); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
}

// TestPublishMany: one call with many operations makes batches and notes them.
func TestPublishMany(t *testing.T) {
	t.Parallel()
	s := newShop(t, onApproval)
	made := s.published(t, 20)
	all := made[0]
	for _, p := range made[1:] {
		all.Operations = append(all.Operations, p.Operations...)
	}
	if err := all.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	batched, single := s.hinted(t)
	if len(batched) != 20 || len(single) != 0 || len(s.queued(t, tasks.Captures)) != 3 {
		t.Errorf("batched %d, single %d, in %d tasks; want 20 in 3 batches", len(batched), len(single), len(s.queued(t, tasks.Captures)))
	}
	if n := s.unpublished(t); n != 0 {
		t.Errorf("%d captures count as unpublished", n)
	}
}

// TestRedisGoesAwayMeanwhile: no call hangs, each says that its capture was not
// published, and none is noted.
func TestRedisGoesAwayMeanwhile(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{NoPostgres: true})
	s := newShopOn(t, onApproval, stack.RedisURL)
	made := s.published(t, 20)
	if err := stack.StopRedis(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var crowd sync.WaitGroup
	for _, p := range made {
		crowd.Go(func() {
			if err := p.Publish(t.Context()); err == nil {
				t.Error("published into nothing")
			}
		})
	}
	crowd.Wait()
	if n := s.unpublished(t); n != len(made) {
		t.Errorf("%d captures count as unpublished, want %d", n, len(made))
	}
	if err := stack.StartRedis(t.Context()); err != nil {
		t.Fatal(err)
	}
	// After many failures go-redis tries a new connection once a second: until then
	// the relay fails, and comes again.
	relay, giveUp := enqueuer.NewRelay(s.captures, time.Hour), time.Now().Add(time.Minute)
	n, err := relay.RunOnce(t.Context())
	for err != nil && time.Now().Before(giveUp) {
		n, err = relay.RunOnce(t.Context())
	}
	if err != nil || n != len(made) {
		t.Errorf("the relay published %d, %v; want %d", n, err, len(made))
	}
	if batched, _ := s.hinted(t); len(batched) != len(made) {
		t.Errorf("%d captures are hinted at, want %d: %v", len(batched), len(made), fmt.Sprint(batched))
	}
}
