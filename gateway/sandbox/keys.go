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
	status    int
	view      view   // rendered anew for each repetition
	body      string // instead of a view: an error
	requestID string
	life      time.Duration // where it is longer than usual
}

// keys remembers answers by idempotency key for a while, and which keys are
// being worked on. The book's lock guards it.
type keys struct {
	life  time.Duration
	m     map[string]saved
	busy  map[string]string // the request's fingerprint
	queue []queued          // in order of keeping, so that old ones are found cheaply
}

type queued struct {
	name string
	at   time.Time
}

func newKeys(life time.Duration) *keys {
	return &keys{life: life, m: map[string]saved{}, busy: map[string]string{}}
}

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
	if ok && now.Sub(s.at) >= max(k.life, s.life) {
		delete(k.m, name)
		return saved{}, false
	}
	return s, ok
}

// begin marks a key as being worked on, unless it is, or has its answer. Who
// began ends it, when its answer is kept and may be told.
func (k *keys) begin(name, print string, now time.Time) bool {
	if _, running := k.busy[name]; running {
		return false
	}
	if _, done := k.find(name, now); done {
		return false
	}
	k.busy[name] = print
	return true
}

// end lets the next request under the key in.
func (k *keys) end(name string) { delete(k.busy, name) }

// keep remembers the answer of a key, and forgets those that are too old.
func (k *keys) keep(name string, s saved) {
	k.m[name] = s
	k.queue = append(k.queue, queued{name, s.at})
	for len(k.queue) > 0 && s.at.Sub(k.queue[0].at) >= k.life {
		if old := k.queue[0]; k.m[old.name].at.Equal(old.at) && k.m[old.name].life == 0 {
			delete(k.m, old.name)
		}
		k.queue = k.queue[1:]
	}
}

// forget drops the answer of a key.
func (k *keys) forget(name string) { delete(k.m, name) }

// fingerprint tells two requests under one key apart.
func fingerprint(method, path, params string) string {
	h := fnv.New64a()
	for _, s := range []string{method, path, params} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return strconv.FormatUint(h.Sum64(), 36)
}
