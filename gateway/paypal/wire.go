package paypal

import (
	"encoding/json"
	"strings"
	"time"
)

// The statuses of an authorization.
const (
	authCreated   = "CREATED"
	authCaptured  = "CAPTURED"
	authDenied    = "DENIED"
	authPartially = "PARTIALLY_CAPTURED"
	authVoided    = "VOIDED"
	authPending   = "PENDING"
)

// The statuses of captures and refunds.
const (
	statusCompleted         = "COMPLETED"
	statusDeclined          = "DECLINED"
	statusPartiallyRefunded = "PARTIALLY_REFUNDED"
	statusPending           = "PENDING"
	statusRefunded          = "REFUNDED"
	statusFailed            = "FAILED"
	statusCancelled         = "CANCELLED"
)

// money is an amount on the wire.
type money struct {
	Currency string `json:"currency_code"`
	Value    string `json:"value"`
}

// The objects hold the few fields that are read. Whatever else an answer
// carries is dropped at the door.
type authorization struct {
	ID         string        `json:"id"`
	Status     string        `json:"status"`
	Details    statusDetails `json:"status_details"`
	Amount     money         `json:"amount"`
	Expires    timestamp     `json:"expiration_time"`
	Created    timestamp     `json:"create_time"`
	Supplement supplement    `json:"supplementary_data"`
	Network    struct {
		Network string `json:"network"`
	} `json:"network_transaction_reference"`
	Links []link `json:"links"`
}

type capture struct {
	ID         string        `json:"id"`
	Status     string        `json:"status"`
	Details    statusDetails `json:"status_details"`
	Amount     money         `json:"amount"`
	InvoiceID  string        `json:"invoice_id"`
	Created    timestamp     `json:"create_time"`
	Supplement supplement    `json:"supplementary_data"`
	Links      []link        `json:"links"`
}

type refund struct {
	ID        string        `json:"id"`
	Status    string        `json:"status"`
	Details   statusDetails `json:"status_details"`
	Amount    money         `json:"amount"`
	InvoiceID string        `json:"invoice_id"`
	CustomID  string        `json:"custom_id"`
	Created   timestamp     `json:"create_time"`
	Links     []link        `json:"links"`
}

// payments is everything that was paid on an order.
type payments struct {
	Authorizations []authorization `json:"authorizations"`
	Captures       []capture       `json:"captures"`
	Refunds        []refund        `json:"refunds"`
}

type order struct {
	ID    string `json:"id"`
	Units []struct {
		Payments payments `json:"payments"`
	} `json:"purchase_units"`
}

type statusDetails struct {
	Reason string `json:"reason"`
}

type supplement struct {
	Related struct {
		Order         string `json:"order_id"`
		Authorization string `json:"authorization_id"`
	} `json:"related_ids"`
}

type link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
}

// apiError is the error of an answer. Name is never empty: an error without it
// is no answer of PayPal's. An error of the OAuth layer has another shape and
// its word becomes the name.
type apiError struct {
	Name        string        `json:"name"`
	Message     string        `json:"message"`
	DebugID     string        `json:"debug_id"`
	Details     []errorDetail `json:"details"`
	OAuth       string        `json:"error"`
	Description string        `json:"error_description"`
}

type errorDetail struct {
	Issue       string `json:"issue"`
	Description string `json:"description"`
	Field       string `json:"field"`
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
	if json.Unmarshal(body, &e) != nil {
		return nil
	}
	if e.Name == "" {
		e.Name, e.Message = e.OAuth, e.Description
	}
	if e.Name == "" {
		return nil
	}
	return &e
}

func parseAuthorization(body []byte) (authorization, bool) {
	var x authorization
	ok := json.Unmarshal(body, &x) == nil && validID(x.ID) && x.Status != ""
	return x, ok
}

func parseCapture(body []byte) (capture, bool) {
	var x capture
	ok := json.Unmarshal(body, &x) == nil && validID(x.ID) && x.Status != ""
	return x, ok
}

func parseRefund(body []byte) (refund, bool) {
	var x refund
	ok := json.Unmarshal(body, &x) == nil && validID(x.ID) && x.Status != ""
	return x, ok
}

// parseOrder returns what was paid on an order. What has no id or no status
// makes the whole list unreadable: a capture that is left out would be taken
// for one that never was.
func parseOrder(body []byte, id string) (payments, bool) {
	var o order
	if json.Unmarshal(body, &o) != nil || o.ID != id || len(o.Units) == 0 {
		return payments{}, false
	}
	var all payments
	for _, u := range o.Units {
		all.Authorizations = append(all.Authorizations, u.Payments.Authorizations...)
		all.Captures = append(all.Captures, u.Payments.Captures...)
		all.Refunds = append(all.Refunds, u.Payments.Refunds...)
	}
	for _, c := range all.Captures {
		if !validID(c.ID) || c.Status == "" {
			return payments{}, false
		}
	}
	for _, r := range all.Refunds {
		if !validID(r.ID) || r.Status == "" {
			return payments{}, false
		}
	}
	return all, true
}

// validID reports whether s can be an id of PayPal's: capital letters and
// digits. Ids go into the paths of calls, and come from outside.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// linked finds the id behind a marker such as "/authorizations/" in a link
// with the relation. The link's host is never looked at: nothing is ever called
// where an answer says.
func linked(links []link, rel, marker string) string {
	for _, l := range links {
		if rel != "" && l.Rel != rel {
			continue
		}
		if _, rest, ok := strings.Cut(l.Href, marker); ok {
			id, _, _ := strings.Cut(rest, "/")
			if validID(id) {
				return id
			}
		}
	}
	return ""
}

// orderID names the order of an authorization; empty when it has none.
func (x authorization) orderID() string {
	if id := x.Supplement.Related.Order; validID(id) {
		return id
	}
	return linked(x.Links, "up", "/v2/checkout/orders/")
}

// hold names the authorization of a capture; empty when the answer does not.
func (x capture) hold() string {
	if id := x.Supplement.Related.Authorization; validID(id) {
		return id
	}
	return linked(x.Links, "up", "/v2/payments/authorizations/")
}

// capture names what a refund returns; empty when the answer does not.
func (x refund) capture() string { return linked(x.Links, "up", "/v2/payments/captures/") }
