package hellgate

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// createPayment registers a hold that exists at the gateway, with an order of
// its amount that counts as approved.
func (c *call) createPayment() error {
	in, err := c.input()
	if err != nil {
		return err
	}
	amount, currency, useCase := in.amount(), in.currency(), in.useCase()
	for _, name := range []string{"amount", "currency_code"} {
		if !in.sent(name) {
			in.invalid(name, "must be given")
		}
	}
	labels := models.Labels{Reference: in.reference()}
	flow := in.text("flow", in.members["flow"], maxText, false)
	kept, transaction := in.source()
	if err := in.done(); err != nil {
		return err
	}
	method, err := c.flow(in, flow, currency)
	if err != nil {
		return err
	}
	account, err := c.store().GatewayByID(c.Context(), method.PaymentGatewayID)
	if err != nil {
		return err
	}
	// A payment is captured once: what its capture leaves of the hold is released.
	hold := models.Authorization{Mode: c.who.Mode, PaymentGatewayID: account.ID, GatewayTransactionID: transaction, CurrencyCode: currency, AmountCents: amount}
	if err := c.describe(in, account, &hold); err != nil {
		return err
	}
	pay := enqueuer.Payment{
		Order: models.Order{Mode: c.who.Mode, PaymentMethodID: method.ID, CurrencyCode: currency, TotalAmountCents: amount, Labels: labels},
		Hold:  hold, Source: store.PaymentSource{UseCase: useCase, Source: kept},
	}
	_, err = c.api.c.Enqueuer.Do(c.Context(), func(ctx context.Context, tx store.Tx) (p enqueuer.Published, err error) {
		p, hold, _, err = c.api.c.Enqueuer.Pay(ctx, tx, pay, c.who.Actor())
		return p, err
	})
	if err != nil {
		return err
	}
	return c.payment(hold.ID)
}

// describe asks the gateway about the hold, and completes it.
func (c *call) describe(in *input, account models.PaymentGateway, hold *models.Authorization) error {
	if c.api.c.Describe == nil {
		return nil
	}
	found, err := worker.AskedOf(c.Context(), c.store(), c.api.c.Describe, account, hold, true, c.api.c.Now())
	if err != nil {
		return err
	}
	for _, f := range found {
		name := f.Field
		if word, known := own[name]; known {
			name = word
		}
		in.invalid(name, "%s", f.Detail)
	}
	return in.done()
}

// flow finds the payment method that a flow names: by its id, its reference or
// its name. Without a name it is the only one of the currency.
func (c *call) flow(in *input, name, currency string) (models.PaymentMethod, error) {
	if store.ValidID(name) {
		m, err := c.store().PaymentMethod(c.Context(), c.who.Mode, name)
		if err == nil {
			return c.inCurrency(in, m, currency)
		}
	}
	filters := []store.MethodFilter{{Mode: c.who.Mode, Reference: name}, {Mode: c.who.Mode, Name: name}}
	if name == "" {
		filters = []store.MethodFilter{{Mode: c.who.Mode, CurrencyCode: currency}}
	}
	for _, f := range filters {
		methods, _, err := c.store().PaymentMethods(c.Context(), f, store.Page{Number: 1, Size: 2})
		if err != nil {
			return models.PaymentMethod{}, err
		}
		switch {
		case len(methods) == 1:
			return c.inCurrency(in, methods[0], currency)
		case len(methods) > 1 && name == "":
			in.invalid("flow", "must name a payment method by its id, reference or name: several are in %s", currency)
			return models.PaymentMethod{}, in.done()
		case len(methods) > 1:
			in.invalid("flow", "names several payment methods; send the id of one")
			return models.PaymentMethod{}, in.done()
		}
	}
	if name == "" {
		in.invalid("flow", "must name a payment method: none is in %s", currency)
	} else {
		in.invalid("flow", "names no payment method, by id, reference or name")
	}
	return models.PaymentMethod{}, in.done()
}

