package adyen_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// faults are the suite's, without those that Adyen's wire cannot express: nothing
// is looked up, and a refusal comes by webhook and is final, so that a capture
// which is declined twice and then taken is three operations there.
func faults() []gatewaytest.Fault {
	return slices.DeleteFunc(gatewaytest.Faults(), func(f gatewaytest.Fault) bool {
		return strings.Contains(f.Name, "lookup_") || f.Name == "decline:2"
	})
}

func TestConformance(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	gatewaytest.Run(t, sandboxtest.On(w.sandbox, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, adyen.Config{BaseURL: sandboxtest.Nobody(t)}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			fault = sandboxtest.Scoped(kind, fault)
			h := gatewaytest.Hold{ID: w.hold(t, cents, fault)}
			if kind == models.Refund {
				h.Capture = w.Capture(t.Context(), request(models.Capture, h.ID, cents)).GatewayTransactionID
			}
			return h
		},
		Told:    func(_ *testing.T, r gateway.Request) []models.Evidence { return w.told(r) },
		Faults:  faults(),
		Account: "adyen",
	}))
}
