package models

import (
	"errors"
	"fmt"
)

// Kind tells the three operations apart. They share one machine.
type Kind string

// The kinds of operation.
const (
	Capture Kind = "capture"
	Refund  Kind = "refund"
	Void    Kind = "void"
)

// Kinds lists every kind.
var Kinds = []Kind{Capture, Refund, Void}

// State is where an operation stands.
type State string

// The states of an operation.
const (
	Pending   State = "pending"   // wanted, not sent, or proven to have had no effect so far
	Capturing State = "capturing" // claimed; a call may be under way (refunds and voids too)
	Submitted State = "submitted" // the gateway accepted it and tells the result later
	Unknown   State = "unknown"   // an answer was lost; must be looked up
	Succeeded State = "succeeded" // proven at the gateway
	Failed    State = "failed"    // proven refused, or the hold is gone
	Cancelled State = "cancelled" // never took effect and never will
	Reset     State = "reset"     // succeeded, then returned by cancel; the order is unpaid again
	Reversed  State = "reversed"  // succeeded, then taken back by the gateway
)

// States lists every state.
var States = []State{Pending, Capturing, Submitted, Unknown, Succeeded, Failed, Cancelled, Reset, Reversed}

// Live reports whether the operation is open work: it reserves its amount and
// has a row in the work table.
func (s State) Live() bool {
	return s == Pending || s == Capturing || s == Submitted || s == Unknown
}

// Event is what happened to an operation. Each history row carries one.
type Event string

// The events that move an operation.
const (
	Created   Event = "created"    // the row came into being as pending
	Claimed   Event = "claimed"    // a worker took it, the attempt row is the history row
	Confirmed Event = "confirmed"  // proof that it took effect
	Refused   Event = "refused"    // proof that it did not and will not
	Accepted  Event = "accepted"   // the gateway will tell later
	Lost      Event = "lost"       // no proof of anything
	NotSent   Event = "not_sent"   // proof that nothing left this process, or that it had no effect
	Withdrawn Event = "withdrawn"  // not wanted any more, and provably without effect
	TakenBack Event = "taken_back" // the gateway reversed a success
	Returned  Event = "returned"   // a cancel gave the money back
)

// The events that annotate an operation and leave its state alone.
const (
	Flagged   Event = "flagged"   // needs a person; automatic sends stop
	Unflagged Event = "unflagged" // a person, or proof, cleared the flag
	Hinted    Event = "hinted"    // someone outside says something happened: look before anything else
	Lowered   Event = "lowered"   // the amount followed a lower order total before anything was sent
)

// Events lists every event that befalls an operation after its creation.
var Events = []Event{
	Claimed, Confirmed, Refused, Accepted, Lost, NotSent, Withdrawn, TakenBack, Returned, Flagged, Unflagged, Hinted, Lowered,
}

// Annotates reports whether e leaves the state as it is.
func (e Event) Annotates() bool {
	return e == Flagged || e == Unflagged || e == Hinted || e == Lowered
}

// transitions is the whole machine. Whatever is not here is refused, here and
// by a trigger in the database that a test compares with this table.
//
// A late success (failed, reversed, cancelled -> succeeded) is legal on proof
// only: the truth must be recordable even when it comes after we gave up.
var transitions = map[State]map[Event]State{
	"":        {Created: Pending},
	Pending:   {Claimed: Capturing, Withdrawn: Cancelled, Refused: Failed},
	Capturing: {Claimed: Capturing, Confirmed: Succeeded, Refused: Failed, Accepted: Submitted, Lost: Unknown, NotSent: Pending},
	Submitted: {Claimed: Capturing, Confirmed: Succeeded, Refused: Failed},
	Unknown:   {Claimed: Capturing, Confirmed: Succeeded, Refused: Failed},
	Succeeded: {TakenBack: Reversed, Returned: Reset},
	Failed:    {Confirmed: Succeeded},
	Reversed:  {Confirmed: Succeeded},
	Cancelled: {Confirmed: Succeeded},
	Reset:     {},
}

// ErrTransition is returned for a move that the table does not have.
var ErrTransition = errors.New("no such transition")

// Next returns the state that e leads to from s. Only captures can be reset.
// Annotating events return s.
func (s State) Next(k Kind, e Event) (State, error) {
	if e.Annotates() && s != "" {
		return s, nil
	}
	to, ok := transitions[s][e]
	if !ok || (to == Reset && k != Capture) {
		return s, fmt.Errorf("%w: %s on a %s %s", ErrTransition, e, s, k)
	}
	return to, nil
}

// Step is one event that may befall an operation, and where it leads.
type Step struct {
	Event Event
	To    State
}

// Moves lists every step that an operation of a kind can make, annotations
// included, each once.
func Moves(k Kind) []Step {
	seen := map[Step]bool{}
	var steps []Step
	for _, from := range States {
		if from == Reset && k != Capture {
			continue
		}
		for _, e := range Events {
			to, err := from.Next(k, e)
			if s := (Step{Event: e, To: to}); err == nil && !seen[s] {
				seen[s] = true
				steps = append(steps, s)
			}
		}
	}
	return steps
}

// Edges returns every pair of different or equal states that the table joins,
// creation left out. The database's trigger is compared with it.
func Edges() map[[2]State]bool {
	edges := map[[2]State]bool{}
	for from, events := range transitions {
		if from == "" {
			continue
		}
		for _, to := range events {
			edges[[2]State{from, to}] = true
		}
	}
	return edges
}
