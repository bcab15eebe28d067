package main

import (
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/checkoutcom"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const checkoutComAccount = "checkoutcom"

// checkoutComProvider is Checkout.com. Its webhooks say what became of what it
// accepted, and prove it.
func checkoutComProvider() provider {
	return provider{
		slug: checkoutComAccount, source: "checkout_com_payments", setting: "CHECKOUTCOM_SECRET_KEY", secret: "CHECKOUTCOM_WEBHOOK_SECRET",
		configured: func(c config.Gateways) bool { return c.CheckoutComKey != "" },
		verifiable: func(c config.Gateways) bool { return given(c.CheckoutComWebhookSecrets) },
		adapter: func(o accountOptions) gateway.Gateway {
			base := o.settings.CheckoutComURL
			if base == "" {
				base = map[models.Mode]string{models.Test: checkoutcom.SandboxURL, models.Live: checkoutcom.LiveURL}[o.mode]
			}
			return checkoutcom.New(checkoutcom.Config{
				Account: checkoutComAccount, SecretKey: o.settings.CheckoutComKey, BaseURL: base, Timeout: o.tempo.Budget(),
				Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			secrets, live := s.settings.CheckoutComWebhookSecrets, s.settings.Mode == models.Live
			return webhooks.Source{Parse: func(body []byte, header http.Header, _ time.Time) ([]gateway.Notice, error) {
				return webhooks.One(checkoutcom.ParseWebhook(body, header, secrets, live))
			}}
		},
		pretend: func(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
			c.CheckoutComKey, c.CheckoutComURL = "sk_sbox_sandbox", e.sandboxURL+"/checkoutcom"
			c.CheckoutComWebhookSecrets = append(c.CheckoutComWebhookSecrets, secret)
			return sandbox.Endpoint{Secret: secret, OldSecret: "replaced", Wire: checkoutcom.Provider}, nil
		},
	}
}
