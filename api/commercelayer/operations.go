package commercelayer

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// transactionAttributes are what captures, refunds and voids have in common.
type transactionAttributes struct {
	Number               string  `json:"number"`
	PaymentMethodType    *string `json:"payment_method_type"`
	CurrencyCode         string  `json:"currency_code"`
	AmountCents          *int64  `json:"amount_cents"`
	AmountFloat          any     `json:"amount_float"`
	FormattedAmount      *string `json:"formatted_amount"`
	Succeeded            bool    `json:"succeeded"`
	Message              *string `json:"message"`
	ErrorCode            *string `json:"error_code"`
	ErrorDetail          *string `json:"error_detail"`
	Token                *string `json:"token"`
	GatewayTransactionID *string `json:"gateway_transaction_id"`
}

// ownAttributes are Capstan's: what Commerce Layer does not say about a
// transaction, and an operator needs.
type ownAttributes struct {
	State          string  `json:"state"`
	Cause          string  `json:"cause"`
	NeedsAttention *string `json:"needs_attention"`
	// AssertedBy is the person whose word is the only proof.
	AssertedBy *string `json:"asserted_by"`
	// NextActions are what a person can do about it.
	NextActions          []string `json:"next_actions"`
	ConfirmedAmountCents *int64   `json:"confirmed_amount_cents"`
	GatewayReference     string   `json:"gateway_reference"`
	NextAttemptAt        *string  `json:"next_attempt_at"`
	FinishedAt           *string  `json:"finished_at"`
}

type operationAttributes struct {
	transactionAttributes
	common
	ownAttributes
}

type refundAttributes struct {
	transactionAttributes
	// RefundMechanism is manual for what a person gave back.
	RefundMechanism *string `json:"refund_mechanism"`
	common
	ownAttributes
}

type captureAttributes struct {
	transactionAttributes
	// CaptureMechanism is manual for what a person captured.
	CaptureMechanism       *string `json:"capture_mechanism"`
	RefundAmountCents      *int64  `json:"refund_amount_cents"`
	RefundAmountFloat      any     `json:"refund_amount_float"`
	FormattedRefundAmount  *string `json:"formatted_refund_amount"`
	RefundBalanceCents     *int64  `json:"refund_balance_cents"`
	RefundBalanceFloat     any     `json:"refund_balance_float"`
	FormattedRefundBalance *string `json:"formatted_refund_balance"`
	common
	ownAttributes
}

func (a *API) typeOf(kind models.Kind) *resourceType {
	switch kind {
	case models.Refund:
		return a.refundType
	case models.Void:
		return a.voidType
	}
	return a.captureType
}

func (c *call) operation(op models.Operation, next []string, sourceType string) *resource {
	amount := of(op.AmountCents, op.CurrencyCode)
	t := transactionAttributes{
		Number: op.Number, PaymentMethodType: orNull(sourceType), CurrencyCode: op.CurrencyCode,
		AmountCents: amount.cents, AmountFloat: amount.float(), FormattedAmount: amount.formatted(),
		Succeeded: op.State == models.Succeeded || op.State == models.Reset,
		Message:   orNull(op.Message), ErrorCode: orNull(op.ErrorCode), ErrorDetail: orNull(op.ErrorDetail),
		Token: orNull(op.Token), GatewayTransactionID: orNull(op.GatewayTransactionID),
	}
	own := ownAttributes{
		State: string(op.State), Cause: string(op.Cause), NeedsAttention: orNull(op.NeedsAttention), AssertedBy: orNull(op.AssertedBy), ConfirmedAmountCents: op.ConfirmedCents,
		GatewayReference: op.GatewayReference, FinishedAt: momentOrNull(op.FinishedAt), NextActions: append([]string{}, next...),
	}
	if op.State.Live() {
		own.NextAttemptAt = momentOrNull(op.NextAt)
	}
	ending := commonOf(op.Labels, moment{op.CreatedAt}, moment{op.UpdatedAt})
	switch op.Kind {
	case models.Void:
		return c.render(c.api.voidType, op.ID, operationAttributes{t, ending, own}, op)
	case models.Refund:
		return c.render(c.api.refundType, op.ID, refundAttributes{t, orNull(op.Mechanism), ending, own}, op)
	}
	refund, balance := of(op.RefundRequestedCents, op.CurrencyCode), of(op.RefundBalance(), op.CurrencyCode)
	return c.render(c.api.captureType, op.ID, captureAttributes{
		transactionAttributes: t, CaptureMechanism: orNull(op.Mechanism),
		RefundAmountCents: refund.cents, RefundAmountFloat: refund.float(), FormattedRefundAmount: refund.formatted(),
		RefundBalanceCents: balance.cents, RefundBalanceFloat: balance.float(), FormattedRefundBalance: balance.formatted(),
		common: ending, ownAttributes: own,
	}, op)
}

