package checkoutcom

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. Only what is listed in rules.go, or an
// acceptance that names an action, is anything but Lost.
//
// For a look-up it says only what a failed one proves, which is nothing: the
// objects of a good one are read by lookedUp.
func classify(call gateway.Label, r gateway.Request, a gateway.Answer) models.Evidence {
	base := models.Evidence{
		Source:     models.FromAnswer,
		Status:     a.Status,
		RequestID:  gateway.CleanID(a.Header.Get(requestHeader)),
		RetryAfter: gateway.RetryAfter(a.Header),
	}
	if call == gateway.CallLookUp {
		base.Source = models.FromLookUp
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		base.Outcome, base.NextAction = models.OutcomeNotSent, gateway.NextRetry
		base.Message = a.Said("no connection to Checkout.com was had")
	case a.Phase != gateway.PhaseAnswered:
		base.Message = a.Said("the answer was lost")
	case a.Status == http.StatusAccepted && call != gateway.CallLookUp:
		return acceptance(base, r, a.Body)
	case a.Status >= 500:
		base.NextAction = gateway.NextRetry
		base.Message = "Checkout.com failed to answer; the call may have taken effect"
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

// acceptance reads the answer to a call that was accepted. It says that the
// action is on its way, and nothing more.
func acceptance(ev models.Evidence, r gateway.Request, body []byte) models.Evidence {
	x, ok := parseAccepted(body)
	switch {
	case !ok:
		ev.Message = "status 202 without an action"
	case x.Reference != "" && x.Reference != r.Reference:
		ev.Message, ev.NextAction = "status 202 for another reference than ours", gateway.NextContact
	default:
		ev.Outcome, ev.GatewayTransactionID, ev.Token = models.OutcomeAccepted, gateway.CleanID(x.ActionID), gateway.CleanID(r.Hold)
		ev.Message = "Checkout.com has accepted it and decides later"
	}
	return ev
}

// failure reads a 4xx answer.
func failure(ev models.Evidence, call gateway.Label, body []byte) models.Evidence {
	e := parseError(body)
	if e == nil {
		ev.Message = fmt.Sprintf("status %d without an error of Checkout.com's", ev.Status)
		return ev
	}
	ev = withError(ev, *e)
	then := ruleOf(call, ev.Status, *e)
	ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = then.outcome, then.class, then.holdGone, then.next
	return ev
}

// statusWords are what the statuses that come without a body mean.
var statusWords = map[int][2]string{
	http.StatusUnauthorized:    {"unauthorized", "Checkout.com does not take the secret key"},
	http.StatusForbidden:       {"not_allowed", "the payment is not in a state for this"},
	http.StatusNotFound:        {"payment_not_found", "the account has no such payment"},
	http.StatusConflict:        {"in_progress", "a request under the same key is being worked on"},
	http.StatusTooManyRequests: {"too_many_requests", "Checkout.com asks to slow down"},
}

func withError(ev models.Evidence, e apiError) models.Evidence {
	words := statusWords[ev.Status]
	ev.ErrorCode, ev.ErrorDetail = words[0], cleaned(e.Type)
	if len(e.Codes) > 0 {
		ev.ErrorCode = cleaned(e.Codes[0])
	}
	if len(e.Codes) > 1 {
		ev.ErrorDetail = cleaned(strings.Join(e.Codes, ", "))
	}
	if ev.RequestID == "" {
		ev.RequestID = gateway.CleanID(e.RequestID)
	}
	switch {
	case words[1] != "":
		ev.Message = words[1]
	case ev.Message == "":
		ev.Message = "Checkout.com refused the request: " + ev.ErrorCode
	}
	return ev
}

func cleaned(s string) string { return gateway.CleanText(s) }
