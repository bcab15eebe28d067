package paypal

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		want     string
	}{
		{1500, "EUR", "15.00"}, {1, "USD", "0.01"}, {1500, "JPY", "1500"}, {1500, "HUF", "15"}, {100, "TWD", "1"},
		{1500, "TND", "1.500"}, {5, "KWD", "0.005"}, {models.MaxCents, "EUR", "10000000000.00"}, {1500, "eur", "15.00"},
	} {
		m, err := toPayPal(tt.cents, tt.currency)
		if err != nil || m.Value != tt.want {
			t.Errorf("%d %s: %q, %v", tt.cents, tt.currency, m.Value, err)
			continue
		}
		if back, code, ok := m.cents(); !ok || back != tt.cents || code != m.Currency {
			t.Errorf("%d %s came back as %d %s %t", tt.cents, tt.currency, back, code, ok)
		}
	}
	for _, tt := range []struct {
		cents    int64
		currency string
	}{{0, "EUR"}, {-1, "EUR"}, {models.MaxCents + 1, "EUR"}, {1550, "HUF"}, {1, "TWD"}, {1500, "XXX"}, {1500, ""}} {
		if m, err := toPayPal(tt.cents, tt.currency); err == nil {
			t.Errorf("%d %s was written as %+v", tt.cents, tt.currency, m)
		}
	}
	for _, tt := range []struct {
		value, currency string
		want            int64
	}{{"15", "EUR", 1500}, {"15.5", "EUR", 1550}, {".5", "EUR", 50}, {"15.000", "EUR", 1500}, {"15.00", "JPY", 15}, {"15.00", "HUF", 1500}, {"0015.00", "USD", 1500}} {
		if got, _, ok := (money{tt.currency, tt.value}).cents(); !ok || got != tt.want {
			t.Errorf("%s %s was read as %d %t", tt.value, tt.currency, got, ok)
		}
	}
	for _, m := range []money{
		{"EUR", ""}, {"EUR", "."}, {"EUR", "-1.00"}, {"EUR", "+1.00"}, {"EUR", "1e3"}, {"EUR", "1,00"}, {"EUR", "1.001"}, {"JPY", "1.5"},
		{"EUR", "99999999999999999999"}, {"EUR", "1.0.0"}, {"EUR", " 1"}, {"EUR", "0x10"}, {"EUR", "0"}, {"eur", "1"}, {"", "1"}, {"EURO", "1"}, {"EUR", "١"},
	} {
		if cents, _, ok := m.cents(); ok {
			t.Errorf("%+v was read as %d", m, cents)
		}
	}
}

// FuzzMoney: what is read is written back as the same amount.
func FuzzMoney(f *testing.F) {
	f.Add("EUR", "15.00")
	f.Add("HUF", "15")
	f.Add("TND", "1.5")
	f.Fuzz(func(t *testing.T, currency, value string) {
		cents, code, ok := (money{currency, value}).cents()
		if !ok || cents > models.MaxCents {
			return
		}
		m, err := toPayPal(cents, code)
		if err != nil {
			if wholeOnly[code] {
				return
			}
			t.Fatalf("%q %s is %d and cannot be written: %v", value, currency, cents, err)
		}
		if again, _, ok := m.cents(); !ok || again != cents {
			t.Fatalf("%q %s is %d and comes back as %d", value, currency, cents, again)
		}
	})
}