func (c *call) operations(_ models.Kind, ops []models.Operation) ([]*resource, error) {
	ids := make([]string, len(ops))
	for i, op := range ops {
		ids[i] = op.OrderID
	}
	types, err := c.sourceTypes(ids)
	if err != nil {
		return nil, err
	}
	next, err := c.nextActions(ops)
	if err != nil {
		return nil, err
	}
	rs := make([]*resource, len(ops))
	for i, op := range ops {
		rs[i] = c.operation(op, next[op.ID], types[op.OrderID])
	}
	return rs, nil
}

// nextActions are what a person can do about each of the operations. What
// failed depends on its hold: of one that has ended nothing can be taken again.
func (c *call) nextActions(ops []models.Operation) (map[string][]string, error) {
	var ids []string
	for _, op := range ops {
		if op.State == models.Failed {
			ids = append(ids, op.AuthorizationID)
		}
	}
	holds := map[string]*models.Authorization{}
	if len(ids) > 0 {
		found, err := c.api.store.HoldsBy(c.Context(), c.who.Mode, store.ByID, ids, len(ids))
		if err != nil {
			return nil, err
		}
		for i, h := range found {
			holds[h.ID] = &found[i]
		}
	}
	next := make(map[string][]string, len(ops))
	for _, op := range ops {
		next[op.ID] = models.NextActionsOn(op, holds[op.AuthorizationID])
	}
	return next, nil
}

func (a *API) operationResource(kind models.Kind) *resourceType {
	t := &resourceType{
		name: string(kind) + "s", attributes: attributeNames(operationAttributes{}),
		filters: []string{"id_eq", "order_id_eq", "reference_eq", "succeeded_eq", "succeeded_true", "state_eq", "needs_attention_present"},
		find: func(c *call, id string) (*resource, error) {
			op, err := c.api.store.Operation(c.Context(), c.who.Mode, kind, id)
			if err != nil {
				return nil, err
			}
			rs, err := c.operations(kind, []models.Operation{op})
			if err != nil {
				return nil, err
			}
			return rs[0], nil
		},
		relations: []relation{
			{name: "order", target: func() *resourceType { return a.orderType }, load: toOne(orderOf, ordersByID)},
			{name: "payment_source", target: nothing},
			{name: "attachments", many: true, target: nothing},
			{name: "events", many: true, target: nothing, load: loadEvents, alone: true},
			{name: "event_stores", many: true, target: nothing},
		},
	}
	authorization := relation{
		name: "reference_authorization", target: func() *resourceType { return a.holdType }, load: toOne(authorizationOf, holdsBy(store.ByID)),
	}
	switch kind {
	case models.Capture:
		t.attributes = attributeNames(captureAttributes{})
		t.filters = append(t.filters, "authorization_id_eq", "reference_authorization_id_eq")
		t.relations = append(t.relations, authorization, relation{
			name: "refunds", many: true, target: func() *resourceType { return a.refundType }, load: toMany(captureOf, operationsBy(models.Refund, store.ByCapture)),
			nested: func(c *call, id string) error { return c.listOperations(models.Refund, store.Filter{CaptureID: id}) },
		}, relation{name: "return", target: nothing})
	case models.Refund:
		t.attributes = attributeNames(refundAttributes{})
		t.filters = append(t.filters, "capture_id_eq", "reference_capture_id_eq")
		t.relations = append(t.relations, relation{
			name: "reference_capture", target: func() *resourceType { return a.captureType }, load: toOne(captureOf, operationsBy(models.Capture, store.ByID)),
		}, relation{name: "return", target: nothing})
	case models.Void:
		t.filters = append(t.filters, "authorization_id_eq", "reference_authorization_id_eq")
		t.relations = append(t.relations, authorization)
	}
	return t
}

