package paypal

import (
	"fmt"
	"net/http"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. Only what is listed in rules.go, or
// shown by an object that names our hold, is anything but Lost.
//
// For a look-up it says only what a failed one proves, which is nothing: the
// objects of a good one are read by lookedUp.
func classify(call gateway.Label, r gateway.Request, a gateway.Answer) models.Evidence {
	ev := proof(call, r, a)
	if ev.Outcome == models.OutcomeLost && ev.NextAction == "" {
		ev.NextAction = gateway.NextRetry
	}
	return ev
}

func proof(call gateway.Label, r gateway.Request, a gateway.Answer) models.Evidence {
	base := models.Evidence{
		Source:     models.FromAnswer,
		Status:     a.Status,
		RequestID:  gateway.CleanID(a.Header.Get(debugHeader)),
		RetryAfter: gateway.RetryAfter(a.Header),
	}
	if call == gateway.CallLookUp {
		base.Source = models.FromLookUp
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		base.Outcome, base.NextAction = models.OutcomeNotSent, gateway.NextRetry
		base.Message = a.Said("no connection to PayPal was had")
	case a.Phase != gateway.PhaseAnswered:
		base.Message = a.Said("the answer was lost")
	case a.Status == http.StatusOK || a.Status == http.StatusCreated:
		return success(base, call, r, a.Body)
	case a.Status >= 500:
		base.NextAction = gateway.NextRetry
		base.Message = "PayPal failed to answer; the call may have taken effect"
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
	e := parseError(body)
	if e == nil {
		ev.Message = fmt.Sprintf("status %d without an error of PayPal's", ev.Status)
		return ev
	}
	ev = withError(ev, *e)
	then := ruleOf(call, ev.Status, *e)
	ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = then.outcome, then.class, then.holdGone, then.next
	return ev
}

func firstIssue(e apiError) string {
	if len(e.Details) == 0 {
		return ""
	}
	return e.Details[0].Issue
}

func withError(ev models.Evidence, e apiError) models.Evidence {
	ev.ErrorCode = gateway.CleanText(firstIssue(e))
	if ev.ErrorCode == "" {
		ev.ErrorCode = gateway.CleanText(e.Name)
	}
	if len(e.Details) > 0 {
		ev.ErrorDetail = gateway.CleanText(e.Details[0].Description)
		if ev.ErrorDetail == "" {
			ev.ErrorDetail = gateway.CleanText(e.Details[0].Field)
		}
	}
	if ev.RequestID == "" {
		ev.RequestID = gateway.CleanID(e.DebugID)
	}
	if m := gateway.CleanText(e.Message); m != "" {
		ev.Message = m
	}
	return ev
}

// success reads an answer with status 200 or 201. The status alone proves
// nothing: the body must be whole, name our hold, and say that money moved.
func success(ev models.Evidence, call gateway.Label, r gateway.Request, body []byte) models.Evidence {
	switch call {
	case gateway.CallCapture:
		c, ok := parseCapture(body)
		if !ok || c.hold() != "" && c.hold() != r.Hold {
			ev.Message = fmt.Sprintf("status %d without a capture of this hold", ev.Status)
			return ev
		}
		r.OnlyOne = true // it is the answer to our own call
		return captured(ev, c, r)
	case gateway.CallRefund:
		re, ok := parseRefund(body)
		if !ok || re.capture() != "" && re.capture() != r.Capture {
			ev.Message = fmt.Sprintf("status %d without a refund of this capture", ev.Status)
			return ev
		}
		return refunded(ev, re)
	case gateway.CallVoid:
		auth, ok := parseAuthorization(body)
		if !ok || auth.ID != r.Hold {
			ev.Message = fmt.Sprintf("status %d without the authorization that was asked for", ev.Status)
			return ev
		}
		if auth.Status != authVoided {
			ev.Message = "the authorization is " + gateway.CleanText(auth.Status)
			return ev
		}
		return voided(ev, auth, nil)
	case gateway.CallReauthorize:
		auth, ok := parseAuthorization(body)
		if !ok {
			ev.Message = fmt.Sprintf("status %d without an authorization", ev.Status)
			return ev
		}
		return reauthorized(ev, auth)
	}
	return ev
}

// captured reads one capture, wherever it was found.
func captured(ev models.Evidence, c capture, r gateway.Request) models.Evidence {
	cents, currency, ok := c.Amount.cents()
	ev.GatewayTransactionID = gateway.CleanID(c.ID)
	switch c.Status {
	case statusCompleted, statusRefunded, statusPartiallyRefunded:
		if !ok {
			ev.Message, ev.NextAction = "PayPal says the hold was captured and names no amount", gateway.NextContact
			return ev
		}
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeConfirmed, cents, currency, ""
	case statusPending:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeAccepted, cents, currency, pendingNext[c.Details.Reason]
		ev.ErrorDetail, ev.Message = gateway.CleanText(c.Details.Reason), "the capture is pending"
	case statusDeclined, statusFailed:
		ev.ErrorCode, ev.ErrorDetail = "CAPTURE_"+c.Status, gateway.CleanText(c.Details.Reason)
		ev.Message = "PayPal declined to capture the payer's money"
		then, listed := reasons[c.Details.Reason]
		if !listed {
			then = lookFirst
		}
		ev.Outcome, ev.NextAction = then.outcome, then.next
		return ev
	default:
		ev.Message = "the capture's status is not known here: " + gateway.CleanText(c.Status)
		return ev
	}
	ev.Foreign = c.InvoiceID != r.Reference && (c.InvoiceID != "" || !r.OnlyOne)
	if ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// pendingNext: what holds these captures up waits for the merchant, not for PayPal.
var pendingNext = map[string]string{
	"RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION": gateway.NextContact,
	"UNILATERAL":            gateway.NextContact,
	"VERIFICATION_REQUIRED": gateway.NextContact,
}

// refunded reads one refund, wherever it was found.
func refunded(ev models.Evidence, re refund) models.Evidence {
	cents, currency, ok := re.Amount.cents()
	ev.GatewayTransactionID = gateway.CleanID(re.ID)
	switch {
	case re.Status == statusCompleted && ok:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeConfirmed, cents, currency, ""
	case re.Status == statusPending:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeAccepted, cents, currency
		ev.ErrorDetail, ev.Message = gateway.CleanText(re.Details.Reason), "the refund is pending"
	case re.Status == statusFailed, re.Status == statusCancelled:
		ev.Outcome, ev.NextAction = models.OutcomeRefused, gateway.NextRetry
		ev.ErrorCode, ev.ErrorDetail = "REFUND_"+re.Status, gateway.CleanText(re.Details.Reason)
		ev.Message = "the refund is " + re.Status + "; the money is still the merchant's"
	default:
		ev.Message = "the refund's status or amount is not known here: " + gateway.CleanText(re.Status)
	}
	return ev
}

// voided reads an authorization that holds nothing any more. What was captured
// of it before was not released.
func voided(ev models.Evidence, auth authorization, before []capture) models.Evidence {
	cents, currency, ok := auth.Amount.cents()
	for _, c := range before {
		if taken, code, is := liveCents(c); is && code == currency {
			cents -= taken
		}
	}
	if !ok || cents < 0 {
		ev.Outcome, ev.Message = models.OutcomeLost, "PayPal says the hold is released and names no amount that fits"
		return ev
	}
	ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeConfirmed, false, ""
	ev.AmountCents, ev.CurrencyCode, ev.GatewayTransactionID = cents, currency, gateway.CleanID(auth.ID)
	ev.Message = ""
	return ev
}

// liveCents is what a capture took or is about to take.
func liveCents(c capture) (int64, string, bool) {
	switch c.Status {
	case statusCompleted, statusPending, statusRefunded, statusPartiallyRefunded:
		return c.Amount.cents()
	}
	return 0, "", false
}

// reauthorized reads the authorization that takes the place of the one before.
func reauthorized(ev models.Evidence, auth authorization) models.Evidence {
	cents, currency, ok := auth.Amount.cents()
	ev.GatewayTransactionID = gateway.CleanID(auth.ID)
	switch {
	case auth.Status == authCreated && ok:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.HoldEndsAt = models.OutcomeConfirmed, cents, currency, auth.ends()
	case auth.Status == authPending:
		ev.Outcome, ev.Message = models.OutcomeAccepted, "the renewed authorization is under review"
	case auth.Status == authDenied:
		ev.Outcome, ev.NextAction, ev.ErrorCode = models.OutcomeRefused, gateway.NextCancel, "AUTHORIZATION_DENIED"
		ev.Message = "PayPal denied the renewed authorization"
	default:
		ev.Message = "the renewed authorization is " + gateway.CleanText(auth.Status)
	}
	return ev
}
