package stripe

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Every failure says in words what went wrong, under which of Stripe's codes and
// ids, and what a person can do about it. Nothing is to be renewed at Stripe.
func TestEveryFailureIsExplained(t *testing.T) {
	words := []string{gateway.NextCancel, gateway.NextRetry, gateway.NextContact}
	check := func(name string, ev models.Evidence, coded bool) {
		t.Helper()
		if ev.Message == "" || !slices.Contains(words, ev.NextAction) || coded && (ev.ErrorCode == "" || ev.RequestID == "") {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	for _, r := range rules {
		typ, code, status, calls := r.typ, r.code, r.status, r.calls
		if typ == "" {
			typ = "invalid_request_error"
		}
		if code == none {
			code = ""
		}
		if status == 0 {
			status = 400
		}
		if calls == "" {
			calls = "capture refund void authorize look_up"
		}
		for call := range strings.FieldsSeq(calls) {
			label := gateway.Label(call)
			check(call+" "+code, classify(label, testRequest(label, true), answered(status, errorBody(typ, code, "", ""))), true)
			if label != gateway.CallCapture && label != gateway.CallVoid || code == "idempotency_key_in_use" || typ == "idempotency_error" {
				continue
			}
			ev := classify(label, testRequest(label, true), answered(status, errorBody(typ, code, "", intentBody(statusRequiresCapture, 0, ""))))
			if check(call+" "+code+" with the intent", ev, true); ev.GatewayTransactionID != testHold || ev.Token != "ch_1" {
				t.Errorf("%s %s does not name the payment and its charge: %s", call, code, ev.JSON())
			}
		}
	}
	for _, reason := range slices.Concat(slices.Collect(maps.Keys(softDeclines)), slices.Collect(maps.Keys(hardDeclines))) {
		ev := classify(gateway.CallCapture, testRequest(gateway.CallCapture, true), answered(402, errorBody("card_error", "card_declined", reason, intentBody(statusRequiresCapture, 0, ""))))
		if check(reason, ev, true); ev.ErrorDetail != reason || ev.GatewayTransactionID != testHold || ev.Token != "ch_1" {
			t.Errorf("%s: %s", reason, ev.JSON())
		}
	}
	for _, a := range []gateway.Answer{
		{}, {Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, {Phase: gateway.PhaseSent, Err: errors.New("reset")}, answered(200, ""), answered(200, "{}"), answered(302, ""), answered(400, "<html>"), answered(500, ""),
		answered(503, errorBody("api_error", "", "", "")),
	} {
		for _, call := range operations {
			check(string(call), classify(call, testRequest(call, true), a), false)
		}
	}
}
