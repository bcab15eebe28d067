package worker

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/tasks"
)

// roomWindow is how many of the latest calls count.
const roomWindow = 512

// room tells how many captures an account gets through before a lease that
// begins now is nearly over, going by its latest calls. It is safe for concurrent use.
type room struct {
	concurrency int
	perSecond   float64 // 0: unbounded
	within      time.Duration

	mu    sync.Mutex
	calls [roomWindow]time.Duration
	seen  int
}

// newRoom: concurrency is how many calls are made at once, perSecond the
// account's rate limit, 0 for none.
//
// A batch claims all of its captures at once, under one lease, and its task ends
// at the task's time-out. The last call must start a whole budget before that.
func newRoom(concurrency int, perSecond float64, tempo models.Tempo) *room {
	return &room{concurrency: max(1, concurrency), perSecond: perSecond, within: min(tempo.Lease(), tempo.TaskTimeout()) - tempo.Budget()}
}

// observe notes how long one call took.
func (r *room) observe(d time.Duration) {
	r.mu.Lock()
	r.calls[r.seen%roomWindow] = d
	r.seen++
	r.mu.Unlock()
}

// p95 is the duration that 95 of 100 of the latest calls did not exceed.
func (r *room) p95() (d time.Duration, known bool) {
	r.mu.Lock()
	calls := slices.Clone(r.calls[:min(r.seen, roomWindow)])
	r.mu.Unlock()
	if len(calls) == 0 {
		return 0, false
	}
	slices.Sort(calls)
	return calls[(len(calls)*95-1)/100], true
}

// unbounded is how many captures the account gets through in time when they are
// claimed now; 0 while nothing is known.
func (r *room) unbounded() int {
	d, known := r.p95()
	if !known && r.perSecond <= 0 {
		return 0
	}
	n := float64(math.MaxInt32)
	if known {
		n = min(n, float64(r.concurrency)*float64(r.within)/float64(max(d, time.Microsecond)))
	}
	if r.perSecond > 0 {
		n = min(n, r.perSecond*r.within.Seconds())
	}
	return max(1, int(n))
}

// bound is the most captures of one batch, from 1 to tasks.MaxBatch; 0 while
// nothing is known.
func (r *room) bound() int { return min(r.unbounded(), tasks.MaxBatch) }

// tellEvery is the pause between two tellings, well within what they last.
const tellEvery = 10 * time.Second

// tellRooms tells publishers how large a batch may be, for each account, until
// ctx ends. An untold account has batches of ordinary size.
func (s *Server) tellRooms(ctx context.Context) {
	ids := map[string]string{} // slug to id, which publishers go by
	every(ctx, tellEvery, func(ctx context.Context) {
		told := map[string]int{}
		for slug, a := range s.c.Runner.accounts {
			bound := a.room.bound()
			if bound == 0 {
				continue
			}
			if ids[slug] == "" {
				g, err := s.c.Runner.store.GatewayBySlug(ctx, slug)
				if err != nil {
					s.c.Log.DebugContext(ctx, "publishers are not told of a gateway", "gateway", slug, "error", err)
					continue
				}
				ids[slug] = g.ID
			}
			told[ids[slug]] = bound
		}
		if err := tasks.TellRoom(ctx, s.c.Redis, told); err != nil && ctx.Err() == nil {
			s.c.Log.DebugContext(ctx, "publishers were not told how large a batch may be", "error", err)
		}
	})
}
