package sandbox

import "fmt"

// adyenBehind does something behind the caller's back on Adyen's wire, and says
// what is told of it. The caller holds the lock.
func (s *Server) adyenBehind(d behind, h *hold) (entry, []event, string) {
	e := entry{Hold: h.id, Amount: d.Amount, Currency: h.currency, Live: h.live, ID: newAdyenPSP(), At: s.book.now(), Adyen: &adyenEntry{Account: h.adyen.account}}
	told := adyenTold{original: h.id}
	left, problem := int64(0), ""
	switch d.Action {
	case "capture":
		e.Type, told.code, left = entryCapture, "CAPTURE", h.amount-h.captured
		if h.status == canceled {
			return e, nil, "the hold is " + h.status
		}
		if !s.config.Adyen.MultiCapture {
			e.Status = succeeded
		}
	case "refund":
		e.Type, told.code, left = entryRefund, "REFUND", h.captured-h.disputed-h.refunded
	case "cancel":
		if h.status != needsCapture {
			return e, nil, "the hold is " + h.status
		}
		e.Type, e.Reason, told.code, left = entryCancel, "requested_by_customer", "CANCELLATION", h.amount-h.captured
	case "dispute":
		e.Type, e.Reason, told.code, left = entryDispute, "fraudulent", "CHARGEBACK", h.captured-h.disputed-h.refunded
	case "capture_failed", "recapture", "refund_failed":
		if e, told, problem = h.adyenFailed(d.Action, e); problem != "" {
			return e, nil, problem
		}
		left = e.Amount
	default:
		return e, nil, fmt.Sprintf("action %q: send capture, refund, cancel, dispute, capture_failed, recapture or refund_failed", d.Action)
	}
	if e.Amount == 0 {
		e.Amount = left
	}
	if e.Amount < 1 || e.Amount > left {
		return e, nil, fmt.Sprintf("%d of %s are left for this, not %d", max(0, left), h.currency, e.Amount)
	}
	told.amount, told.currency = e.Amount, e.Currency
	if told.psp == "" {
		told.psp = e.ID
	}
	if err := s.book.commit(e); err != nil {
		return e, nil, "it cannot be booked: " + err.Error()
	}
	return e, s.adyenEvents(h, told), ""
}

// adyenFailed is what the scheme does to the newest capture or refund, days later.
func (h *hold) adyenFailed(action string, e entry) (entry, adyenTold, string) {
	moves, want := h.adyen.captures, action == "recapture"
	if action == "refund_failed" {
		moves = h.adyen.refunds
	}
	var m adyenMove
	for _, one := range moves {
		if one.failed == want {
			m = one
		}
	}
	if m.psp == "" {
		return e, adyenTold{}, "there is nothing that could have failed, or be captured again"
	}
	told := adyenTold{original: h.id, psp: m.psp, reference: m.reference}
	e.ID, e.Amount, e.Currency, e.Reference = m.psp, m.amount, m.currency, m.reference
	switch action {
	case "capture_failed":
		e.Type, e.Reason, told.code, told.reason = entryDispute, "capture_failed", "CAPTURE_FAILED", "Capture Failed"
	case "recapture":
		e.Type, e.Reason, told.code, told.reason = entryDisputeWon, "recaptured", "CAPTURE", "Transaction Auto-recaptured"
	case "refund_failed":
		e.Type, e.Adyen.Failed, told.code, told.reason = entryUpdate, m.psp, "REFUND_FAILED", "Refund Failed"
	}
	return e, told, ""
}
