package models

import (
	"encoding/json"
	"time"
)

// Mode separates test money from live money. A token has one mode and sees
// rows of that mode only.
type Mode string

// The modes.
const (
	Test Mode = "test"
	Live Mode = "live"
)

// PaymentGateway is an account at a provider. Its credentials are named, never
// stored: the value is read from the environment by package config.
type PaymentGateway struct {
	ID           string     `bun:"id,pk"`
	Slug         string     `bun:"slug"`
	Provider     string     `bun:"provider"`
	Mode         Mode       `bun:"mode"`
	PausedAt     *time.Time `bun:"paused_at"`
	PausedReason string     `bun:"paused_reason,nullzero"`
	// DisabledAt is set beside PausedAt where a person did it: only a person undoes it.
	DisabledAt *time.Time `bun:"disabled_at"`
	// LookFirstSince and LookFirstUntil bound the time after a restore in which
	// even what was never sent is looked up first.
	LookFirstSince *time.Time `bun:"look_first_since"`
	LookFirstUntil *time.Time `bun:"look_first_until"`
	// CircuitFailures are the calls in a row that proved nothing; too many open the
	// circuit, and one operation a minute tries it, last at CircuitTriedAt.
	CircuitFailures int        `bun:"circuit_failures"`
	CircuitOpenedAt *time.Time `bun:"circuit_opened_at"`
	CircuitTriedAt  *time.Time `bun:"circuit_tried_at"`
	CreatedAt       time.Time  `bun:"created_at"`
	UpdatedAt       time.Time  `bun:"updated_at"`
}

// Labels are the attributes every resource of the published API has and
// Capstan stores for its clients without reading them.
type Labels struct {
	Reference       string          `bun:"reference,nullzero"`
	ReferenceOrigin string          `bun:"reference_origin,nullzero"`
	Metadata        json.RawMessage `bun:"metadata,type:jsonb"`
}

// PaymentMethod says how orders are paid, and carries the whole capture policy.
type PaymentMethod struct {
	ID                string `bun:"id,pk"`
	Mode              Mode   `bun:"mode"`
	PaymentGatewayID  string `bun:"payment_gateway_id"`
	Name              string `bun:"name"`
	PaymentSourceType string `bun:"payment_source_type"`
	CurrencyCode      string `bun:"currency_code"`
	Policy
	Labels
	CreatedAt time.Time `bun:"created_at"`
	UpdatedAt time.Time `bun:"updated_at"`
}

// Order is what the shop sells. Version rises with every change of its total;
// a capture remembers the version it was made under, or adjusted to.
type Order struct {
	ID                string            `bun:"id,pk"`
	Mode              Mode              `bun:"mode"`
	Number            int64             `bun:"number"`
	PaymentMethodID   string            `bun:"payment_method_id"`
	CurrencyCode      string            `bun:"currency_code"`
	TotalAmountCents  int64             `bun:"total_amount_cents"`
	Status            OrderStatus       `bun:"status"`
	PaymentStatus     PaymentStatus     `bun:"payment_status"`
	FulfillmentStatus FulfillmentStatus `bun:"fulfillment_status"`
	Version           int64             `bun:"version"`
	CaptureAt         *time.Time        `bun:"capture_at"`
	ApprovedAt        *time.Time        `bun:"approved_at"`
	CancelledAt       *time.Time        `bun:"cancelled_at"`
	// CancelRequestedAt is set when a cancel met a live operation: nothing new
	// is sent, and the order is cancelled once the outcome is known.
	CancelRequestedAt *time.Time `bun:"cancel_requested_at"`
	TotalChangedAt    *time.Time `bun:"total_changed_at"`
	HeldCents         int64      `bun:"held_cents"`
	VoidedCents       int64      `bun:"voided_cents"`
	CapturedCents     int64      `bun:"captured_cents"`
	RefundedCents     int64      `bun:"refunded_cents"`
	ResetCents        int64      `bun:"reset_cents"`
	// LiveCents is the sum of live captures: wanted, and not yet decided.
	LiveCents int64 `bun:"live_cents"`
	// LiveOperations counts live captures, refunds and voids.
	LiveOperations int `bun:"live_operations"`
	// Transactions counts the holds and operations numbered so far.
	Transactions int `bun:"transactions"`
	Labels
	CreatedAt time.Time `bun:"created_at"`
	UpdatedAt time.Time `bun:"updated_at"`
}

// Sums returns the order's money.
func (o Order) Sums() Sums {
	return Sums{
		Total: o.TotalAmountCents, Held: o.HeldCents, Voided: o.VoidedCents,
		Captured: o.CapturedCents, Refunded: o.RefundedCents, Reset: o.ResetCents,
	}
}

