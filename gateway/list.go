package gateway

import (
	"fmt"
	"time"
)

// CallError is why a call that moves nothing, such as [Gateway.List], failed.
// The same call may be made again.
type CallError struct {
	// Tried says what was tried, on which account.
	Tried string
	// Status is the HTTP status; 0 when no whole answer came.
	Status int
	// Throttled: the provider asked to slow down. RetryAfter is for how long; zero
	// when it did not say.
	Throttled  bool
	RetryAfter time.Duration
	Err        error
}

func (e *CallError) Error() string {
	switch {
	case e.Throttled:
		return fmt.Sprintf("%s: the gateway asks to slow down (status %d): %v", e.Tried, e.Status, e.Err)
	case e.Status == 0:
		return fmt.Sprintf("%s: %v", e.Tried, e.Err)
	}
	return fmt.Sprintf("%s: status %d: %v", e.Tried, e.Status, e.Err)
}

// Unwrap gives the cause.
func (e *CallError) Unwrap() error { return e.Err }

// Unanswered reports whether the provider failed to answer, rather than
// answering something else than was asked for.
func (e *CallError) Unanswered() bool { return e.Status == 0 || e.Status >= 500 }
