package checkoutcom_test

import (
	"net"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// scoped puts a fault on the calls of one kind, so that the capture that
// prepares a refund does not meet it.
func scoped(kind models.Kind, fault string) string {
	var out []string
	for part := range strings.SplitSeq(fault, ",") {
		if !strings.HasPrefix(part, "lookup_") {
			part = string(kind) + "." + part
		}
		out = append(out, part)
	}
	return strings.Join(out, ",")
}

func TestConformance(t *testing.T) {
	w := newWorld(t, sandbox.Config{Dir: t.TempDir(), CheckoutCom: quick})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Run(t, gatewaytest.Harness{
		Gateway:     w.Adapter,
		Unreachable: w.adapter(t, checkoutcom.Config{BaseURL: nobody}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			if kind != models.Refund {
				if fault != "" {
					fault = scoped(kind, fault)
				}
				return gatewaytest.Hold{ID: w.hold(t, cents, fault)}
			}
			// The capture before the refund is looked up: the refund's faults come after.
			id := w.hold(t, cents, "")
			ev := must(t, w.done(t, request(models.Capture, id, cents)), models.OutcomeConfirmed, cents)
			if fault != "" {
				w.fault(t, id, scoped(kind, fault))
			}
			return gatewaytest.Hold{ID: id, Capture: ev.GatewayTransactionID}
		},
		Bookings: func(_ *testing.T, kind models.Kind, hold string) []gatewaytest.Booking {
			book := w.sandbox.BookOf(hold)
			lines := map[models.Kind][]sandbox.Booking{models.Capture: book.Captures, models.Refund: book.Refunds, models.Void: book.Cancels}[kind]
			var out []gatewaytest.Booking
			for _, b := range lines {
				out = append(out, gatewaytest.Booking{Reference: b.Reference, Key: b.Key, AmountCents: b.Amount, Currency: strings.ToUpper(b.Currency)})
			}
			return out
		},
		Settled:  func(hold string) bool { return w.sandbox.Late(hold) == 0 },
		Faults:   gatewaytest.Faults(),
		Account:  "checkoutcom",
		Currency: "EUR",
	})
}

// fault puts a fault on a hold that exists already.
func (w *world) fault(t *testing.T, hold, fault string) {
	t.Helper()
	if status, body := w.ask(t, "PUT", "/_sandbox/fault", `{"fault":"`+fault+`","hold":"`+hold+`"}`); status != 200 {
		t.Fatalf("fault: %d %s", status, body)
	}
}
