package models

import "time"

// Facts is what Judge needs to know beside the operation and the evidence.
type Facts struct {
	Tempo Tempo
	Now   time.Time
	// Fenced: the evidence comes from the claim that holds the row right now.
	Fenced bool
	// MaySend: nothing stands against a send in this claim: no flag, hold open
	// for longer than the budget, order neither closing nor changed.
	MaySend bool
	// Closing: the order is cancelled or about to be.
	Closing bool
	// HoldEnded: the hold is closed or past its last moment.
	HoldEnded bool
	// NoneConclusive: enough time passed since the last send for "the gateway
	// has no such operation" to be proof.
	NoneConclusive bool
	// NoneSettlesIn is how long until it will be.
	NoneSettlesIn time.Duration
	// ReplaysErrors: the gateway repeats an error for ever under the same key.
	ReplaysErrors bool
	// CredentialsWork: a probe of the account succeeded after a config error.
	CredentialsWork bool
	// HoldLeftConfirmed is how much of the hold the gateway has not yet been
	// seen to take.
	HoldLeftConfirmed int64
}

// Why a person is needed. These stand in needs_attention.
const (
	FlagAmount       = "amount_conflict"    // confirmed with another amount
	FlagCurrency     = "currency_conflict"  // confirmed in another currency
	FlagOverCaptured = "over_captured"      // the gateway took more than the hold
	FlagDuplicate    = "duplicate"          // another transaction at the gateway for the same thing
	FlagForeign      = "foreign_operation"  // the gateway did it under another reference
	FlagUnknown      = "unknown_too_long"   // no proof in a quarter of an hour
	FlagTries        = "tries_exhausted"    // sent too often
	FlagBadRequest   = "bad_request"        // the gateway does not understand our request
	FlagConfig       = "credentials_refuse" // the credentials work, but not for this row
	FlagLateSuccess  = "late_success"       // it took effect after we had given it up
	FlagReversed     = "reversed"           // taken back by the gateway, or confirmed again after that
)

// Decision is what evidence does to an operation. The store applies it in one
// transaction; the worker obeys Send.
type Decision struct {
	// Event moves the operation; empty means nothing changes.
	Event Event
	// Then is a second event in the same transaction.
	Then Event
	// Send: go on and send, inside the same claim.
	Send bool
	// Wait is the pause before the next look or send, when the row stays open.
	Wait time.Duration
	// Defer: nothing is sent before Wait has passed, whatever asks for a look.
	Defer bool
	// RotateKey: the next send uses a new idempotency key.
	RotateKey bool
	// Replayed: the present key is known to repeat an error.
	Replayed bool
	// CountTry, CountLook and CountUnsent raise the counters.
	CountTry, CountLook, CountUnsent bool
	// Flag sets needs_attention; ClearFlag ends a flag that proof has answered.
	Flag      string
	ClearFlag bool
	Verdict   Verdict
	// Rule says in words why.
	Rule string
}

// Judge decides what evidence does to an operation. It is the only place that
// does: answers, look-ups, webhooks and operators all come through here.
func Judge(o Operation, ev Evidence, f Facts) Decision {
	if o.Kind == Refund {
		f.HoldEnded = false // a refund needs no hold: it returns what a closed one gave
	}
	if !f.Fenced {
		return observed(o, ev, f)
	}
	if o.State != Capturing {
		return Decision{Verdict: NeedsAttention, Rule: "a claim was held on a row that is not being captured"}
	}
	switch ev.Outcome {
	case OutcomeConfirmed:
		return confirmed(o, ev, f)
	case OutcomeRefused:
		return Decision{Event: Refused, Verdict: Fail, ClearFlag: true, Rule: "the gateway refuses it for good"}
	case OutcomeAccepted:
		return accepted(o, ev, f)
	case OutcomeDeclined:
		return declined(o, ev, f)
	case OutcomeNotSent:
		return notSent(o, ev, f)
	case OutcomeNone:
		if ev.Source == FromAnswer {
			return lost(o, ev, f) // only a look-up can find that there is nothing
		}
		return none(o, f)
	default:
		return lost(o, ev, f)
	}
}

