package config

import (
	"errors"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// PayPal is the account at PayPal.
type PayPal struct {
	PayPalClientID   string         `name:"paypal-client-id" env:"PAYPAL_CLIENT_ID" placeholder:"ID" help:"Client id of a PayPal REST app."`
	PayPalSecret     gateway.Secret `name:"paypal-client-secret" env:"PAYPAL_CLIENT_SECRET" placeholder:"SECRET" help:"Secret of that PayPal REST app."`
	PayPalURL        string         `name:"paypal-base-url" env:"PAYPAL_BASE_URL" placeholder:"URL" help:"Where PayPal answers; empty is PayPal itself, its sandbox in test mode."`
	PayPalWebhookIDs []string       `name:"paypal-webhook-id" env:"PAYPAL_WEBHOOK_ID" placeholder:"ID" help:"Ids of PayPal's webhooks, comma-separated while one is replaced."`
}

// validate wants credentials whole and of the right mode: PayPal's own tell
// nothing, but its addresses do.
func (p PayPal) validate(mode models.Mode) error {
	if (p.PayPalClientID == "") != (p.PayPalSecret == "") {
		return errors.New("PAYPAL_CLIENT_ID and PAYPAL_CLIENT_SECRET: one is useless without the other")
	}
	if err := baseURL("PAYPAL_BASE_URL", p.PayPalURL); err != nil || p.PayPalURL == "" {
		return err
	}
	u, _ := url.Parse(p.PayPalURL) // baseURL parsed it
	switch {
	case !strings.HasSuffix(u.Hostname(), ".paypal.com"):
		return nil
	case mode == models.Test && !strings.Contains(u.Hostname(), ".sandbox."):
		return errors.New("PAYPAL_BASE_URL is PayPal itself and CAPSTAN_MODE is test: it would move real money for test orders")
	case mode == models.Live && strings.Contains(u.Hostname(), ".sandbox."):
		return errors.New("PAYPAL_BASE_URL is PayPal's sandbox and CAPSTAN_MODE is live: no payment would really be captured")
	}
	return nil
}
