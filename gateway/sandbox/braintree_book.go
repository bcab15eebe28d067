package sandbox

import (
	"slices"
	"time"
)

// wireBraintree marks what came over Braintree's wire.
const wireBraintree = "braintree"

// The statuses of Braintree's transactions.
const (
	btAuthorized      = "authorized"
	btExpired         = "authorization_expired"
	btSubmitted       = "submitted_for_settlement"
	btSettling        = "settling"
	btSettled         = "settled"
	btPending         = "settlement_pending"
	btSettleDeclined  = "settlement_declined"
	btVoided          = "voided"
	btProcessorDenied = "processor_declined"
)

// braintreeEntry is what an entry of the book says on Braintree's wire beyond
// the fields that all wires share. The reference of an entry is its order id.
type braintreeEntry struct {
	// Instrument, Card and Account, of a hold: how it was paid, with which card,
	// and into which merchant account.
	Instrument string `json:"instrument,omitempty"`
	Card       string `json:"card,omitempty"`
	Account    string `json:"account,omitempty"`
	// Status is that of the transaction from now on.
	Status string `json:"status,omitempty"`
	// Code and Text are the processor's words about it.
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
	// Of, of an update: the refund whose status it is; empty is the sale.
	Of string `json:"of,omitempty"`
	// Void, of a refund: a void gave everything back, before it was settled.
	Void bool `json:"void,omitempty"`
	// SettlesAt is when a pending settlement goes on.
	SettlesAt time.Time `json:"settles_at,omitzero"`
}

// braintreeHold is what belongs to a sale. The slices only grow, so that a copy
// is a snapshot.
type braintreeHold struct {
	instrument, card, account string
	order                     string
	currency                  string // of the settlement
	settlesAt                 time.Time
	code, text                string
	history                   []braintreeStatus
	refunds                   []braintreeRefund
	updated                   time.Time
	before                    *braintreeHold // what was true before the last change
}

// braintreeStatus is one line of a transaction's history.
type braintreeStatus struct {
	status string
	amount int64
	at     time.Time
}

// braintreeRefund is one credit; a change of its status replaces it.
type braintreeRefund struct {
	id, order  string
	amount     int64
	currency   string
	code, text string
	history    []braintreeStatus
}

func (h braintreeHold) status() string { return h.history[len(h.history)-1].status }

func (r braintreeRefund) status() string { return r.history[len(r.history)-1].status }

// wasTaken: it was submitted once, whatever became of it.
func (h braintreeHold) wasTaken() bool {
	return slices.ContainsFunc(h.history, func(s braintreeStatus) bool { return s.status == btSubmitted || s.status == btPending })
}

func (h braintreeHold) find(id string) (braintreeRefund, bool) {
	for _, r := range h.refunds {
		if r.id == id {
			return r, true
		}
	}
	return braintreeRefund{}, false
}

func (b *book) applyBraintreeHold(h *hold, e entry) {
	h.wire = wireBraintree
	h.braintree = braintreeHold{
		instrument: e.Braintree.Instrument, card: e.Braintree.Card, account: e.Braintree.Account, order: e.Reference, currency: e.Currency, updated: e.At,
		history: []braintreeStatus{{btAuthorized, e.Amount, e.At}},
	}
}

func (b *book) applyBraintree(h *hold, e entry) {
	old := h.braintree
	old.before = nil
	bt := &h.braintree
	bt.before, bt.updated = &old, e.At
	if e.Braintree == nil { // the hold's own end
		e.Braintree = &braintreeEntry{Status: btExpired}
	}
	become := func(amount int64) {
		bt.history = append(slices.Clip(bt.history), braintreeStatus{e.Braintree.Status, amount, e.At})
		bt.code, bt.text = e.Braintree.Code, e.Braintree.Text
	}
	switch e.Type {
	case entryUpdate:
		if e.Braintree.Of != "" {
			b.changeBraintreeRefund(h, e)
			return
		}
		become(h.captured)
	case entryCapture:
		h.captured += e.Amount
		h.status = succeeded
		bt.currency, bt.settlesAt = e.Currency, e.Braintree.SettlesAt
		if e.Reference != "" {
			bt.order = e.Reference
		}
		become(e.Amount)
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		b.refundList = append(b.refundList, booking(e))
		if e.Braintree.Void {
			become(h.captured)
			return
		}
		bt.refunds = append(slices.Clip(bt.refunds), braintreeRefund{
			id: e.ID, order: e.Reference, amount: e.Amount, currency: e.Currency, history: []braintreeStatus{{e.Braintree.Status, e.Amount, e.At}},
		})
		b.refunds[e.ID] = h
	case entryCancel:
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		become(h.amount)
		b.cancels = append(b.cancels, booking(e))
	case entryDispute:
		if e.Braintree.Status != "" {
			become(h.captured)
		}
	}
}

func (b *book) changeBraintreeRefund(h *hold, e entry) {
	refunds := slices.Clone(h.braintree.refunds)
	for i := range refunds {
		if r := &refunds[i]; r.id == e.Braintree.Of {
			r.history = append(slices.Clip(r.history), braintreeStatus{e.Braintree.Status, r.amount, e.At})
			r.code, r.text = e.Braintree.Code, e.Braintree.Text
		}
	}
	h.braintree.refunds = refunds
	if e.Braintree.Status == btSettleDeclined { // the money is the merchant's again
		h.refunded -= e.Amount
	}
}
