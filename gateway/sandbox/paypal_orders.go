package sandbox

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// paypalUnit is the purchase unit of an order.
type paypalUnit struct {
	Amount    paypalMoney `json:"amount"`
	InvoiceID string      `json:"invoice_id"`
	CustomID  string      `json:"custom_id"`
}

// paypalCreateOrder is POST /v2/checkout/orders, as a checkout would call it:
// with intent AUTHORIZE and one purchase unit. An order with a payment source
// is authorized at once, the others by /authorize. The purchase unit's
// custom_id may name a fault: "fault=charge_then_drop".
func (s *Server) paypalCreateOrder(c *call) reply {
	var body struct {
		Intent string          `json:"intent"`
		Units  []paypalUnit    `json:"purchase_units"`
		Source json.RawMessage `json:"payment_source"`
	}
	if json.Unmarshal(c.json, &body) != nil || len(body.Units) != 1 || body.Intent != "AUTHORIZE" {
		return paypalFail(400, "INVALID_PARAMETER_SYNTAX", "")
	}
	unit := body.Units[0]
	amount, currency, r, ok := unit.Amount.cents()
	if !ok {
		return r
	}
	if len(unit.InvoiceID) > 127 || len(unit.CustomID) > 127 || amount > s.config.MaxAmount {
		return paypalFail(400, "INVALID_STRING_LENGTH", "")
	}
	h := &hold{intent: intent{id: newPayPalID(), amount: amount, currency: currency, method: "manual", live: c.live, status: needsConfirm}}
	if text, named := strings.CutPrefix(unit.CustomID, "fault="); named {
		if _, err := parsePlan(text); err != nil {
			return paypalFail(422, "INVALID_PARAMETER_VALUE", err.Error())
		}
		h.metadata = map[string]string{"fault": text}
	}
	if len(body.Source) > 0 {
		h.status = needsCapture
	}
	p := paypalEntry{Order: newPayPalID(), Invoice: unit.InvoiceID, Custom: unit.CustomID}
	if err := s.bookAuthorization(c, h, p); err != nil {
		return s.unbooked(err)
	}
	made := s.book.holds[h.id]
	return reply{view: s.orderOf(p.Order), status: 201, wait: made.last, booked: true, events: s.madeEvents(made)}
}

// madeEvents tell that a hold exists, once it does.
func (s *Server) madeEvents(h *hold) []event {
	if h.status != needsCapture {
		return nil
	}
	return []event{s.paypalEvent(entry{Type: entryHold, Hold: h.id}, s.authorization(h))}
}

// paypalAuthorizeOrder is POST /v2/checkout/orders/{id}/authorize.
func (s *Server) paypalAuthorizeOrder(c *call) reply {
	h := s.book.holds[c.hold]
	switch {
	case h == nil || h.live != c.live:
		return paypalFail(404, "INVALID_RESOURCE_ID", "")
	case h.status != needsConfirm:
		return paypalFail(422, "ORDER_ALREADY_AUTHORIZED", "Order already authorized.")
	}
	next := &hold{intent: h.intent}
	next.status = needsCapture
	p := paypalEntry{Order: h.paypal.order, Invoice: h.paypal.invoice, Custom: h.paypal.custom}
	if err := s.bookAuthorization(c, next, p); err != nil {
		return s.unbooked(err)
	}
	return reply{view: s.orderOf(p.Order), status: 201, wait: h.last, booked: true, events: s.madeEvents(h)}
}

// bookAuthorization writes a new or confirmed authorization.
func (s *Server) bookAuthorization(c *call, h *hold, p paypalEntry) error {
	e := s.paypalEntryOf(c, entryHold, h, p)
	e.ID, e.Amount, e.Status, e.Method = p.Order, h.amount, h.status, h.method
	if h.status == needsCapture {
		e.CaptureBefore = s.book.now().Add(s.config.PayPal.AuthorizationLife)
		if s.config.PayPal.AuthorizationLife > time.Minute {
			e.CaptureBefore = e.CaptureBefore.Truncate(time.Second)
		}
		if parent := s.book.holds[p.Parent]; parent != nil {
			e.ID, e.CaptureBefore = "", parent.captureBefore // a renewal does not make the life longer
		}
	}
	return s.book.commit(e)
}

// paypalGetOrder is GET /v2/checkout/orders/{id}.
func (s *Server) paypalGetOrder(c *call) reply {
	h := s.book.holds[c.hold]
	if h == nil || h.live != c.live {
		return paypalFail(404, "INVALID_RESOURCE_ID", "")
	}
	v := s.orderOf(h.paypal.order)
	if c.fault.mode == modeLookUpStale {
		v.stale()
	}
	return reply{view: v, wait: s.book.journal.newest(), booked: true}
}

// orderView is an order with everything that was paid on it.
type orderView struct {
	id    string
	holds []authorizationView
}

func (s *Server) orderOf(id string) *orderView {
	v := &orderView{id: id}
	for _, h := range s.book.paypal.orders[id] {
		v.holds = append(v.holds, s.authorization(h))
	}
	return v
}

func (v *orderView) stale() {
	v.holds = slices.Clone(v.holds)
	for i, h := range v.holds {
		if h.before != nil {
			v.holds[i].paypalHold = *h.before
		}
	}
}

func (v *orderView) render(map[string]bool) any {
	type payments struct {
		Authorizations []any `json:"authorizations,omitempty"`
		Captures       []any `json:"captures,omitempty"`
		Refunds        []any `json:"refunds,omitempty"`
	}
	type unit struct {
		ReferenceID string      `json:"reference_id"`
		Amount      paypalMoney `json:"amount"`
		InvoiceID   string      `json:"invoice_id,omitempty"`
		CustomID    string      `json:"custom_id,omitempty"`
		Payments    payments    `json:"payments"`
	}
	first := v.holds[0]
	u := unit{ReferenceID: "default", Amount: paypalMoneyOf(first.amount, first.currency), InvoiceID: first.invoice, CustomID: first.custom}
	status := "CREATED"
	for _, h := range v.holds {
		if h.status == needsConfirm {
			continue
		}
		status = "COMPLETED"
		u.Payments.Authorizations = append(u.Payments.Authorizations, h.render(nil))
		for _, m := range h.captures {
			u.Payments.Captures = append(u.Payments.Captures, captureView{h, m}.render(nil))
		}
		for _, m := range h.refunds {
			u.Payments.Refunds = append(u.Payments.Refunds, paypalRefundView{h, m}.render(nil))
		}
	}
	return struct {
		ID     string       `json:"id"`
		Intent string       `json:"intent"`
		Status string       `json:"status"`
		Units  []unit       `json:"purchase_units"`
		Links  []paypalLink `json:"links"`
	}{v.id, "AUTHORIZE", status, []unit{u}, []paypalLink{paypalSelf("GET", "self", "/v2/checkout/orders/"+v.id)}}
}
