package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// The words of the sender's payment status that say that money was taken, and
// given back.
var (
	saysPaid     = []string{string(models.Paid), string(models.PartiallyPaid), string(models.Refunded), string(models.PartiallyRefunded)}
	saysRefunded = []string{string(models.Refunded), string(models.PartiallyRefunded)}
)

// moved applies orders.pay and orders.refund: money of the order was taken or
// given back there, and perhaps not by us. It is compared with the ledger. What
// our own operations explain is known; a capture that is open here is looked up
// before it is sent, and what nobody can explain calls a person.
func (w *Webhooks) moved(ctx context.Context, e store.InboxEvent, d orderDocument) (end, error) {
	says, rule := saysPaid, "not_paid_there"
	if e.Topic == topicRefund {
		says, rule = saysRefunded, "not_refunded_there"
	}
	if !slices.Contains(says, d.attributes.PaymentStatus) {
		return end{}, no(rule, "the order is %s there", clip(d.attributes.PaymentStatus))
	}
	order, err := w.store.OrderByReference(ctx, w.cl.Mode, d.order.ID)
	switch {
	case errors.Is(err, store.ErrNotFound) && e.Tries < strangeTries:
		return notYet(false, "no order %s is known yet", d.order.ID), nil
	case errors.Is(err, store.ErrNotFound):
		return ended(ignored, "no order %s is known here: what happens to its money is nothing of ours", d.order.ID), nil
	case err != nil:
		return end{}, err
	}
	if w.askFirst != nil { // what was lost of our own calls, before anything there is taken for another's
		if err := w.askFirst(ctx, w.cl.Mode, order.ID, actor); err != nil {
			return end{}, err
		}
	}
	return w.compare(ctx, e, d, order)
}

// strangeTries is how often such a message is tried for an order that is not
// known: as long as an approval that came before it may take to be worked.
const strangeTries = 3

func (w *Webhooks) compare(ctx context.Context, e store.InboxEvent, d orderDocument, order models.Order) (end, error) {
	holds, err := w.store.Authorizations(ctx, order.ID)
	if err != nil {
		return end{}, err
	}
	if len(holds) == 0 {
		return notYet(true, "the order %s is %s there, and no hold of it is known here", d.order.ID, clip(d.attributes.PaymentStatus)), nil
	}
	// What cannot be read is no reason to send: then the order as a whole is in doubt.
	lines, unfit := d.movements(e.Topic, order.CurrencyCode, holds)
	if unfit == nil && len(lines) == 0 {
		if lines, err = w.whole(ctx, e.Topic, d, order, holds[0]); err != nil {
			return end{}, err
		}
	}
	heard, err := w.listen(ctx, worker.Told{
		Mode: w.cl.Mode, OrderID: order.ID, Source: fmt.Sprintf("%s of %s", e.Topic, commerceLayer), Captured: true, Lines: lines,
	})
	switch {
	case err != nil:
		return end{}, err
	case heard.Busy:
		return notYet(false, "a capture of the order %s is under way", d.order.ID), nil
	case unfit != nil:
		return ended(parked, "%s; %d open captures are looked up before they are sent", unfit, heard.Looked), nil
	case len(heard.Findings) > 0:
		return ended(compared, "%s", findings(heard)), nil
	case heard.Looked > 0:
		return ended(hinted, "%d open captures of the order %s are looked up before they are sent", heard.Looked, d.order.ID), nil
	}
	_, took, err := w.known(ctx, e.Topic, order)
	if err != nil || took {
		return ended(inSync, "the ledger has what happened to the money of the order %s", d.order.ID), err
	}
	return ended(parked, "the order %s is %s there; nothing of that is in the ledger, and the gateway does not have it either", d.order.ID, clip(d.attributes.PaymentStatus)), nil
}

// known says whether an operation of the order, of the kind that a topic tells
// of, is open here, and whether one took effect.
func (w *Webhooks) known(ctx context.Context, topic string, order models.Order) (open, took bool, err error) {
	kind := models.Capture
	if topic == topicRefund {
		kind = models.Refund
	}
	ops, err := w.store.OperationsBy(ctx, order.Mode, kind, store.ByOrder, []string{order.ID}, maxTransactions)
	for _, o := range ops {
		open = open || o.State.Live()
		took = took || o.State == models.Succeeded || o.State == models.Reset || o.State == models.Reversed
	}
	return open, took, err
}

// findings are told in one sentence.
func findings(h worker.Heard) string {
	said := make([]string, 0, len(h.Findings))
	for _, f := range h.Findings {
		said = append(said, fmt.Sprintf("%s: %s: %s", f.Verdict, f.Rule, f.Outcome))
	}
	return fmt.Sprintf("%d things do not agree with the ledger: %s", len(said), strings.Join(said, "; "))
}

