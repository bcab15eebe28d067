package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The slugs of the accounts, each part of every reference derived for it, and
// Commerce Layer's words for payments through them.
const (
	stripeAccount = "stripe"
	stripeSource  = "stripe_payments"
	paypalAccount = "paypal"
	paypalSource  = "paypal_payments"
)

// accountsOf makes the adapters of the accounts that have credentials.
func accountsOf(c config.Gateways, mode models.Mode, tempo models.Tempo, reg prometheus.Registerer, log *slog.Logger) gateway.Accounts {
	accounts := gateway.Accounts{}
	if c.StripeKey != "" {
		accounts[stripeAccount] = stripe.New(stripe.Config{
			Account: stripeAccount, SecretKey: c.StripeKey, BaseURL: c.StripeURL, Timeout: tempo.Budget(), Registerer: reg, Log: log, UserAgent: "capstan",
		})
	}
	if c.PayPalClientID != "" {
		base := c.PayPalURL
		if base == "" {
			base = map[models.Mode]string{models.Test: paypal.SandboxURL, models.Live: paypal.LiveURL}[mode]
		}
		accounts[paypalAccount] = paypal.New(paypal.Config{
			Account: paypalAccount, ClientID: c.PayPalClientID, Secret: c.PayPalSecret, BaseURL: base, Timeout: tempo.Budget(),
			Registerer: reg, Log: log, UserAgent: "capstan",
		})
	}
	return accounts
}

// register makes the configured accounts and endpoints known to the ledger.
func (s *system) register(ctx context.Context) error {
	s.accounts = accountsOf(s.settings.Gateways, s.settings.Mode, s.settings.Tempo(), s.registry, s.log)
	for _, slug := range slices.Sorted(maps.Keys(s.accounts)) {
		caps := s.accounts[slug].Capabilities()
		if _, err := s.store.EnsureGateway(ctx, slug, caps.Provider, s.settings.Mode); err != nil {
			return err
		}
		if err := s.store.SetHoldLives(ctx, slug, holdLives(caps)); err != nil {
			return err
		}
	}
	return s.store.EnsureWebhook(ctx, outgoing, s.settings.WebhookOut.URL)
}

// holdLives are how long an account's holds live as a rule, most special first.
func holdLives(c gateway.Capabilities) []store.HoldLife {
	var lives []store.HoldLife
	for _, l := range c.HoldLives {
		lives = append(lives, store.HoldLife{Network: l.Network, Initiator: l.Initiator, Life: l.Life})
	}
	return append(lives, store.HoldLife{Life: c.HoldLife})
}

// sourceTypes are the payment sources that this process has accounts for.
func (s *system) sourceTypes() []commercelayer.Account {
	types := []commercelayer.Account{{SourceType: stripeSource, Slug: stripeAccount}}
	if a, ok := s.accounts[paypalAccount]; ok {
		types = append(types, commercelayer.Account{SourceType: paypalSource, Slug: paypalAccount, MultiCapture: a.Capabilities().MultiCapture})
	}
	return types
}
