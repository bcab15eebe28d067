package sandbox

import (
	"maps"
	"slices"
	"time"
)

// wireCheckoutCom marks what came over Checkout.com's wire.
const wireCheckoutCom = "checkoutcom"

// The types of Checkout.com's actions, and the response codes of those that were
// declined.
const (
	checkoutAuthorization = "Authorization"
	checkoutCapture       = "Capture"
	checkoutRefund        = "Refund"
	checkoutVoid          = "Void"

	checkoutApproved = "10000"
	checkoutSoft     = "20051"
	checkoutHard     = "30043"
)

// checkoutSummaries word the codes.
var checkoutSummaries = map[string]string{
	checkoutApproved: "Approved", checkoutSoft: "Insufficient funds", checkoutHard: "Stolen card - Pick up",
}

// checkoutEntry is what an entry of the book says on Checkout.com's wire beyond
// the fields that all wires share. The entry's ID is that of the action.
type checkoutEntry struct {
	Action    string            `json:"action,omitempty"`
	Reference string            `json:"reference,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	// Code is the action's response code, which is told from DecidedAt on.
	Code      string    `json:"response_code,omitempty"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
	Final     bool      `json:"final,omitempty"`
	// Unkept: the call was answered with a 5xx, for which no key is kept.
	Unkept bool `json:"unkept,omitempty"`
}

// checkoutHold is what belongs to a payment. The slice only grows, so that a copy
// is a snapshot.
type checkoutHold struct {
	reference string
	actions   []checkoutAction // oldest first
	final     bool             // the rest was released by a final capture
	before    *checkoutHold    // what was true before the last change
}

// checkoutAction is one action; it never changes.
type checkoutAction struct {
	id, kind, reference string
	metadata            map[string]string
	amount              int64
	code                string
	decidedAt           time.Time
	final               bool
}

// decided reports whether the action's result is told at a moment.
func (a checkoutAction) decided(at time.Time) bool { return !at.Before(a.decidedAt) }

func (a checkoutAction) approved() bool { return a.code == checkoutApproved }

// sum adds up the approved actions of a kind that are decided.
func (h checkoutHold) sum(kind string, at time.Time) (total int64) {
	for _, a := range h.actions {
		if a.kind == kind && a.approved() && a.decided(at) {
			total += a.amount
		}
	}
	return total
}

func (b *book) applyCheckoutHold(h *hold, e entry) {
	h.wire = wireCheckoutCom
	h.checkout = checkoutHold{reference: e.CheckoutCom.Reference, actions: []checkoutAction{checkoutActionOf(e)}}
	b.expiring = append(b.expiring, h)
}

func (b *book) applyCheckout(h *hold, e entry) {
	old := h.checkout
	old.before = nil
	h.checkout.before = &old
	if e.CheckoutCom == nil { // the hold's own end
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		b.cancels = append(b.cancels, booking(e))
		return
	}
	h.checkout.actions = append(slices.Clip(h.checkout.actions), checkoutActionOf(e))
	switch e.Type {
	case entryCapture:
		h.captured, h.currency = h.captured+e.Amount, e.Currency
		h.checkout.final = h.checkout.final || e.CheckoutCom.Final
		if h.captured >= h.amount || h.checkout.final {
			h.status = succeeded
		}
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded, h.currency = h.refunded+e.Amount, e.Currency
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		b.cancels = append(b.cancels, booking(e))
	}
}

func checkoutActionOf(e entry) checkoutAction {
	c := e.CheckoutCom
	return checkoutAction{
		id: e.ID, kind: c.Action, reference: c.Reference, metadata: maps.Clone(c.Metadata), amount: e.Amount,
		code: c.Code, decidedAt: c.DecidedAt, final: c.Final,
	}
}
