package external

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// maxWebhook bounds a callback, in bytes.
const maxWebhook = 1 << 20

// ParseWebhook verifies a callback on its raw body and translates it. Its error
// wraps [gateway.ErrSignature] or [gateway.ErrUnreadable]. The scheme has no time
// in it, so that a callback never grows stale; one that comes again is known by
// its bytes.
//
// A callback names the operation by its action_id, or by our reference if the
// receiver repeats the metadata. It may not change the amount or the token: the
// notice is marked [gateway.Notice.AsAnswered]. The scheme does not tell live
// from test; live is the account's own mode.
func ParseWebhook(body []byte, header http.Header, secrets []gateway.Secret, live bool, now time.Time) ([]gateway.Notice, error) {
	if len(body) > maxWebhook {
		return nil, fmt.Errorf("%w: it has more than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	if err := verify(body, header, secrets); err != nil {
		return nil, err
	}
	a, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", gateway.ErrUnreadable, err)
	}
	if a.actionID == "" && a.reference == "" {
		return nil, fmt.Errorf("%w: it has no action_id", gateway.ErrUnreadable)
	}
	sum := sha256.Sum256(body)
	n := gateway.Notice{
		EventID: a.actionID + ":" + hex.EncodeToString(sum[:16]), Type: "callback.success", At: now, Live: live, Transaction: a.actionID, AsAnswered: true,
		Kind: kindOf(a.reference), Reference: a.reference,
		Evidence: worded(models.Evidence{Source: models.FromWebhook, Token: a.token, CurrencyCode: a.currency}, a),
	}
	if a.cents != nil {
		n.Evidence.AmountCents = *a.cents
	}
	switch {
	case a.success && a.failure == nil:
		n.Evidence.Outcome = models.OutcomeConfirmed
	case !a.success && (n.Evidence.ErrorCode != "" || n.Evidence.Message != ""):
		n.Type, n.Evidence.Outcome, n.Evidence.NextAction = "callback.error", models.OutcomeRefused, gateway.NextCancel
	default:
		return nil, fmt.Errorf("%w: success is %t and what else it says speaks against that", gateway.ErrUnreadable, a.success)
	}
	return []gateway.Notice{n}, nil
}

// verify compares the signature with what every secret would have made.
func verify(body []byte, header http.Header, secrets []gateway.Secret) error {
	values := header.Values(SignatureHeader)
	if len(values) != 1 {
		return fmt.Errorf("%w: header %s is there %d times", gateway.ErrSignature, SignatureHeader, len(values))
	}
	given, err := base64.StdEncoding.Strict().DecodeString(values[0])
	if err != nil || len(given) != sha256.Size || len(values[0]) != base64.StdEncoding.EncodedLen(sha256.Size) {
		return fmt.Errorf("%w: its signature is not base64 of an HMAC-SHA256", gateway.ErrSignature)
	}
	good := false
	for _, secret := range secrets {
		if secret == "" {
			continue // anybody can sign with an empty key
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		_, _ = mac.Write(body)
		good = hmac.Equal(given, mac.Sum(nil)) || good
	}
	if !good {
		return fmt.Errorf("%w: no shared secret makes its signature", gateway.ErrSignature)
	}
	return nil
}
