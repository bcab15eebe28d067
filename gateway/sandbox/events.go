package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// Endpoint receives events, signed with Secret. OldSecret is what the fault
// webhook_old_secret signs with: a secret that was in use before.
type Endpoint struct {
	URL       string
	Secret    gateway.Secret
	OldSecret gateway.Secret
	// Wire is empty for Stripe's events. With "paypal" the endpoint gets PayPal's,
	// signed as PayPal signs, and Secret is the webhook id.
	Wire string
}

func secretOf(s string) gateway.Secret { return gateway.Secret(s) }

// event is something that happened, as the wire tells it.
type event struct {
	hold string
	body eventJSON
	wire string // empty is Stripe's
	raw  any    // instead of body, on the other wires
}

func (e event) encode() ([]byte, error) {
	if body, is := e.raw.(braintreeXML); is {
		return []byte(body), nil
	}
	if e.raw != nil {
		return json.Marshal(e.raw)
	}
	return json.Marshal(e.body)
}

type eventJSON struct {
	ID              string    `json:"id"`
	Object          string    `json:"object"`
	APIVersion      string    `json:"api_version"`
	Created         int64     `json:"created"`
	Data            eventData `json:"data"`
	Livemode        bool      `json:"livemode"`
	PendingWebhooks int       `json:"pending_webhooks"`
	Request         struct {
		ID             *string `json:"id"`
		IdempotencyKey *string `json:"idempotency_key"`
	} `json:"request"`
	Type string `json:"type"`
}

type eventData struct {
	Object any `json:"object"`
}

func (s *Server) event(kind string, c *call, v view, hold string) event {
	e := event{hold: hold, body: eventJSON{
		ID: newID("evt"), Object: "event", APIVersion: "2026-03-25.dahlia", Created: s.book.now().Unix(),
		Data: eventData{v.render(nil)}, PendingWebhooks: 1, Type: kind,
	}}
	if c != nil {
		e.body.Livemode = c.live
		e.body.Request.ID, e.body.Request.IdempotencyKey = strPtr(c.id), strPtr(c.key)
	}
	return e
}

func (s *Server) expiredEvents(i intent) []event {
	if i.wire == wireCheckoutCom {
		return s.checkoutExpired(i)
	}
	if i.wire == wireAdyen {
		return s.adyenExpired(i.id)
	}
	if i.wire != "" {
		return nil // the other wires tell nobody
	}
	c := &call{live: i.live}
	return []event{
		s.event("charge.expired", c, chargeView{i}, i.id),
		s.event("payment_intent.canceled", c, intentView{i}, i.id),
	}
}

// Sign returns the Stripe-Signature header of a webhook body.
func Sign(body []byte, secret gateway.Secret, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write([]byte(t + "."))
	_, _ = mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
