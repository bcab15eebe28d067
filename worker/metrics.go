package worker

import (
	"context"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Metrics are what a process counts itself. Every label comes from a closed set
// and begins at zero, so that an alert sees the first of anything.
type Metrics struct {
	moves     *prometheus.CounterVec
	verdicts  *prometheus.CounterVec
	lastSweep prometheus.Gauge
	listings  *prometheus.CounterVec
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		moves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_transitions_total", Help: "Steps of operations, by kind, event and resulting state.",
		}, []string{"kind", "event", "state"}),
		verdicts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_verdicts_total", Help: "Verdicts of claims, webhooks and sweeps, by verdict.",
		}, []string{"verdict"}),
		listings: newListingFindings(f),
		lastSweep: f.NewGauge(prometheus.GaugeOpts{
			Name: "capstan_sweep_last_success_timestamp_seconds", Help: "When this process last finished a sweep.",
		}),
	}
	for _, v := range models.Verdicts {
		m.verdicts.WithLabelValues(string(v))
	}
	for _, kind := range models.Kinds {
		for _, e := range models.Moves(kind) {
			m.moves.WithLabelValues(string(kind), string(e.Event), string(e.To))
		}
	}
	return m
}

// Moved counts one step: it is for store.Options.OnMove.
func (m *Metrics) Moved(step store.Moved) {
	m.moves.WithLabelValues(string(step.Kind), string(step.Event), string(step.State)).Inc()
	if step.Verdict != "" {
		m.verdicts.WithLabelValues(string(step.Verdict)).Inc()
	}
}

func (m *Metrics) swept(r store.SweepReport, now time.Time) {
	for verdict, n := range r.Counts {
		m.verdicts.WithLabelValues(string(verdict)).Add(float64(n))
	}
	m.lastSweep.Set(float64(now.Unix()))
}

// Gauges show what a runner holds in memory: a number that stays high is a
// batch that does not come back from Postgres, or a gateway that is slow.
func (r *Runner) Gauges() []prometheus.Collector {
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	var circuits []prometheus.Collector
	for _, a := range r.accounts {
		if a.circuit != nil {
			circuits = append(circuits, a.circuit.gauge())
		}
	}
	return append(circuits,
		gauge("capstan_claims_waiting", "Captures that wait to be claimed together.", func() int { n, _ := r.committer.Waiting(); return n }),
		gauge("capstan_outcomes_waiting", "Outcomes that wait to be recorded together.", func() int { _, n := r.committer.Waiting(); return n }),
		gauge("capstan_captures_in_flight", "Captures that batches have claimed and not finished.", r.intake.inFlight),
	)
}

// Collector measures open work and queues whenever Prometheus asks. Its cost
// follows open work.
type Collector struct {
	store     *store.Store
	inspector *asynq.Inspector

	open, oldest, flagged, unpublished, inbox, queued, latency *prometheus.Desc
	valueAtRisk, holdsAtRisk                                   *prometheus.Desc
}

// NewCollector returns a collector over the ledger and Asynq's queues.
func NewCollector(s *store.Store, i *asynq.Inspector) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Collector{
		store: s, inspector: i,
		open:        desc("capstan_open_operations", "Operations without an outcome.", "kind"),
		oldest:      desc("capstan_oldest_open_seconds", "Age of the oldest operation without an outcome.", "kind"),
		flagged:     desc("capstan_flagged_operations", "Open operations that wait for a person.", "kind"),
		unpublished: desc("capstan_unpublished", "Open operations that Redis was not told of."),
		valueAtRisk: desc("capstan_value_at_risk_cents", "What is lost when the holds that end soon are not captured, in minor units; what ends within 24h counts within 48h, too.", "currency", "within"),
		holdsAtRisk: desc("capstan_holds_at_risk", "Holds that end soon and are not captured; what ends within 24h counts within 48h, too.", "within"),
		inbox:       desc("capstan_inbox_pending", "Webhooks that arrived and are not applied yet."),
		queued:      desc("asynq_queue_size", "Tasks in Asynq, by queue and state.", "queue", "state"),
		latency:     desc("asynq_queue_latency_seconds", "Age of the oldest pending task.", "queue"),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.open, c.oldest, c.flagged, c.unpublished, c.inbox, c.queued, c.latency, c.valueAtRisk, c.holdsAtRisk} {
		ch <- d
	}
}

// collectTimeout keeps a slow database from blocking a scrape.
const collectTimeout = 5 * time.Second

// Collect implements prometheus.Collector. What cannot be measured is left out:
// a missing series is what the alerts look for.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	if gauges, inbox, err := c.store.Gauges(ctx); err == nil {
		c.collectOpen(ch, gauges)
		ch <- prometheus.MustNewConstMetric(c.inbox, prometheus.GaugeValue, float64(inbox))
	}
	if risks, err := c.store.ValueAtRisk(ctx); err == nil {
		c.collectRisks(ch, risks)
	}
	queues, err := c.inspector.Queues()
	if err != nil {
		return
	}
	for _, name := range queues {
		c.collectQueue(ch, name)
	}
}

func (c *Collector) collectOpen(ch chan<- prometheus.Metric, gauges []store.Gauge) {
	byKind := map[models.Kind]store.Gauge{}
	unpublished := int64(0)
	for _, g := range gauges {
		byKind[g.Kind] = g
		unpublished += g.Unpublished
	}
	for _, kind := range models.Kinds { // a kind with nothing open is a zero, not a gap
		g := byKind[kind]
		ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(g.Open), string(kind))
		ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, g.OldestSeconds, string(kind))
		ch <- prometheus.MustNewConstMetric(c.flagged, prometheus.GaugeValue, float64(g.Flagged), string(kind))
	}
	ch <- prometheus.MustNewConstMetric(c.unpublished, prometheus.GaugeValue, float64(unpublished))
}

// collectRisks tells what ends soon. Currencies without any are left out.
func (c *Collector) collectRisks(ch chan<- prometheus.Metric, risks []store.AtRisk) {
	holds := map[string]int64{"48h": 0, "24h": 0}
	for _, r := range risks {
		within := strconv.Itoa(r.Hours) + "h"
		holds[within] += r.Holds
		ch <- prometheus.MustNewConstMetric(c.valueAtRisk, prometheus.GaugeValue, float64(r.Cents), r.CurrencyCode, within)
	}
	for within, n := range holds {
		ch <- prometheus.MustNewConstMetric(c.holdsAtRisk, prometheus.GaugeValue, float64(n), within)
	}
}

func (c *Collector) collectQueue(ch chan<- prometheus.Metric, name string) {
	info, err := c.inspector.GetQueueInfo(name)
	if err != nil {
		return
	}
	for state, n := range map[string]int{
		"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry, "archived": info.Archived,
	} {
		ch <- prometheus.MustNewConstMetric(c.queued, prometheus.GaugeValue, float64(n), name, state)
	}
	ch <- prometheus.MustNewConstMetric(c.latency, prometheus.GaugeValue, info.Latency.Seconds(), name)
}
