package hellgate

import (
	"encoding/json"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The words for where a payment stands. open, settling and settled are never
// said: there is no payment without a hold, and nobody is told of settlements.
const (
	processing = "processing"
	authorized = "authorized"
	capturing  = "capturing"
	captured   = "captured"
	voiding    = "voiding"
	voided     = "voided"
	failed     = "failed"
)

// The words for where a refund stands. processing is one, too.
const completed = "completed"

// payment is an order's hold as a client sees it.
type payment struct {
	ID           string          `json:"id"`
	Amount       amounts         `json:"amount"`
	CreatedAt    string          `json:"created_at"`
	CurrencyCode string          `json:"currency_code"`
	Flow         string          `json:"flow"`
	Reference    *string         `json:"reference"`
	Status       string          `json:"status"`
	Source       json.RawMessage `json:"source"`
	UseCase      string          `json:"use_case"`
}

// amounts are minor units. What did not happen is left out.
type amounts struct {
	Requested  int64 `json:"requested"`
	Authorized int64 `json:"authorized"`
	Captured   int64 `json:"captured,omitempty"`
	Refunded   int64 `json:"refunded,omitempty"`
}

// view is what a payment is rendered from.
type view struct {
	hold     models.Authorization
	order    models.Order
	method   models.PaymentMethod
	source   store.PaymentSource // empty where the hold came by another way
	captures []models.Operation  // oldest first
	voids    []models.Operation
}

func (v view) payment() payment {
	p := payment{
		ID: v.hold.ID, CreatedAt: moment(v.hold.CreatedAt), CurrencyCode: v.hold.CurrencyCode, Flow: v.method.Name, Status: v.status(),
		Amount: amounts{Requested: v.hold.AmountCents, Authorized: v.hold.AmountCents}, Source: v.source.Source, UseCase: v.source.UseCase,
	}
	if v.order.Reference != "" {
		p.Reference = &v.order.Reference
	}
	if p.UseCase == "" {
		p.UseCase = useCases[0]
	}
	if len(p.Source) == 0 {
		p.Source = json.RawMessage("null")
	}
	for _, c := range v.captures {
		if c.ConfirmedCents != nil && c.State != models.Reversed {
			p.Amount.Captured += *c.ConfirmedCents
			p.Amount.Refunded += c.RefundedCents
		}
	}
	return p
}

// status is one word for all that was asked of a hold. What is under way comes
// before what ended, and what took effect before what did not.
func (v view) status() string {
	states := map[models.State]bool{}
	for _, c := range v.captures {
		states[c.State] = true
		if c.State.Live() {
			return underWay(c)
		}
	}
	for _, o := range v.voids {
		if o.State.Live() {
			return voiding
		}
	}
	switch {
	case states[models.Succeeded]:
		return captured
	case states[models.Reset], v.hold.ClosedReason == models.ClosedVoided:
		return voided
	case states[models.Failed], states[models.Reversed], v.hold.ClosedReason == models.ClosedExpired, v.hold.ClosedReason == models.ClosedGone:
		return failed
	case v.hold.ClosedReason == models.ClosedCaptured:
		return captured
	case v.order.Closing():
		return voiding // the order is cancelled, and the hold goes with it
	case v.method.Policy.Automatic(v.order.TotalAmountCents) && v.order.Left() > 0:
		return processing
	}
	return authorized
}

// underWay is the word for a live capture. One that its flow made, and that was
// not sent yet, is a part of the processing.
func underWay(c models.Operation) string {
	if c.State == models.Pending && c.Cause != models.CauseManual && c.NeedsAttention == "" {
		return processing
	}
	return capturing
}

// refund is a refund as a client sees it.
type refund struct {
	ID             string    `json:"id"`
	Amount         int64     `json:"amount"`
	CurrencyCode   string    `json:"currency_code"`
	CreatedAt      string    `json:"created_at"`
	PaymentID      string    `json:"payment_id"`
	Reference      *string   `json:"reference"`
	Status         string    `json:"status"`
	FailureDetails []failure `json:"failure_details,omitempty"`
}

type failure struct {
	Classifier string `json:"classifier"`
	Message    string `json:"message"`
	Source     string `json:"source"`
}

func refundOf(o models.Operation) refund {
	r := refund{
		ID: o.ID, Amount: o.AmountCents, CurrencyCode: o.CurrencyCode, CreatedAt: moment(o.CreatedAt), PaymentID: o.AuthorizationID, Status: processing,
	}
	if o.ConfirmedCents != nil {
		r.Amount = *o.ConfirmedCents
	}
	if o.Reference != "" {
		r.Reference = &o.Reference
	}
	switch o.State {
	case models.Succeeded:
		r.Status = completed
	case models.Failed, models.Cancelled, models.Reversed:
		r.Status = failed
		r.FailureDetails = []failure{failureOf(o)}
	}
	return r
}

// failureOf says why, in the gateway's words where it has any.
func failureOf(o models.Operation) failure {
	f := failure{Classifier: o.ErrorCode, Message: o.Message, Source: "processor"}
	if f.Classifier == "" {
		f.Classifier = string(o.State)
	}
	if f.Message == "" {
		f.Message = "the refund is " + string(o.State)
	}
	return f
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// listing is a page of a list.
type listing[T any] struct {
	Data       []T        `json:"data"`
	Pagination pagination `json:"pagination"`
}

type pagination struct {
	CurrentPage int `json:"current_page"`
	PageSize    int `json:"page_size"`
	TotalItems  int `json:"total_items"`
	TotalPages  int `json:"total_pages"`
}

func listOf[T any](data []T, number, size, total int) listing[T] {
	return listing[T]{data, pagination{CurrentPage: number, PageSize: size, TotalItems: total, TotalPages: max(1, (total+size-1)/size)}}
}
