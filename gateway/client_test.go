package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

func newClient(t *testing.T, c gateway.ClientConfig) *gateway.Client {
	t.Helper()
	if c.Provider == "" {
		c.Provider = "test"
	}
	client := gateway.NewClient(c)
	t.Cleanup(client.Close)
	return client
}

func capture() gateway.Call {
	return gateway.Call{
		Label: gateway.CallCapture, Method: http.MethodPost, Path: "/capture", Form: url.Values{"amount": {"1500"}},
		KeyHeader: "Idempotency-Key", Key: "cap_x_e0",
	}
}

// rawServer answers each connection by a function of its own, below HTTP.
type rawServer struct {
	addr     string
	requests atomic.Int64 // requests read whole
	conns    atomic.Int64
}

func newRawServer(t *testing.T, serve func(s *rawServer, conn *net.TCPConn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: "http://" + l.Addr().String()}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			group.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(s, conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		group.Wait()
	})
	return s
}

// read takes one whole request off the connection.
func (s *rawServer) read(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return false
	}
	s.requests.Add(1)
	return true
}

func reply(conn net.Conn, raw string) { _, _ = io.WriteString(conn, raw) }

const okReply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

func TestNotSentIsProven(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	var seen atomic.Int64
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are what is tested
	secure.StartTLS()
	defer secure.Close()
	over := func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return ctx
	}
	for _, tt := range []struct {
		name   string
		config gateway.ClientConfig
		ctx    context.Context
		call   gateway.Call
	}{
		{"connection refused", gateway.ClientConfig{BaseURL: "http://" + closed.Addr().String()}, t.Context(), capture()},
		{"no such host", gateway.ClientConfig{BaseURL: "http://gateway.invalid"}, t.Context(), capture()},
		{"address not allowed", gateway.ClientConfig{BaseURL: plain.URL, DialControl: func(string, string, syscall.RawConn) error { return errors.New("private address") }}, t.Context(), capture()},
		{"certificate not trusted", gateway.ClientConfig{BaseURL: secure.URL}, t.Context(), capture()},
		{"TLS too old", gateway.ClientConfig{BaseURL: secure.URL, TLS: &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}}, t.Context(), capture()},
		{"TLS to a plain server", gateway.ClientConfig{BaseURL: strings.Replace(plain.URL, "http:", "https:", 1)}, t.Context(), capture()},
		{"context over before", gateway.ClientConfig{BaseURL: plain.URL}, over(), capture()},
		{"no base URL", gateway.ClientConfig{}, t.Context(), capture()},
		{"base URL with a password", gateway.ClientConfig{BaseURL: "https://user:hunter2@gateway.invalid"}, t.Context(), capture()},
		{"base URL that is none", gateway.ClientConfig{BaseURL: "https://user:hunter2@ga teway"}, t.Context(), capture()},
		{"ftp", gateway.ClientConfig{BaseURL: "ftp://gateway.invalid"}, t.Context(), capture()},
		{"POST without a body", gateway.ClientConfig{BaseURL: plain.URL}, t.Context(), gateway.Call{Label: gateway.CallVoid, Method: http.MethodPost, Path: "/void"}},
		{"two bodies", gateway.ClientConfig{BaseURL: plain.URL}, t.Context(), gateway.Call{Label: gateway.CallVoid, Method: http.MethodPost, Path: "/void", Form: url.Values{"a": {"b"}}, JSON: 1}},
		{"body that cannot be encoded", gateway.ClientConfig{BaseURL: plain.URL}, t.Context(), gateway.Call{Label: gateway.CallVoid, Method: http.MethodPost, Path: "/void", JSON: func() {}}},
		{"path without a slash", gateway.ClientConfig{BaseURL: plain.URL}, t.Context(), gateway.Call{Label: gateway.CallLookUp, Method: http.MethodGet, Path: "void"}},
		{"key that is no header", gateway.ClientConfig{BaseURL: plain.URL}, t.Context(), gateway.Call{Label: gateway.CallVoid, Method: http.MethodPost, Path: "/void", JSON: 1, KeyHeader: "Idempotency-Key", Key: "a\nb"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newClient(t, tt.config).Do(tt.ctx, tt.call)
			if a.Phase != gateway.PhaseNotSent || a.Err == nil || a.Status != 0 {
				t.Fatalf("got %s, status %d, %v", a.Phase, a.Status, a.Err)
			}
			if strings.Contains(a.Err.Error(), "hunter2") {
				t.Errorf("the error tells a password: %v", a.Err)
			}
		})
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("%d requests arrived that were reported as not sent", n)
	}
}

