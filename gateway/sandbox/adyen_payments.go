package sandbox

import (
	"encoding/json"
	"strings"
	"time"
)

// adyenPayment is POST /payments, as a checkout would call it for a payment that
// is captured by hand. The fault stands in the metadata or, for checkouts that
// send none, in the reference: "fault=charge_then_drop".
func (s *Server) adyenPayment(c *call) reply {
	var body adyenBody
	if json.Unmarshal(c.json, &body) != nil {
		return adyenFail(400, "702", "Unexpected input")
	}
	value, currency, r, ok := body.Amount.cents()
	switch {
	case !ok:
		return r
	case body.Account == "":
		return adyenFail(403, "901", "Invalid Merchant Account")
	case body.Reference == "" || len(body.Reference) > 80:
		return adyenFail(422, "130", "Required field 'reference' is not provided.")
	case value > s.config.MaxAmount:
		return adyenFail(422, "137", "Invalid amount specified")
	}
	metadata := map[string]string{}
	fault, named := strings.CutPrefix(body.Reference, "fault=")
	if f := body.Metadata["fault"]; f != "" {
		fault, named = f, true
	}
	if named {
		if _, err := parsePlan(fault); err != nil {
			return adyenFail(422, "000", err.Error())
		}
		metadata["fault"] = fault
	}
	e := entry{
		Type: entryHold, Hold: newAdyenPSP(), Amount: value, Currency: currency, Status: needsCapture, Method: "manual", Metadata: metadata,
		CaptureBefore: s.book.now().Add(s.config.Adyen.AuthorisationLife), Live: c.live, Key: c.key, Print: c.print, RequestID: c.id,
		Fault: c.fault.mode, Adyen: &adyenEntry{Account: body.Account, Reference: body.Reference}, At: s.book.now(),
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	h := s.book.holds[e.Hold]
	v, status := adyenReply(e)
	return reply{view: v, status: status, wait: h.last, booked: true, events: s.adyenEvents(h, adyenTold{code: "AUTHORISATION", psp: h.id, amount: value, currency: currency})}
}

// adyenAsk is a modification, read and checked as far as Adyen does before it
// answers that it received it.
type adyenAsk struct {
	hold     *hold
	body     adyenBody
	amount   int64
	currency string
	told     []adyenTold // what happened on the way
}

// adyenAsked reads what is asked of a payment. The reply is what is wrong with it.
func (s *Server) adyenAsked(c *call, withAmount bool) (adyenAsk, reply, bool) {
	var a adyenAsk
	if json.Unmarshal(c.json, &a.body) != nil {
		return a, adyenFail(400, "702", "Unexpected input"), false
	}
	a.hold = s.book.holds[c.hold]
	switch {
	case a.body.Account == "":
		return a, adyenFail(403, "901", "Invalid Merchant Account"), false
	case a.hold == nil || a.hold.wire != wireAdyen || a.hold.live != c.live:
		return a, adyenFail(422, "167", "Original pspReference required for this operation"), false
	case a.hold.adyen.account != a.body.Account:
		return a, adyenFail(403, "901", "Invalid Merchant Account"), false
	case len(a.body.Reference) > 80:
		return a, adyenFail(422, "198", "Reference may not exceed 80 characters"), false
	}
	if withAmount {
		var r reply
		var ok bool
		if a.amount, a.currency, r, ok = a.body.Amount.cents(); !ok {
			return a, r, false
		}
	}
	h := a.hold
	if h.status == needsCapture && (s.book.due(h) || c.fault.mode == modeExpired) {
		told, err := s.adyenExpire(h)
		if err != nil {
			return a, s.unbooked(err), false
		}
		a.told = append(a.told, told)
	}
	return a, reply{}, true
}

// adyenExpire ends a hold's life and says what is told of it.
func (s *Server) adyenExpire(h *hold) (adyenTold, error) {
	err := s.book.commit(entry{
		Type: entryCancel, ID: newAdyenPSP(), Hold: h.id, Amount: h.amount - h.captured, Currency: h.currency, Reason: "automatic", At: s.book.now(), Live: h.live,
	})
	return adyenTold{code: "EXPIRE", psp: h.id, amount: h.amount, currency: h.currency}, err
}

// adyenDone books a modification, or why it takes no effect, and answers that it
// was received. The webhook tells which.
func (s *Server) adyenDone(c *call, a adyenAsk, e entry, told adyenTold) reply {
	h := a.hold
	e.Hold, e.ID, e.Metadata, e.Live = h.id, newAdyenPSP(), h.metadata, h.live
	e.Key, e.Print, e.RequestID, e.Fault, e.At, e.Reference = c.key, c.print, c.id, c.fault.mode, s.book.now(), a.body.Reference
	e.Adyen.Account, e.Adyen.Reference, e.Adyen.What = h.adyen.account, a.body.Reference, lastPart(c.path)
	e.Adyen.Asked, e.Adyen.AskedCurrency = a.amount, a.currency
	if e.Adyen.Refused != "" {
		e.Type, told.failed, told.reason = entryUpdate, true, e.Adyen.Refused
		e.Amount, e.Currency = 0, h.currency
	}
	told.psp, told.original, told.reference = e.ID, h.id, a.body.Reference
	if told.amount == 0 {
		told.amount, told.currency = e.Amount, e.Currency
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	v, status := adyenReply(e)
	r := reply{view: v, status: status, wait: h.last, booked: true}
	if c.fault.mode == modePending {
		r.events = s.adyenEvents(h, a.told...)
		s.adyenLater(h.id, s.adyenEvents(h, told), c.fault.delay)
		return r
	}
	r.events = s.adyenEvents(h, append(a.told, told)...)
	return r
}

// adyenLater tells what became of something after a while. The book knows it.
func (s *Server) adyenLater(hold string, events []event, wait time.Duration) {
	s.work.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.hooks.send(events, s.faults.pickHooks(hold))
		case <-s.stop.Done():
		}
	})
}

