package elasticpath

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The words of transaction_type and status.
const (
	typeAuthorize = "authorize"
	typeCapture   = "capture"
	typeRefund    = "refund"

	statusPending  = "pending"
	statusComplete = "complete"
	statusFailed   = "failed"
)

// What detailed_status says about a hold that holds nothing any more.
const (
	detailExpired  = "expired_uncaptured_charge"
	detailCanceled = "canceled"
)

// What next_actions offers.
const (
	actCapture = "capture"
	actCancel  = "cancel"
)

type money struct {
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Formatted string `json:"formatted"`
}

func moneyOf(cents int64, currency string) money {
	return money{cents, currency, models.FormatMoney(cents, currency)}
}

type document struct {
	ID               string         `json:"id"`
	Type             string         `json:"type"`
	Reference        string         `json:"reference"`
	Name             string         `json:"name,omitempty"`
	CustomReference  string         `json:"custom_reference,omitempty"`
	Gateway          string         `json:"gateway"`
	Amount           int64          `json:"amount"`
	RefundedAmount   int64          `json:"refunded_amount"`
	CaptureMechanism string         `json:"capture_mechanism,omitempty"`
	RefundMechanism  string         `json:"refund_mechanism,omitempty"`
	Currency         string         `json:"currency"`
	TransactionType  string         `json:"transaction_type"`
	Status           string         `json:"status"`
	Relationships    relationships  `json:"relationships"`
	Meta             meta           `json:"meta"`
	PaymentDetails   *paymentDetail `json:"payment_details,omitempty"`
	NextActions      *[]string      `json:"next_actions,omitempty"`
}

type relationships struct {
	Order struct {
		Data struct {
			Type string `json:"type"`
			ID   string `json:"id"`
		} `json:"data"`
	} `json:"order"`
}

type meta struct {
	DisplayPrice          money `json:"display_price"`
	DisplayRefundedAmount struct {
		Total money `json:"total"`
	} `json:"display_refunded_amount"`
	Timestamps struct {
		CreatedAt string `json:"created_at"`
		UpdatedAt string `json:"updated_at"`
	} `json:"timestamps"`
}

type paymentDetail struct {
	DetailedStatus string `json:"detailed_status"`
}

// kept is what a client told when it paid, as the hold's metadata keeps it.
type kept struct {
	ElasticPath struct {
		Gateway string `json:"gateway,omitempty"`
		Name    string `json:"name,omitempty"`
	} `json:"elastic_path"`
}

// history is everything that was asked of one hold.
type history struct {
	captures, refunds, voids []models.Operation
}

// planned: a capture that is wanted later and was never sent is not begun.
func planned(op models.Operation, now time.Time) bool {
	return op.State == models.Pending && op.SentVersion == nil && op.NotBefore.After(now)
}

// standing sums up the operations of a hold.
type standing struct {
	open, captured, reversed, refunding, voided bool
	amount, refunded                            int64
	captureMechanism, refundMechanism           string
}

func (h history) standing(now time.Time) (s standing) {
	for _, op := range h.captures {
		live := op.State.Live() && !planned(op, now)
		stands := op.State == models.Succeeded || op.State == models.Reset || op.State == models.Reversed
		s.open = s.open || live || op.NeedsAttention != ""
		if !live && !stands {
			continue
		}
		s.captured, s.reversed = true, s.reversed || op.State == models.Reversed
		s.refunding = s.refunding || op.State == models.Reset
		s.captureMechanism, s.refunded = op.Mechanism, s.refunded+op.RefundedCents
		if op.ConfirmedCents != nil {
			s.amount += *op.ConfirmedCents
		} else {
			s.amount += op.AmountCents
		}
	}
	for _, op := range h.refunds {
		s.open = s.open || op.State.Live() || op.NeedsAttention != ""
		if op.State.Live() || op.State == models.Succeeded {
			s.refunding, s.refundMechanism = true, "automatic"
			if op.Mechanism != "" {
				s.refundMechanism = op.Mechanism
			}
		}
	}
	for _, op := range h.voids {
		s.open = s.open || op.State.Live() || op.NeedsAttention != ""
		s.voided = s.voided || op.State == models.Succeeded
	}
	return s
}

