package sandbox

import (
	"encoding/json"
	"slices"
	"time"
)

// wireKlarna marks what came over Klarna's wire.
const wireKlarna = "klarna"

// What Klarna's review of an order came to.
const (
	klarnaAccepted = "ACCEPTED"
	klarnaPending  = "PENDING"
	klarnaRejected = "REJECTED"
)

// klarnaEntry is what an entry of the book says on Klarna's wire beyond the
// fields that all wires share.
type klarnaEntry struct {
	// Status is the HTTP status of the answer that the entry stands for.
	Status int `json:"status,omitempty"`
	// Fraud is what the review came to, and ReviewedAt when a pending one ends; a
	// pending one without it ends with the next capture that is asked for.
	Fraud      string    `json:"fraud_status,omitempty"`
	ReviewedAt time.Time `json:"reviewed_at,omitzero"`
	// Order is what the checkout sent.
	Order *klarnaOrder `json:"order,omitempty"`
	// Short is the reference that people are told.
	Short string `json:"klarna_reference,omitempty"`
	// Note is the description that came with a capture or a refund.
	Note string `json:"description,omitempty"`
}

// klarnaOrder is the part of an order that is only shown.
type klarnaOrder struct {
	Country    string          `json:"purchase_country"`
	Locale     string          `json:"locale"`
	Reference1 string          `json:"merchant_reference1,omitempty"`
	Reference2 string          `json:"merchant_reference2,omitempty"`
	Data       string          `json:"merchant_data,omitempty"`
	Lines      json.RawMessage `json:"order_lines"`
}

// klarnaHold is what belongs to an order. The slices only grow, so that a copy
// is a snapshot.
type klarnaHold struct {
	order      klarnaOrder
	short      string
	fraud      string
	reviewedAt time.Time
	released   bool // what captures had left of it
	captures   []klarnaMove
	refunds    []klarnaMove
	before     *klarnaHold // what was true before the last change
}

// klarnaMove is one capture or refund; it never changes.
type klarnaMove struct {
	id, reference, note, short string
	amount                     int64
	at                         time.Time
}

// review is what the review of the order came to by a moment.
func (h klarnaHold) review(now time.Time) string {
	if h.fraud == klarnaPending && !h.reviewedAt.IsZero() && !now.Before(h.reviewedAt) {
		return klarnaAccepted
	}
	return h.fraud
}

func (b *book) applyKlarnaHold(h *hold, e entry) {
	h.wire = wireKlarna
	if e.Klarna.Order != nil {
		h.klarna.order = *e.Klarna.Order
		h.klarna.short, h.klarna.fraud = e.Klarna.Short, e.Klarna.Fraud
		return
	}
	old := h.klarna // an extension
	old.before = nil
	h.klarna.before = &old
}

func (b *book) applyKlarna(h *hold, e entry) {
	old := h.klarna
	old.before = nil
	h.klarna.before = &old
	if e.Klarna == nil { // the hold's own end
		e.Klarna = &klarnaEntry{}
	}
	move := klarnaMove{id: e.ID, reference: e.Reference, note: e.Klarna.Note, short: e.Klarna.Short, amount: e.Amount, at: e.At}
	switch e.Type {
	case entryUpdate:
		h.klarna.fraud, h.klarna.reviewedAt = e.Klarna.Fraud, e.Klarna.ReviewedAt
	case entryCapture:
		h.captured += e.Amount
		h.currency = e.Currency // there is one for all of an order
		if h.captured >= h.amount {
			h.status = succeeded
		}
		h.klarna.captures = append(slices.Clip(h.klarna.captures), move)
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		h.currency = e.Currency
		h.klarna.refunds = append(slices.Clip(h.klarna.refunds), move)
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		if e.Reason == klarnaReleased {
			h.status, h.klarna.released = succeeded, true
		}
		b.cancels = append(b.cancels, booking(e))
	}
}

// klarnaReleased is the reason of a release of what captures had left.
const klarnaReleased = "released"

// klarnaMade is a success: nothing but a status and the id of what was made.
type klarnaMade struct {
	order, kind, id string
	fraud           string // of an order that was just made
}

// klarnaReply is what an entry answers, now and for its key.
func klarnaReply(e entry) (klarnaMade, int) {
	return klarnaMade{order: e.Hold, kind: e.Type, id: e.ID, fraud: e.Klarna.Fraud}, e.Klarna.Status
}
