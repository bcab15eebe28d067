package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// Gateway is one account at one provider. Implementations are safe for
// concurrent use and hold no state that matters after a crash.
//
// No method returns a Go error: whatever happens to the money is said in
// [models.Evidence], and what cannot be proven is models.OutcomeLost. Every
// method honours ctx's deadline and returns soon after it.
type Gateway interface {
	// Capabilities never changes during the life of the value.
	Capabilities() Capabilities

	// Authorize makes a hold, for tests, demos and shops that let Capstan make
	// it. Providers without it answer Refused with the reason.
	Authorize(ctx context.Context, r AuthorizeRequest) models.Evidence

	// Capture takes r.AmountCents of the hold. Called again with the same Key
	// inside Capabilities.IdempotencyWindow it moves no more money. The adapter
	// sends at most one request and never retries by itself.
	Capture(ctx context.Context, r Request) models.Evidence

	// Refund gives r.AmountCents of a capture back. The rules of Capture hold.
	Refund(ctx context.Context, r Request) models.Evidence

	// Void releases the hold. The rules of Capture hold.
	Void(ctx context.Context, r Request) models.Evidence

	// LookUp asks what became of the operation r describes, moving nothing. It
	// matches on r.Reference, and answers Confirmed, Refused, Declined,
	// Accepted, TakenBack (it took effect, and AmountCents of it were withdrawn
	// again), None (the gateway was reached and has no such operation) or Lost
	// (could not tell). Whether None is conclusive is the caller's
	// business: see Capabilities.SettleAfter. The state of the hold alone is
	// Confirmed only when r.OnlyOne; else Confirmed with Foreign. A provider that
	// cannot be asked answers [Unasked], whatever r says, without a call.
	LookUp(ctx context.Context, r Request) models.Evidence

	// Reauthorize renews the hold r.Hold for r.AmountCents. Confirmed carries the
	// hold's id from now on in GatewayTransactionID and its end in HoldEndsAt.
	// Providers without it answer Refused with the reason. The rules of Capture hold.
	Reauthorize(ctx context.Context, r Request) models.Evidence

	// Describe reads a hold, moving nothing. Its error wraps ErrUnsupported where
	// the provider cannot be asked, and ErrNoSuchHold where it was reached and
	// knows no such hold; any other says nothing about the hold.
	Describe(ctx context.Context, hold string) (HoldFacts, error)

	// List returns a page of what the provider booked in a span of time, oldest
	// first, moving nothing. Its error wraps ErrUnsupported where the provider has
	// no such list; after any other the same page may be asked for again.
	List(ctx context.Context, r ListRequest) (ListPage, error)

	// Probe makes a harmless call that needs the credentials. It tells a bad
	// account from a bad row: nil, or why the account cannot be used.
	Probe(ctx context.Context) error
}

// Request describes one operation to an adapter. It is the same for the call
// and for its look-up.
type Request struct {
	Kind models.Kind
	// Reference is the operation's derived name; it travels with the call.
	Reference string
	// Key is the idempotency key.
	Key          string
	AmountCents  int64
	CurrencyCode string
	// Hold is the authorization's id at the gateway.
	Hold string
	// Capture is the id at the gateway of the capture a refund returns.
	Capture string
	// Final: nothing more is taken from the hold afterwards.
	Final bool
	// Whole, with a refund: all of the capture goes back, so that an adapter may
	// void it where the provider still allows that. What it did stands in
	// Evidence.Message.
	Whole bool
	// OnlyOne: no other operation of this kind was ever asked of the hold.
	OnlyOne bool
	// CaptureAsked: a capture was asked of the hold before. With a void that says
	// that the hold may be captured after all, whatever our books say.
	CaptureAsked bool
	// HoldCents is the hold's full amount.
	HoldCents int64
}

// AuthorizeRequest describes a hold to be made.
type AuthorizeRequest struct {
	Reference    string
	Key          string
	AmountCents  int64
	CurrencyCode string
	// Source is the provider's token for the payer's means; never a card number.
	Source   string
	Metadata map[string]string
}

