package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// TestAdyenSettings: half of the credentials, keys that verify nothing, and money
// of the wrong mode are refused.
func TestAdyenSettings(t *testing.T) {
	key := gateway.Secret(strings.Repeat("0A", 32))
	whole := Adyen{AdyenKey: "AQEsecret", AdyenMerchant: "ShopECOM", AdyenHMACKeys: []gateway.Secret{key, ""}}
	with := func(change func(*Adyen)) Adyen {
		a := whole
		change(&a)
		return a
	}
	at := func(url string) Adyen { return with(func(a *Adyen) { a.AdyenURL = url }) }
	for _, tt := range []struct {
		name string
		a    Adyen
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", Adyen{}, models.Live, ""},
		{"whole", whole, models.Test, ""},
		{"no account", with(func(a *Adyen) { a.AdyenMerchant = "" }), models.Test, "ADYEN_MERCHANT_ACCOUNT"},
		{"nothing to verify webhooks with", with(func(a *Adyen) { a.AdyenHMACKeys = []gateway.Secret{""} }), models.Test, "ADYEN_HMAC_KEY"},
		{"no key", Adyen{AdyenMerchant: "ShopECOM"}, models.Test, "ADYEN_API_KEY"},
		{"live without an address", whole, models.Live, "prefix"},
		{"live", at("https://1797a841fbb37ca7-AdyenDemo-checkout-live.adyenpayments.com/checkout/v72"), models.Live, ""},
		{"the live platform for tests", at("https://x-checkout-live.adyenpayments.com/checkout/v72"), models.Test, "real money"},
		{"the test platform for real", at("https://checkout-test.adyen.com/v72"), models.Live, "no payment"},
		{"the test platform", at("https://checkout-test.adyen.com/v72"), models.Test, ""},
		{"another version", at("https://checkout-test.adyen.com/v71"), models.Test, "/v72"},
		{"another place", at("http://127.0.0.1:9100/adyen/v72"), models.Test, ""},
		{"no URL", at("adyen"), models.Test, "ADYEN_BASE_URL"},
		{"a key that is no key", with(func(a *Adyen) { a.AdyenHMACKeys = []gateway.Secret{key, "hunter2"} }), models.Test, "key 2"},
		{"half a key", with(func(a *Adyen) { a.AdyenHMACKeys = []gateway.Secret{key[:62]} }), models.Test, "key 1"},
	} {
		err := Gateways{CallsAtOnce: 1, Adyen: tt.a}.Validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "AQEsecret") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