// listOperations lists operations of a kind under what the path already says.
func (c *call) listOperations(kind models.Kind, f store.Filter) error {
	t := c.api.typeOf(kind)
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	f.Mode, f.Newest = c.who.Mode, q.newest
	for _, one := range []struct {
		into  *string
		names []string
	}{
		{&f.ID, []string{"id_eq"}},
		{&f.OrderID, []string{"order_id_eq"}},
		{&f.AuthorizationID, []string{"authorization_id_eq", "reference_authorization_id_eq"}},
		{&f.CaptureID, []string{"capture_id_eq", "reference_capture_id_eq"}},
		{&f.Reference, []string{"reference_eq"}},
	} {
		for _, name := range one.names {
			value, there := q.filters[name]
			if there && *one.into != "" && *one.into != value {
				return c.list(t, nil, 0, q) // the path says one, the filter another
			}
			if there {
				*one.into = value
			}
		}
	}
	f.State = models.State(q.filters["state_eq"])
	for name, into := range map[string]**bool{"succeeded_eq": &f.Succeeded, "succeeded_true": &f.Succeeded, "needs_attention_present": &f.NeedsAttention} {
		value, there, err := q.truth(name)
		if err != nil {
			return err
		}
		if there {
			*into = &value
		}
	}
	ops, total, err := c.api.store.Operations(c.Context(), kind, f, q.page)
	if err != nil {
		return err
	}
	rs, err := c.operations(kind, ops)
	if err != nil {
		return err
	}
	return c.list(t, rs, total, q)
}

// createCapture captures an order by hand: as much as its oldest hold with
// anything left, and the order, allow.
func (c *call) createCapture() error {
	t := c.api.captureType
	in, err := c.input(t, "")
	if err != nil {
		return err
	}
	labels, elsewhere, actor, reason := newLabels(in.labels()), in.manual("capture_mechanism"), c.actor(in), in.reason()
	orderID := in.relation("order", "orders", true)
	if err := in.done(t.attributes); err != nil {
		return err
	}
	const at = "/data/relationships/order"
	order, err := c.api.store.Order(c.Context(), c.who.Mode, orderID)
	if err != nil {
		return missing(err, at)
	}
	holds, err := c.api.store.Authorizations(c.Context(), order.ID)
	if err != nil {
		return err
	}
	if len(holds) == 0 {
		return in.refused(&store.Refusal{Rule: "no_authorization", Detail: "the order has no authorization to capture"}, at)
	}
	hold := holds[0]
	for _, h := range holds {
		if h.Left() > 0 {
			hold = h
			break
		}
	}
	if elsewhere {
		op, err := c.capturedElsewhere(hold, 0, actor, reason, labels)
		if err != nil {
			return in.refused(err, at)
		}
		return c.again(http.StatusCreated, t, op.ID, in.query)
	}
	p, err := c.settled(order.ID, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
		return c.api.enqueuer.Capture(ctx, tx, c.who.Mode, hold.ID, 0, c.who.Actor(), labels)
	})
	if err != nil {
		return in.refused(err, at)
	}
	return c.again(http.StatusCreated, t, p.Operations[0].ID, in.query)
}

// loadEvents reads the history of one operation.
func loadEvents(c *call, from []*resource) (map[string][]*resource, error) {
	loaded := map[string][]*resource{}
	for _, r := range from {
		steps, err := c.api.store.History(c.Context(), r.ID)
		if err != nil {
			return nil, err
		}
		for _, step := range steps {
			loaded[r.ID] = append(loaded[r.ID], c.event(r.Type, step))
		}
	}
	return loaded, nil
}

type eventAttributes struct {
	Name                 string          `json:"name"`
	Version              int64           `json:"version"`
	FromState            *string         `json:"from_state"`
	ToState              string          `json:"to_state"`
	Actor                string          `json:"actor"`
	Reason               *string         `json:"reason"`
	AmountCents          *int64          `json:"amount_cents"`
	CurrencyCode         *string         `json:"currency_code"`
	GatewayTransactionID *string         `json:"gateway_transaction_id"`
	Evidence             json.RawMessage `json:"evidence"`
	CreatedAt            string          `json:"created_at"`
}

// event renders one step. It is read through its operation only, so it has no
// link of its own.
func (c *call) event(typ string, step models.HistoryRow) *resource {
	evidence := step.Evidence
	if len(evidence) == 0 {
		evidence = json.RawMessage("{}")
	}
	return &resource{
		Type: "events", ID: step.OperationID + "-" + strconv.FormatInt(step.Version, 10),
		Attributes: eventAttributes{
			Name: typ + "." + string(step.Event), Version: step.Version, FromState: orNull(string(step.From)), ToState: string(step.To),
			Actor: step.Actor, Reason: orNull(step.Reason), AmountCents: step.AmountCents, CurrencyCode: orNull(step.CurrencyCode),
			GatewayTransactionID: orNull(step.GatewayTransactionID), Evidence: evidence, CreatedAt: moment{step.OccurredAt}.String(),
		},
		Meta: &resourceMeta{Mode: c.who.Mode},
	}
}
