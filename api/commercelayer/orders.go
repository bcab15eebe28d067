package commercelayer

import (
	"context"
	"net/http"
	"strconv"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

type orderAttributes struct {
	Number                  string  `json:"number"`
	Status                  string  `json:"status"`
	PaymentStatus           string  `json:"payment_status"`
	FulfillmentStatus       string  `json:"fulfillment_status"`
	CurrencyCode            string  `json:"currency_code"`
	TotalAmountCents        *int64  `json:"total_amount_cents"`
	TotalAmountFloat        any     `json:"total_amount_float"`
	FormattedTotalAmount    *string `json:"formatted_total_amount"`
	CapturedAmountCents     *int64  `json:"captured_amount_cents"`
	CapturedAmountFloat     any     `json:"captured_amount_float"`
	FormattedCapturedAmount *string `json:"formatted_captured_amount"`
	RefundedAmountCents     *int64  `json:"refunded_amount_cents"`
	RefundedAmountFloat     any     `json:"refunded_amount_float"`
	FormattedRefundedAmount *string `json:"formatted_refunded_amount"`
	// What the captures stand above the total, less what was refunded.
	OverpaidAmountCents     *int64  `json:"overpaid_amount_cents"`
	OverpaidAmountFloat     any     `json:"overpaid_amount_float"`
	FormattedOverpaidAmount *string `json:"formatted_overpaid_amount"`
	CaptureAt               *string `json:"capture_at"`
	ApprovedAt              *string `json:"approved_at"`
	CancelledAt             *string `json:"cancelled_at"`
	CancelRequestedAt       *string `json:"cancel_requested_at"`
	TotalChangedAt          *string `json:"total_changed_at"`
	common
}

func (c *call) order(o models.Order) *resource {
	total, captured, refunded := of(o.TotalAmountCents, o.CurrencyCode), of(o.CapturedCents, o.CurrencyCode), of(o.RefundedCents, o.CurrencyCode)
	overpaid := of(o.Overpaid(), o.CurrencyCode)
	return c.render(c.api.orderType, o.ID, orderAttributes{
		Number: strconv.FormatInt(o.Number, 10), Status: string(o.Status), PaymentStatus: string(o.PaymentStatus),
		FulfillmentStatus: string(o.FulfillmentStatus), CurrencyCode: o.CurrencyCode,
		TotalAmountCents: total.cents, TotalAmountFloat: total.float(), FormattedTotalAmount: total.formatted(),
		CapturedAmountCents: captured.cents, CapturedAmountFloat: captured.float(), FormattedCapturedAmount: captured.formatted(),
		RefundedAmountCents: refunded.cents, RefundedAmountFloat: refunded.float(), FormattedRefundedAmount: refunded.formatted(),
		OverpaidAmountCents: overpaid.cents, OverpaidAmountFloat: overpaid.float(), FormattedOverpaidAmount: overpaid.formatted(),
		CaptureAt: momentOrNull(o.CaptureAt), ApprovedAt: momentOrNull(o.ApprovedAt), CancelledAt: momentOrNull(o.CancelledAt),
		CancelRequestedAt: momentOrNull(o.CancelRequestedAt), TotalChangedAt: momentOrNull(o.TotalChangedAt),
		common: commonOf(o.Labels, moment{o.CreatedAt}, moment{o.UpdatedAt}),
	}, o)
}

func (c *call) orders(orders []models.Order) []*resource {
	rs := make([]*resource, len(orders))
	for i, o := range orders {
		rs[i] = c.order(o)
	}
	return rs
}

func (a *API) orderResource() *resourceType {
	operations := func(name string, kind models.Kind, target func() *resourceType) relation {
		return relation{
			name: name, many: true, target: target, load: toMany(orderOf, operationsBy(kind, store.ByOrder)),
			nested: func(c *call, id string) error { return c.listOperations(kind, store.Filter{OrderID: id}) },
		}
	}
	return &resourceType{
		name: "orders", attributes: attributeNames(orderAttributes{}),
		filters: []string{"id_eq", "reference_eq", "status_eq", "payment_status_eq"},
		find: func(c *call, id string) (*resource, error) {
			o, err := c.api.store.Order(c.Context(), c.who.Mode, id)
			if err != nil {
				return nil, err
			}
			return c.order(o), nil
		},
		relations: []relation{
			{name: "payment_method", target: func() *resourceType { return a.methodType }, load: toOne(methodOf, methodsByID)},
			{
				name: "authorizations", many: true, target: func() *resourceType { return a.holdType }, load: toMany(orderOf, holdsBy(store.ByOrder)),
				nested: func(c *call, id string) error { return c.listHolds(id) },
			},
			operations("captures", models.Capture, func() *resourceType { return a.captureType }),
			operations("refunds", models.Refund, func() *resourceType { return a.refundType }),
			operations("voids", models.Void, func() *resourceType { return a.voidType }),
		},
	}
}

func (c *call) listOrders() error {
	t := c.api.orderType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	orders, total, err := c.api.store.FindOrders(c.Context(), store.OrderFilter{
		Mode: c.who.Mode, ID: q.filters["id_eq"], Reference: q.filters["reference_eq"], Status: models.OrderStatus(q.filters["status_eq"]),
		PaymentStatus: models.PaymentStatus(q.filters["payment_status_eq"]), Newest: q.newest,
	}, q.page)
	if err != nil {
		return err
	}
	return c.list(t, c.orders(orders), total, q)
}

func (c *call) createOrder() error {
	t := c.api.orderType
	in, err := c.input(t, "")
	if err != nil {
		return err
	}
	in.require("currency_code", "total_amount_cents")
	order := models.Order{Mode: c.who.Mode, CurrencyCode: in.currency("currency_code"), CaptureAt: in.moment("capture_at", c.api.now())}
	if total := in.cents("total_amount_cents", 0); total != nil {
		order.TotalAmountCents = *total
	}
	order.Labels = newLabels(in.labels())
	order.PaymentMethodID = in.relation("payment_method", "payment_methods", true)
	if err := in.done(t.attributes); err != nil {
		return err
	}
	method, err := c.api.store.PaymentMethod(c.Context(), c.who.Mode, order.PaymentMethodID)
	if err != nil {
		return missing(err, "/data/relationships/payment_method")
	}
	if method.CurrencyCode != order.CurrencyCode {
		in.invalid("currency_code", "inclusion", "must be the payment method's, "+method.CurrencyCode, method.CurrencyCode)
		return in.done(t.attributes)
	}
	order.PaymentMethodID = method.ID
	made, isNew, err := c.api.store.CreateOrder(c.Context(), order)
	if err != nil {
		return in.refused(err, "/data")
	}
	if made.PaymentMethodID != method.ID {
		in.invalid("reference", "taken", "is the reference of an order with another payment method", nil)
		return in.done(t.attributes)
	}
	return c.one(created(isNew), t, c.order(made), in.query)
}

// created is 201 for a new resource, and 200 for one that was there the same.
func created(isNew bool) int {
	if isNew {
		return http.StatusCreated
	}
	return http.StatusOK
}

// orderChange is what a PATCH of an order asks for.
type orderChange struct {
	approve, cancel, fulfill bool
	total                    *int64
	labels                   store.Attached
}

func (o orderChange) onlyApproves() bool {
	return o.approve && !o.cancel && !o.fulfill && o.total == nil && o.labels.Empty()
}

func (c *call) changeOrder() error {
	t, id := c.api.orderType, c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	change := orderChange{
		approve: in.trigger("_approve"), cancel: in.trigger("_cancel"), fulfill: in.trigger("_fulfill"),
		total: in.cents("total_amount_cents", 0), labels: in.labels(),
	}
	// A new total and the approval of it belong together; nothing else does.
	in.only(map[string]bool{"_approve": change.approve, "_cancel": change.cancel, "_fulfill": change.fulfill})
	in.only(map[string]bool{"_cancel": change.cancel, "_fulfill": change.fulfill, "total_amount_cents": change.total != nil})
	if err := in.done(t.attributes); err != nil {
		return err
	}
	if !store.ValidID(id) {
		return api.NotFound("the requested resource was not found")
	}
	if change.onlyApproves() {
		return c.approveOrder(in, id)
	}
	do := c.settled
	if !change.cancel && !change.fulfill && change.total == nil {
		do = c.unsettled // labels depend on no outcome
	}
	_, err = do(id, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.applyToOrder(ctx, tx, id, change)
	})
	if err != nil {
		return in.refused(err, "/data")
	}
	return c.again(http.StatusOK, t, id, in.query)
}

// applyToOrder makes a change in one transaction: all of it, or nothing.
func (c *call) applyToOrder(ctx context.Context, tx store.Tx, id string, change orderChange) (p enqueuer.Published, err error) {
	e, mode, actor := c.api.enqueuer, c.who.Mode, c.who.Actor()
	if change.total != nil {
		if p.Order, err = e.ChangeTotal(ctx, tx, mode, id, *change.total, actor); err != nil {
			return p, err
		}
	}
	switch {
	case change.approve:
		p, err = e.Approve(ctx, tx, mode, id, actor)
	case change.fulfill:
		p, err = e.Fulfill(ctx, tx, mode, id, actor)
	case change.cancel:
		p.Order, err = e.Cancel(ctx, tx, mode, id, actor)
	}
	if err != nil || change.labels.Empty() {
		return p, err
	}
	return p, c.api.store.LabelOrder(ctx, tx, mode, id, change.labels)
}
