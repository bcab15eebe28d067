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
	// CaptureGone: all of the capture that a refund returns has gone back already.
	CaptureGone bool
	// HoldEnded: the hold is closed or past its last moment.
	HoldEnded bool
	// HoldOver makes looks rare and does nothing else: the hold has ended, or
	// holds like it have as a rule.
	HoldOver bool
	// NoneConclusive: enough time passed since the last send for "the gateway
	// has no such operation" to be proof. From outside a claim it says that the
	// look began after that, and after what is recorded was.
	NoneConclusive bool
	// NoneSettlesIn is how long until it will be.
	NoneSettlesIn time.Duration
	// ReplaysErrors: the gateway repeats an error for ever under the same key.
	ReplaysErrors bool
	// Repeats: the gateway has no look-up and is asked by sending the same key and
	// body again. KeyProtects: the present key is young enough for that.
	Repeats, KeyProtects bool
	// ByHand: a person moves the money, and is the only one who knows.
	ByHand bool
	// CredentialsWork: a probe of the account succeeded after a config error.
	CredentialsWork bool
	// HoldLeftConfirmed is how much of the hold the gateway has not yet been
	// seen to take.
	HoldLeftConfirmed int64
}

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
	// Name is the rule's stable name: docs/verdicts.md lists them all.
	Name string
	// Rule says in words why.
	Rule string
}

// Judge decides what evidence does to an operation. It is the only place that
// does: answers, look-ups, webhooks, listings and operators all come through here.
func Judge(o Operation, ev Evidence, f Facts) Decision {
	if o.Kind == Refund {
		f.HoldEnded, f.HoldOver = false, false // a refund needs no hold: it returns what a closed one gave
	}
	if !f.Fenced {
		return observed(o, ev, f)
	}
	if o.State != Capturing {
		return Decision{Verdict: NeedsAttention, Name: "claim_without_row", Rule: "a claim was held on a row that is not being captured"}
	}
	switch ev.Outcome {
	case OutcomeConfirmed:
		return confirmed(o, ev, f)
	case OutcomeRefused:
		if f.Repeats && ev.Source == FromAnswer && o.sentBefore() {
			return refusedOnRepeat(o, f)
		}
		return refused(ev)
	case OutcomeAccepted:
		return accepted(o, ev, f)
	case OutcomeDeclined:
		return declined(o, ev, f)
	case OutcomeNotSent:
		return notSent(o, ev, f)
	case OutcomeTakenBack:
		return takenBackOpen(o, ev, f)
	case OutcomeNone:
		if ev.Source != FromLookUp {
			return lost(o, ev, f) // only a look-up can find that there is nothing
		}
		return none(o, f)
	case OutcomeUnasked:
		return unasked(o, ev, f)
	default:
		return lost(o, ev, f)
	}
}

// refused ends an operation that had no effect and never will.
func refused(ev Evidence) Decision {
	d := Decision{Event: Refused, Verdict: Fail, ClearFlag: true, Name: "refused", Rule: "the gateway refuses it for good"}
	if ev.Source == FromOperator {
		d.Name, d.Rule = "denied", "a person says that it did not take effect, and never will"
	}
	return d
}

// confirmed records proof of success on a live operation. The gateway's figure
// is booked, never ours; a difference is flagged.
func confirmed(o Operation, ev Evidence, f Facts) Decision {
	d := Decision{Event: Confirmed, ClearFlag: true, Verdict: InSync, Name: "confirmed", Rule: "the gateway confirms it"}
	switch ev.Source {
	case FromLookUp, FromListing:
		d.Verdict, d.Name, d.Rule = Forward, "found_at_gateway", "the gateway has it with the same amount and currency; recorded, no money moved"
	case FromOperator:
		d.Verdict, d.Name, d.Rule = Forward, "asserted", "a person says that it took effect, with the same amount and currency; recorded, no money moved"
	}
	switch {
	case ev.CurrencyCode != o.CurrencyCode:
		return disputed(o, f, FlagCurrency, AmountConflict, "other_currency", "the gateway names another currency; its figure cannot be booked here")
	case ev.AmountCents < 0 || ev.AmountCents == 0 && o.Kind != Void:
		return disputed(o, f, FlagAmount, AmountConflict, "no_amount", "the gateway confirms it without an amount; that proves nothing")
	case ev.Foreign && !adopts(o, ev):
		return disputed(o, f, FlagForeign, Duplicate, "other_reference", "the hold was taken under another reference than this operation's")
	}
	if ev.AmountCents != o.AmountCents {
		d.Flag, d.ClearFlag, d.Verdict = FlagAmount, false, AmountConflict
		d.Name, d.Rule = "other_amount", "the gateway moved another amount; its figure is booked"
	}
	if o.Kind == Capture && ev.AmountCents > f.HoldLeftConfirmed {
		d.Flag, d.ClearFlag, d.Verdict = FlagOverCaptured, false, AmountConflict
		d.Name, d.Rule = "over_captured", "the gateway took more than the hold; its figure is booked"
	}
	return d
}

