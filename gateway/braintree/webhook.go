package braintree

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// DefaultTolerance is how old a webhook may be: Braintree tries for a day to
// deliver one, always with the time of the first try. ahead is how far its clock
// may be before ours.
const (
	DefaultTolerance = 25 * time.Hour
	ahead            = 5 * time.Minute
)

const (
	maxWebhook    = 1 << 20
	maxSignatures = 16
)

// Key is a pair of API keys. Webhooks are signed with the account's.
type Key struct {
	Public  string
	Private gateway.Secret
}

// ParseWebhook verifies a webhook, a form with bt_signature and bt_payload, on
// its payload as it came and says what it proves. Several pairs of keys are good
// while one replaces another; one that lacks a half never is. The payload's time
// must not be older than tolerance (zero means [DefaultTolerance]). live is the
// account's mode, which no webhook tells.
//
// The error wraps [gateway.ErrSignature] when the message is not proven to be
// Braintree's, and [gateway.ErrUnreadable] when it is Braintree's and cannot be
// understood. A notification of a kind that is not used here is no error: its
// notice proves nothing.
func ParseWebhook(body []byte, _ http.Header, keys []Key, live bool, now time.Time, tolerance time.Duration) (gateway.Notice, error) {
	if len(body) > maxWebhook {
		return gateway.Notice{}, fmt.Errorf("%w: the body is larger than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	payload, err := signedPayload(body, keys)
	if err != nil {
		return gateway.Notice{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		return gateway.Notice{}, fmt.Errorf("%w: its payload is not base64", gateway.ErrUnreadable)
	}
	var n notification
	if !decode(raw, &n) || n.Kind == "" {
		return gateway.Notice{}, fmt.Errorf("%w: it is no notification", gateway.ErrUnreadable)
	}
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	if age := now.Sub(n.Timestamp.Time); age > tolerance || age < -ahead {
		return gateway.Notice{}, fmt.Errorf("%w: its time is %s off; is this machine's clock right?", gateway.ErrSignature, age.Round(time.Second))
	}
	sum := sha256.Sum256(raw)
	return n.explain(gateway.Notice{
		EventID: "bt_" + hex.EncodeToString(sum[:20]), Type: gateway.CleanText(n.Kind), At: n.Timestamp.Time, Live: live,
		Evidence: models.Evidence{Source: models.FromWebhook, Message: "event " + gateway.CleanText(n.Kind)},
	}), nil
}

// signedPayload returns the payload if one of the keys signed it. What it says
// about a failure is for our log only: answer nothing of it to the sender.
func signedPayload(body []byte, keys []Key) (string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["bt_signature"]) != 1 || len(form["bt_payload"]) != 1 {
		return "", fmt.Errorf("%w: it is no form with one bt_signature and one bt_payload", gateway.ErrSignature)
	}
	payload := form.Get("bt_payload")
	if payload == "" || strings.Trim(payload, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n") != "" {
		return "", fmt.Errorf("%w: its payload has characters that base64 does not", gateway.ErrSignature)
	}
	pairs := strings.Split(form.Get("bt_signature"), "&")
	good := false
	for _, k := range keys {
		if k.Public == "" || k.Private == "" {
			continue // an HMAC with an empty key is one that anybody can make
		}
		// Braintree's own libraries take a payload that lost its last newline, too.
		plain, ended := k.sign(payload), k.sign(payload+"\n")
		for _, pair := range pairs[:min(len(pairs), maxSignatures)] {
			public, text, _ := strings.Cut(pair, "|")
			s, err := hex.DecodeString(text)
			fits := hmac.Equal(s, plain)
			fits = hmac.Equal(s, ended) || fits
			good = err == nil && fits && public == k.Public || good
		}
	}
	if !good {
		return "", fmt.Errorf("%w: no signature fits any of the account's keys", gateway.ErrSignature)
	}
	return payload, nil
}

// sign is the HMAC-SHA1 of a text, with the private key's SHA-1 for its key.
func (k Key) sign(text string) []byte {
	key := sha1.Sum([]byte(k.Private.Reveal()))
	mac := hmac.New(sha1.New, key[:])
	_, _ = mac.Write([]byte(text))
	return mac.Sum(nil)
}

// Challenge answers the bt_challenge with which Braintree tests an address
// before it sends webhooks there. It is false for what is no challenge.
func Challenge(challenge string, k Key) (string, bool) {
	if n := len(challenge); n < 20 || n > 32 || strings.Trim(challenge, "0123456789abcdef") != "" || k.Public == "" || k.Private == "" {
		return "", false
	}
	return k.Public + "|" + hex.EncodeToString(k.sign(challenge)), true
}

type notification struct {
	XMLName   xml.Name  `xml:"notification"`
	Kind      string    `xml:"kind"`
	Timestamp timestamp `xml:"timestamp"`
	Subject   struct {
		Transaction *transaction `xml:"transaction"`
		Dispute     *dispute     `xml:"dispute"`
	} `xml:"subject"`
}

// explain says what the notification is about and what it proves. The default,
// and every subject that does not fit its kind, is a hint.
func (n notification) explain(out gateway.Notice) gateway.Notice {
	switch {
	case n.Subject.Dispute != nil:
		return n.Subject.Dispute.explain(out)
	case n.Subject.Transaction == nil:
		return out
	}
	t := *n.Subject.Transaction
	if t.Type == typeCredit || n.Kind == "refund_failed" {
		return t.explainRefund(n.Kind, out)
	}
	out.Hold, out.Kind = hold(t.ID), models.Capture
	if made(t.OrderID, "cap_") {
		out.Reference = t.OrderID
	}
	if t.Type != typeSale || out.Hold == "" {
		return out
	}
	switch {
	case n.Kind == "transaction_settled" && t.Status == statusSettled,
		n.Kind == "transaction_settlement_declined" && t.Status == statusSettleDeclined:
		message := out.Evidence.Message
		if out.Evidence = captured(out.Evidence, t); out.Evidence.Outcome != models.OutcomeLost {
			out.Evidence.Message = message
		}
	}
	return out
}

func (t transaction) explainRefund(kind string, out gateway.Notice) gateway.Notice {
	out.Hold, out.Kind = hold(t.Refunded), models.Refund
	if made(t.OrderID, "ref_") {
		out.Reference = t.OrderID
	}
	message := out.Evidence.Message
	switch {
	case kind == "transaction_settled" && t.Status == statusSettled:
		out.Evidence = refunded(out.Evidence, t)
	case kind == "transaction_settlement_declined" && t.Status == statusSettleDeclined, kind == "refund_failed" && t.wasDeclined():
		// Of which try it is, only its id tells: it takes the recorded one back, and
		// is a reason to look at one that is open.
		cents, currency, ok := fromBraintree(t.Amount, t.Currency)
		if !ok {
			return out
		}
		ev := &out.Evidence
		ev.Outcome, ev.AmountCents, ev.TookCents, ev.CurrencyCode, ev.NextAction = models.OutcomeTakenBack, cents, cents, currency, gateway.NextRetry
		ev.ErrorCode, ev.GatewayTransactionID = "refund_"+t.Status, gateway.CleanID(t.ID)
	}
	if out.Evidence.Outcome != models.OutcomeLost {
		out.Evidence.Message = message
	}
	return out
}

// explain: a dispute that withdraws money takes a capture back, wholly or in
// part. One that was won is a hint: how much came back, a look tells.
func (d dispute) explain(out gateway.Notice) gateway.Notice {
	out.Hold, out.Kind = hold(d.Transaction.ID), models.Capture
	if made(d.Transaction.OrderID, "cap_") {
		out.Reference = d.Transaction.OrderID
	}
	cents, ok := d.withdrawn(d.Currency)
	if !ok || cents == 0 || out.Hold == "" || d.Status == "won" {
		return out
	}
	ev := &out.Evidence
	ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeTakenBack, cents, d.Currency, gateway.NextContact
	ev.TookCents, _, _ = fromBraintree(d.Transaction.Amount, d.Currency)
	ev.GatewayTransactionID, ev.ErrorCode, ev.ErrorDetail = out.Hold, "disputed", gateway.CleanText(d.Reason)
	return out
}

// hold is an id that can be one, or none.
func hold(id string) string {
	if !validID(id) {
		return ""
	}
	return id
}
