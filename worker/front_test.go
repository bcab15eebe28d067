package worker_test

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// front is the network between a worker and the sandbox: it can be cut, hold
// calls back, and spoil credentials. What passes is the sandbox's business.
type front struct {
	handler http.Handler
	addr    string

	mu      sync.Mutex
	server  *http.Server
	revoked bool
	gates   []*gate
	calls   int
}

// gate holds back calls of one method to one place.
type gate struct {
	method, part string // of the request and its URL
	waiting      int
	full         bool // others pass
	open         chan struct{}
}

func newFront(t testing.TB, h http.Handler) *front {
	t.Helper()
	f := &front{handler: h, addr: "127.0.0.1:0"}
	f.up(t)
	t.Cleanup(f.down)
	return f
}

func (f *front) url() string { return "http://" + f.addr }

// up listens, always at the same address.
func (f *front) up(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		t.Fatalf("listen for the sandbox: %v", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(f.serve), ReadHeaderTimeout: time.Minute}
	f.mu.Lock()
	f.addr, f.server = listener.Addr().String(), server
	f.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// down refuses connections and cuts those that are open.
func (f *front) down() {
	f.mu.Lock()
	server := f.server
	f.server = nil
	f.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.calls++
	g := f.gateFor(r)
	if g != nil {
		g.waiting++
	}
	f.mu.Unlock()
	if g != nil {
		select {
		case <-g.open:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	if f.revoked && strings.HasPrefix(r.URL.Path, "/v1/") {
		r.Header.Set("Authorization", "Bearer revoked")
	}
	f.mu.Unlock()
	f.handler.ServeHTTP(w, r)
}

func (f *front) gateFor(r *http.Request) *gate {
	for _, g := range f.gates {
		if !g.full && g.method == r.Method && strings.Contains(r.URL.String(), g.part) {
			return g
		}
	}
	return nil
}

// holdBack makes calls of a method, whose URL has a part, wait until release.
func (f *front) holdBack(method, part string) *gate {
	g := &gate{method: method, part: part, open: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gates = append(f.gates, g)
	return g
}

// letOthersPass keeps what is held and holds nothing more.
func (f *front) letOthersPass(g *gate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g.full = true
}

func (f *front) held(g *gate) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return g.waiting
}

func (f *front) release(g *gate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.gates {
		if f.gates[i] == g {
			f.gates = append(f.gates[:i], f.gates[i+1:]...)
			close(g.open)
			return
		}
	}
}

// revoke makes the account's key bad, or good again.
func (f *front) revoke(bad bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = bad
}

func (f *front) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}
