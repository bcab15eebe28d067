package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/tasks"
	"github.com/capstan-pay/capstan/worker"
)

// retrying returns a task of a queue once it waits for its next attempt.
func retrying(t *testing.T, w *world, queue, id string) *asynq.TaskInfo {
	t.Helper()
	var info *asynq.TaskInfo
	eventually(t, "the task waits for its retry", func() (bool, any) {
		var err error
		info, err = w.inspector.GetTaskInfo(queue, id)
		return err == nil && info.State == asynq.TaskStateRetry, fmt.Sprint(info, err)
	})
	return info
}

// TestRetryAsAsynqmonShowsIt: the reason, and when it comes next.
func TestRetryAsAsynqmonShowsIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault   string
		state   models.State
		reason  string
		retried int
	}{
		{"decline", models.Pending, "card_declined Your card has insufficient funds", 1},
		{"drop_before,lookup_500:*", models.Unknown, "no proof of anything", 1},
		{"429=30", models.Pending, "nothing reached the gateway (rate_limit", 0},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := w.order(t, tt.fault)
			stop := w.start(t, staff{noRelay: true})
			info := retrying(t, w, tasks.Captures, name(p, 1))
			stop()
			op := w.reread(t, p)
			if op.State != tt.state || op.NextAt == nil {
				t.Fatalf("capture = %+v, want %s and a time to come", op, tt.state)
			}
			if !strings.Contains(info.LastErr, tt.reason) || !strings.Contains(info.LastErr, "; next_attempt_at ") {
				t.Errorf("last error %q, want the reason %q and the next attempt", info.LastErr, tt.reason)
			}
			_, text, _ := strings.Cut(info.LastErr, "next_attempt_at ")
			told, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatalf("last error %q: %v", info.LastErr, err)
			}
			if gap := op.NextAt.Sub(told); gap < -time.Second || gap > 2*time.Second {
				t.Errorf("the task tells %v, the row is due at %v", told, op.NextAt)
			}
			if late := info.NextProcessAt.Sub(*op.NextAt); late < -50*time.Millisecond || late > 1500*time.Millisecond {
				t.Errorf("the task comes at %v, the row is due at %v", info.NextProcessAt, op.NextAt)
			}
			if info.Retried != tt.retried || info.MaxRetry < 1000 {
				t.Errorf("retried %d of %d, want %d of 1000", info.Retried, info.MaxRetry, tt.retried)
			}
		})
	}
}

// TestEarlyTaskIsNoRetry: a task that comes before its row is due is told when
// to come, and that costs it nothing.
func TestEarlyTaskIsNoRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "429=30")
	stop := w.start(t, staff{noRelay: true})
	retrying(t, w, tasks.Captures, name(p, 1))
	queue := asynq.NewClientFromRedisClient(w.redis)
	if err := tasks.Enqueue(t.Context(), queue, tasks.New("capture", p.op.ID, 7, 0, tempo.TaskTimeout())); err != nil {
		t.Fatal(err)
	}
	info := retrying(t, w, tasks.Captures, name(p, 7))
	stop()
	if info.Retried != 0 || !strings.HasPrefix(info.LastErr, "not due yet; next_attempt_at ") {
		t.Errorf("task = %+v, want no retry counted and the reason", info)
	}
	if sends, looks := w.claims(t, p.op.ID); sends != 1 || looks != 0 {
		t.Errorf("claimed %d and %d times, want once", sends, looks)
	}
	stats, err := w.inspector.GetQueueInfo(tasks.Captures)
	if err != nil || stats.Failed != 0 {
		t.Errorf("Asynq counts %d failures (%v), want none: nothing failed", stats.Failed, err)
	}
}

// TestRetryTables: what is told to Asynq about an error.
func TestRetryTables(t *testing.T) {
	t.Parallel()
	delay := worker.RetryDelay(models.Tempo{})
	scaled := worker.RetryDelay(tempo)
	soon := time.Now().Add(42 * time.Second)
	for _, tt := range []struct {
		name     string
		err      error
		failure  bool
		from, to time.Duration // bounds of the delay, at real time
	}{
		{"it is to come again", worker.NewLater("declined", soon, true), true, 41 * time.Second, 43 * time.Second},
		{"it came early", worker.NewLater("not due yet", soon, false), false, 41 * time.Second, 43 * time.Second},
		{"its time is over", worker.NewLater("not due yet", soon.Add(-time.Hour), false), false, 0, time.Second},
		{"wrapped", fmt.Errorf("capture: %w", worker.NewLater("lost", soon, true)), true, 41 * time.Second, 43 * time.Second},
		{"the worker died", fmt.Errorf("recovered: %w", asynq.ErrLeaseExpired), false, 5 * time.Second, 5 * time.Second},
		{"the database is away", errors.New("connection refused"), true, 5 * time.Second, 5 * time.Second},
		{"the task ran out of time", context.DeadlineExceeded, true, 5 * time.Second, 5 * time.Second},
		{"the row moved on", store.ErrStale, true, 5 * time.Second, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := worker.IsFailure(tt.err); got != tt.failure {
				t.Errorf("failure = %t, want %t", got, tt.failure)
			}
			got := delay(3, tt.err, nil)
			if got < tt.from || got > tt.to {
				t.Errorf("delay = %v, want %v to %v", got, tt.from, tt.to)
			}
		})
	}
	if got := scaled(0, errors.New("connection refused"), nil); got != 250*time.Millisecond {
		t.Errorf("at the time scale %d a moment is %v, want 250ms", scale, got)
	}
}

// TestRetryIsNeverEarly: Asynq cuts times off to whole seconds, so a task may
// come up to a second late, and never before its row is due.
func TestRetryIsNeverEarly(t *testing.T) {
	t.Parallel()
	delay := worker.RetryDelay(tempo)
	for ms := range 5000 {
		due := time.Now().Add(time.Duration(ms) * time.Millisecond)
		after := delay(0, worker.NewLater("x", due, true), nil)
		comes := time.Now().Add(after).Truncate(time.Second) // as Asynq computes and keeps it
		if comes.Before(due) || comes.Sub(due) > 2*time.Second {
			t.Errorf("due at %v, comes at %v", due, comes)
		}
	}
}

// TestEvery runs at once, then at each interval, and ends with its context.
func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second) // by the bubble's clock
		defer cancel()
		var at []time.Duration
		start := time.Now()
		worker.Every(ctx, time.Minute, func(context.Context) { at = append(at, time.Since(start)) })
		want := []time.Duration{0, time.Minute, 2 * time.Minute}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("ran at %v, want %v", at, want)
		}
	})
}

// TestSlowTickDoesNotPileUp: a run that takes longer than the interval is not
// followed by all that it missed.
func TestSlowTickDoesNotPileUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Minute)
		defer cancel()
		runs := 0
		worker.Every(ctx, time.Minute, func(context.Context) {
			runs++
			<-time.After(10 * time.Minute)
		})
		if runs != 4 {
			t.Errorf("ran %d times in 35 minutes of 10 each, want 4", runs)
		}
	})
}
