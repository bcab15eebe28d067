package sandbox

import "sync"

// requestLog keeps the newest requests in a ring.
type requestLog struct {
	mu   sync.Mutex
	ring []*Request
	next int
	full bool
}

func newRequestLog(n int) *requestLog { return &requestLog{ring: make([]*Request, n)} }

// add records a request on arrival. The caller may change it with [requestLog.edit].
func (l *requestLog) add(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.next] = r
	if l.next++; l.next == len(l.ring) {
		l.next, l.full = 0, true
	}
}

func (l *requestLog) edit(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// list returns the requests in order of arrival, or those of one hold.
func (l *requestLog) list(hold string) []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Request{}
	start, n := 0, l.next
	if l.full {
		start, n = l.next, len(l.ring)
	}
	for i := range n {
		if r := l.ring[(start+i)%len(l.ring)]; hold == "" || r.Hold == hold {
			out = append(out, *r)
		}
	}
	return out
}
