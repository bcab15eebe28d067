package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// masked is what every rendering of a secret shows.
const masked = "***"

// Secret is a credential. Whatever prints, logs or encodes it shows "***";
// only [Secret.Reveal] gives the value, so that a search for Reveal finds every
// place where a credential leaves this type.
//
// Two things the language does not let it do: package fmt calls no methods on
// unexported fields, so a struct must not keep a secret in one (keep its Reveal
// method, a func, as the adapters do); and encoding/json writes keys of maps as
// plain strings, so never key a map by secrets.
type Secret string

// Reveal returns the credential itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the value.
func (Secret) String() string { return masked }

// GoString hides the value from %#v.
func (Secret) GoString() string { return masked }

// Format hides the value from every verb of package fmt, %x and %d included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// MarshalJSON hides the value.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(masked) }

// MarshalText hides the value.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }
