package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
)

// Every route that is served, against every token: the table of the router is
// the table of the test.
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
	routes := w.api.Routes()
	before := w.rows(t)
	for _, route := range routes {
		if route.Scope == api.ScopeNone {
			if !strings.HasPrefix(route.Pattern, "/webhooks/") && !slices.Contains([]string{"/healthz", "/readyz"}, route.Pattern) {
				t.Errorf("%s %s takes no token", route.Method, route.Pattern)
			}
			continue
		}
		path := route.Pattern
		if strings.Contains(path, "{id}") {
			path = strings.ReplaceAll(path, "{id}", id(path))
		}
		ask := func(headers ...string) reply { return w.send(t, "", route.Method, path, "", headers...) }
		bearer := func(secret string) reply { return ask("Authorization", "Bearer "+secret) }
		name := route.Method + " " + route.Pattern

		none := ask()
		none.want(t, 401, map[string]any{"errors.0.code": "UNAUTHORIZED"})
		if none.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: 401 without WWW-Authenticate", name)
		}
		for _, wrong := range []string{
			"Bearer wrong", "Bearer " + secretOf(admin) + "x", "Bearer " + secretOf(admin)[:5], "Bearer", "Bearer ", secretOf(admin),
			"Basic " + secretOf(admin), "Bearer  " + secretOf(admin), "Bearer " + strings.Repeat("x", 600),
		} {
			ask("Authorization", wrong).want(t, 401, map[string]any{"errors.0.code": "INVALID_TOKEN"})
		}
		for token, scope := range map[string]api.Scope{reader: api.ScopeRead, operator: api.ScopeOperate, admin: api.ScopeAdmin} {
			r := bearer(secretOf(token))
			switch {
			case scope < route.Scope:
				r.want(t, 401, map[string]any{"errors.0.code": "UNAUTHORIZED"})
			case route.Method != http.MethodGet:
				if r.status != http.StatusUnsupportedMediaType { // it came as far as the body that is not there
					t.Errorf("%s as %s: status %d: %s", name, token, r.status, r.body)
				}
			case r.status != 200 && !strings.Contains(path, capture): // refunds, voids and verdicts of this id do not exist
				t.Errorf("%s as %s: status %d: %s", name, token, r.status, r.body)
			}
		}
		if route.Method == http.MethodGet && strings.Contains(route.Pattern, "{id}") {
			bearer(secretOf(livery)).want(t, 404, map[string]any{"errors.0.code": "RECORD_NOT_FOUND"})
		}
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
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
