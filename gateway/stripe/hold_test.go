package stripe

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// What the gateway says about a hold is believed only whole; that there is none
// only in Stripe's own words.
func TestDescribed(t *testing.T) {
	const pi = `{"object":"payment_intent","id":"pi_hold","status":%q,"amount":%d,"amount_received":%d,"currency":%q,"latest_charge":%s}`
	const charge = `{"object":"charge","id":"ch_1","payment_method_details":{"card":{"brand":"visa","network":"cartes_bancaires","capture_before":1772366400}}}`
	const missing = `{"error":{"type":"invalid_request_error","code":"resource_missing","message":"No such payment_intent"}}`
	ends := time.Unix(1772366400, 0).UTC()
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   gateway.HoldFacts
		err    bool
		none   bool
	}{
		{"a hold", answered(200, fmt.Sprintf(pi, "requires_capture", 1500, 0, "eur", charge)),
			gateway.HoldFacts{AmountCents: 1500, CurrencyCode: "EUR", Open: true, Status: "requires_capture", CaptureBefore: &ends, Network: "cartes_bancaires"}, false, false},
		{"its charge not shown", answered(200, fmt.Sprintf(pi, "requires_capture", 1500, 0, "eur", `"ch_1"`)),
			gateway.HoldFacts{AmountCents: 1500, CurrencyCode: "EUR", Open: true, Status: "requires_capture"}, false, false},
		{"no charge", answered(200, fmt.Sprintf(pi, "requires_payment_method", 1500, 0, "eur", "null")),
			gateway.HoldFacts{AmountCents: 1500, CurrencyCode: "EUR", Status: "requires_payment_method"}, false, false},
		{"captured", answered(200, fmt.Sprintf(pi, "succeeded", 1500, 1500, "eur", "null")),
			gateway.HoldFacts{AmountCents: 1500, CapturedCents: 1500, CurrencyCode: "EUR", Status: "succeeded"}, false, false},
		{"in a currency that Stripe counts otherwise", answered(200, fmt.Sprintf(pi, "requires_capture", 500, 0, "isk", "null")),
			gateway.HoldFacts{AmountCents: 5, CurrencyCode: "ISK", Open: true, Status: "requires_capture"}, false, false},
		{"no amount of money", answered(200, fmt.Sprintf(pi, "requires_capture", -1, 0, "eur", "null")), gateway.HoldFacts{}, true, false},
		{"another's", answered(200, fmt.Sprintf(pi, "requires_capture", 1500, 0, "eur", "null")[:30]), gateway.HoldFacts{}, true, false},
		{"none", answered(404, missing), gateway.HoldFacts{}, true, true},
		{"a proxy's 404", answered(404, `<html>not found</html>`), gateway.HoldFacts{}, true, false},
		{"another error", answered(400, missing), gateway.HoldFacts{}, true, false},
		{"a server's error", answered(500, ""), gateway.HoldFacts{}, true, false},
		{"no answer", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("no route")}, gateway.HoldFacts{}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := described(tt.answer, "pi_hold")
			if (err != nil) != tt.err || errors.Is(err, gateway.ErrNoSuchHold) != tt.none {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
		})
	}
}

// Visa gives what the merchant initiates less time than anybody else.
func TestLivesOfHolds(t *testing.T) {
	caps := New(Config{Account: "stripe"}).Capabilities()
	for _, tt := range []struct {
		network, initiator string
		want               time.Duration
	}{
		{"visa", models.ByMerchant, 114 * time.Hour}, {"visa", models.ByCustomer, 168 * time.Hour}, {"visa", "", 168 * time.Hour},
		{"mastercard", models.ByMerchant, 168 * time.Hour}, {"", "", 168 * time.Hour},
	} {
		if got := caps.LifeOf(tt.network, tt.initiator); got != tt.want {
			t.Errorf("%q by %q lives %s, want %s", tt.network, tt.initiator, got, tt.want)
		}
	}
}
