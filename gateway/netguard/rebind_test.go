package netguard_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/netguard"
)

// nameServer answers every question for an A record from a list, the last one
// for ever, and counts the questions.
type nameServer struct {
	conn    net.PacketConn
	answers []string
	asked   atomic.Int32
}

func newNameServer(t *testing.T, answers ...string) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, answers: answers}
	t.Cleanup(func() { _ = conn.Close() })
	go s.serve()
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if n > 12 {
			_, _ = s.conn.WriteTo(s.answer(buf[:n]), from)
		}
	}
}

// answer repeats the question and adds one record, or none for other types.
func (s *nameServer) answer(q []byte) []byte {
	end := 12
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	kind := binary.BigEndian.Uint16(q[end+1:])
	end += 5
	out := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:end]...)
	if kind != 1 {
		return out
	}
	i := min(int(s.asked.Add(1))-1, len(s.answers)-1)
	out[7] = 1
	out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	ip := netip.MustParseAddr(s.answers[i]).As4()
	return append(out, ip[:]...)
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

// TestRebinding: a name that is public when it is looked at and private when it
// is called is not connected to.
func TestRebinding(t *testing.T) {
	inside, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inside.Close() }()
	var reached atomic.Int32
	go func() {
		for {
			c, err := inside.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = c.Close()
		}
	}()
	port := inside.Addr().(*net.TCPAddr).AddrPort().Port()
	names := newNameServer(t, "93.184.216.34", "127.0.0.1")
	guard := netguard.Guard{Ports: []uint16{port}}
	u, err := guard.URL("https://gateway.example:" + inside.Addr().String()[len("127.0.0.1:"):])
	if err != nil {
		t.Fatal(err)
	}
	seen, err := names.resolver().LookupNetIP(t.Context(), "ip4", u.Hostname())
	if err != nil || len(seen) != 1 || netguard.Public(seen[0].Unmap()) != nil {
		t.Fatalf("the first look: %v, %v", seen, err)
	}
	for _, g := range []netguard.Guard{guard, {AllowPrivate: true}} {
		dialer := &net.Dialer{Control: g.Control, Resolver: names.resolver(), Timeout: 5 * time.Second}
		conn, err := dialer.DialContext(t.Context(), "tcp4", u.Host)
		if conn != nil {
			_ = conn.Close()
		}
		if g.AllowPrivate {
			if err != nil {
				t.Errorf("the listener cannot be reached at all: %v", err)
			}
			continue
		}
		if !errors.Is(err, netguard.ErrRefused) || reached.Load() != 0 {
			t.Errorf("%v, and %d connections", err, reached.Load())
		}
	}
	if names.asked.Load() < 2 {
		t.Errorf("the name was resolved %d times: nothing was rebound", names.asked.Load())
	}
}

// TestEveryHopIsChecked: where a client does follow redirects, each hop is a dial.
func TestEveryHopIsChecked(t *testing.T) {
	names := newNameServer(t, "127.0.0.1")
	client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Control: netguard.Guard{Ports: []uint16{80}}.Control, Resolver: names.resolver()}).DialContext}}
	for _, raw := range []string{"http://a.example/", "http://127.0.0.1/", "http://[::1]/", "http://localhost/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, netguard.ErrRefused) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
