package gateway

import (
	"errors"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// Notice is one webhook of a provider, verified and translated. It belongs to
// a hold, and to one operation only when Reference names it.
type Notice struct {
	// EventID is the provider's id of the event; the same event may come often.
	EventID string
	// Type is the provider's own word, for people.
	Type string
	// At is when the provider says it happened. Notices arrive in any order.
	At time.Time
	// Live is false for events of a test account.
	Live bool
	// Hold is the authorization's id at the gateway, empty when the event names none.
	Hold string
	// Kind is the kind of operation the event is about, empty when it is about
	// the hold as a whole or about nothing Capstan knows.
	Kind models.Kind
	// Reference is the operation's derived name, when the event carries one.
	Reference string
	// Transaction is the token that the gateway gave an operation when it accepted
	// it, where the event names it by that.
	Transaction string
	// AsAnswered: the event cannot change the amount and the ids that the gateway
	// answered when it accepted the operation. Those are believed, and Evidence's
	// own only compared with them.
	AsAnswered bool
	// Evidence is what the event proves. OutcomeLost proves nothing: it is a
	// hint to look up every open operation of Hold.
	Evidence models.Evidence
}

var (
	// ErrSignature: the message is not proven to come from the provider. Answer
	// 401, count it, and keep nothing of it.
	ErrSignature = errors.New("webhook not verified")
	// ErrUnreadable: the message is genuine and cannot be understood.
	ErrUnreadable = errors.New("webhook not understood")
	// ErrCredentials is wrapped by what Probe returns when, and only when, the
	// provider itself refused the account's credentials. Any other error of
	// Probe means that the provider could not be asked.
	ErrCredentials = errors.New("the gateway refuses the credentials")
)

// What a person can do about an operation that did not come off, in
// [models.Evidence].NextAction: the same words from every adapter.
const (
	NextCancel      = "cancel" // it cannot be done like this: the order, or what is left of it, is given up
	NextReauthorize = "reauthorize"
	NextRetry       = "retry"
	NextContact     = "contact gateway"
)
