package models

import "time"

// MovementKind is what a line of a gateway's own list says happened.
type MovementKind string

// The kinds of movement.
const (
	MovedCaptured   MovementKind = "captured"
	MovedRefunded   MovementKind = "refunded"
	MovedVoided     MovementKind = "voided"      // a hold ended uncaptured: voided or expired
	MovedTakenBack  MovementKind = "taken_back"  // a chargeback, or a capture that failed after it had succeeded
	MovedReinstated MovementKind = "reinstated"  // a chargeback that was won
	MovedFailed     MovementKind = "refund_lost" // a refund that came back
)

// Movement is one line of a gateway's own list of what it booked, or of its
// report. It is a fact about the gateway's book; what it means for ours is
// decided by comparing the two.
type Movement struct {
	// ID is the gateway's id of the line; the same line again has the same.
	ID   string       `json:"id"`
	Kind MovementKind `json:"kind"`
	// Hold is the gateway's id of the authorization; empty where the list does not say.
	Hold string `json:"hold,omitempty"`
	// Reference is the operation's derived name, where the list carries it.
	Reference string `json:"reference,omitempty"`
	// TransactionID is the gateway's id of the capture or the refund itself, as a
	// look-up of it tells it.
	TransactionID string    `json:"transaction_id,omitempty"`
	AmountCents   int64     `json:"amount_cents"`
	CurrencyCode  string    `json:"currency_code"`
	At            time.Time `json:"at"`
	Reason        string    `json:"reason,omitempty"`
}
