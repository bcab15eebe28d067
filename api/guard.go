package api

import (
	"errors"
	"net/http"
)

// Guard puts a handler that is not of this package, such as a dashboard, behind
// the tokens. A program sends its token as a bearer; a browser is asked for a
// password, and the token is one under any user name. Requests from other
// sites that would change something are refused, since a browser sends the
// password along by itself.
func (s *Server) Guard(need Scope, h http.Handler) http.Handler {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := s.authority.person(r)
		if _, refused := errors.AsType[*Problem](err); err != nil && !refused {
			http.Error(w, "503: the token could not be looked up", http.StatusServiceUnavailable)
			return
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="capstan: any name, the token as password", charset="UTF-8"`)
			http.Error(w, "401: send a bearer token, or the token as the password of any user name", http.StatusUnauthorized)
			return
		}
		if caller.Scope < need {
			http.Error(w, "403: this needs a token of scope "+need.String(), http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		h.ServeHTTP(w, r)
	})
	return http.NewCrossOriginProtection().Handler(guarded)
}

// person finds the caller by bearer token or by a browser's password.
func (a *authority) person(r *http.Request) (Caller, error) {
	if _, password, ok := r.BasicAuth(); ok && len(password) <= maxToken {
		return a.find(r.Context(), password)
	}
	return a.authenticate(r)
}
