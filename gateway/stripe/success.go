package stripe

import (
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// success reads an answer with status 200. The status alone proves nothing:
// the body must be whole, name our hold, and say that money moved.
func success(ev models.Evidence, call gateway.Label, r gateway.Request, body []byte) models.Evidence {
	switch call {
	case gateway.CallCapture, gateway.CallVoid, gateway.CallAuthorize:
		pi, ok := parseIntent(body)
		if !ok || call != gateway.CallAuthorize && pi.ID != r.Hold {
			ev.Message = "status 200 without the PaymentIntent that was asked for"
			return ev
		}
		switch call {
		case gateway.CallCapture:
			return capturedNow(ev, pi, r)
		case gateway.CallVoid:
			return voidedNow(ev, pi)
		}
		return authorized(ev, pi)
	case gateway.CallRefund:
		re, ok := parseRefund(body)
		if !ok || re.PaymentIntent.ID != "" && re.PaymentIntent.ID != r.Hold {
			ev.Message = "status 200 without a refund of this payment"
			return ev
		}
		return refunded(ev, re)
	case gateway.CallLookUp:
		return lookedUp(ev, r, body)
	}
	return ev
}

// capturedNow reads the answer to our own capture. The reference was sent with
// it, so an answer without one is still ours.
func capturedNow(ev models.Evidence, pi paymentIntent, r gateway.Request) models.Evidence {
	switch pi.Status {
	case statusSucceeded:
		r.OnlyOne = true
		return captured(ev, pi, r)
	case statusProcessing:
		ev.Outcome, ev.GatewayTransactionID = models.OutcomeAccepted, gateway.CleanID(pi.ID)
		return ev
	}
	ev.Message = "status 200, and the PaymentIntent is " + gateway.CleanText(pi.Status)
	return ev
}

func voidedNow(ev models.Evidence, pi paymentIntent) models.Evidence {
	if pi.Status == statusCanceled {
		return voided(ev, pi)
	}
	ev.Message = "status 200, and the PaymentIntent is " + gateway.CleanText(pi.Status)
	return ev
}

// authorized reads a new PaymentIntent: only requires_capture is a hold.
func authorized(ev models.Evidence, pi paymentIntent) models.Evidence {
	cents, currency, ok := fromStripe(pi.AmountCapturable, pi.Currency)
	ev.GatewayTransactionID = gateway.CleanID(pi.ID)
	switch {
	case pi.Status == statusRequiresCapture && ok && cents > 0:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, cents, currency
		ev.Token = gateway.CleanID(pi.LatestCharge.ID)
	case pi.Status == statusProcessing, pi.Status == statusRequiresAction:
		ev.Outcome, ev.Message = models.OutcomeAccepted, "the payer has to act before the hold exists"
	case pi.Status == statusCanceled:
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, gateway.NextCancel
	default:
		ev.Message = "status 200, and the PaymentIntent is " + gateway.CleanText(pi.Status)
	}
	return ev
}

// refunded reads one refund, wherever it was found.
func refunded(ev models.Evidence, re refund) models.Evidence {
	ev.GatewayTransactionID, ev.Token = gateway.CleanID(re.ID), gateway.CleanID(re.Charge.ID)
	cents, currency, ok := fromStripe(re.Amount, re.Currency)
	switch {
	case re.Status == "succeeded" && ok && cents > 0:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, cents, currency
	case re.Status == "pending", re.Status == "requires_action":
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeAccepted, cents, currency
		ev.Message = "the refund is " + re.Status
	case re.Status == "failed", re.Status == "canceled":
		ev.Outcome, ev.NextAction = models.OutcomeRefused, gateway.NextRetry
		ev.ErrorCode, ev.ErrorDetail = "refund_"+re.Status, gateway.CleanText(re.FailureReason)
		ev.Message = "the refund is " + re.Status + "; the money is still the merchant's"
	default:
		ev.Message = "the refund's status is not known here: " + gateway.CleanText(re.Status)
	}
	return ev
}

// lookedUp reads the PaymentIntent for a capture or a void. Refunds are listed,
// see [Adapter.lookUpRefund].
func lookedUp(ev models.Evidence, r gateway.Request, body []byte) models.Evidence {
	pi, ok := parseIntent(body)
	if !ok || pi.ID != r.Hold {
		ev.Message = "status 200 without the PaymentIntent that was asked for"
		return ev
	}
	switch r.Kind {
	case models.Capture:
		return lookedCapture(ev, pi, r)
	case models.Void:
		return lookedVoid(ev, pi)
	}
	return ev
}

func lookedCapture(ev models.Evidence, pi paymentIntent, r gateway.Request) models.Evidence {
	switch pi.Status {
	case statusSucceeded:
		return captured(ev, pi, r)
	case statusCanceled:
		return canceledCapture(ev, pi, r)
	case statusProcessing:
		ev.Outcome, ev.GatewayTransactionID = models.OutcomeAccepted, gateway.CleanID(pi.ID)
	case statusRequiresCapture:
		if pi.AmountReceived > 0 { // taken in part by somebody who kept the rest open
			return captured(ev, pi, r)
		}
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold stands and nothing was taken"
	case statusRequiresPaymentMethod, statusRequiresConfirmation, statusRequiresAction:
		ev.Outcome, ev.Message = models.OutcomeNone, "nothing was taken; the hold waits for the payer"
	default:
		ev.Message = "the PaymentIntent's status is not known here: " + gateway.CleanText(pi.Status)
	}
	return ev
}

func lookedVoid(ev models.Evidence, pi paymentIntent) models.Evidence {
	switch pi.Status {
	case statusCanceled:
		return voided(ev, pi)
	case statusSucceeded:
		return takenAlready(ev, pi)
	case statusRequiresCapture, statusRequiresPaymentMethod, statusRequiresConfirmation, statusRequiresAction:
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold is not cancelled"
	default: // processing: it can still become either
		ev.Message = "the PaymentIntent is " + gateway.CleanText(pi.Status)
	}
	return ev
}
