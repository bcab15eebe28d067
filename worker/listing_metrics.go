package worker

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func newListingFindings(f promauto.Factory) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{
		Name: "capstan_listing_findings_total", Help: "What the gateways' own lists and the ledger differ in, by gateway and verdict; each once.",
	}, []string{"gateway", "verdict"})
}

// lists begins the counters of every account that has a list at zero.
func (m *Metrics) lists(accounts map[string]*account) {
	for slug, a := range accounts {
		for _, v := range models.Verdicts {
			if a.caps.Lists && v != models.InSync && v != models.Wait {
				m.listings.WithLabelValues(slug, string(v))
			}
		}
	}
}

// listed counts what a comparison found.
func (m *Metrics) listed(r ListingReport) {
	for _, f := range r.Findings {
		if f.New {
			m.listings.WithLabelValues(r.Gateway, string(f.Verdict)).Inc()
			m.verdicts.WithLabelValues(string(f.Verdict)).Inc()
		}
	}
}

// ListingCollector tells how far the gateways' lists were compared, by whatever
// process did it.
type ListingCollector struct {
	store   *store.Store
	through *prometheus.Desc
}

// NewListingCollector returns a collector over the ledger.
func NewListingCollector(s *store.Store) *ListingCollector {
	return &ListingCollector{store: s, through: prometheus.NewDesc("capstan_listing_through_timestamp_seconds",
		"Up to when the gateway's own list was compared with the ledger.", []string{"gateway"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *ListingCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.through }

// Collect implements prometheus.Collector. What cannot be read is left out.
func (c *ListingCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	through, err := c.store.ListedThrough(ctx)
	if err != nil {
		return
	}
	for slug, at := range through {
		ch <- prometheus.MustNewConstMetric(c.through, prometheus.GaugeValue, at, slug)
	}
}
