package external

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// requestHeader is the answer's header that is kept for people.
const requestHeader = "X-Request-Id"

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. Only what is listed in rules.go is
// anything but Lost.
func classify(r gateway.Request, a gateway.Answer) models.Evidence {
	ev := models.Evidence{
		Source: models.FromAnswer, Status: a.Status, RequestID: gateway.CleanID(a.Header.Get(requestHeader)),
		RetryAfter: gateway.RetryAfter(a.Header), NextAction: gateway.NextRetry,
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		ev.Outcome, ev.Message = models.OutcomeNotSent, a.Said("no connection to the external gateway was had")
		return ev
	case a.Phase != gateway.PhaseAnswered:
		ev.Message = a.Said("the answer was lost")
		return ev
	case a.Status >= 500:
		ev.Message = fmt.Sprintf("status %d; the call may have taken effect", a.Status)
		return ev
	case a.Status == http.StatusConflict:
		ev.Class, ev.Message = models.ClassInProgress, "status 409: the receiver is still working on the same call"
		return ev
	case a.Status >= 300 && a.Status < 400:
		ev.Message = fmt.Sprintf("status %d: a redirect is not followed, and the call may have taken effect", a.Status)
		return ev
	}
	said, err := parse(a.Body)
	if err != nil {
		ev.NextAction = gateway.NextContact
		ev.Message = gateway.CleanText(fmt.Sprintf("status %d with an answer that is none of the contract's: %v", a.Status, err))
		return ev
	}
	return decide(ev, r, said)
}

// decide weighs an answer that could be read.
func decide(ev models.Evidence, r gateway.Request, a answer) models.Evidence {
	ev = worded(ev, a)
	outcome := ruleOf(ev.Status, form{a.success, a.actionID != ""})
	if what := a.wrong(r.Kind); what != "" || outcome == models.OutcomeLost {
		if what == "" {
			what = "its status does not agree with what it says"
		}
		ev.NextAction = gateway.NextContact
		ev.Message = gateway.CleanText(fmt.Sprintf("status %d with an answer that proves nothing: %s", ev.Status, what))
		return ev
	}
	ev.Outcome, ev.Token, ev.Metadata, ev.NextAction = outcome, a.token, a.metadata, ""
	if outcome == models.OutcomeRefused {
		ev.HoldGone = r.Kind != models.Refund && slices.Contains(goneCodes, a.failure.code)
		ev.NextAction = gateway.NextCancel
		return ev
	}
	ev.GatewayTransactionID = a.token
	if outcome == models.OutcomeAccepted { // until then it goes by the name that the callback will use
		ev.Token, ev.Message = a.actionID, "accepted; the external gateway calls back"
	}
	ev.AmountCents, ev.CurrencyCode = *a.cents, r.CurrencyCode
	if a.currency != "" {
		ev.CurrencyCode = a.currency
	}
	return ev
}

// wrong says what speaks against an answer; empty when nothing does.
func (a answer) wrong(kind models.Kind) string {
	switch {
	case a.success && a.failure != nil:
		return "it says success and names an error"
	case a.success && a.token == "":
		return "it says success without a transaction_token"
	case a.success && a.cents == nil:
		return "it says success without amount_cents"
	case a.success && *a.cents == 0 && kind != models.Void:
		return "it says success with an amount of 0"
	case !a.success && a.failure == nil:
		return "it says no success without an error"
	case !a.success && (a.failure.code == "" || a.failure.message == ""):
		return "its error lacks a code or a message"
	}
	return ""
}

// worded copies what people read.
func worded(ev models.Evidence, a answer) models.Evidence {
	ev.Message, ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(a.message), gateway.CleanText(a.errorCode), gateway.CleanText(a.errorDetail)
	if a.failure != nil {
		ev.ErrorCode, ev.Message = gateway.CleanText(a.failure.code), gateway.CleanText(a.failure.message)
	}
	return ev
}
