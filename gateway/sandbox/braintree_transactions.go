package sandbox

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// braintreeBody is what a request may carry. Other elements are ignored.
type braintreeBody struct {
	XMLName xml.Name `xml:"transaction"`
	Type    string   `xml:"type"`
	Amount  string   `xml:"amount"`
	OrderID string   `xml:"order-id"`
	Nonce   string   `xml:"payment-method-nonce"`
	Account string   `xml:"merchant-account-id"`
	Fault   string   `xml:"custom-fields>fault"`
	Submit  string   `xml:"options>submit-for-settlement"`
}

// underscored finds the names of elements as some of Braintree's libraries write
// them: order_id for order-id.
var underscored = regexp.MustCompile(`</?[a-z_]+[ >]`)

func readBraintree(raw []byte) (body braintreeBody, err error) {
	if len(raw) == 0 {
		return body, nil
	}
	err = xml.Unmarshal(underscored.ReplaceAllFunc(raw, func(tag []byte) []byte { return bytes.ReplaceAll(tag, []byte("_"), []byte("-")) }), &body)
	return body, err
}

// asked reads the body of a call that moves money. The code is what is wrong
// with it. An absent amount is 0.
func (c *call) asked(currency string) (body braintreeBody, amount int64, code string) {
	body, err := readBraintree(c.json)
	if err != nil {
		return body, 0, "81503"
	}
	if len(body.OrderID) > 255 {
		return body, 0, "91501"
	}
	if body.Amount == "" {
		return body, 0, ""
	}
	exponent := min(2, models.Exponent(strings.ToUpper(currency)))
	whole, part, dotted := strings.Cut(body.Amount, ".")
	switch {
	case whole == "", strings.Trim(whole+part, "0123456789") != "", dotted && (part == "" || len(part) > exponent):
		return body, 0, "81503"
	case len(whole) > 12:
		return body, 0, "81528"
	}
	for _, d := range whole + part + strings.Repeat("0", models.Exponent(strings.ToUpper(currency))-len(part)) {
		amount = amount*10 + int64(d-'0')
	}
	if amount == 0 {
		return body, 0, "81531"
	}
	return body, amount, ""
}

// braintreeMeans are the nonces of Braintree's own sandbox that are known here,
// with the instrument, the card and how long its authorizations live, in days.
var braintreeMeans = map[string]struct {
	instrument, card string
	days             int
}{
	"fake-valid-visa-nonce":       {"credit_card", "Visa", 8},
	"fake-valid-mastercard-nonce": {"credit_card", "MasterCard", 7},
	"fake-valid-amex-nonce":       {"credit_card", "American Express", 7},
	"fake-valid-discover-nonce":   {"credit_card", "Discover", 30},
	"fake-paypal-one-time-nonce":  {"paypal_account", "", 29},
	"fake-venmo-account-nonce":    {"venmo_account", "", 10},
}

// braintreeSale is POST /transactions, as a checkout's server would call it: a
// sale, which is authorized, and with the option submitted at once. The currency
// is that of the merchant account, whose id is a currency here (EUR without
// one). The custom field fault, or an order id "fault=…", names a fault.
func (s *Server) braintreeSale(c *call) reply {
	currency := "EUR"
	body, _, _ := c.asked(currency)
	if body.Account != "" {
		code, err := models.ParseCurrency(body.Account)
		if err != nil {
			return braintreeFail(422, "91513")
		}
		currency = code
	}
	body, amount, code := c.asked(currency)
	fault := body.Fault
	if text, named := strings.CutPrefix(body.OrderID, "fault="); named {
		fault = text
	}
	switch {
	case code != "":
		return braintreeFail(422, code)
	case body.Type != "sale":
		return braintreeFail(422, "91523")
	case amount == 0:
		return braintreeFail(422, "81502")
	case amount > s.config.MaxAmount:
		return braintreeFail(422, "81528")
	}
	e := entry{
		Type: entryHold, Hold: newBraintreeID(10), Amount: amount, Currency: strings.ToLower(currency), Status: needsCapture, Method: "manual",
		Reference: body.OrderID, Live: c.live, RequestID: c.id, At: s.book.now(),
	}
	if fault != "" {
		if _, err := parsePlan(fault); err != nil {
			return braintreeFail(422, "91526")
		}
		e.Metadata = map[string]string{"fault": fault}
	}
	means, known := braintreeMeans[body.Nonce]
	if !known {
		means = braintreeMeans["fake-valid-visa-nonce"]
	}
	e.Braintree = &braintreeEntry{Instrument: means.instrument, Card: means.card, Account: body.Account}
	e.CaptureBefore = e.At.Add(s.config.Braintree.HoldLife / 8 * time.Duration(means.days)).Truncate(time.Millisecond)
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	h := s.book.holds[e.Hold]
	if body.Submit == "true" {
		if r, ok := s.submitBraintree(c, h, amount, ""); !ok {
			return r
		}
	}
	return s.showBraintree(h, 201)
}