// adopts: the operation was made for what a gateway's list shows under another
// reference, and this is a line of that list.
func adopts(o Operation, ev Evidence) bool {
	return o.Cause == CauseAdopted && ev.Source == FromListing && ev.GatewayTransactionID != ""
}

// disputed is a success that cannot be booked as this operation's. A claim ends
// without proof; from outside a claim only the flag is raised, and no fence broken.
func disputed(o Operation, f Facts, flag string, v Verdict, name, rule string) Decision {
	if !f.Fenced {
		return flagOnce(o, flag, v, name, rule)
	}
	return Decision{
		Event: Lost, Wait: f.nextLook(o), CountLook: true, Replayed: o.Replayed, Flag: flag, Verdict: v, Name: name, Rule: rule,
	}
}

// takenBackOpen: the gateway says that an operation which is still open here
// took effect and was taken back. It is never a success. A refund that came
// back had no effect, and has failed; of a capture both steps are recorded
// if the gateway says what it took. Else it waits for a person, since nothing
// may be captured by itself that somebody has just charged back.
func takenBackOpen(o Operation, ev Evidence, f Facts) Decision {
	switch {
	case !ev.asked():
		return lost(o, ev, f)
	case ev.CurrencyCode != o.CurrencyCode:
		return disputed(o, f, FlagCurrency, AmountConflict, "other_currency", "the gateway names another currency; its figure cannot be booked here")
	case o.Kind == Refund && !ev.Foreign && ev.AmountCents >= o.AmountCents:
		return Decision{Event: Refused, Verdict: Fail, ClearFlag: true, Name: "refund_came_back", Rule: "the refund came back to the merchant before it was recorded"}
	}
	if d, ok := tookAndWent(o, ev, f); ok {
		return d
	}
	return disputed(o, f, FlagReversed, NeedsAttention, "taken_back_unrecorded", "it took effect and was taken back before it was recorded; nothing is sent again by itself")
}

// tookAndWent records both steps of a capture that took effect and was taken back
// before either was recorded, and calls a person. It is false when the gateway
// was not asked, or does not say what it took.
func tookAndWent(o Operation, ev Evidence, f Facts) (Decision, bool) {
	if o.Kind != Capture || ev.Source != FromLookUp || ev.Foreign || ev.TookCents <= 0 || ev.AmountCents <= 0 {
		return Decision{}, false
	}
	whole := ev.AmountCents >= ev.TookCents-o.RefundedCents
	ev.AmountCents = ev.TookCents
	d := confirmed(o, ev, f)
	if d.Event != Confirmed {
		return d, false
	}
	d.ClearFlag, d.Flag, d.Verdict = false, FlagPartlyReversed, AmountConflict
	d.Name, d.Rule = "taken_back_in_part_late", "it took effect, and a part of it was taken back before that was recorded; the rest stands, and a person must square it"
	if whole {
		d.Then, d.Flag, d.Verdict = TakenBack, FlagReversed, NeedsAttention
		d.Name, d.Rule = "taken_back_late", "it took effect and was taken back before either was recorded: both are recorded, and it does not count as paid"
	}
	return d, true
}

