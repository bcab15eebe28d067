package checkoutcom

import (
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// maxAmount is the largest amount on the wire: nine digits.
const maxAmount = 999_999_999

// digits is how many decimals the wire's integers have by Checkout.com's own
// table: none for the full-value currencies, three for those it divides by a
// thousand (the last digit must then be 0), two for all others. So CLP, which
// has no minor unit by ISO 4217, is sent in hundredths that are always 00.
var digits = func() map[string]int {
	m := map[string]int{}
	for n, codes := range map[int]string{
		0: "BIF DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
		3: "BHD IQD JOD KWD LYD OMR TND",
	} {
		for code := range strings.FieldsSeq(codes) {
			m[code] = n
		}
	}
	return m
}()

func digitsOf(code string) int {
	if n, ok := digits[code]; ok {
		return n
	}
	return 2
}

// factor is how many units of the wire are one of ours. No currency has fewer
// digits at Checkout.com than in package models.
func factor(code string) int64 {
	f := int64(1)
	for range digitsOf(code) - models.Exponent(code) {
		f *= 10
	}
	return f
}

// toWire translates an amount of minor units for the wire. An error means that
// Checkout.com cannot express it; nothing was sent.
func toWire(cents int64, currency string) (int64, error) {
	code, err := models.ParseCurrency(currency)
	switch {
	case err != nil:
		return 0, err
	case cents <= 0 || cents > models.MaxCents:
		return 0, fmt.Errorf("amount %d is not between 1 and %d", cents, models.MaxCents)
	case digitsOf(code) == 3 && cents%10 != 0:
		return 0, fmt.Errorf("checkout.com takes %s only in steps of ten minor units, not %d", code, cents)
	}
	amount := cents * factor(code)
	if amount > maxAmount {
		return 0, fmt.Errorf("checkout.com takes amounts of up to nine digits and cannot take %s %s", models.Decimal(cents, code), code)
	}
	return amount, nil
}

// fromWire translates an amount on the wire to minor units, exactly or not at
// all. It reports false for what is no amount of money; the answer then proves
// nothing.
func fromWire(amount int64, currency string) (int64, string, bool) {
	code, err := models.ParseCurrency(currency)
	if err != nil || code != currency || amount < 0 || amount > 100*maxAmount || amount%factor(code) != 0 {
		return 0, "", false
	}
	return amount / factor(code), code, true
}
