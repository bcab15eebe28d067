package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/capstan-pay/capstan/devstack/meter"
)

// notes say how the figures are to be read.
var notes = []string{
	"A figure is the median of the repetitions, with the least and the most in brackets. Ratios are taken inside a repetition, then their median.",
	"The window begins when a worker with open connections begins to take work and ends when the last capture is durable. For Capstan it includes the relay's publishing; for the peers the jobs are in the queue before it begins, in their favour.",
	"With failures, pauses of more than 20 ms, after every capture was tried once, in which no call is under way and nothing is recorded, are waiting for a next try and no part of the window; wall has them. Deadlines run 10 times faster there, for everyone.",
	"CPU is processor time for each capture, in microseconds: of the worker's process, of Redis, of Postgres with all its processes.",
	"All rows of all runs were verified in SQL, and the gateway's book against the ledger: every capture ended as the failure plan has it, none was taken twice.",
}

// Print writes the tables for people.
func (r *Result) Print(w io.Writer) error {
	fmt.Fprintf(w, "\n%d captures, %d repetitions, %s with %d processors, %s\n%s\n%s\n\n", r.Captures, r.Reps, r.Machine.OS, r.Machine.CPUs, r.Machine.Go, r.Machine.Postgres, r.Machine.Redis)
	if len(r.Cases) > 0 {
		if err := r.printCases(w); err != nil {
			return err
		}
	}
	r.printOnce(w)
	if err := r.printTargets(w); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "- %s\n", note)
	}
	return nil
}

func (r *Result) printCases(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tcaptures/s\tagainst naive\tCPU µs Go\tRedis\tPostgres\tcalls at once\twall")
	for _, c := range r.Cases {
		ratio := "1"
		if c.ToNaive != nil {
			ratio = c.ToNaive.String("%.2f")
		} else if c.Baseline != "" {
			ratio = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.1fs\n", c.Name, c.PerSecond.String("%.0f"), ratio, micros(c.Micros.Go), micros(c.Micros.Redis), micros(c.Micros.Postgres),
			c.Runs[len(c.Runs)-1].InFlight, c.Wall)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhat ran, and with which settings:")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Cases {
		about := c.About
		if c.Settings != "" {
			about += "; " + c.Settings
		}
		fmt.Fprintf(t, "  %s\t%s\n", c.Name, about)
	}
	return t.Flush()
}

func (r *Result) printOnce(w io.Writer) {
	if l := r.Latency; l != nil {
		fmt.Fprintf(w, "\nApprove to captured, %d approvals at 10/s over HTTP: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms; three sequential commits: p50 %.1f ms, p99 %.1f ms\n",
			l.Samples, l.P50, l.P90, l.P99, l.UnitP50, l.UnitP99)
	}
	if i := r.Idle; i != nil {
		fmt.Fprintf(w, "\nIdle for %.0f s: worker %s %%, Redis %s %%, Postgres %s %% of a core\n", i.Seconds, percent(i.Go), percent(i.Redis), percent(i.Postgres))
	}
	if len(r.Memory) > 0 {
		var points []string
		for _, m := range r.Memory {
			points = append(points, fmt.Sprintf("%dk: %.1f (%.1f)", m.Captures/1000, float64(m.RSS)/(1<<20), float64(m.Live)/(1<<20)))
		}
		fmt.Fprintf(w, "\nMemory of a worker in MiB, resident (live heap), after so many captures:\n  %s\n", strings.Join(points, ", "))
	}
}

func (r *Result) printTargets(w io.Writer) error {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "target\twanted\tmeasured\t")
	for _, target := range r.Targets {
		sign, measured, verdict := "≤", target.Missing, ""
		if target.AtLeast {
			sign = "≥"
		}
		if target.Measured != nil {
			measured, verdict = fmt.Sprintf("%.2f", *target.Measured), "MISSED"
			if target.Spread != nil {
				measured = target.Spread.String("%.2f")
			}
			if target.Met {
				verdict = "met"
			}
		}
		fmt.Fprintf(t, "%s\t%s %g\t%s\t%s\n", target.What, sign, target.Limit, measured, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// String shows a spread with a verb for each of its numbers.
func (s Spread) String(verb string) string {
	return fmt.Sprintf(verb+" ["+verb+"-"+verb+"]", s.Median, s.Min, s.Max)
}

func micros(v float64) string {
	if v == meter.Unmeasured {
		return "n/a"
	}
	return fmt.Sprintf("%.0f", v)
}

func percent(v float64) string {
	if v == meter.Unmeasured {
		return "n/a"
	}
	return fmt.Sprintf("%.2f", v)
}
