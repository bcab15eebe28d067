package till

import "hash/fnv"

// Fate is what a capture meets at its first send. Later sends of it succeed.
type Fate int

// The fates.
const (
	Fine     Fate = iota
	Refused       // declined for good
	Took          // taken, and the answer lost
	Lost          // lost before it was taken, which nobody can tell at first
	Unsent        // the gateway could not be reached
	allFates = 5
)

// Plan says how many of a thousand captures fail, in equal shares of the four
// kinds. The zero value fails none.
type Plan struct {
	PerMille int
}

// Fate is the fate of the capture with a reference: always the same one.
func (p Plan) Fate(reference string) Fate {
	if p.PerMille <= 0 {
		return Fine
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(reference))
	sum := h.Sum64() >> 8 // FNV's lowest bits mix the least
	if sum%1000 >= uint64(p.PerMille) {
		return Fine
	}
	return Fate(1 + sum/1000%(allFates-1))
}
