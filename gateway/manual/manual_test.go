package manual_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/models"
)

// The conformance suite drives calls over a network to a fake with a book. This
// adapter calls nobody and keeps no book, so what the suite asks of the rest is
// asked here directly.

func calls(a *manual.Adapter) map[models.Kind]func(context.Context, gateway.Request) models.Evidence {
	return map[models.Kind]func(context.Context, gateway.Request) models.Evidence{models.Capture: a.Capture, models.Refund: a.Refund, models.Void: a.Void}
}

func request(kind models.Kind) gateway.Request {
	reference := models.GatewayReference("manual", "INV-7", kind, 1)
	return gateway.Request{Kind: kind, Reference: reference, Key: models.IdempotencyKey(reference, 0), AmountCents: 1500, CurrencyCode: "EUR", Hold: "INV-7", HoldCents: 1500, OnlyOne: true}
}

func TestAHoldFollowsFromItsReference(t *testing.T) {
	a := manual.New()
	r := gateway.AuthorizeRequest{Reference: "order-7", AmountCents: 1500, CurrencyCode: "EUR"}
	first, again := a.Authorize(t.Context(), r), a.Authorize(t.Context(), r)
	if first.Outcome != models.OutcomeConfirmed || first.AmountCents != 1500 || first.CurrencyCode != "EUR" || first.GatewayTransactionID == "" || !cmp.Equal(first, again) {
		t.Errorf("got %s, then %s", first.JSON(), again.JSON())
	}
	r.Reference = "order-8"
	if other := a.Authorize(t.Context(), r); other.GatewayTransactionID == first.GatewayTransactionID {
		t.Errorf("two references, one hold %s", other.GatewayTransactionID)
	}
	for _, bad := range []gateway.AuthorizeRequest{{AmountCents: 1500, CurrencyCode: "EUR"}, {Reference: "r", CurrencyCode: "EUR"}, {Reference: "r", AmountCents: -1, CurrencyCode: "EUR"}, {Reference: "r", AmountCents: 1}} {
		if ev := a.Authorize(t.Context(), bad); ev.Outcome != models.OutcomeRefused || ev.Message == "" || ev.GatewayTransactionID != "" {
			t.Errorf("%+v: got %s", bad, ev.JSON())
		}
	}
}

// A person is asked, and nothing is known before they say so: not from the same
// call again, nor from many at once, nor from a look.
func TestAPersonIsAsked(t *testing.T) {
	a := manual.New()
	for kind, call := range calls(a) {
		r := request(kind)
		first := call(t.Context(), r)
		if first.Outcome != models.OutcomeAccepted || first.Source != models.FromAnswer || first.GatewayTransactionID != r.Reference || !strings.Contains(first.Message, "INV-7") {
			t.Errorf("%s: got %s", kind, first.JSON())
		}
		var group sync.WaitGroup
		answers := make([]models.Evidence, 8)
		for i := range answers {
			group.Go(func() { answers[i] = call(t.Context(), r) })
		}
		group.Wait()
		for _, again := range answers {
			if !cmp.Equal(first, again) {
				t.Errorf("%s: the same again says %s", kind, again.JSON())
			}
		}
		if ev := a.LookUp(t.Context(), r); !cmp.Equal(ev, gateway.Unasked(manual.Provider)) {
			t.Errorf("%s: a look says %s", kind, ev.JSON())
		}
	}
}

// Whoever has gone asked for nothing.
func TestCancelledBefore(t *testing.T) {
	a := manual.New()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for kind, call := range calls(a) {
		if ev := call(ctx, request(kind)); ev.Outcome != models.OutcomeNotSent {
			t.Errorf("%s: got %s", kind, ev.JSON())
		}
	}
	if ev := a.Authorize(ctx, gateway.AuthorizeRequest{Reference: "r", AmountCents: 1, CurrencyCode: "EUR"}); ev.Outcome != models.OutcomeNotSent {
		t.Errorf("a hold: got %s", ev.JSON())
	}
}

func TestWhatItSaysOfItself(t *testing.T) {
	a := manual.New()
	c := a.Capabilities()
	if !c.ByHand || c.LookUp || c.RepeatIsLookUp || c.Lists || c.Reauthorize || c.UndoesByVoid || c.HoldLife <= 0 || c.Provider != manual.Provider || !cmp.Equal(c, a.Capabilities()) {
		t.Errorf("capabilities: %+v", c)
	}
	if err := a.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	if _, err := a.Describe(t.Context(), "INV-7"); !errors.Is(err, gateway.ErrUnsupported) {
		t.Errorf("describe: %v", err)
	}
	if _, err := a.List(t.Context(), gateway.ListRequest{}); !errors.Is(err, gateway.ErrUnsupported) {
		t.Errorf("list: %v", err)
	}
	if ev := a.Reauthorize(t.Context(), request(models.Capture)); ev.Outcome != models.OutcomeRefused || ev.Message == "" {
		t.Errorf("reauthorize: %s", ev.JSON())
	}
}
