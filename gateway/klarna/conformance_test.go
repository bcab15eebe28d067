package klarna_test

import (
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/klarna"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

func TestConformance(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	gatewaytest.Run(t, sandboxtest.On(w.sandbox, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, klarna.Config{BaseURL: sandboxtest.Nobody(t)}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			fault = sandboxtest.Scoped(kind, fault)
			id := w.hold(t, cents, fault)
			h := gatewaytest.Hold{ID: id}
			if kind == models.Refund {
				r := request(models.Capture, id, cents)
				ev := w.Capture(t.Context(), r)
				if ev.Outcome != models.OutcomeConfirmed && ev.Outcome != models.OutcomeAccepted {
					t.Fatalf("capture before the refund: %s", ev.JSON())
				}
				h.Capture = ev.GatewayTransactionID
			}
			return h
		},
		Account: "klarna",
	}))
	var _ gateway.Gateway = w.Adapter
}
