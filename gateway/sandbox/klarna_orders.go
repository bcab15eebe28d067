package sandbox

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// klarnaHost stands in the locations of answers, as at Klarna's playground:
// locations are read for their ids, and never followed to where they say.
const klarnaHost = "https://api.playground.klarna.com"

// klarnaCreateOrder is POST /payments/v1/authorizations/{token}/order, as a
// checkout would call it with the token that the payer's consent gave; any token
// is good. The lines must add up to the order. merchant_data or
// merchant_reference2 may name a fault: "fault=charge_then_drop".
func (s *Server) klarnaCreateOrder(c *call) reply {
	var body struct {
		klarnaOrder
		Currency string `json:"purchase_currency"`
		Amount   int64  `json:"order_amount"`
		Auto     bool   `json:"auto_capture"`
	}
	if json.Unmarshal(c.json, &body) != nil {
		return klarnaFail(400, "BAD_REQUEST", "Bad request")
	}
	code, err := models.ParseCurrency(body.Currency)
	if err != nil {
		return klarnaFail(400, "BAD_VALUE", "Bad value: purchase_currency")
	}
	if body.Amount < 1 || body.Amount > min(klarnaMax, s.config.MaxAmount) || body.Auto {
		return klarnaFail(400, "BAD_VALUE", "Bad value: order_amount")
	}
	var lines []struct {
		Total int64 `json:"total_amount"`
	}
	var total int64
	if json.Unmarshal(body.Lines, &lines) == nil {
		for _, l := range lines {
			total += l.Total
		}
	}
	if len(lines) == 0 || total != body.Amount {
		return klarnaFail(400, "BAD_VALUE", "Bad value: order_lines")
	}
	h := &hold{intent: intent{id: newKlarnaID(), amount: body.Amount, currency: strings.ToLower(code), live: c.live}}
	for _, text := range []string{body.Data, body.Reference2} {
		if text, named := strings.CutPrefix(text, "fault="); named {
			if _, err := parsePlan(text); err != nil {
				return klarnaFail(400, "BAD_VALUE", "Bad value: merchant_data: %v", err)
			}
			h.metadata = map[string]string{"fault": text}
		}
	}
	e := s.klarnaEntryOf(c, entryHold, h, klarnaEntry{Status: 200, Fraud: klarnaAccepted, Order: &body.klarnaOrder, Short: newKlarnaReference()})
	e.ID, e.Amount, e.Status, e.Method = h.id, h.amount, needsCapture, "manual"
	e.CaptureBefore = s.klarnaEnd(s.book.now())
	return s.klarnaBook(c, e)
}

// klarnaEnd is when an order ends that is made or extended at a moment.
func (s *Server) klarnaEnd(from time.Time) time.Time {
	ends := from.Add(s.config.Klarna.OrderLife)
	if s.config.Klarna.OrderLife > time.Minute {
		ends = ends.Truncate(time.Second)
	}
	return ends
}

// klarnaEntryOf begins an entry of the book that ends the work on the call's key.
func (s *Server) klarnaEntryOf(c *call, kind string, h *hold, k klarnaEntry) entry {
	return entry{
		Type: kind, Hold: h.id, Currency: h.currency, Metadata: h.metadata, Live: h.live,
		Key: c.key, Print: c.print, RequestID: c.id, Fault: c.fault.mode, Klarna: &k, At: s.book.now(),
	}
}

// klarnaBook books an entry and answers it.
func (s *Server) klarnaBook(c *call, e entry) reply {
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	made, status := klarnaReply(e)
	return reply{view: made, status: status, wait: s.book.holds[e.Hold].last, booked: true}
}

// findKlarna returns the order that the call is about, ended first if its life is
// over.
func (s *Server) findKlarna(c *call) (*hold, reply, bool) {
	h := s.book.holds[c.hold]
	if h == nil || h.wire != wireKlarna || h.live != c.live {
		return nil, klarnaFail(404, "NO_SUCH_ORDER", "Order %s cannot be found", c.hold), false
	}
	if s.book.due(h) {
		if err := s.book.expire(h); err != nil {
			return nil, s.unbooked(err), false
		}
	}
	return h, reply{}, true
}

// klarnaGetOrder is GET /ordermanagement/v1/orders/{id}.
func (s *Server) klarnaGetOrder(c *call) reply {
	h, r, ok := s.findKlarna(c)
	if !ok {
		return r
	}
	v := klarnaOrderView{h.intent, h.klarna, s.book.now()}
	if c.fault.mode == modeLookUpStale && h.before != nil && h.klarna.before != nil {
		v.intent, v.klarnaHold = *h.before, *h.klarna.before
	}
	return reply{view: v, wait: h.last, booked: true}
}

