package braintree

import (
	"context"
	"net/http"
	"slices"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// maxRefunds bounds the refunds of one transaction that are read.
const maxRefunds = 20

// LookUp reads the transaction and, for a refund, those that gave it back.
func (a *Adapter) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	ev := lookedUp(r, a.read(ctx, gateway.CallLookUp, r))
	a.client.Count(gateway.CallLookUp, ev.Outcome)
	return ev
}

// sight is what a look saw. It is plain data, so that what it proves is decided
// by pure functions.
type sight struct {
	ev   models.Evidence // of the last answer; how a look ends that saw nothing
	ok   bool            // sale was read
	sale transaction
	// listed: back is everything that was refunded. Otherwise ev says why not.
	listed bool
	back   []transaction
}

// read reads the transaction r.Hold and, where r is a refund, its refunds.
func (a *Adapter) read(ctx context.Context, label gateway.Label, r gateway.Request) sight {
	if err := checkID("hold", r.Hold); err != nil {
		return sight{ev: models.Evidence{Source: models.FromLookUp, ErrorCode: "hold_not_valid", Message: err.Error(), NextAction: gateway.NextContact}}
	}
	sale, ev, ok := a.readOne(ctx, label, r, r.Hold)
	s := sight{ev: ev, ok: ok, sale: sale}
	switch {
	case !ok:
		return s
	case sale.Type != typeSale:
		s.ok, s.ev.Message = false, "the transaction is no sale"
		return s
	case r.Kind != models.Refund:
		return s
	}
	ids := sale.refunds()
	if len(ids) > maxRefunds {
		s.ev.Message, s.ev.NextAction = "the transaction has more refunds than are ever read", gateway.NextContact
		return s
	}
	for _, id := range ids {
		re, ev, ok := a.readOne(ctx, label, r, id)
		if ok && (re.Type != typeCredit || re.Refunded != "" && re.Refunded != sale.ID) {
			ok, ev.Message = false, "what the transaction names as its refund is none"
		}
		if !ok {
			s.ev = ev
			return s
		}
		s.back = append(s.back, re)
	}
	s.listed = true
	return s
}

func (a *Adapter) readOne(ctx context.Context, label gateway.Label, r gateway.Request, id string) (transaction, models.Evidence, bool) {
	if !validID(id) {
		return transaction{}, models.Evidence{Source: models.FromLookUp, Message: "the transaction names something that is no id", NextAction: gateway.NextContact}, false
	}
	answer := a.send(ctx, label, http.MethodGet, a.path(id, ""), nil)
	ev := classify(opLook, r, answer).Evidence
	if answer.Phase != gateway.PhaseAnswered || answer.Status != http.StatusOK {
		return transaction{}, ev, false
	}
	t, ok := parseTransaction(answer.Body)
	if !ok || t.ID != id {
		ev.Message = "status 200 without the transaction that was asked for"
		return transaction{}, ev, false
	}
	return t, ev, true
}

// lookedUp says what a look proves. It is pure.
func lookedUp(r gateway.Request, s sight) models.Evidence {
	if !s.ok {
		return s.ev
	}
	if !s.sale.Expires.IsZero() {
		at := s.sale.Expires.Time
		s.ev.HoldEndsAt = &at
	}
	switch r.Kind {
	case models.Capture:
		return lookedCapture(r, s)
	case models.Void:
		return lookedVoid(s)
	case models.Refund:
		return lookedRefund(r, s)
	}
	return s.ev
}

// whose says by whom a transaction was submitted, as far as its order id tells.
type whose int

const (
	somebodys whose = iota // not ours, as far as anybody can see
	ours
	siblings // another capture's that some Capstan made
)

// owner: a shop gives its sales order ids of its own, and people can change
// them, so that one that no Capstan made says nothing. Then the status decides,
// if no other capture was ever asked of the hold.
func (t transaction) owner(r gateway.Request) whose {
	switch {
	case t.OrderID == r.Reference:
		return ours
	case made(t.OrderID, "cap_"):
		return siblings
	case r.OnlyOne:
		return ours
	}
	return somebodys
}

