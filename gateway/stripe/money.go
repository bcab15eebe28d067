package stripe

import (
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// Stripe counts in the smallest unit of a currency, as Capstan does: 1500 is
// 15.00 EUR (two decimals), 1500 JPY (none) and 1.500 KWD (three). It departs
// from ISO 4217 in these places, and amounts are translated in both directions:
//
//   - ISK and UGX have no minor unit, yet Stripe counts them in hundredths that
//     must be zero: 5 ISK is sent as 500.
//   - MGA has a minor unit by ISO, and none at Stripe: 500 is sent as 5.
//   - BHD, JOD, KWD, OMR, TND: the last of the three digits must be zero.
//
// Zero-decimal at Stripe: BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF
// XOF XPF. Of these only MGA differs from the exponents in package models.
var (
	timesHundred = map[string]bool{"ISK": true, "UGX": true}
	byHundred    = map[string]bool{"MGA": true}
	lastZero     = map[string]bool{"BHD": true, "JOD": true, "KWD": true, "OMR": true, "TND": true}
)

// toStripe translates an amount of minor units for the wire. An error means
// that Stripe cannot express it; nothing was sent.
func toStripe(cents int64, currency string) (int64, error) {
	code, err := models.ParseCurrency(currency)
	if err != nil {
		return 0, err
	}
	switch {
	case cents <= 0 || cents > models.MaxCents:
		return 0, fmt.Errorf("amount %d is not between 1 and %d", cents, models.MaxCents)
	case timesHundred[code]:
		return cents * 100, nil
	case byHundred[code] && cents%100 != 0:
		return 0, fmt.Errorf("stripe has no minor unit for %s and cannot take %s", code, models.Decimal(cents, code))
	case byHundred[code]:
		return cents / 100, nil
	case lastZero[code] && cents%10 != 0:
		return 0, fmt.Errorf("stripe takes %s only in steps of ten minor units, not %d", code, cents)
	}
	return cents, nil
}

// fromStripe translates an amount on the wire to minor units. It reports false
// for what is no amount of money at all; the answer then proves nothing.
func fromStripe(amount int64, currency string) (int64, string, bool) {
	code := strings.ToUpper(currency)
	if len(code) != 3 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || amount < 0 || amount > 100*models.MaxCents {
		return 0, "", false
	}
	switch {
	case timesHundred[code] && amount%100 != 0:
		return 0, "", false
	case timesHundred[code]:
		return amount / 100, code, true
	case byHundred[code]:
		return amount * 100, code, true
	}
	return amount, code, true
}
