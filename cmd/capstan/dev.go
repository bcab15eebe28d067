package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// environment is everything in one process: embedded servers, the sandbox
// gateway and all roles.
type environment struct {
	*system
	stack      *devstack.Stack
	sandbox    *sandbox.Server
	sandboxURL string
	hooks      *http.Server
	pretences  pretences
}

// startEnvironment starts all of it, or nothing: after an error whatever had
// started is stopped again.
func startEnvironment(ctx context.Context, c config.Dev, log *slog.Logger) (_ *environment, err error) {
	e := &environment{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.shutdown())
		}
	}()
	e.stack, err = devstack.Start(ctx, devstack.Options{
		Dir: c.Data, Ephemeral: c.Ephemeral, DatabaseURL: c.Database.Reveal(), RedisURL: c.Redis.Reveal(), AllowInProcessRedis: true,
		Log: log,
	})
	if err != nil {
		return e, err
	}
	if err := migrateAt(ctx, e.stack.DatabaseURL); err != nil {
		return e, err
	}
	webhookSecret := gateway.Secret("whsec_" + rand.Text())
	if err := e.startSandbox(c, webhookSecret, log); err != nil {
		return e, err
	}
	settings := config.Role{
		Ledger: config.Ledger{DatabaseURL: gateway.Secret(e.stack.DatabaseURL), RedisURL: gateway.Secret(e.stack.RedisURL), MaxConns: 24},
		Listen: c.Listen, Access: config.Access{Token: c.Token, Mode: models.Test, Rate: c.Rate}, Gateways: c.Gateways, Pace: c.Pace, WebhookOut: c.WebhookOut,
	}
	settings.WebhookOut.AllowPrivate = true
	hooks, err := e.pretendAll(&settings.Gateways, webhookSecret)
	if err != nil {
		return e, err
	}
	if e.system, err = open(ctx, settings, log); err != nil {
		return e, err
	}
	e.system.pretences = e.pretences
	if err := e.system.start(ctx, roles{api: true, worker: true, relay: true}); err != nil {
		return e, err
	}
	for i := range hooks {
		hooks[i].URL = e.url("api") + hooks[i].URL
	}
	e.sandbox.SetWebhooks(hooks)
	return e, nil
}

// pretendAll lets the sandbox stand for every provider that has no credentials.
func (e *environment) pretendAll(c *config.Gateways, secret gateway.Secret) ([]sandbox.Endpoint, error) {
	var hooks []sandbox.Endpoint
	for _, p := range providers() {
		if p.configured(*c) || p.pretend == nil {
			continue
		}
		endpoint, err := p.pretend(e, c, secret)
		if err != nil {
			return nil, fmt.Errorf("let the sandbox stand for %s: %w", p.slug, err)
		}
		if p.verifiable != nil {
			endpoint.URL = "/webhooks/" + p.slug
			hooks = append(hooks, endpoint)
		}
	}
	return hooks, nil
}

func migrateAt(ctx context.Context, url string) error {
	st, err := store.Open(ctx, url, store.Options{MaxConns: 4})
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.Migrate(ctx)
	return err
}

// startSandbox opens the gateway's book beside the data and listens.
func (e *environment) startSandbox(c config.Dev, secret gateway.Secret, log *slog.Logger) error {
	book := ""
	if !c.Ephemeral {
		book = filepath.Join(c.Data, "sandbox")
	}
	tempo := c.Tempo()
	var err error
	e.sandbox, err = sandbox.New(sandbox.Config{
		Dir: book, WebhookRetry: tempo.Of(time.Second), Log: log, Now: time.Now, Adyen: sandbox.AdyenConfig{MultiCapture: c.AdyenMultiCapture},
		Braintree: sandbox.BraintreeConfig{Settles: tempo.Of(time.Minute)},
	})
	if err != nil {
		return fmt.Errorf("open the sandbox's book: %w", err)
	}
	listener, err := net.Listen("tcp", c.Sandbox)
	if err != nil {
		return fmt.Errorf("listen on %s for the sandbox: %w; is another one running?", c.Sandbox, err)
	}
	e.sandboxURL = "http://" + listener.Addr().String()
	e.hooks = api.HTTPServer(c.Sandbox, e.sandbox.Handler(), log)
	go func() {
		if err := e.hooks.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("listener ended", "listener", "sandbox", "error", err)
		}
	}()
	return nil
}

// shutdown stops everything, the databases last.
func (e *environment) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*shutdownGrace)
	defer cancel()
	var errs []error
	if e.system != nil {
		errs = append(errs, e.system.shutdown())
	}
	if e.hooks != nil {
		errs = append(errs, e.hooks.Close())
	}
	if e.sandbox != nil {
		errs = append(errs, e.sandbox.Close())
	}
	if e.stack != nil {
		errs = append(errs, e.stack.Stop(ctx))
	}
	return errors.Join(errs...)
}

// dev runs everything until ctx ends. No orders are made by themselves.
func dev(ctx context.Context, c config.Dev, stdout io.Writer, log *slog.Logger) error {
	if !c.Ephemeral {
		if err := os.MkdirAll(c.Data, 0o755); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
	}
	e, err := startEnvironment(ctx, c, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, `
Capstan runs.
  API        %s/api            Authorization: Bearer %s
  Asynqmon   %s/asynqmon/      any user name, the token as the password
  metrics    %s/metrics
  sandbox    %s/v1             Stripe's wire, any secret key sk_test_…; the other gateways' below their names
  Postgres   %s
  Redis      %s
For audit, doctor and reconcile in another terminal:
  export DATABASE_URL='%s' REDIS_URL='%s'
Stop it with Ctrl-C.

`, e.url("api"), c.Token.Reveal(), e.url("admin"), e.url("admin"), e.sandboxURL, e.stack.PostgresFrom, e.stack.RedisFrom, e.stack.DatabaseURL, e.stack.RedisURL)
	select {
	case <-ctx.Done():
		log.Info("stopping: calls under way are finished and recorded")
	case err = <-e.stack.Failed():
	}
	return errors.Join(err, e.shutdown())
}

// serveSandbox runs the sandbox gateway alone.
func serveSandbox(ctx context.Context, c config.Sandbox, log *slog.Logger) error {
	var endpoints []sandbox.Endpoint
	if c.WebhookURL != "" {
		endpoints = append(endpoints, sandbox.Endpoint{URL: c.WebhookURL, Secret: c.WebhookSecret})
	}
	s, err := sandbox.New(sandbox.Config{Dir: c.Data, Webhooks: endpoints, Log: log, Now: time.Now})
	if err != nil {
		return fmt.Errorf("open the sandbox's book: %w", err)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", c.Listen, err), s.Close())
	}
	server := api.HTTPServer(c.Listen, s.Handler(), log)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	log.Info("listening", "listener", "sandbox", "address", listener.Addr().String())
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	return errors.Join(err, server.Close(), s.Close())
}
