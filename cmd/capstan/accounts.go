package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// provider is how the account at one provider is set up in this binary. Each
// stands in a file of its own.
type provider struct {
	// slug names the account: part of every reference derived for it, and the end
	// of its webhooks' path.
	slug string
	// source is Commerce Layer's word for payments through it.
	source string
	// setting names what makes the account exist, and secret what verifies its
	// webhooks, for people; secret is empty where it sends none worth trust.
	setting, secret string
	configured      func(config.Gateways) bool
	// verifiable reports whether its webhooks can be verified. Nil where it sends none.
	verifiable func(config.Gateways) bool
	adapter    func(accountOptions) gateway.Gateway
	// read says how its webhooks are read; called only where they are verifiable.
	read func(*system) webhooks.Source
	// pretend points the settings at the sandbox, which then stands for the
	// provider, and says where its webhooks go: below /webhooks/ and the slug.
	pretend func(*environment, *config.Gateways, gateway.Secret) (sandbox.Endpoint, error)
}

// providers lists them, in the order in which people see them.
func providers() []provider {
	return []provider{stripeProvider(), paypalProvider(), adyenProvider(), checkoutComProvider(), braintreeProvider(), klarnaProvider(), externalProvider(), manualProvider()}
}

// accountOptions is what adapters are made of.
type accountOptions struct {
	settings config.Gateways
	mode     models.Mode
	tempo    models.Tempo
	reg      prometheus.Registerer
	log      *slog.Logger
	// store is nil where there is no ledger at hand: nothing is captured there.
	store *store.Store
}

// accountsOf makes the adapters of the accounts that are configured.
func accountsOf(o accountOptions) gateway.Accounts {
	accounts := gateway.Accounts{}
	for _, p := range providers() {
		if p.configured(o.settings) {
			accounts[p.slug] = p.adapter(o)
		}
	}
	return accounts
}

// register makes the configured accounts and endpoints known to the ledger.
func (s *system) register(ctx context.Context) error {
	s.accounts = accountsOf(accountOptions{s.settings.Gateways, s.settings.Mode, s.settings.Tempo(), s.registry, s.log, s.store})
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
// Stripe's is always known, so that a missing key is named when it is used.
func (s *system) sourceTypes() []commercelayer.Account {
	var types []commercelayer.Account
	for _, p := range providers() {
		a, ok := s.accounts[p.slug]
		switch {
		case ok:
			caps := a.Capabilities()
			types = append(types, commercelayer.Account{SourceType: p.source, Slug: p.slug, MultiCapture: caps.MultiCapture, Reauthorize: caps.Reauthorize})
		case p.slug == stripeAccount:
			types = append(types, commercelayer.Account{SourceType: p.source, Slug: p.slug})
		}
	}
	return types
}

// sources maps the accounts of this process to Commerce Layer's words for them.
func (s *system) sources() map[string]string {
	sources := map[string]string{}
	for _, a := range s.sourceTypes() {
		sources[a.Slug] = a.SourceType
	}
	return sources
}

// senders are the gateway accounts that send webhooks.
func (s *system) senders() []webhooks.Source {
	var sources []webhooks.Source
	for _, p := range providers() {
		if _, ok := s.accounts[p.slug]; !ok || p.verifiable == nil {
			continue
		}
		source := webhooks.Source{}
		if p.verifiable(s.settings.Gateways) {
			source = p.read(s)
		}
		source.Slug, source.Mode = p.slug, s.settings.Mode
		sources = append(sources, source)
	}
	return sources
}

// given reports whether any of several secrets is not empty.
func given[S ~string](secrets []S) bool {
	return slices.ContainsFunc(secrets, func(s S) bool { return s != "" })
}
