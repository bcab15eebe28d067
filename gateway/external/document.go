package external

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Document is what Capstan knows about an operation, for the body of its call.
// All of it stays as it is for as long as the operation may be sent, so that the
// same operation makes the same body: what people may change meanwhile, such as
// an order's reference, metadata or status, has no place here.
type Document struct {
	Mode models.Mode
	// OperationID is our own id of the operation.
	OperationID   string
	Order         Order
	Authorization Authorization
	// Capture is what a refund returns; nil for captures and voids.
	Capture *Capture
}

// Order is the order that is paid. TotalCents is its total when the operation
// was made.
type Order struct {
	ID, Number, CurrencyCode string
	TotalCents               int64
	CreatedAt                time.Time
}

// Authorization is the hold.
type Authorization struct {
	ID, Number, CurrencyCode string
	AmountCents              int64
	CreatedAt                time.Time
}

// Capture is a capture that took AmountCents.
type Capture struct {
	ID, Number, CurrencyCode string
	AmountCents              int64
	CreatedAt                time.Time
}

// object is a resource of JSON:API. encoding/json writes maps sorted by name, so
// the same facts make the same bytes.
type object struct {
	ID            string                  `json:"id"`
	Type          string                  `json:"type"`
	Attributes    map[string]any          `json:"attributes"`
	Relationships map[string]relationship `json:"relationships,omitempty"`
	Meta          map[string]models.Mode  `json:"meta"`
}

type relationship struct {
	Data linkage `json:"data"`
}

type linkage struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// The types of resources.
const (
	typeOrders         = "orders"
	typeAuthorizations = "authorizations"
	typeCaptures       = "captures"
)

// body writes the document of a call. It escapes no more than JSON must: the
// receivers that sign what they parsed and wrote again see the same bytes, as
// far as their language allows.
func body(r gateway.Request, d Document) ([]byte, error) {
	if err := d.fits(r); err != nil {
		return nil, err
	}
	hold := d.hold(r)
	included := []object{d.order()}
	data := hold
	if r.Kind == models.Refund {
		data, included = d.capture(r), append(included, hold)
	}
	data.Attributes["metadata"] = map[string]string{
		"capstan_reference": r.Reference, "capstan_idempotency_key": r.Key, "capstan_operation_id": d.OperationID, "capstan_operation": string(r.Kind),
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]any{"data": data, "included": included}); err != nil {
		return nil, fmt.Errorf("encode the document of %s %s: %w", r.Kind, r.Reference, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// fits refuses facts of something else than the request is about.
func (d Document) fits(r gateway.Request) error {
	switch {
	case d.Mode == "" || d.OperationID == "" || d.Order.ID == "" || d.Authorization.ID == "":
		return fmt.Errorf("describe %s %s: its operation, order or authorization is missing", r.Kind, r.Reference)
	case d.Authorization.CurrencyCode != r.CurrencyCode || d.Order.CurrencyCode != r.CurrencyCode:
		return fmt.Errorf("describe %s %s: it is in %s, and its order in %s", r.Kind, r.Reference, r.CurrencyCode, d.Order.CurrencyCode)
	case r.Kind == models.Refund && (d.Capture == nil || d.Capture.ID == ""):
		return fmt.Errorf("describe refund %s: the capture that it returns is missing", r.Reference)
	}
	return nil
}

func (d Document) order() object {
	attributes := map[string]any{"number": d.Order.Number, "currency_code": d.Order.CurrencyCode, "created_at": moment(d.Order.CreatedAt)}
	amount(attributes, "total_amount", d.Order.TotalCents, d.Order.CurrencyCode)
	return object{ID: d.Order.ID, Type: typeOrders, Attributes: attributes, Meta: d.meta()}
}

func (d Document) hold(r gateway.Request) object {
	a := d.Authorization
	attributes := map[string]any{
		"number": a.Number, "currency_code": a.CurrencyCode, "succeeded": true, "token": r.Hold, "gateway_transaction_id": r.Hold, "created_at": moment(a.CreatedAt),
	}
	amount(attributes, "amount", a.AmountCents, a.CurrencyCode)
	switch r.Kind {
	case models.Capture:
		amount(attributes, "capture_amount", r.AmountCents, r.CurrencyCode)
	case models.Void:
		amount(attributes, "void_balance", r.AmountCents, r.CurrencyCode)
	}
	return object{
		ID: a.ID, Type: typeAuthorizations, Attributes: attributes, Meta: d.meta(),
		Relationships: map[string]relationship{"order": {linkage{d.Order.ID, typeOrders}}},
	}
}

func (d Document) capture(r gateway.Request) object {
	c := d.Capture
	attributes := map[string]any{
		"number": c.Number, "currency_code": c.CurrencyCode, "succeeded": true, "token": r.Capture, "gateway_transaction_id": r.Capture, "created_at": moment(c.CreatedAt),
	}
	amount(attributes, "amount", c.AmountCents, c.CurrencyCode)
	amount(attributes, "refund_amount", r.AmountCents, r.CurrencyCode)
	return object{
		ID: c.ID, Type: typeCaptures, Attributes: attributes, Meta: d.meta(),
		Relationships: map[string]relationship{
			"order":                   {linkage{d.Order.ID, typeOrders}},
			"reference_authorization": {linkage{d.Authorization.ID, typeAuthorizations}},
		},
	}
}

func (d Document) meta() map[string]models.Mode { return map[string]models.Mode{"mode": d.Mode} }

// amount writes money in the three forms of Commerce Layer. The second is
// rendering: nothing here ever reads it.
func amount(attributes map[string]any, name string, cents int64, currency string) {
	attributes[name+"_cents"] = cents
	attributes[name+"_float"] = json.Number(shortest(models.Decimal(cents, currency)))
	attributes["formatted_"+name] = models.FormatMoney(cents, currency)
}

// shortest is a decimal number as most languages write it again: 15.00 is 15.
func shortest(decimal string) string {
	if !strings.Contains(decimal, ".") {
		return decimal
	}
	return strings.TrimSuffix(strings.TrimRight(decimal, "0"), ".")
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
