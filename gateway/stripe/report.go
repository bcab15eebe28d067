package stripe

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// The columns of Stripe's itemized balance, payout and settlement reports, and
// of the balance export of its dashboard, by the names that stand for the same.
var (
	columnID       = []string{"balance_transaction_id", "id"}
	columnCategory = []string{"reporting_category", "type"}
	columnGross    = []string{"gross", "amount"}
	columnCurrency = []string{"currency"}
	columnCreated  = []string{"created_utc", "created"}
	columnHold     = []string{"payment_intent_id", "payment_intent"}
	columnRefund   = []string{"refund_id", "source_id", "source"}
	columnCharge   = []string{"charge_id", "source_id", "source"}
	columnPaid     = []string{"customer_facing_amount"}
	columnPaidIn   = []string{"customer_facing_currency"}
)

// ReadReport reads one of Stripe's itemized reports, row by row, and counts the
// rows that move no payment. A row that cannot be understood is an error with
// its line; nothing after it is read.
func ReadReport(r io.Reader, each func(models.Movement) error) (skipped int, err error) {
	needs := [][]string{columnID, columnCategory, columnGross, columnCurrency, columnCreated}
	err = gateway.ReadReport(r, needs, func(row gateway.ReportRow) error {
		m, ok, err := reported(row)
		if err != nil {
			return err
		}
		if !ok {
			skipped++
			return nil
		}
		return each(m)
	})
	return skipped, err
}

// reported translates a row. It is false for what moves no payment.
func reported(row gateway.ReportRow) (models.Movement, bool, error) {
	category := row.Get(columnCategory...)
	if known, ok := categoryOf[category]; ok {
		category = known
	}
	c, ok := categories[category]
	if !ok {
		return models.Movement{}, false, nil
	}
	m := models.Movement{
		ID: gateway.CleanID(row.Get(columnID...)), Kind: c.kind, Hold: gateway.CleanID(row.Get(columnHold...)), Reason: gateway.CleanText(category),
	}
	m.TransactionID = m.Hold
	m.Reference = gateway.CleanID(row.Get("payment_metadata_" + metadataReference))
	if c.kind == models.MovedRefunded || c.kind == models.MovedFailed {
		m.TransactionID = withPrefix("re_", row.Get(columnRefund...))
		m.Reference = gateway.CleanID(row.Get("refund_metadata_" + metadataReference))
	}
	if m.ID == "" {
		return m, false, errors.New("it has no balance_transaction_id")
	}
	var err error
	if m.At, err = gateway.ParseReportTime(strings.TrimSuffix(row.Get(columnCreated...), " UTC")); err != nil {
		return m, false, err
	}
	if m.AmountCents, m.CurrencyCode, err = gross(row, c.sign); err != nil {
		return m, false, err
	}
	if m.Hold == "" && m.Reference == "" && m.TransactionID == "" {
		// A charge that no PaymentIntent made: somebody else's, unless the report
		// was made without the columns that tell.
		if withPrefix("ch_", row.Get(columnCharge...)) != "" && !row.Has(columnHold...) {
			return m, false, fmt.Errorf("it names a charge and no payment_intent_id; make the report with that column")
		}
		return m, false, nil
	}
	return m, true, nil
}

// gross is what moved in the payer's currency.
func gross(row gateway.ReportRow, sign int64) (int64, string, error) {
	cents, currency, err := gateway.ParseDecimal(row.Get(columnGross...), row.Get(columnCurrency...))
	if err != nil {
		return 0, "", err
	}
	if cents*sign <= 0 {
		return 0, "", fmt.Errorf("the gross amount %q has the wrong sign for a %s", row.Get(columnGross...), row.Get(columnCategory...))
	}
	if paidIn := row.Get(columnPaidIn...); paidIn != "" && !strings.EqualFold(paidIn, currency) {
		// Converted: what the payer paid stands beside it, or is not told.
		paid := row.Get(columnPaid...)
		if paid == "" {
			return 0, "", nil
		}
		cents, currency, err = gateway.ParseDecimal(paid, paidIn)
		if err != nil {
			return 0, "", err
		}
		sign = 1
		if cents < 0 {
			sign = -1
		}
	}
	return cents * sign, currency, nil
}

func withPrefix(prefix, id string) string {
	if strings.HasPrefix(id, prefix) {
		return gateway.CleanText(id)
	}
	return ""
}
