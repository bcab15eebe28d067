package manual

import (
	"context"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Provider is the name that rows carry.
const Provider = "manual"

// holdPrefix begins the ids of holds that are made here.
const holdPrefix = "manual_"

// life is how long a promise to pay stands when nobody names its end, and how
// long a repeated call is harmless: longer than any of them is open.
const life = 10 * 365 * 24 * time.Hour

// Adapter is an account that a person works. It implements [gateway.Gateway], is
// safe for concurrent use and keeps nothing.
type Adapter struct{}

var _ gateway.Gateway = (*Adapter)(nil)

// New returns the adapter.
func New() *Adapter { return &Adapter{} }

// Capabilities says that only a person knows.
func (*Adapter) Capabilities() gateway.Capabilities {
	return gateway.Capabilities{Provider: Provider, IdempotencyWindow: life, ByHand: true, MultiCapture: true, HoldLife: life, Async: true}
}

// Authorize makes a hold under an id that follows from r.Reference, so that the
// same again is the same hold.
func (*Adapter) Authorize(ctx context.Context, r gateway.AuthorizeRequest) models.Evidence {
	ev := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused}
	switch {
	case ctx.Err() != nil:
		return unsent(ctx)
	case r.Reference == "":
		ev.Message = "a hold of an account that a person works needs a reference, which its id follows from"
	case r.AmountCents <= 0 || r.CurrencyCode == "":
		ev.Message = fmt.Sprintf("a hold of %d %q is none", r.AmountCents, r.CurrencyCode)
	default:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.GatewayTransactionID = models.OutcomeConfirmed, r.AmountCents, r.CurrencyCode, holdPrefix+r.Reference
		ev.Message = "noted; nobody holds this money, the payer promised it"
	}
	return ev
}

// Capture asks a person to take the money.
func (*Adapter) Capture(ctx context.Context, r gateway.Request) models.Evidence {
	return asked(ctx, r, "take %d %s for %s, and say when it is there")
}

// Refund asks a person to give the money back.
func (*Adapter) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	return asked(ctx, r, "give %d %s of %s back, and say when that is done")
}

// Void asks a person to tell the payer that nothing is owed.
func (*Adapter) Void(ctx context.Context, r gateway.Request) models.Evidence {
	return asked(ctx, r, "release %d %s of %s, and say when that is done")
}

// asked is the answer to every operation. Its id at the gateway is our own
// reference: a bank statement has no other that is known beforehand.
func asked(ctx context.Context, r gateway.Request, words string) models.Evidence {
	if ctx.Err() != nil {
		return unsent(ctx)
	}
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeAccepted, GatewayTransactionID: r.Reference,
		Message: "a person moves this money: " + fmt.Sprintf(words, r.AmountCents, r.CurrencyCode, r.Hold),
	}
}

// unsent: whoever wanted it had gone, and nobody was asked.
func unsent(ctx context.Context) models.Evidence {
	return models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent, Message: context.Cause(ctx).Error()}
}

// LookUp asks nobody.
func (*Adapter) LookUp(context.Context, gateway.Request) models.Evidence {
	return gateway.Unasked(Provider)
}

// Reauthorize is refused: a promise is renewed by the payer.
func (*Adapter) Reauthorize(context.Context, gateway.Request) models.Evidence {
	return models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeRefused, Message: "no program renews a promise to pay; ask the payer for a new one"}
}

// Describe knows nothing of a hold.
func (*Adapter) Describe(context.Context, string) (gateway.HoldFacts, error) {
	return gateway.HoldFacts{}, fmt.Errorf("read a promise to pay: %w", gateway.ErrUnsupported)
}

// List has no list.
func (*Adapter) List(context.Context, gateway.ListRequest) (gateway.ListPage, error) {
	return gateway.ListPage{}, fmt.Errorf("list what a person moved: %w; import the bank's statement instead", gateway.ErrUnsupported)
}

// Probe finds nothing that could be wrong.
func (*Adapter) Probe(context.Context) error { return nil }
