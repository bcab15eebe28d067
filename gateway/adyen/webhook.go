package adyen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// Accepted is what Adyen wants to read in answer to a webhook.
const Accepted = "[accepted]"

const (
	maxWebhook = 1 << 20
	maxItems   = 1000
	minKey     = 16 // bytes; Adyen makes 32
)

// ParseWebhook verifies a standard webhook of the merchant account and says what
// each of its items proves, in their order. keys are the hexadecimal HMAC keys of
// the endpoint; several while one replaces another, since Adyen signs an event
// when it happens. One that is empty or not hexadecimal is never good.
//
// The signature of an item stands in the body and covers eight fields of it: only
// they are believed. It carries no time, so there is no window for repetitions:
// what came before has the same EventID, and changes nothing. One item that is not
// proven to be Adyen's spoils the whole message. An item of another merchant
// account is genuine and none of ours: its notice names no payment.
//
// The error wraps [gateway.ErrSignature] when the message is not proven to be
// Adyen's, and [gateway.ErrUnreadable] when it is Adyen's and cannot be understood.
// header and now are not needed; every adapter has them here.
func ParseWebhook(body []byte, _ http.Header, keys []gateway.Secret, _ time.Time, merchantAccount string) ([]gateway.Notice, error) {
	if len(body) > maxWebhook {
		return nil, fmt.Errorf("%w: the body is larger than %d bytes", gateway.ErrSignature, maxWebhook)
	}
	var m envelope
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%w: the body is no notification, so there is no signature: %s", gateway.ErrSignature, gateway.CleanText(err.Error()))
	}
	if n := len(m.Items); n == 0 || n > maxItems {
		return nil, fmt.Errorf("%w: it has %d items instead of 1 to %d", gateway.ErrSignature, n, maxItems)
	}
	raw := decodeKeys(keys)
	for i, it := range m.Items {
		if !it.Item.signedBy(raw) {
			return nil, fmt.Errorf("%w: item %d of %d fits none of the account's HMAC keys", gateway.ErrSignature, i+1, len(m.Items))
		}
	}
	notices := make([]gateway.Notice, 0, len(m.Items))
	for _, it := range m.Items {
		if it.Item.PSP == "" || it.Item.Event == "" {
			return nil, fmt.Errorf("%w: an item names no event or no reference of Adyen's", gateway.ErrUnreadable)
		}
		n := it.Item.notice(merchantAccount)
		n.Live = m.Live == "true"
		notices = append(notices, n)
	}
	return notices, nil
}

// envelope is the envelope of a webhook.
type envelope struct {
	Live  string `json:"live"`
	Items []struct {
		Item item `json:"NotificationRequestItem"`
	} `json:"notificationItems"`
}

// item is one event. The first eight are signed.
type item struct {
	PSP       string      `json:"pspReference"`
	Original  string      `json:"originalReference"`
	Account   string      `json:"merchantAccountCode"`
	Reference string      `json:"merchantReference"`
	Amount    *itemAmount `json:"amount"`
	Event     string      `json:"eventCode"`
	Success   string      `json:"success"`

	Reason     string    `json:"reason"`
	Date       timestamp `json:"eventDate"`
	Additional struct {
		Signature string `json:"hmacSignature"`
	} `json:"additionalData"`
}

type itemAmount struct {
	Value    *int64 `json:"value"`
	Currency string `json:"currency"`
}

// timestamp is a time that may be absent or unreadable, which is the zero time:
// it is for people only.
type timestamp struct{ time.Time }

// UnmarshalJSON never fails.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	t.Time = time.Time{}
	var s string
	if json.Unmarshal(b, &s) == nil {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			t.Time = at.UTC()
		}
	}
	return nil
}

// signed is what the signature covers.
func (x item) signed() string {
	value, currency := "", ""
	if x.Amount != nil {
		currency = x.Amount.Currency
		if x.Amount.Value != nil {
			value = strconv.FormatInt(*x.Amount.Value, 10)
		}
	}
	return strings.Join([]string{x.PSP, x.Original, x.Account, x.Reference, value, currency, x.Event, x.Success}, ":")
}

// plain reports whether the signed text can be read in one way only. Its fields
// are not escaped: a colon in one of them could as well stand between two.
func (x item) plain() bool { return strings.Count(x.signed(), ":") == 7 }

// money is the item's amount; none is no amount of money.
func (x item) money() money {
	if x.Amount == nil || x.Amount.Value == nil {
		return money{}
	}
	return money{Currency: x.Amount.Currency, Value: *x.Amount.Value}
}

// signedBy compares the item's signature in constant time with what every key
// would have made.
func (x item) signedBy(keys [][]byte) bool {
	got, err := base64.StdEncoding.Strict().DecodeString(x.Additional.Signature)
	if err != nil || len(got) != sha256.Size {
		return false
	}
	text, good := []byte(x.signed()), false
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		_, _ = mac.Write(text)
		good = hmac.Equal(got, mac.Sum(nil)) || good
	}
	return good
}

func decodeKeys(keys []gateway.Secret) [][]byte {
	var raw [][]byte
	for _, k := range keys {
		if b, err := hex.DecodeString(k.Reveal()); err == nil && len(b) >= minKey {
			raw = append(raw, b)
		}
	}
	return raw
}
