package models

// Why a person is needed, as [Judge] and [JudgeUnsent] find. All flags stand in
// needs_attention.
const (
	FlagAmount         = "amount_conflict"    // confirmed, or given again, with another amount
	FlagCurrency       = "currency_conflict"  // confirmed in another currency
	FlagOverCaptured   = "over_captured"      // the gateway took more than the hold
	FlagDuplicate      = "duplicate"          // another transaction at the gateway for the same thing
	FlagForeign        = "foreign_operation"  // the gateway did it under another reference
	FlagUnknown        = "unknown_too_long"   // no proof in a quarter of an hour
	FlagUnresolved     = "unresolved"         // no proof in thirty days: looks are weekly from here
	FlagTries          = "tries_exhausted"    // sent too often
	FlagBadRequest     = "bad_request"        // the gateway does not understand our request
	FlagConfig         = "credentials_refuse" // the credentials work, but not for this row
	FlagLateSuccess    = "late_success"       // it took effect after we had given it up
	FlagReversed       = "reversed"           // taken back by the gateway, or told to stand again after that
	FlagPartlyReversed = "partly_reversed"    // a part was taken back by the gateway, the rest stands
	FlagNotBooked      = "not_booked"         // recorded here, and not booked at the gateway
	FlagOrderChanged   = "order_changed"      // the order was changed outside Capstan after the capture was made
	FlagNotThere       = "not_there"          // adopted from a gateway's list, and its look-up does not find it
	FlagWord           = "word_needed"        // a person moves the money, and has to say what became of it
	FlagNoLookUp       = "no_look_up"         // no proof, and a gateway that cannot be asked: its webhook, its report or a person tells
)

// Why a person is needed, as [Compare] and [ReviewOrder] find.
const (
	// FlagForeignRefund: the capture was refunded at the gateway by somebody else.
	FlagForeignRefund = "foreign_refund"
	// FlagAboveTotal: an approved order's captures stand above its total, and
	// nothing gives the difference back by itself.
	FlagAboveTotal = "above_total"
)

// Flags lists every reason that [Judge] and [JudgeUnsent] give.
var Flags = []string{
	FlagAmount, FlagCurrency, FlagOverCaptured, FlagDuplicate, FlagForeign, FlagUnknown, FlagUnresolved, FlagTries, FlagBadRequest, FlagConfig,
	FlagLateSuccess, FlagReversed, FlagPartlyReversed, FlagNotBooked, FlagOrderChanged, FlagNotThere, FlagNoLookUp, FlagWord,
}

// ErrorHoldEnded is the error code of an operation whose hold ended before it
// took effect, in words of ours and of no provider.
const ErrorHoldEnded = "authorization_expired"

// TakenBackFlag reports whether an operation carries a flag that says that the
// gateway took money of it back. Of a capture that means that the payer may have
// a part of it already: until a person acknowledged it, nothing more is given back.
func (o Operation) TakenBackFlag() bool {
	return o.NeedsAttention == FlagReversed || o.NeedsAttention == FlagPartlyReversed
}
