package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// circuit is the breaker of an account that cannot be tried without effect. It
// stands in the ledger, so that all processes share it: more than after calls in
// a row that prove nothing open it; then one operation a minute is let through,
// and the first answer closes it. It defers, and fails nothing.
type circuit struct {
	slug  string
	after int
	store *store.Store
	tempo models.Tempo
	log   *slog.Logger
}

// circuitRead bounds the statements around a call.
const circuitRead = 5 * time.Second

// enter says why no call may be made now; empty lets it through.
func (c *circuit) enter(ctx context.Context) (why string) {
	ctx, cancel := context.WithTimeout(ctx, c.tempo.Of(circuitRead))
	defer cancel()
	state, err := c.store.EnterCircuit(ctx, c.slug)
	switch {
	case err != nil:
		c.log.WarnContext(ctx, "a circuit could not be read; nothing is sent", "gateway", c.slug, "error", err)
		return "the state of the gateway's circuit is not known"
	case state.Try:
		c.log.InfoContext(ctx, "an operation tries the open circuit", "gateway", c.slug)
	case state.Open:
		return "the gateway does not answer: its circuit is open, and one operation a minute tries it"
	}
	return ""
}

// saw counts what a call came to. The outcome itself is recorded whatever happens here.
func (c *circuit) saw(ctx context.Context, ev models.Evidence) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.tempo.Of(circuitRead))
	defer cancel()
	var err error
	switch {
	case failedCall(ev):
		var failures int
		var opened bool
		if failures, opened, err = c.store.CircuitFailed(ctx, c.slug, c.after); opened {
			c.log.ErrorContext(ctx, "circuit opened: the gateway's calls prove nothing", "gateway", c.slug, "failures", failures, "error", ev.Message)
		}
	case answeredCall(ev):
		var closed bool
		if closed, err = c.store.CircuitAnswered(ctx, c.slug); closed {
			c.log.InfoContext(ctx, "circuit closed: the gateway answers again, and what is open is due now", "gateway", c.slug)
		}
	}
	if err != nil {
		c.log.WarnContext(ctx, "a circuit could not be counted", "gateway", c.slug, "error", err)
	}
}

// failedCall: the gateway was called, or could not be, and nothing was proven.
func failedCall(ev models.Evidence) bool {
	return ev.Outcome == models.OutcomeLost && ev.Class != models.ClassInProgress || ev.Outcome == models.OutcomeNotSent && ev.Class == ""
}

// answeredCall: the gateway answered something that decides. Its refusal does,
// too; what an adapter refuses by itself has no status.
func answeredCall(ev models.Evidence) bool {
	switch ev.Outcome {
	case models.OutcomeConfirmed, models.OutcomeAccepted, models.OutcomeRefused, models.OutcomeDeclined:
		return ev.Status != 0
	}
	return false
}

// gauge shows whether it is open: 1, or 0. It asks the ledger, which all
// processes share.
func (c *circuit) gauge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "capstan_circuit_open", Help: "1 while a gateway's circuit is open: its operations are deferred, and one a minute tries it.", ConstLabels: prometheus.Labels{"gateway": c.slug},
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), circuitRead)
		defer cancel()
		if state, err := c.store.Circuit(ctx, c.slug); err == nil && state.Open {
			return 1
		}
		return 0
	})
}
