package main

import (
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
)

// stripeAccount is Stripe's slug.
const stripeAccount = "stripe"

func stripeProvider() provider {
	return provider{
		slug: stripeAccount, source: "stripe_payments", setting: "STRIPE_SECRET_KEY", secret: "STRIPE_WEBHOOK_SECRET",
		configured: func(c config.Gateways) bool { return c.StripeKey != "" },
		verifiable: func(c config.Gateways) bool { return given(c.StripeWebhookSecrets) },
		adapter: func(o accountOptions) gateway.Gateway {
			return stripe.New(stripe.Config{
				Account: stripeAccount, SecretKey: o.settings.StripeKey, BaseURL: o.settings.StripeURL, Timeout: o.tempo.Budget(), Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			secrets := s.settings.StripeWebhookSecrets
			return webhooks.Source{Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
				return webhooks.One(stripe.ParseWebhook(body, header, secrets, now, webhookTolerance))
			}}
		},
		pretend: func(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
			c.StripeKey, c.StripeURL = "sk_test_sandbox", e.sandboxURL
			c.StripeWebhookSecrets = append(c.StripeWebhookSecrets, secret)
			return sandbox.Endpoint{Secret: secret, OldSecret: "whsec_replaced"}, nil
		},
	}
}
