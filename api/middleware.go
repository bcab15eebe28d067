package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

// requestInfo is what the layers below tell the access log.
type requestInfo struct {
	id      string
	dialect string
	route   string
	caller  string
	err     error
}

// RequestID returns the name under which the log knows the request.
func RequestID(ctx context.Context) string {
	if info, ok := ctx.Value(requestKey).(*requestInfo); ok {
		return info.id
	}
	return ""
}

// requestIDForm is what a client may send as X-Request-Id.
var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observed wraps everything: it names the request, keeps a panic from ending
// the process, and writes one log line and the metrics of each request.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.now()
		info := &requestInfo{id: r.Header.Get("X-Request-Id"), dialect: "none", route: "none"}
		if !requestIDForm.MatchString(info.id) {
			info.id = uuid.Must(uuid.NewV7()).String()
		}
		r = r.WithContext(context.WithValue(r.Context(), requestKey, info))
		answer := &answer{ResponseWriter: w}
		secure(answer.Header(), info.id)
		s.metrics.inFlight.Inc()
		defer func() {
			s.metrics.inFlight.Dec()
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.log.ErrorContext(r.Context(), "panic", "request_id", info.id, "route", info.route, "panic", p, "stack", string(debug.Stack()))
				if !answer.written {
					RefuseJSONAPI(answer, r, Problems(errPanic))
				}
			}
			s.account(r, info, answer, s.now().Sub(start))
		}()
		next.ServeHTTP(answer, r)
	})
}

var errPanic = panicked{}

type panicked struct{}

func (panicked) Error() string { return "panic" }

// secure sets the headers of every answer. Nothing here is for a browser to
// show, to run or to keep.
func secure(h http.Header, requestID string) {
	h.Set("X-Request-Id", requestID)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
}

func (s *Server) account(r *http.Request, info *requestInfo, a *answer, took time.Duration) {
	method := r.Method
	if !slices.Contains(methods, method) {
		method = "other"
	}
	s.metrics.requests.WithLabelValues(info.dialect, info.route, method, strconv.Itoa(a.status/100)+"xx").Inc()
	s.metrics.seconds.WithLabelValues(info.dialect, info.route, method).Observe(took.Seconds())
	level := slog.LevelInfo
	switch {
	case errors.Is(info.err, context.Canceled): // the client went away
	case a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case info.dialect == "health":
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("request_id", info.id), slog.String("method", method), slog.String("route", info.route), slog.String("path", r.URL.Path),
		slog.Int("status", a.status), slog.Int64("bytes", a.bytes), slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("token", info.caller),
	}
	if info.err != nil && a.status >= http.StatusInternalServerError {
		attrs = append(attrs, slog.Any("error", info.err))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// answer remembers what was written.
type answer struct {
	http.ResponseWriter
	status  int
	bytes   int64
	written bool
}

func (a *answer) WriteHeader(status int) {
	if !a.written {
		a.status, a.written = status, true
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if !a.written {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// methods are the values of the label method; any other is "other".
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete, http.MethodOptions}

// metrics have closed sets of labels: routes are patterns of the table.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (metrics, error) {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "capstan_http_requests_total", Help: "Requests answered, by dialect, route, method and class of status.",
		}, []string{"dialect", "route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "capstan_http_request_seconds", Help: "Time to answer a request.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"dialect", "route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "capstan_http_in_flight", Help: "Requests being answered now."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.inFlight} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}
