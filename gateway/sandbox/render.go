package sandbox

import (
	"time"
)

// view is something that can be shown on the wire. Expand names the fields
// that are shown as objects instead of ids.
type view interface {
	render(expand map[string]bool) any
}

type intentView struct{ intent }

type refundView struct {
	refunding
	of intent
}

type chargeView struct{ intent }

type piJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CanceledAt         *int64            `json:"canceled_at"`
	CancellationReason *string           `json:"cancellation_reason"`
	CaptureMethod      string            `json:"capture_method"`
	ClientSecret       string            `json:"client_secret"`
	ConfirmationMethod string            `json:"confirmation_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Customer           *string           `json:"customer"`
	Description        *string           `json:"description"`
	LastPaymentError   *struct{}         `json:"last_payment_error"`
	LatestCharge       any               `json:"latest_charge"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextAction         *struct{}         `json:"next_action"`
	PaymentMethod      *string           `json:"payment_method"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	Status             string            `json:"status"`
}

func (v intentView) render(expand map[string]bool) any {
	j := piJSON{
		ID: v.id, Object: "payment_intent", Amount: v.amount, AmountReceived: v.captured,
		CanceledAt: unixPtr(v.canceledAt), CancellationReason: strPtr(v.reason), CaptureMethod: v.method,
		ClientSecret: v.id + "_secret_sandbox", ConfirmationMethod: "automatic", Created: v.created.Unix(),
		Currency: v.currency, Description: strPtr(v.description), Livemode: v.live, Metadata: shown(v.metadata),
		PaymentMethod: strPtr(v.paymentMethod), PaymentMethodTypes: []string{"card"}, Status: v.status,
	}
	if v.status == needsCapture {
		j.AmountCapturable = v.amount
	}
	if v.charge != "" {
		j.LatestCharge = v.charge
		if expand["latest_charge"] {
			j.LatestCharge = chargeView(v).render(nil)
		}
	}
	return j
}

type chargeJSON struct {
	ID                   string            `json:"id"`
	Object               string            `json:"object"`
	Amount               int64             `json:"amount"`
	AmountCaptured       int64             `json:"amount_captured"`
	AmountRefunded       int64             `json:"amount_refunded"`
	BillingDetails       billingJSON       `json:"billing_details"`
	Captured             bool              `json:"captured"`
	Created              int64             `json:"created"`
	Currency             string            `json:"currency"`
	Disputed             bool              `json:"disputed"`
	Livemode             bool              `json:"livemode"`
	Metadata             map[string]string `json:"metadata"`
	Paid                 bool              `json:"paid"`
	PaymentIntent        any               `json:"payment_intent"`
	PaymentMethod        string            `json:"payment_method"`
	PaymentMethodDetails methodJSON        `json:"payment_method_details"`
	Refunded             bool              `json:"refunded"`
	Status               string            `json:"status"`
}

// billingJSON is what is known of the payer: nothing.
type billingJSON struct {
	Address *struct{} `json:"address"`
	Email   *string   `json:"email"`
	Name    *string   `json:"name"`
	Phone   *string   `json:"phone"`
	TaxID   *string   `json:"tax_id"`
}

type methodJSON struct {
	Card cardJSON `json:"card"`
	Type string   `json:"type"`
}

type cardJSON struct {
	Brand         string `json:"brand"`
	CaptureBefore *int64 `json:"capture_before,omitempty"`
	Country       string `json:"country"`
	ExpMonth      int    `json:"exp_month"`
	ExpYear       int    `json:"exp_year"`
	Funding       string `json:"funding"`
	Last4         string `json:"last4"`
	Network       string `json:"network"`
}

func (v chargeView) render(expand map[string]bool) any {
	j := chargeJSON{
		ID: v.charge, Object: "charge", Amount: v.amount, AmountCaptured: v.captured, AmountRefunded: v.refunded,
		Captured: v.captured > 0, Created: v.created.Unix(), Currency: v.currency, Livemode: v.live, Disputed: v.everDisputed,
		Metadata: shown(v.metadata), Paid: true, PaymentIntent: v.id, PaymentMethod: v.paymentMethod,
		PaymentMethodDetails: methodJSON{Type: "card", Card: cardJSON{
			Brand: "visa", Country: "US", ExpMonth: 12, ExpYear: v.created.Year() + 3, Funding: "credit", Last4: "4242", Network: "visa",
		}},
		Status: succeeded,
	}
	if v.method == "manual" {
		j.PaymentMethodDetails.Card.CaptureBefore = unixPtr(v.captureBefore)
	}
	if v.status == canceled { // an uncaptured hold ends as a refund of all of it
		j.AmountRefunded = v.amount
	}
	j.Refunded = j.AmountRefunded > 0 && (v.status == canceled || v.refunded >= v.captured)
	if expand["payment_intent"] {
		j.PaymentIntent = intentView(v).render(nil)
	}
	return j
}

type refundJSON struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	BalanceTransaction *string           `json:"balance_transaction"`
	Charge             any               `json:"charge"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	Metadata           map[string]string `json:"metadata"`
	PaymentIntent      any               `json:"payment_intent"`
	Reason             *string           `json:"reason"`
	ReceiptNumber      *string           `json:"receipt_number"`
	Status             string            `json:"status"`
}

func (v refundView) render(expand map[string]bool) any {
	j := refundJSON{
		ID: v.id, Object: "refund", Amount: v.amount, Charge: v.charge, Created: v.created.Unix(), Currency: v.currency,
		Metadata: shown(v.metadata), PaymentIntent: v.hold, Reason: strPtr(v.reason), Status: succeeded,
	}
	if expand["charge"] {
		j.Charge = chargeView{v.of}.render(nil)
	}
	if expand["payment_intent"] {
		j.PaymentIntent = intentView{v.of}.render(nil)
	}
	return j
}

// listView is a page. It shows its members with the expansions under "data.".
type listView struct {
	url  string
	data []view
	more bool
}

func (v listView) render(expand map[string]bool) any {
	inner := map[string]bool{}
	for name := range expand {
		if len(name) > 5 && name[:5] == "data." {
			inner[name[5:]] = true
		}
	}
	data := make([]any, 0, len(v.data))
	for _, d := range v.data {
		data = append(data, d.render(inner))
	}
	return struct {
		Object  string `json:"object"`
		Data    []any  `json:"data"`
		HasMore bool   `json:"has_more"`
		URL     string `json:"url"`
	}{"list", data, v.more, v.url}
}

func shown(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func strPtr(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func unixPtr(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	u := t.Unix()
	return &u
}
