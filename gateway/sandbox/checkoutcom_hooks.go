package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// checkoutEventJSON is a webhook of Checkout.com's.
type checkoutEventJSON struct {
	ID        string                  `json:"id"`
	Source    string                  `json:"source"`
	Type      string                  `json:"type"`
	Timestamp string                  `json:"timestamp"`
	Version   string                  `json:"version"`
	Data      checkoutEventData       `json:"data"`
	Links     map[string]checkoutLink `json:"_links"`
}

type checkoutEventData struct {
	ID        string            `json:"id"`
	ActionID  string            `json:"action_id"`
	Reference string            `json:"reference,omitempty"`
	Amount    int64             `json:"amount"`
	Currency  string            `json:"currency"`
	Processed string            `json:"processed_on"`
	Code      string            `json:"response_code,omitempty"`
	Summary   string            `json:"response_summary,omitempty"`
	Balances  checkoutBalances  `json:"balances"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// checkoutTold names the event that tells an action's result.
func checkoutTold(a checkoutAction) string {
	words := map[string][2]string{
		checkoutCapture: {"payment_captured", "payment_capture_declined"},
		checkoutVoid:    {"payment_voided", "payment_void_declined"},
		checkoutRefund:  {"payment_refunded", "payment_refund_declined"},
	}[a.kind]
	if a.approved() {
		return words[0]
	}
	return words[1]
}

// checkoutEvent tells the result of an action, as things stand when it is
// decided. The caller holds the lock.
func (s *Server) checkoutEvent(kind string, h *hold, a checkoutAction) event {
	v := checkoutView{h.intent, h.checkout, a.decidedAt}
	raw := checkoutEventJSON{
		ID: newCheckoutID("evt"), Source: "gwc_sandbox", Type: kind, Timestamp: checkoutTime(a.decidedAt), Version: "1.0.29",
		Links: map[string]checkoutLink{"self": {checkoutHost + "/workflows/events/" + h.id}, "payment": {checkoutHost + "/payments/" + h.id}},
		Data: checkoutEventData{
			ID: h.id, ActionID: a.id, Reference: a.reference, Amount: v.units(a.amount), Currency: strings.ToUpper(h.currency),
			Processed: checkoutTime(a.decidedAt), Code: a.code, Summary: checkoutSummaries[a.code], Balances: v.balances(), Metadata: a.metadata,
		},
	}
	return event{hold: h.id, wire: wireCheckoutCom, body: eventJSON{ID: raw.ID}, raw: raw}
}

// checkoutExpired tells that a payment was not captured in time.
func (s *Server) checkoutExpired(i intent) (out []event) {
	s.locked(func(b *book) {
		if h := b.holds[i.id]; h != nil {
			a := checkoutAction{id: newCheckoutID("act"), reference: h.checkout.reference, metadata: h.metadata, amount: h.amount, decidedAt: s.book.now()}
			out = []event{s.checkoutEvent("payment_expired", h, a)}
		}
	})
	return out
}

// checkoutLater tells a result when it is decided. The book knows it by itself. A
// flush waits for what is told in a moment, and not for what a fault put off.
func (s *Server) checkoutLater(told event, wait time.Duration) {
	done := func() {}
	if wait <= time.Second {
		done = s.hooks.promise()
	}
	s.work.Go(func() {
		defer done()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.hooks.send([]event{told}, s.faults.pickHooks(told.hold))
		case <-s.stop.Done():
		}
	})
}

// signCheckout signs a webhook as Checkout.com does: over its raw body.
func signCheckout(h http.Header, d *delivery) {
	mac := hmac.New(sha256.New, []byte(d.secret.Reveal()))
	_, _ = mac.Write(d.body)
	h.Set("User-Agent", "Cko-Webhooks/1.0")
	h.Set("Cko-Signature", hex.EncodeToString(mac.Sum(nil)))
}
