package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// adyenNotification is a webhook of Adyen's, with one or several events.
type adyenNotification struct {
	Live  string          `json:"live"`
	Items []adyenItemWrap `json:"notificationItems"`
}

type adyenItemWrap struct {
	Item adyenItem `json:"NotificationRequestItem"`
}

// adyenItem is one event. Eight of its members are signed.
type adyenItem struct {
	Additional map[string]string `json:"additionalData,omitempty"`
	Amount     adyenMoney        `json:"amount"`
	Event      string            `json:"eventCode"`
	Date       string            `json:"eventDate"`
	Account    string            `json:"merchantAccountCode"`
	Reference  string            `json:"merchantReference"`
	Original   string            `json:"originalReference,omitempty"`
	Method     string            `json:"paymentMethod,omitempty"`
	PSP        string            `json:"pspReference"`
	Reason     string            `json:"reason"`
	Success    string            `json:"success"`
}

// adyenTold is something that is told by webhook.
type adyenTold struct {
	code, psp, original string
	// reference is the caller's own; empty is the payment's.
	reference string
	amount    int64
	currency  string
	failed    bool
	reason    string
	action    string // of a reversal
}

// adyenEvents are the webhooks of a change, one for each or one for all. The
// caller holds the lock.
func (s *Server) adyenEvents(h *hold, told ...adyenTold) []event {
	var out []event
	for i, t := range told {
		it := adyenItem{
			Amount: adyenMoneyOf(t.amount, t.currency), Event: t.code, Date: s.book.now().Format(time.RFC3339), Account: h.adyen.account,
			Reference: t.reference, Original: t.original, Method: "visa", PSP: t.psp, Reason: t.reason, Success: strconv.FormatBool(!t.failed),
		}
		if t.reference == "" {
			it.Reference = h.adyen.reference
		}
		if t.action != "" {
			it.Additional = map[string]string{"modification.action": t.action}
		}
		if i > 0 && s.config.Adyen.Batch {
			n := out[0].raw.(adyenNotification)
			n.Items = append(n.Items, adyenItemWrap{it})
			out[0].raw = n
			continue
		}
		out = append(out, event{hold: h.id, wire: wireAdyen, body: eventJSON{ID: t.psp + " " + t.code}, raw: adyenNotification{
			Live: strconv.FormatBool(h.live), Items: []adyenItemWrap{{it}},
		}})
	}
	return out
}

// AdyenSignature is what Adyen puts into additionalData.hmacSignature of an event,
// made of the eight fields in their order: pspReference, originalReference,
// merchantAccountCode, merchantReference, value, currency, eventCode and success.
// The key is hexadecimal; one that is not signs with its bytes, as a forger might.
func AdyenSignature(key gateway.Secret, fields [8]string) string {
	raw, err := hex.DecodeString(key.Reveal())
	if err != nil {
		raw = []byte(key.Reveal())
	}
	mac := hmac.New(sha256.New, raw)
	_, _ = mac.Write([]byte(strings.Join(fields[:], ":")))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (x adyenItem) sign(key gateway.Secret) string {
	return AdyenSignature(key, [8]string{
		x.PSP, x.Original, x.Account, x.Reference, strconv.FormatInt(x.Amount.Value, 10), x.Amount.Currency, x.Event, x.Success,
	})
}

// adyenSigned is a delivery's body with every event signed. A forged one names
// another amount.
func adyenSigned(d *delivery) ([]byte, error) {
	var n adyenNotification
	if err := json.Unmarshal(d.body, &n); err != nil {
		return nil, fmt.Errorf("sign a webhook of Adyen's: %w", err)
	}
	for i := range n.Items {
		it := &n.Items[i].Item
		if d.forged {
			it.Amount.Value = it.Amount.Value*10 + 9
		}
		signed := map[string]string{"hmacSignature": it.sign(d.secret)}
		for name, value := range it.Additional {
			signed[name] = value
		}
		it.Additional = signed
	}
	return json.Marshal(n)
}

// adyenExpired tells that a hold's life is over.
func (s *Server) adyenExpired(hold string) (events []event) {
	s.locked(func(b *book) {
		if h := b.holds[hold]; h != nil {
			events = s.adyenEvents(h, adyenTold{code: "EXPIRE", psp: h.id, amount: h.amount, currency: h.currency})
		}
	})
	return events
}
