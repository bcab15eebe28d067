package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/elasticpath"
	"github.com/capstan-pay/capstan/api/hellgate"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
)

// tokens are who may call.
func (s *system) tokens() []api.Token {
	return []api.Token{{Name: "admin", Secret: s.settings.Token, Scope: api.ScopeAdmin, Mode: s.settings.Mode}}
}

// rate is what each client may send.
func rate(r config.Rate) api.Rate {
	if r.CommerceLayer {
		return api.CommerceLayerRate()
	}
	return api.RateOf(r.PerSecond)
}

// api puts the dialects and the webhooks behind one server.
func (s *system) api() (*api.Server, error) {
	resources := commercelayer.New(commercelayer.Config{
		Store: s.store, Enqueuer: s.enqueuer, Forward: s.runner.Forward, Settle: s.runner.Settle, Inspect: s.runner.Inspect, AdoptRefund: s.runner.AdoptRefund, Person: s.runner, Now: time.Now,
		Describe: s.runner.Describe, Reauthorize: s.runner.Reauthorize,
		Accounts: s.sourceTypes(), External: s.externals(),
	})
	inbox, err := webhooks.New(webhooks.Config{
		Store: s.store, Enqueuer: s.enqueuer, Settle: s.runner.Settle, CompareTold: s.runner.CompareTold, Sources: s.senders(), Now: time.Now, Log: s.log, Registerer: s.registry,
		CommerceLayer: webhooks.CommerceLayer{Secrets: s.settings.CommerceLayerSecrets, Mode: s.settings.Mode},
	})
	if err != nil {
		return nil, err
	}
	s.inbox = inbox
	payments := hellgate.New(hellgate.Config{Store: s.store, Enqueuer: s.enqueuer, Settle: s.runner.Settle, Describe: s.runner.Describe, Now: time.Now})
	transactions := elasticpath.New(elasticpath.Config{
		Engine:   api.Engine{Store: s.store, Enqueuer: s.enqueuer, Settle: s.runner.Settle, Person: s.runner},
		Describe: s.runner.Describe, Accounts: s.elasticAccounts(), Now: time.Now,
	})
	return api.New(api.Config{
		Tokens: s.tokens(), Store: s.store, Rate: rate(s.settings.Rate), Checks: s.checks(), Log: s.log, Registerer: s.registry, Now: time.Now,
	}, resources.Dialect(), inbox.Dialect(), payments.Dialect(), transactions.Dialect())
}

// webhookTolerance is how old a signed message may be, where its time is signed.
const webhookTolerance = 5 * time.Minute

// checks decide whether requests are welcome.
func (s *system) checks() []api.Check {
	return []api.Check{
		{Name: "postgres", Check: s.store.Ping},
		{Name: "schema", Check: func(ctx context.Context) error {
			pending, err := s.store.Pending(ctx)
			if err == nil && pending > 0 {
				err = fmt.Errorf("%d migrations are missing: run capstan migrate", pending)
			}
			return err
		}},
		{Name: "durability", Check: func(ctx context.Context) error {
			bad, err := s.store.Durability(ctx)
			if err == nil && len(bad) > 0 {
				err = errors.New("Postgres may lose a commit: " + strings.Join(bad, ", "))
			}
			return err
		}},
		{Name: "redis", Check: func(ctx context.Context) error { return s.redis.Ping(ctx).Err() }},
	}
}