// lookedCapture says what the sale shows of our capture. It is pure.
func lookedCapture(r gateway.Request, s sight) models.Evidence {
	t, ev := s.sale, s.ev
	switch {
	case len(t.Parts) > 0:
		ev.Message, ev.NextAction = "it was submitted for settlement in parts, which are other transactions", gateway.NextContact
		return ev
	case t.Status == statusAuthorized && !t.took():
		// By definition nothing took effect on it.
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold stands and nothing was captured"
		return ev
	case t.Status == statusExpired, t.Status == statusProcessorDeclined, t.Status == statusRejected:
		return over(ev, t)
	case t.Status == statusVoided && len(t.History) == 0:
		ev.Message, ev.NextAction = "the transaction is voided and does not tell what it was before", gateway.NextContact
		return ev
	case t.Status == statusVoided && !t.took(), t.fell() && !t.took():
		return over(ev, t)
	case t.Status != statusVoided && !t.fell() && !t.takes():
		ev.Message = "the transaction is " + gateway.CleanText(t.Status)
		return ev
	}
	owner := t.owner(r)
	if owner == siblings && !r.OnlyOne || owner != ours && !t.takes() {
		// It can be submitted once, and somebody else had it: ours can never be made.
		return over(ev, t)
	}
	ev = captured(ev, t)
	if owner != ours && ev.Outcome != models.OutcomeLost {
		ev.Foreign, ev.NextAction = true, gateway.NextContact
	}
	return ev
}

// takes: the money moves or has moved. fell: it was declined on its way.
func (t transaction) takes() bool { return slices.Contains(taking, t.Status) }
func (t transaction) fell() bool  { return slices.Contains(gone, t.Status) }

// over: there is nothing to capture any more, and our capture took nothing.
func over(ev models.Evidence, t transaction) models.Evidence {
	ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, gateway.NextCancel
	ev.ErrorCode, ev.GatewayTransactionID = gateway.CleanText(t.Status), gateway.CleanID(t.ID)
	ev.Message = "the transaction is " + gateway.CleanText(t.Status)
	return ev
}

// captured reads a sale that was submitted, and what became of it.
func captured(ev models.Evidence, t transaction) models.Evidence {
	cents, currency, ok := t.taken()
	ev.GatewayTransactionID, ev.Token, ev.Message = gateway.CleanID(t.ID), gateway.CleanID(t.ID), gateway.CleanText(t.Status)
	if !ok {
		ev.Message, ev.NextAction = "Braintree says that it was captured and names no amount", gateway.NextContact
		return ev
	}
	ev.CurrencyCode, ev.NextAction = currency, ""
	switch {
	case t.Status == statusVoided, t.fell():
		ev.Outcome, ev.AmountCents, ev.TookCents, ev.NextAction = models.OutcomeTakenBack, cents, cents, gateway.NextContact
		code, text := t.words()
		ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(t.Status), gateway.CleanText(code+" "+text)
		ev.Message = "it was submitted for settlement, and is " + gateway.CleanText(t.Status)
		return ev
	case t.Status == statusPending:
		ev.Outcome, ev.AmountCents = models.OutcomeAccepted, cents
		return ev
	}
	ev.Outcome, ev.AmountCents = models.OutcomeConfirmed, cents
	return disputed(ev, t)
}

// lookedVoid says what the sale shows of the hold's release. It is pure.
func lookedVoid(s sight) models.Evidence {
	t, ev := s.sale, s.ev
	switch {
	case t.Status == statusAuthorized:
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold is not voided"
	case t.Status == statusVoided, t.Status == statusExpired:
		return released(ev, t)
	case t.takes():
		ev = over(ev, t)
		ev.NextAction, ev.Message = gateway.NextCancel, "the hold was captured; it can only be refunded"
	case t.fell(), t.Status == statusProcessorDeclined, t.Status == statusRejected:
		return over(ev, t)
	default:
		ev.Message = "the transaction is " + gateway.CleanText(t.Status)
	}
	return ev
}

// released is a hold that holds nothing any more, by whomever. What had been
// submitted of it was captured, and given back, rather than released.
func released(ev models.Evidence, t transaction) models.Evidence {
	cents, currency, ok := t.held()
	if t.took() {
		taken, _, known := t.taken()
		cents, ok = cents-taken, ok && known
	}
	if !ok || cents < 0 || len(t.History) == 0 {
		ev.Message, ev.NextAction = "Braintree says that the hold is released and names no amount that fits", gateway.NextContact
		return ev
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeConfirmed, cents, currency, ""
	ev.GatewayTransactionID, ev.Message = gateway.CleanID(t.ID), gateway.CleanText(t.Status)
	return ev
}
