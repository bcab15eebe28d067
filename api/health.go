package api

import (
	"context"
	"net/http"
	"time"
)

// Check is one thing that must be well before requests are welcome.
type Check struct {
	Name string
	// Check returns nil, or why not. The reason is logged and not told.
	Check func(ctx context.Context) error
}

// checkTimeout bounds one check.
const checkTimeout = 2 * time.Second

func (s *Server) health() Dialect {
	return Dialect{Name: "health", Routes: []Route{
		{Method: http.MethodGet, Pattern: "/healthz", Handle: s.alive},
		{Method: http.MethodGet, Pattern: "/readyz", Handle: s.ready},
	}}
}

// alive says that the process answers, and nothing more: an orchestrator that
// restarts it because the database is away helps nobody.
func (s *Server) alive(w http.ResponseWriter, _ *http.Request) error {
	WriteJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
	return nil
}

// ready says whether requests are welcome.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	checks := map[string]string{}
	status, word := http.StatusOK, "ok"
	for _, c := range s.checks {
		checks[c.Name] = "ok"
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		err := c.Check(ctx)
		cancel()
		if err != nil {
			s.log.WarnContext(r.Context(), "not ready", "check", c.Name, "error", err)
			checks[c.Name], status, word = "failing", http.StatusServiceUnavailable, "unavailable"
		}
	}
	WriteJSON(w, status, "application/json", map[string]any{"status": word, "checks": checks})
	return nil
}
