package braintree_test

import (
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// A refund in the suite is of a capture that has settled: before that Braintree
// refunds nothing.
func TestConformance(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir()})
	gatewaytest.Run(t, sandboxtest.On(w.sandbox, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, braintree.Config{BaseURL: sandboxtest.Nobody(t)}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			id := w.hold(t, cents, sandboxtest.Scoped(kind, fault))
			h := gatewaytest.Hold{ID: id}
			if kind == models.Refund {
				must(t, w.Capture(t.Context(), request(models.Capture, id, cents)), models.OutcomeConfirmed, cents)
				w.behind(t, "settle", id)
				h.Capture = id
			}
			return h
		},
		Account: "braintree",
	}))
	var _ gateway.Gateway = w.Adapter
}
