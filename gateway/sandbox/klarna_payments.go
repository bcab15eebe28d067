package sandbox

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// klarnaMax is the largest amount that Klarna takes at once.
const klarnaMax int64 = 100_000_000

// klarnaBody is what a request may carry. Other members are ignored.
type klarnaBody struct {
	Captured    int64  `json:"captured_amount"`
	Refunded    int64  `json:"refunded_amount"`
	Reference   string `json:"reference"`
	Description string `json:"description"`
}

func (b klarnaBody) amount() int64 { return b.Captured + b.Refunded }

// klarnaAsked reads the body of a call that moves money.
func klarnaAsked(c *call, field string) (klarnaBody, reply, bool) {
	var body klarnaBody
	switch err := json.Unmarshal(c.json, &body); {
	case err != nil:
		return body, klarnaFail(400, "BAD_REQUEST", "Bad request"), false
	case body.amount() < 1 || body.amount() > klarnaMax:
		return body, klarnaFail(400, "BAD_VALUE", "Bad value: %s", field), false
	case len(body.Reference) > 255 || len(body.Description) > 255:
		return body, klarnaFail(422, "UNPROCESSABLE_ENTITY", "The size of the reference value must be between 0 and 255"), false
	}
	return body, reply{}, true
}

// klarnaCapture is POST …/captures.
func (s *Server) klarnaCapture(c *call) reply {
	h, r, ok := s.findKlarna(c)
	if !ok {
		return r
	}
	body, r, ok := klarnaAsked(c, "captured_amount")
	if !ok {
		return r
	}
	if c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return s.unbooked(err)
		}
	}
	no := func(why string) reply {
		return klarnaFail(403, "CAPTURE_NOT_ALLOWED", "Order %s %s. Capture not possible.", h.id, why)
	}
	switch {
	case h.status == canceled && h.reason == "automatic":
		return no("is expired")
	case h.status == canceled:
		return no("is cancelled")
	case h.status == succeeded:
		return no("has no remaining authorized amount")
	}
	if err := s.klarnaReview(c, h); err != nil {
		return s.unbooked(err)
	}
	switch {
	case h.klarna.review(s.book.now()) != klarnaAccepted:
		return no("is not accepted")
	case h.captured+body.Captured > h.amount:
		s.book.violation(entry{Hold: h.id, Amount: body.Captured, Reference: body.Reference, Key: c.key, RequestID: c.id}, "a capture of more than the hold was asked for")
		return no("has a lower remaining authorized amount")
	}
	e := s.klarnaEntryOf(c, entryCapture, h, klarnaEntry{
		Status: http.StatusCreated, Note: body.Description, Short: h.klarna.short + "-" + strconv.Itoa(len(h.klarna.captures)+1),
	})
	e.ID, e.Reference = newKlarnaID(), body.Reference
	e.Amount, e.Currency = spoiled(c.fault, body.Captured, h.amount-h.captured, h.currency)
	return s.klarnaBook(c, e)
}

// klarnaReview changes the review of the order as the call's fault says. A review
// that has no end is over with the next capture that is asked for.
func (s *Server) klarnaReview(c *call, h *hold) error {
	fraud, until := klarnaAccepted, time.Time{}
	switch c.fault.mode {
	case modeDecline:
		fraud = klarnaPending
	case modePending:
		fraud, until = klarnaPending, s.book.now().Add(c.fault.delay)
	case modeDeclineHard:
		fraud = klarnaRejected
	default:
		if h.klarna.fraud != klarnaPending || !h.klarna.reviewedAt.IsZero() {
			return nil
		}
	}
	e := s.klarnaEntryOf(&call{id: c.id, fault: c.fault}, entryUpdate, h, klarnaEntry{Fraud: fraud, ReviewedAt: until})
	return s.book.commit(e)
}