// whole is what a message without transactions says: the order's money was taken,
// or some of it was given back. Nothing, where our book says so too, or where
// what is open here tells of it.
func (w *Webhooks) whole(ctx context.Context, topic string, d orderDocument, order models.Order, hold models.Authorization) ([]worker.ToldLine, error) {
	open, took, err := w.known(ctx, topic, order)
	if err != nil || open || took {
		return nil, err
	}
	kind, cents := models.MovedCaptured, order.TotalAmountCents
	if topic == topicRefund {
		kind, cents = models.MovedRefunded, 0
	}
	return []worker.ToldLine{{Movement: models.Movement{
		ID: commerceLayer + ":" + d.order.ID + ":" + string(kind), Kind: kind, Hold: hold.GatewayTransactionID, AmountCents: cents, CurrencyCode: order.CurrencyCode,
		Reason: "the order is " + clip(d.attributes.PaymentStatus) + " at Commerce Layer; its transactions are not in the message: add captures and refunds to the webhook's include_resources",
	}}}, nil
}

// transactionAttributes are what is read of a capture or refund there.
type transactionAttributes struct {
	CurrencyCode         string `json:"currency_code"`
	AmountCents          int64  `json:"amount_cents"`
	Succeeded            bool   `json:"succeeded"`
	GatewayTransactionID string `json:"gateway_transaction_id"`
	Token                string `json:"token"`
	CreatedAt            string `json:"created_at"`
}

// movements reads the captures or refunds that succeeded there.
func (d *orderDocument) movements(topic, currency string, holds []models.Authorization) ([]worker.ToldLine, error) {
	typ, kind := "captures", models.MovedCaptured
	if topic == topicRefund {
		typ, kind = "refunds", models.MovedRefunded
	}
	if d.attributes.CurrencyCode != currency {
		return nil, no("currency_mismatch", "the order is in %s there and in %s here", clip(d.attributes.CurrencyCode), currency)
	}
	named, known := d.order.Relationships[typ].names()
	var lines []worker.ToldLine
	for _, o := range d.included {
		if o.Type != typ || known && !slices.ContainsFunc(named, func(n name) bool { return n.ID == o.ID }) {
			continue
		}
		var a transactionAttributes
		if !clientID.MatchString(o.ID) || json.Unmarshal(o.Attributes, &a) != nil {
			return nil, no("transaction_unreadable", "one of the included %s cannot be read", typ)
		}
		if !a.Succeeded {
			continue
		}
		if a.CurrencyCode != currency || a.AmountCents <= 0 || a.AmountCents > models.MaxCents {
			return nil, no("amounts_do_not_fit", "the %s %s is of %d %s", strings.TrimSuffix(typ, "s"), o.ID, a.AmountCents, clip(a.CurrencyCode))
		}
		if len(lines) == maxTransactions {
			return nil, no("too_many_transactions", "more than %d %s are in the message", maxTransactions, typ)
		}
		lines = append(lines, worker.ToldLine{
			Movement: models.Movement{
				ID: commerceLayer + ":" + o.ID, Kind: kind, Hold: d.holdOf(o, a, holds), AmountCents: a.AmountCents, CurrencyCode: currency,
				Reason: "told by Commerce Layer as " + strings.TrimSuffix(typ, "s") + " " + o.ID + " of " + clip(a.CreatedAt),
			},
			Names: gatewayNames(a),
		})
	}
	return lines, nil
}

// maxTransactions bounds what one order's message may ask to be compared.
const maxTransactions = 50

func gatewayNames(a transactionAttributes) (names []string) {
	for _, n := range []string{a.GatewayTransactionID, a.Token} {
		if transactionForm.MatchString(n) {
			names = append(names, n)
		}
	}
	return names
}

// holdOf is the gateway's id of the hold that a transaction there belongs to: of
// the authorization that it leads to, else the only one that we have of the
// order, or the one that the gateway calls by the transaction's own id.
func (d *orderDocument) holdOf(o object, a transactionAttributes, holds []models.Authorization) string {
	for range 2 { // a refund leads to a capture, which leads to an authorization
		leads := append(o.leads("reference_capture"), o.leads("reference_authorization")...)
		i := slices.IndexFunc(d.included, func(x object) bool {
			return slices.ContainsFunc(leads, func(n name) bool { return n.Type == x.Type && n.ID == x.ID })
		})
		if i < 0 {
			break
		}
		if o = d.included[i]; o.Type != "authorizations" {
			continue
		}
		var hold authorizationAttributes
		if json.Unmarshal(o.Attributes, &hold) != nil {
			break
		}
		if id := cmp.Or(hold.GatewayTransactionID, hold.Token); transactionForm.MatchString(id) {
			return id
		}
	}
	for _, h := range holds {
		if h.GatewayTransactionID == a.GatewayTransactionID || h.GatewayTransactionID == a.Token || len(holds) == 1 {
			return h.GatewayTransactionID
		}
	}
	return ""
}

func (o object) leads(relationship string) []name {
	names, _ := o.Relationships[relationship].names()
	return names
}
