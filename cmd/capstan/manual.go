package main

import (
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/manual"
	"github.com/capstan-pay/capstan/gateway/sandbox"
)

const manualAccount = "manual"

// manualProvider is the account whose money a person moves. It sends no webhooks,
// and nothing has to stand for it.
func manualProvider() provider {
	return provider{
		slug: manualAccount, source: "wire_transfers", setting: "CAPSTAN_MANUAL_GATEWAY",
		configured: func(c config.Gateways) bool { return c.ManualGateway },
		adapter:    func(accountOptions) gateway.Gateway { return manual.New() },
		pretend: func(_ *environment, c *config.Gateways, _ gateway.Secret) (sandbox.Endpoint, error) {
			c.ManualGateway = true
			return sandbox.Endpoint{}, nil
		},
	}
}
