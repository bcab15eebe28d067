package sandbox

import "time"

// The types of entries in the book.
const (
	entryHold      = "hold"      // a PaymentIntent came into being or was confirmed
	entryUpdate    = "update"    // its metadata changed
	entryCapture   = "capture"   // money was taken
	entryRefund    = "refund"    // money was given back
	entryCancel    = "cancel"    // the hold was released
	entryAnswer    = "answer"    // an error that is repeated for its idempotency key
	entryViolation = "violation" // something that must never happen was refused
)

// entry is one line of the book. Applied in order they give the sandbox's
// whole state, so that a restart forgets nothing it had promised.
type entry struct {
	Type          string            `json:"type"`
	ID            string            `json:"id,omitempty"`
	Hold          string            `json:"hold,omitempty"`
	Charge        string            `json:"charge,omitempty"`
	Amount        int64             `json:"amount,omitempty"`
	Currency      string            `json:"currency,omitempty"`
	Reference     string            `json:"reference,omitempty"`
	Status        string            `json:"status,omitempty"`
	Method        string            `json:"capture_method,omitempty"`
	PaymentMethod string            `json:"payment_method,omitempty"`
	Reason        string            `json:"reason,omitempty"`
	Description   string            `json:"description,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	CaptureBefore time.Time         `json:"capture_before,omitzero"`
	Live          bool              `json:"live,omitempty"`
	Key           string            `json:"key,omitempty"`
	Print         string            `json:"print,omitempty"` // of the request under the key
	RequestID     string            `json:"request_id,omitempty"`
	Fault         string            `json:"fault,omitempty"`
	// AnswerStatus and Answer are what is repeated for the key where it is not
	// the plain success.
	AnswerStatus int    `json:"answer_status,omitempty"`
	Answer       string `json:"answer,omitempty"`
	Detail       string `json:"detail,omitempty"`
	// PayPal is set on what came over PayPal's wire.
	PayPal *paypalEntry `json:"paypal,omitempty"`
	// External is set on what came over the wire of external gateways.
	External *externalEntry `json:"external,omitempty"`
	// CheckoutCom is set on what came over Checkout.com's wire.
	CheckoutCom *checkoutEntry `json:"checkoutcom,omitempty"`
	// Braintree is set on what came over Braintree's wire.
	Braintree *braintreeEntry `json:"braintree,omitempty"`
	// Adyen is set on what came over Adyen's wire.
	Adyen *adyenEntry `json:"adyen,omitempty"`
	// Klarna is set on what came over Klarna's wire.
	Klarna *klarnaEntry `json:"klarna,omitempty"`
	At     time.Time    `json:"at"`
}
