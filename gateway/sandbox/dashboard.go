package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// The types of entries that only the gateway's own people, or the payer's bank,
// bring about.
const (
	entryDispute    = "dispute"     // the payer's bank took money back
	entryDisputeWon = "dispute_won" // and gave it to the merchant again
)

// dispute is one chargeback. Won is when it was decided for the merchant.
type dispute struct {
	id       string
	amount   int64
	currency string
	reason   string
	created  time.Time
	won      time.Time
	lines    []line // what it moved in the balance
}

// behind is what POST /_sandbox/dashboard asks for: something that happens at
// the gateway without its caller.
type behind struct {
	// Action is capture, refund, dispute or dispute_won.
	Action string `json:"action"`
	Hold   string `json:"hold"`
	// Amount is in the wire's units; 0 is all there is.
	Amount int64 `json:"amount"`
	// Metadata is put on a capture or a refund, as a program of somebody else would.
	Metadata map[string]string `json:"metadata"`
	// Silent: no webhook tells of it.
	Silent bool `json:"silent"`
}

// dashboard does something behind the caller's back, and answers what was booked.
func (s *Server) dashboard(w http.ResponseWriter, r *http.Request) {
	var d behind
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&d); err != nil {
		tell(w, 400, map[string]string{"error": "send {\"action\":\"capture|refund|dispute|dispute_won\",\"hold\":\"pi_…\",\"amount\":1500}: " + err.Error()})
		return
	}
	var e entry
	var last *batch
	var events []event
	status, problem := 200, ""
	s.locked(func(b *book) {
		h := b.holds[d.Hold]
		if h != nil && h.wire == wireBraintree {
			if e, events, problem = s.braintreeBehind(d, h); problem != "" {
				status = 409
			}
			last = h.last
			return
		}
		if h != nil && h.wire == wireAdyen {
			if e, events, problem = s.adyenBehind(d, h); problem != "" {
				status = 409
			}
			last = h.last
			return
		}
		if h == nil || h.wire != "" {
			status, problem = 404, "no such hold on Stripe's wire"
			return
		}
		if e, problem = d.entry(b, h); problem == "" && b.commit(e) != nil {
			problem = "it cannot be booked: a hold is never captured beyond its amount"
		}
		if problem != "" {
			status = 409
			return
		}
		last, events = h.last, s.behindEvents(e, h)
	})
	if problem == "" && last.wait() != nil {
		status, problem = 500, "the book cannot be written"
	}
	if problem != "" {
		tell(w, status, map[string]string{"error": problem})
		return
	}
	s.faults.callOf(d.Hold, callCapture, false) // the hold is in use: reading it is a look-up from now on
	if !d.Silent {
		s.hooks.send(events, s.faults.pickHooks(d.Hold))
	}
	tell(w, 200, booking(e))
}

// entry checks what is asked for. The caller holds the lock.
func (d behind) entry(b *book, h *hold) (entry, string) {
	e := entry{Hold: h.id, Amount: d.Amount, Currency: h.currency, Metadata: d.Metadata, Live: h.live, At: b.now()}
	left := h.captured - h.refunded - h.disputed
	switch d.Action {
	case "capture":
		if h.status != needsCapture && h.status != succeeded {
			return e, "the hold is " + h.status
		}
		e.Type, e.ID = entryCapture, h.charge
		left = h.amount - h.captured
		if e.Metadata == nil {
			e.Metadata = h.metadata
		}
	case "refund":
		e.Type, e.ID, e.Reason = entryRefund, newID("re"), "requested_by_customer"
	case "dispute":
		e.Type, e.ID, e.Reason = entryDispute, newID("dp"), "fraudulent"
	case "dispute_won":
		lost, ok := h.lostDispute()
		if !ok {
			return e, "the hold has no dispute that is not won"
		}
		e.Type, e.ID, e.Amount, e.Currency = entryDisputeWon, lost.id, lost.amount, lost.currency
		return e, ""
	default:
		return e, fmt.Sprintf("action %q: send capture, refund, dispute or dispute_won", d.Action)
	}
	if e.Amount == 0 {
		e.Amount = left
	}
	if e.Amount < 1 || e.Amount > left {
		return e, fmt.Sprintf("%d of %s are left for this, not %d", max(0, left), h.currency, e.Amount)
	}
	return e, ""
}

func (h *hold) lostDispute() (dispute, bool) {
	for _, d := range h.disputes {
		if d.won.IsZero() {
			return d, true
		}
	}
	return dispute{}, false
}

