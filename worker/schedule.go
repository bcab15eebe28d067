package worker

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/tasks"
)

// periodic is something that one worker does in each slot of time. Every worker
// offers it to Redis; the slot's name makes them one task, and the lease that
// run takes makes them one run, also when Redis loses the name.
type periodic struct {
	// name is short and stable: it names the slots.
	name string
	// task is the task type, known to no other periodic.
	task string
	// every is the length of a slot; 0 leaves it out.
	every time.Duration
	// timeout ends a run that hangs. What it did by then stands, and the next
	// slot goes on.
	timeout time.Duration
	run     func(context.Context) error
	// stops: a run ends when the server is shut down, and not when it is done.
	stops bool
}

// periodics is everything that a server does by the clock.
func (s *Server) periodics() []periodic {
	tempo := s.c.Runner.tempo
	return []periodic{
		{name: "sweep", task: tasks.ReconcileSweep, every: s.c.SweepEvery, timeout: tempo.TaskTimeout(), run: s.sweep},
		{name: "listing", task: tasks.ListingCompare, every: s.c.ListingEvery, timeout: tempo.Of(listingTimeout), run: s.listings, stops: true},
		{name: "renewals", task: tasks.HoldsRenew, every: s.renewEvery(), timeout: tempo.TaskTimeout(), run: s.renewDue},
	}
}

// periodicOf finds the periodic of a task type.
func (s *Server) periodicOf(task string) (periodic, bool) {
	for _, p := range s.periodics() {
		if p.task == task {
			return p, true
		}
	}
	return periodic{}, false
}

// runPeriodic is the handler of one slot. A run longer than a task may last has
// a time-out of its own.
func (s *Server) runPeriodic(ctx context.Context, p periodic) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if p.stops {
		go func() {
			select {
			case <-s.stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return p.run(ctx)
}

// schedule offers each periodic's slots until ctx ends.
func (s *Server) schedule(ctx context.Context) {
	for _, p := range s.periodics() {
		if p.every > 0 {
			s.running.Go(func() { every(ctx, p.every, func(ctx context.Context) { s.offer(ctx, p) }) })
		}
	}
}

// offer enqueues the present slot of a periodic.
func (s *Server) offer(ctx context.Context, p periodic) {
	slot := s.c.Now().Truncate(p.every)
	err := tasks.Enqueue(ctx, s.queue, tasks.Periodic(p.task, p.name, slot, p.timeout))
	s.bell.ring()
	err = errors.Join(err, tasks.Announce(ctx, s.c.Redis))
	if err != nil && ctx.Err() == nil {
		s.c.Log.WarnContext(ctx, p.name+" could not be enqueued; the next slot tries again", "error", err)
	}
}

// every runs fn at once and then at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, fn func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		fn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if ctx.Err() != nil { // both at once: select takes either
				return
			}
		}
	}
}
