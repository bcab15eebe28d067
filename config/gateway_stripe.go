package config

import (
	"errors"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Stripe is the account at Stripe.
type Stripe struct {
	StripeKey            gateway.Secret   `name:"stripe-secret-key" env:"STRIPE_SECRET_KEY" placeholder:"KEY" help:"Stripe's secret key."`
	StripeURL            string           `name:"stripe-base-url" env:"STRIPE_BASE_URL" placeholder:"URL" help:"Where Stripe answers; empty is Stripe itself."`
	StripeWebhookSecrets []gateway.Secret `name:"stripe-webhook-secret" env:"STRIPE_WEBHOOK_SECRET" placeholder:"SECRET" help:"Secrets of Stripe's webhooks, comma-separated while one is replaced."`
}

func (s Stripe) validate(mode models.Mode) error {
	errs := []error{baseURL("STRIPE_BASE_URL", s.StripeURL)}
	key := s.StripeKey.Reveal()
	if mode == models.Test && strings.Contains(key, "_live_") {
		errs = append(errs, errors.New("STRIPE_SECRET_KEY is a live key and CAPSTAN_MODE is test: it would move real money for test orders"))
	}
	if mode == models.Live && strings.Contains(key, "_test_") {
		errs = append(errs, errors.New("STRIPE_SECRET_KEY is a test key and CAPSTAN_MODE is live: no payment would really be captured"))
	}
	return errors.Join(errs...)
}
