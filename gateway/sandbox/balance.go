package sandbox

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"maps"
	"strings"
	"time"
)

// line is one balance transaction: money that came or went. It never changes.
type line struct {
	id, typ, category string
	amount            int64 // signed
	currency          string
	created           time.Time
	of                *hold
	source            string // the id of what it stands for
	live              bool
}

// lineOf makes the balance transaction of an entry. Its id is derived, so that
// a book that is read again lists the same.
func lineOf(h *hold, e entry) (line, bool) {
	kinds := map[string]struct {
		typ, category string
		sign          int64
	}{
		entryCapture: {"charge", "charge", 1}, entryRefund: {"refund", "refund", -1},
		entryDispute: {"adjustment", "dispute", -1}, entryDisputeWon: {"adjustment", "dispute_reversal", 1},
	}
	k, ok := kinds[e.Type]
	if !ok {
		return line{}, false
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %d", e.Type, e.Hold, e.ID, e.RequestID, e.At.UnixNano()))
	return line{
		id: "txn_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15])), typ: k.typ, category: k.category, amount: k.sign * e.Amount,
		currency: e.Currency, created: e.At, of: h, source: e.ID, live: h.live,
	}, true
}

type lineView struct {
	line
	shows view // what source is when it is expanded
}

func (v lineView) render(expand map[string]bool) any {
	j := struct {
		ID                string     `json:"id"`
		Object            string     `json:"object"`
		Amount            int64      `json:"amount"`
		AvailableOn       int64      `json:"available_on"`
		BalanceType       string     `json:"balance_type"`
		Created           int64      `json:"created"`
		Currency          string     `json:"currency"`
		Description       *string    `json:"description"`
		ExchangeRate      *float64   `json:"exchange_rate"`
		Fee               int64      `json:"fee"`
		FeeDetails        []struct{} `json:"fee_details"`
		Net               int64      `json:"net"`
		ReportingCategory string     `json:"reporting_category"`
		Source            any        `json:"source"`
		Status            string     `json:"status"`
		Type              string     `json:"type"`
	}{
		ID: v.id, Object: "balance_transaction", Amount: v.amount, AvailableOn: v.created.Unix(), BalanceType: "payments", Created: v.created.Unix(),
		Currency: v.currency, FeeDetails: []struct{}{}, Net: v.amount, ReportingCategory: v.category, Source: v.source, Status: "available", Type: v.typ,
	}
	if expand["source"] && v.shows != nil {
		inner := map[string]bool{}
		for name := range expand {
			if rest, ok := strings.CutPrefix(name, "source."); ok {
				inner[rest] = true
			}
		}
		j.Source = v.shows.render(inner)
	}
	return j
}

// view is the line with what it stands for as it is now. The caller holds the lock.
func (l line) view() lineView {
	v := lineView{line: l}
	switch l.category {
	case "charge":
		// A charge has the labels that its PaymentIntent had when it was made, and
		// the reference comes with the capture.
		i := l.of.intent
		i.metadata = maps.Clone(i.metadata)
		delete(i.metadata, "capstan_reference")
		v.shows = chargeView{i}
	case "refund":
		for _, r := range l.of.refunds {
			if r.id == l.source {
				v.shows = refundView{r, l.of.intent}
			}
		}
	default:
		for _, d := range l.of.disputes {
			if d.id == l.source {
				v.shows = disputeView{d, l.of.intent}
			}
		}
	}
	return v
}

// listBalance is GET /v1/balance_transactions, newest first.
func (s *Server) listBalance(c *call) reply {
	pg, err := c.params.page()
	if err == nil {
		err = c.params.known("limit starting_after ending_before created currency payout source type")
	}
	if err != nil {
		return fail(err)
	}
	var views []view
	var ids []string
	for i := len(s.book.lines) - 1; i >= 0; i-- {
		l := s.book.lines[i]
		if at := l.created.Unix(); l.live == c.live && at >= pg.from && at <= pg.to && c.fits(l) {
			views, ids = append(views, l.view()), append(ids, l.id)
		}
	}
	return s.paged(pg, "/v1/balance_transactions", views, ids)
}

func (c *call) fits(l line) bool {
	for name, is := range map[string]string{"type": l.typ, "currency": l.currency, "source": l.source, "payout": ""} {
		if want := c.params.Get(name); want != "" && want != is {
			return false
		}
	}
	return true
}
