package adyen

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// classify says what an answer proves about the call that got it. It is pure:
// the same answer always proves the same. At best that is Accepted: Adyen has the
// request, and a webhook tells what became of it. Only what is listed in rules.go
// is anything but Lost beside.
func classify(call gateway.Label, account string, r gateway.Request, a gateway.Answer) models.Evidence {
	ev := models.Evidence{
		Source:     models.FromAnswer,
		Status:     a.Status,
		RetryAfter: gateway.RetryAfter(a.Header),
		NextAction: gateway.NextRetry,
	}
	if psp := a.Header.Get(requestHeader); validID(psp) {
		ev.RequestID = psp
	}
	transient := strings.EqualFold(strings.TrimSpace(a.Header.Get(transientHeader)), "true")
	switch {
	case a.Phase == gateway.PhaseNotSent:
		ev.Outcome = models.OutcomeNotSent
		ev.Message = a.Said("no connection to Adyen was had")
	case a.Phase != gateway.PhaseAnswered:
		ev.Message = a.Said("the answer was lost")
	case a.Status == http.StatusOK, a.Status == http.StatusCreated, a.Status == http.StatusAccepted:
		return accepted(ev, call, account, r, a.Body)
	case a.Status >= 400:
		return failure(ev, a.Body, transient)
	default:
		ev.Message = fmt.Sprintf("status %d proves nothing", a.Status)
	}
	return ev
}

// failure reads an answer with a status of 400 or more. A status of 500 or more
// is never proof: the work may have been done.
func failure(ev models.Evidence, body []byte, transient bool) models.Evidence {
	e, ok := parseError(body)
	if ok {
		ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(e.Code), gateway.CleanText(e.Type)
		ev.Message = gateway.CleanText(e.Message)
		if validID(e.PSP) {
			ev.RequestID = e.PSP
		}
	}
	switch {
	case ev.Status >= 500 && transient, !ok && transient:
		ev.Class = models.ClassInProgress
	case ev.Status >= 500, !ok:
	default:
		then := ruleOf(ev.Status, e.Code, transient)
		ev.Outcome, ev.Class, ev.NextAction = then.outcome, then.class, then.next
	}
	if ev.Message == "" {
		ev.Message = fmt.Sprintf("status %d without an error of Adyen's; the call may have taken effect", ev.Status)
	}
	return ev
}

// accepted reads the answer of a good call. The status alone proves nothing: the
// body must be whole, and name our payment, our account and our reference.
func accepted(ev models.Evidence, call gateway.Label, account string, r gateway.Request, body []byte) models.Evidence {
	var got received
	if json.Unmarshal(body, &got) != nil || got.Status != "received" || !validID(got.PSP) || got.Payment != r.Hold ||
		got.MerchantAccount != account || got.Reference != "" && got.Reference != r.Reference {
		ev.Message = fmt.Sprintf("status %d without Adyen's word that it received this %s", ev.Status, call)
		return ev
	}
	ev.Outcome, ev.NextAction = models.OutcomeAccepted, ""
	ev.GatewayTransactionID, ev.Token = got.PSP, got.PSP
	ev.Message = "received; Adyen tells by webhook what becomes of it"
	if ev.RequestID == "" {
		ev.RequestID = got.PSP
	}
	if got.Amount != nil {
		if cents, currency, ok := got.Amount.cents(); ok {
			ev.AmountCents, ev.CurrencyCode = cents, currency
		}
	}
	return ev
}
