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
			"a person is called after the first looks, not before": tempo.FlagUnknownAfter() > tempo.LookAfter(0, false, 0)+tempo.LookAfter(1, false, 0),
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
		for _, over := range []bool{false, true} {
			for _, open := range []time.Duration{0, tempo.LooksRareAfter() - 1, tempo.LooksRareAfter(), 1000 * tempo.LooksRareAfter()} {
				for looks := range 200 {
					if now, next := tempo.LookAfter(looks, over, open), tempo.LookAfter(looks+1, over, open); now <= 0 || next < now || next > tempo.Of(7*24*time.Hour) {
						t.Fatalf("scale %d: look %d waits %s, the next %s", scale, looks, now, next)
					}
				}
			}
		}
		for n := range 200 {
			if wait := tempo.UnsentAfter(n); wait < tempo.Of(time.Second) || wait > tempo.Of(time.Minute) {
				t.Fatalf("scale %d: %d unsent calls wait %s", scale, n, wait)
			}
		}
	}
}

// TestLookSchedule lives through the looks of one operation whose outcome never
// becomes known, as the design words them, and of one whose hold has no end.
func TestLookSchedule(t *testing.T) {
	var tempo models.Tempo
	const day = 24 * time.Hour
	first := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	for name, holdEnds := range map[string]time.Duration{"seven days": 7 * day, "no end": 1000 * day, "ended": 0} {
		var open time.Duration
		for look := range 1000 {
			wait := tempo.LookAfter(look, open >= holdEnds, open)
			want := time.Hour
			switch {
			case look < len(first):
				want = first[look]
			case open >= 30*day:
				want = 7 * day
			case open >= holdEnds:
				want = day
			}
			if wait != want {
				t.Fatalf("hold of %s, open for %s: look %d comes after %s, want %s", name, open, look, wait, want)
			}
			open += wait
		}
		if open < 250*7*day/2 {
			t.Errorf("hold of %s: a thousand looks end after %s", name, open)
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
