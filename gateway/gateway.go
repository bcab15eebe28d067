package gateway

import (
	"context"
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
	// Accepted, None (the gateway was reached and has no such operation) or
	// Lost (could not tell). Whether None is conclusive is the caller's
	// business: see Capabilities.SettleAfter. The state of the hold alone is
	// Confirmed only when r.OnlyOne; else Confirmed with Foreign.
	LookUp(ctx context.Context, r Request) models.Evidence

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
	// OnlyOne: no other operation of this kind was ever asked of the hold.
	OnlyOne bool
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
	// SettleAfter is how long after the last send plus the claim's budget a
	// look-up's None is proof.
	SettleAfter time.Duration
	// MultiCapture: one hold can be captured several times.
	MultiCapture bool
	// HoldLife is how long a hold lives when the gateway names no end.
	HoldLife time.Duration
	// Async: results come later by webhook; Accepted is the usual answer.
	Async bool
}

// Accounts finds the adapter of a payment gateway by its slug.
type Accounts map[string]Gateway
