package sandbox

import (
	"hash/fnv"
	"strconv"
	"time"
)

// saved is what is answered again for an idempotency key.
type saved struct {
	print     string
	at        time.Time
	busy      bool // the first request still runs
	status    int
	view      view   // rendered anew for each repetition
	body      string // instead of a view: an error
	requestID string
}

// keys remembers answers by idempotency key for a while. The book's lock
// guards it.
type keys struct {
	life  time.Duration
	m     map[string]saved
	queue []queued // in order of keeping, so that old ones are found cheaply
}

type queued struct {
	name string
	at   time.Time
}

func newKeys(life time.Duration) *keys { return &keys{life: life, m: map[string]saved{}} }

// keyName keeps the keys of test and live accounts apart.
func keyName(live bool, key string) string {
	if live {
		return "live " + key
	}
	return "test " + key
}

// find returns what is kept for a key, unless it is too old.
func (k *keys) find(name string, now time.Time) (saved, bool) {
	s, ok := k.m[name]
	if ok && !s.busy && now.Sub(s.at) >= k.life {
		delete(k.m, name)
		return saved{}, false
	}
	return s, ok
}

// begin marks a key as being worked on.
func (k *keys) begin(name, print string, now time.Time) {
	k.m[name] = saved{print: print, at: now, busy: true}
}

// keep ends the work on a key with an answer.
func (k *keys) keep(name string, s saved) {
	k.m[name] = s
	k.queue = append(k.queue, queued{name, s.at})
	for len(k.queue) > 0 && s.at.Sub(k.queue[0].at) >= k.life {
		old := k.queue[0]
		if kept := k.m[old.name]; !kept.busy && kept.at.Equal(old.at) {
			delete(k.m, old.name)
		}
		k.queue = k.queue[1:]
	}
}

// release ends the work on a key without an answer: it may be tried again.
func (k *keys) release(name string) {
	if k.m[name].busy {
		delete(k.m, name)
	}
}

// forget drops a key, unless its first request still runs.
func (k *keys) forget(name string) {
	if !k.m[name].busy {
		delete(k.m, name)
	}
}

// fingerprint tells two requests under one key apart.
func fingerprint(method, path, params string) string {
	h := fnv.New64a()
	for _, s := range []string{method, path, params} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return strconv.FormatUint(h.Sum64(), 36)
}
