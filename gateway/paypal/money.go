package paypal

import (
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// PayPal writes amounts as decimal strings in major units: 1500 is "15.00" EUR,
// "1500" JPY and "1.500" TND. HUF and TWD have a minor unit by ISO 4217 and none
// at PayPal, which answers DECIMALS_NOT_SUPPORTED: 1500 HUF (15 forint) is "15",
// and 1550 cannot be sent.
var wholeOnly = map[string]bool{"HUF": true, "TWD": true}

// toPayPal translates an amount of minor units for the wire. An error means
// that PayPal cannot express it; nothing was sent.
func toPayPal(cents int64, currency string) (money, error) {
	code, err := models.ParseCurrency(currency)
	if err != nil {
		return money{}, err
	}
	if cents <= 0 || cents > models.MaxCents {
		return money{}, fmt.Errorf("amount %d is not between 1 and %d", cents, models.MaxCents)
	}
	value := models.Decimal(cents, code)
	if wholeOnly[code] {
		whole, part, _ := strings.Cut(value, ".")
		if strings.Trim(part, "0") != "" {
			return money{}, fmt.Errorf("paypal takes no decimals in %s and cannot take %s", code, value)
		}
		value = whole
	}
	return money{Currency: code, Value: value}, nil
}

// cents translates an amount on the wire to minor units, exactly or not at
// all. It reports false for what is no positive amount of money; the answer
// then proves nothing.
func (m money) cents() (int64, string, bool) {
	code, err := models.ParseCurrency(m.Currency)
	if err != nil || code != m.Currency || len(m.Value) > 32 {
		return 0, "", false
	}
	whole, part, _ := strings.Cut(m.Value, ".")
	if whole+part == "" || strings.Trim(whole+part, "0123456789") != "" {
		return 0, "", false
	}
	exponent := models.Exponent(code)
	if len(part) > exponent {
		if strings.Trim(part[exponent:], "0") != "" {
			return 0, "", false
		}
		part = part[:exponent]
	}
	var cents int64
	for _, d := range whole + part + strings.Repeat("0", exponent-len(part)) {
		if cents = cents*10 + int64(d-'0'); cents > 100*models.MaxCents {
			return 0, "", false
		}
	}
	return cents, code, cents > 0
}
