package models

import (
	"fmt"
	"slices"
	"time"
)

// Need is one operation that a closed or changed order asks for.
type Need struct {
	Kind            Kind // Refund or Void
	Cause           Cause
	CaptureID       string
	AuthorizationID string
	AmountCents     int64
	Verdict         Verdict
	Rule            string
}

// Difference is what an approved order's captures stand above its total, to be
// shown to a person.
type Difference struct {
	// CaptureID is the capture that carries the flag.
	CaptureID string
	Cents     int64
	// Total names the total that it is about: a difference is shown once for each.
	Total string
	Rule  string
}

// Warning is that a hold ends soon with something left to capture.
type Warning struct {
	AuthorizationID string
	// Hours is which warning it is: 48 or 24.
	Hours int
	// Cents is the value at risk.
	Cents    int64
	Deadline time.Time
	Rule     string
}

// Review is what [ReviewOrder] finds.
type Review struct {
	Needs []Need
	// Withheld are refunds that are needed and that nothing starts by itself: the
	// payer may have a part of that money already. A person is called, once.
	Withheld []Need
	// Difference is to be shown; nil when there is none, or it is given back.
	Difference *Difference
	// Settled are captures that are flagged for a difference that is gone.
	Settled []string
	// Warnings are to be given, each once.
	Warnings []Warning
	// Deadline is when the nearest hold ends that a warning is or was given for;
	// nil when none is at risk.
	Deadline *time.Time
	// Expired are holds to close: their last moment passed.
	Expired []string
	// Hasten are delayed or declined captures to send now: their hold is about
	// to end.
	Hasten []string
	// Plan: an approved order has a free hold; ask the policy again.
	Plan bool
	// LastChance: capture what the policy allows before the hold ends.
	LastChance bool
	// Again is when to look again; the zero time when nothing is open.
	Again time.Time
}

// ReviewOrder finds what a cancelled, changed or expiring order still needs.
// ops are all of the order's captures, oldest first, and those refunds of them
// that gave a difference back; holds are all of its holds. now and cancelAfter
// come from the caller, t says how soon to look again at an order with work
// under way.
//
// A cancel needs a succeeded capture with something left to give back, no refund
// or void under way, and either a cancelled order or an order not yet approved
// whose total has differed from the one stored with the capture for cancelAfter.
// A partial capture is no mismatch.
func ReviewOrder(o Order, ops []Operation, holds []Authorization, p Policy, t Tempo, now time.Time, cancelAfter time.Duration) Review {
	var r Review
	captures, returns := byKind(ops)
	r.warn(o, captures, holds, t, now)
	if o.LiveOperations == live(captures) { // no refund and no void is under way
		for _, c := range captures {
			r.addMismatch(o, c, now, cancelAfter)
		}
	}
	if o.LiveOperations > 0 {
		if !r.hasten(o, captures, holds, p, now) {
			r.again(now.Add(t.Of(time.Minute)))
		}
		return r
	}
	r.addDifference(o, captures, returns, p, now, cancelAfter)
	stopped := o.RefundedCents > 0 || slices.ContainsFunc(captures, Operation.stopsPlans)
	for _, h := range holds {
		r.addHold(o, h, p, now, stopped)
	}
	return r
}

func byKind(ops []Operation) (captures, refunds []Operation) {
	for _, op := range ops {
		switch op.Kind {
		case Capture:
			captures = append(captures, op)
		case Refund:
			refunds = append(refunds, op)
		}
	}
	return captures, refunds
}

func live(ops []Operation) int {
	n := 0
	for _, op := range ops {
		if op.State.Live() {
			n++
		}
	}
	return n
}

// hasten finds captures that wait for a time at which their hold will be gone.
// It reports whether nothing has to be looked at before the moments it named:
// all that is open waits for its own time.
func (r *Review) hasten(o Order, captures []Operation, holds []Authorization, p Policy, now time.Time) bool {
	dormant := 0
	for _, c := range captures {
		if c.State != Pending || !c.NotBefore.After(now) {
			continue
		}
		dormant++
		if p.LastChanceSeconds == nil || o.Status != OrderApproved {
			continue
		}
		for _, h := range holds {
			if h.ID != c.AuthorizationID || h.Deadline() == nil {
				continue
			}
			if from := p.lastChance(h); now.Before(from) {
				r.again(from)
			} else {
				r.Hasten = append(r.Hasten, c.ID)
			}
		}
	}
	return dormant == o.LiveOperations && len(r.Hasten) == 0
}

// lastChance is when the last chance of a hold with a deadline begins.
func (p Policy) lastChance(h Authorization) time.Time {
	return h.Deadline().Add(-time.Duration(*p.LastChanceSeconds) * time.Second)
}

