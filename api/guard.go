package api

import (
	"net/http"
)

// Guard puts a handler that is not of this package, such as a dashboard, behind
// the tokens. A program sends its token as a bearer; a browser is asked for a
// password, and the token is one under any user name. Requests from other
// sites that would change something are refused, since a browser sends the
// password along by itself.
func Guard(tokens []Token, need Scope, h http.Handler) (http.Handler, error) {
	keys, err := newKeyring(tokens)
	if err != nil {
		return nil, err
	}
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := keys.person(r)
		if !ok {
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
	return http.NewCrossOriginProtection().Handler(guarded), nil
}

// person finds the caller by bearer token or by a browser's password.
func (k keyring) person(r *http.Request) (Caller, bool) {
	if _, password, ok := r.BasicAuth(); ok && len(password) <= maxToken {
		return k.find(password)
	}
	caller, problem := k.authenticate(r)
	return caller, problem == nil
}
