package stripe

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// TestMovements is the table of what lines of a balance are for us.
func TestMovements(t *testing.T) {
	const charge = `{"id":"ch_1","object":"charge","amount":2000,"amount_captured":1500,"currency":"eur","payment_intent":"pi_1","metadata":{}}`
	const refunded = `{"id":"re_1","object":"refund","amount":500,"currency":"eur","payment_intent":"pi_1","charge":"ch_1","reason":"duplicate","metadata":{"capstan_reference":"ref_ours"}}`
	const disputed = `{"id":"dp_1","object":"dispute","amount":1500,"currency":"eur","payment_intent":{"id":"pi_1","object":"payment_intent"},"charge":"ch_1","reason":"fraudulent","metadata":{}}`
	at := time.Unix(1_790_000_000, 0).UTC()
	line := func(typ, category string, amount int64, currency, source, more string) string {
		return fmt.Sprintf(`{"id":"txn_1","object":"balance_transaction","amount":%d,"currency":%q,"created":1790000000,"type":%q,"reporting_category":%q,"source":%s%s}`,
			amount, currency, typ, category, source, more)
	}
	moved := func(kind models.MovementKind, tx, reference string, cents int64, currency, reason string) *models.Movement {
		return &models.Movement{ID: "txn_1", Kind: kind, Hold: "pi_1", Reference: reference, TransactionID: tx, AmountCents: cents, CurrencyCode: currency, At: at, Reason: reason}
	}
	converted := `,"exchange_rate":1.1`
	for _, tt := range []struct {
		name, line string
		want       *models.Movement // nil: skipped
	}{
		{"a capture", line("charge", "charge", 1500, "eur", charge, ""), moved(models.MovedCaptured, "pi_1", "", 1500, "EUR", "charge")},
		{"without a category", line("payment", "", 1500, "eur", charge, `,"exchange_rate":null`), moved(models.MovedCaptured, "pi_1", "", 1500, "EUR", "charge")},
		{"one of several", line("charge", "charge", 700, "eur", charge, ""), moved(models.MovedCaptured, "pi_1", "", 700, "EUR", "charge")},
		{"converted", line("charge", "charge", 1650, "usd", charge, converted), moved(models.MovedCaptured, "pi_1", "", 1500, "EUR", "charge")},
		{"a refund", line("refund", "refund", -500, "eur", refunded, ""), moved(models.MovedRefunded, "re_1", "ref_ours", 500, "EUR", "refund duplicate")},
		{"a refund, converted", line("refund", "refund", -550, "usd", refunded, converted), moved(models.MovedRefunded, "re_1", "ref_ours", 500, "EUR", "refund duplicate")},
		{"a refund that came back", line("refund_failure", "refund_failure", 500, "eur", refunded, ""), moved(models.MovedFailed, "re_1", "ref_ours", 500, "EUR", "refund_failure duplicate")},
		{"a chargeback", line("adjustment", "dispute", -1500, "eur", disputed, ""), moved(models.MovedTakenBack, "pi_1", "", 1500, "EUR", "dispute fraudulent")},
		{"a chargeback won", line("adjustment", "dispute_reversal", 1500, "eur", disputed, ""), moved(models.MovedReinstated, "pi_1", "", 1500, "EUR", "dispute_reversal fraudulent")},
		{"a debit that failed later", line("payment_failure_refund", "charge_failure", -1500, "eur", charge, ""), moved(models.MovedTakenBack, "pi_1", "", 1500, "EUR", "charge_failure")},
		{"hundredths that do not exist", line("charge", "charge", 500, "isk", charge, ""), moved(models.MovedCaptured, "pi_1", "", 5, "ISK", "charge")},
		{"three decimals", line("charge", "charge", 1230, "kwd", charge, ""), moved(models.MovedCaptured, "pi_1", "", 1230, "KWD", "charge")},
		{"not expanded", line("charge", "charge", 1500, "eur", `"ch_1"`, ""), nil},
		{"no PaymentIntent", line("charge", "charge", 1500, "eur", strings.Replace(charge, `"pi_1"`, "null", 1), ""), nil},
		{"another sign", line("charge", "charge", -1500, "eur", charge, ""), nil},
		{"nothing", line("charge", "charge", 0, "eur", charge, ""), nil},
		{"a payout", line("payout", "payout", -1500, "eur", `"po_1"`, ""), nil},
		{"a fee", line("stripe_fee", "fee", -15, "eur", `null`, ""), nil},
		{"an adjustment of who knows what", line("adjustment", "", -1500, "eur", disputed, ""), nil},
		{"the part that was never taken", line("adjustment", "partial_capture_reversal", -500, "eur", charge, ""), nil},
		{"no currency", line("charge", "charge", 1500, "money", charge, ""), nil},
		{"half a hundredth", line("charge", "charge", 501, "isk", charge, ""), nil},
	} {
		var l balanceLine
		if err := json.Unmarshal([]byte(tt.line), &l); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		m, ok := l.movement()
		switch {
		case ok != (tt.want != nil):
			t.Errorf("%s: taken %t: %+v", tt.name, ok, m)
		case ok:
			if d := cmp.Diff(*tt.want, m); d != "" {
				t.Errorf("%s:\n%s", tt.name, d)
			}
		}
	}
}

