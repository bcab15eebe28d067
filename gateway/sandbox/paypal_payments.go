package sandbox

import (
	"encoding/json"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// paypalIssues are the issues that the sandbox answers, as PayPal words them.
var paypalIssues = map[string]string{
	"INVALID_PARAMETER_SYNTAX":         "The value of a field does not conform to the expected format.",
	"INVALID_STRING_LENGTH":            "The value of a field is either too short or too long.",
	"MISSING_REQUIRED_PARAMETER":       "A required field / parameter is missing.",
	"INVALID_RESOURCE_ID":              "Specified resource ID does not exist. Please check the resource ID and try again.",
	"CANNOT_BE_ZERO_OR_NEGATIVE":       "Must be greater than zero. If the currency supports decimals, only two decimal place precision is supported.",
	"DECIMALS_NOT_SUPPORTED":           "Currency does not support decimals. Please refer to https://developer.paypal.com/docs/api/reference/currency-codes/ for more information.",
	"TRANSACTION_REFUSED":              "PayPal's internal controls prevent authorization from being captured.",
	"AUTHORIZATION_VOIDED":             "A voided authorization cannot be captured or reauthorized. ",
	"AUTHORIZATION_EXPIRED":            "An expired authorization cannot be captured.",
	"AUTHORIZATION_ALREADY_CAPTURED":   "Authorization has previously been captured.",
	"DUPLICATE_INVOICE_ID":             "", // a capture and a refund word it differently
	"PREVIOUSLY_CAPTURED":              "Authorization has been previously captured and hence cannot be voided.",
	"PREVIOUSLY_VOIDED":                "Authorization has been previously voided and hence cannot be voided again.",
	"CANNOT_BE_VOIDED":                 "A reauthorization cannot be voided. Please void the original parent authorization.",
	"CAPTURE_FULLY_REFUNDED":           "The capture has already been fully refunded",
	"REFUND_CAPTURE_CURRENCY_MISMATCH": "Refund must be in the same currency as the capture",
	"REFUND_AMOUNT_EXCEEDED":           "The refund amount must be less than or equal to the capture amount that has not yet been refunded.",
}

// paypalBody is what a request may carry. Other members are ignored, as PayPal does.
type paypalBody struct {
	Amount    paypalMoney `json:"amount"`
	InvoiceID string      `json:"invoice_id"`
	CustomID  string      `json:"custom_id"`
	Final     bool        `json:"final_capture"`
}

func (b paypalBody) reference() string {
	if b.InvoiceID != "" {
		return b.InvoiceID
	}
	return b.CustomID
}

type paypalMoney struct {
	Currency string `json:"currency_code"`
	Value    string `json:"value"`
}

// paypalWhole are the currencies whose amounts have no decimals at PayPal,
// although they have a minor unit by ISO 4217.
var paypalWhole = map[string]bool{"HUF": true, "TWD": true}

// cents reads an amount in minor units. The reply is what is wrong with it.
func (m paypalMoney) cents() (int64, string, reply, bool) {
	code, err := models.ParseCurrency(m.Currency)
	if err != nil || m.Currency != code {
		return 0, "", paypalFail(422, "INVALID_CURRENCY_CODE", ""), false
	}
	whole, part, dotted := strings.Cut(m.Value, ".")
	exponent := models.Exponent(code)
	if dotted && (exponent == 0 || paypalWhole[code]) {
		return 0, "", paypalFail(422, "DECIMALS_NOT_SUPPORTED", ""), false
	}
	if len(part) > exponent {
		return 0, "", paypalFail(422, "DECIMAL_PRECISION", ""), false
	}
	if whole+part == "" || strings.Trim(whole+part, "0123456789") != "" || len(whole) > 12 {
		return 0, "", paypalFail(400, "INVALID_PARAMETER_SYNTAX", ""), false
	}
	var cents int64
	for _, d := range whole + part + strings.Repeat("0", exponent-len(part)) {
		cents = cents*10 + int64(d-'0')
	}
	if cents == 0 {
		return 0, "", paypalFail(422, "CANNOT_BE_ZERO_OR_NEGATIVE", ""), false
	}
	return cents, strings.ToLower(code), reply{}, true
}

func paypalMoneyOf(cents int64, currency string) paypalMoney {
	code := strings.ToUpper(currency)
	value := models.Decimal(cents, code)
	if paypalWhole[code] {
		value, _, _ = strings.Cut(value, ".")
	}
	return paypalMoney{Currency: code, Value: value}
}

// findPayPal returns the authorization that the call is about, ended first if
// its life is over.
func (s *Server) findPayPal(c *call) (*hold, reply, bool) {
	h := s.book.holds[c.hold]
	if h == nil || h.wire != wirePayPal || h.live != c.live || h.status == needsConfirm {
		return nil, paypalFail(404, "INVALID_RESOURCE_ID", ""), false
	}
	if s.book.due(h) {
		if err := s.book.expire(h); err != nil {
			return nil, s.unbooked(err), false
		}
	}
	return h, reply{}, true
}

// paypalAsked reads the body and the amount of a call that moves money.
func (s *Server) paypalAsked(c *call) (paypalBody, int64, string, reply, bool) {
	var body paypalBody
	if json.Unmarshal(c.json, &body) != nil {
		return body, 0, "", paypalFail(400, "INVALID_PARAMETER_SYNTAX", ""), false
	}
	if len(body.InvoiceID) > 127 || len(body.CustomID) > 127 {
		return body, 0, "", paypalFail(400, "INVALID_STRING_LENGTH", ""), false
	}
	if body.Amount == (paypalMoney{}) {
		return body, 0, "", reply{}, true
	}
	cents, currency, r, ok := body.Amount.cents()
	return body, cents, currency, r, ok
}

// paypalGetAuthorization is GET /v2/payments/authorizations/{id}.
func (s *Server) paypalGetAuthorization(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	v := s.authorization(h)
	if c.fault.mode == modeLookUpStale && h.before != nil && h.paypal.before != nil {
		v.intent, v.paypalHold = *h.before, *h.paypal.before
	}
	return reply{view: v, wait: h.last, booked: true}
}

// paypalCapture is POST /v2/payments/authorizations/{id}/capture.
func (s *Server) paypalCapture(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	body, amount, currency, r, ok := s.paypalAsked(c)
	if !ok {
		return r
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	if body.Amount == (paypalMoney{}) {
		amount, currency = h.amount-h.captured, h.currency
	}
	switch {
	case h.paypal.renewed != "":
		return paypalFail(422, "AUTHORIZATION_VOIDED", "")
	case h.status == canceled && h.reason == "automatic":
		return paypalFail(422, "AUTHORIZATION_EXPIRED", "")
	case h.status == canceled:
		return paypalFail(422, "AUTHORIZATION_VOIDED", "")
	case body.InvoiceID != "" && s.book.paypal.invoices[invoiceName(h.live, entryCapture, body.InvoiceID)]:
		return paypalFail(422, "DUPLICATE_INVOICE_ID", "Requested invoice_id has been previously captured. Possible duplicate transaction.")
	case h.status == succeeded:
		return paypalFail(422, "AUTHORIZATION_ALREADY_CAPTURED", "")
	case currency != h.currency:
		return paypalFail(422, "AUTH_CAPTURE_CURRENCY_MISMATCH", "Currency of capture must be the same as currency of authorization.")
	case h.captured+amount > h.amount:
		s.book.violation(entry{Hold: h.id, Amount: amount, Reference: body.reference(), Key: c.key, RequestID: c.id}, "a capture of more than the hold was asked for")
		return paypalFail(422, "MAX_CAPTURE_AMOUNT_EXCEEDED", "")
	case c.fault.mode == modeDeclineHard:
		return paypalFail(422, "TRANSACTION_REFUSED", "")
	}
	return s.bookPayPalCapture(c, h, body, amount)
}

func (s *Server) bookPayPalCapture(c *call, h *hold, body paypalBody, amount int64) reply {
	kind := entryCapture
	p := paypalEntry{Invoice: body.InvoiceID, Custom: h.paypal.custom, Status: paypalCompleted, Final: body.Final}
	switch c.fault.mode {
	case modeDecline: // the money stays where it is, and the try is remembered
		kind, p.Status, p.Reason = entryUpdate, paypalDeclined, "OTHER"
	case modePending:
		p.Status, p.Reason, p.SettlesAt = paypalPending, "PENDING_REVIEW", s.book.now().Add(c.fault.delay)
	}
	e := s.paypalEntryOf(c, kind, h, p)
	e.ID = newPayPalID()
	e.Amount, e.Currency = spoiled(c.fault, amount, h.amount-h.captured, h.currency)
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	if p.Status == paypalPending {
		s.settleLater(e, c.fault.delay)
	}
	return s.paypalDone(h, e)
}

// paypalDone answers what was just booked.
func (s *Server) paypalDone(h *hold, e entry) reply {
	v := s.paypalCurrent(paypalKept{hold: h.id, kind: e.Type, id: e.ID})
	return reply{view: v, status: e.PayPal.status(e.Type), wait: h.last, booked: true, events: []event{s.paypalEvent(e, v)}}
}

// paypalCurrent shows what became of something that was made under a key.
func (s *Server) paypalCurrent(k paypalKept) view {
	h := s.book.holds[k.hold]
	switch k.kind {
	case entryCapture, entryUpdate:
		return s.captureOf(h, k.id)
	case entryRefund:
		return s.refundOf(h, k.id)
	case entryHold:
		if k.id != "" {
			return s.orderOf(k.id)
		}
	}
	return s.authorization(h)
}

// paypalVoid is POST /v2/payments/authorizations/{id}/void.
func (s *Server) paypalVoid(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	switch {
	case h.paypal.parent != "":
		return paypalFail(422, "CANNOT_BE_VOIDED", "")
	case h.status == canceled:
		return paypalFail(422, "PREVIOUSLY_VOIDED", "")
	case h.status == succeeded:
		return paypalFail(422, "PREVIOUSLY_CAPTURED", "")
	}
	if child := s.book.holds[h.paypal.renewed]; child != nil {
		if child.status == succeeded {
			return paypalFail(422, "PREVIOUSLY_CAPTURED", "")
		}
		e := s.paypalEntryOf(&call{id: c.id}, entryCancel, child, paypalEntry{})
		e.Amount = child.amount - child.captured
		if err := s.book.commit(e); err != nil {
			return s.unbooked(err)
		}
	}
	e := s.paypalEntryOf(c, entryCancel, h, paypalEntry{})
	e.Amount, e.Reason = h.amount-h.captured, "requested_by_customer"
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	return s.paypalDone(h, e)
}

// paypalReauthorize is POST /v2/payments/authorizations/{id}/reauthorize: a
// new authorization takes the place of one whose honor period is over.
func (s *Server) paypalReauthorize(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	body, amount, currency, r, ok := s.paypalAsked(c)
	if !ok {
		return r
	}
	if body.Amount == (paypalMoney{}) {
		amount, currency = h.amount, h.currency
	}
	switch {
	case h.status == canceled:
		return paypalFail(422, "AUTHORIZATION_VOIDED", "")
	case h.status == succeeded || h.captured > 0:
		return paypalFail(422, "AUTHORIZATION_ALREADY_CAPTURED", "")
	case h.paypal.parent != "", h.paypal.renewed != "", s.book.now().Before(h.created.Add(s.config.PayPal.HonorPeriod)):
		return paypalFail(422, "REAUTHORIZATION_NOT_SUPPORTED", "")
	case currency != h.currency:
		return paypalFail(422, "AUTH_CURRENCY_MISMATCH", "")
	case amount > h.amount+h.amount*15/100:
		return paypalFail(422, "TRANSACTION_REFUSED", "")
	}
	next := &hold{intent: intent{id: newPayPalID(), amount: amount, currency: h.currency, method: "manual", metadata: h.metadata, live: h.live, status: needsCapture}}
	p := paypalEntry{Order: h.paypal.order, Parent: h.id, Invoice: h.paypal.invoice, Custom: h.paypal.custom}
	if err := s.bookAuthorization(c, next, p); err != nil {
		return s.unbooked(err)
	}
	made := s.book.holds[next.id]
	return reply{view: s.authorization(made), status: 201, wait: made.last, booked: true, events: s.madeEvents(made)}
}

// paypalGetCapture is GET /v2/payments/captures/{id}.
func (s *Server) paypalGetCapture(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	return reply{view: s.captureOf(h, lastPart(c.path)), wait: h.last, booked: true}
}

// paypalRefund is POST /v2/payments/captures/{id}/refund.
func (s *Server) paypalRefund(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	body, amount, currency, r, ok := s.paypalAsked(c)
	if !ok {
		return r
	}
	id := strings.Split(c.path, "/")[4]
	m, _ := h.paypal.find(h.paypal.captures, id)
	left := m.amount - h.paypal.refundedOf(id)
	if body.Amount == (paypalMoney{}) {
		amount, currency = left, m.currency
	}
	switch status := m.now(s.book.now()); {
	case status == paypalPending:
		return paypalFail(422, "PENDING_CAPTURE", "")
	case status != paypalCompleted:
		return paypalFail(422, "REFUND_NOT_ALLOWED", "")
	case body.InvoiceID != "" && s.book.paypal.invoices[invoiceName(h.live, entryRefund, body.InvoiceID)]:
		return paypalFail(422, "DUPLICATE_INVOICE_ID", "Invoice ID was previously used to refund a capture.")
	case currency != m.currency:
		return paypalFail(422, "REFUND_CAPTURE_CURRENCY_MISMATCH", "")
	case left <= 0:
		return paypalFail(422, "CAPTURE_FULLY_REFUNDED", "")
	case amount > left:
		return paypalFail(422, "REFUND_AMOUNT_EXCEEDED", "")
	}
	p := paypalEntry{Capture: id, Invoice: body.InvoiceID, Custom: body.CustomID, Status: paypalCompleted}
	if c.fault.mode == modePending {
		p.Status, p.Reason, p.SettlesAt = paypalPending, "ECHECK", s.book.now().Add(c.fault.delay)
	}
	e := s.paypalEntryOf(c, entryRefund, h, p)
	e.ID = newPayPalID()
	e.Amount, e.Currency = spoiled(c.fault, amount, left, m.currency)
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	return s.paypalDone(h, e)
}

// paypalGetRefund is GET /v2/payments/refunds/{id}.
func (s *Server) paypalGetRefund(c *call) reply {
	h, r, ok := s.findPayPal(c)
	if !ok {
		return r
	}
	return reply{view: s.refundOf(h, lastPart(c.path)), wait: h.last, booked: true}
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
