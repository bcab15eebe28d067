package models

import (
	"cmp"
	"slices"
	"time"
)

// CompareAction is what a line of a gateway's list asks for. The set is closed.
type CompareAction string

// The actions.
const (
	// CompareNothing: the books agree, or a person has to act.
	CompareNothing CompareAction = "nothing"
	// CompareLook: ask the gateway before believing the line. What is open is
	// hinted, so that its next claim looks; what has ended is looked up and observed.
	CompareLook CompareAction = "look"
	// CompareObserve: the line is evidence as it stands, for [Judge].
	CompareObserve CompareAction = "observe"
	// CompareAdopt: there is no row. If the gateway says that it happened under our
	// own derived name, the row is made anew; else a person has to act.
	CompareAdopt CompareAction = "adopt"
	// CompareFlag: call a person to the operation.
	CompareFlag CompareAction = "flag"
)

// lineLate is how long after its outcome a success may be listed before the
// line may be about another one. Clocks and reports differ by less.
const lineLate = time.Hour

// adoptAhead is how many names beyond the last one are tried for a row that is
// missing: a database restored to a moment ago has forgotten fewer.
const adoptAhead = 8

// Comparison is what one line of a gateway's list says about our book.
type Comparison struct {
	Verdict Verdict
	// Name is the rule's stable name, Rule its sentence.
	Name, Rule string
	Action     CompareAction
	// Operation is the row of ours that it is about; nil when there is none.
	Operation *Operation
	// Kind is of the operation, ours or the one to adopt.
	Kind Kind
	// Sequence, with adopt, is which of its kind on the hold it is by its derived
	// name; 0 when the line does not say, and the gateway has to be asked.
	Sequence int
	// Capture, with a refund to adopt, is what it returned.
	Capture *Operation
	// Flag is why a person is called, if the action alone does not do so.
	Flag string
}

// Compare says what one line means for our book. Hold is the line's hold, nil
// when we have none such; ops are all operations of it. It moves nothing.
func Compare(account string, m Movement, hold *Authorization, ops []Operation) Comparison {
	b := compared{account: account, m: m, hold: hold, ops: ops}
	switch {
	case hold == nil && m.Kind == MovedVoided:
		return result(InSync, "unknown_hold_ended", "a hold ended that we never had; nothing was taken")
	case hold == nil:
		return result(NeedsAttention, "unknown_hold", "the gateway moved money on a hold that is not in our book")
	}
	switch m.Kind {
	case MovedCaptured:
		return b.captured()
	case MovedRefunded:
		return b.refunded()
	case MovedVoided:
		return b.voided()
	case MovedTakenBack, MovedReinstated:
		return b.disputed()
	case MovedFailed:
		return b.refundLost()
	}
	return result(NeedsAttention, "unknown_line", "the list tells of something that is not known here")
}

// Again says what a line means for an operation that another line of the same
// kind explained already. Where a person is called to it, both lines are known.
func Again(c Comparison) Comparison {
	if c.Verdict != InSync || c.Operation == nil || c.Operation.NeedsAttention != "" {
		return c
	}
	c.Verdict, c.Name, c.Action, c.Flag = Duplicate, "second_line", CompareLook, FlagDuplicate
	c.Rule = "a second line of the gateway's list for the same operation"
	return c
}

// Evidence is what the line proves, if it is believed.
func (m Movement) Evidence() Evidence {
	ev := Evidence{
		Source: FromListing, Outcome: OutcomeConfirmed, AmountCents: m.AmountCents, CurrencyCode: m.CurrencyCode,
		GatewayTransactionID: m.TransactionID, Message: "line " + m.ID + " of the gateway's list: " + string(m.Kind),
	}
	if m.Kind == MovedTakenBack || m.Kind == MovedFailed {
		ev.Outcome = OutcomeTakenBack
	}
	return ev
}

func result(v Verdict, name, rule string) Comparison {
	return Comparison{Verdict: v, Name: name, Rule: rule, Action: CompareNothing}
}

func (c Comparison) about(o *Operation) Comparison {
	c.Operation, c.Kind = o, o.Kind
	return c
}

func (c Comparison) by(a CompareAction) Comparison {
	c.Action = a
	return c
}

func (c Comparison) flagged(flag string) Comparison {
	c.Action, c.Flag = CompareFlag, flag
	return c
}

