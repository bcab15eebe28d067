package sandbox

import (
	"slices"
	"strings"
	"time"
)

// checkoutHost stands in the links of answers and events, as at Checkout.com's
// sandbox.
const checkoutHost = "https://api.sandbox.checkout.com"

type checkoutLink struct {
	Href string `json:"href"`
}

func checkoutLinks(id string) map[string]checkoutLink {
	self := checkoutHost + "/payments/" + id
	return map[string]checkoutLink{"self": {self}, "payment": {self}, "actions": {self + "/actions"}}
}

func checkoutTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// checkoutView is a payment at a moment.
type checkoutView struct {
	intent
	checkoutHold
	at time.Time
}

func (s *Server) checkoutView(h *hold) checkoutView {
	return checkoutView{h.intent, h.checkout, s.book.now()}
}

// units translates minor units of the payment's currency for the wire.
func (v checkoutView) units(cents int64) int64 {
	return cents * checkoutUnits(strings.ToUpper(v.currency))
}

type checkoutBalances struct {
	Authorized int64 `json:"total_authorized"`
	Voided     int64 `json:"total_voided"`
	Voidable   int64 `json:"available_to_void"`
	Captured   int64 `json:"total_captured"`
	Capturable int64 `json:"available_to_capture"`
	Refunded   int64 `json:"total_refunded"`
	Refundable int64 `json:"available_to_refund"`
}

// closed reports whether nothing more can be taken, as far as is decided.
func (v checkoutView) closed() bool {
	if v.status == canceled && v.reason == "automatic" {
		return true
	}
	for _, a := range v.actions {
		if a.approved() && a.decided(v.at) && (a.kind == checkoutVoid || a.kind == checkoutCapture && a.final) {
			return true
		}
	}
	return false
}

func (v checkoutView) balances() checkoutBalances {
	captured, refunded := v.sum(checkoutCapture, v.at), v.sum(checkoutRefund, v.at)
	rest := v.amount - captured
	b := checkoutBalances{
		Authorized: v.units(v.amount), Captured: v.units(captured), Refunded: v.units(refunded), Refundable: v.units(captured - refunded),
	}
	if v.closed() {
		b.Voided = v.units(rest)
	} else {
		b.Voidable, b.Capturable = v.units(rest), v.units(rest)
	}
	return b
}

func (v checkoutView) word() string {
	b := v.balances()
	switch {
	case b.Refunded > 0 && b.Refundable <= 0:
		return "Refunded"
	case b.Refunded > 0:
		return "Partially Refunded"
	case b.Captured >= b.Authorized:
		return "Captured"
	case b.Captured > 0:
		return "Partially Captured"
	case !v.closed():
		return "Authorized"
	case v.reason == "automatic":
		return "Expired"
	}
	return "Voided"
}

type checkoutSource struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Scheme string `json:"scheme"`
	Last4  string `json:"last4"`
}

type checkoutPaymentJSON struct {
	ID        string                  `json:"id"`
	ActionID  string                  `json:"action_id,omitempty"`
	Requested string                  `json:"requested_on"`
	Processed string                  `json:"processed_on"`
	Source    checkoutSource          `json:"source"`
	Amount    int64                   `json:"amount"`
	Currency  string                  `json:"currency"`
	Type      string                  `json:"payment_type"`
	Reference string                  `json:"reference,omitempty"`
	Approved  bool                    `json:"approved"`
	Code      string                  `json:"response_code,omitempty"`
	Summary   string                  `json:"response_summary,omitempty"`
	Status    string                  `json:"status"`
	Expires   string                  `json:"expires_on"`
	Balances  checkoutBalances        `json:"balances"`
	Metadata  map[string]string       `json:"metadata,omitempty"`
	Links     map[string]checkoutLink `json:"_links"`
}

func (v checkoutView) render(map[string]bool) any { return v.json() }

func (v checkoutView) json() checkoutPaymentJSON {
	return checkoutPaymentJSON{
		ID: v.id, Requested: checkoutTime(v.created), Processed: checkoutTime(v.created),
		Source: checkoutSource{Type: "card", ID: "src_" + strings.TrimPrefix(v.id, "pay_"), Scheme: "Visa", Last4: "4242"},
		Amount: v.units(v.amount), Currency: strings.ToUpper(v.currency), Type: "Regular", Reference: v.reference, Approved: true,
		Status: v.word(), Expires: checkoutTime(v.captureBefore), Balances: v.balances(), Metadata: v.metadata, Links: checkoutLinks(v.id),
	}
}

// checkoutMade is the answer to a request for a payment.
type checkoutMade struct {
	checkoutView
	action string
}

func (v checkoutMade) render(map[string]bool) any {
	j := v.json()
	j.ActionID, j.Code, j.Summary = v.action, checkoutApproved, checkoutSummaries[checkoutApproved]
	return j
}

type checkoutActionJSON struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Processed string            `json:"processed_on,omitempty"`
	Amount    int64             `json:"amount"`
	Approved  *bool             `json:"approved,omitempty"`
	Code      string            `json:"response_code,omitempty"`
	Summary   string            `json:"response_summary,omitempty"`
	Reference string            `json:"reference,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// checkoutList are a payment's actions. One that is not decided has no result.
type checkoutList struct{ checkoutView }

func (v checkoutList) render(map[string]bool) any {
	out := []checkoutActionJSON{}
	for _, a := range slices.Backward(v.actions) {
		j := checkoutActionJSON{ID: a.id, Type: a.kind, Amount: v.units(a.amount), Reference: a.reference, Metadata: a.metadata}
		if a.decided(v.at) {
			yes := a.approved()
			j.Approved, j.Code, j.Summary, j.Processed = &yes, a.code, checkoutSummaries[a.code], checkoutTime(a.decidedAt)
		}
		out = append(out, j)
	}
	return out
}

// checkoutAccepted is the answer to a capture, a void or a refund, the first
// time and ever after.
type checkoutAccepted struct {
	ActionID  string                  `json:"action_id"`
	Reference string                  `json:"reference,omitempty"`
	Links     map[string]checkoutLink `json:"_links"`
}

func (a checkoutAccepted) render(map[string]bool) any { return a }

func checkoutAcceptedOf(e entry) checkoutAccepted {
	return checkoutAccepted{ActionID: e.ID, Reference: e.CheckoutCom.Reference, Links: checkoutLinks(e.Hold)}
}

// checkoutReply is what an entry answers for its key, and with which status.
func (b *book) checkoutReply(e entry) (view, int) {
	if e.Type != entryHold {
		return checkoutAcceptedOf(e), 202
	}
	h := b.holds[e.Hold]
	return checkoutMade{checkoutView{h.intent, h.checkout, e.At}, e.ID}, 201
}
