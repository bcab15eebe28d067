package worker_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/tasks"
	"github.com/capstan-pay/capstan/worker"
)

// TestRoom: how many captures fit between a claim and a budget before the
// task's end, 25 s at full length.
func TestRoom(t *testing.T) {
	t.Parallel()
	repeat := func(n int, d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, n) }
	for _, tt := range []struct {
		name        string
		concurrency int
		perSecond   float64
		scale       int
		calls       []time.Duration
		want        int
	}{
		{"nothing is known", 64, 0, 1, nil, 0},
		{"calls of no time", 1, 0, 1, repeat(10, 0), tasks.MaxBatch},
		{"fast", 10, 0, 1, repeat(10, 50*time.Millisecond), tasks.MaxBatch},
		{"a second each, one by one", 1, 0, 1, repeat(10, time.Second), 25},
		{"a second each, four at once", 4, 0, 1, repeat(10, time.Second), 100},
		{"slower than its budget", 1, 0, 1, repeat(10, time.Minute), 1},
		{"one slow call of a hundred", 1, 0, 1, append(repeat(99, time.Second), 20*time.Second), 25},
		{"ten slow calls of a hundred", 1, 0, 1, append(repeat(90, time.Second), repeat(10, 5*time.Second)...), 5},
		{"one call", 1, 0, 1, repeat(1, 5*time.Second), 5},
		{"it was slow once", 1, 0, 1, append(repeat(5000, 20*time.Second), repeat(512, time.Second)...), 25},
		{"a rate, no calls", 64, 2, 1, nil, 50},
		{"a rate that is slower than the calls", 64, 2, 1, repeat(10, time.Millisecond), 50},
		{"calls that are slower than the rate", 1, 100, 1, repeat(10, time.Second), 25},
		{"a low rate", 64, 0.01, 1, nil, 1},
		{"no concurrency", 0, 0, 1, repeat(10, time.Second), 25},
		{"at a faster tempo", 1, 0, 5, repeat(10, time.Second), 5},
	} {
		if got := worker.NewRoom(tt.concurrency, tt.perSecond, models.Tempo{Scale: tt.scale}, tt.calls...).Bound(); got != tt.want {
			t.Errorf("%s: room for %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestRoomAtOnce is for the race detector.
func TestRoomAtOnce(t *testing.T) {
	t.Parallel()
	r := worker.NewRoom(1, 0, models.Tempo{})
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			for range 200 {
				r.Observe(time.Second)
				if got := r.Bound(); got != 25 {
					t.Errorf("room for %d, want 25", got)
				}
			}
		})
	}
	crowd.Wait()
}
