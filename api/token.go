package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Token is a static bearer token.
type Token struct {
	// Name stands in logs and in the history of what the token did. It is no secret.
	Name   string
	Secret gateway.Secret
	Scope  Scope
	Mode   models.Mode
}

// Caller is who sent a request.
type Caller struct {
	// Client is the same for all tokens of one client, whatever was rotated: what
	// is kept for a caller is kept under it.
	Client string
	Name   string
	Scope  Scope
	Mode   models.Mode
}

// Actor is the caller's name as the history keeps it.
func (c Caller) Actor() string { return "api:" + c.Name }

type contextKey int

const (
	callerKey contextKey = iota
	requestKey
)

// CallerOf returns who sent the request; the zero Caller on a route without a token.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey).(Caller)
	return c
}

// maxToken bounds what is hashed.
const maxToken = 512

// keyring finds a token by what a request presents. It keeps hashes only.
type keyring struct {
	hashes  [][sha256.Size]byte
	callers []Caller
}

func newKeyring(tokens []Token) (keyring, error) {
	var k keyring
	var errs []error
	for _, t := range tokens {
		secret := t.Secret.Reveal()
		switch {
		case t.Name == "":
			errs = append(errs, errors.New("a token has no name"))
		case secret == "" || len(secret) > maxToken || strings.ContainsAny(secret, " \t\r\n"):
			errs = append(errs, fmt.Errorf("token %s: must have 1 to %d characters and no blanks", t.Name, maxToken))
		case t.Scope < ScopeRead || t.Scope > ScopeAdmin:
			errs = append(errs, fmt.Errorf("token %s: its scope must be read, operate or admin", t.Name))
		case t.Mode != models.Test && t.Mode != models.Live:
			errs = append(errs, fmt.Errorf("token %s: its mode must be test or live, not %q", t.Name, t.Mode))
		}
		hash := sha256.Sum256([]byte(secret))
		for i, there := range k.hashes {
			if there == hash {
				errs = append(errs, fmt.Errorf("tokens %s and %s are the same", k.callers[i].Name, t.Name))
			}
		}
		k.hashes = append(k.hashes, hash)
		k.callers = append(k.callers, Caller{Client: staticClient(t.Name), Name: t.Name, Scope: t.Scope, Mode: t.Mode})
	}
	return k, errors.Join(errs...)
}

// staticClient names the client of a configured token; no id of a stored one has
// a colon.
func staticClient(name string) string { return "static:" + name }

// of returns the caller of a configured token by its client.
func (k keyring) of(client string) (Caller, bool) {
	for _, c := range k.callers {
		if c.Client == client {
			return c, true
		}
	}
	return Caller{}, false
}

// find compares with every token, always, so that its time tells nothing.
func (k keyring) find(presented string) (Caller, bool) {
	hash := sha256.Sum256([]byte(presented))
	found := -1
	for i := range k.hashes {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], k.hashes[i][:]), i, found)
	}
	if found < 0 {
		return Caller{}, false
	}
	return k.callers[found], true
}

// apiKey is the header that clients of Hellgate send their token in, as it is.
const apiKey = "X-API-Key"

// presented reads the one token that a request sends: as a bearer, or as an API
// key. It is looked up nowhere here, and may be anything of bounded length.
func presented(r *http.Request) (string, *Problem) {
	bearers, keys := r.Header.Values("Authorization"), r.Header.Values(apiKey)
	if len(bearers) == 0 && len(keys) == 0 {
		return "", &Problem{
			Status: http.StatusUnauthorized, Code: CodeUnauthorized, Title: "Unauthorized",
			Detail: "send the header Authorization: Bearer with an access token, or the token as " + apiKey,
		}
	}
	if len(bearers)+len(keys) > 1 {
		return "", invalidToken() // which of them would count?
	}
	token := ""
	if len(keys) == 1 {
		token = keys[0]
	} else if scheme, rest, ok := strings.Cut(bearers[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
		token = rest
	}
	if token == "" || len(token) > maxToken {
		return "", invalidToken()
	}
	return token, nil
}

func invalidToken() *Problem {
	return &Problem{Status: http.StatusUnauthorized, Code: CodeInvalidToken, Title: "Invalid token", Detail: "the access token is not valid"}
}

// Forbidden is the answer to a caller whose scope does not cover all that the
// request asks for: a route has a scope, and some of what it takes a larger one.
func Forbidden(c Caller, need Scope) *Problem { return forbidden(c, need) }

// forbidden is the answer to a token whose scope is too small.
func forbidden(c Caller, need Scope) *Problem {
	return &Problem{
		Status: http.StatusForbidden, Code: CodeUnauthorized, Title: "Unauthorized",
		Detail: fmt.Sprintf("this needs a token of scope %s; %s has scope %s", need, c.Name, c.Scope),
	}
}
