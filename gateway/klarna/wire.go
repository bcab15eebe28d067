package klarna

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// The statuses of an order.
const (
	orderAuthorized = "AUTHORIZED"
	orderPart       = "PART_CAPTURED"
	orderCaptured   = "CAPTURED"
	orderCancelled  = "CANCELLED"
	orderExpired    = "EXPIRED"
	orderClosed     = "CLOSED"
)

// What Klarna's review of an order came to.
const (
	fraudAccepted = "ACCEPTED"
	fraudPending  = "PENDING"
	fraudRejected = "REJECTED"
)

// The objects hold the few fields that are read. Whatever else an answer
// carries, the payer's address above all, is dropped at the door. An amount that
// is absent is nil, and never zero.
type order struct {
	ID        string    `json:"order_id"`
	Status    string    `json:"status"`
	Fraud     string    `json:"fraud_status"`
	Currency  string    `json:"purchase_currency"`
	Amount    *int64    `json:"order_amount"`
	Original  *int64    `json:"original_order_amount"`
	Captured  *int64    `json:"captured_amount"`
	Refunded  *int64    `json:"refunded_amount"`
	Remaining *int64    `json:"remaining_authorized_amount"`
	Expires   timestamp `json:"expires_at"`
	Captures  []capture `json:"captures"`
	Refunds   []refund  `json:"refunds"`
}

type capture struct {
	ID        string    `json:"capture_id"`
	Amount    int64     `json:"captured_amount"`
	Reference string    `json:"reference"`
	Klarna    string    `json:"klarna_reference"`
	At        timestamp `json:"captured_at"`
}

type refund struct {
	ID        string    `json:"refund_id"`
	Amount    int64     `json:"refunded_amount"`
	Reference string    `json:"reference"`
	At        timestamp `json:"refunded_at"`
}

// apiError is the error of an answer. Code is never empty: an error without it
// is no answer of Klarna's.
type apiError struct {
	Code        string   `json:"error_code"`
	Messages    []string `json:"error_messages"`
	Correlation string   `json:"correlation_id"`
}

// timestamp is a time that may be absent or unreadable, which is the zero time:
// it never spoils the object around it.
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

func parseError(body []byte) *apiError {
	var e apiError
	if json.Unmarshal(body, &e) != nil || e.Code == "" {
		return nil
	}
	return &e
}

// parseOrder reads an order. A movement without an id or an amount makes all of
// it unreadable: left out, it would be taken for one that never was.
func parseOrder(body []byte, id string) (order, bool) {
	var o order
	if json.Unmarshal(body, &o) != nil || o.ID != id || o.Status == "" || !sane(o.Amount, o.Original, o.Captured, o.Refunded, o.Remaining) {
		return order{}, false
	}
	if code, ok := currencyOf(o.Currency); ok {
		o.Currency = code
	} else {
		return order{}, false
	}
	for _, c := range o.Captures {
		if !c.good() {
			return order{}, false
		}
	}
	for _, r := range o.Refunds {
		if !r.good() {
			return order{}, false
		}
	}
	return o, true
}

// sane reports that no amount is below zero or too large to be added up.
func sane(amounts ...*int64) bool {
	for _, a := range amounts {
		if a != nil && (*a < 0 || *a > models.MaxCents) {
			return false
		}
	}
	return true
}

func (c capture) good() bool { return validID(c.ID) && c.Amount > 0 && sane(&c.Amount) }

func (r refund) good() bool { return validID(r.ID) && r.Amount > 0 && sane(&r.Amount) }

// captured is the sum of the captures, and whether the order says the same: only
// then is the list all there is.
func (o order) captured() (int64, bool) {
	var sum int64
	for _, c := range o.Captures {
		if sum += c.Amount; sum > models.MaxCents {
			return 0, false
		}
	}
	return sum, o.Captured != nil && *o.Captured == sum
}

func (o order) refunded() (int64, bool) {
	var sum int64
	for _, r := range o.Refunds {
		if sum += r.Amount; sum > models.MaxCents {
			return 0, false
		}
	}
	return sum, o.Refunded != nil && *o.Refunded == sum
}

// total is what the order was ever authorized for: releasing what is left may
// lower its amount, and raising it leaves the original as it was.
func (o order) total() (int64, bool) {
	if o.Amount == nil {
		return 0, false
	}
	if o.Original != nil && *o.Original > *o.Amount {
		return *o.Original, true
	}
	return *o.Amount, true
}

// ends is when the hold ends; nil when Klarna does not say.
func (o order) ends() *time.Time {
	if o.Expires.IsZero() {
		return nil
	}
	at := o.Expires.Time
	return &at
}

// validID reports whether s can be an id of Klarna's: letters, digits and
// dashes, at most 255. Ids go into the paths of calls, and come from outside.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 255 && s[0] != '-' && s[0] != '_' &&
		strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// The headers that name what a 201 made.
const (
	captureHeader  = "Capture-Id"
	refundHeader   = "Refund-Id"
	locationHeader = "Location"
)

// madeID is the id of what a call made, by its own header or by the end of the
// location; empty when the answer names none, or two. The location's host is never
// looked at: nothing is ever called where an answer says.
func madeID(a gateway.Answer, header, marker string) string {
	id := a.Header.Get(header)
	_, rest, ok := strings.Cut(a.Header.Get(locationHeader), marker)
	rest = strings.TrimSuffix(rest, "/")
	switch {
	case id == "" && ok:
		id = rest
	case ok && rest != id:
		return ""
	}
	if !validID(id) {
		return ""
	}
	return id
}
