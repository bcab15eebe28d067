package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Case is one thing to measure.
type Case struct {
	Name string
	// Peer: the peers' program runs it, not this one.
	Peer bool
	// Baseline is the naive handler under the same conditions; empty for itself.
	Baseline string
	Latency  time.Duration
	// FailuresPerMille of the captures meet a failure, of mixed kinds.
	FailuresPerMille int
	InFlight         int
	TimeScale        int
	// Orders: it begins with orders that are not approved, not with captures.
	Orders bool
	// Sandbox: the gateway is the sandbox, over HTTP in a process of its own.
	Sandbox bool
	// Once: it is no matter of repetitions.
	Once bool
	// Large: it runs in a ledger that holds finished captures already.
	Large bool
	// Sweep: what is counted are sweeps of a ledger without open work.
	Sweep bool
	// About says in a few words what it is.
	About string
}

// The names that targets and baselines refer to.
const (
	caseCapstan    = "capstan"
	caseNaive      = "naive"
	caseRiver      = "river"
	caseBatched    = "river-batched"
	caseCeiling    = "ceiling"
	caseLatency    = "latency"
	caseIdle       = "idle"
	caseMemory     = "memory"
	caseLarge      = "capstan-large"
	caseSweep      = "sweep"
	caseSweepLarge = "sweep-large"
	// sweepsEach is how many sweeps one run makes at most.
	sweepsEach   = 300
	fewFailures  = 10
	manyFailures = 100
	// inFlight is how many gateway calls may be under way at once where calls take time.
	inFlight = 2000
	slow     = 50 * time.Millisecond
	// failing divides the pauses before a failed capture is tried again: a first
	// look after 30 s comes after 3 s, and a lease of 60 s lasts 6 s.
	failing = 10
)

// Cases lists everything that can be measured, in the order of the table.
func Cases() []Case {
	return []Case{
		{Name: caseCapstan, Baseline: caseNaive, About: "relay, batches, worker; the relay's publishing is inside the window"},
		{Name: "capstan-single", Baseline: caseNaive, About: "the same with batches off: a task for each capture"},
		{Name: caseCeiling, Baseline: caseNaive, About: "no queue: the same statements from a loop"},
		{Name: caseNaive, Peer: true, About: "Asynq, one task a capture, claim and record each a transaction, bun over pgx"},
		{Name: "naive-pgx", Peer: true, Baseline: caseNaive, About: "the same over native pgx"},
		{Name: caseRiver, Peer: true, Baseline: caseNaive, About: "River, tuned, the same two transactions over native pgx"},
		{Name: caseBatched, Peer: true, Baseline: caseNaive, About: "River whose handlers share the product's own batching committer"},
		{Name: "capstan-50ms", Baseline: "naive-50ms", Latency: slow, InFlight: inFlight, About: "calls take 50 ms"},
		{Name: "naive-50ms", Peer: true, Latency: slow, InFlight: inFlight, About: "calls take 50 ms, the same limit of calls at once"},
		{Name: "capstan-1%", Baseline: "naive-1%", FailuresPerMille: fewFailures, TimeScale: failing, About: "1 % meet a failure"},
		{Name: "naive-1%", Peer: true, FailuresPerMille: fewFailures, TimeScale: failing, About: "1 % meet the same failure"},
		{Name: "capstan-10%", Baseline: "naive-10%", FailuresPerMille: manyFailures, TimeScale: failing, About: "10 % meet a failure"},
		{Name: "naive-10%", Peer: true, FailuresPerMille: manyFailures, TimeScale: failing, About: "10 % meet the same failure"},
		{Name: "sandbox", Baseline: caseNaive, Sandbox: true, About: "over HTTP to the sandbox gateway in another process, a tenth of the captures"},
		{Name: caseLarge, Baseline: caseNaive, Large: true, About: "in a ledger of finished captures"},
		{Name: caseSweep, Sweep: true, Orders: true, About: "sweeps of an empty ledger; the figure is sweeps/s"},
		{Name: caseSweepLarge, Sweep: true, Orders: true, Large: true, About: "sweeps in a ledger of finished captures"},
		{Name: caseLatency, Orders: true, Once: true, About: "approve over HTTP, 10 a second"},
		{Name: caseIdle, Orders: true, Once: true, About: "one worker with nothing to do"},
		{Name: caseMemory, Once: true, About: "one worker over many captures"},
	}
}

// choose picks the cases by name. Without names it is all that can run.
func choose(names []string, large, peers bool) ([]Case, error) {
	all := Cases()
	var chosen []Case
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Case) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--cases: there is no case %q; there are %s", name, strings.Join(Names(), ", "))
		}
		chosen = append(chosen, all[i])
	}
	if len(names) == 0 {
		chosen = all
	}
	return slices.DeleteFunc(chosen, func(c Case) bool { return (c.Large || c.Sweep) && !large || c.Peer && !peers }), nil
}

// Names lists the names of all cases.
func Names() []string {
	var names []string
	for _, c := range Cases() {
		names = append(names, c.Name)
	}
	return names
}

// captures is how many the case works off when a run's number is n.
func (c Case) captures(o Options) int {
	switch {
	case c.Sandbox:
		return max(1, o.Captures/10)
	case c.Sweep:
		return min(sweepsEach, max(1, o.Captures/10))
	case c.Name == caseMemory:
		return o.MemoryCaptures
	case c.Name == caseLatency:
		return o.Samples
	case c.Orders:
		return 0
	}
	return o.Captures
}

// sweeps are the settings among which the best is looked for: of a peer, and of
// the ceiling, which is none unless it is the highest.
var sweeps = map[string][]map[string]int{
	caseCeiling: {{"workers": 2, "batch": 200}, {"workers": 2, "batch": 500}, {"workers": 4, "batch": 250}, {"workers": 4, "batch": 500}},
	caseNaive:   {{"workers": 25}, {"workers": 50}, {"workers": 100}, {"workers": 200}, {"workers": 50, "conns": 40}},
	"naive-pgx": {{"workers": 25}, {"workers": 50}, {"workers": 100}, {"workers": 200}, {"workers": 50, "conns": 40}},
	"naive-50ms": {
		{"workers": 200}, {"workers": 500}, {"workers": 1000}, {"workers": 2000},
	},
	caseRiver: {{"workers": 25}, {"workers": 50}, {"workers": 100}, {"workers": 200}, {"workers": 100, "conns": 40}},
	caseBatched: {
		{"workers": 500}, {"workers": 1000}, {"workers": 2000}, {"workers": 4000},
	},
}
