package models_test

import (
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// The order of the deadlines is what keeps two senders apart. It holds at every scale.
func TestDeadlinesKeepTheirOrder(t *testing.T) {
	for scale := -1; scale <= 1000; scale++ {
		tempo := models.Tempo{Scale: scale}
		budget, timeout, lease := tempo.Budget(), tempo.TaskTimeout(), tempo.Lease()
		for rule, kept := range map[string]bool{
			"there is a budget":                                    budget > 0,
			"a claim is over before its task times out":            budget < timeout,
			"a task is over before its lease":                      timeout < lease,
			"a fresh lease covers a look, a send and its margin":   lease > 2*budget+tempo.SendMargin(),
			"a margin is a margin":                                 tempo.SendMargin() > 0 && tempo.RecordTimeout() > 0,
			"a stopping worker waits for its call":                 tempo.ShutdownTimeout() > budget,
			"a call and its record fit the lease":                  budget+tempo.RecordTimeout() < lease,
			"nothing is sent that a hold would not survive":        tempo.HoldMargin() >= budget,
			"the sweep leaves a task the time of a lease":          tempo.RepublishAfter() >= lease,
			"a late task is given grace, less than a republish":    tempo.DueGrace() > 0 && tempo.DueGrace() < tempo.RepublishAfter(),
			"a person is called after the first looks, not before": tempo.FlagUnknownAfter() > tempo.LookAfter(0, false)+tempo.LookAfter(1, false),
		} {
			if !kept {
				t.Fatalf("scale %d: %s", scale, rule)
			}
		}
	}
}

func TestSchedulesNeverGiveUp(t *testing.T) {
	for _, scale := range []int{0, 1, 3, 20, 1000} {
		tempo := models.Tempo{Scale: scale}
		for _, ended := range []bool{false, true} {
			for looks := range 200 {
				if now, next := tempo.LookAfter(looks, ended), tempo.LookAfter(looks+1, ended); now <= 0 || next < now {
					t.Fatalf("scale %d: look %d waits %s, the next %s", scale, looks, now, next)
				}
			}
		}
		if alive, ended := tempo.LookAfter(100, false), tempo.LookAfter(100, true); alive != tempo.Of(time.Hour) || ended != tempo.Of(24*time.Hour) {
			t.Errorf("scale %d: hourly while the hold lives is %s, then daily %s", scale, alive, ended)
		}
		for n := range 200 {
			if wait := tempo.UnsentAfter(n); wait < tempo.Of(time.Second) || wait > tempo.Of(time.Minute) {
				t.Fatalf("scale %d: %d unsent calls wait %s", scale, n, wait)
			}
		}
	}
}

func TestDeclineSchedule(t *testing.T) {
	var tempo models.Tempo
	var all time.Duration
	declines := 0
	for ; ; declines++ {
		wait, more := tempo.DeclineAfter(declines)
		if !more {
			break
		}
		if wait < time.Minute {
			t.Errorf("decline %d waits %s", declines, wait)
		}
		all += wait
	}
	if declines >= models.MaxTries || all > 7*24*time.Hour {
		t.Errorf("%d declines over %s: more than tries, or longer than the shortest holds", declines, all)
	}
}

func TestRealTime(t *testing.T) {
	var tempo models.Tempo
	for name, c := range map[string]struct{ got, want time.Duration }{
		"budget":       {tempo.Budget(), 20 * time.Second},
		"task timeout": {tempo.TaskTimeout(), 45 * time.Second},
		"lease":        {tempo.Lease(), time.Minute},
		"scaled lease": {models.Tempo{Scale: 20}.Lease(), 3 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s = %s, want %s", name, c.got, c.want)
		}
	}
}