// confirmed records proof of success on a live operation. The gateway's figure
// is booked, never ours; a difference is flagged.
func confirmed(o Operation, ev Evidence, f Facts) Decision {
	verdict, rule := InSync, "the gateway confirms it"
	if ev.Source == FromLookUp || ev.Source == FromOperator {
		verdict, rule = Forward, "the gateway has it with the same amount and currency; recorded, no money moved"
	}
	switch {
	case ev.CurrencyCode != o.CurrencyCode:
		return disputed(o, f, FlagCurrency, AmountConflict, "the gateway names another currency; its figure cannot be booked here")
	case ev.AmountCents < 0 || ev.AmountCents == 0 && o.Kind != Void:
		return disputed(o, f, FlagAmount, AmountConflict, "the gateway confirms it without an amount; that proves nothing")
	case ev.Foreign:
		return disputed(o, f, FlagForeign, Duplicate, "the hold was taken under another reference than this operation's")
	}
	d := Decision{Event: Confirmed, Verdict: verdict, ClearFlag: true, Rule: rule}
	if ev.AmountCents != o.AmountCents {
		d.Flag, d.ClearFlag, d.Verdict = FlagAmount, false, AmountConflict
		d.Rule = "the gateway moved another amount; its figure is booked"
	}
	if o.Kind == Capture && ev.AmountCents > f.HoldLeftConfirmed {
		d.Flag, d.ClearFlag, d.Verdict = FlagOverCaptured, false, AmountConflict
		d.Rule = "the gateway took more than the hold; its figure is booked"
	}
	return d
}

// disputed is a success that cannot be booked as this operation's. A claim ends
// without proof; from outside a claim only the flag is raised, and no fence broken.
func disputed(o Operation, f Facts, flag string, v Verdict, rule string) Decision {
	if !f.Fenced {
		return flagOnce(o, flag, v, rule)
	}
	return Decision{
		Event: Lost, Wait: f.Tempo.LookAfter(o.LookUps, f.HoldEnded), CountLook: true, Replayed: o.Replayed, Flag: flag, Verdict: v, Rule: rule,
	}
}

func accepted(o Operation, ev Evidence, f Facts) Decision {
	return Decision{
		Event: Accepted, Verdict: Wait, CountLook: ev.Source == FromLookUp, Replayed: o.Replayed,
		Wait: f.Tempo.LookAfter(o.LookUps, f.HoldEnded), Rule: "the gateway accepted it and decides later",
	}
}

func lost(o Operation, ev Evidence, f Facts) Decision {
	d := Decision{Event: Lost, Verdict: Wait, Wait: f.Tempo.LookAfter(o.LookUps, f.HoldEnded), Rule: "no proof of anything; look again"}
	if ev.Source == FromLookUp {
		d.CountLook = true
		d.Replayed = o.Replayed
		return flagOld(d, o, f)
	}
	d.CountTry, d.Replayed = ev.Class != ClassInProgress, ev.Answered || o.Replayed && ev.Class == ClassInProgress
	d.Wait = max(d.Wait, ev.RetryAfter)
	switch {
	case ev.Class == ClassBadRequest:
		d.Flag, d.Verdict, d.Rule = FlagBadRequest, NeedsAttention, "the gateway does not understand the request; nothing is sent again by itself"
	case d.CountTry && o.Tries+1 >= MaxTries:
		d.Flag, d.Verdict, d.Rule = FlagTries, NeedsAttention, "sent too often without proof"
	}
	return flagOld(d, o, f)
}

// flagOld calls a person once an outcome has been unknown for too long. Looks
// go on; sends stop.
func flagOld(d Decision, o Operation, f Facts) Decision {
	if d.Flag == "" && o.NeedsAttention == "" && o.UnknownSince != nil && f.Now.Sub(*o.UnknownSince) >= f.Tempo.FlagUnknownAfter() {
		d.Flag, d.Verdict = FlagUnknown, NeedsAttention
	}
	return d
}

