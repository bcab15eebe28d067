package webhooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/capstan-pay/capstan/models"
)

// orderDocument is what is read of an order as Commerce Layer sends it. Members
// that nobody reads are ignored: the sender adds new ones when it likes.
type orderDocument struct {
	order      object
	attributes orderAttributes
	included   []object
	method     methodObject
	total      int64
	currency   string
}

type object struct {
	Type          string                  `json:"type"`
	ID            string                  `json:"id"`
	Attributes    json.RawMessage         `json:"attributes"`
	Relationships map[string]relationship `json:"relationships"`
	Meta          struct {
		Mode string `json:"mode"`
	} `json:"meta"`
}

type relationship struct {
	Data json.RawMessage `json:"data"`
}

type name struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// names are the ids that a relationship points to; known is false when the
// sender did not say.
func (r relationship) names() (names []name, known bool) {
	raw := strings.TrimSpace(string(r.Data))
	switch {
	case raw == "":
		return nil, false
	case raw == "null":
		return nil, true
	case strings.HasPrefix(raw, "["):
		return names, json.Unmarshal(r.Data, &names) == nil
	}
	var one name
	if json.Unmarshal(r.Data, &one) != nil {
		return nil, false
	}
	return []name{one}, true
}

type orderAttributes struct {
	Number                    json.RawMessage `json:"number"`
	Status                    string          `json:"status"`
	PaymentStatus             string          `json:"payment_status"`
	CurrencyCode              string          `json:"currency_code"`
	TotalAmountCents          *int64          `json:"total_amount_cents"`
	TotalAmountWithTaxesCents *int64          `json:"total_amount_with_taxes_cents"`
}

type methodAttributes struct {
	PaymentSourceType         string `json:"payment_source_type"`
	AutoCapture               *bool  `json:"auto_capture"`
	AutoCaptureMaxAmountCents *int64 `json:"auto_capture_max_amount_cents"`
}

type methodObject struct {
	object
	attributes methodAttributes
}

type authorizationAttributes struct {
	CurrencyCode         string `json:"currency_code"`
	AmountCents          int64  `json:"amount_cents"`
	Succeeded            bool   `json:"succeeded"`
	GatewayTransactionID string `json:"gateway_transaction_id"`
	Token                string `json:"token"`
	CaptureBalanceCents  *int64 `json:"capture_balance_cents"`
}

// clip keeps a stored reason short and printable.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

func readOrder(body []byte) (orderDocument, error) {
	var raw struct {
		Data     object   `json:"data"`
		Included []object `json:"included"`
	}
	var d orderDocument
	if err := json.Unmarshal(body, &raw); err != nil {
		return d, fmt.Errorf("it is no JSON:API document: %w", err)
	}
	d.order, d.included = raw.Data, raw.Included
	if d.order.Type != "orders" || !clientID.MatchString(d.order.ID) {
		return d, errors.New("its data is no order")
	}
	if err := json.Unmarshal(d.order.Attributes, &d.attributes); err != nil {
		return d, fmt.Errorf("the order's attributes cannot be read: %w", err)
	}
	return d, nil
}

// check holds the order to everything that must be so before money is taken
// for it, and returns its holds.
func (d *orderDocument) check() ([]models.Authorization, error) {
	a := d.attributes
	if a.Status != statusApproved {
		return nil, no("not_approved_there", "the order is %s there", clip(a.Status))
	}
	if a.PaymentStatus != string(models.Authorized) {
		return nil, no("not_authorized_there", "the payment is %s there, not authorized", clip(a.PaymentStatus))
	}
	captures, _ := d.order.Relationships["captures"].names()
	if len(captures) > 0 || slices.ContainsFunc(d.included, func(o object) bool { return o.Type == "captures" }) {
		return nil, no("captured_there", "the order has a capture already")
	}
	if err := d.readMoney(); err != nil {
		return nil, err
	}
	if err := d.readMethod(); err != nil {
		return nil, err
	}
	return d.holds()
}