// compared is a line beside our book.
type compared struct {
	account string
	m       Movement
	hold    *Authorization
	ops     []Operation
}

// of are the operations of a kind, oldest first.
func (b compared) of(kind Kind) []*Operation {
	var out []*Operation
	for i := range b.ops {
		if b.ops[i].Kind == kind {
			out = append(out, &b.ops[i])
		}
	}
	slices.SortStableFunc(out, func(x, y *Operation) int { return cmp.Compare(x.Sequence, y.Sequence) })
	return out
}

// named finds the operation of a kind that the line names by our reference, or
// by the gateway's own id where only one has it.
func (b compared) named(kind Kind) *Operation {
	var same []*Operation
	for _, o := range b.of(kind) {
		if b.m.Reference != "" && o.GatewayReference == b.m.Reference {
			return o
		}
		if b.m.TransactionID != "" && o.GatewayTransactionID == b.m.TransactionID {
			same = append(same, o)
		}
	}
	if b.m.Reference == "" && len(same) == 1 {
		return same[0]
	}
	return nil
}

// byHand finds the operation that a person said they made, in the gateway's own
// dashboard perhaps, where only one is of the line's amount.
func (b compared) byHand(kind Kind) *Operation {
	var same []*Operation
	for _, o := range b.of(kind) {
		if o.Manual() && o.GatewayTransactionID == "" && o.State == Succeeded && b.m.CurrencyCode != "" && b.same(o) {
			same = append(same, o)
		}
	}
	if len(same) != 1 {
		return nil
	}
	return same[0]
}

// capture finds the capture that a line without a name is about: the only one,
// the only one that took effect, or the newest.
func (b compared) capture() *Operation {
	all := b.of(Capture)
	if len(all) == 0 {
		return nil
	}
	took := slices.DeleteFunc(slices.Clone(all), func(o *Operation) bool { return o.State != Succeeded && o.State != Reset && o.State != Reversed })
	if len(took) == 1 {
		return took[0]
	}
	return all[len(all)-1]
}

// sequence is which operation of a kind our derived name in the line stands
// for; 0 for a name that is none of this hold's.
func (b compared) sequence(kind Kind) int {
	last := map[Kind]int{Capture: b.hold.CaptureSequence, Refund: b.hold.RefundSequence, Void: b.hold.VoidSequence}[kind]
	for n := last + 1; b.m.Reference != "" && n <= last+adoptAhead; n++ {
		if GatewayReference(b.account, b.hold.Origin(), kind, n) == b.m.Reference {
			return n
		}
	}
	return 0
}

// same compares the amount that the list names with the recorded one. A line
// without a currency names none.
func (b compared) same(o *Operation) bool {
	want := o.AmountCents
	if o.ConfirmedCents != nil {
		want = *o.ConfirmedCents
	}
	return b.m.CurrencyCode == "" || b.m.CurrencyCode == o.CurrencyCode && b.m.AmountCents == want
}

func (b compared) captured() Comparison {
	o := b.named(Capture)
	if o == nil && b.m.Reference == "" {
		o = b.capture()
	}
	if o != nil {
		return b.effect(o)
	}
	c := result(Forward, "own_capture_without_row", "the gateway has a capture under our own name that is not in our book")
	c.Kind = Capture
	if c.Sequence = b.sequence(Capture); c.Sequence > 0 {
		return c.by(CompareAdopt)
	}
	if b.m.Reference == "" {
		c.Verdict, c.Name, c.Rule = NeedsAttention, "capture_without_row", "the gateway captured a hold of ours, and our book has no capture of it"
		return c.by(CompareAdopt)
	}
	c = result(NeedsAttention, "foreign_capture", "the gateway captured a hold of ours under a name that is not ours")
	if o = b.capture(); o == nil || o.State == Capturing {
		return c
	}
	c.Verdict = Duplicate
	if o.State.Live() {
		return c.about(o).by(CompareLook)
	}
	return c.about(o).flagged(FlagForeign)
}

