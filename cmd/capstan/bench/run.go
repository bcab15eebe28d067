package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/meter"
)

// Options say what to measure.
type Options struct {
	Captures       int
	Reps           int
	Cases          []string // names; empty for all
	MemoryCaptures int
	Samples        int           // of the latency case
	Quiet          time.Duration // of the idle case
	// Ledger is how many finished captures the large case begins with; 0 leaves it out.
	Ledger int
	// LedgerSQL defines pg_temp.bench_ledger, which makes them.
	LedgerSQL string
	// Tune says whose best settings are looked for first.
	Tune Tuning
	// Audit has the whole ledger audited after the first run of each case.
	Audit bool
	// Data is where the servers keep their data; empty is the temporary directory.
	Data string
	// Profile is a directory for a CPU profile of each case; empty writes none.
	Profile string
	// Self and Peers are the programs of the children. Peers may be empty.
	Self, Peers []string
	// Out is told of the progress, a line at a time.
	Out io.Writer
	Log *slog.Logger
}

// Tuning is for whom the best settings are looked for. The zero value is what a
// comparison needs.
type Tuning int

// The peers to tune.
const (
	TuneBatched Tuning = iota // the ceiling, and River with batches, whose best is least foreseeable
	TuneAll
	TuneNone // for tests of the benchmark itself
)

// runner is one benchmark under way.
type runner struct {
	o     Options
	cases []Case
	stack *devstack.Stack
	admin *admin
	redis *redis.Client
	pid   int // of the postmaster

	settings  map[string]map[string]int // a peer's best, where it was looked for
	large     string                    // the database with the large ledger
	audited   map[string]bool
	began     time.Time
	databases int
}

// Run measures. The result holds what was measured until an error, if one came.
func Run(ctx context.Context, o Options) (result Result, err error) {
	r := &runner{o: o, settings: map[string]map[string]int{}, audited: map[string]bool{}, began: time.Now()}
	if r.cases, err = choose(o.Cases, o.Ledger > 0, len(o.Peers) > 0); err != nil {
		return result, err
	}
	if err := r.start(ctx); err != nil {
		return result, errors.Join(err, r.stop())
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	result.Machine = r.machine()
	result.Captures, result.Reps = o.Captures, o.Reps
	if err := r.prepare(ctx); err != nil {
		return result, err
	}
	if err := r.tune(ctx); err != nil {
		return result, err
	}
	if err := r.repeat(ctx, &result); err != nil {
		return result, err
	}
	if err := r.once(ctx, &result); err != nil {
		return result, err
	}
	result.finish(r.cases)
	return result, nil
}

// start starts the servers, with the settings that production needs.
func (r *runner) start(ctx context.Context) error {
	r.say("starting a private Postgres and Redis")
	var err error
	r.stack, err = devstack.Start(ctx, devstack.Options{Dir: r.o.Data, Ephemeral: r.o.Data != "", Log: r.o.Log})
	if err != nil {
		return err
	}
	if r.admin, err = openAdmin(ctx, r.stack.DatabaseURL); err != nil {
		return err
	}
	o, err := redis.ParseURL(r.stack.RedisURL)
	if err != nil {
		return fmt.Errorf("read the address of the benchmark's Redis: %w", err)
	}
	r.redis = redis.NewClient(o)
	r.pid = postmaster(r.stack.Dir)
	return nil
}

// postmaster reads the server's process id, 0 if there is none to read.
func postmaster(dir string) int {
	var pid int
	f, err := os.Open(filepath.Join(dir, "postgres", "postmaster.pid"))
	if err != nil {
		return 0
	}
	defer f.Close()
	if _, err := fmt.Fscan(f, &pid); err != nil {
		return 0
	}
	return pid
}

// stopGrace is how long the servers may take to end.
const stopGrace = 30 * time.Second

func (r *runner) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	var errs []error
	if r.redis != nil {
		errs = append(errs, r.redis.Close())
	}
	if r.admin != nil {
		errs = append(errs, r.admin.conn.Close(ctx))
	}
	if r.stack != nil {
		errs = append(errs, r.stack.Stop(ctx))
	}
	return errors.Join(errs...)
}

func (r *runner) machine() Machine {
	return Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(), Postgres: r.stack.PostgresFrom, Redis: r.stack.RedisFrom}
}

// prepare makes the templates that the cases begin with.
func (r *runner) prepare(ctx context.Context) error {
	made := map[template]bool{}
	for _, c := range r.cases {
		t := r.template(c)
		if made[t] || c.Large {
			continue
		}
		made[t] = true
		r.say("making %s", t.describe())
		if err := r.admin.make(ctx, t); err != nil {
			return err
		}
	}
	if r.o.Ledger > 0 {
		return r.makeLedger(ctx)
	}
	return nil
}

func (r *runner) template(c Case) template {
	if c.Sweep {
		return template{orders: true}
	}
	return template{orders: c.Orders, captures: c.captures(r.o)}
}

func (t template) describe() string {
	if t.orders {
		return fmt.Sprintf("%d orders to be approved", t.captures)
	}
	return fmt.Sprintf("%d approved captures", t.captures)
}

// repeat runs the cases again and again, each time beginning with another one.
func (r *runner) repeat(ctx context.Context, result *Result) error {
	var repeated []Case
	for _, c := range r.cases {
		if !c.Once {
			repeated = append(repeated, c)
		}
	}
	for rep := range r.o.Reps {
		for i := range repeated {
			c := repeated[(i+rep)%len(repeated)]
			report, err := r.run(ctx, c, r.settings[settingsOf(c)], rep)
			if err != nil {
				return err
			}
			figure := result.add(c, rep, c.captures(r.o), report)
			r.say("repetition %d of %d  %-15s %8.0f captures/s in %s", rep+1, r.o.Reps, c.Name, figure.PerSecond, seconds(figure.Seconds))
		}
	}
	return nil
}

