package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// Window is the stretch of time that counts.
type Window struct {
	job     Job
	began   time.Time
	before  CPU
	profile *os.File
}

// Begin opens the window. Everything that is not to be counted was done before.
func Begin(ctx context.Context, job Job) (*Window, error) {
	w := &Window{job: job}
	if job.Profile != "" {
		var err error
		if w.profile, err = os.Create(job.Profile); err != nil {
			return nil, fmt.Errorf("write the profile: %w", err)
		}
		if err := pprof.StartCPUProfile(w.profile); err != nil {
			return nil, errors.Join(fmt.Errorf("profile: %w", err), w.profile.Close())
		}
	}
	runtime.GC() // what came before is not to be collected inside
	w.before = Sample(ctx, job)
	w.began = time.Now()
	return w, nil
}

// Began is when the window was opened.
func (w *Window) Began() time.Time { return w.began }

// End closes the window and writes what it saw into r. at is when the last
// thing that counts had happened; the processors are read now.
func (w *Window) End(ctx context.Context, r *Report, at time.Time) error {
	r.Seconds = at.Sub(w.began).Seconds()
	r.CPU = Sample(ctx, w.job).Minus(w.before)
	if w.profile != nil {
		pprof.StopCPUProfile()
		return w.profile.Close()
	}
	return nil
}
