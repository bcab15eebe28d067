package worker

import "time"

// Ledger is the part of the store that a Runner uses, for tests that wrap it.
type Ledger = ledger

// Wrap puts something between the runner and its ledger.
func (r *Runner) Wrap(wrap func(Ledger) Ledger) { r.ledger = wrap(r.ledger) }

// What the unit tables check.
var (
	RetryDelay = retryDelay
	IsFailure  = isFailure
	Every      = every
)

// DeliverySchedule is when a failed delivery is tried again.
var DeliverySchedule = deliverySchedule

// BreakAfter is how many calls in a row must go unanswered to open the breaker.
const BreakAfter = breakAfter

// NewLater makes the error that ends a task which is to come again.
func NewLater(reason string, at time.Time, failure bool) error {
	return &later{reason: reason, at: at, failure: failure}
}
