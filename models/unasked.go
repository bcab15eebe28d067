package models

import "time"

// unasked decides about an operation that may have been sent to a gateway that
// has no look-up. Where the same key and body again is how it is asked, that is
// what follows; else its webhook or a person tells.
func unasked(o Operation, ev Evidence, f Facts) Decision {
	waits := Decision{Event: unsettled(o), CountLook: true, Replayed: o.Replayed, Verdict: Wait, Wait: f.nextLook(o)}
	switch {
	case ev.Source != FromLookUp:
		return lost(o, ev, f)
	case f.ByHand:
		return awaitsWord(o, ev, f)
	case o.accepted() && f.KeyProtects:
		waits.Name, waits.Rule = "told_later", "accepted, and the gateway cannot be asked: its webhook tells the outcome"
		return flagOld(waits, o, f)
	case !f.Repeats || !f.KeyProtects || o.Cause == CauseAdopted:
		return cannotTell(waits, o)
	case o.Tries >= MaxTries && o.NeedsAttention == "":
		waits.Flag, waits.Verdict, waits.Name, waits.Rule = FlagTries, NeedsAttention, "tries_unproven", "sent too often without proof, and the gateway cannot be asked"
		return waits
	case !f.mayRepeat(o):
		waits.Name, waits.Rule = "may_not_repeat", "this gateway is asked by sending the same again, and something stands against that: its webhook tells"
		return flagOld(waits, o, f)
	}
	return Decision{Send: true, Verdict: Retry, Name: "repeated", Rule: ruleRepeated}
}

const ruleRepeated = "this gateway is asked by sending the same again under the same key, which moves nothing twice"

// Repeated is the decision of a claim that may repeat a call, and leaves that to
// the operation's own task, after wait.
func Repeated(o Operation, wait time.Duration) Decision {
	return Decision{Event: unsettled(o), Verdict: Wait, Replayed: o.Replayed, Wait: wait, Name: "repeated", Rule: ruleRepeated}
}

// awaitsWord calls the person who moves the money. Nobody else can tell what
// became of it, so that looks are as rare as looks may be.
func awaitsWord(o Operation, ev Evidence, f Facts) Decision {
	d := Decision{
		Event: Accepted, CountLook: ev.asked(), Replayed: o.Replayed, Verdict: Wait, Wait: f.Tempo.LookAfter(len(lookSchedule), false, f.Tempo.LooksRareAfter()),
		Name: "waits_for_word", Rule: "a person moves this money, and has not said yet what became of it",
	}
	if o.NeedsAttention == "" || o.NeedsAttention == FlagUnknown {
		d.Flag, d.Verdict, d.Name, d.Rule = FlagWord, NeedsAttention, "word_needed", "a person moves this money, and says what became of it"
	}
	return d
}

// cannotTell calls a person, once, where no program can find out any more.
func cannotTell(d Decision, o Operation) Decision {
	d.Name, d.Rule = "nobody_told", "the gateway cannot be asked, and nobody has told yet"
	if o.NeedsAttention == "" || o.NeedsAttention == FlagUnknown {
		d.Flag, d.Verdict, d.Name = FlagNoLookUp, NeedsAttention, "no_look_up"
		d.Rule = "the gateway cannot be asked, and its key does not protect: its webhook, its report or a person tells"
	}
	return d
}

// refusedOnRepeat: the gateway refused what was sent again after a lost answer. It
// should have told what became of the first; one that forgot refuses it for having
// been done. That is no proof that nothing was taken, and a person is called.
func refusedOnRepeat(o Operation, f Facts) Decision {
	return Decision{
		Event: unsettled(o), CountLook: true, Replayed: o.Replayed, Wait: f.nextLook(o), Flag: FlagNoLookUp, Verdict: NeedsAttention,
		Name: "refused_on_repeat", Rule: "refused when it was sent again, which does not prove that the first call took nothing: the gateway's own books tell",
	}
}

// Untold: no program finds out any more what became of the operation.
func (d Decision) Untold() bool { return d.Name == "no_look_up" || d.Name == "nobody_told" }

// unsettled ends a claim that learned nothing: what the gateway accepted before
// stays accepted.
func unsettled(o Operation) Event {
	if o.accepted() {
		return Accepted
	}
	return Lost
}

// accepted: the gateway gave it an id and has not decided.
func (o Operation) accepted() bool { return o.GatewayTransactionID != "" }

// sentBefore: a call of an earlier claim may have had an effect. After a crash, or
// a call since that did not leave, only the claim that sent first tells.
func (o Operation) sentBefore() bool {
	return o.UnknownSince != nil || o.SentVersion != nil && *o.SentVersion < o.Version
}

// mayRepeat: the same call may go out again, which is a send like any other
// should the first never have arrived.
func (f Facts) mayRepeat(o Operation) bool {
	switch {
	case !f.Repeats || !f.KeyProtects || !f.MaySend || f.HoldEnded, o.NeedsAttention != "", o.Tries >= MaxTries, o.NotBefore.After(f.Now):
		return false
	case o.Kind == Capture && f.Closing, o.Kind == Refund && f.CaptureGone:
		return false
	}
	return true
}
