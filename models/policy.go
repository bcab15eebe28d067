package models

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Trigger says on which occasion a payment method captures by itself.
type Trigger string

// The triggers.
const (
	TriggerApproval      Trigger = "approval"
	TriggerAuthorization Trigger = "authorization"
	TriggerFulfillment   Trigger = "fulfillment"
	TriggerDelay         Trigger = "delay" // CaptureDelaySeconds after approval
	TriggerAt            Trigger = "at"    // at the order's CaptureAt
	TriggerManual        Trigger = "manual"
)

// Triggers lists every trigger.
var Triggers = []Trigger{TriggerApproval, TriggerAuthorization, TriggerFulfillment, TriggerDelay, TriggerAt, TriggerManual}

// Cause says why an operation exists. An automatic cause captures a hold once,
// over all states: a unique index keeps it.
type Cause string

// The causes.
const (
	CauseApproval      Cause = "approval"
	CauseAuthorization Cause = "authorization"
	CauseFulfillment   Cause = "fulfillment"
	CauseDelay         Cause = "delay"
	CauseAt            Cause = "at"
	CauseLastChance    Cause = "last_chance"
	CauseManual        Cause = "manual"     // by a person or a client
	CauseCancel        Cause = "cancel"     // by the cancel of a mismatched capture or a cancelled order
	CauseDifference    Cause = "difference" // what an approved order's captures stand above its total
	CauseAdopted       Cause = "adopted"    // it happened at the gateway without us: recorded with proof, never sent
)

// Policy is how a payment method captures.
type Policy struct {
	// AutoCapture false means manual, whatever else is set.
	AutoCapture bool `bun:"auto_capture"`
	// AutoCaptureMaxAmountCents bounds the order total, inclusive, for every
	// automatic cause. Nil is no bound.
	AutoCaptureMaxAmountCents *int64  `bun:"auto_capture_max_amount_cents"`
	CaptureTrigger            Trigger `bun:"capture_trigger"`
	CaptureDelaySeconds       int64   `bun:"capture_delay_seconds"`
	// RequireCapture holds fulfillment back until the order is paid.
	RequireCapture bool `bun:"require_capture"`
	// LastChanceSeconds before a hold ends, an approved order is captured
	// whatever its trigger. Nil is off.
	LastChanceSeconds *int64 `bun:"last_chance_seconds"`
	// RefundDifference gives back by itself what an approved order's captures
	// stand above its total. Off, the difference is only shown.
	RefundDifference bool `bun:"refund_difference"`
	// Reauthorize renews a hold whose guarantee ends, where the gateway can.
	Reauthorize bool `bun:"reauthorize"`
}

// maxDelay bounds CaptureDelaySeconds and LastChanceSeconds: no hold lives longer.
const maxDelay = int64(366 * 24 * time.Hour / time.Second)

// Validate names every setting that contradicts itself.
func (p Policy) Validate() error {
	var errs []error
	if !slices.Contains(Triggers, p.CaptureTrigger) {
		errs = append(errs, fmt.Errorf("capture_trigger %q: must be one of %v", p.CaptureTrigger, Triggers))
	}
	if p.AutoCaptureMaxAmountCents != nil && (*p.AutoCaptureMaxAmountCents < 0 || *p.AutoCaptureMaxAmountCents > MaxCents) {
		errs = append(errs, fmt.Errorf("auto_capture_max_amount_cents %d: must be from 0 to %d", *p.AutoCaptureMaxAmountCents, MaxCents))
	}
	if p.CaptureDelaySeconds < 0 || p.CaptureDelaySeconds > maxDelay {
		errs = append(errs, fmt.Errorf("capture_delay_seconds %d: must be from 0 to %d", p.CaptureDelaySeconds, maxDelay))
	}
	if p.CaptureTrigger == TriggerDelay && p.CaptureDelaySeconds == 0 {
		errs = append(errs, errors.New("capture_delay_seconds 0: the trigger delay needs a delay, or use the trigger approval"))
	}
	if p.LastChanceSeconds != nil && (*p.LastChanceSeconds <= 0 || *p.LastChanceSeconds > maxDelay) {
		errs = append(errs, fmt.Errorf("last_chance_seconds %d: must be from 1 to %d, or null for off", *p.LastChanceSeconds, maxDelay))
	}
	return errors.Join(errs...)
}

