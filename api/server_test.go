package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// small serves handlers of a test's own, with a token.
func small(t *testing.T, log io.Writer, reg prometheus.Registerer, routes ...api.Route) string {
	t.Helper()
	s, err := api.New(api.Config{
		Tokens: []api.Token{{Name: "t", Secret: "topsecret", Scope: api.ScopeOperate, Mode: models.Test}},
		Log:    slog.New(slog.NewJSONHandler(log, nil)), Registerer: reg, Now: time.Now,
	}, api.Dialect{Name: "test", Routes: routes})
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, s)
}

func TestErrorsAreWordedAtTheEdge(t *testing.T) {
	var log bytes.Buffer
	fail := func(path string, err error) api.Route {
		return api.Route{Method: http.MethodGet, Pattern: path, Scope: api.ScopeRead, Handle: func(http.ResponseWriter, *http.Request) error { return err }}
	}
	cause := errors.New(`pq: relation "captures" does not exist, password=hunter2`)
	rows := []struct {
		path   string
		err    error
		status int
		code   string
	}{
		{"/internal", cause, 500, "INTERNAL_SERVER_ERROR"},
		{"/deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), 503, "SERVICE_UNAVAILABLE"},
		{"/away", fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), 503, "SERVICE_UNAVAILABLE"},
		{"/notfound", fmt.Errorf("order 1: %w", store.ErrNotFound), 404, "RECORD_NOT_FOUND"},
		{"/stale", fmt.Errorf("capture 1: %w", store.ErrStale), 409, "CONFLICT"},
		{"/refused", fmt.Errorf("in a transaction: %w", &store.Refusal{Rule: "hold_closed", Field: "_capture", Detail: "closed"}), 422, "HOLD_CLOSED"},
		{"/busy", &store.Refusal{Rule: "operation_under_way", Detail: "wait", Busy: true}, 409, "OPERATION_UNDER_WAY"},
	}
	routes := []api.Route{{Method: http.MethodGet, Pattern: "/panic", Scope: api.ScopeRead, Handle: func(http.ResponseWriter, *http.Request) error { panic("hunter2") }}}
	for _, row := range rows {
		routes = append(routes, fail(row.path, row.err))
	}
	base := small(t, &log, nil, routes...)
	ask := func(path string, headers ...string) reply {
		return send(t, base, "", http.MethodGet, path, "", append(headers, "Authorization", "Bearer topsecret")...)
	}
	for _, row := range rows {
		r := ask(row.path, "X-Request-Id", "my-request-1").want(t, row.status, map[string]any{"errors.0.code": row.code, "meta.request_id": "my-request-1"})
		if bytes.Contains(r.body, []byte("hunter2")) || bytes.Contains(r.body, []byte("dial")) {
			t.Errorf("%s tells: %s", row.path, r.body)
		}
		if row.status == 503 && r.header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", row.path)
		}
	}
	ask("/panic").want(t, 500, map[string]any{"errors.0.code": "INTERNAL_SERVER_ERROR"})
	logged := log.String()
	for _, part := range []string{`"request_id":"my-request-1"`, `"route":"/internal"`, `"status":500`, `"token":"t"`, `"panic":"hunter2"`} {
		if !strings.Contains(logged, part) {
			t.Errorf("the log lacks %s", part)
		}
	}
	if strings.Contains(logged, "topsecret") {
		t.Error("the log holds a token")
	}
	if r := ask("/internal", "X-Request-Id", "no\tgood id"); r.header.Get("X-Request-Id") == "" || strings.Contains(r.header.Get("X-Request-Id"), " ") {
		t.Errorf("X-Request-Id = %q", r.header.Get("X-Request-Id"))
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	base := small(t, io.Discard, nil, api.Route{Method: http.MethodGet, Pattern: "/x", Scope: api.ScopeRead, Handle: func(w http.ResponseWriter, _ *http.Request) error {
		api.WriteJSON(w, 200, api.MediaType, 1)
		return nil
	}})
	for _, path := range []string{"/x", "/nowhere", "/healthz"} {
		h := send(t, base, "", http.MethodGet, path, "").header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s = %q", path, name, h.Get(name))
			}
		}
	}
	r := send(t, base, "", http.MethodHead, "/x", "", "Authorization", "Bearer topsecret")
	if r.status != 200 || len(r.body) != 0 {
		t.Errorf("HEAD: status %d, %d bytes", r.status, len(r.body))
	}
	if r := send(t, base, "", http.MethodOptions, "/x", "", "Authorization", "Bearer topsecret"); r.status != 405 || r.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("OPTIONS: status %d, Allow %q", r.status, r.header.Get("Allow"))
	}
}

