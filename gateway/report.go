package gateway

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// maxReportRecord bounds one record of a report, in bytes: a quote that is never
// closed must not draw the whole file into memory.
const maxReportRecord = 64 << 10

// ReportError says where a report cannot be understood.
type ReportError struct {
	Line int // from 1, the header's is 1
	Err  error
}

func (e *ReportError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap gives the cause.
func (e *ReportError) Unwrap() error { return e.Err }

// ReportRow is one record of a report, by the names of its columns.
type ReportRow struct {
	Line   int
	fields []string
	at     map[string]int
}

// Get returns the first column of these names that has a value, without the
// space around it.
func (r ReportRow) Get(names ...string) string {
	for _, name := range names {
		if i, ok := r.at[name]; ok && i < len(r.fields) {
			if v := strings.TrimSpace(r.fields[i]); v != "" {
				return v
			}
		}
	}
	return ""
}

// ReadReport reads a CSV with a header, row by row, in bounded memory. Names of
// columns are compared in lower case, with "_" for everything that is no letter
// or digit. Needs lists the columns that must be there, each with its other
// names. Every error is a [ReportError]; what each returns becomes one.
func ReadReport(r io.Reader, needs [][]string, each func(ReportRow) error) error {
	bounded := &boundedReader{r: r}
	reader := csv.NewReader(bounded)
	reader.ReuseRecord = true
	header, err := reader.Read()
	if err != nil {
		return reportError(1, err)
	}
	row := ReportRow{Line: 1, at: map[string]int{}}
	for i, name := range header {
		if name = columnName(name); name != "" {
			if _, twice := row.at[name]; !twice {
				row.at[name] = i
			}
		}
	}
	for _, names := range needs {
		if !row.Has(names...) {
			return &ReportError{Line: 1, Err: fmt.Errorf("no column %s; is it the right report?", strings.Join(names, " or "))}
		}
	}
	for {
		bounded.left = 0
		fields, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return reportError(row.Line+1, err)
		}
		row.fields = fields
		row.Line, _ = reader.FieldPos(0)
		if err := each(row); err != nil {
			return &ReportError{Line: row.Line, Err: err}
		}
	}
}

// Has reports whether the report has a column of one of these names.
func (r ReportRow) Has(names ...string) bool {
	for _, name := range names {
		if _, ok := r.at[name]; ok {
			return true
		}
	}
	return false
}

func reportError(line int, err error) error {
	if errors.Is(err, io.EOF) {
		return &ReportError{Line: 1, Err: errors.New("the file is empty")}
	}
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		return &ReportError{Line: bad.StartLine, Err: bad.Err}
	}
	return &ReportError{Line: line, Err: err}
}

// columnName makes "Created (UTC)" created_utc.
func columnName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == '\ufeff': // the mark that spreadsheets put before a file
			return -1
		}
		return '_'
	}, s)
	for strings.Contains(s, "__") {
		s = strings.ReplaceAll(s, "__", "_")
	}
	return strings.Trim(s, "_")
}

// boundedReader refuses to read on once a record is too long.
type boundedReader struct {
	r    io.Reader
	left int // read since the last record ended
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left > maxReportRecord {
		return 0, fmt.Errorf("a record is longer than %d bytes; is a quote not closed?", maxReportRecord)
	}
	n, err := b.r.Read(p)
	b.left += n
	return n, err
}

// ParseDecimal reads a decimal number of major units exactly: "15.00" EUR is
// 1500, "1500" JPY is 1500. Digits beyond the currency's minor unit must be
// zeros. The result is never rounded.
func ParseDecimal(s, currency string) (int64, string, error) {
	code, err := models.ParseCurrency(strings.TrimSpace(currency))
	if err != nil {
		return 0, "", err
	}
	digits := strings.TrimSpace(s)
	negative := strings.HasPrefix(digits, "-")
	digits = strings.TrimPrefix(strings.TrimPrefix(digits, "-"), "+")
	whole, part, _ := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole+part, "0123456789") != "" || len(whole) > 16 {
		return 0, "", fmt.Errorf("the amount %q is no decimal number such as 15.00", s)
	}
	exponent := models.Exponent(code)
	if len(part) > exponent {
		if strings.Trim(part[exponent:], "0") != "" {
			return 0, "", fmt.Errorf("the amount %q has more digits than %s has", s, code)
		}
		part = part[:exponent]
	}
	cents, err := strconv.ParseInt(whole+part+strings.Repeat("0", exponent-len(part)), 10, 64)
	if err != nil || cents > math.MaxInt64/2 || cents > 100*models.MaxCents {
		return 0, "", fmt.Errorf("the amount %q is too large", s)
	}
	if negative {
		cents = -cents
	}
	return cents, code, nil
}

// ParseReportTime reads a moment as reports write it; without a zone it is UTC.
func ParseReportTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("the time %q is not written as 2026-01-31 12:00:00 or 2026-01-31T12:00:00Z", s)
}

// reportColumns are what our own format must have.
var reportColumns = [][]string{{"type"}, {"transaction_id"}, {"hold"}, {"amount_cents"}, {"currency"}, {"at"}}

var reportKinds = map[string]models.MovementKind{
	"captured": models.MovedCaptured, "refunded": models.MovedRefunded, "voided": models.MovedVoided, "taken_back": models.MovedTakenBack,
	"reinstated": models.MovedReinstated, "refund_lost": models.MovedFailed,
}

// ReadMovements reads a report in Capstan's own format, which any gateway's can
// be turned into: type,transaction_id,hold,reference,amount_cents,currency,at,reason
// with an optional id. Types are those of [models.MovementKind].
func ReadMovements(r io.Reader, each func(models.Movement) error) error {
	return ReadReport(r, reportColumns, func(row ReportRow) error {
		m, err := movementOf(row)
		if err != nil {
			return err
		}
		return each(m)
	})
}

func movementOf(row ReportRow) (models.Movement, error) {
	m := models.Movement{
		ID: CleanID(row.Get("id")), Kind: reportKinds[row.Get("type")], Hold: CleanID(row.Get("hold")), Reference: CleanID(row.Get("reference")),
		TransactionID: CleanID(row.Get("transaction_id")), Reason: CleanText(row.Get("reason")),
	}
	var err error
	if m.Kind == "" {
		return m, fmt.Errorf("the type %q is none of captured, refunded, voided, taken_back, reinstated, refund_lost", CleanText(row.Get("type")))
	}
	if m.Hold == "" && m.Reference == "" && m.TransactionID == "" {
		return m, errors.New("it names neither hold, reference nor transaction_id")
	}
	if m.AmountCents, err = strconv.ParseInt(row.Get("amount_cents"), 10, 64); err != nil || m.AmountCents < 0 || m.AmountCents > 100*models.MaxCents {
		return m, fmt.Errorf("amount_cents %q is no amount in minor units", CleanText(row.Get("amount_cents")))
	}
	if m.CurrencyCode, err = models.ParseCurrency(row.Get("currency")); err != nil {
		return m, err
	}
	if m.At, err = ParseReportTime(row.Get("at")); err != nil {
		return m, err
	}
	if m.ID == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d\x00%s\x00%d", m.Kind, m.TransactionID, m.Hold, m.Reference, m.AmountCents, m.CurrencyCode, m.At.UnixNano()))
		m.ID = "line_" + hex.EncodeToString(sum[:12])
	}
	return m, nil
}
