package adyen

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		want     int64
	}{
		{1500, "EUR", 1500}, {1, "USD", 1}, {1500, "JPY", 1500}, {1500, "KRW", 1500}, {1500, "TND", 1500}, {5, "KWD", 5}, {1500, "eur", 1500},
		{1500, "CLP", 150000}, {1500, "ISK", 150000}, {150000, "IDR", 1500}, {150000, "CVE", 1500}, {1500, "HUF", 1500},
		{models.MaxCents, "EUR", models.MaxCents}, {models.MaxCents, "CLP", 100 * models.MaxCents},
	} {
		m, err := toAdyen(tt.cents, tt.currency)
		if err != nil || m.Value != tt.want {
			t.Errorf("%d %s: %d, %v", tt.cents, tt.currency, m.Value, err)
			continue
		}
		if back, code, ok := m.cents(); !ok || back != tt.cents || code != m.Currency {
			t.Errorf("%d %s came back as %d %s %t", tt.cents, tt.currency, back, code, ok)
		}
	}
	for _, tt := range []struct {
		cents    int64
		currency string
	}{{0, "EUR"}, {-1, "EUR"}, {models.MaxCents + 1, "EUR"}, {150050, "IDR"}, {1, "CVE"}, {1500, "XXX"}, {1500, ""}} {
		if m, err := toAdyen(tt.cents, tt.currency); err == nil {
			t.Errorf("%d %s was written as %+v", tt.cents, tt.currency, m)
		}
	}
	for _, m := range []money{{"EUR", 0}, {"EUR", -5}, {"eur", 5}, {"", 5}, {"EURO", 5}, {"CLP", 150}, {"EUR", 1 << 62}, {"IDR", 1 << 62}} {
		if cents, _, ok := m.cents(); ok {
			t.Errorf("%+v was read as %d", m, cents)
		}
	}
}

// FuzzMoney: what is read is written back as the same amount.
func FuzzMoney(f *testing.F) {
	f.Add("EUR", int64(1500))
	f.Add("CLP", int64(150000))
	f.Add("IDR", int64(15))
	f.Fuzz(func(t *testing.T, currency string, value int64) {
		cents, code, ok := money{currency, value}.cents()
		if !ok || cents > models.MaxCents {
			return
		}
		if m, err := toAdyen(cents, code); err != nil || m.Value != value || m.Currency != currency {
			t.Fatalf("%d %s is %d and is written as %+v, %v", value, currency, cents, m, err)
		}
	})
}