func declined(o Operation, ev Evidence, f Facts) Decision {
	if ev.Source == FromLookUp {
		return none(o, withConclusive(f)) // the gateway's final word on the previous try
	}
	pause, more := f.Tempo.DeclineAfter(o.Tries)
	if !more || f.HoldEnded {
		return Decision{Event: Refused, CountTry: true, Verdict: Fail, Rule: "declined, and no time to try is left"}
	}
	return Decision{
		Event: NotSent, CountTry: true, Replayed: true, Wait: max(pause, ev.RetryAfter), Defer: true, Verdict: Retry,
		Rule: "declined for now; looked up, then tried again under a new key",
	}
}

func withConclusive(f Facts) Facts {
	f.NoneConclusive = true
	return f
}

func notSent(o Operation, ev Evidence, f Facts) Decision {
	wait := max(f.Tempo.UnsentAfter(o.Unsent), ev.RetryAfter)
	if ev.Source == FromLookUp {
		return flagOld(Decision{
			Event: Lost, CountUnsent: true, Replayed: o.Replayed, Wait: wait, Verdict: Wait, Rule: "the look-up did not leave; nothing is known yet",
		}, o, f)
	}
	d := Decision{Event: NotSent, CountUnsent: true, Replayed: o.Replayed, Wait: wait, Verdict: Retry, Rule: "nothing reached the gateway"}
	if ev.Class == ClassConfig && f.CredentialsWork {
		d.Flag, d.Verdict, d.Rule = FlagConfig, NeedsAttention, "the credentials work, but the gateway refuses them for this row"
	}
	return d
}

// none decides what follows when the gateway has no such operation. This is the
// only place where something that may have been sent is sent again.
func none(o Operation, f Facts) Decision {
	switch {
	case !f.NoneConclusive:
		d := Decision{
			Event: Lost, CountLook: true, Replayed: o.Replayed, Verdict: Wait, Wait: max(f.NoneSettlesIn, f.Tempo.Of(time.Second)),
			Rule: "not there yet; a call may still land",
		}
		return flagOld(d, o, f)
	case o.Kind == Capture && f.Closing:
		return Decision{Event: NotSent, Then: Withdrawn, ClearFlag: true, Verdict: Cancel, Rule: "the order is cancelled and nothing was taken"}
	case o.Kind != Refund && f.HoldEnded:
		return Decision{Event: Refused, ClearFlag: true, Verdict: Fail, Rule: "nothing was taken and the hold has ended"}
	case o.Tries >= MaxTries:
		return Decision{Event: NotSent, Replayed: o.Replayed, Flag: FlagTries, Verdict: NeedsAttention, Rule: "sent too often without effect"}
	case o.NotBefore.After(f.Now):
		// A hint asked for this look. It must not bring a delayed capture, or the
		// next try after a decline, forward.
		return Decision{Event: NotSent, Replayed: o.Replayed, Wait: o.NotBefore.Sub(f.Now), Verdict: Wait, Rule: "nothing was taken, and its own time has not come"}
	case f.ReplaysErrors && o.Replayed:
		return Decision{Event: NotSent, RotateKey: true, ClearFlag: o.NeedsAttention == FlagUnknown, Verdict: Retry, Rule: "proven without effect; the old key would only repeat its error"}
	case o.NeedsAttention == FlagUnknown:
		return Decision{Event: NotSent, Replayed: o.Replayed, ClearFlag: true, Verdict: Retry, Rule: "the doubt that was flagged is settled: nothing was taken"}
	case !f.MaySend:
		return Decision{Event: NotSent, Replayed: o.Replayed, Wait: f.Tempo.LookAfter(o.LookUps, f.HoldEnded), Verdict: Wait, Rule: "nothing was taken; something stands against sending"}
	}
	return Decision{Send: true, Verdict: Retry, Rule: "proven without effect and the hold is alive: sent again under the same key"}
}