// Closing reports whether the order is cancelled or will be as soon as its live
// operation has an outcome. Nothing is sent for it any more.
func (o Order) Closing() bool {
	return o.Status == OrderCancelled || o.CancelRequestedAt != nil
}

// Left is how much of the total no capture covers or is about to cover.
func (o Order) Left() int64 {
	return max(0, o.TotalAmountCents-o.LiveCents-max(0, o.CapturedCents-o.RefundedCents))
}

// Authorization is a hold at the gateway.
type Authorization struct {
	ID                   string `bun:"id,pk"`
	Mode                 Mode   `bun:"mode"`
	Number               string `bun:"number"`
	OrderID              string `bun:"order_id"`
	PaymentGatewayID     string `bun:"payment_gateway_id"`
	GatewayTransactionID string `bun:"gateway_transaction_id"`
	CurrencyCode         string `bun:"currency_code"`
	AmountCents          int64  `bun:"amount_cents"`
	// FirstTransactionID is the id that the hold was registered under, once a
	// renewal gave it another. References are derived from it for ever.
	FirstTransactionID string `bun:"first_transaction_id,nullzero"`
	// CaptureBefore is what the gateway or the client said: nothing is sent after it.
	CaptureBefore *time.Time `bun:"capture_before"`
	// CaptureBeforeSource says who told CaptureBefore: gateway or client.
	CaptureBeforeSource string `bun:"capture_before_source,nullzero"`
	// EstimatedBefore is when a hold like this one ends as a rule. It warns and
	// sorts, and stops nothing.
	EstimatedBefore *time.Time `bun:"estimated_before"`
	// Network and Initiator (customer or merchant) are what the estimate rests on.
	Network   string `bun:"network,nullzero"`
	Initiator string `bun:"initiator,nullzero"`
	// WarnedHours is the nearest warning that was given: 48, 24, or nil.
	WarnedHours *int `bun:"warned_hours"`
	// Renewals counts the renewals that had an outcome; the next one's name is
	// derived from it. RenewingSince is the intent to renew: set before the call,
	// and cleared by its outcome. Nothing else is asked of the hold meanwhile.
	Renewals      int        `bun:"renewals"`
	RenewingSince *time.Time `bun:"renewing_since"`
	// RenewalError is why the last renewal was refused.
	RenewalError string `bun:"renewal_error,nullzero"`
	MultiCapture bool   `bun:"multi_capture"`
	// RequestedCents is what captures reserve or took, gross: a refund gives
	// nothing back to a hold. The database keeps it at or under AmountCents.
	RequestedCents int64 `bun:"requested_cents"`
	// ConfirmedCents is what the gateway says it took. It has no upper bound:
	// the truth must be recordable.
	ConfirmedCents  int64      `bun:"confirmed_cents"`
	ReturnedCents   int64      `bun:"returned_cents"`
	LiveOperationID *string    `bun:"live_operation_id"`
	ClosedAt        *time.Time `bun:"closed_at"`
	ClosedReason    string     `bun:"closed_reason,nullzero"`
	CaptureSequence int        `bun:"capture_sequence"`
	RefundSequence  int        `bun:"refund_sequence"`
	VoidSequence    int        `bun:"void_sequence"`
	Labels
	CreatedAt time.Time `bun:"created_at"`
	UpdatedAt time.Time `bun:"updated_at"`
}

// Why a hold takes no further operation.
const (
	ClosedCaptured = "captured" // a final capture took its share; the gateway released the rest
	ClosedVoided   = "voided"
	ClosedExpired  = "expired"
	ClosedGone     = "gone" // the gateway says it is not capturable any more
)

// Deadline is when the hold ends as far as anybody knows; nil when nobody does.
func (a Authorization) Deadline() *time.Time {
	if a.CaptureBefore != nil {
		return a.CaptureBefore
	}
	return a.EstimatedBefore
}

// Origin is the gateway's id that the references of the hold's operations are
// derived from.
func (a Authorization) Origin() string {
	if a.FirstTransactionID != "" {
		return a.FirstTransactionID
	}
	return a.GatewayTransactionID
}

// Left is what may still be asked of the hold.
func (a Authorization) Left() int64 {
	if a.ClosedAt != nil {
		return 0
	}
	return a.AmountCents - a.RequestedCents
}