func (d *orderDocument) readMoney() error {
	a := d.attributes
	var err error
	if d.currency, err = models.ParseCurrency(clip(a.CurrencyCode)); err != nil {
		return no("unknown_currency", "%v", err)
	}
	total := a.TotalAmountWithTaxesCents // what is charged when taxes are not in the prices
	if total == nil {
		total = a.TotalAmountCents
	}
	if total == nil || *total <= 0 || *total > models.MaxCents {
		return no("amounts_do_not_fit", "the order's total is not from 1 to %d", models.MaxCents)
	}
	d.total = *total
	return nil
}

// readMethod finds the order's payment method, and refuses one that captures by
// itself: the money would be taken twice.
func (d *orderDocument) readMethod() error {
	named, _ := d.order.Relationships["payment_method"].names()
	for _, o := range d.included {
		if o.Type != "payment_methods" || len(named) > 0 && o.ID != named[0].ID {
			continue
		}
		if !clientID.MatchString(o.ID) || json.Unmarshal(o.Attributes, &d.method.attributes) != nil {
			return no("payment_method_unreadable", "the included payment method cannot be read")
		}
		d.method.object = o
		break
	}
	m := d.method.attributes
	switch {
	case d.method.ID == "":
		return no("payment_method_missing", "the payment method is not in the message; add payment_method to the webhook's include_resources")
	case m.AutoCapture == nil:
		return no("payment_method_unreadable", "the payment method does not say whether it captures by itself")
	case *m.AutoCapture && (m.AutoCaptureMaxAmountCents == nil || d.total <= *m.AutoCaptureMaxAmountCents):
		return no("captures_by_itself", "the payment method captures by itself there; switch its auto_capture off to have it captured here")
	}
	return nil
}

// transactionForm is what may be an id at a gateway.
var transactionForm = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// holds reads the order's authorizations, which must cover its total.
func (d *orderDocument) holds() ([]models.Authorization, error) {
	named, known := d.order.Relationships["authorizations"].names()
	var holds []models.Authorization
	sum := int64(0)
	for _, o := range d.included {
		if o.Type != "authorizations" || known && !slices.ContainsFunc(named, func(n name) bool { return n.ID == o.ID }) {
			continue
		}
		var a authorizationAttributes
		if err := json.Unmarshal(o.Attributes, &a); err != nil {
			return nil, no("authorization_unreadable", "the authorization %s cannot be read", clip(o.ID))
		}
		if !a.Succeeded {
			continue
		}
		hold, err := d.hold(o.ID, a)
		if err != nil {
			return nil, err
		}
		holds = append(holds, hold)
		sum += hold.AmountCents
	}
	if len(holds) == 0 {
		return nil, no("no_authorization", "no authorization that succeeded is in the message; add authorizations to the webhook's include_resources")
	}
	if sum < d.total {
		return nil, no("amounts_do_not_fit", "%d is authorized, the order's total is %d", sum, d.total)
	}
	return holds, nil
}

func (d *orderDocument) hold(id string, a authorizationAttributes) (models.Authorization, error) {
	transaction := a.GatewayTransactionID
	if transaction == "" {
		transaction = a.Token
	}
	currency, err := models.ParseCurrency(clip(a.CurrencyCode))
	switch {
	case err != nil || currency != d.currency:
		return models.Authorization{}, no("currency_mismatch", "the authorization %s is in %s, the order in %s", clip(id), clip(a.CurrencyCode), d.currency)
	case a.AmountCents <= 0 || a.AmountCents > models.MaxCents:
		return models.Authorization{}, no("amounts_do_not_fit", "the authorization %s is of %d", clip(id), a.AmountCents)
	case a.CaptureBalanceCents != nil && *a.CaptureBalanceCents < a.AmountCents:
		return models.Authorization{}, no("captured_there", "of the authorization %s only %d is left to capture", clip(id), *a.CaptureBalanceCents)
	case !transactionForm.MatchString(transaction):
		return models.Authorization{}, no("no_authorization", "the authorization %s has no id at the gateway", clip(id))
	}
	hold := models.Authorization{GatewayTransactionID: transaction, CurrencyCode: currency, AmountCents: a.AmountCents}
	if clientID.MatchString(id) {
		hold.Labels = models.Labels{Reference: id, ReferenceOrigin: commerceLayer}
	}
	return hold, nil
}
