package models

// Ruling is one rule's word on something: its verdict, its stable name, and
// its sentence.
type Ruling struct {
	Verdict Verdict
	Name    string
	Rule    string
}

// What a review of an order does beside moving money: see [Review.Rulings].
const (
	RuleHoldExpired = "the hold passed its last moment"
	RuleHasten      = "last chance: the hold ends before the capture's own time"
	RulePlan        = "the approved order has a free hold that its policy captures"
	RuleLastChance  = "last chance: the hold is about to end"
)

// Rulings lists what a review found, one entry for each thing that the sweep
// does or shows about it.
func (r Review) Rulings() []Ruling {
	var all []Ruling
	for _, n := range r.Needs {
		all = append(all, n.Ruling())
	}
	for _, n := range r.Withheld {
		all = append(all, Ruling{n.Verdict, "refund_withheld", n.Rule})
	}
	if r.Difference != nil {
		all = append(all, Ruling{NeedsAttention, "difference_shown", r.Difference.Rule})
	}
	for _, w := range r.Warnings {
		all = append(all, Ruling{Expiring, "hold_ends_soon", w.Rule})
	}
	for range r.Expired {
		all = append(all, Ruling{Expiring, "hold_expired", RuleHoldExpired})
	}
	for range r.Hasten {
		all = append(all, Ruling{Expiring, "hastened", RuleHasten})
	}
	if r.Plan {
		all = append(all, Ruling{Retry, "hold_is_free", RulePlan})
	}
	if r.LastChance {
		all = append(all, Ruling{Expiring, "last_chance", RuleLastChance})
	}
	return all
}

// Ruling says why an operation is needed.
func (n Need) Ruling() Ruling {
	name := "cancel_capture"
	switch {
	case n.Kind == Void:
		name = "cancel_hold"
	case n.Cause == CauseDifference:
		name = "difference_returned"
	}
	return Ruling{n.Verdict, name, n.Rule}
}
