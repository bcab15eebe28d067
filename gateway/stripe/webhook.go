package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// SignatureHeader carries a webhook's signature: t=<unix>,v1=<hex>[,v1=<hex>].
const SignatureHeader = "Stripe-Signature"

// DefaultTolerance is how far a webhook's time may lie from ours.
const DefaultTolerance = 300 * time.Second

const (
	maxWebhook    = 1 << 20
	maxSignatures = 16
)

// ParseWebhook verifies a webhook on its raw body and says what it proves.
// Several secrets are good while one replaces another; an empty one never is.
// The time in the signature must lie within tolerance of now (zero means
// [DefaultTolerance]).
//
// The error wraps [gateway.ErrSignature] when the message is not proven to be
// Stripe's, and [gateway.ErrUnreadable] when it is Stripe's and cannot be
// understood. An event of a type that is not used here is no error: its notice
// has no kind and proves nothing.
//
// payment_intent.canceled and charge.expired say that a void took effect. They
// also end every open capture of the hold, which the caller should look up:
// one notice speaks of one operation only.
func ParseWebhook(body []byte, header http.Header, secrets []gateway.Secret, now time.Time, tolerance time.Duration) (gateway.Notice, error) {
	if len(body) > maxWebhook {
		return gateway.Notice{}, fmt.Errorf("%w: the body is larger than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	if err := verify(body, header.Values(SignatureHeader), secrets, now, tolerance); err != nil {
		return gateway.Notice{}, err
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		return gateway.Notice{}, fmt.Errorf("%w: %s", gateway.ErrUnreadable, gateway.CleanText(err.Error()))
	}
	if e.Object != "event" || e.ID == "" || e.Type == "" {
		return gateway.Notice{}, fmt.Errorf("%w: it is no event", gateway.ErrUnreadable)
	}
	n := gateway.Notice{
		EventID: gateway.CleanID(e.ID), Type: gateway.CleanText(e.Type), At: time.Unix(e.Created, 0).UTC(), Live: e.Livemode,
		Evidence: models.Evidence{Source: models.FromWebhook, Message: "event " + gateway.CleanText(e.Type), RequestID: gateway.CleanID(e.Request.ID)},
	}
	return e.explain(n), nil
}

// event is the envelope. Request is an object or, in old versions, an id.
type event struct {
	ID       string     `json:"id"`
	Object   string     `json:"object"`
	Type     string     `json:"type"`
	Created  int64      `json:"created"`
	Livemode bool       `json:"livemode"`
	Request  expandable `json:"request"`
	Data     struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

// verify checks the signature in constant time. What it says about a failure is
// for our log only: answer nothing of it to the sender.
func verify(body []byte, headers []string, secrets []gateway.Secret, now time.Time, tolerance time.Duration) error {
	if len(headers) != 1 {
		return fmt.Errorf("%w: %d signature headers instead of one", gateway.ErrSignature, len(headers))
	}
	stamp, signatures, err := parseSignature(headers[0])
	if err != nil {
		return err
	}
	good := false
	for _, secret := range secrets {
		if secret == "" {
			continue // an HMAC with an empty key is one that anybody can make
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		_, _ = mac.Write([]byte(stamp + "."))
		_, _ = mac.Write(body)
		want := mac.Sum(nil)
		for _, s := range signatures {
			good = hmac.Equal(s, want) || good
		}
	}
	if !good {
		return fmt.Errorf("%w: no signature fits any of the account's secrets", gateway.ErrSignature)
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return fmt.Errorf("%w: its time is no number", gateway.ErrSignature)
	}
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	if off := now.Sub(time.Unix(seconds, 0)).Abs(); off > tolerance {
		return fmt.Errorf("%w: its time is %s off; is this machine's clock right?", gateway.ErrSignature, off.Round(time.Second))
	}
	return nil
}

// parseSignature reads t and every v1; other schemes are ignored, so that a
// weaker one cannot be chosen by the sender.
func parseSignature(header string) (string, [][]byte, error) {
	stamp, times := "", 0
	var signatures [][]byte
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			stamp = value
			times++
		case "v1":
			if s, err := hex.DecodeString(value); err == nil && len(s) == sha256.Size && len(signatures) < maxSignatures {
				signatures = append(signatures, s)
			}
		}
	}
	if times != 1 || len(signatures) == 0 {
		return "", nil, fmt.Errorf("%w: the signature header is not t=…,v1=…", gateway.ErrSignature)
	}
	return stamp, signatures, nil
}

// explain says what the event is about and what it proves. The default, and
// every object that does not fit its event, is a hint.
func (e event) explain(n gateway.Notice) gateway.Notice {
	group, _, _ := strings.Cut(e.Type, ".")
	switch {
	case e.Type == "charge.refund.updated", group == "refund":
		return e.explainRefund(n)
	case group == "payment_intent":
		return e.explainIntent(n)
	case group == "charge":
		return e.explainCharge(n)
	}
	return n
}

func (e event) explainIntent(n gateway.Notice) gateway.Notice {
	pi, ok := parseIntent(e.Data.Object)
	if !ok {
		return n
	}
	n.Hold = gateway.CleanID(pi.ID)
	switch e.Type {
	case "payment_intent.succeeded":
		n.Kind, n.Reference = models.Capture, gateway.CleanID(pi.Metadata[metadataReference])
		if n.Reference != "" && pi.Status == statusSucceeded {
			n.Evidence = captured(n.Evidence, pi, gateway.Request{Reference: n.Reference})
		}
	case "payment_intent.canceled":
		n.Kind = models.Void
		if pi.Status == statusCanceled && pi.AmountReceived == 0 {
			n.Evidence = voided(n.Evidence, pi)
		}
	case "payment_intent.payment_failed":
		n.Kind = models.Capture
	}
	return n
}

// explainCharge: a charge carries the PaymentIntent's metadata of the time it
// was made, so it seldom names our capture, and is then a hint.
func (e event) explainCharge(n gateway.Notice) gateway.Notice {
	var ch charge
	if json.Unmarshal(e.Data.Object, &ch) != nil || ch.Object != "charge" || ch.PaymentIntent.ID == "" {
		return n
	}
	n.Hold = gateway.CleanID(ch.PaymentIntent.ID)
	switch e.Type {
	case "charge.captured":
		n.Kind, n.Reference = models.Capture, gateway.CleanID(ch.Metadata[metadataReference])
		cents, currency, ok := fromStripe(ch.AmountCaptured, ch.Currency)
		if n.Reference != "" && ch.Captured && ok && cents > 0 {
			n.Evidence.Outcome, n.Evidence.AmountCents, n.Evidence.CurrencyCode = models.OutcomeConfirmed, cents, currency
			n.Evidence.GatewayTransactionID, n.Evidence.Token = n.Hold, gateway.CleanID(ch.ID)
		}
	case "charge.expired":
		n.Kind = models.Void
		cents, currency, ok := fromStripe(ch.Amount, ch.Currency)
		if !ch.Captured && ch.AmountCaptured == 0 && ok {
			n.Evidence.Outcome, n.Evidence.AmountCents, n.Evidence.CurrencyCode = models.OutcomeConfirmed, cents, currency
			n.Evidence.GatewayTransactionID, n.Evidence.Token = n.Hold, gateway.CleanID(ch.ID)
		}
	case "charge.refunded":
		if ch.Captured {
			n.Kind = models.Refund
		}
	}
	return n
}

func (e event) explainRefund(n gateway.Notice) gateway.Notice {
	re, ok := parseRefund(e.Data.Object)
	if !ok || re.PaymentIntent.ID == "" {
		return n
	}
	n.Hold = gateway.CleanID(re.PaymentIntent.ID)
	if re.Reason == reasonExpired {
		return n
	}
	n.Kind, n.Reference = models.Refund, gateway.CleanID(re.Metadata[metadataReference])
	if n.Reference != "" {
		n.Evidence = refunded(n.Evidence, re)
	}
	return n
}
