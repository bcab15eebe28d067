package models_test

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/models"
)

func TestMoneyAsText(t *testing.T) {
	for _, c := range []struct {
		cents              int64
		currency           string
		decimal, formatted string
	}{
		{1500, "EUR", "15.00", "€15,00"},
		{150000, "EUR", "1500.00", "€1.500,00"},
		{20000, "USD", "200.00", "$200.00"},
		{60000, "GBP", "600.00", "£600.00"},
		{0, "EUR", "0.00", "€0,00"},
		{1, "EUR", "0.01", "€0,01"},
		{10, "EUR", "0.10", "€0,10"},
		{-1, "EUR", "-0.01", "-€0,01"},
		{-123456789, "USD", "-1234567.89", "-$1,234,567.89"},
		{1500, "JPY", "1500", "¥1,500"},
		{-1500, "JPY", "-1500", "-¥1,500"},
		{0, "KRW", "0", "₩0"},
		{1500, "KWD", "1.500", "KWD 1.500"},
		{-1, "KWD", "-0.001", "-KWD 0.001"},
		{1234567, "BHD", "1234.567", "BHD 1,234.567"},
		{1234567, "SEK", "12345.67", "12 345,67 kr"},
		{-1234567, "DKK", "-12345.67", "-12.345,67 kr."},
		{1234567, "HUF", "12345.67", "HUF 12,345.67"},
		{99900, "CHF", "999.00", "CHF999.00"},
		{models.MaxCents, "EUR", "10000000000.00", "€10.000.000.000,00"},
	} {
		if got := models.Decimal(c.cents, c.currency); got != c.decimal {
			t.Errorf("Decimal(%d, %s) = %q, want %q", c.cents, c.currency, got, c.decimal)
		}
		if got := models.FormatMoney(c.cents, c.currency); got != c.formatted {
			t.Errorf("FormatMoney(%d, %s) = %q, want %q", c.cents, c.currency, got, c.formatted)
		}
	}
}

// A decimal is the cents with a point in it, in every currency.
func TestDecimalIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cents := rapid.Int64Range(-models.MaxCents, models.MaxCents).Draw(t, "cents")
		currency := rapid.SampledFrom([]string{"JPY", "EUR", "KWD"}).Draw(t, "currency")
		d := models.Decimal(cents, currency)
		whole, part, point := strings.Cut(d, ".")
		if e := models.Exponent(currency); point != (e > 0) || len(part) != e || whole == "" || whole == "-" {
			t.Fatalf("%q has not %d digits behind the point", d, e)
		}
		if back, err := strconv.ParseInt(whole+part, 10, 64); err != nil || back != cents {
			t.Fatalf("%q reads as %d, want %d", d, back, cents)
		}
	})
}

func TestParseCurrency(t *testing.T) {
	for in, want := range map[string]string{"EUR": "EUR", "eur": "EUR", "Usd": "USD", "jpy": "JPY", "kwd": "KWD", "VES": "VES", "SLE": "SLE"} {
		if got, err := models.ParseCurrency(in); err != nil || got != want {
			t.Errorf("ParseCurrency(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "E", "EURO", "XAU", "XTS", "XXX", "€", "DEM", " EUR", "EUR\x00", "ЕUR", "ßUR"} {
		if got, err := models.ParseCurrency(in); err == nil {
			t.Errorf("ParseCurrency(%q) = %q, want a refusal", in, got)
		}
	}
	for currency, want := range map[string]int{"EUR": 2, "JPY": 0, "KWD": 3, "CLP": 0, "UGX": 0, "ISK": 0, "HUF": 2, "TND": 3} {
		if got := models.Exponent(currency); got != want {
			t.Errorf("Exponent(%s) = %d, want %d", currency, got, want)
		}
	}
}
