package models

import "strings"

// CallsPerson reports whether a verdict says that no program can settle what
// was found. It is open until somebody applies or dismisses it, or until its
// reason is gone: see the view open_verdicts of the ledger.
func (v Verdict) CallsPerson() bool {
	switch v {
	case AmountConflict, Duplicate, LateSuccess, Expiring, NeedsAttention:
		return true
	}
	return false
}

// ActCapture is what a person can do about a hold that is about to end: capture
// it now. No operation offers it.
const ActCapture = "capture"

// ActAdopt is what a person can do about a refund that somebody else made at the
// gateway: record it here. No money moves.
const ActAdopt = "adopt"

// Remedy is what applying a verdict does: one of the actions, with the guards
// that it has by hand. It is empty when nothing is left to do, or nothing that
// can be done here: what a gateway has and no operation of ours explains is
// settled there. o is the verdict's operation as it stands now, nil for a
// verdict without one.
func Remedy(v Verdict, o *Operation) string {
	switch {
	case o == nil && v == Expiring:
		return ActCapture
	case o == nil:
		return ""
	case v == Forward:
		return ActForward
	case v == Cancel && o.Kind == Capture && !o.State.Live():
		return ActCancel
	case v == InSync, o.NeedsAttention == FlagWord: // a look finds nothing out: a person says it
		return ""
	}
	switch v {
	case Republish, Retry, Wait, NeedsAttention, Expiring, Cancel:
		if o.State.Live() {
			return ActRetry
		}
	}
	if o.NeedsAttention != "" {
		return ActAcknowledge
	}
	return ""
}

// Instead says in words what a person can do about an operation when a verdict
// has nothing left to apply.
func Instead(o Operation) string {
	next := NextActions(o)
	if len(next) == 0 {
		return "nothing has to be done about it"
	}
	return "what can be done about it: " + strings.Join(next, ", ")
}