// observed decides about evidence from outside a claim: webhooks, people, and
// outcomes that lost their fence. Only proof moves anything.
func observed(o Operation, ev Evidence, f Facts) Decision {
	switch ev.Outcome {
	case OutcomeConfirmed:
		return observedSuccess(o, ev, f)
	case OutcomeRefused:
		return observedRefusal(o, ev)
	}
	if o.State == Capturing {
		// Its owner learns the truth; a hint would only break the owner's fence.
		return Decision{Verdict: Wait, Rule: "a claim is under way"}
	}
	if ev.Source == FromWebhook && o.State.Live() {
		return hint("the gateway says something happened")
	}
	return Decision{Verdict: InSync, Rule: "nothing that proves a change"}
}

func hint(rule string) Decision {
	return Decision{Event: Hinted, Verdict: Wait, Rule: rule}
}

func observedSuccess(o Operation, ev Evidence, f Facts) Decision {
	same := ev.GatewayTransactionID == o.GatewayTransactionID
	switch o.State {
	case Capturing, Submitted, Unknown:
		return confirmed(o, ev, f)
	case Pending:
		return hint("the gateway has something that was not sent: look first")
	case Succeeded, Reset:
		if !same && o.GatewayTransactionID != "" && ev.GatewayTransactionID != "" {
			return flagOnce(o, FlagDuplicate, Duplicate, "a second transaction at the gateway for the same operation")
		}
		if ev.CurrencyCode != o.CurrencyCode && ev.CurrencyCode != "" {
			return flagOnce(o, FlagCurrency, AmountConflict, "the gateway now names another currency")
		}
		if o.ConfirmedCents != nil && ev.AmountCents != *o.ConfirmedCents && ev.AmountCents != 0 {
			return flagOnce(o, FlagAmount, AmountConflict, "the gateway now names another amount")
		}
		return Decision{Verdict: InSync, Rule: "already recorded"}
	case Reversed:
		if ev.Source == FromWebhook || ev.Source == FromAnswer {
			// A success told late is older than the reversal more often than not.
			return flagOnce(o, FlagReversed, NeedsAttention, "a success was told after the reversal; look before believing it")
		}
		if ev.AmountCents < o.RefundRequestedCents {
			return flagOnce(o, FlagAmount, AmountConflict, "the gateway now names less than was refunded; a person must square it")
		}
	}
	d := confirmed(o, ev, f)
	if d.Event != Confirmed {
		return d
	}
	d.Verdict, d.Rule = LateSuccess, "it took effect after it had been given up"
	if d.Flag == "" {
		d.Flag, d.ClearFlag = FlagLateSuccess, false
	}
	return d
}

func flagOnce(o Operation, flag string, v Verdict, rule string) Decision {
	if o.NeedsAttention == flag {
		return Decision{Verdict: v, Rule: rule}
	}
	return Decision{Event: Flagged, Flag: flag, Verdict: v, Rule: rule}
}

func observedRefusal(o Operation, ev Evidence) Decision {
	switch o.State {
	case Submitted, Unknown:
		return Decision{Event: Refused, ClearFlag: true, Verdict: Fail, Rule: "the gateway refuses it for good"}
	case Pending:
		return hint("the gateway says the hold changed: look first")
	case Capturing:
		// A call may be under way; its owner learns the truth by itself.
		return Decision{Verdict: Wait, Rule: "a claim is under way"}
	case Succeeded:
		if ev.Source == FromLookUp {
			return flagOnce(o, FlagAmount, AmountConflict, "recorded here, refused there")
		}
		if ev.Source == FromWebhook && o.Kind == Refund {
			return Decision{Event: TakenBack, Flag: FlagReversed, Verdict: NeedsAttention, Rule: "the gateway says that this refund failed after it had succeeded"}
		}
	}
	return Decision{Verdict: InSync, Rule: "nothing that proves a change"}
}
