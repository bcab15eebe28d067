package gateway

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is the longest text of a provider that is kept, in bytes.
const maxText = 300

var (
	credential = regexp.MustCompile(`(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}|\b(?:sk|rk)_(?:live|test|sbox)_[A-Za-z0-9*_]+|\bwhsec_[A-Za-z0-9+/=_-]+`)
	digitRun   = regexp.MustCompile(`\d(?:[ -]?\d){12,18}`)
)

// CleanText makes a provider's words fit to be stored, logged and shown: valid
// UTF-8 without control characters (Postgres refuses NUL), at most 300 bytes,
// credentials and anything that could be a card number masked.
func CleanText(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText] // bounds the work on hostile answers; cut again below
	}
	s = credential.ReplaceAllString(printable(s), masked)
	s = digitRun.ReplaceAllStringFunc(s, func(run string) string {
		if luhn(run) {
			return masked
		}
		return run
	})
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return strings.TrimSpace(s)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

// maxID is the longest id of a provider that is kept, in bytes.
const maxID = 255

// CleanID makes a provider's id of something fit to be kept and compared: valid
// UTF-8 without control characters, at most 255 bytes, credentials masked. Digits
// are not: an id may have a card number's by chance, and must stay itself.
func CleanID(s string) string {
	s = credential.ReplaceAllString(printable(s[:min(len(s), 4*maxID)]), masked)
	return strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), maxID)], ""))
}

// luhn reports whether the digits of s could be a card number.
func luhn(s string) bool {
	sum, double := 0, false
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		d := int(s[i] - '0')
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0
}
