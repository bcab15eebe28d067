package checkoutcom

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		wire     int64
	}{
		{1500, "EUR", 1500}, {1, "USD", 1}, {1500, "JPY", 1500}, {1500, "ISK", 1500}, {1500, "UGX", 1500}, {1500, "VND", 1500},
		{1500, "CLP", 150000}, {1310, "BHD", 1310}, {1310, "KWD", 1310}, {10, "TND", 10}, {1500, "MGA", 1500}, {1500, "HUF", 1500},
		{999_999_999, "EUR", 999_999_999}, {9_999_999, "CLP", 999_999_900}, {1500, "eur", 1500},
	} {
		got, err := toWire(tt.cents, tt.currency)
		if err != nil || got != tt.wire {
			t.Errorf("%d %s: %d, %v, want %d", tt.cents, tt.currency, got, err, tt.wire)
		}
		code := strings.ToUpper(tt.currency)
		if cents, currency, ok := fromWire(got, code); !ok || cents != tt.cents || currency != code {
			t.Errorf("%d %s came back as %d %s", tt.cents, tt.currency, cents, currency)
		}
	}
	for _, tt := range []struct {
		cents    int64
		currency string
	}{
		{0, "EUR"}, {-1, "EUR"}, {1_000_000_000, "EUR"}, {10_000_000, "CLP"}, {1312, "BHD"}, {1, "KWD"}, {1500, "XXX"}, {1500, ""}, {1500, "EURO"},
		{models.MaxCents + 1, "EUR"},
	} {
		if got, err := toWire(tt.cents, tt.currency); err == nil {
			t.Errorf("%d %s is sent as %d", tt.cents, tt.currency, got)
		}
	}
	for _, tt := range []struct {
		wire     int64
		currency string
	}{{150050, "CLP"}, {-1, "EUR"}, {1, "eur"}, {1, "XTS"}, {1, ""}, {1 << 62, "EUR"}} {
		if cents, _, ok := fromWire(tt.wire, tt.currency); ok {
			t.Errorf("%d %s is read as %d", tt.wire, tt.currency, cents)
		}
	}
}

// TestNoCurrencyLosesDigits: what is sent can always be read back.
func TestNoCurrencyLosesDigits(t *testing.T) {
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			for c := 'A'; c <= 'Z'; c++ {
				code, err := models.ParseCurrency(string([]rune{a, b, c}))
				if err == nil && digitsOf(code) < models.Exponent(code) {
					t.Errorf("%s has %d digits on the wire and %d here", code, digitsOf(code), models.Exponent(code))
				}
			}
		}
	}
}
