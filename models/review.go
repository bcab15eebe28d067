package models

import "time"

// Need is one operation that a closed or changed order asks for.
type Need struct {
	Kind            Kind // Refund or Void
	CaptureID       string
	AuthorizationID string
	AmountCents     int64
	Verdict         Verdict
	Rule            string
}

// Review is what [ReviewOrder] finds.
type Review struct {
	Needs []Need
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
// captures and holds are all of the order's; now and cancelAfter come from the
// caller, t says how soon to look again at an order with work under way.
//
// A cancel needs a succeeded capture with something left to give back, no
// operation under way, and either a cancelled order or an order not yet
// approved whose total has differed from the one stored with the capture for
// cancelAfter. A partial capture is no mismatch.
func ReviewOrder(o Order, captures []Operation, holds []Authorization, p Policy, t Tempo, now time.Time, cancelAfter time.Duration) Review {
	var r Review
	if o.LiveOperations > 0 {
		r.hasten(o, captures, holds, p, now)
		if len(r.Hasten) > 0 || r.Again.IsZero() {
			r.Again = now.Add(t.Of(time.Minute))
		}
		return r
	}
	for _, c := range captures {
		r.addMismatch(o, c, now, cancelAfter)
	}
	for _, h := range holds {
		r.addHold(o, h, p, now)
	}
	return r
}

// hasten finds captures that wait for a time at which their hold will be gone.
// Again stays zero when anything else is under way.
func (r *Review) hasten(o Order, captures []Operation, holds []Authorization, p Policy, now time.Time) {
	if p.LastChanceSeconds == nil || o.Status != OrderApproved {
		return
	}
	dormant := 0
	for _, c := range captures {
		if c.State != Pending || !c.NotBefore.After(now) {
			continue
		}
		dormant++
		for _, h := range holds {
			if h.ID != c.AuthorizationID || h.CaptureBefore == nil {
				continue
			}
			if from := h.CaptureBefore.Add(-time.Duration(*p.LastChanceSeconds) * time.Second); now.Before(from) {
				r.again(from)
			} else {
				r.Hasten = append(r.Hasten, c.ID)
			}
		}
	}
	if dormant < o.LiveOperations {
		r.Again = time.Time{}
	}
}

func (r *Review) addMismatch(o Order, c Operation, now time.Time, cancelAfter time.Duration) {
	balance := c.RefundBalance()
	if balance == 0 {
		return
	}
	need := Need{Kind: Refund, CaptureID: c.ID, AuthorizationID: c.AuthorizationID, AmountCents: balance, Verdict: Cancel}
	switch {
	case o.Status == OrderCancelled:
		need.Rule = "the order is cancelled and its payment was captured"
	case o.Status.Open() && c.OrderTotalCents != o.TotalAmountCents:
		if since := o.TotalChangedAt; since != nil && now.Before(since.Add(cancelAfter)) {
			r.again(since.Add(cancelAfter))
			return
		}
		need.Rule = "the open order's total differs from the total it was captured for"
	default:
		return
	}
	r.Needs = append(r.Needs, need)
}

func (r *Review) addHold(o Order, h Authorization, p Policy, now time.Time) {
	if h.ClosedAt != nil {
		return
	}
	if h.Ended(now) {
		r.Expired = append(r.Expired, h.ID)
		return
	}
	if o.Status == OrderCancelled {
		r.Needs = append(r.Needs, Need{
			Kind: Void, AuthorizationID: h.ID, AmountCents: h.Left(), Verdict: Cancel, Rule: "the order is cancelled and its hold is still open",
		})
		return
	}
	// An order that money was given back for is not captured again by itself.
	wanted := o.Status == OrderApproved && o.RefundedCents == 0 && h.Left() > 0
	r.Plan = r.Plan || wanted
	if h.CaptureBefore == nil {
		return
	}
	r.again(*h.CaptureBefore)
	if p.LastChanceSeconds == nil {
		return
	}
	from := h.CaptureBefore.Add(-time.Duration(*p.LastChanceSeconds) * time.Second)
	if now.Before(from) {
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
