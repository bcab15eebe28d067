package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// TestPostgresStopsBetweenCallAndRecord: the money moved, and the database that
// should hear of it crashes at that moment.
func TestPostgresStopsBetweenCallAndRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		step  worker.Step
		moved bool
	}{
		{"", worker.StepAnswered, true},
		{"drop_before", worker.StepAnswered, false},
		{"charge_then_drop", worker.StepLooked, true},
	} {
		t.Run(fmt.Sprintf("%s %s", tt.fault, tt.step), func(t *testing.T) {
			t.Parallel()
			stack := devstacktest.NewStack(t, devstack.Options{})
			w := newWorld(t, setup{stack: stack})
			p := w.order(t, tt.fault)
			var once sync.Once
			stopped := make(chan error, 1)
			w.start(t, staff{at: func(at worker.Step) {
				if at == tt.step {
					once.Do(func() { stopped <- stack.StopPostgres(context.Background(), devstack.Immediate) })
				}
			}})
			if err := <-stopped; err != nil {
				t.Fatalf("stop Postgres: %v", err)
			}
			if got := w.moved(t, models.Capture, p); got != tt.moved {
				t.Errorf("moved = %t when Postgres stopped, want %t", got, tt.moved)
			}
			if err := stack.StartPostgres(t.Context()); err != nil {
				t.Fatalf("start Postgres: %v", err)
			}
			w.settle(t)
			if op := w.reread(t, p); op.State != models.Succeeded {
				t.Errorf("capture = %+v, want succeeded", op)
			}
			w.check(t, p, truth{captured: total})
		})
	}
}

// TestPostgresCrashesAgainAndAgain under a crowd of captures.
func TestPostgresCrashesAgainAndAgain(t *testing.T) {
	t.Parallel()
	stack := devstacktest.NewStack(t, devstack.Options{})
	w := newWorld(t, setup{stack: stack})
	bought := w.crowd(t, 30)
	w.start(t, staff{tasks: 4})
	for _, share := range []int{3, 10, 20} {
		eventually(t, "some are captured", func() (bool, any) {
			b := w.book(t, "")
			return len(b.Captures) >= share, len(b.Captures)
		})
		if err := stack.StopPostgres(t.Context(), devstack.Immediate); err != nil {
			t.Fatal(err)
		}
		if err := stack.StartPostgres(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(t)
	w.allCaptured(t, bought)
}

// faulty is the real ledger, which loses one statement or its acknowledgement.
type faulty struct {
	worker.Ledger
	mu sync.Mutex
	// method and nth say which call; committed whether it took effect.
	method    string
	nth       int
	committed bool
	met       bool
}

var errLost = errors.New("the connection to the database was lost")

// lose runs a call, or not, and loses its answer when its turn has come.
func (f *faulty) lose(method string, do func() error) error {
	f.mu.Lock()
	mine := false
	if method == f.method && !f.met {
		f.nth--
		mine = f.nth == 0
		f.met = f.met || mine
	}
	f.mu.Unlock()
	if !mine {
		return do()
	}
	if f.committed {
		_ = do()
	}
	return errLost
}

func (f *faulty) ClaimAll(ctx context.Context, kind models.Kind, ids []string, owner string) (claims []store.Claim, err error) {
	err = f.lose("ClaimAll", func() (err error) {
		claims, err = f.Ledger.ClaimAll(ctx, kind, ids, owner)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

func (f *faulty) ClaimSend(ctx context.Context, look store.Outcome) (again store.Claim, err error) {
	err = f.lose("ClaimSend", func() (err error) {
		again, err = f.Ledger.ClaimSend(ctx, look)
		return err
	})
	if err != nil {
		return store.Claim{}, err
	}
	return again, nil
}

func (f *faulty) WhyNot(ctx context.Context, kind models.Kind, id, name string) error {
	return f.lose("WhyNot", func() error { return f.Ledger.WhyNot(ctx, kind, id, name) })
}

func (f *faulty) Unbundle(ctx context.Context, ids []string) error {
	return f.lose("Unbundle", func() error { return f.Ledger.Unbundle(ctx, ids) })
}

func (f *faulty) Record(ctx context.Context, o store.Outcome) error {
	return f.lose("Record", func() error { return f.Ledger.Record(ctx, o) })
}

func (f *faulty) Release(ctx context.Context, c store.Claim, name, why string, wait time.Duration) error {
	return f.lose("Release", func() error { return f.Ledger.Release(ctx, c, name, why, wait) })
}

// TestLostAcknowledgements loses each statement of the ledger, and each
// acknowledgement of one that was committed; the later ones take turns unless
// -prove has both of each.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	places := newPlaces(t, 10)
	for i, tt := range []struct {
		method string
		nth    int
		fault  string
	}{
		{"ClaimAll", 1, ""},
		{"ClaimAll", 2, "charge_then_drop"},
		{"ClaimAll", 2, "drop_before"},
		{"ClaimSend", 1, "drop_before"},
		{"Record", 1, ""},
		{"Record", 1, "charge_then_drop"},
		{"Record", 1, "drop_before"},
		{"Record", 1, "charge_then_500"},
		{"Record", 1, "sticky_500"},
		{"Record", 2, "sticky_500"},
		{"Record", 2, "charge_then_drop"},
		{"Record", 2, "drop_before"},
		{"Record", 1, "decline:1"},
	} {
		for _, committed := range []bool{true, false} {
			if !*prove && i > 4 && committed == (i%2 == 0) {
				continue
			}
			t.Run(fmt.Sprintf("%s %d, %s, committed %t", tt.method, tt.nth, tt.fault, committed), func(t *testing.T) {
				t.Parallel()
				w := places.world(t)
				p := w.order(t, tt.fault)
				f := &faulty{method: tt.method, nth: tt.nth, committed: committed}
				w.start(t, staff{wrap: func(l worker.Ledger) worker.Ledger {
					f.Ledger = l
					return f
				}})
				w.settle(t)
				f.mu.Lock()
				met := f.met
				f.mu.Unlock()
				if !met {
					t.Errorf("the fault was never met")
				}
				if op := w.reread(t, p); op.State != models.Succeeded {
					t.Errorf("capture = %+v, want succeeded", op)
				}
				w.check(t, p, truth{captured: total})
				sends, looks := w.claims(t, p.op.ID)
				t.Logf("sends %d look-ups %d", sends, looks)
			})
		}
	}
}

// TestLostRelease: a claim that could not be given back is taken over.
func TestLostRelease(t *testing.T) {
	t.Parallel()
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprintf("committed %t", committed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			first, second := w.order(t, "429=6"), w.order(t, "") // longer than a claim waits in place
			f := &faulty{method: "Release", nth: 1, committed: committed}
			w.start(t, staff{tasks: 1, wrap: func(l worker.Ledger) worker.Ledger {
				f.Ledger = l
				return f
			}})
			w.settle(t)
			for _, p := range []purchase{first, second} {
				w.check(t, p, truth{captured: total})
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if !f.met {
				t.Errorf("nothing was ever released")
			}
		})
	}
}
