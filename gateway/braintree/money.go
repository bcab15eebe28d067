package braintree

import (
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// Braintree writes amounts as decimal strings in major units, without a
// currency: 1500 is "15.00" EUR and "1500" JPY. Its documents know two decimals
// at most, so that of 1.500 TND "1.50" can be sent, and 1.505 cannot.
const maxDecimals = 2

// toBraintree translates an amount of minor units for the wire. An error means
// that Braintree cannot express it; nothing was sent.
func toBraintree(cents int64, currency string) (string, error) {
	code, err := models.ParseCurrency(currency)
	if err != nil {
		return "", err
	}
	if cents <= 0 || cents > models.MaxCents {
		return "", fmt.Errorf("amount %d is not between 1 and %d", cents, models.MaxCents)
	}
	value := models.Decimal(cents, code)
	whole, part, dotted := strings.Cut(value, ".")
	if !dotted || len(part) <= maxDecimals {
		return value, nil
	}
	if strings.Trim(part[maxDecimals:], "0") != "" {
		return "", fmt.Errorf("braintree takes %d decimals in %s and cannot take %s", maxDecimals, code, value)
	}
	return whole + "." + part[:maxDecimals], nil
}

// fromBraintree translates an amount on the wire to minor units, exactly or not
// at all. It reports false for what is no positive amount of money; the answer
// then proves nothing.
func fromBraintree(value, currency string) (int64, string, bool) {
	code, err := models.ParseCurrency(currency)
	if err != nil || code != currency || len(value) > 32 {
		return 0, "", false
	}
	whole, part, _ := strings.Cut(value, ".")
	if whole == "" || strings.Trim(whole+part, "0123456789") != "" {
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