func TestSentProvesNothing(t *testing.T) {
	reset := func(conn *net.TCPConn) { _ = conn.SetLinger(0); _ = conn.Close() }
	for _, tt := range []struct {
		name   string
		config gateway.ClientConfig
		serve  func(conn *net.TCPConn, closed <-chan struct{})
		status int
	}{
		{"closed without an answer", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) { _ = conn.Close() }, 0},
		{"reset without an answer", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) { reset(conn) }, 0},
		{"half a status line", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) { reply(conn, "HTTP/1.1 20") }, 0},
		{"not HTTP", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) { reply(conn, "220 mail.example ESMTP\r\n") }, 0},
		{"half the headers", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) { reply(conn, "HTTP/1.1 200 OK\r\nContent-Le") }, 0},
		{"half the body", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":")
		}, 200},
		{"half the body, then reset", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n{\"id\":")
			reset(conn)
		}, 0},
		{"chunks that break off", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
		}, 200},
		{"chunks that are none", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n")
		}, 200},
		{"two lengths", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}")
		}, 0},
		{"body too large", gateway.ClientConfig{MaxBody: 1000}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"+strings.Repeat("x", 1001))
		}, 200},
		{"endless body", gateway.ClientConfig{MaxBody: 1000}, func(conn *net.TCPConn, closed <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				select {
				case <-closed:
					return
				default:
					if _, err := io.WriteString(conn, strings.Repeat("x", 4096)); err != nil {
						return
					}
				}
			}
		}, 200},
		{"headers too large", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nX-Fill: "+strings.Repeat("x", 70<<10)+"\r\n\r\n{}")
		}, 0},
		{"compressed though nobody asked", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(bytes.Repeat([]byte("0"), 10<<20))
			_ = z.Close()
			reply(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", b.Len(), b.String()))
		}, 200},
		{"switching protocols", gateway.ClientConfig{}, func(conn *net.TCPConn, _ <-chan struct{}) {
			reply(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}, 101},
		{"no answer in time", gateway.ClientConfig{Timeout: 50 * time.Millisecond}, func(_ *net.TCPConn, closed <-chan struct{}) { <-closed }, 0},
		{"headers, then silence", gateway.ClientConfig{Timeout: 50 * time.Millisecond}, func(conn *net.TCPConn, closed <-chan struct{}) {
			reply(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			<-closed
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			over := make(chan struct{})
			s := newRawServer(t, func(s *rawServer, conn *net.TCPConn) {
				if s.read(bufio.NewReader(conn)) {
					tt.serve(conn, over)
				}
			})
			defer close(over)
			tt.config.BaseURL = s.addr
			a := newClient(t, tt.config).Do(t.Context(), capture())
			if a.Phase != gateway.PhaseSent || a.Err == nil || a.Body != nil {
				t.Fatalf("got %s, body %q, %v", a.Phase, a.Body, a.Err)
			}
			if tt.status != 0 && a.Status != tt.status {
				t.Errorf("status %d was seen, want %d", a.Status, tt.status)
			}
			if n := s.requests.Load(); n != 1 {
				t.Errorf("%d requests arrived, want 1", n)
			}
		})
	}
}