// Capabilities says what a provider does differently, so that the core need
// not know its name.
type Capabilities struct {
	Provider string
	// IdempotencyWindow is how long a key protects. Nothing is sent again under
	// a key older than this; zero means keys do not protect at all.
	IdempotencyWindow time.Duration
	// ReplaysErrors: an error answered once is repeated for the same key.
	ReplaysErrors bool
	// LookUp: the provider can be asked what became of an operation.
	LookUp bool
	// RepeatIsLookUp, without LookUp: sending the same key and body again inside
	// IdempotencyWindow moves nothing more, and answers what became of it. After
	// the window a person is called.
	RepeatIsLookUp bool
	// ByHand, without LookUp: no program moves the money. A person does, and says
	// so; Accepted is the answer to every call.
	ByHand bool
	// SettleAfter is how long after the last send plus the claim's budget a
	// look-up's None is proof.
	SettleAfter time.Duration
	// MultiCapture: one hold can be captured several times.
	MultiCapture bool
	// HoldLife is how long a hold lives when the gateway names no end.
	HoldLife time.Duration
	// HoldLives are the lives of holds by network and initiator, most special
	// first, when the gateway names no end. HoldLife is for all others.
	HoldLives []HoldLife
	// Reauthorize: a hold can be renewed.
	Reauthorize bool
	// Lists: the provider lists what it booked.
	Lists bool
	// UndoesByVoid: a capture that is not settled yet is undone by a void.
	UndoesByVoid bool
	// Async: results come later by webhook; Accepted is the usual answer.
	Async bool
	// CircuitAfter, if not 0: more than so many calls in a row without an answer
	// that proves something open a circuit that all processes share. Such a gateway
	// cannot be tried without effect: one operation a minute is the try.
	CircuitAfter int
}

// HoldLife is how long a hold lives. Empty members fit any.
type HoldLife struct {
	Network   string // visa, mastercard, …, in lower case
	Initiator string // customer or merchant
	Life      time.Duration
}

// LifeOf returns how long a hold lives as a rule; zero when nothing is known.
func (c Capabilities) LifeOf(network, initiator string) time.Duration {
	for _, l := range c.HoldLives {
		if (l.Network == "" || l.Network == network) && (l.Initiator == "" || l.Initiator == initiator) {
			return l.Life
		}
	}
	return c.HoldLife
}

// HoldFacts are what a provider says about a hold.
type HoldFacts struct {
	AmountCents   int64
	CapturedCents int64
	CurrencyCode  string
	// Open: it can still be captured.
	Open bool
	// Status is the provider's own word, for people.
	Status string
	// CaptureBefore is when it ends; nil when the provider does not say.
	CaptureBefore *time.Time
	// Network is visa, mastercard, …; Initiator customer or merchant; empty when
	// the provider does not say.
	Network, Initiator string
}

// ListRequest asks for the movements booked from From (inclusive) to To
// (exclusive).
type ListRequest struct {
	From, To time.Time
	// Cursor is the Next of the page before; empty for the first.
	Cursor string
}

// ListPage is a part of a list. Next is empty on the last page. A page may be
// empty and not the last.
type ListPage struct {
	Movements []models.Movement
	// Skipped counts the lines that are no movement of a payment: payouts, fees.
	Skipped int
	Next    string
}

var (
	// ErrUnsupported is wrapped where a provider cannot do what was asked for.
	ErrUnsupported = errors.New("the gateway does not offer this")
	// ErrNoSuchHold is wrapped when the provider was reached and has no such hold.
	ErrNoSuchHold = errors.New("the gateway has no such hold")
)

// Unasked is the answer of a LookUp where the provider has none.
func Unasked(provider string) models.Evidence {
	return models.Evidence{Source: models.FromLookUp, Outcome: models.OutcomeUnasked, Message: provider + " cannot be asked what became of an operation"}
}

// Accounts finds the adapter of a payment gateway by its slug.
type Accounts map[string]Gateway
