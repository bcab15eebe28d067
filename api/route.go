package api

import (
	"fmt"
	"net/http"
	"slices"
)

// Scope is what a token may do; each scope includes the ones before it.
type Scope int

// The scopes. ScopeNone is for routes that take no token: health, and webhooks,
// which prove themselves by signature.
const (
	ScopeNone Scope = iota
	ScopeRead
	ScopeOperate
	ScopeAdmin
)

var scopeNames = [...]string{"none", "read", "operate", "admin"}

func (s Scope) String() string { return scopeNames[s] }

// ParseScope reads read, operate or admin.
func ParseScope(s string) (Scope, error) {
	for scope := ScopeRead; scope <= ScopeAdmin; scope++ {
		if s == scope.String() {
			return scope, nil
		}
	}
	return ScopeNone, fmt.Errorf("scope %q: must be read, operate or admin", s)
}

// Handler answers one request, or returns an error and has written nothing: see
// [Problems] for what a client is then told.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Route is one line of the table.
type Route struct {
	Method string
	// Pattern is a path of [http.ServeMux], without a method.
	Pattern string
	Scope   Scope
	Handle  Handler
}

// Dialect is a set of routes that word their answers alike.
type Dialect struct {
	// Name stands in metrics and logs.
	Name   string
	Routes []Route
	// Refuse words problems, of which there is at least one. Nil is JSON:API.
	Refuse func(w http.ResponseWriter, r *http.Request, problems []*Problem)
}

// path is all routes of one pattern.
type path struct {
	dialect  *Dialect
	pattern  string
	byMethod map[string]Route
	allowed  []string
}

// paths groups the dialects' routes by pattern, and refuses a table that names
// the same thing twice.
func paths(dialects []Dialect) ([]*path, error) {
	var list []*path
	byPattern := map[string]*path{}
	for i := range dialects {
		d := &dialects[i]
		for _, r := range d.Routes {
			p := byPattern[r.Pattern]
			if p == nil {
				p = &path{dialect: d, pattern: r.Pattern, byMethod: map[string]Route{}}
				byPattern[r.Pattern] = p
				list = append(list, p)
			}
			if _, twice := p.byMethod[r.Method]; twice || p.dialect != d {
				return nil, fmt.Errorf("route %s %s is there twice", r.Method, r.Pattern)
			}
			p.byMethod[r.Method] = r
			p.allowed = append(p.allowed, r.Method)
		}
	}
	for _, p := range list {
		if slices.Contains(p.allowed, http.MethodGet) {
			p.allowed = append(p.allowed, http.MethodHead)
		}
		slices.Sort(p.allowed)
	}
	return list, nil
}

// route finds the route of a method; HEAD is answered as GET.
func (p *path) route(method string) (Route, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	r, ok := p.byMethod[method]
	return r, ok
}

// scope is what a token needs to be told anything about the path.
func (p *path) scope() Scope {
	lowest := ScopeAdmin
	for _, r := range p.byMethod {
		lowest = min(lowest, r.Scope)
	}
	return lowest
}
