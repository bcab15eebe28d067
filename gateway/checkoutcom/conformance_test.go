package checkoutcom_test

import (
	"testing"

	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

func TestConformance(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir(), CheckoutCom: quick})
	gatewaytest.Run(t, sandboxtest.On(w.sandbox, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, checkoutcom.Config{BaseURL: sandboxtest.Nobody(t)}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			if kind != models.Refund {
				fault = sandboxtest.Scoped(kind, fault)
				return gatewaytest.Hold{ID: w.hold(t, cents, fault)}
			}
			// The capture before the refund is looked up: the refund's faults come after.
			id := w.hold(t, cents, "")
			ev := must(t, w.done(t, request(models.Capture, id, cents)), models.OutcomeConfirmed, cents)
			if fault != "" {
				w.fault(t, id, sandboxtest.Scoped(kind, fault))
			}
			return gatewaytest.Hold{ID: id, Capture: ev.GatewayTransactionID}
		},
		Account: "checkoutcom",
	}))
}

// fault puts a fault on a hold that exists already.
func (w *world) fault(t *testing.T, hold, fault string) {
	t.Helper()
	if status, body := w.ask(t, "PUT", "/_sandbox/fault", `{"fault":"`+fault+`","hold":"`+hold+`"}`); status != 200 {
		t.Fatalf("fault: %d %s", status, body)
	}
}
