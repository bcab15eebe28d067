package klarna

import (
	"context"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// LookUp reads the order, which lists its captures and refunds.
func (a *Adapter) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.lookUp(ctx, r)
	a.client.Count(gateway.CallLookUp, ev.Outcome)
	return ev
}

func (a *Adapter) lookUp(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("order", r.Hold); err != nil {
		return models.Evidence{Source: models.FromLookUp, ErrorCode: "hold_not_valid", Message: err.Error(), NextAction: gateway.NextContact}
	}
	return lookedUp(r, a.read(ctx, gateway.CallLookUp, r.Hold))
}

// sight is what a look-up saw. It is plain data, so that what it proves is
// decided by a pure function.
type sight struct {
	ev    models.Evidence // how a look ends that saw nothing
	ok    bool            // the order was read
	order order
}

// read reads the order.
func (a *Adapter) read(ctx context.Context, call gateway.Label, hold string) sight {
	answer := a.get(ctx, call, orderPath(hold))
	s := sight{ev: classify(gateway.CallLookUp, answer)}
	if answer.Phase != gateway.PhaseAnswered || answer.Status != http.StatusOK {
		return s
	}
	if s.order, s.ok = parseOrder(answer.Body, hold); !s.ok {
		s.ev.Message = "status 200 without the order that was asked for, whole"
		return s
	}
	s.ev.Message, s.ev.HoldEndsAt = "", s.order.ends()
	return s
}

// lookedUp says what a look proves. It is pure.
func lookedUp(r gateway.Request, s sight) models.Evidence {
	if !s.ok {
		return s.ev
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

// lookedCapture finds our capture among those of the order.
func lookedCapture(r gateway.Request, s sight) models.Evidence {
	ev, o := s.ev, s.order
	var ours []models.Evidence
	for _, c := range o.Captures {
		if c.Reference == r.Reference && r.Reference != "" {
			ours = append(ours, captured(ev, r, c, o.Currency))
		}
	}
	if len(ours) > 0 {
		return sum(ours, "more than one capture under the same reference")
	}
	taken, whole := o.captured()
	if !whole || o.Remaining == nil {
		ev.Message = "the order's captures do not add up to what it says was captured"
		return ev
	}
	left := *o.Remaining
	switch o.Status {
	case orderCancelled, orderExpired:
		return gone(ev, o, "ORDER_"+o.Status)
	case orderClosed, orderCaptured:
		if left > 0 || o.Status == orderCaptured && taken == 0 {
			ev.Message = "the order is " + o.Status + ", and its amounts say otherwise"
			return ev
		}
		if taken == 0 {
			return gone(ev, o, "ORDER_"+o.Status)
		}
	case orderAuthorized, orderPart:
		if (o.Status == orderPart) != (taken > 0) {
			ev.Message = "the order is " + o.Status + ", and its captures say otherwise"
			return ev
		}
		switch {
		case taken == 0 && o.Fraud == fraudRejected:
			return gone(ev, o, "FRAUD_REJECTED")
		case taken == 0, left >= r.AmountCents:
			ev.Outcome, ev.Message = models.OutcomeNone, "the order stands and lists no capture under this reference"
			return ev
		}
	default:
		ev.Message = "the order's status is not known here: " + gateway.CleanText(o.Status)
		return ev
	}
	return usedUp(ev, r, o, left)
}

// usedUp: others have left too little of the order for this capture.
func usedUp(ev models.Evidence, r gateway.Request, o order, left int64) models.Evidence {
	siblings := true
	for _, c := range o.Captures {
		siblings = siblings && made(c.Reference, "cap_")
	}
	if siblings && !r.OnlyOne {
		// Our own earlier captures used it up: this one can never be made.
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, left == 0, gateway.NextCancel
		ev.ErrorCode, ev.Message = "CAPTURE_NOT_ALLOWED", "other captures have left too little of the order"
		return ev
	}
	ev = captured(ev, r, o.Captures[0], o.Currency)
	if ev.Foreign = ev.Foreign || len(o.Captures) > 1; ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// made recognises a reference that some Capstan made.
func made(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

func gone(ev models.Evidence, o order, code string) models.Evidence {
	ev.Outcome, ev.HoldGone, ev.NextAction, ev.ErrorCode = models.OutcomeRefused, true, gateway.NextCancel, code
	ev.GatewayTransactionID = gateway.CleanID(o.ID)
	ev.Message = "the order is " + o.Status + " at Klarna"
	if code == "FRAUD_REJECTED" {
		ev.Message = "Klarna has rejected the order"
	}
	return ev
}

// sum tells several movements under one reference as what they come to, so that
// the difference is seen.
func sum(verdicts []models.Evidence, twice string) models.Evidence {
	verdict := verdicts[0]
	for _, next := range verdicts[1:] {
		verdict.AmountCents += next.AmountCents
		verdict.Message = twice
	}
	return verdict
}

// lookedVoid says whether the order still holds something. A void carries no
// reference: whoever released it, it is released.
func lookedVoid(s sight) models.Evidence {
	ev, o := s.ev, s.order
	taken, whole := o.captured()
	total, told := o.total()
	if !whole || !told || o.Remaining == nil || taken > total {
		ev.Message = "the order's amounts do not add up"
		return ev
	}
	switch o.Status {
	case orderCancelled, orderExpired: // what nobody captured in time is the payer's again: what a void is for
	case orderAuthorized, orderPart:
		if *o.Remaining > 0 {
			ev.Outcome, ev.Message = models.OutcomeNone, "the order still holds what was not captured"
			return ev
		}
		if taken == 0 {
			ev.Message = "the order is AUTHORIZED and holds nothing, which makes no sense"
			return ev
		}
	case orderCaptured, orderClosed:
		if *o.Remaining > 0 {
			ev.Message = "the order is " + o.Status + ", and its amounts say otherwise"
			return ev
		}
	default:
		ev.Message = "the order's status is not known here: " + gateway.CleanText(o.Status)
		return ev
	}
	ev.GatewayTransactionID = gateway.CleanID(o.ID)
	if taken == total {
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, gateway.NextCancel
		ev.ErrorCode, ev.Message = "ORDER_CAPTURED", "all of the order was captured; it can only be refunded"
		return ev
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, total-taken, o.Currency
	return ev
}

// lookedRefund finds our refund among those of the order. Refunds are of the
// order: what others gave back leaves less for ours, and when that is too little
// a person must see why.
func lookedRefund(r gateway.Request, s sight) models.Evidence {
	ev, o := s.ev, s.order
	var ours []models.Evidence
	for _, re := range o.Refunds {
		if re.Reference == r.Reference && r.Reference != "" {
			ours = append(ours, returned(ev, r, re, o.Currency))
		}
	}
	if len(ours) > 0 {
		return sum(ours, "more than one refund under the same reference")
	}
	back, whole := o.refunded()
	taken, all := o.captured()
	switch {
	case !whole || !all:
		ev.Message = "the order's captures and refunds do not add up to what it says"
		return ev
	case back > 0 && taken-back < r.AmountCents:
		ev = returned(ev, r, o.Refunds[0], o.Currency)
		ev.Foreign, ev.NextAction = true, gateway.NextContact
		return ev
	}
	ev.Outcome, ev.Message = models.OutcomeNone, "the order lists no refund under this reference"
	return ev
}
