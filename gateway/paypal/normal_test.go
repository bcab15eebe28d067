package paypal

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Every failure says in words what went wrong, under which of PayPal's codes and
// ids, and what a person can do about it.
func TestEveryFailureIsExplained(t *testing.T) {
	words := []string{gateway.NextCancel, gateway.NextReauthorize, gateway.NextRetry, gateway.NextContact}
	check := func(name string, ev models.Evidence, coded bool) {
		t.Helper()
		if ev.Message == "" || !slices.Contains(words, ev.NextAction) || coded && (ev.ErrorCode == "" || ev.ErrorDetail == "" || ev.RequestID == "") {
			t.Errorf("%s: %s", name, ev.JSON())
		}
	}
	for _, r := range rules {
		name := r.name
		if name == "" {
			name = notWell
		}
		body := `{"name":"` + name + `","message":"Words of PayPal's.","debug_id":"deb1","details":[{"issue":"` + r.issue + `","description":"More words."}]}`
		calls := r.calls
		if calls == "" {
			calls = allMoney
		}
		for call := range strings.FieldsSeq(calls) {
			check(call+" "+r.issue, classify(gateway.Label(call), testRequest(models.Capture, true), answered(r.status, body)), true)
		}
	}
	for reason := range reasons {
		ev := classify(gateway.CallCapture, testRequest(models.Capture, true), answered(201, captureBodyOf("DECLINED", "15.00", ourRef, reason)))
		if check("declined "+reason, ev, false); ev.GatewayTransactionID == "" || ev.ErrorCode == "" || ev.ErrorDetail != reason {
			t.Errorf("declined %s: %s", reason, ev.JSON())
		}
	}
	for _, a := range []gateway.Answer{
		{}, {Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, {Phase: gateway.PhaseSent, Err: errors.New("reset")}, answered(200, ""), answered(200, "{}"), answered(302, ""), answered(422, "<html>"), answered(500, ""),
		answered(503, `{"name":"SERVICE_UNAVAILABLE","message":"Later."}`),
	} {
		for _, call := range []gateway.Label{gateway.CallCapture, gateway.CallRefund, gateway.CallVoid, gateway.CallReauthorize, gateway.CallLookUp} {
			if call != gateway.CallLookUp || a.Status != 200 { // a good one is read elsewhere
				check(string(call), classify(call, testRequest(models.Capture, true), a), false)
			}
		}
	}
}
