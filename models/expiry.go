package models

import (
	"fmt"
	"time"
)

// Who initiated a hold, as its end is estimated by.
const (
	ByCustomer = "customer"
	ByMerchant = "merchant"
)

// Who told when a hold ends.
const (
	ToldByGateway = "gateway"
	ToldByClient  = "client"
)

// warnings are the hours before a hold's end at which people are told.
var warnings = []int{48, 24}

// FirstWarning is how long before a hold's end it is looked at first.
func (t Tempo) FirstWarning() time.Duration { return t.Of(time.Duration(warnings[0]) * time.Hour) }

// LastWarning is how long before a hold's end people are told for the last time,
// and its renewal is due where the policy has it renewed.
func (t Tempo) LastWarning() time.Duration {
	return t.Of(time.Duration(warnings[len(warnings)-1]) * time.Hour)
}

// AtRisk is what is lost when the hold ends now: what the gateway has not taken
// of it, as far as the order still has to be paid.
func (a Authorization) AtRisk(o Order) int64 {
	if a.ClosedAt != nil || o.Closing() || o.RefundedCents > 0 {
		return 0
	}
	return max(0, min(a.AmountCents-a.ConfirmedCents, o.TotalAmountCents-o.CapturedCents))
}

// warn finds holds that end soon, whatever is under way on them and whether or
// not their order is approved yet. A hold that is being voided is let go.
func (r *Review) warn(o Order, captures []Operation, holds []Authorization, t Tempo, now time.Time) {
	for _, h := range holds {
		ends, cents := h.Deadline(), h.AtRisk(o)
		if ends == nil || cents == 0 || !now.Before(*ends) || h.leaving(captures) {
			continue
		}
		r.again(*ends)
		due := 0
		for _, hours := range warnings {
			if at := ends.Add(-t.Of(time.Duration(hours) * time.Hour)); now.Before(at) {
				r.again(at)
			} else {
				due = hours
			}
		}
		if due == 0 {
			continue
		}
		if r.Deadline == nil || ends.Before(*r.Deadline) {
			r.Deadline = ends
		}
		if h.WarnedHours == nil || *h.WarnedHours > due {
			r.Warnings = append(r.Warnings, Warning{
				AuthorizationID: h.ID, Hours: due, Cents: cents, Deadline: *ends, Rule: h.ending(due),
			})
		}
	}
}

func (a Authorization) ending(hours int) string {
	if a.CaptureBefore == nil {
		return fmt.Sprintf("the hold ends in less than %d hours as holds like it do; the gateway has not said when", hours)
	}
	return fmt.Sprintf("the hold ends in less than %d hours and is not captured", hours)
}

// leaving: what is under way on the hold is no capture, so it is a void.
func (a Authorization) leaving(captures []Operation) bool {
	if a.LiveOperationID == nil {
		return false
	}
	for _, c := range captures {
		if c.ID == *a.LiveOperationID {
			return false
		}
	}
	return true
}

// RenewalReference names the next renewal of a hold. Like the reference of an
// operation it is derived: asked for twice, also by a restored database, the
// gateway renews once.
func RenewalReference(account string, a Authorization) string {
	return "ren_" + GatewayReference(account, a.Origin(), "renewal", a.Renewals+1)
}

// DeadlineSource says where [Authorization.Deadline] is from: gateway, client or
// estimate; empty when there is none.
func (a Authorization) DeadlineSource() string {
	switch {
	case a.CaptureBefore != nil && a.CaptureBeforeSource != "":
		return a.CaptureBeforeSource
	case a.CaptureBefore != nil:
		return ToldByClient
	case a.EstimatedBefore != nil:
		return "estimate"
	}
	return ""
}

// ActVoid lets a hold go that nobody will capture.
const ActVoid = "void"

// HoldActions are what a person can do about a hold that is about to end, or has
// ended without being captured. Renewable: its gateway can renew one.
func HoldActions(a Authorization, now time.Time, renewable bool) []string {
	switch {
	case a.ClosedReason == ClosedExpired || a.ClosedReason == ClosedGone, a.ClosedAt == nil && a.Ended(now):
		return []string{ActNewAuthorization}
	case a.ClosedAt != nil || a.WarnedHours == nil || a.ConfirmedCents >= a.AmountCents:
		return []string{}
	case a.RenewingSince != nil || a.LiveOperationID != nil:
		return []string{} // its outcome comes first
	}
	if !renewable {
		return []string{ActCapture, ActVoid}
	}
	return []string{ActCapture, ActReauthorize, ActVoid}
}
