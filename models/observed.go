package models

// observed decides about evidence from outside a claim: webhooks, lines of a
// gateway's list, people, look-ups of what has ended, and outcomes that lost
// their fence. Only proof moves anything.
func observed(o Operation, ev Evidence, f Facts) Decision {
	switch ev.Outcome {
	case OutcomeConfirmed:
		return observedSuccess(o, ev, f)
	case OutcomeRefused:
		return observedRefusal(o, ev)
	case OutcomeTakenBack:
		return observedTakenBack(o, ev, f)
	case OutcomeNone:
		if o.State == Succeeded && ev.Source == FromLookUp && f.NoneConclusive && o.Cause != CauseAdopted && !o.Manual() {
			// What was adopted is there under another reference than the look-up's, and
			// what a person did is not there.
			return flagOnce(o, FlagNotBooked, NeedsAttention, "not_booked", "recorded here, and a conclusive look-up finds nothing there")
		}
	}
	if o.State == Capturing {
		return underWay()
	}
	if o.State.Live() && (ev.Source == FromWebhook || ev.Source == FromListing) {
		return hint("hint", "the gateway says something happened: look")
	}
	return nothingNew()
}

// underWay: the claim's owner learns the truth; a step in between would only
// break the owner's fence.
func underWay() Decision {
	return Decision{Verdict: Wait, Name: "claim_under_way", Rule: "a claim is under way and learns it by itself"}
}

func nothingNew() Decision {
	return Decision{Verdict: InSync, Name: "nothing_new", Rule: "nothing that proves a change"}
}

func hint(name, rule string) Decision {
	return Decision{Event: Hinted, Verdict: Wait, Name: name, Rule: rule}
}

func flagOnce(o Operation, flag string, v Verdict, name, rule string) Decision {
	d := Decision{Event: Flagged, Flag: flag, Verdict: v, Name: name, Rule: rule}
	if o.NeedsAttention == flag {
		d.Event, d.Flag = "", ""
	}
	return d
}

// vague: a line of a list that names no transaction or no amount. It is worth a
// look, and proves nothing.
func vague(ev Evidence) bool {
	return ev.Source == FromListing && (ev.GatewayTransactionID == "" || ev.AmountCents <= 0)
}

func observedSuccess(o Operation, ev Evidence, f Facts) Decision {
	switch o.State {
	case Pending:
		return hint("hint_unsent", "the gateway has something that was not sent: look first")
	case Capturing, Submitted, Unknown:
		if o.State == Capturing && ev.Source == FromOperator {
			return underWay() // it may be sending right now
		}
		if vague(ev) {
			return vagueSuccess(o)
		}
		return confirmed(o, ev, f)
	case Succeeded, Reset:
		return knownSuccess(o, ev)
	case Reversed:
		return reinstated(o, ev, f)
	}
	if vague(ev) {
		return flagOnce(o, FlagLateSuccess, NeedsAttention, "vague_success", "the gateway's list speaks of what was given up here; look before believing it")
	}
	return late(o, ev, f, "late_success", "it took effect after it had been given up")
}

func vagueSuccess(o Operation) Decision {
	if o.State == Capturing {
		return underWay()
	}
	return hint("hint_vague", "a line of the gateway's list names no transaction or no amount: look first")
}

// knownSuccess compares a success with the one that is recorded.
func knownSuccess(o Operation, ev Evidence) Decision {
	switch {
	case otherTransaction(o, ev):
		return flagOnce(o, FlagDuplicate, Duplicate, "second_transaction", "a second transaction at the gateway for the same operation")
	case ev.CurrencyCode != o.CurrencyCode && ev.CurrencyCode != "":
		return flagOnce(o, FlagCurrency, AmountConflict, "now_other_currency", "the gateway now names another currency")
	case o.ConfirmedCents != nil && ev.AmountCents != *o.ConfirmedCents && ev.AmountCents != 0:
		return flagOnce(o, FlagAmount, AmountConflict, "now_other_amount", "the gateway now names another amount")
	}
	return Decision{Verdict: InSync, Name: "already_recorded", Rule: "already recorded"}
}

func otherTransaction(o Operation, ev Evidence) bool {
	return ev.GatewayTransactionID != o.GatewayTransactionID && o.GatewayTransactionID != "" && ev.GatewayTransactionID != ""
}

