package sandbox

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

func currencyCode(c string) string { return strings.ToUpper(c) }

// externalCreate is POST /external/holds: what a checkout does at the merchant's
// gateway. Its body is
//
//	{"amount_cents":1500,"currency_code":"EUR","async":"2s","metadata":{"fault":"…"}}
//
// With async, even "0s", what is asked of the hold is accepted with 202, and told
// to the callback so much later.
func (s *Server) externalCreate(c *call) reply {
	var asked struct {
		Cents    int64             `json:"amount_cents"`
		Currency string            `json:"currency_code"`
		Async    string            `json:"async"`
		Metadata map[string]string `json:"metadata"`
	}
	if json.Unmarshal(c.json, &asked) != nil {
		return externalError(400, "send amount_cents and currency_code")
	}
	code, err := models.ParseCurrency(asked.Currency)
	delay, late := time.ParseDuration(asked.Async)
	_, plan := parsePlan(asked.Metadata["fault"])
	switch {
	case err != nil, asked.Cents <= 0, asked.Cents > s.config.MaxAmount:
		return externalError(422, "amount_cents or currency_code cannot be held")
	case asked.Async != "" && (late != nil || delay < 0):
		return externalError(422, "async is a duration such as 2s")
	case asked.Metadata["fault"] != "" && plan != nil:
		return externalError(422, plan.Error())
	}
	e := entry{
		Type: entryHold, Hold: newID("ext_auth"), Amount: asked.Cents, Currency: strings.ToLower(code), Status: needsCapture, Method: "manual",
		Metadata: asked.Metadata, RequestID: c.id, CaptureBefore: s.book.now().Add(s.config.HoldLife), At: s.book.now(),
		External: &externalEntry{Async: asked.Async != "", Delay: delay},
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	return reply{
		view: externalView{Success: true, Data: externalData{Token: e.Hold, Cents: e.Amount}}, status: 201, wait: s.book.holds[e.Hold].last, booked: true,
	}
}

// externalAsked is POST /external/capture, /void and /refund.
func (s *Server) externalAsked(c *call) reply {
	var d externalDocument
	_ = json.Unmarshal(c.json, &d)
	token, capture, amount, currency, ok := d.asked(c.name)
	if !ok {
		return externalError(400, "the document lacks what this call is about")
	}
	h := s.book.holds[token]
	if h == nil || h.wire != wireExternal {
		return externalRefusal("AUTHORIZATION_NOT_FOUND", "no such authorization")
	}
	if s.book.due(h) || c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	e := entry{
		Type: map[string]string{callCapture: entryCapture, callRefund: entryRefund, callCancel: entryCancel}[c.name], ID: newID("ext_" + c.name), Hold: h.id,
		Amount: amount, Currency: h.currency, Reference: d.Data.Attributes.Metadata.Reference, Metadata: h.metadata, Key: c.key, Print: c.print, RequestID: c.id,
		Fault: c.fault.mode, At: s.book.now(), External: &externalEntry{Kind: c.name, Capture: capture},
	}
	e.External.Code, e.External.Text = s.externalProblemOf(c, h, e, currency)
	return s.bookExternal(c, h, e)
}

// externalProblemOf says why something has no effect; empty when it has.
func (s *Server) externalProblemOf(c *call, h *hold, e entry, currency string) (code, text string) {
	left, taken := h.external.refundable(e.External.Capture)
	switch {
	case strings.ToLower(currency) != h.currency && c.name != callRefund, c.name == callRefund && taken != "" && strings.ToLower(currency) != taken:
		return "CURRENCY_MISMATCH", "that is another currency than the authorization's"
	case c.name == callRefund && taken == "":
		return "CAPTURE_NOT_FOUND", "no such capture"
	case c.name == callRefund && e.Amount > left:
		return "REFUND_TOO_LARGE", "no more than the capture can be refunded"
	case c.name == callRefund:
		return "", ""
	case h.status == succeeded:
		return "ALREADY_CAPTURED", "the authorization was captured"
	case h.status == canceled && c.name == callCancel && h.reason == "automatic":
		return "", "" // nothing is held any more, which is what was asked for
	case h.status == canceled && h.reason == "automatic":
		return "AUTHORIZATION_EXPIRED", "the authorization has expired"
	case h.status == canceled:
		return "AUTHORIZATION_VOIDED", "the authorization was voided"
	case c.name == callCancel:
		return "", ""
	case e.Amount > h.amount:
		s.book.violation(entry{Hold: h.id, Amount: e.Amount, Reference: e.Reference, Key: c.key, RequestID: c.id}, "a capture of more than the hold was asked for")
		return "AMOUNT_TOO_LARGE", "no more than the authorization can be captured"
	case c.fault.mode == modeDecline:
		return "INSUFFICIENT_FUNDS", "the payer's bank declined"
	case c.fault.mode == modeDeclineHard:
		return "STOLEN_CARD", "the payer's bank declined for good"
	}
	return "", ""
}

// bookExternal writes what was asked for, with or without effect, and answers at
// once or later.
func (s *Server) bookExternal(c *call, h *hold, e entry) reply {
	x, delay := e.External, h.external.delay
	if c.fault.mode == modePending {
		delay = c.fault.delay
	}
	async := h.external.async || c.fault.mode == modePending
	if async {
		x.ActionID, x.SettlesAt = newID("act"), s.book.now().Add(delay)
	}
	switch {
	case x.Code != "" && !async: // such an answer is made anew each time
		return externalRefusal(x.Code, x.Text)
	case x.Code != "":
		e.Type = entryUpdate
	case e.Type == entryCapture:
		e.Amount, e.Currency = spoiled(c.fault, e.Amount, h.amount, h.currency)
	case e.Type == entryRefund:
		left, currency := h.external.refundable(x.Capture)
		e.Amount, e.Currency = spoiled(c.fault, e.Amount, left, currency)
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	status, v := s.externalCurrent(externalKept{h.id, e.Reference})
	r := reply{view: v, status: status, wait: h.last, booked: true}
	if !async {
		return r
	}
	m, _ := h.external.find(e.Reference)
	if r.status = 202; delay == 0 { // the outcome and the answer go out together
		r.view = s.externalAccepted(h, m)
		r.events = []event{s.externalCallback(h, m)}
		return r
	}
	s.callBackLater(h, m, delay)
	return r
}

// externalRefusal is the contract's error: final, and nothing was booked.
func externalRefusal(code, text string) reply {
	return reply{status: 422, view: externalView{Data: externalData{Token: newID("ext_err"), Error: &externalProblem{Code: code, Message: text}}}}
}
