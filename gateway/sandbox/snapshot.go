package sandbox

import "time"

// Snapshot is the whole book at one moment, as GET /_sandbox/book answers it.
// Amounts are in the smallest unit of Stripe's wire.
type Snapshot struct {
	Holds      []Hold      `json:"holds"`
	Captures   []Booking   `json:"captures"`
	Refunds    []Booking   `json:"refunds"`
	Cancels    []Booking   `json:"cancels"`
	Violations []Violation `json:"violations"`
	Requests   []Request   `json:"requests"`
	// Disputes took money back; DisputesWon gave it again.
	Disputes    []Booking `json:"disputes,omitempty"`
	DisputesWon []Booking `json:"disputes_won,omitempty"`
}

// Hold is a PaymentIntent as it stands.
type Hold struct {
	ID            string            `json:"id"`
	Charge        string            `json:"charge,omitempty"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Captured      int64             `json:"captured"`
	Refunded      int64             `json:"refunded"`
	Status        string            `json:"status"`
	CaptureBefore time.Time         `json:"capture_before,omitzero"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
}

// Booking is one movement: a capture, a refund, or the release of a hold.
type Booking struct {
	ID        string    `json:"id"`
	Hold      string    `json:"hold"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	Reference string    `json:"reference,omitempty"`
	Key       string    `json:"key,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Fault     string    `json:"fault,omitempty"`
	At        time.Time `json:"at"`
}

// Violation is something that must never be asked of a gateway, or never be
// booked, and was refused.
type Violation struct {
	Hold      string    `json:"hold"`
	Amount    int64     `json:"amount"`
	Detail    string    `json:"detail"`
	Reference string    `json:"reference,omitempty"`
	Key       string    `json:"key,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	At        time.Time `json:"at"`
}

// Request is one call that arrived, in order of arrival. The oldest are
// forgotten first.
type Request struct {
	ID   string `json:"id"`
	Call string `json:"call"`
	// Hold and Reference are as the caller sent them.
	Hold      string `json:"hold,omitempty"`
	Reference string `json:"reference,omitempty"`
	Amount    string `json:"amount,omitempty"`
	Key       string `json:"key,omitempty"`
	// At is when the request had been read, before anything was done for it.
	At time.Time `json:"at"`
	// Fault is the mode that met it. Status is 0 while it runs and when it was
	// never answered.
	Fault    string `json:"fault,omitempty"`
	Status   int    `json:"status"`
	Replayed bool   `json:"replayed,omitempty"`
}
