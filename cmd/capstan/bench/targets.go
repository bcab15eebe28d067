package bench

import "fmt"

// Target is one line of what Capstan has to reach.
type Target struct {
	What string `json:"what"`
	// Limit is the bound, AtLeast tells which side of it is good.
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"at_least"`
	// Measured is absent when the cases that tell were not run; Missing says what to run.
	Measured *float64 `json:"measured,omitempty"`
	Spread   *Spread  `json:"spread,omitempty"`
	Met      bool     `json:"met"`
	Missing  string   `json:"missing,omitempty"`
}

// targets compares what was measured with what has to be reached.
func (r *Result) targets() []Target {
	list := []Target{
		r.ratioTarget("captures/s against the naive Asynq handler", caseCapstan, caseNaive, 15),
		r.ratioTarget("captures/s against River, tuned, a transaction per step", caseCapstan, caseRiver, 15),
		r.ratioTarget("captures/s against River with a batching handler", caseCapstan, caseBatched, 2),
		r.ratioTarget("captures/s against the Postgres ceiling", caseCapstan, caseCeiling, 0.6),
		r.ratioTarget("with 1 % failures, against naive with the same", "capstan-1%", "naive-1%", 12),
		r.ratioTarget("with 10 % failures, against naive with the same", "capstan-10%", "naive-10%", 6),
		r.ratioTarget("with 50 ms calls, against naive with the same", "capstan-50ms", "naive-50ms", 8),
	}
	list = append(list, r.latencyTargets()...)
	list = append(list, r.idleTarget(), r.memoryTarget())
	return append(list, r.ratioTarget("captures/s in a large ledger against an empty one", caseLarge, caseCapstan, 0.9), r.sweepTarget())
}

// sweepTarget compares times, so the rates the other way round.
func (r *Result) sweepTarget() Target {
	t := r.ratioTarget("time of a sweep in a large ledger against an empty one", caseSweep, caseSweepLarge, 1.2)
	t.AtLeast = false
	if t.Measured != nil {
		return t.measured(*t.Measured)
	}
	return t
}

func (r *Result) ratioTarget(what, name, other string, limit float64) Target {
	t := Target{What: what, Limit: limit, AtLeast: true}
	s := r.ratio(name, other)
	if s == nil {
		t.Missing = fmt.Sprintf("needs the cases %s and %s", name, other)
		return t
	}
	t.Spread = s
	return t.measured(s.Median)
}

func (t Target) measured(v float64) Target {
	t.Measured = &v
	t.Met = v <= t.Limit
	if t.AtLeast {
		t.Met = v >= t.Limit
	}
	return t
}

func (r *Result) latencyTargets() []Target {
	half := Target{What: "approve to captured at 10/s, p50 in three sequential commits (their median)", Limit: 3}
	tail := Target{What: "approve to captured at 10/s, p99 in three sequential commits (their median)", Limit: 12}
	if l := r.Latency; l != nil && l.UnitP50 > 0 {
		return []Target{half.measured(l.P50 / l.UnitP50), tail.measured(l.P99 / l.UnitP50)}
	}
	half.Missing, tail.Missing = "needs the case latency", "needs the case latency"
	return []Target{half, tail}
}

func (r *Result) idleTarget() Target {
	t := Target{What: "idle worker and its Redis, percent of a core", Limit: 1.5}
	if r.Idle == nil || r.Idle.Go < 0 || r.Idle.Redis < 0 {
		t.Missing = "needs the case idle, on Linux"
		return t
	}
	return t.measured(r.Idle.Go + r.Idle.Redis)
}

// memoryTarget compares the second half of the run with the rest of the first,
// after its first tenth: resident memory goes up and down with the collector, a
// leak only up. A tenth is noise of the allocator.
func (r *Result) memoryTarget() Target {
	t := Target{What: "a worker's resident memory: median of the run's second half by that of the first after its first tenth", Limit: 1.1}
	if len(r.Memory) < 4 || r.Memory[0].RSS <= 0 {
		t.Missing = "needs the case memory, on Linux"
		return t
	}
	var held []float64
	for _, m := range r.Memory[1:] {
		held = append(held, float64(m.RSS))
	}
	half := len(held) / 2
	return t.measured(middle(held[half:]) / middle(held[:half]))
}