// Occasion is what just happened to an order.
type Occasion string

// The occasions.
const (
	OnApproval      Occasion = "approval"
	OnAuthorization Occasion = "authorization" // a hold arrived
	OnFulfillment   Occasion = "fulfillment"
	OnLastChance    Occasion = "last_chance"
)

// Occasions lists every occasion.
var Occasions = []Occasion{OnApproval, OnAuthorization, OnFulfillment, OnLastChance}

// Hold is an authorization with the automatic causes it was captured for, in
// whatever state those captures are.
type Hold struct {
	Authorization
	Causes []Cause
}

// Wanted is one capture that the policy asks for.
type Wanted struct {
	AuthorizationID string
	AmountCents     int64
	Cause           Cause
	DueAt           time.Time
}

// Plan returns the captures that p wants of an order's holds on an occasion:
// the oldest hold first, each as much as hold and order still allow. holds are
// in the order they were made.
func Plan(p Policy, o Order, holds []Hold, on Occasion, now time.Time) []Wanted {
	cause, due, ok := p.decide(o, on, now)
	if !ok {
		return nil
	}
	var wanted []Wanted
	left := o.Left()
	for _, h := range holds {
		amount := min(h.Left(), left)
		if amount <= 0 || h.busy() || h.Ended(now) || slices.Contains(h.Causes, cause) {
			continue
		}
		wanted = append(wanted, Wanted{AuthorizationID: h.ID, AmountCents: amount, Cause: cause, DueAt: due})
		left -= amount
	}
	return wanted
}

func (h Hold) busy() bool { return h.LiveOperationID != nil || h.RenewingSince != nil }

// Ended reports whether the hold's last moment has passed.
func (a Authorization) Ended(now time.Time) bool {
	return a.CaptureBefore != nil && !now.Before(*a.CaptureBefore)
}

// decide says whether the occasion is one to capture on, for which cause, and
// when the capture is due.
func (p Policy) decide(o Order, on Occasion, now time.Time) (cause Cause, due time.Time, ok bool) {
	if o.Closing() || !p.covers(o.TotalAmountCents) {
		return "", now, false
	}
	approved := o.Status == OrderApproved
	if on == OnLastChance {
		return CauseLastChance, now, approved && p.LastChanceSeconds != nil
	}
	switch p.CaptureTrigger {
	case TriggerAuthorization:
		return CauseAuthorization, now, on == OnAuthorization || on == OnApproval
	case TriggerApproval:
		return CauseApproval, now, approved && on != OnFulfillment
	case TriggerDelay:
		if !approved || o.ApprovedAt == nil || on == OnFulfillment {
			return "", now, false
		}
		return CauseDelay, later(now, o.ApprovedAt.Add(time.Duration(p.CaptureDelaySeconds)*time.Second)), true
	case TriggerAt:
		if !approved || o.CaptureAt == nil || on == OnFulfillment {
			return "", now, false
		}
		return CauseAt, later(now, *o.CaptureAt), true
	case TriggerFulfillment:
		return CauseFulfillment, now, approved && (on == OnFulfillment || o.FulfillmentStatus != Unfulfilled)
	}
	return "", now, false // manual, or a word that Validate refuses
}

// covers reports whether anything of an order's total is captured without a person.
func (p Policy) covers(total int64) bool {
	return p.AutoCapture && total > 0 && (p.AutoCaptureMaxAmountCents == nil || total <= *p.AutoCaptureMaxAmountCents)
}

// Automatic reports whether an order of that total is captured by itself, now or
// on an occasion to come, so that nobody has to ask for it.
func (p Policy) Automatic(total int64) bool {
	return p.covers(total) && p.CaptureTrigger != TriggerManual
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
