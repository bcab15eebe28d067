// Package sandboxtest connects the conformance suite of gatewaytest with the
// sandbox, for the adapters' tests.
package sandboxtest

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway/gatewaytest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// On completes a harness for an adapter that calls s: whose book it is, and,
// unless they are set, the usual faults and euros.
func On(s *sandbox.Server, h gatewaytest.Harness) gatewaytest.Harness {
	h.Bookings = func(_ *testing.T, kind models.Kind, hold string) []gatewaytest.Booking {
		book := s.BookOf(hold)
		var out []gatewaytest.Booking
		for _, b := range map[models.Kind][]sandbox.Booking{models.Capture: book.Captures, models.Refund: book.Refunds, models.Void: book.Cancels}[kind] {
			out = append(out, gatewaytest.Booking{Reference: b.Reference, Key: b.Key, AmountCents: b.Amount, Currency: strings.ToUpper(b.Currency)})
		}
		return out
	}
	h.Settled = func(hold string) bool { return s.Late(hold) == 0 }
	if h.Faults == nil {
		h.Faults = gatewaytest.Faults()
	}
	if h.Currency == "" {
		h.Currency = "EUR"
	}
	return h
}

// Scoped puts a fault on the calls of one kind, so that the capture that
// prepares a refund does not meet it.
func Scoped(kind models.Kind, fault string) string {
	if fault == "" {
		return ""
	}
	steps := strings.Split(fault, ",")
	for i, step := range steps {
		if !strings.HasPrefix(step, "lookup_") {
			steps[i] = string(kind) + "." + step
		}
	}
	return strings.Join(steps, ",")
}

// Nobody is an address of this machine at which nobody listens.
func Nobody(t testing.TB) string {
	t.Helper()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	return "http://" + closed.Addr().String()
}

// Clock is a time that a test moves. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock is set to a day in spring.
func NewClock() *Clock { return &Clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
