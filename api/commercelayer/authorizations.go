package commercelayer

import (
	"context"
	"net/http"
	"slices"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

type holdAttributes struct {
	Number                  string  `json:"number"`
	PaymentMethodType       *string `json:"payment_method_type"`
	CurrencyCode            string  `json:"currency_code"`
	AmountCents             *int64  `json:"amount_cents"`
	AmountFloat             any     `json:"amount_float"`
	FormattedAmount         *string `json:"formatted_amount"`
	Succeeded               bool    `json:"succeeded"`
	Message                 *string `json:"message"`
	ErrorCode               *string `json:"error_code"`
	ErrorDetail             *string `json:"error_detail"`
	Token                   *string `json:"token"`
	GatewayTransactionID    *string `json:"gateway_transaction_id"`
	CaptureAmountCents      *int64  `json:"capture_amount_cents"`
	CaptureAmountFloat      any     `json:"capture_amount_float"`
	FormattedCaptureAmount  *string `json:"formatted_capture_amount"`
	CaptureBalanceCents     *int64  `json:"capture_balance_cents"`
	CaptureBalanceFloat     any     `json:"capture_balance_float"`
	FormattedCaptureBalance *string `json:"formatted_capture_balance"`
	VoidBalanceCents        *int64  `json:"void_balance_cents"`
	VoidBalanceFloat        any     `json:"void_balance_float"`
	FormattedVoidBalance    *string `json:"formatted_void_balance"`
	CaptureBefore           *string `json:"capture_before"`
	// CaptureBeforeSource is gateway, client or estimate; what is estimated is
	// warned of, and stops nothing.
	CaptureBeforeSource *string  `json:"capture_before_source"`
	Network             *string  `json:"network"`
	Initiator           *string  `json:"initiator"`
	RenewingSince       *string  `json:"renewing_since"`
	NextActions         []string `json:"next_actions"`
	ClosedAt            *string  `json:"closed_at"`
	ClosedReason        *string  `json:"closed_reason"`
	common
}

// hold renders an authorization. It stands for a hold that exists at the
// gateway, so it has always succeeded.
func (c *call) hold(h models.Authorization, sourceType string) *resource {
	amount, asked, left := of(h.AmountCents, h.CurrencyCode), of(h.RequestedCents, h.CurrencyCode), of(h.Left(), h.CurrencyCode)
	voidable := of(0, h.CurrencyCode)
	if h.RequestedCents == 0 {
		voidable = left
	}
	return c.render(c.api.holdType, h.ID, holdAttributes{
		Number: h.Number, PaymentMethodType: orNull(sourceType), CurrencyCode: h.CurrencyCode,
		AmountCents: amount.cents, AmountFloat: amount.float(), FormattedAmount: amount.formatted(), Succeeded: true,
		GatewayTransactionID: orNull(h.GatewayTransactionID),
		CaptureAmountCents:   asked.cents, CaptureAmountFloat: asked.float(), FormattedCaptureAmount: asked.formatted(),
		CaptureBalanceCents: left.cents, CaptureBalanceFloat: left.float(), FormattedCaptureBalance: left.formatted(),
		VoidBalanceCents: voidable.cents, VoidBalanceFloat: voidable.float(), FormattedVoidBalance: voidable.formatted(),
		CaptureBefore: momentOrNull(h.Deadline()), CaptureBeforeSource: orNull(h.DeadlineSource()), Network: orNull(h.Network), Initiator: orNull(h.Initiator),
		RenewingSince: momentOrNull(h.RenewingSince), NextActions: models.HoldActions(h, c.api.now(), c.renewable(h)), ClosedAt: momentOrNull(h.ClosedAt), ClosedReason: orNull(h.ClosedReason),
		common: commonOf(h.Labels, moment{h.CreatedAt}, moment{h.UpdatedAt}),
	}, h)
}

// renewable: the hold's gateway can renew it. Asked for few holds only: those
// that people were warned of.
func (c *call) renewable(h models.Authorization) bool {
	if h.WarnedHours == nil || h.ClosedAt != nil {
		return false
	}
	g, err := c.api.store.GatewayByID(c.Context(), h.PaymentGatewayID)
	return err == nil && slices.ContainsFunc(c.api.accounts, func(a Account) bool { return a.Slug == g.Slug && a.Reauthorize })
}

func (c *call) holds(holds []models.Authorization) ([]*resource, error) {
	ids := make([]string, len(holds))
	for i, h := range holds {
		ids[i] = h.OrderID
	}
	types, err := c.sourceTypes(ids)
	if err != nil {
		return nil, err
	}
	rs := make([]*resource, len(holds))
	for i, h := range holds {
		rs[i] = c.hold(h, types[h.OrderID])
	}
	return rs, nil
}

func (c *call) sourceTypes(orderIDs []string) (map[string]string, error) {
	if len(orderIDs) == 0 {
		return nil, nil
	}
	return c.api.store.SourceTypes(c.Context(), orderIDs)
}

func (a *API) holdResource() *resourceType {
	return &resourceType{
		name: "authorizations", attributes: attributeNames(holdAttributes{}),
		filters: []string{"id_eq", "order_id_eq", "reference_eq", "gateway_transaction_id_eq"},
		find: func(c *call, id string) (*resource, error) {
			h, err := c.api.store.Authorization(c.Context(), c.who.Mode, id)
			if err != nil {
				return nil, err
			}
			rs, err := c.holds([]models.Authorization{h})
			if err != nil {
				return nil, err
			}
			return rs[0], nil
		},
		relations: []relation{
			{name: "order", target: func() *resourceType { return a.orderType }, load: toOne(orderOf, ordersByID)},
			{
				name: "captures", many: true, target: func() *resourceType { return a.captureType },
				load: toMany(authorizationOf, operationsBy(models.Capture, store.ByAuthorization)),
				nested: func(c *call, id string) error {
					return c.listOperations(models.Capture, store.Filter{AuthorizationID: id})
				},
			},
			{
				name: "voids", many: true, target: func() *resourceType { return a.voidType },
				load: toMany(authorizationOf, operationsBy(models.Void, store.ByAuthorization)),
				nested: func(c *call, id string) error {
					return c.listOperations(models.Void, store.Filter{AuthorizationID: id})
				},
			},
			{name: "payment_source", target: nothing},
			{name: "attachments", many: true, target: nothing},
			{name: "event_stores", many: true, target: nothing},
		},
	}
}

// listHolds lists authorizations: all, or those of one order.
func (c *call) listHolds(orderID string) error {
	t := c.api.holdType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	f := store.HoldFilter{
		Mode: c.who.Mode, ID: q.filters["id_eq"], OrderID: q.filters["order_id_eq"], Reference: q.filters["reference_eq"],
		GatewayTransactionID: q.filters["gateway_transaction_id_eq"], Newest: q.newest,
	}
	if orderID != "" {
		if f.OrderID != "" && f.OrderID != orderID {
			return c.list(t, nil, 0, q)
		}
		f.OrderID = orderID
	}
	holds, total, err := c.api.store.FindHolds(c.Context(), f, q.page)
	if err != nil {
		return err
	}
	rs, err := c.holds(holds)
	if err != nil {
		return err
	}
	return c.list(t, rs, total, q)
}

// createHold registers a hold that exists at the gateway.
func (c *call) createHold() error {
	t := c.api.holdType
	in, err := c.input(t, "")
	if err != nil {
		return err
	}
	in.require("amount_cents", "gateway_transaction_id")
	hold := models.Authorization{
		Mode: c.who.Mode, GatewayTransactionID: in.token("gateway_transaction_id"), CurrencyCode: in.currency("currency_code"),
		CaptureBefore: in.moment("capture_before", c.api.now()), Network: in.word("network", networks...),
		Initiator: in.word("initiator", models.ByCustomer, models.ByMerchant),
	}
	if amount := in.cents("amount_cents", 1); amount != nil {
		hold.AmountCents = *amount
	}
	hold.Labels = newLabels(in.labels())
	hold.OrderID = in.relation("order", "orders", true)
	if err := in.done(t.attributes); err != nil {
		return err
	}
	account, err := c.placeHold(&hold)
	if err != nil {
		return missing(err, "/data/relationships/order")
	}
	if err := c.askedOf(in, account, &hold); err != nil {
		return err
	}
	isNew := false
	_, err = c.api.enqueuer.Do(c.Context(), func(ctx context.Context, tx store.Tx) (p enqueuer.Published, err error) {
		p, hold, isNew, err = c.api.enqueuer.RegisterHold(ctx, tx, hold, c.who.Actor())
		return p, err
	})
	if err != nil {
		return in.refused(err, "/data/relationships/order")
	}
	return c.again(created(isNew), t, hold.ID, in.query)
}

// placeHold fills in what a hold has from its order: the account, which it
// returns, and the currency unless it was given.
func (c *call) placeHold(h *models.Authorization) (account models.PaymentGateway, err error) {
	order, err := c.api.store.Order(c.Context(), c.who.Mode, h.OrderID)
	if err != nil {
		return account, err
	}
	method, err := c.api.store.PaymentMethod(c.Context(), c.who.Mode, order.PaymentMethodID)
	if err != nil {
		return account, err
	}
	h.OrderID, h.PaymentGatewayID = order.ID, method.PaymentGatewayID
	if h.CurrencyCode == "" {
		h.CurrencyCode = order.CurrencyCode
	}
	if account, err = c.api.store.GatewayByID(c.Context(), method.PaymentGatewayID); err != nil {
		return account, err
	}
	for _, a := range c.api.accounts {
		if a.Slug == account.Slug {
			h.MultiCapture = a.MultiCapture
		}
	}
	return account, nil
}

func (c *call) changeHold() error {
	t, id := c.api.holdType, c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	capture, amount := in.amountTrigger("_capture", "_capture_amount_cents")
	void, renew := in.trigger("_void"), in.trigger("_reauthorize")
	elsewhere, actor, reason := in.manual("capture_mechanism"), c.actor(in), in.reason()
	in.goesWith("capture_mechanism", elsewhere, capture, "_capture")
	labels := in.labels()
	in.only(map[string]bool{"_capture": capture, "_void": void, "_reauthorize": renew})
	if err := in.done(t.attributes); err != nil {
		return err
	}
	hold, err := c.api.store.Authorization(c.Context(), c.who.Mode, id)
	if err != nil {
		return err
	}
	switch {
	case capture && elsewhere:
		if _, err := c.capturedElsewhere(hold, amount, actor, reason, models.Labels{}); err != nil {
			return in.refused(err, in.asked())
		}
	case capture || void:
		_, err = c.settled(hold.OrderID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
			if void {
				return c.api.enqueuer.Void(ctx, tx, c.who.Mode, id, c.who.Actor())
			}
			return c.api.enqueuer.Capture(ctx, tx, c.who.Mode, id, amount, c.who.Actor(), models.Labels{})
		})
		if err != nil {
			return in.refused(err, in.asked())
		}
	}
	if renew {
		if c.api.reauthorize == nil {
			return in.refused(&store.Refusal{Rule: "reauthorize_unsupported", Field: "_reauthorize", Detail: "no hold can be renewed here"}, "/data")
		}
		if err := c.api.reauthorize(c.Context(), c.who.Mode, hold.ID, c.who.Actor()); err != nil {
			return in.refused(err, "/data/attributes/_reauthorize")
		}
	}
	if !labels.Empty() {
		if err := c.api.store.LabelHold(c.Context(), c.who.Mode, id, labels); err != nil {
			return err
		}
	}
	return c.again(http.StatusOK, t, id, in.query)
}

// amountTrigger reads a trigger and the attribute that overwrites its amount.
// The amount alone asks for it too; 0 is all there is.
func (in *input) amountTrigger(trigger, attribute string) (on bool, amount int64) {
	asked := in.flag(trigger)
	cents := in.cents(attribute, 1)
	if cents != nil {
		amount = *cents
	}
	if asked != nil {
		return *asked, amount
	}
	return cents != nil, amount
}
