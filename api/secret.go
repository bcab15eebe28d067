package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// A token is cap_<mode>_<id>_<secret><checksum>: the id finds its row and is no
// secret, the secret has 256 random bits, and the checksum tells a torn or
// mistyped token, and lets scanners of source code know one for sure.
const (
	tokenPrefix  = "cap_"
	idBytes      = 15 // of which 12 characters are taken
	idLength     = 12
	secretBytes  = 32
	secretLength = 52
	sumLength    = 7
)

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Minted is a new token. Only its hash is to be kept.
type Minted struct {
	ID     string
	Secret gateway.Secret
	Hash   []byte
}

// Mint makes a token of a mode.
func Mint(mode models.Mode) Minted {
	id := random(idBytes)[:idLength]
	text := tokenPrefix + string(mode) + "_" + id + "_" + random(secretBytes)
	text += checksum(text)
	hash := sha256.Sum256([]byte(text))
	return Minted{ID: id, Secret: gateway.Secret(text), Hash: hash[:]}
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return letters.EncodeToString(b)
}

func checksum(text string) string {
	return letters.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(text))))
}

// tokenID returns the id in a token of this form whose checksum is right.
func tokenID(token string) (string, bool) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok {
		return "", false
	}
	mode, rest, _ := strings.Cut(rest, "_")
	id, secret, _ := strings.Cut(rest, "_")
	if (mode != string(models.Test) && mode != string(models.Live)) || !validTokenID(id) || len(secret) != secretLength+sumLength {
		return "", false
	}
	cut := len(token) - sumLength
	return id, checksum(token[:cut]) == token[cut:]
}

// validTokenID reports whether id has the form of our ids.
func validTokenID(id string) bool {
	return len(id) == idLength && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
