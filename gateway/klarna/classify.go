package klarna

import (
	"fmt"
	"net/http"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. Only what is listed in rules.go is
// anything but Lost, and no success is proven here: the answer names no amount.
//
// For a look-up it says only what a failed one proves, which is nothing: the
// order of a good one is read by lookedUp.
func classify(call gateway.Label, a gateway.Answer) models.Evidence {
	base := models.Evidence{
		Source:     models.FromAnswer,
		Status:     a.Status,
		RequestID:  gateway.CleanID(a.Header.Get(correlationHeader)),
		RetryAfter: gateway.RetryAfter(a.Header),
	}
	if call == gateway.CallLookUp {
		base.Source = models.FromLookUp
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		base.Outcome, base.NextAction = models.OutcomeNotSent, gateway.NextRetry
		base.Message = a.Said("no connection to Klarna was had")
	case a.Phase != gateway.PhaseAnswered:
		base.Message = a.Said("the answer was lost")
	case a.Status == http.StatusCreated || a.Status == http.StatusNoContent:
		return success(base, call, a)
	case a.Status >= 500:
		base.NextAction = gateway.NextRetry
		base.Message = "Klarna failed to answer; the call may have taken effect"
		if e := parseError(a.Body); e != nil {
			base = withError(base, *e)
		}
	case a.Status >= 400:
		return failure(base, call, a.Body)
	default:
		base.Message = fmt.Sprintf("status %d proves nothing", a.Status)
	}
	return base
}

// failure reads a 4xx answer.
func failure(ev models.Evidence, call gateway.Label, body []byte) models.Evidence {
	code := ""
	if e := parseError(body); e != nil {
		code, ev = e.Code, withError(ev, *e)
	} else {
		ev.Message = fmt.Sprintf("status %d without an error of Klarna's", ev.Status)
		if ev.Status != http.StatusUnauthorized {
			return ev
		}
		ev.ErrorCode = "UNAUTHORIZED"
	}
	then := ruleOf(call, ev.Status, code)
	ev.Outcome, ev.Class, ev.Answered, ev.NextAction = then.outcome, then.class, then.answered, then.next
	return ev
}

func withError(ev models.Evidence, e apiError) models.Evidence {
	ev.ErrorCode = gateway.CleanText(e.Code)
	if ev.RequestID == "" {
		ev.RequestID = gateway.CleanID(e.Correlation)
	}
	for i, m := range e.Messages {
		switch m = gateway.CleanText(m); {
		case m == "":
		case i == 0:
			ev.Message = m
		case ev.ErrorDetail == "":
			ev.ErrorDetail = m
		}
	}
	return ev
}

// success reads a 201 or a 204. It proves that something stands under our key; what
// it is, and how much, is read next.
func success(ev models.Evidence, call gateway.Label, a gateway.Answer) models.Evidence {
	id := ""
	switch call {
	case gateway.CallCapture:
		id = madeID(a, captureHeader, "/captures/")
	case gateway.CallRefund:
		id = madeID(a, refundHeader, "/refunds/")
	case gateway.CallVoid, gateway.CallReauthorize:
		if a.Status == http.StatusNoContent {
			ev.Outcome, ev.Message = models.OutcomeAccepted, "Klarna did it; what became of the order is read next"
			return ev
		}
	}
	if id == "" || a.Status != http.StatusCreated {
		ev.Message = fmt.Sprintf("status %d without what it made", a.Status)
		return ev
	}
	ev.Outcome, ev.GatewayTransactionID = models.OutcomeAccepted, gateway.CleanID(id)
	ev.Message = "Klarna made it; its amount is read next"
	return ev
}

// captured reads one capture, wherever it was found.
func captured(ev models.Evidence, r gateway.Request, c capture, currency string) models.Evidence {
	ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, c.Amount, currency
	ev.GatewayTransactionID, ev.Token = gateway.CleanID(c.ID), gateway.CleanID(c.Klarna)
	ev.Class, ev.Answered, ev.NextAction, ev.Message, ev.ErrorCode, ev.ErrorDetail = "", false, "", "", "", ""
	if ev.Foreign = c.Reference != r.Reference && (c.Reference != "" || !r.OnlyOne); ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// returned reads one refund, wherever it was found. A refund without our
// reference is nobody's of ours: ours always travels.
func returned(ev models.Evidence, r gateway.Request, re refund, currency string) models.Evidence {
	ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, re.Amount, currency
	ev.GatewayTransactionID = gateway.CleanID(re.ID)
	ev.Class, ev.Answered, ev.NextAction, ev.Message, ev.ErrorCode, ev.ErrorDetail = "", false, "", "", "", ""
	if ev.Foreign = re.Reference != r.Reference; ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}
