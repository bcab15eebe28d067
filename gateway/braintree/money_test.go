package braintree

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func TestAmounts(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		wire     string
	}{
		{1500, "EUR", "15.00"}, {1, "USD", "0.01"}, {5, "EUR", "0.05"}, {1500, "JPY", "1500"}, {1500, "KWD", "1.50"}, {10, "TND", "0.01"},
		{1_500_000, "BHD", "1500.00"}, {1505, "KWD", ""}, {0, "EUR", ""}, {-1, "EUR", ""}, {100, "XAU", ""}, {models.MaxCents + 1, "EUR", ""},
	} {
		got, err := toBraintree(tt.cents, tt.currency)
		if got != tt.wire || (err != nil) != (tt.wire == "") {
			t.Errorf("%d %s: %q, %v", tt.cents, tt.currency, got, err)
			continue
		}
		if back, code, ok := fromBraintree(got, tt.currency); tt.wire != "" && (back != tt.cents || code != tt.currency || !ok) {
			t.Errorf("%s: back as %d %s", got, back, code)
		}
	}
	for _, tt := range []struct {
		value, currency string
		cents           int64
	}{
		{"15", "EUR", 1500}, {"15.0", "EUR", 1500}, {"15.000", "EUR", 1500}, {"1500.00", "JPY", 1500}, {"1.5", "KWD", 1500}, {"1.500", "KWD", 1500},
		{"15.001", "EUR", 0}, {"1500.50", "JPY", 0}, {"", "EUR", 0}, {".", "EUR", 0}, {".5", "EUR", 0}, {"-1", "EUR", 0}, {"1e3", "EUR", 0}, {"1,50", "EUR", 0},
		{"15.00", "eur", 0}, {"15.00", "", 0}, {"15.00 ", "EUR", 0}, {"99999999999999999999999999", "EUR", 0}, {"0.00", "EUR", 0}, {"١٥", "EUR", 0},
	} {
		if cents, _, ok := fromBraintree(tt.value, tt.currency); ok != (tt.cents != 0) || ok && cents != tt.cents {
			t.Errorf("%q %s: %d, %v", tt.value, tt.currency, cents, ok)
		}
	}
}

func FuzzAmounts(f *testing.F) {
	f.Add("15.00", "EUR")
	f.Add("1500", "JPY")
	f.Add("1.50", "KWD")
	f.Fuzz(func(t *testing.T, value, currency string) {
		cents, code, ok := fromBraintree(value, currency)
		if !ok {
			return
		}
		if cents <= 0 || code != currency {
			t.Fatalf("%q %q: %d %q", value, currency, cents, code)
		}
		if wire, err := toBraintree(cents, code); err == nil {
			if again, _, ok := fromBraintree(wire, code); !ok || again != cents {
				t.Fatalf("%q became %q, which is %d", value, wire, again)
			}
		}
	})
}