// findBraintree returns the sale that the call is about, with everything done
// that its time has come for.
func (s *Server) findBraintree(c *call) (*hold, reply, bool) {
	h := s.book.holds[c.hold]
	if h == nil || h.wire != wireBraintree || h.live != c.live {
		return nil, braintreeFail(404, ""), false
	}
	if err := s.ripen(h); err != nil {
		return nil, s.unbooked(err), false
	}
	return h, reply{}, true
}

// ripen lets what is due happen: an authorization's end, and settlements.
func (s *Server) ripen(h *hold) error {
	now := s.book.now()
	if s.book.due(h) {
		return s.book.expire(h)
	}
	last := h.braintree.history[len(h.braintree.history)-1]
	if last.status == btSubmitted && !now.Before(last.at.Add(s.config.Braintree.Settles)) || last.status == btPending && !now.Before(h.braintree.settlesAt) {
		if err := s.book.commit(s.braintreeUpdate(h, btSettled, "")); err != nil {
			return err
		}
	}
	for _, r := range h.braintree.refunds {
		if r.status() == btSubmitted && !now.Before(r.history[0].at.Add(s.config.Braintree.Settles)) {
			if err := s.book.commit(s.braintreeUpdate(h, btSettled, r.id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// braintreeUpdate is an entry that changes the status of a sale or of a refund.
func (s *Server) braintreeUpdate(h *hold, status, of string) entry {
	return entry{
		Type: entryUpdate, Hold: h.id, Currency: h.currency, Metadata: h.metadata, Live: h.live, At: s.book.now(),
		Braintree: &braintreeEntry{Status: status, Of: of},
	}
}

// braintreeEntryOf begins an entry of the book.
func (s *Server) braintreeEntryOf(c *call, kind string, h *hold, b braintreeEntry) entry {
	return entry{
		Type: kind, ID: h.id, Hold: h.id, Currency: h.currency, Metadata: h.metadata, Live: h.live, RequestID: c.id, Fault: c.fault.mode, Braintree: &b, At: s.book.now(),
	}
}

// showBraintree answers with the sale as it is.
func (s *Server) showBraintree(h *hold, status int) reply {
	return reply{body: braintreeSaleXML(h.intent, h.braintree, h.disputes), status: status, wait: h.last, booked: true}
}

// braintreeFind is GET /transactions/{id}, of a sale or a refund.
func (s *Server) braintreeFind(c *call) reply {
	h, r, ok := s.findBraintree(c)
	if !ok {
		return r
	}
	bt, shown := h.braintree, h.intent
	if c.fault.mode == modeLookUpStale && bt.before != nil && h.before != nil {
		bt, shown = *bt.before, *h.before
	}
	if id := lastPart(c.path); id != h.id {
		refund, ok := bt.find(id)
		if !ok {
			return braintreeFail(404, "")
		}
		return reply{body: braintreeRefundXML(h.intent, refund), wait: h.last, booked: true}
	}
	return reply{body: braintreeSaleXML(shown, bt, h.disputes), wait: h.last, booked: true}
}

// braintreeSubmit is PUT /transactions/{id}/submit_for_settlement.
func (s *Server) braintreeSubmit(c *call) reply {
	h, r, ok := s.findBraintree(c)
	if !ok {
		return r
	}
	body, amount, code := c.asked(h.currency)
	if code != "" {
		return braintreeFail(422, code)
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	if amount == 0 {
		amount = h.amount
	}
	switch {
	case h.braintree.status() != btAuthorized || strings.Split(c.path, "/")[4] != h.id:
		return braintreeFail(422, "91507")
	case amount > h.amount:
		s.book.violation(entry{Hold: h.id, Amount: amount, Reference: body.OrderID, RequestID: c.id}, "a capture of more than the hold was asked for")
		return braintreeFail(422, "91522")
	case c.fault.mode == modeDecline:
		return braintreeFail(422, "95603")
	case c.fault.mode == modeDeclineHard:
		return s.declineBraintree(h)
	}
	if r, ok := s.submitBraintree(c, h, amount, body.OrderID); !ok {
		return r
	}
	return s.showBraintree(h, 200)
}

// declineBraintree: a card is asked when it settles, a PayPal account at once,
// and what it declines is over.
func (s *Server) declineBraintree(h *hold) reply {
	if h.braintree.instrument != "paypal_account" {
		return braintreeFail(422, "95602")
	}
	e := s.braintreeUpdate(h, btSettleDeclined, "")
	e.Braintree.Code, e.Braintree.Text = "4001", "Settlement Declined"
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	r := s.showBraintree(h, 422)
	r.body = braintreeDeclinedXML("Settlement Declined", r.body)
	return r
}

func (s *Server) submitBraintree(c *call, h *hold, amount int64, order string) (reply, bool) {
	b := braintreeEntry{Status: btSubmitted}
	if c.fault.mode == modePending {
		b.Status, b.SettlesAt = btPending, s.book.now().Add(c.fault.delay)
	}
	e := s.braintreeEntryOf(c, entryCapture, h, b)
	e.Reference = order
	e.Amount, e.Currency = spoiled(c.fault, amount, h.amount, h.currency)
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err), false
	}
	return reply{}, true
}

// braintreeVoid is PUT /transactions/{id}/void: it releases a hold, and gives
// back what was submitted and has not settled.
func (s *Server) braintreeVoid(c *call) reply {
	h, r, ok := s.findBraintree(c)
	if !ok {
		return r
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	status := h.braintree.status()
	e := s.braintreeEntryOf(c, entryCancel, h, braintreeEntry{Status: btVoided})
	switch {
	case strings.Split(c.path, "/")[4] != h.id:
		return braintreeFail(422, "91504")
	case status == btAuthorized:
		e.Amount, e.Reason = h.amount, "requested_by_customer"
	case status == btSubmitted, status == btPending && h.braintree.instrument == "paypal_account":
		e.Type, e.Amount, e.Currency, e.Braintree.Void = entryRefund, h.captured, h.braintree.currency, true
	default:
		return braintreeFail(422, "91504")
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	return s.showBraintree(h, 200)
}

// braintreeRefund is POST /transactions/{id}/refund.
func (s *Server) braintreeRefund(c *call) reply {
	h, r, ok := s.findBraintree(c)
	if !ok {
		return r
	}
	body, amount, code := c.asked(h.braintree.currency)
	left := h.captured - h.refunded
	if amount == 0 {
		amount = left
	}
	status := h.braintree.status()
	switch {
	case code != "":
		return braintreeFail(422, code)
	case status != btSettled && status != btSettling && status != "settlement_confirmed" || strings.Split(c.path, "/")[4] != h.id:
		return braintreeFail(422, "91506")
	case left <= 0:
		return braintreeFail(422, "91512")
	case amount > left:
		return braintreeFail(422, "91521")
	}
	e := s.braintreeEntryOf(c, entryRefund, h, braintreeEntry{Status: btSubmitted})
	e.ID, e.Reference = newBraintreeID(10), body.OrderID
	e.Amount, e.Currency = spoiled(c.fault, amount, left, h.braintree.currency)
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	made, _ := h.braintree.find(e.ID)
	return reply{body: braintreeRefundXML(h.intent, made), status: 201, wait: h.last, booked: true}
}

// braintreeSimulate is what Braintree's own sandbox offers to tests, such as PUT
// /transactions/{id}/settle.
func (s *Server) braintreeSimulate(c *call, status string) reply {
	h, r, ok := s.findBraintree(c)
	if !ok {
		return r
	}
	_, events, problem := s.settleBraintree(h, lastButOne(c.path), status)
	if problem != "" {
		return braintreeFail(422, "91575")
	}
	r = s.showBraintree(h, 200)
	if refund, is := h.braintree.find(lastButOne(c.path)); is {
		r.body = braintreeRefundXML(h.intent, refund)
	}
	r.events = events
	return r
}

func lastButOne(path string) string {
	parts := strings.Split(path, "/")
	return parts[len(parts)-2]
}

// settleBraintree moves a sale that was submitted, or a refund, on. The caller
// holds the lock.
func (s *Server) settleBraintree(h *hold, id, status string) (entry, []event, string) {
	e := s.braintreeUpdate(h, status, "")
	now, open := h.braintree.status(), []string{btSubmitted, btSettling, btPending, "settlement_confirmed"}
	if status == btSettleDeclined {
		e.Braintree.Code, e.Braintree.Text = "4001", "Settlement Declined"
		open = append(open, btSettled)
	}
	e.ID, e.Amount = h.id, h.captured
	if r, is := h.braintree.find(id); is {
		now, e.ID, e.Amount, e.Currency, e.Braintree.Of = r.status(), r.id, r.amount, r.currency, r.id
	} else if status == btSettleDeclined {
		e.Type, e.Reason, e.Amount = entryDispute, btSettleDeclined, h.captured-h.refunded-h.disputed
	}
	if !slices.Contains(open, now) {
		return e, nil, "the transaction is " + now
	}
	if err := s.book.commit(e); err != nil {
		return e, nil, "it cannot be booked: " + err.Error()
	}
	kinds := map[string]string{btSettled: "transaction_settled", btSettleDeclined: "transaction_settlement_declined"}
	if kind := kinds[status]; kind != "" {
		body := braintreeSaleXML(h.intent, h.braintree, h.disputes)
		if r, is := h.braintree.find(id); is {
			body = braintreeRefundXML(h.intent, r)
		}
		return e, []event{s.braintreeEvent(h.id, kind, body)}, ""
	}
	return e, nil, ""
}