func accepted(o Operation, ev Evidence, f Facts) Decision {
	if f.ByHand {
		return awaitsWord(o, ev, f)
	}
	return flagOld(Decision{
		Event: Accepted, Verdict: Wait, CountLook: ev.asked() || f.Repeats, Replayed: o.Replayed, Wait: f.nextLook(o),
		Name: "accepted", Rule: "the gateway accepted it and decides later",
	}, o, f)
}

func lost(o Operation, ev Evidence, f Facts) Decision {
	d := Decision{Event: Lost, Verdict: Wait, Wait: f.nextLook(o), Name: "no_proof", Rule: "no proof of anything; look again"}
	if ev.asked() {
		d.CountLook = true
		d.Replayed = o.Replayed
		return flagOld(d, o, f)
	}
	d.CountLook = f.Repeats // the call was the way to ask
	d.CountTry, d.Replayed = ev.Class != ClassInProgress, ev.Answered || o.Replayed && ev.Class == ClassInProgress
	d.Wait = max(d.Wait, ev.RetryAfter)
	switch {
	case ev.Class == ClassBadRequest:
		d.Flag, d.Verdict, d.Name = FlagBadRequest, NeedsAttention, "bad_request"
		d.Rule = "the gateway does not understand the request; nothing is sent again by itself"
	case d.CountTry && o.Tries+1 >= MaxTries:
		d.Flag, d.Verdict, d.Name, d.Rule = FlagTries, NeedsAttention, "tries_lost", "sent too often without proof"
	}
	return flagOld(d, o, f)
}

// flagOld calls a person once an outcome has been unknown for too long, and
// once more when the daily looks end. Looks go on, ever; sends stop. Where a
// send is how the gateway is asked, it may go on for as long as its key protects.
func flagOld(d Decision, o Operation, f Facts) Decision {
	if d.Flag != "" {
		return d
	}
	age := f.openFor(o)
	switch {
	case age >= f.Tempo.LooksRareAfter() && (o.NeedsAttention == "" || o.NeedsAttention == FlagUnknown):
		d.Flag, d.Verdict, d.Name = FlagUnresolved, NeedsAttention, "unresolved"
		d.Rule = "no proof in thirty days; looks go on once a week, and only a person can end it sooner"
	case d.Event == Lost && o.UnknownSince != nil && age >= f.Tempo.FlagUnknownAfter() && o.NeedsAttention == "" && !f.mayRepeat(o):
		d.Flag, d.Verdict, d.Name = FlagUnknown, NeedsAttention, "unknown_too_long"
		d.Rule = "no proof in a quarter of an hour; looks go on, sends stop"
	}
	return d
}

// openFor is how long nobody has known the outcome: since the first lost
// answer, or, where a gateway decides later and the looks have become rare,
// since the last send.
func (f Facts) openFor(o Operation) time.Duration {
	switch {
	case o.UnknownSince != nil:
		return f.Now.Sub(*o.UnknownSince)
	case o.LastSentAt != nil && o.LookUps >= len(lookSchedule):
		return f.Now.Sub(*o.LastSentAt)
	}
	return 0
}

func (f Facts) nextLook(o Operation) time.Duration {
	return f.Tempo.LookAfter(o.LookUps, f.HoldOver || f.HoldEnded, f.openFor(o))
}

func declined(o Operation, ev Evidence, f Facts) Decision {
	switch {
	case ev.Source == FromLookUp:
		// The gateway's final word on the previous try. Of what was accepted and then
		// declined it is news, and its key repeats the acceptance: it waits as after a
		// declined answer.
		f.NoneConclusive = true
		news := ev.Answered && !o.Replayed
		o.Replayed = o.Replayed || ev.Answered
		if d := none(o, f); !news || !d.RotateKey {
			return d
		}
	case ev.asked():
		return lost(o, ev, f)
	}
	pause, more := f.Tempo.DeclineAfter(o.Tries)
	if !more || f.HoldEnded {
		return Decision{Event: Refused, CountTry: true, Verdict: Fail, Name: "declines_spent", Rule: "declined, and no time to try is left"}
	}
	return Decision{
		Event: NotSent, CountTry: true, Replayed: true, Wait: max(pause, ev.RetryAfter), Defer: true, Verdict: Retry,
		Name: "declined", Rule: "declined for now; looked up, then tried again under a new key",
	}
}

