package config

import (
	"fmt"
	"strconv"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Rate is how much each client may send to one process.
type Rate struct {
	// PerSecond is how many requests; 0 is unbounded.
	PerSecond int
	// CommerceLayer: the figures that Commerce Layer documents instead.
	CommerceLayer bool
}

// UnmarshalText reads a number, or the name of a preset.
func (r *Rate) UnmarshalText(text []byte) error {
	if string(text) == "commercelayer" {
		*r = Rate{CommerceLayer: true}
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n > 1_000_000_000 {
		return fmt.Errorf("%q: a number of requests a second, 0 for no limit, or commercelayer", text)
	}
	*r = Rate{PerSecond: n}
	return nil
}

// Tokens are who may call, in the database itself: they have to be made before
// anybody can call.
type Tokens struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" required:"" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
	JSON        bool           `name:"json" help:"Print JSON."`

	Create TokenCreate `cmd:"" help:"Make a token. Its secret is shown this once, and kept nowhere."`
	List   TokenList   `cmd:"" help:"List tokens, newest first; never their secrets."`
	Revoke TokenID     `cmd:"" help:"End a token for ever, and all that was granted to it, within ten seconds."`
	Rotate TokenRotate `cmd:"" help:"Make a token in the place of another, which stays valid for a while."`
}

// TokenCreate says what a token may do.
type TokenCreate struct {
	Name    string        `arg:"" help:"Who it is for: 1 to 64 letters, digits, dots, dashes and underscores. The history names the client by it."`
	Scope   string        `enum:"read,operate,admin" default:"read" help:"read, operate or admin; each includes the ones before it (${default})."`
	Mode    models.Mode   `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live: which orders it sees."`
	Expires time.Duration `placeholder:"DURATION" help:"How long it is valid, such as 2160h; without it, until it is revoked."`
}

// minTokenLife is the shortest life of a token.
const minTokenLife = time.Minute

// Validate keeps 0 from meaning something else than never.
func (t TokenCreate) Validate() error {
	if t.Name == "admin" {
		return fmt.Errorf("the name admin is that of CAPSTAN_API_TOKEN; the history could not tell the two apart")
	}
	if t.Expires != 0 && t.Expires < minTokenLife {
		return fmt.Errorf("--expires %s: at least %s", t.Expires, minTokenLife)
	}
	return nil
}

// TokenList says which.
type TokenList struct {
	All bool `help:"Expired and revoked ones, too."`
}

// TokenID names a token.
type TokenID struct {
	ID string `arg:"" help:"The token's id: what stands between its second and third underscore."`
}

// TokenRotate names a token, and how long it stays valid.
type TokenRotate struct {
	ID      string        `arg:"" help:"The token's id."`
	Overlap time.Duration `default:"24h" help:"How long the old one stays valid beside the new one (${default})."`
}

// Validate bounds the overlap.
func (t TokenRotate) Validate() error {
	if t.Overlap < 0 {
		return fmt.Errorf("--overlap %s: not negative", t.Overlap)
	}
	return nil
}