// idleBreaker answers the first request of a connection, reads the second one
// whole, and then ends the connection without an answer: the case in which
// net/http sends again by itself.
func idleBreaker(reset bool) func(*rawServer, *net.TCPConn) {
	return func(s *rawServer, conn *net.TCPConn) {
		r := bufio.NewReader(conn)
		if !s.read(r) {
			return
		}
		reply(conn, okReply)
		if !s.read(r) {
			return
		}
		if reset {
			_ = conn.SetLinger(0)
		}
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	for name, reset := range map[string]bool{"closes": false, "resets": true} {
		t.Run("a plain client is repeated on a connection that "+name, func(t *testing.T) {
			// The control: without our precautions the fault is real.
			s := newRawServer(t, idleBreaker(reset))
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for range 2 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.addr, strings.NewReader("amount=1500"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Idempotency-Key", "cap_x_e0")
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if n := s.requests.Load(); n != 3 {
				t.Skipf("this Go does not repeat: %d requests for 2 calls", n)
			}
		})
		t.Run("ours is not, when it "+name, func(t *testing.T) {
			s := newRawServer(t, idleBreaker(reset))
			client := newClient(t, gateway.ClientConfig{BaseURL: s.addr})
			if a := client.Do(t.Context(), capture()); a.Phase != gateway.PhaseAnswered {
				t.Fatal(a.Err)
			}
			if a := client.Do(t.Context(), capture()); a.Phase != gateway.PhaseSent {
				t.Fatalf("got %s, want sent: %v", a.Phase, a.Err)
			}
			if n, c := s.requests.Load(), s.conns.Load(); n != 2 || c != 1 {
				t.Fatalf("%d requests on %d connections for 2 calls", n, c)
			}
		})
	}
}

// TestIdleClosed: the server closes the connection as soon as it has answered,
// while the client thinks of it as idle. Whatever the race between the two
// gives, no call arrives twice and none that arrived is reported as not sent.
func TestIdleClosed(t *testing.T) {
	s := newRawServer(t, func(s *rawServer, conn *net.TCPConn) {
		if s.read(bufio.NewReader(conn)) {
			reply(conn, okReply)
		}
	})
	client := newClient(t, gateway.ClientConfig{BaseURL: s.addr})
	const calls = 300
	lost, unsent := 0, 0
	for range calls {
		switch a := client.Do(t.Context(), capture()); a.Phase {
		case gateway.PhaseNotSent:
			unsent++
		case gateway.PhaseSent:
			lost++
		}
	}
	arrived := int(s.requests.Load())
	if arrived > calls-unsent || arrived < calls-unsent-lost {
		t.Fatalf("%d calls: %d lost, %d not sent, and %d arrived", calls, lost, unsent, arrived)
	}
}

func TestAnswers(t *testing.T) {
	var got *http.Request
	var body []byte
	mux := http.NewServeMux()
	mux.HandleFunc("/base/answer", func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.WithoutCancel(r.Context()))
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Request-Id", "req_1")
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
	})
	mux.HandleFunc("/base/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/base/answer", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/base/empty", func(http.ResponseWriter, *http.Request) {})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	client := newClient(t, gateway.ClientConfig{BaseURL: srv.URL + "/base/", Keep: []string{"Request-Id"}, UserAgent: "capstan/test"})

	call := capture()
	call.Path, call.Query = "/answer", url.Values{"q": {"a b"}}
	call.Header = http.Header{"authorization": {"Bearer sk"}}
	a := client.Do(t.Context(), call)
	if a.Phase != gateway.PhaseAnswered || a.Err != nil || a.Status != http.StatusTeapot || string(a.Body) != "short and stout" {
		t.Fatalf("answer: %+v", a)
	}
	if a.Header.Get("Request-Id") != "req_1" || a.Header.Get("Set-Cookie") != "" || gateway.RetryAfter(a.Header) != 3*time.Second {
		t.Errorf("headers kept: %v", a.Header)
	}
	if string(body) != "amount=1500" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.ContentLength != 11 ||
		got.Header.Get("Idempotency-Key") != "cap_x_e0" || got.Header.Get("User-Agent") != "capstan/test" || got.URL.RawQuery != "q=a+b" ||
		got.Header.Get("Authorization") != "Bearer sk" || got.Header.Get("Accept-Encoding") != "" {
		t.Errorf("request: %q %d %v", body, got.ContentLength, got.Header)
	}

	call.Path, call.Form, call.JSON = "/answer", nil, map[string]int{"amount": 1500}
	if a := client.Do(t.Context(), call); a.Status != http.StatusTeapot || string(body) != `{"amount":1500}` || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("JSON: %+v %q", a, body)
	}
	got = nil
	call.Path = "/moved"
	if a := client.Do(t.Context(), call); a.Phase != gateway.PhaseAnswered || a.Status != http.StatusTemporaryRedirect || got != nil {
		t.Errorf("a redirect was followed or lost: %+v", a)
	}
	if a := client.Do(t.Context(), gateway.Call{Label: gateway.CallLookUp, Method: http.MethodGet, Path: "/empty"}); a.Phase != gateway.PhaseAnswered || len(a.Body) != 0 {
		t.Errorf("empty answer: %+v", a)
	}
}

