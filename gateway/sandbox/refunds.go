package sandbox

import (
	"net/http"
	"strings"
)

// holdOfRefund finds the payment that a refund or a listing of refunds names.
func (s *Server) holdOfRefund(_ *http.Request, p params) string {
	if pi := p.Get("payment_intent"); pi != "" {
		return pi
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if h := s.book.charges[p.Get("charge")]; h != nil {
		return h.id
	}
	return ""
}

// createRefund is POST /v1/refunds.
func (s *Server) createRefund(c *call) reply {
	p := c.params
	if err := p.known("payment_intent charge amount metadata reason refund_application_fee reverse_transfer instructions_email origin currency customer"); err != nil {
		return fail(err)
	}
	if p.Get("payment_intent") == "" && p.Get("charge") == "" {
		return fail(invalid("", "parameter_missing", "One of the following params should be provided for this request: payment_intent or charge."))
	}
	if c.hold == "" {
		return fail(missing("charge", p.Get("charge"), "charge"))
	}
	h, err := s.find(c)
	if err != nil {
		err.Param = "payment_intent"
		return fail(err)
	}
	reason := p.Get("reason")
	if reason != "" && !strings.Contains(" duplicate fraudulent requested_by_customer ", " "+reason+" ") {
		return fail(invalid("reason", "", "Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer"))
	}
	amount, given, err := p.amount("amount", 1<<62)
	metadata, badMeta := p.metadata(nil)
	switch {
	case err != nil:
		return fail(err)
	case badMeta != nil:
		return fail(badMeta)
	case h.captured == 0:
		e := invalid("payment_intent", "payment_intent_unexpected_state", "This PaymentIntent (%s) does not have a successful charge to refund.", h.id)
		e.Intent, e.kept = intentView{h.intent}.render(nil), true
		return fail(e)
	case h.refunded >= h.captured:
		e := invalid("", "charge_already_refunded", "Charge %s has already been refunded.", h.charge)
		e.Charge, e.kept = h.charge, true
		return fail(e)
	case given && amount > h.captured-h.refunded:
		return fail(invalid("amount", "amount_too_large",
			"Refund amount (%d) is greater than unrefunded amount on charge (%d)", amount, h.captured-h.refunded))
	case !given:
		amount = h.captured - h.refunded
	}
	if err := checkStep("amount", amount, h.currency); err != nil {
		return fail(err)
	}
	amount, currency := spoiled(c.fault, amount, h.captured-h.refunded, h.currency)
	e := s.entry(c, entryRefund, h)
	e.ID, e.Amount, e.Currency, e.Metadata, e.Reason = newID("re"), amount, currency, metadata, reason
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	v := refundView{h.refunds[len(h.refunds)-1], h.intent}
	return reply{view: v, wait: h.last, booked: true, events: []event{
		s.event("refund.created", c, v, h.id),
		s.event("charge.refunded", c, chargeView{h.intent}, h.id),
	}}
}

// listed reads what a list of refunds or disputes asks for: a page, and the
// holds that it is about, one or all.
func (s *Server) listed(c *call) (page, []*hold, *apiError) {
	pg, err := c.params.page()
	if err == nil {
		err = c.params.known("payment_intent charge limit starting_after ending_before created")
	}
	if err != nil {
		return pg, nil, err
	}
	if c.hold != "" {
		h, err := s.find(c)
		if err != nil {
			err.Param = "payment_intent"
			return pg, nil, err
		}
		return pg, []*hold{h}, nil
	}
	if ch := c.params.Get("charge"); ch != "" {
		return pg, nil, missing("charge", ch, "charge")
	}
	return pg, s.book.order, nil
}

// listRefunds is GET /v1/refunds, newest first. The release of an uncaptured
// hold is listed too, as Stripe does.
func (s *Server) listRefunds(c *call) reply {
	pg, holds, err := s.listed(c)
	if err != nil {
		return fail(err)
	}
	var views []view
	var ids []string
	for i := len(holds) - 1; i >= 0; i-- {
		for _, v := range refundsOf(holds[i], c) {
			if at := v.created.Unix(); at >= pg.from && at <= pg.to {
				views, ids = append(views, v), append(ids, v.id)
			}
		}
	}
	return s.paged(pg, "/v1/refunds", views, ids)
}

// refundsOf lists a hold's refunds, newest first.
func refundsOf(h *hold, c *call) []refundView {
	if h.live != c.live || h.wire != "" {
		return nil
	}
	all := h.refunds
	if c.fault.mode == modeLookUpStale && len(all) > 0 {
		all = all[:len(all)-1]
	}
	var out []refundView
	if h.releaseID != "" {
		out = append(out, releaseView(h))
	}
	for i := len(all) - 1; i >= 0; i-- {
		out = append(out, refundView{all[i], h.intent})
	}
	return out
}

func releaseView(h *hold) refundView {
	r := refunding{id: h.releaseID, hold: h.id, charge: h.charge, amount: h.amount, currency: h.currency, created: h.canceledAt, live: h.live}
	if h.reason == "automatic" {
		r.reason = "expired_uncaptured_charge"
	}
	return refundView{r, h.intent}
}

// getRefund is GET /v1/refunds/{id}.
func (s *Server) getRefund(c *call) reply {
	id := c.path[strings.LastIndexByte(c.path, '/')+1:]
	h := s.book.refunds[id]
	if h == nil || h.live != c.live {
		return fail(missing("refund", id, "id"))
	}
	for _, v := range refundsOf(h, &call{live: c.live}) {
		if v.id == id {
			return reply{view: v, wait: h.last, booked: true}
		}
	}
	return fail(missing("refund", id, "id"))
}

// getCharge is GET /v1/charges/{id}.
func (s *Server) getCharge(c *call) reply {
	id := c.path[strings.LastIndexByte(c.path, '/')+1:]
	h := s.book.charges[id]
	if h == nil || h.live != c.live {
		return fail(missing("charge", id, "id"))
	}
	return reply{view: chargeView{h.intent}, wait: h.last, booked: true}
}

// balanceView is GET /v1/balance: enough to show that the key is good.
type balanceView struct{ live bool }

func (v balanceView) render(map[string]bool) any {
	type amount struct {
		Amount      int64            `json:"amount"`
		Currency    string           `json:"currency"`
		SourceTypes map[string]int64 `json:"source_types"`
	}
	none := []amount{{Currency: "eur", SourceTypes: map[string]int64{"card": 0}}}
	return struct {
		Object    string   `json:"object"`
		Available []amount `json:"available"`
		Livemode  bool     `json:"livemode"`
		Pending   []amount `json:"pending"`
	}{"balance", none, v.live, none}
}

func (s *Server) getBalance(c *call) reply { return reply{view: balanceView{c.live}, booked: true} }
