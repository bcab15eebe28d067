package bench

import (
	"math"
	"slices"

	"github.com/capstan-pay/capstan/devstack/meter"
)

// Result is everything that was measured.
type Result struct {
	Machine  Machine        `json:"machine"`
	Captures int            `json:"captures"`
	Reps     int            `json:"repetitions"`
	Cases    []Summary      `json:"cases"`
	Latency  *Latency       `json:"latency,omitempty"`
	Idle     *Idle          `json:"idle,omitempty"`
	Memory   []meter.Memory `json:"memory,omitempty"`
	Targets  []Target       `json:"targets"`
	Notes    []string       `json:"notes"`

	figures map[string]map[int]Figure // by case and repetition
}

// Machine is where it was measured.
type Machine struct {
	OS       string `json:"os"`
	CPUs     int    `json:"cpus"`
	Go       string `json:"go"`
	Postgres string `json:"postgres"`
	Redis    string `json:"redis"`
}

// Figure is one run of one case.
type Figure struct {
	Repetition int `json:"repetition"`
	Captures   int `json:"captures"`
	// Seconds is the window without the time spent waiting, Wall with it.
	Seconds   float64 `json:"seconds"`
	Wall      float64 `json:"wall_seconds"`
	PerSecond float64 `json:"captures_per_second"`
	// Micros is processor time for each capture, in microseconds; -1 is unmeasured.
	Micros   PerCapture `json:"cpu_us_per_capture"`
	InFlight int        `json:"gateway_calls_at_once"`
	Settings string     `json:"settings,omitempty"`
}

// PerCapture is processor time by who used it.
type PerCapture struct {
	Go       float64 `json:"go"`
	Redis    float64 `json:"redis"`
	Postgres float64 `json:"postgres"`
}

// Spread is a median with the least and the most beside it.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Summary is one case over all repetitions.
type Summary struct {
	Name      string     `json:"name"`
	About     string     `json:"about"`
	PerSecond Spread     `json:"captures_per_second"`
	Micros    PerCapture `json:"cpu_us_per_capture"`
	// ToNaive is the ratio to Baseline, taken inside each repetition.
	Baseline string   `json:"baseline,omitempty"`
	ToNaive  *Spread  `json:"to_naive,omitempty"`
	Wall     float64  `json:"wall_seconds"`
	Settings string   `json:"settings,omitempty"`
	Runs     []Figure `json:"runs"`
}

// Latency is from the request that approves an order to the commit that
// captured it, in milliseconds, beside three sequential commits.
type Latency struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	UnitP50 float64 `json:"three_commits_p50"`
	UnitP99 float64 `json:"three_commits_p99"`
}

// Idle is what a worker with nothing to do uses, in percent of one core.
type Idle struct {
	Seconds  float64 `json:"seconds"`
	Go       float64 `json:"go_percent"`
	Redis    float64 `json:"redis_percent"`
	Postgres float64 `json:"postgres_percent"`
}

// add keeps a run.
func (r *Result) add(c Case, rep, captures int, report meter.Report) Figure {
	f := Figure{Repetition: rep + 1, Captures: captures, Wall: report.Seconds, Seconds: report.Seconds, InFlight: report.InFlight, Settings: report.Settings}
	if c.FailuresPerMille > 0 {
		f.Seconds -= report.Waited
	}
	f.PerSecond = float64(captures) / f.Seconds
	each := func(us int64) float64 {
		if us == meter.Unmeasured {
			return meter.Unmeasured
		}
		return float64(us) / float64(captures)
	}
	f.Micros = PerCapture{Go: each(report.CPU.Go), Redis: each(report.CPU.Redis), Postgres: each(report.CPU.Postgres)}
	if r.figures == nil {
		r.figures = map[string]map[int]Figure{}
	}
	if r.figures[c.Name] == nil {
		r.figures[c.Name] = map[int]Figure{}
	}
	r.figures[c.Name][rep] = f
	return f
}

// addOnce keeps a case that is no matter of repetitions.
func (r *Result) addOnce(c Case, report meter.Report) {
	switch c.Name {
	case caseLatency:
		r.Latency = &Latency{
			Samples: len(report.Samples), P50: quantile(report.Samples, .5), P90: quantile(report.Samples, .9), P99: quantile(report.Samples, .99),
			UnitP50: quantile(report.Units, .5), UnitP99: quantile(report.Units, .99),
		}
	case caseIdle:
		percent := func(us int64) float64 {
			if us == meter.Unmeasured {
				return meter.Unmeasured
			}
			return float64(us) / 1e4 / report.Seconds
		}
		r.Idle = &Idle{Seconds: report.Seconds, Go: percent(report.CPU.Go), Redis: percent(report.CPU.Redis), Postgres: percent(report.CPU.Postgres)}
	case caseMemory:
		r.Memory = report.Memory
	}
}

// finish draws the sums.
func (r *Result) finish(cases []Case) {
	for _, c := range cases {
		if len(r.figures[c.Name]) > 0 {
			r.Cases = append(r.Cases, r.summary(c))
		}
	}
	r.Targets, r.Notes = r.targets(), notes
}

func (r *Result) summary(c Case) Summary {
	s := Summary{Name: c.Name, About: c.About, Baseline: c.Baseline}
	for rep := range r.Reps {
		if f, ok := r.figures[c.Name][rep]; ok {
			s.Runs = append(s.Runs, f)
		}
	}
	s.PerSecond = spread(pick(s.Runs, func(f Figure) float64 { return f.PerSecond }))
	s.Micros = PerCapture{
		Go: middle(pick(s.Runs, func(f Figure) float64 { return f.Micros.Go })), Redis: middle(pick(s.Runs, func(f Figure) float64 { return f.Micros.Redis })),
		Postgres: middle(pick(s.Runs, func(f Figure) float64 { return f.Micros.Postgres })),
	}
	s.Wall = middle(pick(s.Runs, func(f Figure) float64 { return f.Wall }))
	s.Settings = s.Runs[len(s.Runs)-1].Settings
	s.ToNaive = r.ratio(c.Name, c.Baseline)
	return s
}

// ratio of a case to another, inside each repetition that has both.
func (r *Result) ratio(name, other string) *Spread {
	var ratios []float64
	for rep, f := range r.figures[name] {
		if base, ok := r.figures[other][rep]; ok && base.PerSecond > 0 {
			ratios = append(ratios, f.PerSecond/base.PerSecond)
		}
	}
	if len(ratios) == 0 {
		return nil
	}
	s := spread(ratios)
	return &s
}

func pick[T any](runs []Figure, f func(Figure) T) []T {
	list := make([]T, len(runs))
	for i, run := range runs {
		list[i] = f(run)
	}
	return list
}

func spread(list []float64) Spread {
	if len(list) == 0 {
		return Spread{}
	}
	return Spread{Median: middle(list), Min: slices.Min(list), Max: slices.Max(list)}
}

// middle is the median, between the two in the middle of an even number.
func middle(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// quantile by the nearest rank; 0 for an empty list.
func quantile(list []float64, at float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	rank := int(math.Ceil(at*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}
