package api_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Every route that is served, against every scope in both modes, from the
// configuration and from the database, as a bearer and as an API key: the table of
// the router is the table of the test.
func TestRouteByScope(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	id := func(pattern string) string {
		switch strings.Split(pattern, "/")[2] {
		case "orders":
			return p.order
		case "authorizations":
			return p.authorization
		case "payment_methods":
			return p.method
		}
		return capture
	}
	tokens := w.walkers(t)
	routes := w.api.Routes()
	before := w.rows(t)
	for i, route := range routes {
		name := route.Method + " " + route.Pattern
		if route.Scope == api.ScopeNone {
			if !strings.HasPrefix(route.Pattern, "/webhooks/") && !slices.Contains([]string{"/healthz", "/readyz", "/oauth/token", "/oauth/access_token"}, route.Pattern) {
				t.Errorf("%s takes no token", name)
			}
			continue
		}
		named := strings.Contains(route.Pattern, "{")
		jsonAPI := strings.HasPrefix(route.Pattern, "/api/")
		path := route.Pattern
		if jsonAPI && named {
			path = strings.ReplaceAll(path, "{id}", id(path))
		}
		path = wildcard.ReplaceAllString(path, capture)
		ask := func(headers ...string) reply { return w.send(t, "", route.Method, path, "", headers...) }
		// refused: 401, or 403 where a dialect's clients tell the two apart.
		refused := func(r reply, code string) {
			if r.status != http.StatusUnauthorized && (code != "UNAUTHORIZED" || r.status != http.StatusForbidden) || jsonAPI && r.at(t, "errors.0.code") != code {
				t.Errorf("%s: status %d, want 401 %s: %s", name, r.status, code, r.body)
			}
		}

		none := ask()
		refused(none, "UNAUTHORIZED")
		if none.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
		wrong := wrongTokens[i%len(wrongTokens)]
		refused(ask(wrong[0], wrong[1]), "INVALID_TOKEN")
		for _, token := range tokens {
			r := ask(token.header, token.value)
			switch {
			case token.scope < route.Scope:
				refused(r, "UNAUTHORIZED")
			case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden || r.status >= 500:
				t.Errorf("%s as %s: status %d: %s", name, token.name, r.status, r.body)
			case !jsonAPI:
			case route.Method != http.MethodGet:
				if r.status != http.StatusUnsupportedMediaType { // it came as far as the body that is not there
					t.Errorf("%s as %s: status %d: %s", name, token.name, r.status, r.body)
				}
			case token.mode == models.Live && named:
				r.want(t, 404, map[string]any{"errors.0.code": "RECORD_NOT_FOUND"})
			case r.status != 200 && !strings.Contains(path, capture): // refunds, voids and verdicts of this id do not exist
				t.Errorf("%s as %s: status %d: %s", name, token.name, r.status, r.body)
			}
		}
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// wrongTokens are headers that name nobody; each route gets one.
var wrongTokens = [][2]string{
	{"Authorization", "Bearer wrong"}, {"Authorization", "Bearer " + secretOf(admin) + "x"}, {"Authorization", "Bearer " + secretOf(admin)[:5]}, {"Authorization", "Bearer"},
	{"Authorization", "Bearer "}, {"Authorization", secretOf(admin)}, {"Authorization", "Basic " + secretOf(admin)}, {"Authorization", "Bearer  " + secretOf(admin)},
	{"Authorization", "Bearer " + strings.Repeat("x", 600)}, {"X-API-Key", "wrong"}, {"X-API-Key", "Bearer " + secretOf(admin)}, {"X-API-Key", strings.Repeat("x", 600)},
}

// walker is a token of the walk over all routes.
type walker struct {
	name, header, value string
	scope               api.Scope
	mode                models.Mode
}

// walkers are tokens of every scope and mode: those of the configuration, and
// stored ones where it has none.
func (w *world) walkers(t *testing.T) []walker {
	t.Helper()
	list := []walker{
		{reader, "Authorization", "Bearer " + secretOf(reader), api.ScopeRead, models.Test},
		{operator, "X-API-Key", secretOf(operator), api.ScopeOperate, models.Test},
		{admin, "Authorization", "Bearer " + secretOf(admin), api.ScopeAdmin, models.Test},
		{livery, "Authorization", "bearer " + secretOf(livery), api.ScopeAdmin, models.Live},
	}
	for _, scope := range []api.Scope{api.ScopeRead, api.ScopeOperate} {
		m := api.Mint(models.Live)
		_, err := w.store.CreateToken(t.Context(), store.AccessToken{ID: m.ID, Hash: m.Hash, Name: "walker-" + scope.String(), Scope: scope.String(), Mode: models.Live, CreatedBy: "test"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, walker{"stored " + scope.String(), "X-API-Key", m.Secret.Reveal(), scope, models.Live})
	}
	return list
}

// A row of the other mode is not there: not to be read, changed, listed,
// filtered for or pointed at.
func TestModesAreApart(t *testing.T) {
	w := newWorld(t)
	p, capture := w.captured(t, w.method(t, ""))
	before := w.rows(t)
	live := func(method, path, body string) reply { return w.send(t, livery, method, path, body) }
	for _, one := range []struct{ typ, id, attributes string }{
		{"orders", p.order, `{"_cancel":true}`},
		{"orders", p.order, `{"reference":"x"}`},
		{"authorizations", p.authorization, `{"_void":true}`},
		{"authorizations", p.authorization, `{"reference":"x"}`},
		{"captures", capture, `{"_refund":true}`},
		{"captures", capture, `{"_forward":true}`},
		{"captures", capture, `{"_cancel":true}`},
		{"captures", capture, `{"metadata":{"a":1}}`},
		{"payment_methods", p.method, `{"auto_capture":false}`},
	} {
		live("PATCH", "/api/"+one.typ+"/"+one.id, patchBody(one.typ, one.id, one.attributes)).want(t, 404, map[string]any{"errors.0.code": "RECORD_NOT_FOUND"})
	}
	live("POST", "/api/orders", `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":`+to("payment_method", "payment_methods", p.method)+`}}`).want(t, 404, nil)
	live("POST", "/api/authorizations", `{"data":{"type":"authorizations","attributes":{"amount_cents":1,"gateway_transaction_id":"pi_x"},"relationships":`+to("order", "orders", p.order)+`}}`).want(t, 404, nil)
	live("POST", "/api/captures", `{"data":{"type":"captures","relationships":`+to("order", "orders", p.order)+`}}`).want(t, 404, nil)
	for _, list := range []string{"orders", "authorizations", "captures", "refunds", "voids", "payment_methods", "verdicts", "captures?filter[q][order_id_eq]=" + p.order, "captures?filter[q][id_eq]=" + capture} {
		live("GET", "/api/"+list, "").want(t, 200, map[string]any{"meta.record_count": 0})
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	// A live method is served by the live account.
	live("POST", "/api/payment_methods", `{"data":{"type":"payment_methods","attributes":{"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR"}}}`).
		want(t, 201, map[string]any{"data.meta.mode": "live"})
}

func TestTokensAreChecked(t *testing.T) {
	good := api.Token{Name: "a", Secret: "s", Scope: api.ScopeRead, Mode: models.Test}
	for name, change := range map[string]func(*api.Token){
		"no name":   func(x *api.Token) { x.Name = "" },
		"no secret": func(x *api.Token) { x.Secret = "" },
		"a blank":   func(x *api.Token) { x.Secret = "a b" },
		"no scope":  func(x *api.Token) { x.Scope = api.ScopeNone },
		"no mode":   func(x *api.Token) { x.Mode = "" },
	} {
		token := good
		change(&token)
		if _, err := api.New(api.Config{Tokens: []api.Token{token}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := api.New(api.Config{Tokens: []api.Token{good, {Name: "b", Secret: "s", Scope: api.ScopeAdmin, Mode: models.Test}}}); err == nil || strings.Contains(err.Error(), "\"s\"") {
		t.Errorf("two tokens of one secret: %v", err)
	}
	if _, err := api.New(api.Config{Tokens: []api.Token{good}}); err != nil {
		t.Error(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", good, good, good); strings.Contains(text, `"s"`) {
		t.Errorf("a token prints its secret: %s", text)
	}
	if _, err := api.ParseScope("root"); err == nil {
		t.Error("scope root was accepted")
	}
}
