package sandbox

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

const badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n"

// before acts on faults that keep a call from its work. It reports whether the
// call is over.
func (s *Server) before(w http.ResponseWriter, r *http.Request, c *call, do endpoint) bool {
	switch c.fault.mode {
	case mode401:
		s.write(w, c, fail(unauthorized("Invalid API Key provided.")))
	case mode429:
		w.Header().Set("Retry-After", strconv.FormatInt(max(1, c.fault.num), 10))
		s.write(w, c, fail(&apiError{Status: 429, Type: invalidRequest, Code: "rate_limit", Message: "Request rate limit exceeded."}))
	case modeLocked:
		w.Header().Set("Stripe-Should-Retry", "true")
		s.write(w, c, fail(&apiError{Status: 429, Type: invalidRequest, Code: "lock_timeout",
			Message: "This object cannot be accessed right now because another API request or Stripe process is currently accessing it."}))
	case mode409:
		s.write(w, c, fail(inUse()))
	case mode500:
		s.write(w, c, fail(serverError(false)))
	case modeLookUp500:
		s.write(w, c, fail(serverError(false)))
	case modeLookUp404:
		s.write(w, c, fail(missing("payment_intent", c.hold, "intent")))
	case modeDropBefore:
		drop(w, false)
	case modeHang:
		s.hang(r, c)
		drop(w, false)
	case modeBookAfter:
		s.bookLater(c, do)
		drop(w, false)
	default:
		return false
	}
	return true
}

// after answers a call whose work is done, or breaks its answer. Nothing is
// told before it is on disk; webhooks go out when the caller has its answer,
// or would have had it.
func (s *Server) after(w http.ResponseWriter, r *http.Request, c *call, rep reply) {
	err := rep.wait.wait()
	if rep.running != "" {
		s.locked(func(b *book) { b.keys.end(rep.running) })
	}
	if err != nil {
		s.config.Log.Error("the sandbox cannot keep its book", "error", err)
		s.write(w, c, fail(serverError(false)))
		return
	}
	hooks := s.hookFaults(c, rep)
	switch {
	case has(hooks, modeHookBeforeReply):
		s.hooks.sendAndWait(rep.events, hooks)
		rep.events = nil
	case c.fault.mode == modeChargeHang: // what happened is told, only not to the caller
		s.hooks.send(rep.events, hooks)
		rep.events = nil
	}
	if len(rep.events) > 0 {
		defer s.hooks.promise()()
	}
	if !rep.booked || !s.breakAnswer(w, r, c, rep) {
		s.write(w, c, rep)
	}
	s.hooks.send(rep.events, hooks)
}

func (s *Server) hookFaults(c *call, rep reply) []fault {
	if len(rep.events) == 0 {
		return nil
	}
	return s.faults.pickHooks(rep.events[0].hold)
}

// breakAnswer acts on faults that lose or spoil the answer of a call that was
// booked. It reports whether it did.
func (s *Server) breakAnswer(w http.ResponseWriter, r *http.Request, c *call, rep reply) bool {
	switch c.fault.mode {
	case modeChargeDrop:
		drop(w, false)
	case modeChargeRST:
		drop(w, true)
	case modeCharge500:
		if !rep.replayed { // a repetition answers the 500 that was kept
			s.write(w, c, fail(serverError(true)))
			return true
		}
		return false
	case modeCharge502:
		s.calls.edit(func() { c.record.Status = 502 })
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte(badGateway))
	case modeEmpty:
		s.calls.edit(func() { c.record.Status = 200 })
		w.WriteHeader(http.StatusOK)
	case modeTruncated:
		s.truncate(w, c, rep)
	case modeChargeHang:
		s.hang(r, c)
		drop(w, false)
	default:
		return false
	}
	return true
}

// truncate promises the whole answer, sends half of it and hangs up.
func (s *Server) truncate(w http.ResponseWriter, c *call, rep reply) {
	body, _ := rep.encode(c.expand)
	s.calls.edit(func() { c.record.Status = rep.status })
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rep.status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	drop(w, false)
}

// hang waits until the caller gives up, the sandbox closes, or the limit.
func (s *Server) hang(r *http.Request, c *call) {
	if c.key != "" && c.fault.mode == modeHang {
		// The key is being worked on meanwhile, as far as anyone can see.
		name, mine := keyName(c.live, c.key), false
		s.locked(func(b *book) { mine = b.keys.begin(name, c.print, b.now()) })
		if mine {
			defer s.locked(func(b *book) { b.keys.end(name) })
		}
	}
	limit := time.NewTimer(s.config.MaxHang)
	defer limit.Stop()
	select {
	case <-r.Context().Done():
	case <-s.stop.Done():
	case <-limit.C:
	}
}

func (s *Server) locked(f func(*book)) {
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	f(s.book)
}

// bookLater does the work of a call after its caller has lost it. Until then
// the key is in use. A sandbox that is closed first has never booked it.
func (s *Server) bookLater(c *call, do endpoint) {
	name, wait := keyName(c.live, c.key), c.fault.delay
	first := false
	s.locked(func(b *book) {
		if c.key != "" && !b.keys.begin(name, c.print, b.now()) {
			return
		}
		first = true
		if h := b.holds[c.hold]; h != nil {
			h.late++
		}
	})
	if !first {
		return
	}
	s.work.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			var rep reply
			s.locked(func(b *book) { rep = s.run(c, do) })
			if rep.wait.wait() == nil {
				s.hooks.send(rep.events, s.hookFaults(c, rep))
			}
		case <-s.stop.Done():
		}
		s.locked(func(b *book) {
			if c.key != "" {
				b.keys.end(name)
			}
			if h := b.holds[c.hold]; h != nil {
				h.late--
			}
		})
	})
}

// drop closes the connection without an answer, with a reset if asked.
func drop(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // not HTTP/1.1: the server ends the stream
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func has(faults []fault, mode string) bool {
	for _, f := range faults {
		if f.mode == mode {
			return true
		}
	}
	return false
}
