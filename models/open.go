package models

import "time"

// Unsent is what decides about an operation that nothing was ever sent for and
// that a claim refused.
type Unsent struct {
	// Closing: the order is cancelled or about to be.
	Closing bool
	// HoldEnded: the hold is closed, or so near its last moment that nothing is sent.
	HoldEnded bool
	// HoldReason is why it is closed; empty when it only ran out.
	HoldReason string
	// CaptureGone: all of the capture that a refund returns has gone back already.
	CaptureGone bool
	// CaptureDoubted: a flag says that the gateway took back, or may have, a part of it.
	CaptureDoubted bool
	// SameOrder: the order is as it was when the operation was made.
	SameOrder bool
}

// JudgeUnsent ends, or flags, an operation that was never sent and cannot be
// any more. A decision without an event means that it may come again. Refunds
// need neither hold nor order: they are left alone, unless they were adopted, or
// the gateway took back what they return.
func JudgeUnsent(o Operation, u Unsent) Decision {
	switch {
	case o.Cause == CauseAdopted:
		return Decision{Event: Withdrawn, Flag: FlagNotThere, Verdict: NeedsAttention, Name: "adopted_not_there", Rule: adoptedNotThere}
	case o.Kind == Refund && u.CaptureGone:
		return Decision{Event: Withdrawn, ClearFlag: true, Verdict: Cancel, Name: "returned_already", Rule: captureTakenBack}
	case o.Kind == Refund && u.CaptureDoubted:
		return Decision{
			Event: Flagged, Flag: FlagPartlyReversed, Verdict: NeedsAttention, Name: "capture_partly_taken_back",
			Rule: "the gateway took back money of the capture that this refund returns: deal with the capture, then retry",
		}
	case o.Kind == Refund:
	case u.Closing:
		return Decision{Event: Withdrawn, ClearFlag: true, Verdict: Cancel, Name: "withdrawn_unsent", Rule: "the order is cancelled and nothing was sent"}
	case u.HoldEnded:
		reason := u.HoldReason
		if reason == "" {
			reason = ClosedExpired
		}
		return Decision{Event: Refused, Verdict: Fail, Name: "hold_ended_unsent", Rule: "the hold has ended (" + reason + ") and nothing was sent"}
	case !u.SameOrder:
		return Decision{
			Event: Flagged, Flag: FlagOrderChanged, Verdict: NeedsAttention, Name: "order_changed",
			Rule: "the order was changed outside Capstan after the capture was made",
		}
	}
	return Decision{Verdict: Wait, Name: "changed_meanwhile", Rule: "it changed while it was claimed"}
}

// adoptedNotThere: should it turn up after all, it is a late success.
const adoptedNotThere = "the gateway listed it, and looked up it is not there; nothing was ever sent for it"

// captureTakenBack: a won dispute brings the capture back, and not its refund.
const captureTakenBack = "what it returns has gone back already: the gateway took it, or a cancel gave it"

// Publication is what the work table knows of an open operation.
type Publication struct {
	// PublishedAt is when it was last handed to the queue; nil when the relay
	// still has to.
	PublishedAt *time.Time
	DueAt       time.Time
	// Paused: its gateway account takes no calls.
	Paused bool
}

// Overdue decides whether an open operation is handed to the queue once more:
// when no task can be alive that works on it. It calls no gateway, and changes
// nothing but the queue. The sweep's statement selects by the same rules, and a
// test compares the two.
func Overdue(o Operation, p Publication, t Tempo, now time.Time) Decision {
	wait := func(name, rule string) Decision { return Decision{Verdict: Wait, Name: name, Rule: rule} }
	leased := o.State == Capturing && (o.LeaseUntil == nil || !o.LeaseUntil.Before(now))
	switch {
	case !o.State.Live():
		return Decision{Verdict: InSync, Name: "ended", Rule: "it has ended and is no open work"}
	case o.State == Pending && o.NeedsAttention != "" && !o.LookFirst:
		return Decision{Verdict: NeedsAttention, Name: "waits_for_person", Rule: "it is flagged, and nothing may be sent until a person decides"}
	case p.Paused:
		return wait("gateway_paused", "its gateway account is paused")
	case p.PublishedAt == nil:
		return wait("not_published", "the relay publishes it")
	case p.DueAt.After(now):
		return wait("not_due", "its time has not come")
	case leased:
		return wait("lease_runs", "a worker holds it")
	case p.PublishedAt.After(now.Add(-t.RepublishAfter())) || o.State != Capturing && p.DueAt.After(now.Add(-t.DueGrace())):
		return wait("task_may_live", "its task may still come")
	}
	name, rule := OverdueRule(o.State)
	return Decision{Verdict: Republish, Name: name, Rule: rule}
}

// OverdueRule says why an operation in an open state is handed to the queue
// again: the rule's stable name, and its sentence.
func OverdueRule(s State) (name, rule string) {
	switch s {
	case Capturing:
		return "lease_ran_out", "its lease ran out: the worker died or hangs"
	case Submitted, Unknown:
		return "look_overdue", "its next look is due and no task came"
	}
	return "task_lost", "it is due and no task came"
}
