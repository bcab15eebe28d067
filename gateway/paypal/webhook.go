package paypal

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// The headers of a webhook.
const (
	headerID        = "Paypal-Transmission-Id"
	headerTime      = "Paypal-Transmission-Time"
	headerSignature = "Paypal-Transmission-Sig"
	headerCert      = "Paypal-Cert-Url"
	headerAlgorithm = "Paypal-Auth-Algo"
)

// DefaultTolerance is how far a webhook's time may lie from ours.
const DefaultTolerance = 5 * time.Minute

const maxWebhook = 1 << 20

// ParseWebhook verifies a webhook and says what to look at. ids are the
// account's webhook ids, which PayPal signs with; several while one replaces
// another. The transmission's time must lie within tolerance of now (zero means
// [DefaultTolerance]).
//
// What is signed is a CRC32 of the body, for which anybody can make another
// body. So a notice never proves anything: its outcome is always Lost, a hint
// to look. Only that PayPal sent something at that time is sure.
//
// The error wraps [gateway.ErrSignature] when the message is not proven to be
// PayPal's, which includes that its certificate could not be had, and
// [gateway.ErrUnreadable] when it is PayPal's and cannot be understood.
func ParseWebhook(ctx context.Context, body []byte, header http.Header, ids []string, certs *Certificates, now time.Time, tolerance time.Duration) (gateway.Notice, error) {
	if len(body) > maxWebhook {
		return gateway.Notice{}, fmt.Errorf("%w: the body is larger than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	sent, err := readTransmission(header, now, tolerance)
	if err != nil {
		return gateway.Notice{}, err
	}
	key, err := certs.key(ctx, sent.cert, now)
	if err != nil {
		return gateway.Notice{}, fmt.Errorf("%w: %s", gateway.ErrSignature, gateway.CleanText(err.Error()))
	}
	if !sent.signedBy(key, ids, body) {
		return gateway.Notice{}, fmt.Errorf("%w: the signature fits none of the account's webhook ids", gateway.ErrSignature)
	}
	var e webhookEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return gateway.Notice{}, fmt.Errorf("%w: %s", gateway.ErrUnreadable, gateway.CleanText(err.Error()))
	}
	if e.ID == "" || e.Type == "" {
		return gateway.Notice{}, fmt.Errorf("%w: it is no event", gateway.ErrUnreadable)
	}
	return e.explain(gateway.Notice{
		EventID: gateway.CleanID(e.ID), Type: gateway.CleanText(e.Type), At: e.Created.Time, Live: sent.live(),
		Evidence: models.Evidence{Source: models.FromWebhook, Message: "event " + gateway.CleanText(e.Type)},
	}), nil
}

// transmission is what the headers say.
type transmission struct {
	id, time, cert string
	signature      []byte
}

// readTransmission reads the headers. What it says about a failure is for our
// log only: answer nothing of it to the sender.
func readTransmission(header http.Header, now time.Time, tolerance time.Duration) (transmission, error) {
	values := map[string]string{}
	for _, name := range []string{headerID, headerTime, headerSignature, headerCert, headerAlgorithm} {
		all := header.Values(name)
		if len(all) != 1 || all[0] == "" || len(all[0]) > 2048 {
			return transmission{}, fmt.Errorf("%w: header %s is there %d times or not fit", gateway.ErrSignature, name, len(all))
		}
		values[name] = all[0]
	}
	t := transmission{id: values[headerID], time: values[headerTime], cert: values[headerCert]}
	if values[headerAlgorithm] != "SHA256withRSA" {
		return transmission{}, fmt.Errorf("%w: its algorithm is not SHA256withRSA", gateway.ErrSignature)
	}
	if strings.Contains(t.id+t.time, "|") {
		return transmission{}, fmt.Errorf("%w: its headers could be read in two ways", gateway.ErrSignature)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(values[headerSignature])
	if err != nil {
		return transmission{}, fmt.Errorf("%w: its signature is not base64", gateway.ErrSignature)
	}
	t.signature = signature
	at, err := time.Parse(time.RFC3339, t.time)
	if err != nil {
		return transmission{}, fmt.Errorf("%w: its time is none", gateway.ErrSignature)
	}
	if tolerance <= 0 {
		tolerance = DefaultTolerance
	}
	if off := now.Sub(at).Abs(); off > tolerance {
		return transmission{}, fmt.Errorf("%w: its time is %s off; is this machine's clock right?", gateway.ErrSignature, off.Round(time.Second))
	}
	return t, nil
}

func (t transmission) signedBy(key *rsa.PublicKey, ids []string, body []byte) bool {
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10)
	good := false
	for _, id := range ids {
		if id == "" {
			continue
		}
		digest := sha256.Sum256([]byte(t.id + "|" + t.time + "|" + id + "|" + sum))
		good = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature) == nil || good
	}
	return good
}

// live tells the accounts apart by who vouches for the event.
func (t transmission) live() bool {
	u, err := url.Parse(t.cert)
	return err == nil && !strings.Contains(strings.ToLower(u.Host), "sandbox")
}

type webhookEvent struct {
	ID       string          `json:"id"`
	Type     string          `json:"event_type"`
	Created  timestamp       `json:"create_time"`
	Resource json.RawMessage `json:"resource"`
}

// explain says what the event is about: the hold, or the operation that its
// reference names.
func (e webhookEvent) explain(n gateway.Notice) gateway.Notice {
	switch e.Type {
	case "PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED", "PAYMENT.REFUND.PENDING", "PAYMENT.REFUND.FAILED", "PAYMENT.REFUND.COMPLETED":
		if re, ok := parseRefund(e.Resource); ok {
			n.Kind = models.Refund
			for _, name := range []string{re.InvoiceID, re.CustomID} {
				if made(name, "ref_") {
					n.Reference = name
				}
			}
		}
	case "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.DENIED", "PAYMENT.CAPTURE.DECLINED":
		if c, ok := parseCapture(e.Resource); ok {
			n.Kind, n.Hold = models.Capture, gateway.CleanID(c.hold())
			if made(c.InvoiceID, "cap_") {
				n.Reference = c.InvoiceID
			}
		}
	case "PAYMENT.AUTHORIZATION.VOIDED":
		if x, ok := parseAuthorization(e.Resource); ok {
			n.Kind, n.Hold = models.Void, gateway.CleanID(x.ID)
		}
	case "PAYMENT.AUTHORIZATION.CREATED":
		if x, ok := parseAuthorization(e.Resource); ok {
			n.Hold = gateway.CleanID(x.ID)
		}
	}
	return n
}
