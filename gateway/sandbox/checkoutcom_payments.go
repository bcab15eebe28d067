package sandbox

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// checkoutBody is what a request may carry. Other members are ignored here.
type checkoutBody struct {
	Amount    *int64         `json:"amount"`
	Currency  string         `json:"currency"`
	Capture   *bool          `json:"capture"`
	Type      string         `json:"capture_type"`
	Reference string         `json:"reference"`
	Metadata  map[string]any `json:"metadata"`
}

// text are the members of the metadata that are text.
func (b checkoutBody) text() map[string]string {
	out := map[string]string{}
	for name, value := range b.Metadata {
		if s, ok := value.(string); ok {
			out[name] = s
		}
	}
	return out
}

// checkoutUnits is how many units of the wire are one minor unit: Checkout.com
// counts the currencies of these lists in whole units and in thousandths, and all
// others in hundredths, CLP as well.
func checkoutUnits(code string) int64 {
	digits := 2
	switch {
	case strings.Contains("BIF DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF", code):
		digits = 0
	case strings.Contains("BHD IQD JOD KWD LYD OMR TND", code):
		digits = 3
	}
	units := int64(1)
	for range digits - models.Exponent(code) {
		units *= 10
	}
	return units
}

// cents reads the amount in minor units of a currency; false is an amount that
// cannot be one.
func (b checkoutBody) cents(code string) (int64, bool) {
	if b.Amount == nil {
		return 0, true
	}
	amount, units := *b.Amount, checkoutUnits(code)
	if amount <= 0 || amount > 999_999_999 || amount%units != 0 || models.Exponent(code) == 3 && amount%10 != 0 {
		return 0, false
	}
	return amount / units, true
}

// checkoutPayment is POST /payments, as a checkout requests one: with capture
// false, so that it is a hold. Its metadata may name the fault.
func (s *Server) checkoutPayment(c *call) reply {
	var body checkoutBody
	if json.Unmarshal(c.json, &body) != nil {
		return checkoutFail(422, "request_json_invalid")
	}
	code, err := models.ParseCurrency(body.Currency)
	switch {
	case err != nil || code != body.Currency:
		return checkoutFail(422, "currency_invalid")
	case body.Amount == nil:
		return checkoutFail(422, "amount_invalid")
	case body.Capture == nil || *body.Capture: // nothing is ever captured at once here
		return checkoutFail(422, "payment_type_invalid")
	}
	amount, ok := body.cents(code)
	if !ok || amount > s.config.MaxAmount {
		return checkoutFail(422, "amount_invalid")
	}
	metadata := body.text()
	if f := metadata["fault"]; f != "" {
		if _, err := parsePlan(f); err != nil {
			return checkoutFail(422, "parameter_invalid")
		}
	}
	now := s.book.now()
	ends := now.Add(s.config.CheckoutCom.HoldLife)
	if s.config.CheckoutCom.HoldLife > time.Minute {
		ends = ends.Truncate(time.Second)
	}
	e := entry{
		Type: entryHold, ID: newCheckoutID("act"), Hold: newCheckoutID("pay"), Amount: amount, Currency: strings.ToLower(code), Reference: body.Reference,
		Status: needsCapture, Method: "manual", Metadata: metadata, CaptureBefore: ends, Live: c.live, Key: c.key, Print: c.print,
		RequestID: c.id, Fault: c.fault.mode, At: now,
		CheckoutCom: &checkoutEntry{Action: checkoutAuthorization, Reference: body.Reference, Code: checkoutApproved, DecidedAt: now},
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	h := s.book.holds[e.Hold]
	return reply{view: checkoutMade{s.checkoutView(h), e.ID}, status: 201, wait: h.last, booked: true, events: []event{s.checkoutEvent("payment_approved", h, h.checkout.actions[0])}}
}

// findCheckout returns the payment that the call is about, ended first if its
// life is over.
func (s *Server) findCheckout(c *call) (*hold, reply, bool) {
	h := s.book.holds[c.hold]
	if h == nil || h.wire != wireCheckoutCom || h.live != c.live {
		return nil, checkoutFail(404), false
	}
	if s.book.due(h) {
		if err := s.book.expire(h); err != nil {
			return nil, s.unbooked(err), false
		}
	}
	return h, reply{}, true
}

// checkoutAsked reads the payment, the body and the amount of a call that moves
// money.
func (s *Server) checkoutAsked(c *call) (h *hold, body checkoutBody, amount int64, r reply, ok bool) {
	if h, r, ok = s.findCheckout(c); !ok {
		return h, body, 0, r, false
	}
	if json.Unmarshal(c.json, &body) != nil {
		return h, body, 0, checkoutFail(422, "request_json_invalid"), false
	}
	if len(body.Reference) > 80 || len(body.Metadata) > 18 {
		return h, body, 0, checkoutFail(422, "request_invalid"), false
	}
	if amount, ok = body.cents(strings.ToUpper(h.currency)); !ok {
		return h, body, 0, checkoutFail(422, "amount_invalid"), false
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return h, body, 0, s.unbooked(err), false
		}
	}
	return h, body, amount, reply{}, true
}