func TestTableIsChecked(t *testing.T) {
	route := api.Route{Method: http.MethodGet, Pattern: "/x"}
	for _, dialects := range [][]api.Dialect{
		{{Name: "a", Routes: []api.Route{route, route}}},
		{{Name: "a", Routes: []api.Route{route}}, {Name: "b", Routes: []api.Route{{Method: http.MethodPost, Pattern: "/x"}}}},
		{{Name: "a", Routes: []api.Route{{Method: http.MethodGet, Pattern: "/healthz"}}}},
	} {
		if _, err := api.New(api.Config{}, dialects...); err == nil {
			t.Errorf("accepted %+v", dialects)
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.send(t, "", http.MethodGet, "/healthz", "").want(t, 200, map[string]any{"status": "ok"})
	w.send(t, "", http.MethodGet, "/readyz", "").want(t, 200, map[string]any{"status": "ok", "checks.postgres": "ok", "checks.redis": "ok"})
	_ = w.redis.Close()
	w.send(t, "", http.MethodGet, "/readyz", "").want(t, 503, map[string]any{"status": "unavailable", "checks.postgres": "ok", "checks.redis": "failing"})
	w.send(t, "", http.MethodGet, "/healthz", "").want(t, 200, nil)
	// Orders are still approved: Redis carries hints only.
	p := w.place(t, w.method(t, ""), 1500, 1500, "")
	w.approve(t, p)
}

// While the database is away the answer is 503, whatever was under way, and it
// tells nothing of why.
func TestDatabaseAway(t *testing.T) {
	stack := devstacktest.NewStack(t, devstack.Options{NoRedis: true})
	if err := migrate(t.Context(), stack.DatabaseURL); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, stack.DatabaseURL)
	d := commercelayer.New(commercelayer.Config{Store: s, Now: time.Now}).Dialect()
	base := small(t, io.Discard, nil, d.Routes...)
	ask := func(method, path, body string) reply {
		return send(t, base, "", method, path, body, "Authorization", "Bearer topsecret")
	}
	ask(http.MethodGet, "/api/orders", "").want(t, 200, nil)
	if err := stack.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	order := `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":1},"relationships":` + to("payment_method", "payment_methods", store.NewID()) + `}}`
	for range 3 { // a connection that broke, then one that cannot be made
		for _, r := range []reply{
			ask(http.MethodGet, "/api/orders", ""), ask(http.MethodGet, "/api/captures?include=order", ""), ask(http.MethodPost, "/api/orders", order),
		} {
			r.want(t, 503, map[string]any{"errors.0.code": "SERVICE_UNAVAILABLE"})
			for _, word := range []string{"sql", "database", "dial", "127.0.0.1"} {
				if strings.Contains(string(r.body), word) {
					t.Errorf("the answer says %s: %s", word, r.body)
				}
			}
		}
	}
}

// Clients that are slow, endless or oversized are cut off by the server.
func TestOversizedHeaders(t *testing.T) {
	base := small(t, io.Discard, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n")
		for i := range 10_000 {
			if _, err := fmt.Fprintf(conn, "X-Header-%d: %s\r\n", i, strings.Repeat("x", 20)); err != nil {
				return
			}
		}
	}()
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if !strings.Contains(line, "431") {
		t.Errorf("answered %q", line)
	}
	s := api.HTTPServer("127.0.0.1:0", http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("a limit is missing: %+v", s)
	}
}

// The labels of the metrics are a closed set, whatever is asked for.
func TestMetricsAreClosed(t *testing.T) {
	reg := prometheus.NewRegistry()
	base := small(t, io.Discard, reg, api.Route{Method: http.MethodGet, Pattern: "/x/{id}", Scope: api.ScopeNone, Handle: func(w http.ResponseWriter, _ *http.Request) error {
		api.WriteJSON(w, 200, api.MediaType, 1)
		return nil
	}})
	for i := range 50 {
		send(t, base, "", http.MethodGet, fmt.Sprintf("/x/%d", i), "")
		send(t, base, "", http.MethodGet, fmt.Sprintf("/nowhere/%d", i), "")
		send(t, base, "", fmt.Sprintf("M%d", i), "/x/1", "")
	}
	if n := series(t, reg, "capstan_http_requests_total"); n != 3 {
		t.Errorf("%d series, want one for each of the three kinds of request", n)
	}
}

// series counts the series of one metric.
func series(t testing.TB, reg prometheus.Gatherer, name string) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return len(f.GetMetric())
		}
	}
	return 0
}

// The setting of the house's own seed: captures are never made over the API.
func TestCapturesCanBeRefused(t *testing.T) {
	d := commercelayer.New(commercelayer.Config{RefuseCaptures: true, Now: time.Now}).Dialect()
	base := small(t, io.Discard, nil, d.Routes...)
	send(t, base, "", http.MethodPost, "/api/captures", `{"data":{"type":"captures"}}`, "Authorization", "Bearer topsecret").want(t, 405, map[string]any{"errors.0.code": "METHOD_NOT_ALLOWED"})
}