// reinstated decides whether what the gateway had taken back stands again: a
// chargeback that was won.
func reinstated(o Operation, ev Evidence, f Facts) Decision {
	whole := o.ConfirmedCents != nil && ev.AmountCents == *o.ConfirmedCents
	switch {
	case !ev.asked() && ev.Source != FromOperator || vague(ev):
		// A success told late is older than the reversal more often than not.
		return flagOnce(o, FlagReversed, NeedsAttention, "success_after_reversal", "a success was told after the reversal; look before believing it")
	case otherTransaction(o, ev):
		return flagOnce(o, FlagDuplicate, Duplicate, "second_transaction", "a second transaction at the gateway for the same operation")
	case ev.Source == FromListing && !whole:
		return flagOnce(o, FlagAmount, AmountConflict, "reinstated_in_part", "a part of what was taken back was given again; a person must square it")
	case ev.AmountCents < o.RefundRequestedCents:
		return flagOnce(o, FlagAmount, AmountConflict, "less_than_refunded", "the gateway now names less than was refunded; a person must square it")
	}
	return late(o, ev, f, "reinstated", "it stands again at the gateway after it had been taken back")
}

// late books a success of what had ended, and calls a person.
func late(o Operation, ev Evidence, f Facts, name, rule string) Decision {
	d := confirmed(o, ev, f)
	if d.Event != Confirmed {
		return d
	}
	d.Verdict, d.Name, d.Rule = LateSuccess, name, rule
	if d.Flag == "" {
		d.Flag, d.ClearFlag = FlagLateSuccess, false
	}
	return d
}

func observedRefusal(o Operation, ev Evidence) Decision {
	switch o.State {
	case Submitted, Unknown:
		// A list says what was booked, and seldom why something was not. An answer that
		// lost its fence may be older than what was sent since, and so may a webhook.
		if ev.Source == FromListing || ev.Source == FromAnswer || ev.Source == FromWebhook && (o.KeyEpoch > 0 || otherTransaction(o, ev)) {
			return hint("hint_refused", "the gateway says that it was refused, or that the hold changed: look first")
		}
		return refused(ev)
	case Pending:
		return hint("hint_refused", "the gateway says that it was refused, or that the hold changed: look first")
	case Capturing:
		return underWay()
	case Succeeded:
		switch {
		case ev.Source == FromWebhook && o.Kind == Refund && !otherTransaction(o, ev):
			return Decision{
				Event: TakenBack, Flag: FlagReversed, Verdict: NeedsAttention, Name: "refund_failed_later",
				Rule: "the gateway says that this refund failed after it had succeeded",
			}
		case ev.Source == FromLookUp && !o.Manual():
			return flagOnce(o, FlagNotBooked, NeedsAttention, "refused_there", "recorded here, and a look-up says that it was refused there")
		}
	}
	return nothingNew()
}

// observedTakenBack decides what a chargeback, a capture that failed after it
// had succeeded, or a refund that came back does. The machine knows only whole
// reversals: the rest calls a person.
func observedTakenBack(o Operation, ev Evidence, f Facts) Decision {
	switch o.State {
	case Capturing:
		return underWay()
	case Pending, Submitted, Unknown:
		if ev.Source == FromAnswer {
			return nothingNew() // no call is answered so: it proves nothing, and asks for nothing
		}
		return hint("hint_taken_back", "the gateway took something back that is not recorded: look first")
	case Reset:
		// Given back by us and taken back by the gateway: the money went out twice.
		return flagOnce(o, FlagReversed, NeedsAttention, "taken_back_after_reset", "it was given back by a cancel, and the gateway took it back as well")
	case Succeeded:
		return takenBack(o, ev)
	case Failed, Cancelled:
		if d, ok := tookAndWent(o, ev, f); ok {
			return d
		}
		if o.Kind == Capture && ev.Source == FromLookUp {
			return flagOnce(o, FlagReversed, NeedsAttention, "taken_back_unknown", "it was given up here, and the gateway says that it took effect and was taken back")
		}
	}
	return nothingNew()
}

func takenBack(o Operation, ev Evidence) Decision {
	proof := (ev.asked() || ev.Source == FromWebhook) && !vague(ev) && ev.AmountCents > 0 && ev.CurrencyCode == o.CurrencyCode
	switch {
	case otherTransaction(o, ev), ev.Foreign && o.Cause != CauseAdopted:
		return flagOnce(o, FlagDuplicate, Duplicate, "other_taken_back", "another transaction than the recorded one was taken back")
	case ev.CurrencyCode != o.CurrencyCode && ev.CurrencyCode != "":
		return flagOnce(o, FlagCurrency, AmountConflict, "now_other_currency", "the gateway now names another currency")
	case !proof || o.Kind == Void || o.ConfirmedCents == nil:
		return flagOnce(o, FlagReversed, NeedsAttention, "taken_back_unproven", "said to be taken back, without proof or an amount; look before believing it")
	case ev.AmountCents < *o.ConfirmedCents-o.RefundedCents:
		return flagOnce(o, FlagPartlyReversed, AmountConflict, "taken_back_in_part", "a part of it was taken back; the rest stands, and a person must square it")
	}
	return Decision{Event: TakenBack, Flag: FlagReversed, Verdict: NeedsAttention, Name: "taken_back", Rule: "the gateway took back all that was left of it: it does not count as paid, or as returned, any more"}
}