func (r *Review) addMismatch(o Order, c Operation, now time.Time, cancelAfter time.Duration) {
	if c.RefundBalance() == 0 {
		return
	}
	rule, ok := mismatch(o, c)
	if !ok {
		return
	}
	if since := o.TotalChangedAt; o.Status != OrderCancelled && since != nil && now.Before(since.Add(cancelAfter)) {
		r.again(since.Add(cancelAfter))
		return
	}
	r.Needs = append(r.Needs, Need{
		Kind: Refund, Cause: CauseCancel, CaptureID: c.ID, AuthorizationID: c.AuthorizationID, AmountCents: c.RefundBalance(), Verdict: Cancel, Rule: rule,
	})
	if why := c.whyWithheld(); why != "" {
		r.withhold(c.ID, why)
	}
}

// paidBackElsewhere: its flag says that money of it went back without us.
func (o Operation) paidBackElsewhere() bool {
	return o.TakenBackFlag() || o.NeedsAttention == FlagForeignRefund
}

// Withhold keeps the refunds of a capture from being started: the gateway gave,
// or took, money of it back without us, so that its balance here says too much.
func (r *Review) Withhold(captureID string) { r.withhold(captureID, rulePaidBack) }

// Why nothing of a capture is given back by itself.
const (
	rulePaidBack = "money of the capture went back without us: a person must give back what is really left of it"
	ruleManual   = "a person captured it, and not its gateway account: a person must give it back, and say so"
)

func (o Operation) whyWithheld() string {
	switch {
	case o.paidBackElsewhere():
		return rulePaidBack
	case o.Manual():
		return ruleManual
	}
	return ""
}

func (r *Review) withhold(captureID, why string) {
	var needs []Need
	for _, n := range r.Needs {
		if n.Kind != Refund || n.CaptureID != captureID {
			needs = append(needs, n)
			continue
		}
		n.Verdict = NeedsAttention
		n.Rule = why + " (" + n.Rule + ")"
		r.Withheld = append(r.Withheld, n)
	}
	r.Needs = needs
}

// mismatch says why a capture does not fit its order any more.
func mismatch(o Order, c Operation) (rule string, ok bool) {
	switch {
	case o.Status == OrderCancelled:
		return "the order is cancelled and its payment was captured", true
	case o.Status.Open() && c.OrderTotalCents != o.TotalAmountCents:
		return "the open order's total differs from the total it was captured for", true
	}
	return "", false
}

// Cancellable says whether a capture may be cancelled by hand, under the
// conditions of the automatic cancel but for the waiting time. ops are as for
// [ReviewOrder]. It returns the rule of the cancel, or the name of the guard
// that stands against it, with an explanation.
func Cancellable(o Order, c Operation, ops []Operation) (rule, guard, why string) {
	captures, _ := byKind(ops)
	switch {
	case c.State != Succeeded:
		return "", "not_succeeded", fmt.Sprintf("the capture is %s; only a succeeded capture can be cancelled", c.State)
	case c.RefundBalance() == 0:
		return "", "nothing_left", "the capture has nothing left to give back"
	case c.TakenBackFlag():
		return "", "taken_back", c.WhyNotReturned()
	case c.Manual():
		return "", GuardManual, c.WhyNotReturned()
	case o.LiveOperations > live(captures):
		return "", "operation_under_way", "the order has a refund or a void under way; wait for its outcome"
	case o.Status != OrderCancelled && o.CancelRequestedAt != nil:
		return "", "operation_under_way", "the order will be cancelled once its open capture has an outcome; wait for that"
	}
	rule, ok := mismatch(o, c)
	switch {
	case ok:
		return rule, "", ""
	case o.Status == OrderApproved:
		return "", "order_approved", fmt.Sprintf("the order is approved; only a cancelled order's capture, or an open order's whose total changed, is cancelled. "+
			"It was captured for a total of %d and costs %d: refund instead", c.OrderTotalCents, o.TotalAmountCents)
	}
	return "", "no_mismatch", fmt.Sprintf("the order is %s and costs %d, as it did when this was captured: there is no mismatch; refund instead", o.Status, o.TotalAmountCents)
}

// GuardManual stands against giving a capture back that a person made, and
// DetailManual is how a peer's published API words that.
const (
	GuardManual  = "manually_captured"
	DetailManual = "Unable to automatically refund a manually captured transaction"
)

// Manual: a person did it, and not the gateway account that the row names, so
// that the account is never asked for anything about it.
func (o Operation) Manual() bool { return o.Mechanism == MechanismManual }

// WhyNotReturned says why nothing of a capture that was taken back, or that a
// person made, is given back.
func (o Operation) WhyNotReturned() string {
	if !o.TakenBackFlag() && o.Manual() {
		return fmt.Sprintf(DetailManual+": %s said that it was captured, and its gateway account is asked for nothing about it. "+
			"Give the money back as it was taken, then record that: _refund with refund_mechanism manual", o.AssertedBy)
	}
	return fmt.Sprintf("the gateway took money of this capture back (%s), so that the payer may have it already; "+
		"see at the gateway how much, send _acknowledge, then refund what is left", o.NeedsAttention)
}

// Overpaid is what the order's captures stand above its total, less what was
// refunded; 0 for a cancelled order, which gets everything back.
func (o Order) Overpaid() int64 {
	if o.Status == OrderCancelled {
		return 0
	}
	return max(0, o.CapturedCents-o.RefundedCents-o.TotalAmountCents)
}