// render words a hold and its operations as one transaction. named is what the
// client calls the order.
func (c *call) render(named string, a Account, h models.Authorization, ops history) document {
	now := c.api.now()
	s := ops.standing(now)
	d := document{
		ID: h.ID, Type: "transaction", Reference: h.GatewayTransactionID, CustomReference: h.Reference, Gateway: a.Gateways[0],
		Amount: h.AmountCents, RefundedAmount: s.refunded, CaptureMechanism: s.captureMechanism, RefundMechanism: s.refundMechanism,
		Currency: h.CurrencyCode, TransactionType: typeAuthorize, Status: statusComplete,
	}
	if a.ByHand {
		d.Reference = a.Gateways[0]
		if s.refundMechanism != "" {
			d.RefundMechanism = models.MechanismManual
		}
	}
	var k kept
	if json.Unmarshal(h.Metadata, &k) == nil {
		d.Name = k.ElasticPath.Name
		if a.called(k.ElasticPath.Gateway) {
			d.Gateway = k.ElasticPath.Gateway
		}
	}
	if s.captured {
		d.TransactionType, d.Amount = typeCapture, s.amount
	}
	if s.refunding {
		d.TransactionType = typeRefund
	}
	switch {
	case s.open:
		d.Status = statusPending
	case s.reversed, s.voided && !s.captured:
		d.Status = statusFailed
	}
	if !s.captured {
		d.PaymentDetails, d.NextActions = outlook(h, s, now)
	}
	d.Relationships.Order.Data.Type, d.Relationships.Order.Data.ID = "order", named
	d.Meta.DisplayPrice = moneyOf(d.Amount, d.Currency)
	d.Meta.DisplayRefundedAmount.Total = moneyOf(d.RefundedAmount, d.Currency)
	d.Meta.Timestamps.CreatedAt, d.Meta.Timestamps.UpdatedAt = stamp(h.CreatedAt), stamp(latest(h, ops))
	return d
}

// outlook is what can still be done about a hold that is not captured. What has
// ended is not offered for capture, though Elastic Path does.
func outlook(h models.Authorization, s standing, now time.Time) (*paymentDetail, *[]string) {
	actions := []string{}
	switch {
	case s.voided:
		return &paymentDetail{detailCanceled}, &actions
	case ended(h):
		return &paymentDetail{detailExpired}, &actions
	case s.open, h.ClosedAt != nil:
		return nil, &actions
	case h.Ended(now):
		actions = append(actions, actCancel)
		return &paymentDetail{detailExpired}, &actions
	}
	actions = append(actions, actCancel, actCapture)
	return nil, &actions
}

func latest(h models.Authorization, ops history) time.Time {
	at := h.UpdatedAt
	for _, list := range [][]models.Operation{ops.captures, ops.refunds, ops.voids} {
		for _, op := range list {
			if op.UpdatedAt.After(at) {
				at = op.UpdatedAt
			}
		}
	}
	return at
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// maxOperations bounds what is read of one order.
const maxOperations = 1000

// histories reads the operations of an order's holds.
func (c *call) histories(orderID string) (map[string]history, error) {
	all := map[string]history{}
	for _, kind := range models.Kinds {
		ops, err := c.api.store.OperationsBy(c.Context(), c.who.Mode, kind, store.ByOrder, []string{orderID}, maxOperations)
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			h := all[op.AuthorizationID]
			switch kind {
			case models.Capture:
				h.captures = append(h.captures, op)
			case models.Refund:
				h.refunds = append(h.refunds, op)
			case models.Void:
				h.voids = append(h.voids, op)
			}
			all[op.AuthorizationID] = h
		}
	}
	return all, nil
}

// operations reads what was asked of one hold, oldest first.
func (c *call) operations(kind models.Kind, h models.Authorization) ([]models.Operation, error) {
	return c.api.store.OperationsBy(c.Context(), c.who.Mode, kind, store.ByAuthorization, []string{h.ID}, maxOperations)
}

// answer reads a transaction anew and answers with it.
func (c *call) answer(orderID, holdID string) error {
	h, err := c.api.store.Authorization(c.Context(), c.who.Mode, holdID)
	if err != nil {
		return err
	}
	a, err := c.account(h.PaymentGatewayID)
	if err != nil {
		return err
	}
	all, err := c.histories(orderID)
	if err != nil {
		return err
	}
	api.WriteJSON(c.w, http.StatusOK, "application/json", struct {
		Data document `json:"data"`
	}{c.render(c.PathValue("order"), a, h, all[h.ID])})
	return nil
}

// show answers GET …/transactions/{transaction}.
func (c *call) show() error {
	order, hold, _, err := c.transaction()
	if err != nil {
		return err
	}
	return c.answer(order.ID, hold.ID)
}

// list answers GET …/transactions, the oldest first.
func (c *call) list() error {
	order, err := c.order()
	if err != nil {
		return err
	}
	holds, err := c.api.store.Authorizations(c.Context(), order.ID)
	if err != nil {
		return err
	}
	all, err := c.histories(order.ID)
	if err != nil {
		return err
	}
	accounts, documents := map[string]Account{}, make([]document, 0, len(holds))
	for _, h := range holds {
		a, known := accounts[h.PaymentGatewayID]
		if !known {
			if a, err = c.account(h.PaymentGatewayID); err != nil {
				return err
			}
			accounts[h.PaymentGatewayID] = a
		}
		documents = append(documents, c.render(c.PathValue("order"), a, h, all[h.ID]))
	}
	api.WriteJSON(c.w, http.StatusOK, "application/json", struct {
		Data []document `json:"data"`
	}{documents})
	return nil
}