// checkoutEntryOf begins an entry of the book that ends the work on the call's
// key. What is answered with a 5xx is kept for no key.
func (s *Server) checkoutEntryOf(c *call, kind string, h *hold, body checkoutBody, amount int64) entry {
	now, moment := s.book.now(), s.config.CheckoutCom.Moment
	if c.fault.mode == modePending {
		moment = c.fault.delay
	}
	e := entry{
		Type: kind, ID: newCheckoutID("act"), Hold: h.id, Reference: body.Reference, Metadata: h.metadata, Live: h.live, Key: c.key, Print: c.print,
		RequestID: c.id, Fault: c.fault.mode, At: now,
		CheckoutCom: &checkoutEntry{
			Reference: body.Reference, Metadata: maps.Clone(body.text()), Code: checkoutApproved, DecidedAt: now.Add(moment),
			Final:  kind == entryCapture && body.Type != "NonFinal",
			Unkept: c.fault.mode == modeCharge500 || c.fault.mode == modeCharge502,
		},
	}
	e.Amount, e.Currency = amount, h.currency
	return e
}

// checkoutCapture is POST /payments/{id}/captures. A decline is accepted like a
// success, and told later.
func (s *Server) checkoutCapture(c *call) reply {
	h, body, amount, r, ok := s.checkoutAsked(c)
	switch {
	case !ok:
		return r
	case body.Type != "" && body.Type != "Final" && body.Type != "NonFinal":
		return checkoutFail(422, "request_invalid")
	case h.status != needsCapture:
		return checkoutFail(403)
	}
	left := h.amount - h.captured
	if body.Amount == nil {
		amount = left
	}
	if amount > left {
		s.book.violation(entry{Hold: h.id, Amount: amount, Reference: body.Reference, Key: c.key, RequestID: c.id}, "a capture of more than the hold was asked for")
		if amount > h.amount {
			return checkoutFail(422, "capture_value_greater_than_authorized")
		}
		return checkoutFail(422, "capture_value_greater_than_remaining_authorized")
	}
	kind := entryCapture
	if c.fault.mode == modeDecline || c.fault.mode == modeDeclineHard {
		kind = entryUpdate // nothing moves, and the try is remembered
	}
	e := s.checkoutEntryOf(c, kind, h, body, amount)
	e.CheckoutCom.Action = checkoutCapture
	switch c.fault.mode {
	case modeDecline:
		e.CheckoutCom.Code = checkoutSoft
	case modeDeclineHard:
		e.CheckoutCom.Code = checkoutHard
	default:
		e.Amount, e.Currency = spoiled(c.fault, amount, left, h.currency)
	}
	return s.bookCheckout(h, e)
}

// checkoutVoid is POST /payments/{id}/voids: what captures have left is released.
func (s *Server) checkoutVoid(c *call) reply {
	h, body, _, r, ok := s.checkoutAsked(c)
	switch {
	case !ok:
		return r
	case h.status != needsCapture:
		return checkoutFail(403)
	}
	e := s.checkoutEntryOf(c, entryCancel, h, body, h.amount-h.captured)
	e.Reason, e.CheckoutCom.Action = "requested_by_customer", checkoutVoid
	return s.bookCheckout(h, e)
}

// checkoutRefund is POST /payments/{id}/refunds. Only what is known to be
// captured can be given back.
func (s *Server) checkoutRefund(c *call) reply {
	h, body, amount, r, ok := s.checkoutAsked(c)
	if !ok {
		return r
	}
	left := h.checkout.sum(checkoutCapture, s.book.now()) - h.refunded
	if body.Amount == nil {
		amount = left
	}
	switch {
	case left <= 0:
		return checkoutFail(403)
	case amount > left:
		return checkoutFail(422, "amount_exceeds_balance")
	}
	e := s.checkoutEntryOf(c, entryRefund, h, body, amount)
	e.CheckoutCom.Action = checkoutRefund
	e.Amount, e.Currency = spoiled(c.fault, amount, left, h.currency)
	return s.bookCheckout(h, e)
}

// bookCheckout books what was asked for, accepts it, and tells the result later.
func (s *Server) bookCheckout(h *hold, e entry) reply {
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	a := h.checkout.actions[len(h.checkout.actions)-1]
	told := s.checkoutEvent(checkoutTold(a), h, a)
	r := reply{view: checkoutAcceptedOf(e), status: 202, wait: h.last, booked: true}
	if wait := a.decidedAt.Sub(e.At); wait > 0 {
		s.checkoutLater(told, wait)
	} else {
		r.events = []event{told}
	}
	return r
}

// checkoutGet is GET /payments/{id}.
func (s *Server) checkoutGet(c *call) reply {
	h, r, ok := s.findCheckout(c)
	if !ok {
		return r
	}
	return reply{view: s.staleCheckout(c, h), wait: h.last, booked: true}
}

// checkoutActions is GET /payments/{id}/actions, latest first.
func (s *Server) checkoutActions(c *call) reply {
	h, r, ok := s.findCheckout(c)
	if !ok {
		return r
	}
	return reply{view: checkoutList{s.staleCheckout(c, h)}, wait: h.last, booked: true}
}

// staleCheckout is the payment, or as a fault may want it, what it was before
// its last change.
func (s *Server) staleCheckout(c *call, h *hold) checkoutView {
	v := s.checkoutView(h)
	if c.fault.mode == modeLookUpStale && h.before != nil && h.checkout.before != nil {
		v.intent, v.checkoutHold = *h.before, *h.checkout.before
	}
	return v
}
