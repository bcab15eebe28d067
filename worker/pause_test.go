package worker_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// frozen waits until a process is stopped, as by SIGSTOP.
func (p *process) frozen(t *testing.T) {
	t.Helper()
	eventually(t, "the worker process is stopped", func() (bool, any) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return false, err
		}
		// pid (name) state …; the name may hold anything.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		return strings.HasPrefix(rest, "T"), rest
	})
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal the worker process: %v", err)
	}
}

// TestFrozenWorker stops a worker process with SIGSTOP past its lease, lets
// another one take over and finish, and wakes it: what it still writes comes too
// late, what it still sends is never sent.
func TestFrozenWorker(t *testing.T) {
	t.Parallel()
	type pause struct {
		kind   models.Kind
		fault  string
		at     worker.Step
		nth    int64
		moved  bool // when it freezes
		fenced bool // it still has something to say when it wakes
	}
	pauses := []pause{
		{models.Capture, "", worker.StepClaimed, 1, false, true},
		{models.Capture, "", worker.StepAnswered, 1, true, true},
		{models.Capture, "drop_before", worker.StepAnswered, 1, false, true},
		{models.Capture, "charge_then_drop", worker.StepAnswered, 1, true, true},
		{models.Capture, "decline:1", worker.StepAnswered, 1, false, true},
		{models.Capture, "drop_before", worker.StepLooked, 1, false, false}, // its time is over: it says nothing
		{models.Capture, "charge_then_drop", worker.StepLooked, 1, true, true},
		{models.Capture, "drop_before", worker.StepSending, 1, false, true},
		{models.Capture, "", worker.StepRecorded, 1, true, false},
		{models.Refund, "ok,amnesia", worker.StepClaimed, 1, false, true}, // a late call would be booked again
		{models.Refund, "drop_before,ok,amnesia", worker.StepSending, 1, false, true},
		{models.Refund, "", worker.StepAnswered, 1, true, true},
		{models.Void, "sticky_500", worker.StepAnswered, 1, false, true},
	}
	if *prove { // what differs little from one of those
		pauses = append(pauses,
			pause{models.Capture, "sticky_500", worker.StepAnswered, 1, false, true},
			pause{models.Capture, "drop_before", worker.StepAnswered, 2, true, true},
			pause{models.Refund, "", worker.StepClaimed, 1, false, true},
			pause{models.Refund, "drop_before", worker.StepSending, 1, false, true},
			pause{models.Void, "", worker.StepClaimed, 1, false, true},
		)
	}
	for _, tt := range pauses {
		t.Run(fmt.Sprintf("%s %s at %s %d", tt.kind, tt.fault, tt.at, tt.nth), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			c := crash{fault: tt.fault}
			p := c.begin(t, tt.kind, w)
			sleeper := w.spawn(t, orders{Name: "sleeper", Step: tt.at, Nth: tt.nth, Signal: syscall.SIGSTOP})
			sleeper.frozen(t)
			if got := w.moved(t, tt.kind, p); got != tt.moved {
				t.Errorf("moved = %t when it froze, want %t", got, tt.moved)
			}
			w.start(t, staff{name: "second"})
			w.settle(t)
			done := w.reread(t, p)
			sleeper.signal(t, syscall.SIGCONT)
			if tt.fenced {
				eventually(t, "the late write is refused", func() (bool, any) {
					n := w.count(t, `SELECT count(*) FROM attempt_results WHERE fenced`)
					return n == 1, n
				})
			}
			sleeper.quit()
			want := crash{}.expected(tt.kind)
			op := w.reread(t, p)
			if op.State != want.state || op.Version != done.Version || op.NeedsAttention != "" {
				t.Errorf("afterwards = %+v, want it as the second worker left it: %+v", op, done)
			}
			w.check(t, p, want.truth)
		})
	}
}

