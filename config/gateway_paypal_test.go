package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// TestPayPalSettings: half of the credentials, and money of the wrong mode, are refused.
func TestPayPalSettings(t *testing.T) {
	whole := Gateways{CallsAtOnce: 1, PayPal: PayPal{PayPalClientID: "id", PayPalSecret: "secret"}}
	at := func(url string) Gateways {
		g := whole
		g.PayPalURL = url
		return g
	}
	for _, tt := range []struct {
		name string
		g    Gateways
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", Gateways{CallsAtOnce: 1}, models.Live, ""},
		{"whole", whole, models.Test, ""},
		{"whole and live", whole, models.Live, ""},
		{"no secret", Gateways{CallsAtOnce: 1, PayPal: PayPal{PayPalClientID: "id"}}, models.Test, "PAYPAL_CLIENT_SECRET"},
		{"no id", Gateways{CallsAtOnce: 1, PayPal: PayPal{PayPalSecret: "secret"}}, models.Test, "PAYPAL_CLIENT_ID"},
		{"the sandbox for tests", at("https://api-m.sandbox.paypal.com"), models.Test, ""},
		{"another place", at("http://127.0.0.1:9100/paypal"), models.Test, ""},
		{"PayPal itself for tests", at("https://api-m.paypal.com"), models.Test, "real money"},
		{"the sandbox for real", at("https://api-m.sandbox.paypal.com"), models.Live, "no payment"},
		{"no URL", at("paypal"), models.Test, "PAYPAL_BASE_URL"},
	} {
		err := tt.g.Validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), `"secret"`)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
