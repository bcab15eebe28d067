package checkoutcom

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// The statuses of a payment that are understood here.
const (
	statusPending           = "Pending"
	statusAuthorized        = "Authorized"
	statusPartiallyCaptured = "Partially Captured"
	statusCaptured          = "Captured"
	statusPartiallyRefunded = "Partially Refunded"
	statusRefunded          = "Refunded"
	statusVoided            = "Voided"
	statusExpired           = "Expired"
	statusCanceled          = "Canceled"
	statusDeclined          = "Declined"
)

// The types of actions, and the action that each kind of operation is.
const (
	actionAuthorization = "Authorization"
	actionCapture       = "Capture"
	actionRefund        = "Refund"
	actionVoid          = "Void"
)

var actionOf = map[models.Kind]string{models.Capture: actionCapture, models.Refund: actionRefund, models.Void: actionVoid}

// The members of an action's metadata that are ours.
const (
	metadataReference = "capstan_reference"
	metadataKey       = "capstan_key"
)

// captureBody, refundBody and voidBody are what is sent. The same request gives
// the same bytes.
type captureBody struct {
	Amount    int64    `json:"amount"`
	Type      string   `json:"capture_type"`
	Reference string   `json:"reference"`
	Metadata  metadata `json:"metadata"`
}

type refundBody struct {
	Amount    int64    `json:"amount"`
	Reference string   `json:"reference"`
	Metadata  metadata `json:"metadata"`
}

type voidBody struct {
	Reference string   `json:"reference"`
	Metadata  metadata `json:"metadata"`
}

// metadata holds what is ours of an action's metadata. Others may have put
// anything beside it.
type metadata struct {
	Reference string `json:"capstan_reference"`
	Key       string `json:"capstan_key"`
}

// UnmarshalJSON never fails: what is not understood is not ours.
func (m *metadata) UnmarshalJSON(b []byte) error {
	*m = metadata{}
	var all map[string]json.RawMessage
	if json.Unmarshal(b, &all) == nil {
		_ = json.Unmarshal(all[metadataReference], &m.Reference)
		_ = json.Unmarshal(all[metadataKey], &m.Key)
	}
	return nil
}

// payment and action hold the few fields that are read. Whatever else an answer
// carries is dropped at the door.
type payment struct {
	ID       string    `json:"id"`
	Status   string    `json:"status"`
	Amount   int64     `json:"amount"`
	Currency string    `json:"currency"`
	Expires  timestamp `json:"expires_on"`
	Balances *balances `json:"balances"`
	Source   struct {
		Scheme string `json:"scheme"`
	} `json:"source"`
}

type balances struct {
	Authorized int64 `json:"total_authorized"`
	Voided     int64 `json:"total_voided"`
	Voidable   int64 `json:"available_to_void"`
	Captured   int64 `json:"total_captured"`
	Capturable int64 `json:"available_to_capture"`
	Refunded   int64 `json:"total_refunded"`
	Refundable int64 `json:"available_to_refund"`
}

// action is one step of a payment. Without approved and a response code it is
// not decided yet.
type action struct {
	ID        string   `json:"id"`
	Type      string   `json:"type"`
	Amount    int64    `json:"amount"`
	Approved  *bool    `json:"approved"`
	Code      string   `json:"response_code"`
	Summary   string   `json:"response_summary"`
	Reference string   `json:"reference"`
	Metadata  metadata `json:"metadata"`
}

// accepted is the answer to a capture, a void or a refund.
type accepted struct {
	ActionID  string `json:"action_id"`
	Reference string `json:"reference"`
}

// apiError is the error of an answer.
type apiError struct {
	RequestID string   `json:"request_id"`
	Type      string   `json:"error_type"`
	Codes     []string `json:"error_codes"`
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

// parseError reads an error; nil is no error of Checkout.com's. An empty body is
// one that says nothing: 401, 403 and 404 come without any.
func parseError(body []byte) *apiError {
	if strings.TrimSpace(string(body)) == "" {
		return &apiError{}
	}
	var e apiError
	if json.Unmarshal(body, &e) != nil || e.Type == "" && e.RequestID == "" && len(e.Codes) == 0 {
		return nil
	}
	return &e
}

func parseAccepted(body []byte) (accepted, bool) {
	var x accepted
	ok := json.Unmarshal(body, &x) == nil && validID(x.ActionID)
	return x, ok
}

func parsePayment(body []byte) (payment, bool) {
	var x payment
	ok := json.Unmarshal(body, &x) == nil && validID(x.ID) && x.Status != ""
	return x, ok
}

// parseActions reads the list of a payment's actions. One that has no id or no
// type makes the whole list unreadable, since an action that is left out would
// be taken for one that never was; so does a list without the authorization.
func parseActions(body []byte) ([]action, bool) {
	var all []action
	if json.Unmarshal(body, &all) != nil {
		return nil, false
	}
	whole := false
	for _, x := range all {
		if !validID(x.ID) || x.Type == "" {
			return nil, false
		}
		whole = whole || x.Type == actionAuthorization
	}
	return all, whole
}

// validID reports whether s can be an id of Checkout.com's: a prefix such as
// pay_ or act_, which may change, and letters and digits. Ids go into the paths of
// calls, and come from outside.
func validID(s string) bool {
	return len(s) >= 4 && len(s) <= 64 &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// made recognises a reference that some Capstan made.
func made(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

var prefixOf = map[models.Kind]string{models.Capture: "cap_", models.Refund: "ref_", models.Void: "void_"}
