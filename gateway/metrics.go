package gateway

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Label says which call is made. It is a closed set, so that metrics stay few.
type Label string

// The calls an adapter makes.
const (
	CallAuthorize   Label = "authorize"
	CallCapture     Label = "capture"
	CallRefund      Label = "refund"
	CallVoid        Label = "void"
	CallLookUp      Label = "look_up"
	CallDescribe    Label = "describe"
	CallProbe       Label = "probe"
	CallToken       Label = "token"
	CallList        Label = "list"
	CallReauthorize Label = "reauthorize"
)

type metrics struct {
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// newMetrics registers the two metrics, or finds them where the client of
// another account has registered them already. A nil registerer keeps them private.
func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_attempts_total",
			Help: "Calls to payment gateways, by provider, call and what the answer proved.",
		}, []string{"provider", "call", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "capstan_gateway_seconds",
			Help:    "Time of calls to payment gateways, from asking for a connection to the last byte of the answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30},
		}, []string{"provider", "call"}),
	}
	if reg == nil {
		return m
	}
	m.attempts = registered(reg, m.attempts)
	m.seconds = registered(reg, m.seconds)
	return m
}

// registered panics on a clash of metrics, which is a mistake in the program.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	err := reg.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if old, ok := there.ExistingCollector.(C); ok {
			return old
		}
	}
	if err != nil {
		panic(err)
	}
	return c
}