// TestCallThatLandsLate: a frozen worker's request is still on its way when
// another worker has looked, found nothing and sent it again. Then it arrives.
func TestCallThatLandsLate(t *testing.T) {
	t.Parallel()
	for _, kind := range models.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			p := crash{}.begin(t, kind, w)
			path := map[models.Kind]string{models.Capture: p.hold + "/capture", models.Refund: "/v1/refunds", models.Void: p.hold + "/cancel"}[kind]
			gate := w.front.holdBack(http.MethodPost, path)
			sleeper := w.spawn(t, orders{Name: "sleeper"})
			eventually(t, "the call is on its way", func() (bool, any) { return w.front.held(gate) == 1, nil })
			sleeper.signal(t, syscall.SIGSTOP)
			sleeper.frozen(t)
			w.front.letOthersPass(gate)
			stop := w.start(t, staff{name: "second"})
			w.settle(t)
			stop()
			w.front.release(gate)
			eventually(t, "the late call has arrived", func() (bool, any) {
				n := 0
				for _, r := range w.book(t, p.hold).Requests {
					if r.Key == p.op.IdempotencyKey() {
						n++
					}
				}
				return n == 2, n
			})
			sleeper.signal(t, syscall.SIGCONT)
			sleeper.quit()
			want := crash{}.expected(kind)
			if op := w.reread(t, p); op.State != want.state {
				t.Errorf("it ended %+v, want %s", op, want.state)
			}
			w.check(t, p, want.truth)
		})
	}
}

// TestLateWriteMeetsALiveClaim: the frozen worker wakes while another one is in
// the middle of its own claim. Only proof gets through; the claim goes on.
func TestLateWriteMeetsALiveClaim(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault string
		state models.State // after the late write
		ends  models.State
		truth truth
	}{
		{"drop_before", models.Capturing, models.Succeeded, truth{captured: total}},
		{"500_unbooked", models.Capturing, models.Succeeded, truth{captured: total}},
		{"429=1", models.Capturing, models.Succeeded, truth{captured: total}}, // "nothing left" was true of its own call only
		{"decline:1", models.Capturing, models.Succeeded, truth{captured: total}},
		{"decline_hard:1", models.Capturing, models.Failed, truth{}}, // the owner learns it by itself
		{"", models.Succeeded, models.Succeeded, truth{captured: total}},
	} {
		t.Run("gateway "+tt.fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{tempo: &models.Tempo{Scale: 6}}) // the look-up under way has three seconds
			p := w.order(t, tt.fault)
			sleeper := w.spawn(t, orders{Name: "sleeper", Step: worker.StepAnswered, Nth: 1, Signal: syscall.SIGSTOP})
			sleeper.frozen(t)
			gate := w.front.holdBack(http.MethodGet, p.hold)
			stop := w.start(t, staff{name: "second"})
			eventually(t, "the second worker looks", func() (bool, any) { return w.front.held(gate) == 1, w.reread(t, p) })
			before := w.reread(t, p)
			sleeper.signal(t, syscall.SIGCONT)
			eventually(t, "the late write is refused", func() (bool, any) {
				n := w.count(t, `SELECT count(*) FROM attempt_results WHERE fenced`)
				return n == 1, n
			})
			after := w.reaches(t, p, tt.state)
			if after.State != tt.state || tt.state == models.Capturing && (after.Version != before.Version || after.LeaseOwner != "second" || after.SentVersion == nil) {
				t.Errorf("after the late write = %+v, want %s and the claim as it was: %+v", after, tt.state, before)
			}
			w.front.release(gate)
			sleeper.quit()
			w.settle(t)
			stop()
			if op := w.reread(t, p); op.State != tt.ends {
				t.Errorf("capture = %+v, want %s", op, tt.ends)
			}
			w.check(t, p, tt.truth)
		})
	}
}

// TestTooLittleLeaseLeft: a claim that has idled is given back, provably unsent.
func TestTooLittleLeaseLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "")
	var idle sync.Once
	r := w.runner(t, staff{at: func(at worker.Step) {
		idle.Do(func() {
			eventually(t, "most of the lease is over", func() (bool, any) {
				op := w.reread(t, p)
				return op.LeaseUntil != nil && time.Until(*op.LeaseUntil) < tempo.Budget()+tempo.SendMargin(), op
			})
		})
	}})
	if err := r.Run(t.Context(), models.Capture, p.op.ID); err == nil || !strings.Contains(err.Error(), "too little of the lease was left") {
		t.Errorf("run: %v, want to come again for the lease", err)
	}
	if op := w.reread(t, p); op.State != models.Pending || op.SentVersion != nil || op.LastSentAt != nil {
		t.Errorf("capture = %+v, want pending and never sent", op)
	}
	if n := w.calls(t)["capture"]; n != 0 {
		t.Errorf("the gateway was called %d times", n)
	}
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
}
