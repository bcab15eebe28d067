package api

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/models"
)

// grantLife is how long a granted token is valid.
const grantLife = 4 * time.Hour

// grants signs and reads the tokens that clients are granted. They are JSON Web
// Tokens, because the published clients look into theirs; nothing of them is
// stored. The client behind one is looked up at each use, so that it ends with it.
//
// The key is derived from the configured token, which every process of an
// installation has: whoever changes that ends all granted tokens. Everybody who
// was granted one may try tokens against its signature, so that each try is made
// slow; we derive the key once, when it is first needed.
type grants struct {
	key func() ([]byte, error)
}

// keyRounds makes a try cost some tenths of a second of a core.
const keyRounds = 600_000

func newGrants(tokens []Token) grants {
	return grants{key: sync.OnceValues(func() ([]byte, error) {
		if len(tokens) == 0 {
			return nil, errors.New("no token is configured, which the key of granted tokens is derived from")
		}
		return pbkdf2.Key(sha256.New, tokens[0].Secret.Reveal(), []byte("capstan granted tokens 1"), keyRounds, sha256.Size)
	})}
}

// grant is what a token says. The members after Mode are there for clients that
// read the tokens of Commerce Layer.
type grant struct {
	Client string      `json:"sub"`
	Scope  string      `json:"scope"`
	Ends   int64       `json:"exp"`
	Made   int64       `json:"iat"`
	ID     string      `json:"jti"`
	Issuer string      `json:"iss"`
	Mode   models.Mode `json:"mode"`

	Test         bool           `json:"test"`
	Organization map[string]any `json:"organization"`
	Application  map[string]any `json:"application"`
}

const grantIssuer = "capstan"

// grantHeader is the only header that is read: no other algorithm, no other key.
var grantHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

func (g grant) scope() Scope {
	scope, err := ParseScope(g.Scope)
	if err != nil {
		return ScopeNone
	}
	return scope
}

// sign makes a token of client, with a scope that is not above its own.
func (gs grants) sign(client string, scope Scope, mode models.Mode, now time.Time) (string, error) {
	payload, err := json.Marshal(grant{
		Client: client, Scope: scope.String(), Mode: mode, Made: now.Unix(), Ends: now.Add(grantLife).Unix(), ID: uuid.NewString(), Issuer: grantIssuer,
		Test: mode == models.Test, Organization: map[string]any{"id": "capstan", "slug": "capstan", "enterprise": false},
		Application: map[string]any{"id": client, "kind": "integration", "public": false},
	})
	if err != nil {
		return "", err
	}
	text := grantHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := gs.mac(text)
	return text + "." + signature, err
}

func (gs grants) mac(text string) (string, error) {
	key, err := gs.key()
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// read returns what a token says, if we signed it and it is not over.
func (gs grants) read(token string, now time.Time) (grant, bool) {
	cut := strings.LastIndexByte(token, '.')
	if cut < 0 {
		return grant{}, false
	}
	encoded, ok := strings.CutPrefix(token[:cut], grantHeader+".")
	if !ok {
		return grant{}, false
	}
	signature, err := gs.mac(token[:cut])
	if err != nil || !hmac.Equal([]byte(signature), []byte(token[cut+1:])) {
		return grant{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	var g grant
	if err != nil || json.Unmarshal(payload, &g) != nil || g.Issuer != grantIssuer || g.scope() == ScopeNone || now.Unix() >= g.Ends {
		return grant{}, false
	}
	return g, true
}
