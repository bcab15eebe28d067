package sandbox

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// braintreeXML is the body of an event before it is signed.
type braintreeXML string

// braintreeEvent tells what happened. subject is the XML of a transaction or a
// dispute.
func (s *Server) braintreeEvent(hold, kind, subject string) event {
	if strings.HasPrefix(subject, "<?") {
		_, subject, _ = strings.Cut(subject, "\n")
	}
	body := `<?xml version="1.0" encoding="UTF-8"?>` + "\n<notification>" +
		`<timestamp type="datetime">` + s.book.now().UTC().Format(time.RFC3339) + `</timestamp><kind>` + kind + `</kind><subject>` + subject + "</subject></notification>\n"
	return event{hold: hold, wire: wireBraintree, body: eventJSON{ID: newBraintreeID(20)}, raw: braintreeXML(body)}
}

// BraintreeForm is a webhook's body as Braintree sends it: a payload, and the
// signature that a pair of keys, "public:private", makes of it.
func BraintreeForm(body []byte, keys gateway.Secret) []byte {
	return BraintreePayload(wrapped(base64.StdEncoding.EncodeToString(body)), keys)
}

// BraintreePayload is such a body with a payload that is as given.
func BraintreePayload(payload string, keys gateway.Secret) []byte {
	public, private, found := strings.Cut(keys.Reveal(), ":")
	if !found {
		public, private = "guessed", public
	}
	key := sha1.Sum([]byte(private))
	mac := hmac.New(sha1.New, key[:])
	_, _ = mac.Write([]byte(payload))
	return []byte(url.Values{"bt_signature": {public + "|" + hex.EncodeToString(mac.Sum(nil))}, "bt_payload": {payload}}.Encode())
}

// wrapped breaks base64 into lines as Braintree does.
func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 60 {
		b.WriteString(s[:60] + "\n")
		s = s[60:]
	}
	b.WriteString(s + "\n")
	return b.String()
}

// braintreeBehind does something behind the caller's back on Braintree's wire,
// and says what is told of it. The caller holds the lock.
func (s *Server) braintreeBehind(d behind, h *hold) (entry, []event, string) {
	if err := s.ripen(h); err != nil {
		return entry{}, nil, "it cannot be booked: " + err.Error()
	}
	bt := h.braintree
	e := s.braintreeEntryOf(&call{}, "", h, braintreeEntry{})
	e.Amount, e.Reference = d.Amount, d.Metadata["order_id"]
	left, problem := int64(0), ""
	switch d.Action {
	case "settle":
		return s.settleBraintree(h, h.id, btSettled)
	case "settling":
		return s.settleBraintree(h, h.id, btSettling)
	case "settlement_declined":
		return s.settleBraintree(h, h.id, btSettleDeclined)
	case "refund_failed":
		if len(bt.refunds) == 0 {
			return e, nil, "there is no refund"
		}
		return s.settleBraintree(h, bt.refunds[len(bt.refunds)-1].id, btSettleDeclined)
	case "capture":
		e.Type, e.Braintree.Status, left = entryCapture, btSubmitted, h.amount-h.captured
		problem = unless(bt.status() == btAuthorized, h)
	case "void":
		e.Type, e.Reason, e.Braintree.Status, left = entryCancel, "requested_by_customer", btVoided, h.amount
		if bt.status() == btSubmitted {
			e.Type, e.Reason, e.Currency, e.Braintree.Void, left = entryRefund, "", bt.currency, true, h.captured
		}
		problem = unless(bt.status() == btAuthorized || bt.status() == btSubmitted, h)
	case "refund":
		e.Type, e.ID, e.Currency, e.Braintree.Status, left = entryRefund, newBraintreeID(10), bt.currency, btSubmitted, h.captured-h.refunded-h.disputed
		problem = unless(bt.status() == btSettled, h)
	case "dispute":
		e.Type, e.ID, e.Reason, e.Currency, left = entryDispute, newBraintreeID(12), "fraud", bt.currency, h.captured-h.refunded-h.disputed
		problem = unless(bt.status() == btSettled, h)
	case "dispute_won":
		lost, ok := h.lostDispute()
		if !ok {
			return e, nil, "the hold has no dispute that is not won"
		}
		e.Type, e.ID, e.Amount, e.Currency, left = entryDisputeWon, lost.id, lost.amount, lost.currency, lost.amount
	default:
		return e, nil, fmt.Sprintf("action %q: send capture, void, settling, settle, settlement_declined, refund, refund_failed, dispute or dispute_won", d.Action)
	}
	if e.Amount == 0 || d.Action == "void" {
		e.Amount = left
	}
	if problem == "" && (e.Amount < 1 || e.Amount > left) {
		problem = fmt.Sprintf("%d of %s are left for this, not %d", max(0, left), h.currency, e.Amount)
	}
	if problem != "" {
		return e, nil, problem
	}
	if err := s.book.commit(e); err != nil {
		return e, nil, "it cannot be booked: " + err.Error()
	}
	return e, s.braintreeDisputeEvents(h, e), ""
}

func unless(ok bool, h *hold) string {
	if ok {
		return ""
	}
	return "the transaction is " + h.braintree.status()
}

func (s *Server) braintreeDisputeEvents(h *hold, e entry) []event {
	kind := map[string]string{entryDispute: "dispute_opened", entryDisputeWon: "dispute_won"}[e.Type]
	for _, d := range h.disputes {
		if kind != "" && d.id == e.ID {
			return []event{s.braintreeEvent(h.id, kind, braintreeDisputeXML(d, h.intent, h.braintree))}
		}
	}
	return nil
}
