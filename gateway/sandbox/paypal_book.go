package sandbox

import (
	"slices"
	"time"
)

// wirePayPal marks what came over PayPal's wire, and paypalKeyLife is how long
// its keys are remembered.
const (
	wirePayPal    = "paypal"
	paypalKeyLife = 45 * 24 * time.Hour
)

// The statuses of PayPal's captures and refunds that the book keeps. Those of
// authorizations follow from the hold; see authorizationView.
const (
	paypalCompleted = "COMPLETED"
	paypalPending   = "PENDING"
	paypalDeclined  = "DECLINED"
)

// paypalEntry is what an entry of the book says on PayPal's wire beyond the
// fields that all wires share.
type paypalEntry struct {
	Order string `json:"order,omitempty"`
	// Parent, of a hold: the authorization that it renews.
	Parent string `json:"parent,omitempty"`
	// Capture, of a refund: what it returns.
	Capture string `json:"capture,omitempty"`
	Invoice string `json:"invoice_id,omitempty"`
	Custom  string `json:"custom_id,omitempty"`
	// Status and Reason are a capture's or a refund's when it was made, and
	// SettlesAt is when a pending one completes.
	Status    string    `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	SettlesAt time.Time `json:"settles_at,omitzero"`
	Final     bool      `json:"final_capture,omitempty"`
}

// status is the HTTP status of the success that an entry stands for.
func (e *paypalEntry) status(kind string) int {
	if kind == entryCancel {
		return 200
	}
	return 201
}

// paypalHold is what belongs to an authorization. The slices only grow, so
// that a copy is a snapshot.
type paypalHold struct {
	order, parent, renewed string
	invoice, custom        string
	captures               []paypalMove
	refunds                []paypalMove
	updated                time.Time
	before                 *paypalHold // what was true before the last change
}

// paypalMove is one capture or refund; it never changes.
type paypalMove struct {
	id, capture     string
	invoice, custom string
	amount          int64
	currency        string
	status, reason  string
	settlesAt       time.Time
	final           bool
	at              time.Time
}

// now is the move's status at a moment.
func (m paypalMove) now(at time.Time) string {
	if m.status == paypalPending && !at.Before(m.settlesAt) {
		return paypalCompleted
	}
	return m.status
}

// paypalIndex finds what PayPal's ids stand for.
type paypalIndex struct {
	orders   map[string][]*hold // first the hold of the order, then what renewed it
	captures map[string]*hold
	refunds  map[string]*hold
	invoices map[string]bool // of captures and of refunds that took effect
}

func newPayPalIndex() paypalIndex {
	return paypalIndex{orders: map[string][]*hold{}, captures: map[string]*hold{}, refunds: map[string]*hold{}, invoices: map[string]bool{}}
}

// invoiceName keeps the invoices of test and live accounts, and of captures
// and refunds, apart.
func invoiceName(live bool, kind, invoice string) string { return keyName(live, kind+" "+invoice) }

// paypalKept is what a key answers: whatever became of the thing that was made
// under it, not what was true then.
type paypalKept struct{ hold, kind, id string }

func (paypalKept) render(map[string]bool) any { return nil } // never shown: see paypalCurrent

func (b *book) applyPayPalHold(h *hold, e entry) {
	fresh := h.wire == ""
	h.wire = wirePayPal
	h.paypal.order, h.paypal.parent = e.PayPal.Order, e.PayPal.Parent
	h.paypal.invoice, h.paypal.custom, h.paypal.updated = e.PayPal.Invoice, e.PayPal.Custom, e.At
	if !fresh {
		return
	}
	b.paypal.orders[h.paypal.order] = append(b.paypal.orders[h.paypal.order], h)
	if parent := b.holds[h.paypal.parent]; parent != nil {
		parent.paypal.renewed = h.id
	}
}

func (b *book) applyPayPal(h *hold, e entry) {
	old := h.paypal
	old.before = nil
	h.paypal.before, h.paypal.updated = &old, e.At
	if e.PayPal == nil { // the hold's own end
		e.PayPal = &paypalEntry{}
	}
	switch e.Type {
	case entryUpdate: // a capture that took nothing
		h.paypal.captures = append(slices.Clip(h.paypal.captures), paypalMoveOf(e))
		b.paypal.captures[e.ID] = h
	case entryCapture:
		h.captured += e.Amount
		if h.captured >= h.amount || e.PayPal.Final {
			h.status = succeeded
		}
		h.paypal.captures = append(slices.Clip(h.paypal.captures), paypalMoveOf(e))
		b.paypal.captures[e.ID] = h
		b.paypal.invoices[invoiceName(h.live, e.Type, e.PayPal.Invoice)] = true
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		h.paypal.refunds = append(slices.Clip(h.paypal.refunds), paypalMoveOf(e))
		b.paypal.refunds[e.ID] = h
		b.paypal.invoices[invoiceName(h.live, e.Type, e.PayPal.Invoice)] = true
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		b.cancels = append(b.cancels, booking(e))
	}
}

func paypalMoveOf(e entry) paypalMove {
	p := e.PayPal
	return paypalMove{
		id: e.ID, capture: p.Capture, invoice: p.Invoice, custom: p.Custom, amount: e.Amount, currency: e.Currency,
		status: p.Status, reason: p.Reason, settlesAt: p.SettlesAt, final: p.Final, at: e.At,
	}
}

// refundedOf is how much of a capture went back.
func (p paypalHold) refundedOf(capture string) int64 {
	var sum int64
	for _, r := range p.refunds {
		if r.capture == capture {
			sum += r.amount
		}
	}
	return sum
}

func (p paypalHold) find(moves []paypalMove, id string) (paypalMove, bool) {
	for _, m := range moves {
		if m.id == id {
			return m, true
		}
	}
	return paypalMove{}, false
}
