package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/store"
)

const (
	// tokenAge is how long a stored token is taken as it was read: a revocation
	// counts everywhere within it.
	tokenAge = 10 * time.Second
	// maxCached bounds the tokens in memory, those that do not exist included.
	maxCached = 4096
	// useEvery is how often the use of a token is written at most.
	useEvery = time.Minute
	// useTimeout bounds that write; a request does not fail by it.
	useTimeout = 2 * time.Second
)

// authority knows who a token is: a configured one, a stored one, or one that was
// granted to a client for a while. It is safe for concurrent use.
type authority struct {
	static keyring
	store  *store.Store // nil: there are configured tokens only
	grants grants
	now    func() time.Time

	mu     sync.Mutex
	cached map[string]*knownToken
}

// knownToken is a stored token as it was read.
type knownToken struct {
	row     store.AccessToken
	there   bool
	read    time.Time
	ends    time.Time // zero: never
	used    time.Time // when its use was last written; zero: never
	writing bool
}

func newAuthority(tokens []Token, s *store.Store, now func() time.Time) (*authority, error) {
	keys, err := newKeyring(tokens)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &authority{static: keys, store: s, grants: newGrants(tokens), now: now, cached: map[string]*knownToken{}}, nil
}

// authenticate returns who sends a request: a 401, or an error of the database.
func (a *authority) authenticate(r *http.Request) (Caller, error) {
	token, problem := presented(r)
	if problem != nil {
		return Caller{}, problem
	}
	return a.find(r.Context(), token)
}

// find returns the caller that a token is of.
func (a *authority) find(ctx context.Context, token string) (Caller, error) {
	if caller, ok := a.static.find(token); ok {
		return caller, nil
	}
	if id, ok := tokenID(token); ok {
		return a.stored(ctx, id, token)
	}
	g, ok := a.grants.read(token, a.now())
	if !ok {
		return Caller{}, invalidToken()
	}
	caller, err := a.client(ctx, g.Client)
	if err != nil {
		return caller, err
	}
	if caller.Mode != g.Mode {
		return Caller{}, invalidToken()
	}
	caller.Scope = min(caller.Scope, g.scope())
	return caller, nil
}

// stored returns the caller of a stored token by its id, if token is the one.
func (a *authority) stored(ctx context.Context, id, token string) (Caller, error) {
	known, err := a.known(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	hash := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(hash[:], known.row.Hash) != 1 {
		return Caller{}, invalidToken()
	}
	return a.callerOf(ctx, known)
}

// client returns the caller that was granted a token: the client as it is now.
func (a *authority) client(ctx context.Context, id string) (Caller, error) {
	if caller, ok := a.static.of(id); ok {
		return caller, nil
	}
	if !validTokenID(id) {
		return Caller{}, invalidToken()
	}
	known, err := a.known(ctx, id)
	if err != nil {
		return Caller{}, err
	}
	return a.callerOf(ctx, known)
}

// callerOf refuses a token that is over, and notes the use of one that is not.
func (a *authority) callerOf(ctx context.Context, known knownToken) (Caller, error) {
	if !known.there || known.row.RevokedAt != nil || !known.ends.IsZero() && !a.now().Before(known.ends) {
		return Caller{}, invalidToken()
	}
	scope, err := ParseScope(known.row.Scope)
	if err != nil {
		return Caller{}, err
	}
	a.use(ctx, known.row.ID)
	return Caller{Client: known.row.Family, Name: known.row.Name, Scope: scope, Mode: known.row.Mode}, nil
}

// known reads a token, or remembers it. What does not exist is remembered, too.
func (a *authority) known(ctx context.Context, id string) (knownToken, error) {
	if a.store == nil {
		return knownToken{}, nil
	}
	a.mu.Lock()
	there, ok := a.cached[id]
	if ok && a.now().Sub(there.read) < tokenAge {
		defer a.mu.Unlock()
		return *there, nil
	}
	a.mu.Unlock()
	asked := a.now() // before the read: its age counts from here
	row, err := a.store.Token(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return knownToken{}, err
	}
	fresh := &knownToken{row: row, there: err == nil, read: asked}
	if row.LeftMicros != nil {
		fresh.ends = asked.Add(time.Duration(*row.LeftMicros) * time.Microsecond)
	}
	if row.UnusedMicros != nil {
		fresh.used = asked.Add(-time.Duration(*row.UnusedMicros) * time.Microsecond)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cached) >= maxCached {
		clear(a.cached) // somebody tries ids; each valid token is read once more
	}
	a.cached[id] = fresh
	return *fresh, nil
}

// use writes that a token was used, once a minute at most, by one request.
func (a *authority) use(ctx context.Context, id string) {
	a.mu.Lock()
	known := a.cached[id]
	due := known != nil && !known.writing && a.now().Sub(known.used) >= useEvery
	if due {
		known.used, known.writing = a.now(), true
	}
	a.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), useTimeout)
	defer cancel()
	_ = a.store.UsedToken(ctx, id) // known to the minute at best; the next one writes it
	a.mu.Lock()
	known.writing = false
	a.mu.Unlock()
}