// settingsOf names the case whose settings c runs with: a failure plan changes
// nothing about what is best.
func settingsOf(c Case) string {
	if c.Peer && c.FailuresPerMille > 0 {
		return caseNaive
	}
	return c.Name
}

// tune looks for the best settings, each tried once.
func (r *runner) tune(ctx context.Context) error {
	for _, c := range r.cases {
		choices, known := sweeps[c.Name]
		if !known || r.o.Tune == TuneNone || r.o.Tune == TuneBatched && c.Name != caseBatched && c.Name != caseCeiling {
			continue
		}
		best := 0.0
		for _, settings := range choices {
			report, err := r.run(ctx, c, settings, -1)
			if err != nil {
				return err
			}
			perSecond := float64(c.captures(r.o)) / report.Seconds
			r.say("tuning %-15s %8.0f captures/s with %s", c.Name, perSecond, report.Settings)
			if perSecond > best {
				best, r.settings[c.Name] = perSecond, settings
			}
		}
	}
	return nil
}

// once runs the cases that are no matter of repetitions.
func (r *runner) once(ctx context.Context, result *Result) error {
	for _, c := range r.cases {
		if !c.Once {
			continue
		}
		r.say("%s: %s", c.Name, r.describe(c))
		report, err := r.run(ctx, c, nil, 0)
		if err != nil {
			return err
		}
		result.addOnce(c, report)
	}
	return nil
}

func (r *runner) describe(c Case) string {
	switch c.Name {
	case caseIdle:
		return fmt.Sprintf("watching an idle worker for %s", r.o.Quiet)
	case caseMemory:
		return fmt.Sprintf("one worker over %d captures", r.o.MemoryCaptures)
	case caseLatency:
		return fmt.Sprintf("%d approvals, 10 a second", r.o.Samples)
	}
	return c.About
}

// caseLimit is when a run is given up.
const caseLimit = 15 * time.Minute

// run clones the case's database, has a child work it off, and verifies what
// it wrote.
func (r *runner) run(ctx context.Context, c Case, settings map[string]int, rep int) (report meter.Report, err error) {
	target, drop, err := r.database(ctx, c)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	job := meter.Job{
		Case: c.Name, DatabaseURL: target, RedisURL: r.stack.RedisURL, Postmaster: r.pid, Captures: c.captures(r.o), Latency: c.Latency,
		FailuresPerMille: c.FailuresPerMille, InFlight: c.InFlight, TimeScale: max(1, c.TimeScale), Settings: settings,
		Quiet: r.o.Quiet, Samples: r.o.Samples, Limit: caseLimit,
	}
	if r.o.Profile != "" && rep == 0 {
		if err := os.MkdirAll(r.o.Profile, 0o755); err != nil {
			return report, fmt.Errorf("make the directory of the profiles: %w", err)
		}
		job.Profile = filepath.Join(r.o.Profile, c.Name+".pprof")
	}
	if c.Sandbox {
		gateway, err := startSandbox(ctx, r.o.Self)
		if err != nil {
			return report, err
		}
		defer func() { err = errors.Join(err, gateway.stop()) }()
		if err := gateway.hold(ctx, target); err != nil {
			return report, err
		}
		job.GatewayURL = gateway.url
	}
	first, err := firstCapture(ctx, target)
	if err != nil {
		return report, err
	}
	if err := r.redis.FlushAll(ctx).Err(); err != nil {
		return report, fmt.Errorf("empty the benchmark's Redis: %w", err)
	}
	if err := r.admin.exec(ctx, "CHECKPOINT"); err != nil {
		return report, err
	}
	program := r.o.Self
	if c.Peer {
		program = r.o.Peers
	}
	if report, err = ask(ctx, program, job); err != nil {
		return report, err
	}
	return report, r.check(ctx, target, c, first, report)
}

// check verifies a run, and audits the ledger after the first of each case.
func (r *runner) check(ctx context.Context, target string, c Case, first string, report meter.Report) error {
	if c.Name == caseIdle || c.Sweep {
		return nil
	}
	if err := verify(ctx, target, c, c.captures(r.o), first, report); err != nil {
		return err
	}
	if !r.o.Audit || c.Large || r.audited[c.Name] {
		return nil
	}
	r.audited[c.Name] = true
	return audit(ctx, target, c)
}

// database is the one that a run works on, and what becomes of it afterwards.
func (r *runner) database(ctx context.Context, c Case) (target string, drop func() error, err error) {
	if c.Large { // it keeps growing: a copy for each run would cost more than the run
		nothing := func() error { return nil }
		if c.Sweep {
			return r.large, nothing, nil
		}
		return r.large, nothing, seed(ctx, r.large, template{captures: c.captures(r.o)})
	}
	r.databases++
	name := fmt.Sprintf("run_%d", r.databases)
	target, err = r.admin.clone(ctx, name, r.template(c).name())
	return target, func() error { return r.admin.drop(ctx, name) }, err
}

func (r *runner) say(format string, args ...any) {
	if r.o.Out != nil {
		fmt.Fprintf(r.o.Out, "[%6.1fs] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

func seconds(s float64) string { return fmt.Sprintf("%.1fs", s) }
