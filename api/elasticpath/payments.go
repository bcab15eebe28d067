package elasticpath

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// methodManual is a method that some clients send for what the gateway manual does.
const methodManual = "manual"

// payment is what POST …/payments asks for.
type payment struct {
	gateway, transaction, name string
	amount                     *int64
	reference                  *string
}

// cardMembers are what a card is told by. Nothing here may ever see one.
var cardMembers = []string{"number", "card_number", "verification_value", "cvv", "cvc", "card"}

// pay answers POST …/payments: a hold that the checkout made at the gateway is
// registered, or one that a person sees to is noted. The order counts as approved.
func (c *call) pay() error {
	order, err := c.order()
	if err != nil {
		return err
	}
	in, err := c.input()
	if err != nil {
		return err
	}
	ask := in.payment()
	if err := in.done(); err != nil {
		return err
	}
	account, hold, err := c.place(in, order, ask)
	if err != nil {
		return err
	}
	if err := c.askedOf(in, account, &hold); err != nil {
		return err
	}
	_, err = c.api.engine.Enqueuer.Do(c.Context(), func(ctx context.Context, tx store.Tx) (p enqueuer.Published, err error) {
		isNew := false
		if p, hold, isNew, err = c.api.engine.Enqueuer.RegisterHold(ctx, tx, hold, c.who.Actor()); err != nil || !isNew {
			return p, err
		}
		approved, err := c.api.engine.Enqueuer.Approve(ctx, tx, c.who.Mode, order.ID, c.who.Actor())
		approved.Operations = append(p.Operations, approved.Operations...)
		return approved, err
	})
	if err != nil {
		return in.refused(err)
	}
	return c.answer(order.ID, hold.ID)
}

func (in *input) payment() payment {
	var p payment
	for _, name := range cardMembers {
		if _, there := in.get(name); there {
			in.invalid("is of a card, which is never sent here; send the gateway's id in payment", "card_data", name)
		}
	}
	gateway, method := in.text("gateway"), in.text("method")
	switch {
	case method == nil || *method == "":
		in.invalid("must be given", "blank", "method")
	case *method != typeAuthorize && *method != methodManual:
		in.invalid("must be "+typeAuthorize+" or "+methodManual+"; when it is captured is the payment method's policy, or a capture call", "inclusion", "method")
	}
	switch {
	case gateway != nil && *gateway != "":
		p.gateway = *gateway
	case method != nil && *method == methodManual:
		p.gateway = methodManual
	default:
		in.invalid("must be given", "blank", "gateway")
	}
	p.amount, p.transaction, p.reference = in.amount("amount"), in.token("payment"), in.text("custom_reference")
	in.describedPayment(&p)
	return p
}

// describedPayment reads what the client calls the payment.
func (in *input) describedPayment(p *payment) {
	v, there := in.get("paymentmethod_meta")
	if !there || v == nil {
		return
	}
	m, ok := v.(map[string]any)
	if !ok {
		in.invalid("must be an object", "not_an_object", "paymentmethod_meta")
		return
	}
	if name := in.textOf(m["name"], "paymentmethod_meta", "name"); name != nil {
		p.name = *name
	}
	if reference := in.textOf(m["custom_reference"], "paymentmethod_meta", "custom_reference"); reference != nil && p.reference == nil {
		p.reference = reference
	}
}

// place makes the hold in memory: on the account of the order's payment method,
// which must be the one that the client means.
func (c *call) place(in *input, order models.Order, ask payment) (g models.PaymentGateway, h models.Authorization, err error) {
	method, err := c.api.store.PaymentMethod(c.Context(), c.who.Mode, order.PaymentMethodID)
	if err != nil {
		return g, h, err
	}
	if g, err = c.api.store.GatewayByID(c.Context(), method.PaymentGatewayID); err != nil {
		return g, h, err
	}
	a, err := c.account(method.PaymentGatewayID)
	if err != nil {
		return g, h, err
	}
	if !a.called(ask.gateway) {
		in.invalid("must be one that the order's payment method is paid through: "+strings.Join(a.Gateways, ", "), "inclusion", "gateway")
		return g, h, in.problems
	}
	h = models.Authorization{
		Mode: c.who.Mode, OrderID: order.ID, PaymentGatewayID: method.PaymentGatewayID, CurrencyCode: order.CurrencyCode,
		GatewayTransactionID: ask.transaction, MultiCapture: a.MultiCapture,
	}
	if ask.reference != nil {
		h.Reference = *ask.reference
	}
	var k kept
	k.ElasticPath.Gateway, k.ElasticPath.Name = ask.gateway, ask.name
	if h.Metadata, err = json.Marshal(k); err != nil {
		return g, h, err
	}
	return g, h, c.fill(in, a, order, ask, &h)
}

// fill completes what the client left out: the amount is what is not held yet, and
// a promise of an account that a person works is named after its order.
func (c *call) fill(in *input, a Account, order models.Order, ask payment, h *models.Authorization) error {
	if ask.transaction == "" && !a.ByHand {
		in.invalid("must be the gateway's id of the hold that the checkout made", "blank", "payment")
		return in.problems
	}
	holds, err := c.api.store.Authorizations(c.Context(), order.ID)
	if err != nil {
		return err
	}
	if ask.transaction == "" {
		h.GatewayTransactionID = fmt.Sprintf("manual_%s_%d", order.ID, len(holds)+1)
	}
	if ask.amount != nil {
		h.AmountCents = *ask.amount
		return nil
	}
	if i := slices.IndexFunc(holds, func(there models.Authorization) bool {
		return there.PaymentGatewayID == h.PaymentGatewayID && ask.transaction != "" && (there.GatewayTransactionID == ask.transaction || there.Origin() == ask.transaction)
	}); i >= 0 {
		h.AmountCents = holds[i].AmountCents // the same payment again
		return nil
	}
	h.AmountCents = order.Left()
	for _, there := range holds {
		h.AmountCents -= there.Left()
	}
	if h.AmountCents <= 0 {
		return in.refused(&store.Refusal{Rule: "nothing_left", Detail: "the order's total is held or paid already; send an amount for another payment"})
	}
	return nil
}

// askedOf asks the gateway about the hold. What contradicts the request is a problem.
func (c *call) askedOf(in *input, account models.PaymentGateway, h *models.Authorization) error {
	if c.api.describe == nil {
		return nil
	}
	found, err := worker.AskedOf(c.Context(), c.api.store, c.api.describe, account, h, false, c.api.now())
	if err != nil || len(found) == 0 {
		return err
	}
	problems := make(api.Invalid, len(found))
	for i, f := range found {
		member := "payment"
		if f.Field == "amount_cents" && in.data["amount"] != nil {
			member = "amount"
		}
		problems[i] = &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error",
			Detail: member + " " + f.Detail, Pointer: api.Pointer([]string{"data", member}), Meta: map[string]any{"error": f.Word},
		}
	}
	return problems
}
