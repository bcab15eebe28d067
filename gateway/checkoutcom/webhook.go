package checkoutcom

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// SignatureHeader carries a webhook's signature: the HMAC-SHA256 of its raw
// body, in hexadecimal.
const SignatureHeader = "Cko-Signature"

const maxWebhook = 1 << 20

// ParseWebhook verifies a webhook on its raw body and says what it proves.
// Several secrets are good while one replaces another; an empty one never is.
// Live is the mode of the account that they belong to, and stands where the event
// does not tell its own. Nothing signed says when the message was sent, so that an
// old one cannot be told from a new one: its event id tells it apart, and what it
// proves stays true.
//
// The error wraps [gateway.ErrSignature] when the message is not proven to be
// Checkout.com's, and [gateway.ErrUnreadable] when it is Checkout.com's and
// cannot be understood. An event of a type that is not used here is no error: its
// notice has no kind and proves nothing.
func ParseWebhook(body []byte, header http.Header, secrets []gateway.Secret, live bool) (gateway.Notice, error) {
	if len(body) > maxWebhook {
		return gateway.Notice{}, fmt.Errorf("%w: the body is larger than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	if err := verify(body, header.Values(SignatureHeader), secrets); err != nil {
		return gateway.Notice{}, err
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		return gateway.Notice{}, fmt.Errorf("%w: %s", gateway.ErrUnreadable, cleaned(err.Error()))
	}
	if e.ID == "" || e.Type == "" {
		return gateway.Notice{}, fmt.Errorf("%w: it is no event", gateway.ErrUnreadable)
	}
	n := gateway.Notice{
		EventID: gateway.CleanID(e.ID), Type: cleaned(e.Type), At: e.At.Time, Live: e.live(live),
		Evidence: models.Evidence{Source: models.FromWebhook, Message: "event " + cleaned(e.Type)},
	}
	if n.At.IsZero() {
		n.At = e.Created.Time
	}
	return e.explain(n), nil
}

// verify checks the signature in constant time. What it says about a failure is
// for our log only: answer nothing of it to the sender.
func verify(body []byte, headers []string, secrets []gateway.Secret) error {
	if len(headers) != 1 {
		return fmt.Errorf("%w: %d signature headers instead of one", gateway.ErrSignature, len(headers))
	}
	signature, err := hex.DecodeString(headers[0])
	if err != nil || len(signature) != sha256.Size {
		return fmt.Errorf("%w: the signature is not 64 hexadecimal digits", gateway.ErrSignature)
	}
	good := false
	for _, secret := range secrets {
		if secret == "" {
			continue // an HMAC with an empty key is one that anybody can make
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		_, _ = mac.Write(body)
		good = hmac.Equal(signature, mac.Sum(nil)) || good
	}
	if !good {
		return fmt.Errorf("%w: the signature fits none of the account's secrets", gateway.ErrSignature)
	}
	return nil
}

type event struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	At      timestamp       `json:"timestamp"`
	Created timestamp       `json:"created_on"`
	Data    json.RawMessage `json:"data"`
	Links   struct {
		Self    link `json:"self"`
		Payment link `json:"payment"`
	} `json:"_links"`
}

type link struct {
	Href string `json:"href"`
}

// live tells the mode by the host of the event's links, which is never called.
func (e event) live(otherwise bool) bool {
	for _, l := range []link{e.Links.Self, e.Links.Payment} {
		u, err := url.Parse(l.Href)
		if err != nil {
			continue
		}
		switch host := "." + strings.ToLower(u.Hostname()); {
		case strings.HasSuffix(host, ".sandbox.checkout.com"):
			return false
		case strings.HasSuffix(host, ".api.checkout.com"):
			return true
		}
	}
	return otherwise
}

// subject is what an event is about: the payment ID, and one action of it.
type subject struct {
	ID        string   `json:"id"`
	ActionID  string   `json:"action_id"`
	Amount    int64    `json:"amount"`
	Currency  string   `json:"currency"`
	Code      string   `json:"response_code"`
	Summary   string   `json:"response_summary"`
	Reference string   `json:"reference"`
	Metadata  metadata `json:"metadata"`
}

var yes, no = true, false

// told are the events that are about one kind of operation, and whether they
// say that it took effect; nil is neither.
var told = map[string]struct {
	kind     models.Kind
	approved *bool
}{
	"payment_captured":         {models.Capture, &yes},
	"payment_capture_declined": {models.Capture, &no},
	"payment_capture_pending":  {models.Capture, nil},
	"payment_voided":           {models.Void, &yes},
	"payment_void_declined":    {models.Void, &no},
	"payment_expired":          {models.Void, nil},
	"payment_canceled":         {models.Void, nil},
	"payment_refunded":         {models.Refund, &yes},
	"payment_refund_declined":  {models.Refund, &no},
	"payment_refund_pending":   {models.Refund, nil},
}

// explain says what the event is about and what it proves. Whatever does not
// name our reference, and every object that does not fit its event, is a hint. So
// is a decline that may be tried again: which try it was, a look-up tells.
func (e event) explain(n gateway.Notice) gateway.Notice {
	t, known := told[e.Type]
	var x subject
	if json.Unmarshal(e.Data, &x) != nil || !validID(x.ID) || !known && !strings.HasPrefix(e.Type, "payment_") {
		return n
	}
	n.Hold = gateway.CleanID(x.ID)
	if !known {
		return n
	}
	n.Kind = t.kind
	names := [2]bool{made(x.Metadata.Reference, prefixOf[t.kind]), made(x.Reference, prefixOf[t.kind])}
	switch {
	case names[0] && names[1] && x.Metadata.Reference != x.Reference:
		return n // it cannot be about both
	case names[0]:
		n.Reference = x.Metadata.Reference
	case names[1]:
		n.Reference = x.Reference
	default:
		return n
	}
	if t.approved == nil || !validID(x.ActionID) {
		return n
	}
	if e.Type == "payment_voided" && x.Code == "" {
		x.Code = "10000" // the event says so itself
	}
	ev := decided(n.Evidence, t.kind, x.Currency, action{
		ID: x.ActionID, Type: actionOf[t.kind], Amount: x.Amount, Approved: t.approved, Code: x.Code, Summary: x.Summary,
	})
	if ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeRefused {
		ev.Token = n.Hold
		n.Evidence = ev
	}
	return n
}
