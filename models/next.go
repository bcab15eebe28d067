package models

import "slices"

// What a person can do about an operation. All down to acknowledge are actions of
// the API, which checks its own guards and says which one failed.
const (
	ActForward          = "forward"           // look now; with proof, record the success
	ActAssert           = "assert"            // say, and answer for it, that it took effect or that it did not
	ActRetry            = "retry"             // look now; what is open goes on, what failed is asked for anew
	ActCancel           = "cancel"            // give the money of a mismatched capture back; for one not taken, cancel its order
	ActRefund           = "refund"            // give money of a capture back
	ActRefundByHand     = "refund_by_hand"    // give money of a capture back without its gateway, and record that
	ActAcknowledge      = "acknowledge"       // clear the flag of what has ended and was dealt with
	ActReauthorize      = "reauthorize"       // renew the hold, where the gateway can
	ActContactGateway   = "contact_gateway"   // ask the gateway's support: its book and ours differ
	ActNewAuthorization = "new_authorization" // ask the payer for a new payment
)

// Actions lists every action, in the order in which they are offered.
var Actions = []string{
	ActForward, ActAssert, ActRetry, ActCancel, ActRefund, ActRefundByHand, ActAcknowledge, ActReauthorize, ActContactGateway, ActNewAuthorization,
}

// asksGateway are the flags whose answer only the gateway's people have.
var asksGateway = []string{
	FlagAmount, FlagCurrency, FlagOverCaptured, FlagDuplicate, FlagForeign, FlagUnresolved, FlagBadRequest, FlagConfig, FlagReversed, FlagPartlyReversed, FlagNotBooked, FlagNotThere, FlagNoLookUp,
}

// NextActions says what a person can do about an operation as it stands, the
// harmless first. It is empty when nothing waits for anybody.
func NextActions(o Operation) []string { return NextActionsOn(o, nil) }

// NextActionsOn is [NextActions] where the operation's hold is known: of one that
// has ended nothing can be taken again. Nil is a hold that was not read.
func NextActionsOn(o Operation, hold *Authorization) []string {
	can := map[string]bool{
		ActContactGateway: slices.Contains(asksGateway, o.NeedsAttention),
		ActAcknowledge:    o.NeedsAttention != "" && !o.State.Live(),
	}
	switch o.State {
	case Pending:
		can[ActRetry] = true
		can[ActForward] = o.SentVersion != nil
		can[ActCancel] = o.Kind == Capture
	case Submitted, Unknown:
		can[ActAssert] = o.NeedsAttention == FlagWord || o.NeedsAttention == FlagNoLookUp
		can[ActForward], can[ActRetry] = o.NeedsAttention != FlagWord, o.NeedsAttention != FlagWord
	case Succeeded:
		returnable := o.RefundBalance() > 0 && !o.TakenBackFlag()
		can[ActCancel], can[ActRefund] = returnable && !o.Manual(), returnable && !o.Manual()
		can[ActRefundByHand] = returnable && o.Manual()
	case Failed:
		can[ActForward] = o.SentVersion != nil
		// What has ended cannot be renewed either, at any gateway.
		ended := o.ErrorCode == ErrorHoldEnded || hold != nil && (hold.ClosedReason == ClosedExpired || hold.ClosedReason == ClosedGone)
		can[ActRetry] = !ended || o.Kind == Refund
		can[ActNewAuthorization] = o.Kind == Capture
	case Cancelled:
		can[ActForward] = o.SentVersion != nil
	case Reversed:
		// A look-up often says no more than that it was taken once: what was taken
		// back is not forwarded for that.
		can[ActForward] = o.Kind != Capture
		can[ActNewAuthorization] = o.Kind == Capture
	}
	var next []string
	for _, a := range Actions {
		if can[a] {
			next = append(next, a)
		}
	}
	return next
}
