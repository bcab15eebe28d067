package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// TestCheckoutComSettings: a key that is none, and money of the wrong mode, are
// refused.
func TestCheckoutComSettings(t *testing.T) {
	with := func(key gateway.Secret, url string) Gateways {
		return Gateways{CallsAtOnce: 1, CheckoutCom: CheckoutCom{CheckoutComKey: key, CheckoutComURL: url}}
	}
	for _, tt := range []struct {
		name string
		g    Gateways
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", with("", ""), models.Live, ""},
		{"a test key", with("sk_sbox_hunter2", ""), models.Test, ""},
		{"a test key of the platform before", with("sk_test_hunter2", ""), models.Test, ""},
		{"a live key", with("sk_hunter2", ""), models.Live, ""},
		{"a live key for tests", with("sk_hunter2", ""), models.Test, "real money"},
		{"a test key for real", with("sk_sbox_hunter2", ""), models.Live, "no payment"},
		{"a public key", with("pk_sbox_hunter2", ""), models.Test, "sk_"},
		{"the sandbox for tests", with("sk_sbox_hunter2", "https://vkuhvk4v.api.sandbox.checkout.com"), models.Test, ""},
		{"an address of its own", with("sk_hunter2", "https://vkuhvk4v.api.checkout.com"), models.Live, ""},
		{"another place", with("sk_sbox_hunter2", "http://127.0.0.1:9100/checkoutcom"), models.Test, ""},
		{"Checkout.com itself for tests", with("sk_sbox_hunter2", "https://api.checkout.com"), models.Test, "real money"},
		{"the sandbox for real", with("sk_hunter2", "https://api.sandbox.checkout.com"), models.Live, "no payment"},
		{"no URL", with("sk_sbox_hunter2", "checkout"), models.Test, "CHECKOUTCOM_BASE_URL"},
	} {
		err := tt.g.Validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
