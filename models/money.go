package models

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxCents is the largest amount accepted from outside, in minor units. Sums
// of thousands of them still fit an int64.
const MaxCents int64 = 1_000_000_000_000

// exponents maps an ISO 4217 code to the number of digits of its minor unit.
// Codes that stand for no money (XAU, XTS and the like) are left out on purpose.
var exponents = func() map[string]int {
	m := map[string]int{}
	for exponent, codes := range map[int]string{
		0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
		2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY " +
			"COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR " +
			"IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD " +
			"NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC " +
			"SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG",
		3: "BHD IQD JOD KWD LYD OMR TND",
	} {
		for _, code := range strings.Fields(codes) {
			m[code] = exponent
		}
	}
	return m
}()

// ParseCurrency returns the upper-case ISO 4217 code that s names, in either
// case, or an error for anything that is no currency in use.
func ParseCurrency(s string) (string, error) {
	code := strings.ToUpper(s)
	if _, ok := exponents[code]; !ok {
		return "", fmt.Errorf("%q is not an ISO 4217 currency code; send one such as EUR or USD", s)
	}
	return code, nil
}

// Exponent returns the number of minor-unit digits of a currency that
// [ParseCurrency] accepted: 2 for EUR, 0 for JPY, 3 for KWD.
func Exponent(currency string) int { return exponents[currency] }

// Decimal writes cents as the exact decimal number of major units: 1500 EUR is
// "15.00", 1500 JPY is "1500". It is rendering only; no sum is made from it.
func Decimal(cents int64, currency string) string {
	e := Exponent(currency)
	if e == 0 {
		return strconv.FormatInt(cents, 10)
	}
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	digits := fmt.Sprintf("%0*d", e+1, cents)
	return sign + digits[:len(digits)-e] + "." + digits[len(digits)-e:]
}

// notation says how a currency is printed for people.
type notation struct {
	symbol   string
	mark     string // between major and minor units
	thousand string
	after    bool // symbol behind the number
}

// notations holds the currencies whose printed form is fixed by the documents
// Capstan answers with (€15,00 and $200.00 and £600.00) and their common
// neighbours. Any other currency is printed as its code before the number.
var notations = map[string]notation{
	"EUR": {symbol: "€", mark: ",", thousand: "."},
	"USD": {symbol: "$", mark: ".", thousand: ","},
	"GBP": {symbol: "£", mark: ".", thousand: ","},
	"JPY": {symbol: "¥", thousand: ","},
	"CNY": {symbol: "¥", mark: ".", thousand: ","},
	"INR": {symbol: "₹", mark: ".", thousand: ","},
	"KRW": {symbol: "₩", thousand: ","},
	"AUD": {symbol: "$", mark: ".", thousand: ","},
	"CAD": {symbol: "$", mark: ".", thousand: ","},
	"NZD": {symbol: "$", mark: ".", thousand: ","},
	"CHF": {symbol: "CHF", mark: ".", thousand: ","},
	"SEK": {symbol: " kr", mark: ",", thousand: " ", after: true},
	"NOK": {symbol: " kr", mark: ",", thousand: ".", after: true},
	"DKK": {symbol: " kr.", mark: ",", thousand: ".", after: true},
	"PLN": {symbol: " zł", mark: ",", thousand: " ", after: true},
	"CZK": {symbol: " Kč", mark: ",", thousand: " ", after: true},
	"BRL": {symbol: "R$", mark: ",", thousand: "."},
	"MXN": {symbol: "$", mark: ".", thousand: ","},
}

// FormatMoney prints an amount for people: 150000 EUR is "€1.500,00".
func FormatMoney(cents int64, currency string) string {
	n, ok := notations[currency]
	if !ok {
		n = notation{symbol: currency + " ", mark: ".", thousand: ","}
	}
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	major, minor, _ := strings.Cut(Decimal(cents, currency), ".")
	number := group(major, n.thousand)
	if minor != "" {
		number += n.mark + minor
	}
	if n.after {
		return sign + number + n.symbol
	}
	return sign + n.symbol + number
}

func group(digits, by string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + by + digits[i:]
	}
	return digits
}
