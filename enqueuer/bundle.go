package enqueuer

import (
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
)

const (
	// few captures of one account go singly: each is its own line in Asynqmon
	// then, and nobody waits for them.
	few = 16
	// smallest is the least that is worth a batch.
	smallest = 8
	// shares is into how many batches a backlog is cut, so that several workers
	// have a share of it.
	shares = 8
	// usualRoom is the largest batch while no worker has told what it gets through.
	usualRoom = tasks.MaxBatch
)

// bundle cuts work into parcels: each becomes one task, in the order of the
// work. Captures of one gateway account that may start now travel together when
// many wait; everything else goes alone, as does all with most = 1. What comes
// twice goes once. room, the largest batch per account as workers tell it, is
// asked for only when there is something to bundle.
func bundle(work []store.Publication, most int, room func() map[string]int) [][]store.Publication {
	size := batchSizes(work, most, room)
	parcels := make([][]store.Publication, 0, len(work))
	filling := map[string]int{} // account to the parcel that is being filled
	seen := make(map[string]bool, len(work))
	for i, p := range work {
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		n := size[p.Account]
		if n <= 1 || !mayTravel(p) {
			parcels = append(parcels, work[i:i+1:i+1])
			continue
		}
		at, ok := filling[p.Account]
		if !ok || len(parcels[at]) == n {
			at = len(parcels)
			filling[p.Account] = at
			parcels = append(parcels, make([]store.Publication, 0, n))
		}
		parcels[at] = append(parcels[at], p)
	}
	return parcels
}

// mayTravel: a capture that failed before has a task of its own, and a delay
// belongs to one.
func mayTravel(p store.Publication) bool {
	return p.Kind == string(models.Capture) && !p.Alone && p.In <= 0 && p.Account != ""
}

// batchSizes says how many captures of each account go into one task; accounts
// of which few wait are not in it.
func batchSizes(work []store.Publication, most int, room func() map[string]int) map[string]int {
	if most <= 1 || len(work) <= few {
		return nil
	}
	waiting := map[string]int{}
	for _, p := range work {
		if mayTravel(p) {
			waiting[p.Account]++
		}
	}
	size := map[string]int{}
	var known map[string]int
	for account, n := range waiting {
		if n <= few {
			continue
		}
		if known == nil {
			if known = room(); known == nil {
				known = map[string]int{}
			}
		}
		limit, told := known[account]
		if !told {
			limit = usualRoom
		}
		size[account] = min(max(smallest, n/shares), limit, most)
	}
	return size
}
