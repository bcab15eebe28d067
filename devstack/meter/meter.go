package meter

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Job is what a parent asks of one child: one case, run once.
type Job struct {
	Case        string `json:"case"`
	DatabaseURL string `json:"database_url"`
	RedisURL    string `json:"redis_url"`
	// Postmaster is the process id of the Postgres; 0 leaves its time unmeasured.
	Postmaster int `json:"postmaster"`
	// Captures is how many are waiting in the database.
	Captures int `json:"captures"`
	// Latency is the gateway's, for each call.
	Latency time.Duration `json:"latency"`
	// FailuresPerMille is how many captures of a thousand meet a failure.
	FailuresPerMille int `json:"failures_per_mille"`
	// InFlight bounds the gateway calls at once; 0 leaves it to the case.
	InFlight int `json:"in_flight"`
	// TimeScale divides every deadline and pause.
	TimeScale int `json:"time_scale"`
	// GatewayURL is a gateway over HTTP; empty is the one in process.
	GatewayURL string `json:"gateway_url,omitempty"`
	// Settings override what the case would choose: workers, connections.
	Settings map[string]int `json:"settings,omitempty"`
	// Quiet is how long an idle process is watched.
	Quiet time.Duration `json:"quiet,omitempty"`
	// Samples is how many single measurements a latency case takes.
	Samples int `json:"samples,omitempty"`
	// Limit is when the child gives up.
	Limit time.Duration `json:"limit"`
	// Profile is a file for a CPU profile of the window; empty writes none.
	Profile string `json:"profile,omitempty"`
}

// Setting returns an override, or else what the case chooses.
func (j Job) Setting(name string, otherwise int) int {
	if v, ok := j.Settings[name]; ok {
		return v
	}
	return otherwise
}

// Report is what a child measured.
type Report struct {
	// Seconds is the window's length, Waited how much of it passed with nothing
	// to do but wait for a time that a failed capture was put off to.
	Seconds float64 `json:"seconds"`
	Waited  float64 `json:"waited"`
	CPU     CPU     `json:"cpu"`
	// Booked is how many captures the child's own gateway took, Twice how many
	// of them it took once too often. Both are 0 with a gateway elsewhere.
	Booked int `json:"booked"`
	Twice  int `json:"twice"`
	// InFlight is the most gateway calls that were under way at once.
	InFlight int `json:"in_flight"`
	// Settings says with which settings it ran, for people.
	Settings string `json:"settings,omitempty"`
	// Samples and Units are single measurements, in milliseconds.
	Samples []float64 `json:"samples,omitempty"`
	Units   []float64 `json:"units,omitempty"`
	Memory  []Memory  `json:"memory,omitempty"`
	// Error is why there is no measurement.
	Error string `json:"error,omitempty"`
}

// Memory is what a child held after so many captures, in bytes.
type Memory struct {
	Captures int   `json:"captures"`
	RSS      int64 `json:"rss"`
	// Live is the heap that was still referenced after a collection.
	Live int64 `json:"live"`
}

// Serve is the child's whole life: it reads a job from in, runs it, and writes
// the report to out. The job's context ends when in does, so that no child
// outlives its parent. The result is the exit status.
func Serve(ctx context.Context, in io.Reader, out io.Writer, run func(context.Context, Job) (Report, error)) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var job Job
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &job)
	}
	if err != nil {
		return answer(out, Report{Error: fmt.Sprintf("read the job: %v", err)})
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		cancel(errors.New("the parent has gone"))
	}()
	if job.Limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, job.Limit, fmt.Errorf("the case took longer than %s", job.Limit))
		defer stop()
	}
	report, err := run(ctx, job)
	if err != nil {
		report.Error = err.Error()
		if cause := context.Cause(ctx); cause != nil {
			report.Error += ": " + cause.Error()
		}
	}
	return answer(out, report)
}

func answer(out io.Writer, r Report) int {
	if err := json.NewEncoder(out).Encode(r); err != nil || r.Error != "" {
		return 1
	}
	return 0
}
