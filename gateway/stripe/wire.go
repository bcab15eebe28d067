package stripe

import (
	"encoding/json"
	"strings"
)

// metadataReference is the metadata key under which our reference travels.
const metadataReference = "capstan_reference"

// metadataAuthorization marks a hold that Capstan made itself. It is another
// key, so that a captured hold without our reference stays recognisable.
const metadataAuthorization = "capstan_authorization"

// The words of PaymentIntent.status.
const (
	statusRequiresPaymentMethod = "requires_payment_method"
	statusRequiresConfirmation  = "requires_confirmation"
	statusRequiresAction        = "requires_action"
	statusProcessing            = "processing"
	statusRequiresCapture       = "requires_capture"
	statusCanceled              = "canceled"
	statusSucceeded             = "succeeded"
)

// reasonExpired marks the refund that Stripe books when it releases a hold
// nobody captured. It moves no money that was ever taken.
const reasonExpired = "expired_uncaptured_charge"

// paymentIntent, charge and refund hold the few fields that are read. Whatever
// else an answer carries is dropped at the door.
type paymentIntent struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	Currency           string            `json:"currency"`
	Status             string            `json:"status"`
	CancellationReason string            `json:"cancellation_reason"`
	LatestCharge       expandable        `json:"latest_charge"`
	Metadata           map[string]string `json:"metadata"`
}

type charge struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountCaptured int64             `json:"amount_captured"`
	AmountRefunded int64             `json:"amount_refunded"`
	Captured       bool              `json:"captured"`
	Currency       string            `json:"currency"`
	PaymentIntent  expandable        `json:"payment_intent"`
	Metadata       map[string]string `json:"metadata"`
}

type refund struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Status        string            `json:"status"`
	Reason        string            `json:"reason"`
	FailureReason string            `json:"failure_reason"`
	PaymentIntent expandable        `json:"payment_intent"`
	Charge        expandable        `json:"charge"`
	Metadata      map[string]string `json:"metadata"`
}

type refundList struct {
	Object  string   `json:"object"`
	Data    []refund `json:"data"`
	HasMore bool     `json:"has_more"`
}

// apiError is the error object of an answer. Type is never empty: an error
// without it is no answer of Stripe's.
type apiError struct {
	Type          string         `json:"type"`
	Code          string         `json:"code"`
	DeclineCode   string         `json:"decline_code"`
	Message       string         `json:"message"`
	Param         string         `json:"param"`
	PaymentIntent *paymentIntent `json:"payment_intent"`
}

// expandable is a field that is an id, or the object itself when it was
// expanded, or null.
type expandable struct {
	ID  string
	raw json.RawMessage
}

// UnmarshalJSON takes all three forms.
func (e *expandable) UnmarshalJSON(b []byte) error {
	*e = expandable{}
	if strings.HasPrefix(string(b), `"`) {
		return json.Unmarshal(b, &e.ID)
	}
	var object struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(b, &object); err != nil {
		return err
	}
	e.ID, e.raw = object.ID, append(json.RawMessage(nil), b...)
	return nil
}

// object decodes the expanded object into v, and reports whether it was there.
func (e expandable) object(v any) bool {
	return len(e.raw) > 0 && string(e.raw) != "null" && json.Unmarshal(e.raw, v) == nil
}

// parseError returns the error object of an answer's body, or nil.
func parseError(body []byte) *apiError {
	var wrapped struct {
		Error *apiError `json:"error"`
	}
	if json.Unmarshal(body, &wrapped) != nil || wrapped.Error == nil || wrapped.Error.Type == "" {
		return nil
	}
	return wrapped.Error
}

func parseIntent(body []byte) (paymentIntent, bool) {
	var pi paymentIntent
	if json.Unmarshal(body, &pi) != nil || pi.Object != "payment_intent" || pi.ID == "" {
		return paymentIntent{}, false
	}
	return pi, true
}

func parseRefund(body []byte) (refund, bool) {
	var re refund
	if json.Unmarshal(body, &re) != nil || re.Object != "refund" || re.ID == "" {
		return refund{}, false
	}
	return re, true
}
