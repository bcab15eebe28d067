package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/store"
)

// Config is what every dialect shares.
type Config struct {
	// Tokens are those that the configuration names. Granted tokens are signed with
	// a key that is derived from the first.
	Tokens []Token
	// Store has the tokens that were made since, and the answers under idempotency
	// keys. Without one there are neither.
	Store *store.Store
	// Rate is what each client may send; the zero Rate is all it likes.
	Rate Rate
	// Checks decide what /readyz says.
	Checks []Check
	// RequestTimeout bounds one request; 0 means 30 s, which is longer than the
	// budget of a look at the gateway.
	RequestTimeout time.Duration
	Log            *slog.Logger
	Registerer     prometheus.Registerer
	Now            func() time.Time
}

// Server is the API. It is an [http.Handler], safe for concurrent use.
type Server struct {
	authority  *authority
	store      *store.Store
	rate       Rate
	limit      *limiter
	grantLimit *limiter

	checks   []Check
	timeout  time.Duration
	log      *slog.Logger
	now      func() time.Time
	metrics  metrics
	dialects []Dialect
	handler  http.Handler
}

// New puts the dialects behind one router. Its error names every token and
// route that is wrong.
func New(c Config, dialects ...Dialect) (*Server, error) {
	who, keyErr := newAuthority(c.Tokens, c.Store, c.Now)
	m, metricsErr := newMetrics(c.Registerer)
	s := &Server{authority: who, store: c.Store, rate: c.Rate, limit: newLimiter(c.Now), grantLimit: newLimiter(c.Now), checks: c.Checks, timeout: c.RequestTimeout, log: c.Log, now: c.Now, metrics: m}
	if s.timeout <= 0 {
		s.timeout = 30 * time.Second
	}
	s.dialects = append([]Dialect{s.health(), s.oauth()}, dialects...)
	list, pathErr := paths(s.dialects)
	if err := errors.Join(keyErr, metricsErr, pathErr); err != nil {
		return nil, fmt.Errorf("set up the API: %w", err)
	}
	mux := http.NewServeMux()
	for _, p := range list {
		mux.Handle(p.pattern, s.serve(p))
	}
	mux.Handle("/", http.HandlerFunc(s.nowhere))
	s.handler = s.observed(mux)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Routes lists what is served, with the scope that each route needs.
func (s *Server) Routes() []Route {
	var all []Route
	for _, d := range s.dialects {
		all = append(all, d.Routes...)
	}
	return all
}

func (s *Server) nowhere(w http.ResponseWriter, r *http.Request) {
	RefuseJSONAPI(w, r, []*Problem{NotFound("there is no such path")})
}

// serve answers the requests of one path: who is it, may they, and then the
// handler. An unknown method is told only to those who may use the path.
func (s *Server) serve(p *path) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, _ := r.Context().Value(requestKey).(*requestInfo)
		info.dialect, info.route = p.dialect.Name, p.pattern
		if err := s.handle(w, r, p, info); err != nil {
			info.err = err
			refuseIn(p.dialect, w, r, Problems(err))
		}
	})
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request, p *path, info *requestInfo) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	route, known := p.route(r.Method)
	need := route.Scope
	if !known {
		need = p.scope()
	}
	if need > ScopeNone {
		caller, err := s.authority.authenticate(r)
		if err != nil {
			if _, refused := errors.AsType[*Problem](err); refused {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			return err
		}
		info.caller = caller.Name
		if problem := s.limit.allow(w.Header(), s.rate, caller, p.pattern); problem != nil {
			return problem
		}
		if caller.Scope < need {
			return forbidden(caller, need)
		}
		ctx = context.WithValue(ctx, callerKey, caller)
	}
	if !known {
		w.Header().Set("Allow", strings.Join(p.allowed, ", "))
		return &Problem{
			Status: http.StatusMethodNotAllowed, Code: CodeMethod, Title: "Method not allowed",
			Detail: fmt.Sprintf("%s is not allowed here; allowed: %s", r.Method, strings.Join(p.allowed, ", ")),
		}
	}
	r = r.WithContext(ctx)
	if s.store == nil || need == ScopeNone {
		return route.Handle(w, r)
	}
	key, problem := keyOf(r)
	if problem != nil {
		return problem
	}
	if key == "" {
		return route.Handle(w, r)
	}
	return s.once(w, r, p.dialect, route.Handle, CallerOf(ctx), key)
}

func refuseIn(d *Dialect, w http.ResponseWriter, r *http.Request, problems []*Problem) {
	if problems[0].Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if d.Refuse != nil {
		d.Refuse(w, r, problems)
		return
	}
	RefuseJSONAPI(w, r, problems)
}

// HTTPServer returns a server with every limit set: slow, endless and
// oversized requests end by themselves.
func HTTPServer(addr string, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
