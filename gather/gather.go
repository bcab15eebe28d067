// Package gather batches naturally: what arrives while one batch is under way
// becomes the next. There is no timer, so a lone item waits for nothing, and a
// crowd shares the cost of a round trip.
package gather

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Options bound a Gatherer.
type Options struct {
	// Max is the most items of one batch.
	Max int
	// Waiting is the most items accepted and not answered; more wait in Do.
	Waiting int
	// Lanes is how many batches may be under way at once.
	Lanes int
}

// Answer is what became of one item.
type Answer[Out any] struct {
	Value Out
	Err   error
}

// ErrUnanswered: the batch ended without an answer for this item. What was
// asked may have happened.
var ErrUnanswered = errors.New("the batch ended without an answer")

// Gatherer collects items into batches. It holds no goroutine while idle and is
// safe for concurrent use.
type Gatherer[In, Out any] struct {
	run   func(ctx context.Context, batch []In) []Answer[Out]
	max   int
	room  chan struct{}
	lanes int

	mu      sync.Mutex
	waiting []item[In, Out]
	running int
}

type item[In, Out any] struct {
	in     In
	answer chan Answer[Out]
}

// New returns a Gatherer whose batches run carries out: one answer for each
// item, in the order of the items. Its context is never cancelled; run sets its
// own time limit.
func New[In, Out any](o Options, run func(ctx context.Context, batch []In) []Answer[Out]) *Gatherer[In, Out] {
	return &Gatherer[In, Out]{run: run, max: max(1, o.Max), room: make(chan struct{}, max(1, o.Waiting)), lanes: max(1, o.Lanes)}
}

// Do hands in to a batch and returns its answer. ctx bounds the wait for room
// only: an item that was taken is carried out and answered, whatever becomes of
// ctx meanwhile.
func (g *Gatherer[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	select {
	case g.room <- struct{}{}:
	default: // full: wait, and let go when ctx ends
		select {
		case g.room <- struct{}{}:
		case <-ctx.Done():
			var none Out
			return none, fmt.Errorf("wait for room in a batch: %w", ctx.Err())
		}
	}
	defer func() { <-g.room }()
	it := item[In, Out]{in: in, answer: make(chan Answer[Out], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, it)
	starts := g.running < g.lanes
	if starts {
		g.running++
	}
	g.mu.Unlock()
	if starts {
		go g.lane()
	}
	a := <-it.answer
	return a.Value, a.Err
}

// Waiting is how many items wait for a batch.
func (g *Gatherer[In, Out]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// lane carries out batches until nothing waits.
func (g *Gatherer[In, Out]) lane() {
	for {
		batch := g.next()
		if len(batch) == 0 {
			return
		}
		g.carryOut(batch)
	}
}

// next takes what waits, at most a batch. With nothing left the lane has ended.
func (g *Gatherer[In, Out]) next() []item[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.max)
	if n == 0 {
		g.running--
		g.waiting = nil
		return nil
	}
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return batch
}

// carryOut answers every item, whatever run returns: nobody waits for ever.
func (g *Gatherer[In, Out]) carryOut(batch []item[In, Out]) {
	ins := make([]In, len(batch))
	for i, it := range batch {
		ins[i] = it.in
	}
	answers := g.run(context.Background(), ins)
	for i, it := range batch {
		if i < len(answers) {
			it.answer <- answers[i]
		} else {
			it.answer <- Answer[Out]{Err: ErrUnanswered}
		}
	}
}