// addDifference finds what an approved order's captures stand above its total.
// It is given back if the policy says so, one refund at a time, and never again
// for a total for which that failed; else it is shown. What is given back is a
// cancel of money, not of a capture: the captures stand.
func (r *Review) addDifference(o Order, captures, returns []Operation, p Policy, now time.Time, cancelAfter time.Duration) {
	over := o.Overpaid()
	if over == 0 || o.Status != OrderApproved {
		for _, c := range captures {
			if c.NeedsAttention == FlagAboveTotal {
				r.Settled = append(r.Settled, c.ID)
			}
		}
		return
	}
	if since := o.TotalChangedAt; since != nil && now.Before(since.Add(cancelAfter)) {
		r.again(since.Add(cancelAfter))
		return
	}
	rule := fmt.Sprintf("captured %d and refunded %d for an approved order of %d: %d above its total", o.CapturedCents, o.RefundedCents, o.TotalAmountCents, over)
	if c := giver(captures, over); p.RefundDifference && c != nil && returnable(o, captures, returns) {
		r.Needs = append(r.Needs, Need{
			Kind: Refund, Cause: CauseDifference, CaptureID: c.ID, AuthorizationID: c.AuthorizationID, AmountCents: min(over, c.RefundBalance()), Verdict: Cancel, Rule: rule,
		})
		return
	}
	for _, c := range captures {
		if why := c.whyWithheld(); p.RefundDifference && c.RefundBalance() > 0 && why != "" {
			r.Needs = append(r.Needs, Need{
				Kind: Refund, Cause: CauseDifference, CaptureID: c.ID, AuthorizationID: c.AuthorizationID, AmountCents: min(over, c.RefundBalance()), Verdict: Cancel, Rule: rule,
			})
			r.withhold(c.ID, why)
			return
		}
	}
	// A capture that calls a person for something else is left to call for that.
	for _, c := range slices.Backward(captures) {
		if c.State == Succeeded && (c.NeedsAttention == "" || c.NeedsAttention == FlagAboveTotal) {
			r.Difference = &Difference{CaptureID: c.ID, Cents: over, Total: fmt.Sprintf("above the total of %d %s", o.TotalAmountCents, o.CurrencyCode), Rule: rule}
			return
		}
	}
}

// giver is the capture that gives a difference back: the newest that covers all
// of it, else the newest with anything left.
func giver(captures []Operation, cents int64) *Operation {
	var some *Operation
	for i := len(captures) - 1; i >= 0; i-- {
		c := &captures[i]
		if c.Manual() {
			continue // a person gives it back
		}
		if c.RefundBalance() >= cents {
			return c
		}
		if some == nil && c.RefundBalance() > 0 {
			some = c
		}
	}
	return some
}

// returnable: every refund that this total was given has given all it should,
// and no capture waits for a person to say what it is.
func returnable(o Order, captures, returns []Operation) bool {
	for _, d := range returns {
		if d.OrderTotalCents == o.TotalAmountCents && (d.State != Succeeded || d.ConfirmedCents == nil || *d.ConfirmedCents < d.AmountCents) {
			return false
		}
	}
	return !slices.ContainsFunc(captures, func(c Operation) bool {
		return c.State == Succeeded && c.NeedsAttention != "" && c.NeedsAttention != FlagAboveTotal
	})
}

// stopsPlans: after a chargeback, and while the gateway's list and its look-up
// contradict each other about a capture, nothing more is captured by itself.
func (c Operation) stopsPlans() bool { return c.State == Reversed || c.NeedsAttention == FlagNotThere }

// addHold finds what a hold needs on which nothing is under way. Stopped: money
// was returned, or a person has to say first what became of it.
func (r *Review) addHold(o Order, h Authorization, p Policy, now time.Time, stopped bool) {
	if h.ClosedAt != nil || h.RenewingSince != nil {
		return
	}
	if h.Ended(now) {
		r.Expired = append(r.Expired, h.ID)
		return
	}
	if o.Status == OrderCancelled {
		r.Needs = append(r.Needs, Need{
			Kind: Void, Cause: CauseCancel, AuthorizationID: h.ID, AmountCents: h.Left(), Verdict: Cancel, Rule: "the order is cancelled and its hold is still open",
		})
		return
	}
	wanted := o.Status == OrderApproved && !stopped && h.Left() > 0
	r.Plan = r.Plan || wanted
	if h.CaptureBefore != nil { // to close it then
		r.again(*h.CaptureBefore)
	}
	if h.Deadline() == nil || p.LastChanceSeconds == nil {
		return
	}
	if from := p.lastChance(h); now.Before(from) {
		r.again(from) // the order may be approved by then
		return
	}
	r.LastChance = r.LastChance || wanted
}

func (r *Review) again(at time.Time) {
	if r.Again.IsZero() || at.Before(r.Again) {
		r.Again = at
	}
}