// FuzzMovement: no line panics, and none makes up money: what is told is
// positive or not told, and no more than the line or its source says.
func FuzzMovement(f *testing.F) {
	f.Add(`{"id":"txn_1","object":"balance_transaction","amount":1500,"currency":"eur","created":1,"type":"charge","reporting_category":"charge","source":{"id":"ch_1","object":"charge","payment_intent":"pi_1"}}`)
	f.Add(`{"id":"txn_1","object":"balance_transaction","amount":-9223372036854775808,"currency":"eur","type":"refund","source":"re_1"}`)
	f.Add(`{"amount":1,"currency":"isk","type":"charge","exchange_rate":2,"source":{"object":"charge","amount_captured":-1,"currency":"eur","payment_intent":{"id":"pi_1"}}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		var l balanceLine
		if json.Unmarshal([]byte(raw), &l) != nil {
			return
		}
		m, ok := l.movement()
		if !ok {
			return
		}
		if m.AmountCents < 0 || m.CurrencyCode == "" && m.AmountCents != 0 || m.CurrencyCode != "" && len(m.CurrencyCode) != 3 || m.AmountCents > 100*models.MaxCents*100 {
			t.Errorf("%s became %+v", raw, m)
		}
		if m.Hold == "" && m.Reference == "" && m.TransactionID == "" {
			t.Errorf("%s is about nothing: %+v", raw, m)
		}
	})
}

const reportHead = "balance_transaction_id,created_utc,reporting_category,currency,gross,payment_intent_id,source_id,refund_metadata[capstan_reference],customer_facing_amount,customer_facing_currency\n"

func TestReadReport(t *testing.T) {
	rows := reportHead +
		"txn_1,2026-11-20 12:00:00,charge,eur,15.00,pi_1,ch_1,,15.00,eur\n" +
		"txn_2,2026-11-20 12:00:01,refund,eur,-5.00,pi_1,re_1,ref_ours,-5.00,eur\n" +
		"txn_3,2026-11-20 12:00:02,dispute,eur,-10.00,pi_1,dp_1,,,\n" +
		"txn_4,2026-11-20 12:00:03,charge,usd,16.50,pi_2,ch_2,,15.00,eur\n" +
		"txn_5,2026-11-20 12:00:04,charge,usd,16.50,pi_3,ch_3,,,eur\n" +
		"txn_6,2026-11-20 12:00:05,charge,jpy,1500.00,pi_4,ch_4,,,\n" +
		"txn_7,2026-11-20 12:00:06,charge,kwd,1.230,pi_5,ch_5,,,\n" +
		"txn_8,2026-11-20 12:00:07,payout,eur,-900.00,,po_1,,,\n" +
		"txn_9,2026-11-20 12:00:08,charge,eur,9.00,,ch_6,,,\n"
	var got []string
	skipped, err := ReadReport(strings.NewReader(rows), func(m models.Movement) error {
		got = append(got, fmt.Sprintf("%s %s %s %s %q %d %s %s", m.ID, m.Kind, m.Hold, m.TransactionID, m.Reference, m.AmountCents, m.CurrencyCode, m.At.Format("15:04:05")))
		return nil
	})
	if err != nil || skipped != 2 {
		t.Errorf("skipped %d: %v", skipped, err)
	}
	want := []string{
		`txn_1 captured pi_1 pi_1 "" 1500 EUR 12:00:00`,
		`txn_2 refunded pi_1 re_1 "ref_ours" 500 EUR 12:00:01`,
		`txn_3 taken_back pi_1 pi_1 "" 1000 EUR 12:00:02`,
		`txn_4 captured pi_2 pi_2 "" 1500 EUR 12:00:03`,
		`txn_5 captured pi_3 pi_3 "" 0  12:00:04`,
		`txn_6 captured pi_4 pi_4 "" 1500 JPY 12:00:05`,
		`txn_7 captured pi_5 pi_5 "" 1230 KWD 12:00:06`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReadReportRefuses(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"an empty file", "", "line 1: the file is empty"},
		{"another report", "a,b\n1,2\n", "line 1: no column balance_transaction_id or id; is it the right report?"},
		{"an amount that is none", reportHead + "txn_1,2026-11-20 12:00:00,charge,eur,1.5e3,pi_1,ch_1,,,\n", `line 2: the amount "1.5e3" is no decimal number such as 15.00`},
		{"too many digits", reportHead + "txn_1,2026-11-20 12:00:00,charge,eur,1.505,pi_1,ch_1,,,\n", `line 2: the amount "1.505" has more digits than EUR has`},
		{"a decimal of a currency without", reportHead + "txn_1,2026-11-20 12:00:00,charge,jpy,1.5,pi_1,ch_1,,,\n", `line 2: the amount "1.5" has more digits than JPY has`},
		{"the wrong sign", reportHead + "\ntxn_1,2026-11-20 12:00:00,refund,eur,5.00,pi_1,re_1,,,\n", `line 3: the gross amount "5.00" has the wrong sign for a refund`},
		{"no such time", reportHead + "txn_1,yesterday,charge,eur,5.00,pi_1,ch_1,,,\n", `line 2: the time "yesterday" is not written as 2026-01-31 12:00:00 or 2026-01-31T12:00:00Z`},
		{"no such currency", reportHead + "txn_1,2026-11-20 12:00:00,charge,euro,5.00,pi_1,ch_1,,,\n", `line 2: "euro" is not an ISO 4217 currency code; send one such as EUR or USD`},
		{"too few fields", reportHead + "txn_1,2026-11-20 12:00:00\n", "line 2: wrong number of fields"},
		{"a quote that is not closed", reportHead + "\"" + strings.Repeat("x\n", 60_000), "line 2: a record is longer than 65536 bytes; is a quote not closed?"},
		{"no column that names the hold", "id,Type,Amount,Currency,Created (UTC),Source\ntxn_1,charge,5.00,eur,2026-11-20 12:00,ch_1\n", "line 2: it names a charge and no payment_intent_id; make the report with that column"},
	} {
		_, err := ReadReport(strings.NewReader(tt.file), func(models.Movement) error { return nil })
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// FuzzReadReport: no file panics, and none makes up money.
func FuzzReadReport(f *testing.F) {
	f.Add(reportHead + "txn_1,2026-11-20 12:00:00,charge,eur,15.00,pi_1,ch_1,,15.00,eur\n")
	f.Add("id,Type,Amount,Currency,Created (UTC),payment_intent\ntxn_1,refund,-0.01,usd,2026-11-20,pi_1\n")
	f.Fuzz(func(t *testing.T, file string) {
		_, err := ReadReport(strings.NewReader(file), func(m models.Movement) error {
			if m.ID == "" || m.AmountCents < 0 || m.AmountCents == 0 && m.CurrencyCode != "" || m.At.IsZero() && !strings.Contains(file, "0001") {
				t.Errorf("%q became %+v", file, m)
			}
			return nil
		})
		if err != nil && !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: the error names no line: %v", file, err)
		}
	})
}