// Operation is a capture, a refund or a void. A person in psql finds them in
// the tables captures, refunds and voids.
type Operation struct {
	Kind             Kind   `bun:"kind,pk"`
	ID               string `bun:"id,pk"`
	Mode             Mode   `bun:"mode"`
	Number           string `bun:"number"`
	OrderID          string `bun:"order_id"`
	AuthorizationID  string `bun:"authorization_id"`
	PaymentGatewayID string `bun:"payment_gateway_id"`
	// CaptureID is the capture a refund returns.
	CaptureID *string `bun:"capture_id"`
	Cause     Cause   `bun:"cause"`
	Sequence  int     `bun:"sequence"`
	// GatewayReference and KeyEpoch make the idempotency key.
	GatewayReference string `bun:"gateway_reference"`
	KeyEpoch         int    `bun:"key_epoch"`
	AmountCents      int64  `bun:"amount_cents"`
	CurrencyCode     string `bun:"currency_code"`
	ConfirmedCents   *int64 `bun:"confirmed_cents"`
	// ReservedCents is the part of the hold's requested sum this row stands for.
	ReservedCents int64 `bun:"reserved_cents"`
	// RefundRequestedCents and RefundedCents are what refunds of this capture
	// ask for and what they returned.
	RefundRequestedCents int64  `bun:"refund_requested_cents"`
	RefundedCents        int64  `bun:"refunded_cents"`
	OrderVersion         int64  `bun:"order_version"`
	OrderTotalCents      int64  `bun:"order_total_cents"`
	State                State  `bun:"state"`
	Version              int64  `bun:"version"`
	ChainHash            []byte `bun:"chain_hash"`
	// SentVersion is the version of the first claim that may have sent
	// anything; nil while it is proven that nothing ever was.
	SentVersion *int64     `bun:"sent_version"`
	LastSentAt  *time.Time `bun:"last_sent_at"`
	// LookFirst is set by a hint from outside: even a row never sent is looked up.
	LookFirst bool `bun:"look_first"`
	// Replayed is set once the gateway answered an error under the present
	// key, which it may repeat for ever: see [Evidence.Answered].
	Replayed   bool       `bun:"replayed"`
	LeaseUntil *time.Time `bun:"lease_until"`
	LeaseOwner string     `bun:"lease_owner,nullzero"`
	NextAt     *time.Time `bun:"next_at"`
	// NotBefore is the earliest send: a delay's end, or the next try after a
	// decline. Looks do not move it.
	NotBefore time.Time `bun:"not_before"`
	// RetryOf is the failed operation that a person had tried again as this one.
	RetryOf      *string    `bun:"retry_of"`
	Tries        int        `bun:"tries"`    // calls that may have had an effect and did not succeed
	LookUps      int        `bun:"look_ups"` // looks in a row that settled nothing
	Unsent       int        `bun:"unsent"`   // calls in a row that provably did not leave
	UnknownSince *time.Time `bun:"unknown_since"`
	// NeedsAttention is why a person is needed; empty when none is.
	NeedsAttention       string `bun:"needs_attention,nullzero"`
	GatewayTransactionID string `bun:"gateway_transaction_id,nullzero"`
	GatewayRequestID     string `bun:"gateway_request_id,nullzero"`
	Message              string `bun:"message,nullzero"`
	ErrorCode            string `bun:"error_code,nullzero"`
	ErrorDetail          string `bun:"error_detail,nullzero"`
	Token                string `bun:"token,nullzero"`
	// AssertedBy is the person whose word is its only proof; empty where a gateway
	// told. Mechanism is MechanismManual where it was done by a person, and not
	// through its gateway account.
	AssertedBy string     `bun:"asserted_by,nullzero"`
	Mechanism  string     `bun:"mechanism,nullzero"`
	FinishedAt *time.Time `bun:"finished_at"`
	Labels
	CreatedAt time.Time `bun:"created_at"`
	UpdatedAt time.Time `bun:"updated_at"`
}

// IdempotencyKey is the key of the operation's present epoch.
func (o Operation) IdempotencyKey() string {
	return IdempotencyKey(o.GatewayReference, o.KeyEpoch)
}

// RefundBalance is what may still be refunded of a capture: nothing unless it
// stands as succeeded.
func (o Operation) RefundBalance() int64 {
	if o.Kind != Capture || o.State != Succeeded || o.ConfirmedCents == nil {
		return 0
	}
	return max(0, *o.ConfirmedCents-o.RefundRequestedCents)
}

// HistoryRow is one step of an operation, insert-only, chained by hash. The
// claim's step is its attempt row, which the attempts table holds.
type HistoryRow struct {
	OperationID          string          `bun:"operation_id"`
	Version              int64           `bun:"version"`
	Event                Event           `bun:"event"`
	From                 State           `bun:"from_state"`
	To                   State           `bun:"to_state"`
	Actor                string          `bun:"actor"`
	Reason               string          `bun:"reason"`
	AmountCents          *int64          `bun:"amount_cents"`
	CurrencyCode         string          `bun:"currency_code"`
	GatewayTransactionID string          `bun:"gateway_transaction_id"`
	Evidence             json.RawMessage `bun:"evidence,type:jsonb"`
	OccurredAt           time.Time       `bun:"occurred_at"`
	Hash                 []byte          `bun:"hash"`
}
