package gather_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/capstan-pay/capstan/gather"
)

// held returns a Gatherer of which every batch waits until it is let go, and the
// sizes of the batches that began.
func held(o gather.Options) (g *gather.Gatherer[int, int], began chan int, letGo chan struct{}) {
	began, letGo = make(chan int, 100), make(chan struct{})
	g = gather.New(o, func(_ context.Context, batch []int) []gather.Answer[int] {
		began <- len(batch)
		<-letGo
		answers := make([]gather.Answer[int], len(batch))
		for i, in := range batch {
			answers[i].Value = -in
		}
		return answers
	})
	return g, began, letGo
}

// TestGathersWhileBusy: a lone item goes at once; what comes meanwhile goes
// together, at most Max, and each gets its own answer.
func TestGathersWhileBusy(t *testing.T) {
	defer goleak.VerifyNone(t)
	g, began, letGo := held(gather.Options{Max: 10, Waiting: 100, Lanes: 1})
	var crowd sync.WaitGroup
	ask := func(in int) {
		crowd.Go(func() {
			if out, err := g.Do(context.Background(), in); out != -in || err != nil {
				t.Errorf("asked %d, got %d, %v", in, out, err)
			}
		})
	}
	ask(1)
	if n := <-began; n != 1 {
		t.Fatalf("a lone item went in a batch of %d", n)
	}
	for in := 2; in <= 26; in++ {
		ask(in)
	}
	for g.Waiting() < 25 { // all of them have arrived
		continue
	}
	close(letGo)
	crowd.Wait()
	if sizes := []int{<-began, <-began, <-began}; !slices.Equal(sizes, []int{10, 10, 5}) {
		t.Errorf("25 items that waited went in batches of %v", sizes)
	}
}

func TestLanes(t *testing.T) {
	defer goleak.VerifyNone(t)
	g, began, letGo := held(gather.Options{Max: 10, Waiting: 10, Lanes: 3})
	var crowd sync.WaitGroup
	for in := range 3 {
		crowd.Go(func() { _, _ = g.Do(context.Background(), in) })
		if n := <-began; n != 1 { // three are under way at once, or this hangs
			t.Errorf("batch of %d", n)
		}
	}
	close(letGo)
	crowd.Wait()
}

// TestBackPressure: beyond Waiting, Do waits, and lets go when its caller does.
// What was taken is answered even to a caller who has gone.
func TestBackPressure(t *testing.T) {
	defer goleak.VerifyNone(t)
	g, began, letGo := held(gather.Options{Max: 1, Waiting: 1, Lanes: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var taken sync.WaitGroup
	var answered atomic.Int64
	taken.Go(func() {
		if out, err := g.Do(ctx, 7); out != -7 || err != nil {
			t.Errorf("a cancelled context kept what was taken from its answer: %d, %v", out, err)
		}
		answered.Add(1)
	})
	<-began
	cancel()
	if _, err := g.Do(ctx, 8); !errors.Is(err, context.Canceled) {
		t.Errorf("there was no room, and no error: %v", err)
	}
	if answered.Load() != 0 {
		t.Error("answered before it was carried out")
	}
	close(letGo)
	taken.Wait()
	if out, err := g.Do(t.Context(), 9); out != -9 || err != nil {
		t.Errorf("room was not given back: %d, %v", out, err)
	}
}

// TestTooFewAnswers: whoever asked is told, and nobody hangs.
func TestTooFewAnswers(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := gather.New(gather.Options{Max: 1, Waiting: 4, Lanes: 1}, func(_ context.Context, _ []int) []gather.Answer[int] { return nil })
	if _, err := g.Do(t.Context(), 1); !errors.Is(err, gather.ErrUnanswered) {
		t.Errorf("got %v", err)
	}
}
