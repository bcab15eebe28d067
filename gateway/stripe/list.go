package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const (
	// maxAnswer bounds an answer: a page of a hundred lines with what they stand
	// for, each with fifty long labels, is under 4 MiB.
	maxAnswer = 4 << 20
	// listLimit is the most lines that Stripe puts on a page.
	listLimit = 100
	// secondPages bounds how many pages of one second are read: created has no
	// finer unit, so that a second cannot be divided.
	secondPages = 100
)

// balanceLine is one balance transaction: money that came or went.
type balanceLine struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Amount            int64           `json:"amount"`
	Currency          string          `json:"currency"`
	Created           int64           `json:"created"`
	Type              string          `json:"type"`
	ReportingCategory string          `json:"reporting_category"`
	ExchangeRate      json.RawMessage `json:"exchange_rate"` // asked only whether there is one
	Source            expandable      `json:"source"`
}

type balanceList struct {
	Object  string        `json:"object"`
	Data    []balanceLine `json:"data"`
	HasMore bool          `json:"has_more"`
}

// source is what of a charge, a refund or a dispute a line needs.
type source struct {
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountCaptured int64             `json:"amount_captured"`
	Currency       string            `json:"currency"`
	PaymentIntent  expandable        `json:"payment_intent"`
	Reason         string            `json:"reason"`
	Metadata       map[string]string `json:"metadata"`
}

// List reads the account's balance transactions. Stripe tells the newest
// first, so the span is divided until a part fits on one page, and the part is
// turned round: what is held in memory is one page, or one second. The cursor
// is a moment and a length, and may be used again for as long as one likes.
func (a *Adapter) List(ctx context.Context, r gateway.ListRequest) (gateway.ListPage, error) {
	at, err := parseCursor(r)
	if err != nil {
		return gateway.ListPage{}, err
	}
	for at.span > 0 {
		lines, more, err := a.balancePage(ctx, at, "")
		if err != nil {
			return gateway.ListPage{}, err
		}
		if more && at.span > 1 {
			at.span /= 2
			continue
		}
		if more {
			if lines, err = a.balanceSecond(ctx, at, lines); err != nil {
				return gateway.ListPage{}, err
			}
		}
		return at.page(lines), nil
	}
	return gateway.ListPage{}, nil // an empty span
}

// listCursor is a part of a span, in whole seconds.
type listCursor struct{ from, span, end int64 }

// parseCursor reads where to go on: "from.span", in seconds.
func parseCursor(r gateway.ListRequest) (listCursor, error) {
	c := listCursor{from: r.From.Unix(), end: r.To.Add(time.Second - time.Nanosecond).Unix()}
	c.span = max(0, c.end-c.from)
	if r.Cursor == "" {
		return c, nil
	}
	from, span, ok := strings.Cut(r.Cursor, ".")
	f, err := strconv.ParseInt(from, 10, 64)
	n, badSpan := strconv.ParseInt(span, 10, 64)
	if !ok || err != nil || badSpan != nil || n < 1 || f < c.from || f >= c.end {
		return c, fmt.Errorf("list from the cursor %q: it is none of this list's; begin without one", gateway.CleanText(r.Cursor))
	}
	c.from, c.span = f, min(n, c.end-f)
	return c, nil
}

// page turns the lines of a part round, and says where the next part begins: of
// the same length, or a longer one where this was nearly empty.
func (c listCursor) page(lines []balanceLine) gateway.ListPage {
	page := gateway.ListPage{Movements: make([]models.Movement, 0, len(lines))}
	for _, line := range slices.Backward(lines) {
		if m, ok := line.movement(); ok {
			page.Movements = append(page.Movements, m)
		} else {
			page.Skipped++
		}
	}
	next, span := c.from+c.span, c.span
	if len(lines) < listLimit/3 {
		span *= 2
	}
	if next < c.end {
		page.Next = fmt.Sprintf("%d.%d", next, span)
	}
	return page
}

// balanceSecond reads the rest of a second that has more lines than a page.
func (a *Adapter) balanceSecond(ctx context.Context, at listCursor, lines []balanceLine) ([]balanceLine, error) {
	for range secondPages {
		older, more, err := a.balancePage(ctx, at, lines[len(lines)-1].ID)
		if err != nil {
			return nil, err
		}
		lines = append(lines, older...)
		if !more {
			return lines, nil
		}
	}
	return nil, a.listError(0, fmt.Errorf("the second %d has more than %d lines; import the report of that day instead", at.from, secondPages*listLimit))
}

// balancePage reads one page of a part, newest first.
func (a *Adapter) balancePage(ctx context.Context, at listCursor, after string) ([]balanceLine, bool, error) {
	query := url.Values{
		"created[gte]": {strconv.FormatInt(at.from, 10)}, "created[lt]": {strconv.FormatInt(at.from+at.span, 10)},
		"limit": {strconv.Itoa(listLimit)}, "expand[]": {"data.source"},
	}
	if after != "" {
		query.Set("starting_after", after)
	}
	answer := a.get(ctx, gateway.CallList, "/v1/balance_transactions", query)
	lines, more, err := a.balanceLines(answer)
	if err == nil && more && len(lines) == 0 {
		err = a.listError(answer.Status, errors.New("a page without lines promises more of them"))
	}
	outcome := models.OutcomeConfirmed
	if err != nil {
		outcome = models.OutcomeLost
	}
	a.client.Count(gateway.CallList, outcome)
	return lines, more, err
}

