package braintree

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// verdict is what an answer proves, and what remains to be done about it.
type verdict struct {
	models.Evidence
	// look, otherwise and settles: see ruling.
	look      bool
	otherwise *ruling
	settles   bool
}

// classify says what an answer proves about the operation that got it. It is
// pure: the same answer always proves the same. Only what is listed in rules.go
// and processor.go, or shown by a transaction that is ours, is anything but
// Lost.
//
// For a look it says only what a failed one proves, which is nothing: the
// transactions of a good one are read by lookedUp.
func classify(op operation, r gateway.Request, a gateway.Answer) verdict {
	base := models.Evidence{
		Source:     models.FromAnswer,
		Status:     a.Status,
		RequestID:  gateway.CleanID(a.Header.Get(requestHeader)),
		RetryAfter: gateway.RetryAfter(a.Header),
	}
	if op == opLook {
		base.Source = models.FromLookUp
	}
	switch {
	case a.Phase == gateway.PhaseNotSent:
		base.Outcome, base.NextAction = models.OutcomeNotSent, gateway.NextRetry
		base.Message = a.Said("no connection to Braintree was had")
	case a.Phase != gateway.PhaseAnswered:
		base.Message = a.Said("the answer was lost")
	case a.Status == http.StatusOK || a.Status == http.StatusCreated:
		base = success(base, op, r, a.Body)
	case a.Status == http.StatusUnprocessableEntity:
		return failure(base, op, r, a.Body)
	default:
		return byStatus(base, op)
	}
	return verdict{Evidence: base}
}

// statuses are the answers that Braintree documents by their status alone; its
// own libraries read nothing else of them. All but the last two are given
// before anything is done.
var statuses = map[int]struct {
	then          ruling
	code, message string
}{
	http.StatusUnauthorized:       {config, "authentication_error", "the API keys are not right"},
	http.StatusForbidden:          {config, "authorization_error", "the API key's user may not do this"},
	http.StatusUpgradeRequired:    {badRequest, "upgrade_required", "Braintree does not speak this version any more"},
	http.StatusTooManyRequests:    {throttled, "too_many_requests", "the account asks too often"},
	http.StatusRequestTimeout:     {lost, "request_timeout", "Braintree gave up on the call; it may have taken effect"},
	http.StatusServiceUnavailable: {lost, "service_unavailable", "Braintree is not available; the call may have taken effect"},
}

func byStatus(ev models.Evidence, op operation) verdict {
	s, listed := statuses[ev.Status]
	switch {
	case listed:
		return s.then.applied(withCode(ev, s.code, s.message))
	case ev.Status == http.StatusNotFound && op != opLook:
		// The account knows no such transaction: wrong account, wrong mode or wrong id.
		// The worker probes the credentials to tell a bad account from a bad row.
		return config.applied(withCode(ev, "not_found", "the account has no such transaction"))
	case ev.Status == http.StatusNotFound:
		ev = withCode(ev, "not_found", "the account has no such transaction")
	case ev.Status >= 500:
		ev.NextAction, ev.Message = gateway.NextRetry, "Braintree failed to answer; the call may have taken effect"
	default:
		ev.Message = fmt.Sprintf("status %d proves nothing", ev.Status)
	}
	return verdict{Evidence: ev}
}

func withCode(ev models.Evidence, code, message string) models.Evidence {
	ev.ErrorCode, ev.Message = code, message
	return ev
}

func (then ruling) applied(ev models.Evidence) verdict {
	ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = then.outcome, then.class, then.holdGone, then.next
	return verdict{Evidence: ev, look: then.look, otherwise: then.otherwise, settles: then.settles}
}

// failure reads an answer with status 422: validation errors, or a transaction
// that the processor declined.
func failure(ev models.Evidence, op operation, r gateway.Request, body []byte) verdict {
	e := parseError(body)
	if e == nil {
		ev.Message = "status 422 without an error of Braintree's"
		return verdict{Evidence: ev}
	}
	ev.Message = gateway.CleanText(e.Message)
	if errs := e.Errors.all; len(errs) > 0 {
		ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(errs[0].Code), gateway.CleanText(errs[0].Message)
		return ruleOf(op, errs).applied(ev)
	}
	if e.Transaction == nil {
		return verdict{Evidence: ev}
	}
	t := *e.Transaction
	code, text := t.words()
	ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(code), gateway.CleanText(text)
	if !t.wasDeclined() || !t.answers(op, r) {
		return verdict{Evidence: ev}
	}
	then := declineOf(t)
	then.holdGone = op == opCapture && then.outcome == models.OutcomeRefused && t.fell()
	ev.GatewayTransactionID = gateway.CleanID(t.ID)
	return then.applied(ev)
}

// answers reports whether a transaction is what such a call answers with.
func (t transaction) answers(op operation, r gateway.Request) bool {
	switch op {
	case opCapture, opVoid, opUndo:
		return t.good() && t.Type == typeSale && t.ID == r.Hold
	case opRefund:
		return t.good() && t.Type == typeCredit && t.Refunded == r.Hold
	}
	return false
}

// success reads an answer with status 200 or 201. The status alone proves
// nothing: the body must be whole, name our transaction, and say that money
// moved.
func success(ev models.Evidence, op operation, r gateway.Request, body []byte) models.Evidence {
	if op == opLook {
		return ev
	}
	t, ok := parseTransaction(body)
	if !ok || !t.answers(op, r) {
		ev.Message = "status " + strconv.Itoa(ev.Status) + " without the transaction that was asked for"
		return ev
	}
	seen := sight{ev: ev, ok: true, listed: true, sale: t}
	switch op {
	case opCapture:
		r.OnlyOne = true // it is the answer to our own call
		ev = lookedCapture(r, seen)
	case opRefund:
		ev = refunded(ev, t)
	case opVoid:
		ev = lookedVoid(seen)
	case opUndo:
		if t.Status == statusVoided {
			r.OnlyOne = true
			ev = undone(ev, r, t)
		}
	}
	if ev.Outcome == models.OutcomeNone || ev.Outcome == models.OutcomeTakenBack {
		ev = seen.ev // neither is an answer to what was asked: it is looked up
	}
	if ev.Outcome == models.OutcomeLost && ev.Message == "" {
		ev.Message = "the transaction is " + gateway.CleanText(t.Status)
	}
	return ev
}
