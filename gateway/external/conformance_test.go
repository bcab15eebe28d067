package external_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/external"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// faults are those of every fake, but the soft decline: the contract's error is
// final, and has no word for "later".
func faults() []gatewaytest.Fault {
	var out []gatewaytest.Fault
	for _, f := range gatewaytest.Faults() {
		if f.Name != "decline:2" {
			out = append(out, f)
		}
	}
	return out
}

func (w *world) harness(t *testing.T, async string) gatewaytest.Harness {
	return sandboxtest.On(w.sandbox, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, sandboxtest.Nobody(t)),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			h := gatewaytest.Hold{ID: w.hold(t, cents, async, sandboxtest.Scoped(kind, fault))}
			if kind == models.Refund {
				ev := w.Capture(t.Context(), request(models.Capture, h.ID, cents))
				if ev.Outcome != models.OutcomeConfirmed && ev.Outcome != models.OutcomeAccepted {
					t.Fatalf("capture before the refund: %+v", ev)
				}
				h.Capture = ev.GatewayTransactionID
			}
			return h
		},
		Faults:  faults(),
		Account: "external",
	})
}

// TestConformance: a gateway that answers at once.
func TestConformance(t *testing.T) {
	w := newWorld(t)
	gatewaytest.Run(t, w.harness(t, ""))
	var _ gateway.Gateway = w.Adapter
}

// TestConformanceLater: a gateway that accepts everything and calls back.
func TestConformanceLater(t *testing.T) {
	w := newWorld(t)
	h := w.harness(t, "10ms")
	h.Gateway = recorder{w.Adapter, w}
	h.Told = w.told
	if !*prove {
		h.Faults = slices.DeleteFunc(h.Faults, func(f gatewaytest.Fault) bool {
			return !slices.Contains(strings.Fields("drop_before charge_then_drop charge_then_500 book_after=150ms amnesia decline_hard expired wrong_amount wrong_currency"), f.Name)
		})
	}
	gatewaytest.Run(t, h)
}

// recorder keeps what was accepted, as the ledger does.
type recorder struct {
	*external.Adapter
	world *world
}

func (r recorder) keep(of gateway.Request, ev models.Evidence) models.Evidence {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	if _, there := r.world.accepted[of.Reference]; !there && ev.Outcome == models.OutcomeAccepted {
		r.world.accepted[of.Reference] = ev
	}
	return ev
}

func (r recorder) Capture(ctx context.Context, q gateway.Request) models.Evidence {
	return r.keep(q, r.Adapter.Capture(ctx, q))
}

func (r recorder) Refund(ctx context.Context, q gateway.Request) models.Evidence {
	return r.keep(q, r.Adapter.Refund(ctx, q))
}

func (r recorder) Void(ctx context.Context, q gateway.Request) models.Evidence {
	return r.keep(q, r.Adapter.Void(ctx, q))
}

// told is what the callbacks said, with the amount and the id that were answered.
func (w *world) told(_ *testing.T, r gateway.Request) []models.Evidence {
	w.mu.Lock()
	defer w.mu.Unlock()
	first, ok := w.accepted[r.Reference]
	var out []models.Evidence
	for _, n := range w.heard {
		if !ok || n.Transaction != first.Token {
			continue
		}
		ev := n.Evidence
		if ev.Outcome == models.OutcomeConfirmed {
			ev.AmountCents, ev.CurrencyCode, ev.GatewayTransactionID = first.AmountCents, first.CurrencyCode, first.GatewayTransactionID
		}
		out = append(out, ev)
	}
	return out
}
