package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// TestKlarnaSettings: half of the credentials, and money of the wrong mode, are refused.
func TestKlarnaSettings(t *testing.T) {
	whole := Klarna{KlarnaUsername: "K1234_abc", KlarnaPassword: "hunter2"}
	at := func(url string) Klarna { return Klarna{whole.KlarnaUsername, whole.KlarnaPassword, url} }
	with := func(key gateway.Secret) Klarna { return Klarna{whole.KlarnaUsername, key, ""} }
	for _, tt := range []struct {
		name string
		k    Klarna
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", Klarna{}, models.Live, ""},
		{"whole", whole, models.Test, ""},
		{"whole and live", whole, models.Live, ""},
		{"no password", Klarna{KlarnaUsername: "K1234_abc"}, models.Test, "KLARNA_PASSWORD"},
		{"no username", Klarna{KlarnaPassword: "hunter2"}, models.Test, "KLARNA_USERNAME"},
		{"a live key for tests", with("klarna_live_api_hunter2"), models.Test, "real money"},
		{"a test key for real", with("klarna_test_api_hunter2"), models.Live, "no payment"},
		{"a live key", with("klarna_live_api_hunter2"), models.Live, ""},
		{"the playground", at("https://api-na.playground.klarna.com"), models.Test, ""},
		{"the playground for real", at("https://api.playground.klarna.com"), models.Live, "no payment"},
		{"Klarna itself for tests", at("https://api-oc.klarna.com"), models.Test, "real money"},
		{"Klarna itself", at("https://api-na.klarna.com"), models.Live, ""},
		{"another place", at("http://127.0.0.1:9100/klarna"), models.Test, ""},
		{"no URL", at("klarna"), models.Test, "KLARNA_BASE_URL"},
	} {
		err := Gateways{CallsAtOnce: 1, Klarna: tt.k}.Validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
