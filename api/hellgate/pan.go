package hellgate

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/capstan-pay/capstan/api"
)

// The lengths of card numbers, ISO/IEC 7812.
const (
	shortestPAN = 13
	longestPAN  = 19
)

// secrets are members that a card's secrets come under, without their blanks and
// lines. Nobody may keep them after an authorization.
var secrets = map[string]bool{
	"cvc": true, "cvc2": true, "cvv": true, "cvv2": true, "cid": true, "csc": true, "securitycode": true, "cardverificationcode": true,
	"cardverificationvalue": true, "verificationvalue": true, "track": true, "track1": true, "track2": true, "trackdata": true, "pin": true, "pinblock": true,
}

// cardData finds a card number in any string, number or name of a document, or a
// card's secret, and returns the path of the first. It never tells what it found.
func cardData(v any, path []string) ([]string, bool) {
	inner := func(name string) []string { return append(path[:len(path):len(path)], name) }
	switch v := v.(type) {
	case string:
		return path, hasPAN(v)
	case json.Number:
		return path, hasPAN(string(v))
	case []any:
		for _, e := range v {
			if at, found := cardData(e, path); found {
				return at, true
			}
		}
	case map[string]any:
		for name, e := range v {
			if hasPAN(name) {
				return path, true
			}
			if at, found := cardData(e, inner(name)); found {
				return at, true
			}
			if secrets[plain(name)] && e != nil {
				return inner(name), true
			}
		}
	}
	return nil, false
}

func plain(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
}

// hasPAN reports whether a run of digits, with or without separators in it, is
// long enough for a card number and passes Luhn's check. Of a run that is longer
// than any card number nothing is said: it is none.
func hasPAN(s string) bool {
	var digits []byte
	found := func() bool {
		n := len(digits)
		return n >= shortestPAN && n <= longestPAN && luhn(digits)
	}
	for _, r := range s {
		switch {
		case unicode.IsDigit(r):
			digits = append(digits, digit(r))
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r), unicode.Is(unicode.Cf, r), strings.ContainsRune("._/", r):
			// people write them in groups
		default:
			if found() {
				return true
			}
			digits = digits[:0]
		}
	}
	return found()
}

// digit is the value of a decimal digit of any script: each script's ten stand
// together, from zero.
func digit(r rune) byte {
	if r <= '9' {
		return byte(r - '0')
	}
	for d := byte(0); d < 9; d++ {
		if !unicode.IsDigit(r - rune(d) - 1) {
			return d
		}
	}
	return 9
}

func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i])
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum > 0 && sum%10 == 0
}

// noCardData is the problem of a body that carries card data.
func noCardData(path []string) *api.Problem {
	p := api.Malformed("it looks like a card number or a card's secret, which must never be sent here; send the masked number and the id of the hold at the gateway", api.Pointer(path))
	p.Code = "CARD_DATA"
	return p
}
