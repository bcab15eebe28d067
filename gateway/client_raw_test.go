package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
)

func raw(method, body, kind string) gateway.Call {
	return gateway.Call{Label: gateway.CallVoid, Method: method, Path: "/void", Raw: []byte(body), RawType: kind}
}

func TestRawBodies(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}))
	defer srv.Close()
	client := newClient(t, gateway.ClientConfig{BaseURL: srv.URL})
	for _, tt := range []struct {
		name       string
		call       gateway.Call
		sent, kind string
		length     int64
		notSent    bool
	}{
		{name: "XML", call: raw("PUT", "<a/>", "application/xml"), sent: "<a/>", kind: "application/xml", length: 4},
		{name: "JSON by default", call: raw("POST", "{}", ""), sent: "{}", kind: "application/json", length: 2},
		{name: "empty", call: raw("PUT", "", "application/xml"), kind: "application/xml"},
		{name: "empty without a type", call: raw("PUT", "", ""), notSent: true},
		{name: "empty with a key", call: keyed(raw("PUT", "", "application/xml")), notSent: true},
		{name: "two bodies", call: withJSON(raw("PUT", "", "application/xml")), notSent: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, body = nil, nil
			a := client.Do(t.Context(), tt.call)
			if tt.notSent {
				if a.Phase != gateway.PhaseNotSent || got != nil {
					t.Fatalf("it was sent: %+v", a)
				}
				return
			}
			if a.Phase != gateway.PhaseAnswered || string(body) != tt.sent || got.Header.Get("Content-Type") != tt.kind || got.ContentLength != tt.length || len(got.TransferEncoding) != 0 {
				t.Fatalf("%+v: %q %v, %d bytes", a, body, got.Header, got.ContentLength)
			}
		})
	}
}

func keyed(c gateway.Call) gateway.Call {
	c.KeyHeader, c.Key = "Idempotency-Key", "void_x_e0"
	return c
}

func withJSON(c gateway.Call) gateway.Call {
	c.JSON = map[string]int{}
	return c
}

// A call without a body, on a connection that breaks under it, arrives once.
func TestEmptyBodiesAreNotSentTwice(t *testing.T) {
	for _, reset := range []bool{false, true} {
		s := newRawServer(t, idleBreaker(reset))
		client := newClient(t, gateway.ClientConfig{BaseURL: s.addr})
		if a := client.Do(t.Context(), raw("PUT", "", "application/xml")); a.Phase != gateway.PhaseAnswered {
			t.Fatal(a.Err)
		}
		if a := client.Do(t.Context(), raw("PUT", "", "application/xml")); a.Phase != gateway.PhaseSent {
			t.Fatalf("got %s, want sent: %v", a.Phase, a.Err)
		}
		if n, c := s.requests.Load(), s.conns.Load(); n != 2 || c != 1 {
			t.Fatalf("%d requests on %d connections for 2 calls", n, c)
		}
	}
}