// balanceLines reads an answer: a whole list, or why there is none.
func (a *Adapter) balanceLines(answer gateway.Answer) ([]balanceLine, bool, error) {
	if answer.Phase != gateway.PhaseAnswered {
		return nil, false, a.listError(0, answer.Err)
	}
	if answer.Status != http.StatusOK {
		return nil, false, a.listRefused(answer)
	}
	var list balanceList
	if err := json.Unmarshal(answer.Body, &list); err != nil || list.Object != "list" || list.Data == nil {
		return nil, false, a.listError(answer.Status, errors.New("the answer is no list of balance transactions"))
	}
	for _, line := range list.Data {
		if line.Object != "balance_transaction" || line.ID == "" {
			return nil, false, a.listError(answer.Status, errors.New("the list holds something that is no balance transaction"))
		}
	}
	return list.Data, list.HasMore, nil
}

func (a *Adapter) listError(status int, err error) *gateway.CallError {
	return &gateway.CallError{Tried: fmt.Sprintf("list the balance transactions of stripe account %q", a.config.Account), Status: status, Err: err}
}

// listRefused explains a status that is not 200.
func (a *Adapter) listRefused(answer gateway.Answer) error {
	err := a.listError(answer.Status, errors.New("no list came"))
	e := parseError(answer.Body)
	if e != nil {
		err.Err = errors.New(gateway.CleanText(strings.TrimSpace(e.Code + " " + e.Message)))
	}
	switch {
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		err.Err = fmt.Errorf("%w: let the key read balance transactions, charges, refunds and disputes", gateway.ErrCredentials)
	case answer.Status == http.StatusTooManyRequests, e != nil && e.Code == "lock_timeout":
		err.Throttled, err.RetryAfter = true, gateway.RetryAfter(answer.Header)
	}
	return err
}

// categories are the reporting categories that move a payment's money, and the
// sign that their amount has.
var categories = map[string]struct {
	kind models.MovementKind
	sign int64
}{
	"charge":           {models.MovedCaptured, 1},
	"refund":           {models.MovedRefunded, -1},
	"refund_failure":   {models.MovedFailed, 1},
	"dispute":          {models.MovedTakenBack, -1},
	"charge_failure":   {models.MovedTakenBack, -1},
	"dispute_reversal": {models.MovedReinstated, 1},
}

// categoryOf gives the reporting category of lines that come without one. An
// adjustment without one may be anything.
var categoryOf = map[string]string{
	"charge": "charge", "payment": "charge", "refund": "refund", "payment_refund": "refund", "refund_failure": "refund_failure",
	"payment_failure_refund": "charge_failure",
}

// movement translates a line. It is pure, and false for what moves no payment:
// payouts, fees, transfers, and whatever it does not know.
func (l balanceLine) movement() (models.Movement, bool) {
	category := l.ReportingCategory
	if category == "" {
		category = categoryOf[l.Type]
	}
	c, ok := categories[category]
	var s source
	if !ok || l.Amount*c.sign <= 0 || l.Source.raw != nil && !l.Source.object(&s) {
		return models.Movement{}, false
	}
	m := models.Movement{
		ID: gateway.CleanID(l.ID), Kind: c.kind, Hold: gateway.CleanID(s.PaymentIntent.ID), Reference: gateway.CleanID(s.Metadata[metadataReference]),
		TransactionID: gateway.CleanID(s.PaymentIntent.ID), Reason: gateway.CleanText(strings.TrimSpace(category + " " + s.Reason)), At: time.Unix(l.Created, 0).UTC(),
	}
	if c.kind == models.MovedRefunded || c.kind == models.MovedFailed {
		m.TransactionID = gateway.CleanID(l.Source.ID)
	}
	m.AmountCents, m.CurrencyCode, ok = l.money(c.sign, s)
	// A line that names neither hold nor operation is somebody else's: a payment
	// without a PaymentIntent was never made here.
	return m, ok && (m.Hold != "" || m.Reference != "" || m.Kind == models.MovedRefunded && m.TransactionID != "")
}

// money is what moved, in the payer's currency. A line that was converted names
// the account's own: what it stands for is asked then, and a zero without a
// currency says that the list does not tell.
func (l balanceLine) money(sign int64, s source) (int64, string, bool) {
	if len(l.ExchangeRate) == 0 || string(l.ExchangeRate) == "null" {
		return fromStripe(l.Amount*sign, l.Currency)
	}
	switch s.Object {
	case "":
		return 0, "", true
	case "charge":
		return fromStripe(s.AmountCaptured, s.Currency)
	}
	return fromStripe(s.Amount, s.Currency)
}
