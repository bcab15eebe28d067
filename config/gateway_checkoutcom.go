package config

import (
	"errors"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// CheckoutCom is the account at Checkout.com.
type CheckoutCom struct {
	CheckoutComKey            gateway.Secret   `name:"checkoutcom-secret-key" env:"CHECKOUTCOM_SECRET_KEY" placeholder:"KEY" help:"Checkout.com's secret key."`
	CheckoutComURL            string           `name:"checkoutcom-base-url" env:"CHECKOUTCOM_BASE_URL" placeholder:"URL" help:"Where Checkout.com answers this account, https://{prefix}.api.checkout.com; empty is Checkout.com itself, its sandbox in test mode."`
	CheckoutComWebhookSecrets []gateway.Secret `name:"checkoutcom-webhook-secret" env:"CHECKOUTCOM_WEBHOOK_SECRET" placeholder:"SECRET" help:"Signature keys of Checkout.com's webhooks, comma-separated while one is replaced."`
}

// validate wants a secret key and an address of the right mode. Keys of test
// accounts tell by their prefix; those of live ones have none.
func (c CheckoutCom) validate(mode models.Mode) error {
	errs := []error{baseURL("CHECKOUTCOM_BASE_URL", c.CheckoutComURL)}
	key := c.CheckoutComKey.Reveal()
	test := strings.HasPrefix(key, "sk_sbox_") || strings.HasPrefix(key, "sk_test_")
	switch {
	case key == "":
	case !strings.HasPrefix(key, "sk_"):
		errs = append(errs, errors.New("CHECKOUTCOM_SECRET_KEY is no secret key: it begins with sk_"))
	case mode == models.Test && !test:
		errs = append(errs, errors.New("CHECKOUTCOM_SECRET_KEY is a live key and CAPSTAN_MODE is test: it would move real money for test orders"))
	case mode == models.Live && test:
		errs = append(errs, errors.New("CHECKOUTCOM_SECRET_KEY is a test key and CAPSTAN_MODE is live: no payment would really be captured"))
	}
	if u, err := url.Parse(c.CheckoutComURL); err == nil && strings.HasSuffix(u.Hostname(), ".checkout.com") {
		sandbox := strings.HasSuffix(u.Hostname(), ".sandbox.checkout.com")
		switch {
		case mode == models.Test && !sandbox:
			errs = append(errs, errors.New("CHECKOUTCOM_BASE_URL is Checkout.com itself and CAPSTAN_MODE is test: it would move real money for test orders"))
		case mode == models.Live && sandbox:
			errs = append(errs, errors.New("CHECKOUTCOM_BASE_URL is Checkout.com's sandbox and CAPSTAN_MODE is live: no payment would really be captured"))
		}
	}
	return errors.Join(errs...)
}
