package api

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// Window allows so many requests in any interval. The zero Window allows all.
type Window struct {
	Requests int
	Interval time.Duration
}

// Rate is what a client may send, in each process that it is connected to.
type Rate struct {
	// Test and Live are for all of a client's requests, by its mode.
	Test, Live Window
	// TestPath and LivePath are for each path of the table apart.
	TestPath, LivePath Window
}

// RateOf allows n requests a second. 0 allows all.
func RateOf(n int) Rate {
	w := Window{Requests: n, Interval: time.Second}
	return Rate{Test: w, Live: w}
}

// CommerceLayerRate are the figures that Commerce Layer documents for resources
// that it does not cache, which orders and all transactions are.
func CommerceLayerRate() Rate {
	return Rate{
		Test: Window{100, time.Minute}, TestPath: Window{25, 10 * time.Second},
		Live: Window{200, time.Minute}, LivePath: Window{50, 10 * time.Second},
	}
}

// grantRate is how often one address may ask for a token.
var grantRate = Window{Requests: 30, Interval: time.Minute}

// maxCounters bounds what is counted apart; whoever comes after that shares one.
const maxCounters = 16384

// limiter counts requests in sliding windows. It is safe for concurrent use.
type limiter struct {
	now func() time.Time

	mu       sync.Mutex
	counters map[string]*counter
}

func newLimiter(now func() time.Time) *limiter {
	if now == nil {
		now = time.Now
	}
	return &limiter{now: now, counters: map[string]*counter{}}
}

// counter holds two windows one after the other. What counts is the current one
// and, of the one before, the part that a window ending now still reaches.
type counter struct {
	began    time.Time
	interval time.Duration
	before   int
	current  int
}

// spent is what a limiter says of one request.
type spent struct {
	window    Window
	remaining int
	wait      time.Duration // above 0: refused; when to come again
}

// take counts one request of name, if the window allows it.
func (l *limiter) take(name string, w Window) spent {
	if w.Requests <= 0 || w.Interval <= 0 {
		return spent{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	c := l.counter(name, w, now)
	if n := int(now.Sub(c.began) / w.Interval); n > 0 {
		if n > 1 {
			c.current = 0
		}
		c.before, c.current = c.current, 0
		c.began = c.began.Add(time.Duration(n) * w.Interval)
	}
	gone := now.Sub(c.began)
	reach := float64(c.before) * float64(w.Interval-gone) / float64(w.Interval)
	left := float64(w.Requests) - reach - float64(c.current)
	if left < 1 {
		return spent{window: w, wait: c.until(w, gone, 1-left)}
	}
	c.current++
	return spent{window: w, remaining: int(left) - 1}
}

// until is when so much more is free as is missing.
func (c *counter) until(w Window, gone time.Duration, missing float64) time.Duration {
	rest := w.Interval - gone
	if c.before > 0 {
		if wait := time.Duration(missing / float64(c.before) * float64(w.Interval)); wait < rest {
			return max(wait, time.Millisecond)
		}
	}
	return rest
}

// counter finds or makes the counter of name. When there are too many, those that
// count nothing any more go first.
func (l *limiter) counter(name string, w Window, now time.Time) *counter {
	if c, ok := l.counters[name]; ok {
		return c
	}
	if len(l.counters) >= maxCounters {
		for other, c := range l.counters {
			if now.Sub(c.began) >= 2*c.interval {
				delete(l.counters, other)
			}
		}
		if len(l.counters) >= maxCounters {
			name = ""
		}
	}
	c, ok := l.counters[name]
	if !ok {
		c = &counter{began: now, interval: w.Interval}
		l.counters[name] = c
	}
	return c
}

// allow counts a caller's request, says on the answer what is left, and refuses
// one too many.
func (l *limiter) allow(h http.Header, rate Rate, c Caller, pattern string) *Problem {
	all, path := rate.Test, rate.TestPath
	if c.Mode == models.Live {
		all, path = rate.Live, rate.LivePath
	}
	client := string(c.Mode) + " " + c.Client
	tightest := l.take(client, all)
	if tightest.wait == 0 {
		if p := l.take(client+" "+pattern, path); p.wait > 0 || p.window.Requests > 0 && (tightest.window.Requests == 0 || p.remaining < tightest.remaining) {
			tightest = p
		}
	}
	return tightest.tell(h)
}

// tell sets the headers, and words the refusal.
func (s spent) tell(h http.Header) *Problem {
	if s.window.Requests == 0 {
		return nil
	}
	h.Set("X-Ratelimit-Limit", strconv.Itoa(s.window.Requests))
	h.Set("X-Ratelimit-Interval", strconv.Itoa(int(s.window.Interval/time.Second)))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(s.remaining))
	if s.wait == 0 {
		return nil
	}
	h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(s.wait.Seconds())))))
	return &Problem{
		Status: http.StatusTooManyRequests, Code: CodeTooMany, Title: "Too many requests",
		Detail: fmt.Sprintf("at most %d requests in %s are answered here; come again in %s", s.window.Requests, s.window.Interval, s.wait.Round(time.Millisecond)),
	}
}

// address is who asks, as the connection has it: headers say what they like. Of
// IPv6 it is the network, of which one machine has all addresses.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() {
		if network, err := ip.WithZone("").Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