// applyDispute changes the state as an entry about a dispute says.
func (b *book) applyDispute(h *hold, e entry) {
	switch e.Type {
	case entryDispute:
		h.disputed, h.everDisputed = h.disputed+e.Amount, true
		l, _ := lineOf(h, e)
		h.disputes = append(h.disputes, dispute{id: e.ID, amount: e.Amount, currency: e.Currency, reason: e.Reason, created: e.At, lines: []line{l}})
		b.disputes = append(b.disputes, booking(e))
	case entryDisputeWon:
		h.disputed -= e.Amount
		for i := range h.disputes {
			if h.disputes[i].id == e.ID {
				l, _ := lineOf(h, e)
				h.disputes[i].won, h.disputes[i].lines = e.At, append(slices.Clone(h.disputes[i].lines), l)
			}
		}
		b.disputesWon = append(b.disputesWon, booking(e))
	}
}

// behindEvents are the webhooks of what happened. The caller holds the lock.
func (s *Server) behindEvents(e entry, h *hold) []event {
	c := &call{live: h.live}
	switch e.Type {
	case entryCapture:
		return []event{s.event("charge.captured", c, chargeView{h.intent}, h.id), s.event("payment_intent.succeeded", c, intentView{h.intent}, h.id)}
	case entryRefund:
		v := refundView{h.refunds[len(h.refunds)-1], h.intent}
		return []event{s.event("refund.created", c, v, h.id), s.event("charge.refunded", c, chargeView{h.intent}, h.id)}
	}
	kinds := map[string]string{entryDispute: "charge.dispute.created", entryDisputeWon: "charge.dispute.closed"}
	for _, d := range h.disputes {
		if d.id == e.ID {
			return []event{s.event(kinds[e.Type], c, disputeView{d, h.intent}, h.id)}
		}
	}
	return nil
}

type disputeView struct {
	dispute
	of intent
}

// evidenceJSON and evidenceDetails: nobody answers a dispute here.
type evidenceJSON struct {
	Enhanced struct{} `json:"enhanced_evidence"`
}

type evidenceDetails struct {
	DueBy       *int64   `json:"due_by"`
	Eligibility struct{} `json:"enhanced_eligibility"`
	HasEvidence bool     `json:"has_evidence"`
	PastDue     bool     `json:"past_due"`
	Submissions int      `json:"submission_count"`
}

func (v disputeView) render(expand map[string]bool) any {
	status := "needs_response"
	if !v.won.IsZero() {
		status = "won"
	}
	j := struct {
		ID            string            `json:"id"`
		Object        string            `json:"object"`
		Amount        int64             `json:"amount"`
		Transactions  []any             `json:"balance_transactions"`
		Charge        any               `json:"charge"`
		Created       int64             `json:"created"`
		Currency      string            `json:"currency"`
		Eligible      []string          `json:"enhanced_eligibility_types"`
		Evidence      evidenceJSON      `json:"evidence"`
		Details       evidenceDetails   `json:"evidence_details"`
		Refundable    bool              `json:"is_charge_refundable"`
		Livemode      bool              `json:"livemode"`
		Metadata      map[string]string `json:"metadata"`
		PaymentIntent any               `json:"payment_intent"`
		Reason        string            `json:"reason"`
		Status        string            `json:"status"`
	}{
		ID: v.id, Object: "dispute", Amount: v.amount, Charge: v.of.charge, Created: v.created.Unix(), Currency: v.currency, Livemode: v.of.live,
		Metadata: map[string]string{}, PaymentIntent: v.of.id, Reason: v.reason, Status: status, Transactions: []any{}, Eligible: []string{},
	}
	for _, l := range v.lines {
		j.Transactions = append(j.Transactions, lineView{line: l}.render(nil))
	}
	if expand["charge"] {
		j.Charge = chargeView{v.of}.render(nil)
	}
	if expand["payment_intent"] {
		j.PaymentIntent = intentView{v.of}.render(nil)
	}
	return j
}

// listDisputes is GET /v1/disputes, newest first.
func (s *Server) listDisputes(c *call) reply {
	pg, holds, err := s.listed(c)
	if err != nil {
		return fail(err)
	}
	var views []view
	var ids []string
	for _, h := range slices.Backward(holds) {
		if h.live != c.live || h.wire != "" {
			continue
		}
		for _, d := range slices.Backward(h.disputes) {
			if at := d.created.Unix(); at >= pg.from && at <= pg.to {
				views, ids = append(views, disputeView{d, h.intent}), append(ids, d.id)
			}
		}
	}
	return s.paged(pg, "/v1/disputes", views, ids)
}
