package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// TestBraintreeSettings: a part of the credentials, keys that are no pair, and
// money of the wrong mode are refused.
func TestBraintreeSettings(t *testing.T) {
	whole := Braintree{BraintreeMerchantID: "shop", BraintreePublicKey: "public", BraintreePrivateKey: "hunter2", BraintreeOldKeys: []gateway.Secret{"older:hunter1", ""}}
	with := func(change func(*Braintree)) Braintree {
		b := whole
		change(&b)
		return b
	}
	at := func(url string) Braintree { return with(func(b *Braintree) { b.BraintreeURL = url }) }
	for _, tt := range []struct {
		name string
		b    Braintree
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", Braintree{}, models.Live, ""},
		{"whole", whole, models.Live, ""},
		{"no merchant", with(func(b *Braintree) { b.BraintreeMerchantID = "" }), models.Test, "BRAINTREE_MERCHANT_ID"},
		{"no public key", with(func(b *Braintree) { b.BraintreePublicKey = "" }), models.Test, "BRAINTREE_PUBLIC_KEY"},
		{"no private key", with(func(b *Braintree) { b.BraintreePrivateKey = "" }), models.Test, "BRAINTREE_PRIVATE_KEY"},
		{"an old key alone", with(func(b *Braintree) { b.BraintreeOldKeys = []gateway.Secret{"older:hunter1", "hunter1"} }), models.Test, "pair 2"},
		{"half a pair", with(func(b *Braintree) { b.BraintreeOldKeys = []gateway.Secret{":hunter1"} }), models.Test, "pair 1"},
		{"Braintree itself for tests", at("https://api.braintreegateway.com"), models.Test, "real money"},
		{"its sandbox for real", at("https://api.sandbox.braintreegateway.com:443"), models.Live, "no payment"},
		{"its sandbox for tests", at("https://api.sandbox.braintreegateway.com"), models.Test, ""},
		{"Braintree itself for real", at("https://api.braintreegateway.com:443"), models.Live, ""},
		{"another place", at("http://127.0.0.1:9100/braintree"), models.Test, ""},
		{"no URL", at("braintree"), models.Test, "BRAINTREE_BASE_URL"},
	} {
		err := Gateways{CallsAtOnce: 1, Braintree: tt.b}.Validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
