package stripe

import (
	"fmt"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. Only what is listed in rules.go, or
// shown by an object that names our hold, is anything but Lost.
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
		RequestID:  gateway.CleanID(a.Header.Get("Request-Id")),
		RetryAfter: gateway.RetryAfter(a.Header),
	}
	if call == gateway.CallLookUp {
		base.Source = models.FromLookUp
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		base.Outcome, base.NextAction = models.OutcomeNotSent, gateway.NextRetry
		base.Message = a.Said("no connection to Stripe was had")
	case a.Phase != gateway.PhaseAnswered:
		base.Answered = a.Status >= 400
		base.Message = a.Said("the answer was lost")
	case a.Status == 200:
		return success(base, call, r, a.Body)
	case a.Status >= 500:
		base.Answered, base.NextAction = true, gateway.NextRetry
		base.Message = "Stripe failed to answer; the call may have taken effect"
		if e := parseError(a.Body); e != nil {
			base = withError(base, *e)
		}
	case a.Status >= 400:
		return failure(base, call, r, a.Body)
	default:
		base.Message = fmt.Sprintf("status %d proves nothing", a.Status)
	}
	return base
}

// failure reads a 4xx answer.
func failure(ev models.Evidence, call gateway.Label, r gateway.Request, body []byte) models.Evidence {
	e := parseError(body)
	if e == nil {
		ev.Answered, ev.Message = true, fmt.Sprintf("status %d without an error of Stripe's", ev.Status)
		return ev
	}
	ev = withError(ev, *e)
	then := ruleOf(call, ev.Status, *e)
	ev.Outcome, ev.Class, ev.HoldGone, ev.Answered, ev.NextAction = then.outcome, then.class, then.holdGone, then.answered, then.next
	pi := e.PaymentIntent
	if pi == nil || pi.ID != r.Hold || r.Hold == "" || ev.Class == models.ClassInProgress || e.Type == "idempotency_error" {
		return ev
	}
	if call == gateway.CallCapture || call == gateway.CallVoid {
		ev.GatewayTransactionID, ev.Token = gateway.CleanID(pi.ID), gateway.CleanID(pi.LatestCharge.ID)
	}
	switch call {
	case gateway.CallCapture:
		return refusedCapture(ev, *e, *pi, r)
	case gateway.CallVoid:
		return refusedVoid(ev, *e, *pi)
	}
	return ev
}

func withError(ev models.Evidence, e apiError) models.Evidence {
	ev.ErrorCode = gateway.CleanText(e.Code)
	if ev.ErrorCode == "" {
		ev.ErrorCode = gateway.CleanText(e.Type)
	}
	ev.ErrorDetail = gateway.CleanText(e.DeclineCode)
	if ev.ErrorDetail == "" {
		ev.ErrorDetail = gateway.CleanText(e.Param)
	}
	if m := gateway.CleanText(e.Message); m != "" {
		ev.Message = m
	}
	return ev
}

// refusedCapture decides an error to a capture on the PaymentIntent embedded
// in it. A hold that is captured or cancelled is a fact whatever the code says;
// the other states matter only where the code is about the state.
func refusedCapture(ev models.Evidence, e apiError, pi paymentIntent, r gateway.Request) models.Evidence {
	switch pi.Status {
	case statusSucceeded:
		return captured(ev, pi, r)
	case statusCanceled:
		return canceledCapture(ev, pi, r)
	}
	if e.Code != "payment_intent_unexpected_state" {
		return ev
	}
	switch pi.Status {
	case statusProcessing:
		ev.Outcome, ev.NextAction = models.OutcomeAccepted, ""
	case statusRequiresAction, statusRequiresConfirmation, statusRequiresPaymentMethod:
		// There is nothing to take until the payer acts; then there may be.
		ev.Outcome, ev.NextAction = models.OutcomeDeclined, gateway.NextCancel
	}
	return ev
}

// captured reads a hold that Stripe says was taken.
func captured(ev models.Evidence, pi paymentIntent, r gateway.Request) models.Evidence {
	cents, currency, ok := fromStripe(pi.AmountReceived, pi.Currency)
	if !ok || cents == 0 {
		ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = models.OutcomeLost, "", false, gateway.NextContact
		ev.Message = "Stripe says the hold was captured and names no amount"
		return ev
	}
	reference := pi.Metadata[metadataReference]
	ev.Outcome, ev.Class, ev.HoldGone, ev.Answered, ev.NextAction = models.OutcomeConfirmed, "", false, false, ""
	ev.AmountCents, ev.CurrencyCode = cents, currency
	ev.GatewayTransactionID, ev.Token = gateway.CleanID(pi.ID), gateway.CleanID(pi.LatestCharge.ID)
	ev.Foreign = reference != r.Reference && (reference != "" || !r.OnlyOne)
	if ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// canceledCapture reads a hold that is cancelled: it can never be taken.
func canceledCapture(ev models.Evidence, pi paymentIntent, r gateway.Request) models.Evidence {
	if pi.AmountReceived != 0 {
		return captured(ev, pi, r) // a part was taken before the rest was given up
	}
	ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = models.OutcomeRefused, "", true, gateway.NextCancel
	ev.GatewayTransactionID = gateway.CleanID(pi.ID)
	if ev.ErrorCode == "" {
		ev.ErrorCode = "payment_intent_canceled"
	}
	if ev.ErrorDetail == "" {
		ev.ErrorDetail = gateway.CleanText(pi.CancellationReason)
	}
	if ev.Message == "" {
		ev.Message = "the hold is cancelled at Stripe"
	}
	return ev
}

// refusedVoid decides an error to a cancellation on the PaymentIntent embedded
// in it. A hold that is cancelled, by whomever, is what a void is for.
func refusedVoid(ev models.Evidence, e apiError, pi paymentIntent) models.Evidence {
	switch pi.Status {
	case statusCanceled:
		return voided(ev, pi)
	case statusSucceeded:
		if e.Code == "payment_intent_unexpected_state" {
			return takenAlready(ev, pi)
		}
	}
	return ev
}

func voided(ev models.Evidence, pi paymentIntent) models.Evidence {
	cents, currency, ok := fromStripe(pi.Amount-pi.AmountReceived, pi.Currency)
	if !ok {
		ev.Outcome, ev.Class, ev.Message = models.OutcomeLost, "", "Stripe says the hold is cancelled and names no amount"
		return ev
	}
	ev.Outcome, ev.Class, ev.HoldGone, ev.Answered, ev.NextAction = models.OutcomeConfirmed, "", false, false, ""
	ev.AmountCents, ev.CurrencyCode = cents, currency
	ev.GatewayTransactionID, ev.Token = gateway.CleanID(pi.ID), gateway.CleanID(pi.LatestCharge.ID)
	return ev
}

// takenAlready: a captured hold cannot be voided any more, only refunded.
func takenAlready(ev models.Evidence, pi paymentIntent) models.Evidence {
	ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = models.OutcomeRefused, "", true, gateway.NextCancel
	ev.GatewayTransactionID = gateway.CleanID(pi.ID)
	if ev.ErrorCode == "" {
		ev.ErrorCode = "payment_intent_unexpected_state"
	}
	if ev.Message == "" {
		ev.Message = "the hold was captured; it can only be refunded"
	}
	return ev
}