// klarnaRefund is POST …/refunds.
func (s *Server) klarnaRefund(c *call) reply {
	h, r, ok := s.findKlarna(c)
	if !ok {
		return r
	}
	body, r, ok := klarnaAsked(c, "refunded_amount")
	if !ok {
		return r
	}
	left := h.captured - h.refunded
	switch {
	case h.captured == 0:
		return klarnaFail(403, "REFUND_NOT_ALLOWED", "Order has no captures. Refund not possible")
	case body.Refunded > left:
		return klarnaFail(403, "REFUND_NOT_ALLOWED", "Refund amount exceeds the captured amount. Refund not possible")
	}
	e := s.klarnaEntryOf(c, entryRefund, h, klarnaEntry{Status: http.StatusCreated, Note: body.Description})
	e.ID, e.Reference = newKlarnaID(), body.Reference
	e.Amount, e.Currency = spoiled(c.fault, body.Refunded, left, h.currency)
	return s.klarnaBook(c, e)
}

// klarnaCancel is POST …/cancel, for an order nobody captured anything of.
func (s *Server) klarnaCancel(c *call) reply {
	h, r, ok := s.klarnaEnding(c)
	if !ok {
		return r
	}
	switch {
	case h.captured > 0:
		return klarnaFail(403, "CANCEL_NOT_ALLOWED", "Order has previous captures. Cancel not possible")
	case h.status != needsCapture:
		return klarnaFail(403, "CANCEL_NOT_ALLOWED", "Order is cancelled or expired. Cancel not possible")
	}
	e := s.klarnaEntryOf(c, entryCancel, h, klarnaEntry{Status: http.StatusNoContent})
	e.Amount, e.Reason = h.amount, "requested_by_customer"
	return s.klarnaBook(c, e)
}

// klarnaRelease is POST …/release-remaining-authorization, for what captures have
// left of an order.
func (s *Server) klarnaRelease(c *call) reply {
	h, r, ok := s.klarnaEnding(c)
	if !ok {
		return r
	}
	switch {
	case h.status == canceled:
		return klarnaFail(403, "NOT_ALLOWED", "Order is cancelled or expired. Remaining authorization cannot be released.")
	case h.captured == 0:
		return klarnaFail(403, "NOT_ALLOWED", "Order has no captures. Remaining authorization cannot be released.")
	case h.status == succeeded:
		return klarnaFail(403, "NOT_ALLOWED", "Order is fully captured. Remaining authorization cannot be released.")
	}
	e := s.klarnaEntryOf(c, entryCancel, h, klarnaEntry{Status: http.StatusNoContent})
	e.Amount, e.Reason = h.amount-h.captured, klarnaReleased
	return s.klarnaBook(c, e)
}

// klarnaEnding is the order whose end is asked for, which a fault may have brought
// about already.
func (s *Server) klarnaEnding(c *call) (*hold, reply, bool) {
	h, r, ok := s.findKlarna(c)
	if ok && c.fault.mode == modeExpired && h.status == needsCapture {
		if err := s.book.expire(h); err != nil {
			return nil, s.unbooked(err), false
		}
	}
	return h, r, ok
}

// klarnaExtend is POST …/extend-authorization-time: the order ends as long from
// now as an order lives, and never later than its last day.
func (s *Server) klarnaExtend(c *call) reply {
	h, r, ok := s.findKlarna(c)
	if !ok {
		return r
	}
	now, last := s.book.now(), h.created.Add(s.config.Klarna.LastExtension)
	switch {
	case h.status == canceled && h.reason == "automatic":
		return klarnaFail(403, "NOT_ALLOWED", "Order is expired. Authorization time cannot be extended.")
	case h.status != needsCapture, !now.Before(last):
		return klarnaFail(403, "NOT_ALLOWED", "Authorization time cannot be extended.")
	}
	e := s.klarnaEntryOf(c, entryHold, h, klarnaEntry{Status: http.StatusNoContent, Fraud: h.klarna.fraud})
	e.Amount, e.Status, e.Method, e.CaptureBefore = h.amount, h.status, h.method, s.klarnaEnd(now)
	if e.CaptureBefore.After(last) {
		e.CaptureBefore = last
	}
	return s.klarnaBook(c, e)
}
