package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// roles says which parts a process runs.
type roles struct{ api, worker, relay bool }

// outgoing is the name of the one endpoint that the environment configures.
const outgoing = "default"

// system is one running process: what it is made of, in the order in which it
// is stopped.
type system struct {
	settings config.Role
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *worker.Metrics

	store    *store.Store
	redisOpt asynq.RedisConnOpt
	redis    redis.UniversalClient
	accounts gateway.Accounts
	enqueuer *enqueuer.Enqueuer
	runner   *worker.Runner
	inbox    *webhooks.Webhooks
	// pretences are of the sandbox, where it stands for providers.
	pretences

	servers map[string]*listening
	worker  *worker.Server
	loops   sync.WaitGroup
	stop    context.CancelFunc
}

// pretences replace what only the provider itself can give.
type pretences struct {
	paypalCerts *paypal.Certificates
}

// listening is one listener and who answers on it.
type listening struct {
	server *http.Server
	addr   net.Addr
}

// url is where a listener answers.
func (s *system) url(name string) string { return "http://" + s.servers[name].addr.String() }

// open connects to everything that every role needs.
func open(ctx context.Context, c config.Role, log *slog.Logger) (*system, error) {
	s := &system{settings: c, log: log, registry: prometheus.NewRegistry(), servers: map[string]*listening{}}
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.metrics = worker.NewMetrics(s.registry)
	st, err := store.Open(ctx, c.DatabaseURL.Reveal(), store.Options{Tempo: c.Tempo(), MaxConns: c.MaxConns, OnMove: func(m store.Moved) {
		s.metrics.Moved(m)
		log.InfoContext(ctx, "moved", "kind", m.Kind, "operation_id", m.ID, "event", m.Event, "state", m.State, "version", m.Version, "actor", m.Actor, "reason", m.Reason)
	}})
	if err != nil {
		return nil, err
	}
	s.store = st
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.redisOpt, err = redisOption(c.RedisURL.Reveal()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.redis = s.connectRedis()
	if err := s.register(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.enqueuer = enqueuer.New(enqueuer.Config{Store: st, Redis: s.redis, CancelAfter: c.Tempo().Of(c.CancelAfter), Log: log})
	s.runner = worker.NewRunner(worker.RunnerConfig{
		Store: st, Accounts: s.accounts, Name: workerName(), Log: log, RatePerSecond: c.RatePerSecond, CallsAtOnce: c.CallsAtOnce, SkipUnknownHolds: c.SkipUnknownHolds(),
	})
	return s, nil
}

// check refuses a database that is behind, or that may lose what it committed.
func (s *system) check(ctx context.Context) error {
	pending, err := s.store.Pending(ctx)
	if err != nil {
		return err
	}
	if pending > 0 {
		return fmt.Errorf("the database lacks %d migrations: run `capstan migrate`", pending)
	}
	bad, err := s.store.Durability(ctx)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("this Postgres may lose a committed capture (%s): turn the settings on", strings.Join(bad, ", "))
	}
	return nil
}

// redisOption reads a Redis URL: everything Asynq knows, and clusters.
func redisOption(url string) (asynq.RedisConnOpt, error) {
	if hosts, ok := strings.CutPrefix(url, "redis-cluster://"); ok {
		return asynq.RedisClusterClientOpt{Addrs: strings.Split(hosts, ",")}, nil
	}
	o, err := asynq.ParseRedisURI(url)
	if err != nil {
		return nil, errors.New("REDIS_URL cannot be read: it looks like redis://host:6379/0, rediss://…, redis-sentinel://…?master=name or redis-cluster://host,host")
	}
	return o, nil
}

func (s *system) connectRedis() redis.UniversalClient {
	return s.redisOpt.MakeRedisClient().(redis.UniversalClient)
}

func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return fmt.Sprintf("%s:%d", host, os.Getpid())
}

// start runs the parts that r names, listening where the settings say.
func (s *system) start(ctx context.Context, r roles) error {
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	server, err := s.api()
	if err != nil {
		return err
	}
	if r.api {
		if err := s.listen(s.settings.Listen.API, server, "api"); err != nil {
			return err
		}
		s.loops.Go(func() { s.inbox.Run(loops) })
	}
	if r.worker {
		if err := s.startWorker(ctx); err != nil {
			return err
		}
	}
	if r.relay {
		relay := enqueuer.NewRelay(s.enqueuer, s.settings.Tempo().Of(s.settings.RelayEvery))
		s.loops.Go(func() { relay.Run(loops) })
	}
	s.registry.MustRegister(worker.NewCollector(s.store, asynq.NewInspectorFromRedisClient(s.redis)), worker.NewAuditCollector(s.store))
	if s.settings.ListEvery > 0 { // else how far the lists were compared only grows older
		s.registry.MustRegister(worker.NewListingCollector(s.store))
	}
	return s.listen(s.settings.Admin, s.admin(server), "admin")
}

func (s *system) startWorker(ctx context.Context) error {
	s.registry.MustRegister(s.runner.Gauges()...)
	t := s.settings.Tempo()
	s.worker = worker.NewServer(worker.Config{
		Runner: s.runner, Redis: s.redis, Connect: s.connectRedis, Concurrency: s.settings.Concurrency, Servers: s.settings.Servers, SweepEvery: t.Of(s.settings.SweepEvery),
		ListingEvery: t.Of(s.settings.ListEvery), AuditEvery: t.Of(s.settings.AuditEvery), AuditAt: s.settings.AuditTime(),
		CancelAfter: t.Of(s.settings.CancelAfter), PollEvery: s.settings.PollEvery, Metrics: s.metrics, Now: time.Now, Log: s.log,
		Deliverer: s.deliverer(),
	})
	return s.worker.Start(ctx)
}

// deliverer sends webhooks where the settings let it.
func (s *system) deliverer() *worker.Deliverer {
	d := worker.NewDeliverer(s.store, map[string]gateway.Secret{outgoing: s.settings.WebhookOut.Secret}, time.Now)
	if s.settings.WebhookOut.AllowPrivate {
		return d.Anywhere()
	}
	return d
}

func (s *system) listen(addr string, h http.Handler, name string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s for %s: %w; is another one running?", addr, name, err)
	}
	server := api.HTTPServer(addr, h, s.log)
	s.servers[name] = &listening{server: server, addr: listener.Addr()}
	s.loops.Go(func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener ended", "listener", name, "error", err)
		}
	})
	s.log.Info("listening", "listener", name, "address", listener.Addr().String())
	return nil
}

// shutdownGrace is how long open HTTP requests may still run.
const shutdownGrace = 10 * time.Second

// shutdown stops in order: no new requests, then the worker ends its calls and
// records them, then the loops, then the connections.
func (s *system) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	var errs []error
	for _, l := range s.servers {
		errs = append(errs, l.server.Shutdown(ctx))
	}
	if s.worker != nil {
		s.worker.Shutdown()
	}
	if s.stop != nil {
		s.stop()
	}
	s.loops.Wait()
	return errors.Join(append(errs, s.close())...)
}

func (s *system) close() error {
	var errs []error
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	return errors.Join(append(errs, s.store.Close())...)
}

// serve runs a production role until ctx ends.
func serve(ctx context.Context, c config.Role, r roles, log *slog.Logger) error {
	s, err := open(ctx, c, log)
	if err != nil {
		return err
	}
	if err := s.start(ctx, r); err != nil {
		return errors.Join(err, s.shutdown())
	}
	<-ctx.Done()
	log.Info("stopping: calls under way are finished and recorded")
	return s.shutdown()
}
