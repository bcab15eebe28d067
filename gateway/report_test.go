package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const movementsHead = "\ufeffType,Transaction ID,Hold,Reference,Amount Cents,Currency,At,Reason,id\n"

func TestReadMovements(t *testing.T) {
	file := movementsHead +
		"captured,tx_1,hold_1,cap_1,1500,eur,2026-11-20T12:00:00Z,,line_a\n" +
		"refunded,tx_2,hold_1,,500,EUR,2026-11-20 12:00:01,\"asked, kindly\",\n" +
		"taken_back,tx_1,hold_1,,1500,EUR,2026-11-21,fraud,\n" +
		"voided,,hold_2,,0,JPY,2026-11-21,,\n"
	read := func() (got []string, ids map[string]bool) {
		ids = map[string]bool{}
		err := gateway.ReadMovements(strings.NewReader(file), func(m models.Movement) error {
			ids[m.ID] = true
			got = append(got, fmt.Sprintf("%s %s %s %q %d %s %s %q", m.Kind, m.TransactionID, m.Hold, m.Reference, m.AmountCents, m.CurrencyCode, m.At.Format("02 15:04:05"), m.Reason))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return got, ids
	}
	got, ids := read()
	want := []string{
		`captured tx_1 hold_1 "cap_1" 1500 EUR 20 12:00:00 ""`, `refunded tx_2 hold_1 "" 500 EUR 20 12:00:01 "asked, kindly"`,
		`taken_back tx_1 hold_1 "" 1500 EUR 21 00:00:00 "fraud"`, `voided  hold_2 "" 0 JPY 21 00:00:00 ""`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, again := read(); len(ids) != 4 || !ids["line_a"] || cmp.Diff(ids, again) != "" {
		t.Errorf("the lines' names change: %v, %v", ids, again)
	}
}

func TestReadMovementsRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"paid,tx,hold,,1,EUR,2026-11-20,,":               `line 2: the type "paid" is none of captured, refunded, voided, taken_back, reinstated, refund_lost`,
		"captured,,,,1,EUR,2026-11-20,,":                 "line 2: it names neither hold, reference nor transaction_id",
		"captured,tx,hold,,15.00,EUR,2026-11-20,,":       `line 2: amount_cents "15.00" is no amount in minor units`,
		"captured,tx,hold,,-1,EUR,2026-11-20,,":          `line 2: amount_cents "-1" is no amount in minor units`,
		"captured,tx,hold,,9999999999999999,EUR,2026,,":  `line 2: amount_cents "9999999999999999" is no amount in minor units`,
		"captured,tx,hold,,1,XXX,2026-11-20,,":           `line 2: "XXX" is not an ISO 4217 currency code; send one such as EUR or USD`,
		"captured,tx,hold,,1,EUR,soon,,":                 `line 2: the time "soon" is not written as 2026-01-31 12:00:00 or 2026-01-31T12:00:00Z`,
		"captured,tx,hold,,1,EUR,2026-11-20,a \"quote,,": `line 2: bare " in non-quoted-field`,
	} {
		err := gateway.ReadMovements(strings.NewReader(movementsHead+line+"\n"), func(models.Movement) error { return nil })
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	for _, tt := range []struct {
		text, currency string
		cents          int64
		ok             bool
	}{
		{"15.00", "eur", 1500, true}, {"15", "EUR", 1500, true}, {"-0.01", "USD", -1, true}, {"+1.5", "USD", 150, true}, {"15.000", "EUR", 1500, true},
		{"1500", "JPY", 1500, true}, {"1500.00", "JPY", 1500, true}, {"1.230", "KWD", 1230, true}, {"5.00", "ISK", 5, true}, {"0", "EUR", 0, true},
		{"15.001", "EUR", 0, false}, {"1.5", "JPY", 0, false}, {"1,500.00", "EUR", 0, false}, {"", "EUR", 0, false}, {".5", "EUR", 0, false}, {"1e3", "EUR", 0, false},
		{"--1", "EUR", 0, false}, {"1.-5", "EUR", 0, false}, {"99999999999999999999", "EUR", 0, false}, {"15.00", "EURO", 0, false}, {"١٥", "EUR", 0, false},
	} {
		cents, currency, err := gateway.ParseDecimal(tt.text, tt.currency)
		if (err == nil) != tt.ok || cents != tt.cents || tt.ok && currency != strings.ToUpper(tt.currency) {
			t.Errorf("%s %s: %d %s %v, want %d", tt.text, tt.currency, cents, currency, err, tt.cents)
		}
	}
}