// klarnaGetPart is GET …/captures, …/captures/{id} and …/refunds/{id}.
func (s *Server) klarnaGetPart(c *call) reply {
	h, r, ok := s.findKlarna(c)
	if !ok {
		return r
	}
	v := klarnaOrderView{h.intent, h.klarna, s.book.now()}
	id := lastPart(c.path)
	all, kind := klarnaParts{v.capturesJSON()}, "CAPTURE"
	if strings.HasSuffix(c.path, "/captures") {
		return reply{view: all, wait: h.last, booked: true}
	}
	if strings.Contains(c.path, "/refunds/") {
		all, kind = klarnaParts{v.refundsJSON()}, "REFUND"
	}
	for _, x := range all.all {
		if x.id() == id {
			return reply{view: x, wait: h.last, booked: true}
		}
	}
	return klarnaFail(404, "NO_SUCH_"+kind, "%s could not be found", strings.ToLower(kind))
}

// klarnaOrderView is an order at a moment.
type klarnaOrderView struct {
	intent
	klarnaHold
	at time.Time
}

func (v klarnaOrderView) word() string {
	switch {
	case v.status == canceled && v.reason == "automatic":
		return "EXPIRED"
	case v.status == canceled:
		return "CANCELLED"
	case v.status == succeeded:
		return "CAPTURED"
	case v.captured > 0:
		return "PART_CAPTURED"
	}
	return "AUTHORIZED"
}

func (v klarnaOrderView) remaining() int64 {
	if v.status != needsCapture {
		return 0
	}
	return v.amount - v.captured
}

func (v klarnaOrderView) ends() time.Time {
	if v.reason == "automatic" && v.canceledAt.Before(v.captureBefore) {
		return v.canceledAt
	}
	return v.captureBefore
}

type klarnaOrderJSON struct {
	klarnaOrder
	ID        string       `json:"order_id"`
	Status    string       `json:"status"`
	Fraud     string       `json:"fraud_status"`
	Short     string       `json:"klarna_reference"`
	Currency  string       `json:"purchase_currency"`
	Amount    int64        `json:"order_amount"`
	Original  int64        `json:"original_order_amount"`
	Captured  int64        `json:"captured_amount"`
	Refunded  int64        `json:"refunded_amount"`
	Remaining int64        `json:"remaining_authorized_amount"`
	Created   string       `json:"created_at"`
	Expires   string       `json:"expires_at"`
	Captures  []klarnaPart `json:"captures"`
	Refunds   []klarnaPart `json:"refunds"`
}

func (v klarnaOrderView) render(map[string]bool) any {
	return klarnaOrderJSON{
		klarnaOrder: v.order, ID: v.id, Status: v.word(), Fraud: v.review(v.at), Short: v.short, Currency: strings.ToUpper(v.currency),
		Amount: v.amount, Original: v.amount, Captured: v.captured, Refunded: v.refunded, Remaining: v.remaining(),
		Created: klarnaTime(v.created), Expires: klarnaTime(v.ends()), Captures: v.capturesJSON(), Refunds: v.refundsJSON(),
	}
}

// klarnaPart is a capture or a refund of an order.
type klarnaPart struct {
	CaptureID  string `json:"capture_id,omitempty"`
	Captured   int64  `json:"captured_amount,omitempty"`
	CapturedAt string `json:"captured_at,omitempty"`
	Short      string `json:"klarna_reference,omitempty"`
	RefundID   string `json:"refund_id,omitempty"`
	Refunded   *int64 `json:"refunded_amount"`
	RefundedAt string `json:"refunded_at,omitempty"`
	Reference  string `json:"reference,omitempty"`
	Note       string `json:"description,omitempty"`
}

func (p klarnaPart) id() string { return p.CaptureID + p.RefundID }

func (p klarnaPart) render(map[string]bool) any { return p }

type klarnaParts struct{ all []klarnaPart }

func (p klarnaParts) render(map[string]bool) any { return p.all }

// capturesJSON shows what went back of each capture: Klarna takes refunds from
// the oldest first when no order lines say otherwise.
func (v klarnaOrderView) capturesJSON() []klarnaPart {
	out, back := []klarnaPart{}, v.refunded
	for _, m := range v.captures {
		part := min(back, m.amount)
		back -= part
		out = append(out, klarnaPart{
			CaptureID: m.id, Captured: m.amount, CapturedAt: klarnaTime(m.at), Short: m.short, Refunded: &part, Reference: m.reference, Note: m.note,
		})
	}
	return out
}

func (v klarnaOrderView) refundsJSON() []klarnaPart {
	out := []klarnaPart{}
	for _, m := range v.klarnaHold.refunds {
		amount := m.amount
		out = append(out, klarnaPart{RefundID: m.id, Refunded: &amount, RefundedAt: klarnaTime(m.at), Reference: m.reference, Note: m.note})
	}
	return out
}

// render shows an order that was just made; every other success has no body.
func (m klarnaMade) render(map[string]bool) any {
	if m.kind != entryHold {
		return nil
	}
	return map[string]any{
		"order_id": m.order, "fraud_status": m.fraud, "redirect_url": "https://payments.playground.klarna.com/redirect/" + m.order,
		"authorized_payment_method": map[string]string{"type": "invoice"},
	}
}

func klarnaTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
