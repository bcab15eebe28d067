package models

import "time"

// Tempo holds every deadline of the system in one place. Scale divides them
// all, order kept, for tests and the demo: 20 makes a 60 s lease 3 s. The zero
// value runs at real time.
type Tempo struct {
	Scale int
}

// Of returns d at this tempo.
func (t Tempo) Of(d time.Duration) time.Duration {
	if t.Scale <= 1 {
		return d
	}
	return d / time.Duration(t.Scale)
}

// Budget is what one claim may spend on token, look-up and send together. It
// is shorter than the task's time-out, which is shorter than the lease: a call
// is over, and its outcome recorded, before anyone else may take the row.
func (t Tempo) Budget() time.Duration { return t.Of(20 * time.Second) }

// TaskTimeout ends a handler that hangs outside the gateway call.
func (t Tempo) TaskTimeout() time.Duration { return t.Of(45 * time.Second) }

// Lease is how long a claim keeps others away, by the database's clock.
func (t Tempo) Lease() time.Duration { return t.Of(60 * time.Second) }

// SendMargin is what a lease must have left beyond the budget before a send.
func (t Tempo) SendMargin() time.Duration { return t.Of(5 * time.Second) }

// RecordTimeout bounds the writing of one outcome. It is spent even when the
// task was cancelled: money may have moved.
func (t Tempo) RecordTimeout() time.Duration { return t.Of(15 * time.Second) }

// LockTimeout is how long a batch waits for a row that someone else holds before
// its rows are tried one by one.
func (t Tempo) LockTimeout() time.Duration { return max(t.Of(3*time.Second), 100*time.Millisecond) }

// ShutdownTimeout is how long a stopping worker waits for calls under way.
func (t Tempo) ShutdownTimeout() time.Duration { return t.Budget() + t.RecordTimeout() }

// RepublishAfter is how long a published, due row is left to its task before
// the sweep publishes it again. It stays above DueGrace at every tempo.
func (t Tempo) RepublishAfter() time.Duration { return max(t.Of(60*time.Second), 3*time.Second) }

// DueGrace is how late a task may be for its row before the sweep steps in. It
// is never under what Asynq's whole seconds and its checks need.
func (t Tempo) DueGrace() time.Duration { return max(t.Of(10*time.Second), 2*time.Second) }

// FlagUnknownAfter is how long an outcome may stay unknown before a person is told.
func (t Tempo) FlagUnknownAfter() time.Duration { return t.Of(15 * time.Minute) }

// HoldMargin is how long before a hold's end nothing is sent any more.
func (t Tempo) HoldMargin() time.Duration { return t.Budget() }

// lookSchedule is when an unknown or submitted operation is looked up, counted
// from the previous look. It never ends: see [Tempo.LookAfter].
var lookSchedule = []time.Duration{
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour,
}

// LooksRareAfter is how long an outcome may stay unknown before its looks
// become weekly and a person is called once more. Nothing is ever given up:
// the row stays open, flagged, and looked up until proof or a person ends it.
func (t Tempo) LooksRareAfter() time.Duration { return t.Of(30 * 24 * time.Hour) }

// LookAfter returns the pause before the next look-up after looks of them
// settled nothing: by the schedule, then hourly while the hold lives, then
// daily, then, of an outcome that has been open for thirty days, weekly.
// holdOver may rest on an estimate of the hold's end: it moves looks and nothing else.
func (t Tempo) LookAfter(looks int, holdOver bool, openFor time.Duration) time.Duration {
	switch {
	case looks < len(lookSchedule):
		return t.Of(lookSchedule[looks])
	case openFor >= t.LooksRareAfter():
		return t.Of(7 * 24 * time.Hour)
	case holdOver:
		return t.Of(24 * time.Hour)
	}
	return t.Of(time.Hour)
}

// declineSchedule is when a soft decline is tried again.
var declineSchedule = []time.Duration{
	time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 8 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour,
}

// DeclineAfter returns the pause before a declined operation is tried again,
// and false when the schedule is spent.
func (t Tempo) DeclineAfter(declines int) (time.Duration, bool) {
	if declines >= len(declineSchedule) {
		return 0, false
	}
	return t.Of(declineSchedule[declines]), true
}

// UnsentAfter returns the pause after n calls in a row that did not leave:
// doubling from a second to a minute.
func (t Tempo) UnsentAfter(n int) time.Duration {
	return t.Of(min(time.Minute, time.Second<<min(n, 6)))
}

// MaxTries is how many sends of one operation may be lost or declined before a
// person has to look.
const MaxTries = 12