// effect compares a line that says that an operation took effect.
func (b compared) effect(o *Operation) Comparison {
	same := b.same(o)
	conflict := result(AmountConflict, "other_amount", "the gateway lists another amount or currency than is recorded").about(o)
	switch o.State {
	case Pending, Submitted, Unknown:
		if !same {
			return result(AmountConflict, "open_here_other_amount", "the gateway has it with another amount or currency, and it is open here").about(o).by(CompareLook)
		}
		return result(Forward, "open_here", "the gateway has it, and it is open here").about(o).by(CompareLook)
	case Capturing:
		return result(Wait, "claim_under_way", "a claim is under way and learns it by itself").about(o)
	case Failed, Cancelled:
		return result(LateSuccess, "given_up_here", "the gateway has it, and it was given up here").about(o).by(CompareLook)
	case Succeeded:
		if same && o.FinishedAt != nil && b.m.At.After(o.FinishedAt.Add(lineLate)) {
			return result(Duplicate, "booked_again", "the gateway lists it long after it was recorded: it may be another one").about(o).by(CompareLook)
		}
		if !same {
			return conflict.by(CompareLook)
		}
	case Reset:
		if !same {
			return conflict.by(CompareLook)
		}
	case Reversed:
		if !same { // a look would find that it was taken, and not that it was taken back
			return conflict.flagged(FlagAmount)
		}
	}
	return result(InSync, "agrees", "both books have it with the same amount").about(o)
}

func (b compared) refunded() Comparison {
	o := b.named(Refund)
	if o == nil && b.m.Reference == "" {
		o = b.byHand(Refund)
	}
	if o != nil {
		return b.effect(o)
	}
	capture := b.capture()
	if n := b.sequence(Refund); n > 0 && capture != nil {
		c := result(Forward, "own_refund_without_row", "the gateway has a refund under our own name that is not in our book").by(CompareAdopt)
		c.Kind, c.Sequence, c.Capture = Refund, n, capture
		return c
	}
	c := result(NeedsAttention, "foreign_refund", "it was refunded at the gateway, and not by us")
	switch {
	case capture == nil || capture.State == Capturing:
		return c
	case capture.State.Live():
		return c.about(capture).by(CompareLook)
	}
	return c.about(capture).flagged(FlagForeignRefund)
}

func (b compared) voided() Comparison {
	for _, o := range append(b.of(Capture), b.of(Void)...) {
		switch {
		case o.State == Capturing:
			return result(Wait, "claim_under_way", "a claim is under way and learns it by itself").about(o)
		case o.State.Live() && o.Kind == Void:
			return result(Forward, "open_here", "the gateway has it, and it is open here").about(o).by(CompareLook)
		case o.State.Live():
			return result(Fail, "hold_ended_there", "the hold ended at the gateway while its capture is open here").about(o).by(CompareLook)
		}
	}
	if b.hold.ClosedAt != nil || b.hold.ConfirmedCents > 0 {
		return result(InSync, "hold_ended", "the hold has ended in both books")
	}
	return result(Expiring, "hold_ended_there", "the hold ended at the gateway and is open here; ask the payer for a new payment")
}

func (b compared) disputed() Comparison {
	o := b.named(Capture)
	if o == nil {
		o = b.capture()
	}
	c := result(NeedsAttention, "taken_back", "the gateway took it back: a chargeback, or a payment that failed later")
	if b.m.Kind == MovedReinstated {
		c = result(LateSuccess, "reinstated", "what the gateway had taken back stands again")
	}
	switch {
	case o == nil:
		c.Verdict = NeedsAttention
		return c
	case o.State == Capturing:
		c.Verdict = NeedsAttention
		return c.about(o)
	case o.State.Live(), o.State == Failed, o.State == Cancelled:
		return c.about(o).by(CompareLook)
	case b.m.Kind == MovedTakenBack && o.State == Reversed, b.m.Kind == MovedReinstated && o.State != Reversed:
		return result(InSync, "agrees", "both books have it").about(o)
	}
	return c.about(o).by(CompareObserve)
}

func (b compared) refundLost() Comparison {
	c := result(NeedsAttention, "refund_lost", "a refund came back: the payer's bank did not take it")
	o := b.named(Refund)
	switch {
	case o == nil:
		return c
	case o.State == Capturing:
		return c.about(o)
	case o.State.Live():
		return c.about(o).by(CompareLook)
	case o.State == Succeeded:
		return c.about(o).by(CompareObserve)
	}
	return result(InSync, "agrees", "it does not count as returned in either book").about(o)
}
