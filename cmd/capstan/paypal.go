package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const paypalAccount = "paypal"

// paypalProvider is PayPal. Its webhooks are hints to look, and nothing else.
func paypalProvider() provider {
	return provider{
		slug: paypalAccount, source: "paypal_payments", setting: "PAYPAL_CLIENT_ID and PAYPAL_CLIENT_SECRET", secret: "PAYPAL_WEBHOOK_ID",
		configured: func(c config.Gateways) bool { return c.PayPalClientID != "" },
		verifiable: func(c config.Gateways) bool { return given(c.PayPalWebhookIDs) },
		adapter: func(o accountOptions) gateway.Gateway {
			base := o.settings.PayPalURL
			if base == "" {
				base = map[models.Mode]string{models.Test: paypal.SandboxURL, models.Live: paypal.LiveURL}[o.mode]
			}
			return paypal.New(paypal.Config{
				Account: paypalAccount, ClientID: o.settings.PayPalClientID, Secret: o.settings.PayPalSecret, BaseURL: base, Timeout: o.tempo.Budget(),
				Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			ids := slices.DeleteFunc(slices.Clone(s.settings.PayPalWebhookIDs), func(id string) bool { return id == "" })
			certs := s.paypalCerts
			if certs == nil {
				certs = paypal.NewCertificates(paypal.CertificatesConfig{})
			}
			return webhooks.Source{Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
				return webhooks.One(paypal.ParseWebhook(context.Background(), body, header, ids, certs, now, webhookTolerance))
			}}
		},
		pretend: pretendPayPal,
	}
}

// pretendPayPal sets a webhook whose id is the given secret, and trusts the
// certificate that the sandbox signs with.
func pretendPayPal(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
	c.PayPalClientID, c.PayPalSecret, c.PayPalURL = "sandbox", "sandbox", e.sandboxURL+"/paypal"
	c.PayPalWebhookIDs = []string{secret.Reveal()}
	roots, err := e.sandbox.PayPalRoots()
	if err != nil {
		return sandbox.Endpoint{}, err
	}
	e.pretences.paypalCerts = paypal.NewCertificates(paypal.CertificatesConfig{Roots: roots, Fetch: func(context.Context, string) ([]byte, error) {
		return e.sandbox.PayPalCertificate()
	}})
	return sandbox.Endpoint{Secret: secret, OldSecret: "replaced", Wire: paypal.Provider}, nil
}
