package adyen_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
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
		Unreachable: w.adapter(t, adyen.Config{BaseURL: nobody}),
		Hold: func(t *testing.T, kind models.Kind, cents int64, fault string) gatewaytest.Hold {
			if fault != "" {
				fault = scoped(kind, fault)
			}
			h := gatewaytest.Hold{ID: w.hold(t, cents, fault)}
			if kind == models.Refund {
				h.Capture = w.Capture(t.Context(), request(models.Capture, h.ID, cents)).GatewayTransactionID
			}
			return h
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
		Told:     func(_ *testing.T, r gateway.Request) []models.Evidence { return w.told(r) },
		Faults:   faults(),
		Account:  "adyen",
		Currency: "EUR",
	})
}