func notSent(o Operation, ev Evidence, f Facts) Decision {
	wait := max(f.Tempo.UnsentAfter(o.Unsent), ev.RetryAfter)
	if ev.asked() {
		return flagOld(Decision{
			Event: Lost, CountUnsent: true, Replayed: o.Replayed, Wait: wait, Verdict: Wait,
			Name: "look_not_sent", Rule: "the look-up did not leave; nothing is known yet",
		}, o, f)
	}
	d := Decision{
		Event: NotSent, CountUnsent: true, Replayed: o.Replayed, Wait: wait, Verdict: Retry, Name: "not_sent", Rule: "nothing reached the gateway",
	}
	if ev.Class == ClassConfig && f.CredentialsWork {
		d.Flag, d.Verdict, d.Name = FlagConfig, NeedsAttention, "credentials_refuse"
		d.Rule = "the credentials work, but the gateway refuses them for this row"
	}
	return d
}

// none decides what follows when the gateway has no such operation. This is the
// only place where something that may have been sent is sent again.
func none(o Operation, f Facts) Decision {
	doubted := o.NeedsAttention == FlagUnknown || o.NeedsAttention == FlagUnresolved
	switch {
	case !f.NoneConclusive:
		return flagOld(Decision{
			Event: Lost, CountLook: true, Replayed: o.Replayed, Verdict: Wait, Wait: max(f.NoneSettlesIn, f.Tempo.Of(time.Second)),
			Name: "not_there_yet", Rule: "not there yet; a call may still land",
		}, o, f)
	case o.Cause == CauseAdopted:
		return Decision{Event: NotSent, Then: Withdrawn, Flag: FlagNotThere, Verdict: NeedsAttention, Name: "adopted_not_there", Rule: adoptedNotThere}
	case o.Kind == Refund && f.CaptureGone:
		return Decision{Event: NotSent, Then: Withdrawn, ClearFlag: true, Verdict: Cancel, Name: "returned_already", Rule: captureTakenBack}
	case o.Kind == Capture && f.Closing:
		return Decision{Event: NotSent, Then: Withdrawn, ClearFlag: true, Verdict: Cancel, Name: "withdrawn", Rule: "the order is cancelled and nothing was taken"}
	case f.HoldEnded:
		return Decision{Event: Refused, ClearFlag: true, Verdict: Fail, Name: "hold_ended", Rule: "nothing was taken and the hold has ended"}
	case o.Tries >= MaxTries:
		return Decision{Event: NotSent, Replayed: o.Replayed, Flag: FlagTries, Verdict: NeedsAttention, Name: "tries_spent", Rule: "sent too often without effect"}
	case o.NotBefore.After(f.Now):
		// A hint asked for this look. It must not bring a delayed capture, or the
		// next try after a decline, forward.
		return Decision{
			Event: NotSent, Replayed: o.Replayed, Wait: o.NotBefore.Sub(f.Now), Verdict: Wait, Name: "not_its_time",
			Rule: "nothing was taken, and its own time has not come",
		}
	case f.ReplaysErrors && o.Replayed:
		return Decision{
			Event: NotSent, RotateKey: true, ClearFlag: doubted, Verdict: Retry, Name: "new_key",
			Rule: "proven without effect; the old key would only repeat its error",
		}
	case doubted:
		return Decision{
			Event: NotSent, Replayed: o.Replayed, ClearFlag: true, Verdict: Retry, Name: "doubt_settled",
			Rule: "the doubt that was flagged is settled: nothing was taken",
		}
	case !f.MaySend || o.NeedsAttention != "":
		return Decision{
			Event: NotSent, CountLook: true, Replayed: o.Replayed, Wait: f.nextLook(o), Verdict: Wait, Name: "may_not_send",
			Rule: "nothing was taken; something stands against sending",
		}
	}
	return Decision{Send: true, Verdict: Retry, Name: "send_again", Rule: "proven without effect and the hold is alive: sent again under the same key"}
}
