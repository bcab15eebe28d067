package adyen

import (
	"fmt"

	"github.com/capstan-pay/capstan/models"
)

// money is an amount on the wire, in Adyen's minor units.
type money struct {
	Currency string `json:"currency"`
	Value    int64  `json:"value"`
}

// Adyen counts in minor units as ISO 4217 does, with four exceptions: CLP and ISK
// have two decimals there and none by the standard, CVE and IDR none there and two
// by the standard. 1500 CLP is 150000 on the wire; 150000 IDR (1500 rupiah) is
// 1500, and 150050 cannot be sent.
var (
	finer   = map[string]bool{"CLP": true, "ISK": true}
	coarser = map[string]bool{"CVE": true, "IDR": true}
)

// toAdyen translates an amount of minor units for the wire. An error means that
// Adyen cannot express it; nothing was sent.
func toAdyen(cents int64, currency string) (money, error) {
	code, err := models.ParseCurrency(currency)
	if err != nil {
		return money{}, err
	}
	if cents <= 0 || cents > models.MaxCents {
		return money{}, fmt.Errorf("amount %d is not between 1 and %d", cents, models.MaxCents)
	}
	switch {
	case finer[code]:
		cents *= 100
	case coarser[code] && cents%100 != 0:
		return money{}, fmt.Errorf("adyen takes no decimals in %s and cannot take %s", code, models.Decimal(cents, code))
	case coarser[code]:
		cents /= 100
	}
	return money{Currency: code, Value: cents}, nil
}

// cents translates an amount on the wire to minor units, exactly or not at all.
// It reports false for what is no positive amount of money; the message then
// proves nothing about an amount.
func (m money) cents() (int64, string, bool) {
	code, err := models.ParseCurrency(m.Currency)
	if err != nil || code != m.Currency || m.Value <= 0 || m.Value > 100*models.MaxCents {
		return 0, "", false
	}
	switch {
	case finer[code]:
		return m.Value / 100, code, m.Value%100 == 0
	case coarser[code]:
		return m.Value * 100, code, true
	}
	return m.Value, code, true
}