func TestPathsAreNotRewritten(t *testing.T) {
	var path string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath() }))
	defer srv.Close()
	client := newClient(t, gateway.ClientConfig{BaseURL: srv.URL})
	for _, id := range []string{"pi_1", "a/b", "a?b=c", "a#b", "ü", "%2f", "a b"} {
		want := "/v1/" + url.PathEscape(id) + "/capture"
		client.Do(t.Context(), gateway.Call{Label: gateway.CallLookUp, Method: http.MethodGet, Path: want})
		if path != want {
			t.Errorf("%q arrived as %q, want %q", id, path, want)
		}
	}
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	var proxied atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { proxied.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	newClient(t, gateway.ClientConfig{BaseURL: "http://gateway.invalid"}).Do(t.Context(), capture())
	if proxied.Load() != 0 {
		t.Error("a call went through a proxy that only the environment names")
	}
}

func TestErrorsTellNoSecrets(t *testing.T) {
	const key = "sk_live_51Hunter2"
	for name, text := range map[string]string{
		"the key":          "dial with " + key + " failed",
		"another key":      "dial with sk_test_abcdefgh failed",
		"a bearer":         "Authorization: Bearer abcdef123456 refused",
		"a card":           "card 4242 4242 4242 4242 refused",
		"a webhook secret": "whsec_abc123def refused",
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, gateway.ClientConfig{BaseURL: "http://127.0.0.1:9", Redact: []gateway.Secret{key},
				DialControl: func(string, string, syscall.RawConn) error { return errors.New(text) }})
			a := client.Do(t.Context(), capture())
			for _, bad := range []string{"Hunter2", "abcdef", "4242", "abc123"} {
				if strings.Contains(fmt.Sprintf("%v %+v %s", a.Err, a.Err, a.Err), bad) {
					t.Errorf("the error tells %q: %v", bad, a.Err)
				}
			}
		})
	}
}

func TestContextErrorsAreRecognised(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	s := newRawServer(t, func(s *rawServer, conn *net.TCPConn) {
		s.read(bufio.NewReader(conn))
		<-over
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	a := newClient(t, gateway.ClientConfig{BaseURL: s.addr}).Do(ctx, capture())
	if !errors.Is(a.Err, context.DeadlineExceeded) || errors.Is(a.Err, context.Canceled) {
		t.Fatalf("got %v", a.Err)
	}
}

func TestMetricsAreSharedAndClosed(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	reg := prometheus.NewPedanticRegistry()
	for range 2 { // two accounts
		client := newClient(t, gateway.ClientConfig{BaseURL: srv.URL, Provider: "stripe", Registerer: reg})
		client.Do(t.Context(), capture())
		client.Count(gateway.CallCapture, models.OutcomeConfirmed)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += l.GetName() + "=" + l.GetValue() + " "
			}
			found[f.GetName()] += fmt.Sprintf("%s%v %d;", labels, m.GetCounter().GetValue(), m.GetHistogram().GetSampleCount())
		}
	}
	want := map[string]string{
		"capstan_attempts_total":  "call=capture outcome=confirmed provider=stripe 2 0;",
		"capstan_gateway_seconds": "call=capture provider=stripe 0 2;",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestConcurrentCalls(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	client := newClient(t, gateway.ClientConfig{BaseURL: srv.URL})
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			call := capture()
			call.Form = url.Values{"n": {strconv.Itoa(i)}}
			for range 10 {
				if a := client.Do(t.Context(), call); string(a.Body) != "n="+strconv.Itoa(i) {
					t.Errorf("call %d got %q, %v", i, a.Body, a.Err)
				}
			}
		})
	}
	group.Wait()
	if n := seen.Load(); n != 640 {
		t.Errorf("%d requests for 640 calls", n)
	}
}

func TestRetryAfter(t *testing.T) {
	const now = "Wed, 21 Oct 2026 07:28:00 GMT"
	for _, tt := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", now, 0}, {"7", "", 7 * time.Second}, {" 7 ", "", 7 * time.Second}, {"0", "", 0}, {"-5", "", 0}, {"1.5", "", 0},
		{"86400", "", time.Hour}, {"99999999999999999999", "", 0}, {"soon", now, 0},
		{"Wed, 21 Oct 2026 07:28:30 GMT", now, 30 * time.Second}, {"Wed, 21 Oct 2026 07:27:30 GMT", now, 0},
		{"Thu, 22 Oct 2026 07:28:00 GMT", now, time.Hour}, {"Wed, 21 Oct 2026 07:28:30 GMT", "", 0},
	} {
		h := http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}
		if got := gateway.RetryAfter(h); got != tt.want {
			t.Errorf("Retry-After %q at %q is %s, want %s", tt.value, tt.date, got, tt.want)
		}
	}
}
