package models

import (
	"encoding/json"
	"time"
)

// Outcome is what is known about an operation after a call, a look-up or a
// message. The zero value is OutcomeLost: an answer that nobody classified
// proves nothing, and the money may have moved.
type Outcome int

// The outcomes.
const (
	OutcomeLost      Outcome = iota // nothing is proven
	OutcomeConfirmed                // it took effect
	OutcomeDeclined                 // it had no effect this time; later it may
	OutcomeRefused                  // it had no effect and never will
	OutcomeAccepted                 // the gateway decides later
	OutcomeNotSent                  // nothing reached the gateway's books: not dialled, throttled, breaker open
	OutcomeNone                     // look-up only: the gateway has no such operation
	OutcomeTakenBack                // it took effect, and the gateway took it back: a chargeback, a failed refund
	OutcomeUnasked                  // look-up only: the gateway has no way to be asked
)

var outcomeNames = [...]string{"lost", "confirmed", "declined", "refused", "accepted", "not_sent", "none", "taken_back", "unasked"}

// Outcomes lists every outcome.
var Outcomes = []Outcome{OutcomeLost, OutcomeConfirmed, OutcomeDeclined, OutcomeRefused, OutcomeAccepted, OutcomeNotSent, OutcomeNone, OutcomeTakenBack, OutcomeUnasked}

func (o Outcome) String() string { return outcomeNames[o] }

// MarshalText makes outcomes words in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Source is who says so.
type Source string

// Sources lists every source.
var Sources = []Source{FromAnswer, FromLookUp, FromWebhook, FromListing, FromOperator}

// The sources of evidence.
const (
	FromAnswer   Source = "answer"   // the gateway's answer to our own call
	FromLookUp   Source = "look_up"  // the gateway, asked
	FromWebhook  Source = "webhook"  // the gateway, by itself, signed
	FromListing  Source = "listing"  // a line of the gateway's own list or report
	FromOperator Source = "operator" // a person who vouches for it
)

// Class refines an outcome for the schedule and for people. Most are empty.
type Class string

// The classes that change what happens next.
const (
	ClassThrottled  Class = "throttled"   // with NotSent: the account is too fast
	ClassConfig     Class = "config"      // with NotSent: credentials or permission
	ClassBadRequest Class = "bad_request" // with Lost: the gateway does not understand us
	ClassInProgress Class = "in_progress" // with Lost: the same key is being worked on
	ClassUnmade     Class = "unmade"      // with NotSent: what is known here makes no call; that says nothing about the gateway
)

// Evidence is what a gateway, or a person, says about one operation. Adapters
// produce it; [Judge] decides what it does.
type Evidence struct {
	Source  Source  `json:"source"`
	Outcome Outcome `json:"outcome"`
	Class   Class   `json:"class,omitempty"`
	// HoldGone, with Refused: the hold cannot be captured any more.
	HoldGone bool `json:"hold_gone,omitempty"`
	// Answered: the gateway answered an error under this idempotency key and
	// may repeat that answer for ever. After proof of no effect the key rotates.
	Answered bool `json:"answered,omitempty"`
	// Foreign, with Confirmed: the gateway has such an operation, but under
	// another reference than ours.
	Foreign bool `json:"foreign,omitempty"`
	// AmountCents and CurrencyCode are what the gateway says it moved; with
	// TakenBack, what it took back.
	AmountCents int64 `json:"amount_cents,omitempty"`
	// TookCents, with TakenBack, is what it had moved before, where the gateway
	// says so.
	TookCents            int64  `json:"took_cents,omitempty"`
	CurrencyCode         string `json:"currency_code,omitempty"`
	GatewayTransactionID string `json:"gateway_transaction_id,omitempty"`
	RequestID            string `json:"request_id,omitempty"`
	Status               int    `json:"status,omitempty"` // HTTP status, 0 without an answer
	Message              string `json:"message,omitempty"`
	ErrorCode            string `json:"error_code,omitempty"`
	ErrorDetail          string `json:"error_detail,omitempty"`
	Token                string `json:"token,omitempty"`
	// Metadata is a JSON object of words and numbers that the gateway wants kept
	// with the operation, at most 2 KiB; what a client attached goes before it.
	Metadata string `json:"metadata,omitempty"`
	// NextAction is what a person can do: cancel, reauthorize, retry, contact gateway.
	NextAction string        `json:"next_action,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// HoldEndsAt is when the hold ends, where the gateway says so.
	HoldEndsAt *time.Time `json:"hold_ends_at,omitempty"`
	// By is the person's name, with FromOperator.
	By string `json:"by,omitempty"`
	// Mechanism, with FromOperator, is MechanismManual when it was done by a
	// person, and not through its gateway account.
	Mechanism string `json:"mechanism,omitempty"`
}

// MechanismManual is how a person does what no gateway is asked for. The
// published API of a peer calls it so.
const MechanismManual = "manual"

// asked: the gateway was asked, by a look-up or for its list, and this is no
// answer to a call of ours.
func (e Evidence) asked() bool { return e.Source == FromLookUp || e.Source == FromListing }

// JSON is the form in which evidence is kept. It holds no secret: adapters
// copy only listed fields of an answer.
func (e Evidence) JSON() json.RawMessage {
	b, err := json.Marshal(e)
	if err != nil {
		return json.RawMessage(`{}`) // a struct of strings and numbers always marshals
	}
	return b
}

// Verdict is the result of comparing our books with the gateway's.
type Verdict string

// The verdicts.
const (
	InSync         Verdict = "in_sync"
	Republish      Verdict = "republish"       // no task can be alive
	Forward        Verdict = "forward"         // the gateway has it, same amount and currency
	Retry          Verdict = "retry"           // conclusively not there, hold alive
	Fail           Verdict = "fail"            // hold gone, or refused for good
	Cancel         Verdict = "cancel"          // the money goes back, or the operation is withdrawn
	AmountConflict Verdict = "amount_conflict" // the gateway moved another amount or currency
	Duplicate      Verdict = "duplicate"       // more than one at the gateway
	LateSuccess    Verdict = "late_success"    // it took effect after we gave it up
	Expiring       Verdict = "expiring"
	Wait           Verdict = "wait"
	NeedsAttention Verdict = "needs_attention"
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{
	InSync, Republish, Forward, Retry, Fail, Cancel, AmountConflict, Duplicate, LateSuccess, Expiring, Wait, NeedsAttention,
}
