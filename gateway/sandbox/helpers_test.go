package sandbox_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// box is a sandbox behind a real listener.
type box struct {
	*sandbox.Server
	url string
}

func newBox(t *testing.T, c sandbox.Config) *box {
	t.Helper()
	s, err := sandbox.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &box{Server: s, url: srv.URL}
}

// answer is what came over the wire; err is set where none came.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
	err    error
}

func (a answer) str(path ...string) string {
	var v any = a.body
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func (a answer) num(name string) int64 {
	f, _ := a.body[name].(float64)
	return int64(f)
}

// call sends one request on a connection of its own. Pairs are form fields;
// a name that begins with a capital is a header.
func (b *box) call(t *testing.T, method, path string, pairs ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return b.callCtx(ctx, t, method, path, pairs...)
}

func (b *box) callCtx(ctx context.Context, t *testing.T, method, path string, pairs ...string) answer {
	t.Helper()
	form, header := url.Values{}, http.Header{"Authorization": {"Bearer sk_test_any"}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if name := pairs[i]; name[0] >= 'A' && name[0] <= 'Z' {
			header.Set(name, pairs[i+1])
		} else {
			form.Add(name, pairs[i+1])
		}
	}
	target, body := b.url+path, ""
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody, req.Close, req.Header = nil, true, header
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw), err: err}
	_ = json.Unmarshal(raw, &a.body)
	return a
}

// hold makes a hold of 1500 EUR cents.
func (b *box) hold(t *testing.T, pairs ...string) string {
	t.Helper()
	a := b.call(t, "POST", "/v1/payment_intents",
		append([]string{"amount", "1500", "currency", "eur", "capture_method", "manual", "confirm", "true"}, pairs...)...)
	if a.status != 200 || a.str("status") != "requires_capture" {
		t.Fatalf("hold: %+v", a)
	}
	return a.str("id")
}

func (b *box) fault(t *testing.T, body string) answer {
	t.Helper()
	return b.admin(t, "PUT", "/_sandbox/fault", body)
}

func (b *box) admin(t *testing.T, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.body)
	return a
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