func (c *call) inCurrency(in *input, m models.PaymentMethod, currency string) (models.PaymentMethod, error) {
	if m.CurrencyCode != currency {
		in.invalid("currency_code", "must be the flow's, %s", m.CurrencyCode)
	}
	return m, in.done()
}

func (c *call) showPayment() error { return c.payment(c.PathValue("id")) }

// payment reads a payment anew and answers with it.
func (c *call) payment(id string) error {
	hold, err := c.hold(id)
	if err != nil {
		return err
	}
	views, err := c.views([]models.Authorization{hold})
	if err != nil {
		return err
	}
	return c.answer(views[0].payment())
}

// hold reads the hold that a payment's id names.
func (c *call) hold(id string) (models.Authorization, error) {
	return c.store().Authorization(c.Context(), c.who.Mode, strings.ToLower(id))
}

// listPayments lists every hold, newest first, whichever way it came.
func (c *call) listPayments() error {
	number, size, err := c.page()
	if err != nil {
		return err
	}
	holds, total, err := c.store().FindHolds(c.Context(), store.HoldFilter{Mode: c.who.Mode, Newest: true}, store.Page{Number: number, Size: size})
	if err != nil {
		return err
	}
	views, err := c.views(holds)
	if err != nil {
		return err
	}
	payments := make([]payment, len(views))
	for i, v := range views {
		payments[i] = v.payment()
	}
	return c.answer(listOf(payments, number, size, total))
}

// maxOperations bounds the captures, and the voids, that a page of payments is
// read with. A hold has one of each, or a few.
const maxOperations = 10_000

// views gathers what holds are rendered from, in a fixed number of queries.
func (c *call) views(holds []models.Authorization) ([]view, error) {
	views := make([]view, len(holds))
	if len(holds) == 0 {
		return views, nil
	}
	byHold, holdIDs, orderIDs := map[string]*view{}, make([]string, len(holds)), make([]string, len(holds))
	for i, h := range holds {
		views[i].hold = h
		byHold[h.ID], holdIDs[i], orderIDs[i] = &views[i], h.ID, h.OrderID
	}
	orders, methods, err := c.ordersOf(orderIDs)
	if err != nil {
		return nil, err
	}
	sources, err := c.store().PaymentSources(c.Context(), holdIDs)
	if err != nil {
		return nil, err
	}
	for i, h := range holds {
		views[i].order, views[i].source = orders[h.OrderID], sources[h.ID]
		views[i].method = methods[views[i].order.PaymentMethodID]
	}
	for _, kind := range []models.Kind{models.Capture, models.Void} {
		ops, err := c.store().OperationsBy(c.Context(), c.who.Mode, kind, store.ByAuthorization, holdIDs, maxOperations)
		if err != nil {
			return nil, err
		}
		if len(ops) == maxOperations {
			return nil, &api.Problem{Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Too much", Detail: fmt.Sprintf("the page has %d %ss or more; ask for a smaller one", maxOperations, kind), Parameter: "limit"}
		}
		for _, o := range ops {
			v := byHold[o.AuthorizationID]
			if kind == models.Capture {
				v.captures = append(v.captures, o)
			} else {
				v.voids = append(v.voids, o)
			}
		}
	}
	return views, nil
}

func (c *call) ordersOf(ids []string) (map[string]models.Order, map[string]models.PaymentMethod, error) {
	rows, err := c.store().OrdersByID(c.Context(), c.who.Mode, ids)
	if err != nil {
		return nil, nil, err
	}
	orders, methodIDs := make(map[string]models.Order, len(rows)), make([]string, len(rows))
	for i, o := range rows {
		orders[o.ID], methodIDs[i] = o, o.PaymentMethodID
	}
	found, err := c.store().PaymentMethodsByID(c.Context(), c.who.Mode, methodIDs)
	methods := make(map[string]models.PaymentMethod, len(found))
	for _, m := range found {
		methods[m.ID] = m
	}
	return orders, methods, err
}