// adyenCapture is POST /payments/{psp}/captures.
func (s *Server) adyenCapture(c *call) reply {
	a, r, ok := s.adyenAsked(c, true)
	if !ok {
		return r
	}
	h, refused := a.hold, ""
	switch {
	case h.status == canceled && h.reason == "automatic":
		refused = "Capture expired"
	case h.status == canceled:
		refused = "Transaction was cancelled"
	case a.currency != h.currency:
		refused = "Currency of the modification differs from the original's"
	case a.amount > h.amount:
		s.book.violation(entry{Hold: h.id, Amount: a.amount, Reference: a.body.Reference, Key: c.key, RequestID: c.id}, "a capture of more than the hold was asked for")
		refused = "Insufficient balance on payment"
	case h.status == succeeded, h.captured+a.amount > h.amount:
		refused = "Insufficient balance on payment"
	case c.fault.mode == modeDecline:
		refused = "Capture refused"
	case c.fault.mode == modeDeclineHard:
		refused = "Capture refused by the scheme"
	}
	e := entry{Type: entryCapture, Adyen: &adyenEntry{Refused: refused}}
	e.Amount, e.Currency = spoiled(c.fault, a.amount, h.amount-h.captured, h.currency)
	if !s.config.Adyen.MultiCapture {
		e.Status = succeeded // the first capture cancels the rest
	}
	told := adyenTold{code: "CAPTURE"}
	if refused != "" {
		told.amount, told.currency = a.amount, a.currency
	}
	return s.adyenDone(c, a, e, told)
}

// adyenRefund is POST /payments/{psp}/refunds: of the payment, not of a capture.
func (s *Server) adyenRefund(c *call) reply {
	a, r, ok := s.adyenAsked(c, true)
	if !ok {
		return r
	}
	h, refused := a.hold, ""
	left := h.captured - h.disputed - h.refunded
	switch {
	case h.captured == 0:
		refused = "Transaction hasn't been captured, refund not possible"
	case a.currency != h.currency && len(h.adyen.captures) > 0 && a.currency != h.adyen.captures[0].currency:
		refused = "Currency of the modification differs from the original's"
	case a.amount > left:
		refused = "Insufficient balance on payment"
	}
	e := entry{Type: entryRefund, Adyen: &adyenEntry{Refused: refused}}
	e.Amount, e.Currency = spoiled(c.fault, a.amount, left, a.currency)
	told := adyenTold{code: "REFUND"}
	if refused != "" {
		told.amount, told.currency = a.amount, a.currency
	}
	return s.adyenDone(c, a, e, told)
}

// adyenCancel is POST /payments/{psp}/cancels. Where several captures are enabled
// it releases what they left.
func (s *Server) adyenCancel(c *call) reply {
	a, r, ok := s.adyenAsked(c, false)
	if !ok {
		return r
	}
	h, refused := a.hold, ""
	switch h.status {
	case canceled:
		refused = "Transaction was cancelled before"
	case succeeded:
		refused = "Transaction was captured, cancel not possible"
	}
	e := entry{Type: entryCancel, Amount: h.amount - h.captured, Currency: h.currency, Reason: "requested_by_customer", Adyen: &adyenEntry{Refused: refused}}
	return s.adyenDone(c, a, e, adyenTold{code: "CANCELLATION", amount: h.amount - h.captured, currency: h.currency})
}

// adyenReversal is POST /payments/{psp}/reversals: a cancel or a refund of the
// whole payment, whichever fits.
func (s *Server) adyenReversal(c *call) reply {
	a, r, ok := s.adyenAsked(c, false)
	if !ok {
		return r
	}
	h := a.hold
	told := adyenTold{code: "CANCEL_OR_REFUND", amount: h.amount, currency: h.currency, action: "cancel"}
	e := entry{Type: entryCancel, Amount: h.amount, Currency: h.currency, Reason: "requested_by_customer", Adyen: &adyenEntry{}}
	left := h.captured - h.disputed - h.refunded
	switch {
	case h.status == canceled && h.captured == 0:
		e.Adyen.Refused = "Transaction was cancelled before"
	case h.captured == 0:
	case len(h.adyen.captures) > 1 || h.status == needsCapture:
		e.Adyen.Refused = "Reversal of several partial captures is not possible"
	case left <= 0:
		e.Adyen.Refused = "Insufficient balance on payment"
	default:
		e.Type, e.Amount, e.Reason, told.action = entryRefund, left, "reversal", "refund"
	}
	return s.adyenDone(c, a, e, told)
}
