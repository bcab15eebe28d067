package main

import (
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/klarna"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const klarnaAccount = "klarna"

// klarnaProvider is Klarna. What it sends by itself is not signed, so it has no
// webhooks here: answers and look-ups tell every outcome.
func klarnaProvider() provider {
	return provider{
		slug: klarnaAccount, source: "klarna_payments", setting: "KLARNA_USERNAME and KLARNA_PASSWORD",
		configured: func(c config.Gateways) bool { return c.KlarnaUsername != "" },
		adapter: func(o accountOptions) gateway.Gateway {
			base := o.settings.KlarnaURL
			if base == "" {
				base = map[models.Mode]string{models.Test: klarna.SandboxURL, models.Live: klarna.LiveURL}[o.mode]
			}
			return klarna.New(klarna.Config{
				Account: klarnaAccount, Username: o.settings.KlarnaUsername, Password: o.settings.KlarnaPassword, BaseURL: base, Timeout: o.tempo.Budget(),
				Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		pretend: func(e *environment, c *config.Gateways, _ gateway.Secret) (sandbox.Endpoint, error) {
			c.KlarnaUsername, c.KlarnaPassword, c.KlarnaURL = "sandbox", "sandbox", e.sandboxURL+"/klarna"
			return sandbox.Endpoint{}, nil
		},
	}
}
