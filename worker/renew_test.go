package worker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// renewing is a gateway that renews a hold by making another, once for each key:
// the sandbox's own idempotency keeps it to that. It loses as many answers as it
// is told to, after the new hold is there.
type renewing struct {
	*stripe.Adapter
	lose atomic.Int32

	mu     sync.Mutex
	wholes []bool
}

func (g *renewing) Capabilities() gateway.Capabilities {
	caps := g.Adapter.Capabilities()
	caps.Reauthorize = true
	return caps
}

func (g *renewing) Reauthorize(ctx context.Context, r gateway.Request) models.Evidence {
	ev := g.Authorize(ctx, gateway.AuthorizeRequest{Reference: r.Reference, Key: r.Key, AmountCents: r.AmountCents, CurrencyCode: r.CurrencyCode})
	if g.lose.Add(-1) >= 0 {
		return models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeLost}
	}
	ends := time.Now().Add(72 * time.Hour)
	ev.HoldEndsAt = &ends
	return ev
}

// Refund notes whether all of the capture goes back.
func (g *renewing) Refund(ctx context.Context, r gateway.Request) models.Evidence {
	g.mu.Lock()
	g.wholes = append(g.wholes, r.Whole)
	g.mu.Unlock()
	return g.Adapter.Refund(ctx, r)
}

func (w *world) renewing(t *testing.T) (*renewing, *worker.Runner) {
	t.Helper()
	g := &renewing{Adapter: newAdapter(w.front.url(), w.store.Tempo(), w.log)}
	t.Cleanup(g.Close)
	return g, worker.NewRunner(worker.RunnerConfig{Store: w.store, Accounts: gateway.Accounts{account: g}, Name: "renewer", Log: w.log})
}

// TestRenewalOfAHold: the policy renews a hold before its end, through an answer
// that is lost, once; it is captured under its new id and its old name.
func TestRenewalOfAHold(t *testing.T) {
	t.Parallel()
	policy := models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, Reauthorize: true}
	w := newWorld(t, setup{policy: &policy})
	g, runner := w.renewing(t)
	g.lose.Store(1)
	soon := time.Now().Add(time.Hour) // within the last warning at this tempo
	p := w.placeUntil(t, "", total, total, &soon)
	if _, err := w.store.RunSweep(t.Context(), store.Sweep{Owner: "test", Source: "test", Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w.wantAtRisk(t, 1, float64(total))

	server := worker.NewServer(worker.Config{
		Runner: runner, Redis: w.redis, Connect: another(w.redis), Concurrency: 4, SweepEvery: sweepEvery, CancelAfter: w.cancelAfter, PollEvery: pollEvery,
		Deliverer: worker.NewDeliverer(w.store, nil, time.Now), Metrics: worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: w.log,
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	var hold models.Authorization
	eventually(t, "the hold is renewed", func() (bool, any) {
		var err error
		hold, err = w.store.Authorization(t.Context(), models.Test, p.authID)
		return err == nil && hold.Renewals == 1, hold
	})
	if hold.GatewayTransactionID == p.hold || hold.FirstTransactionID != p.hold || hold.RenewingSince != nil || time.Until(*hold.CaptureBefore) < 71*time.Hour {
		t.Errorf("the hold is %+v", hold)
	}
	if n := len(w.book(t, "").Holds); n != 2 {
		t.Errorf("the gateway has %d holds, want the old and the new", n)
	}
	made := w.approve(t, p)
	if len(made) != 1 || made[0].GatewayReference != models.GatewayReference(account, p.hold, models.Capture, 1) {
		t.Fatalf("approval made %+v", made)
	}
	p.op = made[0]
	w.reaches(t, p, models.Succeeded)
	old, renewed := w.book(t, p.hold), w.book(t, hold.GatewayTransactionID)
	if len(old.Captures) != 0 || len(renewed.Captures) != 1 || renewed.Captures[0].Amount != total || renewed.Captures[0].Reference != made[0].GatewayReference {
		t.Errorf("captured %+v of the old hold and %+v of the new", old.Captures, renewed.Captures)
	}
	w.wantAtRisk(t, 0, 0)
	w.audit(t)
}

// wantAtRisk compares the metrics of what ends within a day.
func (w *world) wantAtRisk(t *testing.T, holds, cents float64) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(worker.NewCollector(w.store, asynq.NewInspectorFromRedisClient(w.redis)))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "within" && l.GetValue() == "24h" {
					got[f.GetName()] = m.GetGauge().GetValue()
				}
			}
		}
	}
	if got["capstan_holds_at_risk"] != holds || got["capstan_value_at_risk_cents"] != cents {
		t.Errorf("at risk: %v, want %v holds with %v", got, holds, cents)
	}
}

// TestWholeRefunds: a cancel that returns the whole capture says so to its
// adapter; one that returns what is left does not, and neither does a refund by hand.
func TestWholeRefunds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	g, runner := w.renewing(t)
	captured := func() purchase {
		p := w.order(t, "")
		_ = runner.Run(t.Context(), models.Capture, p.op.ID)
		return p
	}
	all, rest := captured(), captured()
	part := w.refund(t, rest)
	_ = runner.Run(t.Context(), models.Refund, part.op.ID)
	for _, p := range []purchase{all, rest} {
		w.cancel(t, p)
		for _, op := range w.operations(t, models.Refund, p) {
			_ = runner.Run(t.Context(), models.Refund, op.ID)
		}
		w.wantOrder(t, p, models.OrderCancelled, models.Refunded)
	}
	w.check(t, all, truth{captured: total, refunded: total})
	if len(g.wholes) != 3 || g.wholes[0] || !g.wholes[1] || g.wholes[2] {
		t.Errorf("whole refunds were %v, want only the second of three", g.wholes)
	}
}
