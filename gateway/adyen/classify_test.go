package adyen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const (
	testAccount = "CapstanECOM"
	testHold    = "8536516988942431"
	testPSP     = "QFQTPCQ8HXSKGK82"
	ourRef      = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"
)

var calls = []gateway.Label{gateway.CallCapture, gateway.CallRefund, gateway.CallVoid}

func testRequest() gateway.Request {
	return gateway.Request{
		Kind: models.Capture, Reference: ourRef, Key: ourRef + "_e0", AmountCents: 1500, CurrencyCode: "EUR", Hold: testHold, HoldCents: 1500,
	}
}

func answered(status int, body string) gateway.Answer {
	return gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Header: http.Header{}, Body: []byte(body)}
}

func transient(a gateway.Answer) gateway.Answer {
	a.Header.Set("Transient-Error", "true")
	return a
}

func errorBody(status int, code string) string {
	raw, _ := json.Marshal(serviceError{Status: status, Code: code, Message: "It did not work.", Type: "validation", PSP: testPSP})
	return string(raw)
}

func receivedBody(change func(*received)) string {
	got := received{MerchantAccount: testAccount, Payment: testHold, PSP: testPSP, Reference: ourRef, Status: "received", Amount: &money{"EUR", 1500}}
	if change != nil {
		change(&got)
	}
	raw, _ := json.Marshal(got)
	return string(raw)
}

// documented is every error code that Adyen documents and that a modification can
// meet, beside those of cards and checkouts, with what it must prove.
var documented = []struct {
	status int
	codes  string
	want   ruling
}{
	{401, "000", config},
	{403, "000 010 901", config},
	{400, "702", badRequest},
	{422, "100 137 138", badCall},
	{422, "000 010 101 102 103 104 117 120 130 140 150 167 168 170 175 185 187 191 192 198 199", badRequest},
	{422, "702 800 801 802 803 804 805 806 901 902 905 906 907 908 916 950 951", badRequest},
	{422, "703 704", inProgress},
	{422, "5_001 6_001 10_003 14_030 15_002", badRequest},
	{429, "000 010 704", inProgress},
}

func rulingOf(ev models.Evidence) ruling { return ruling{ev.Outcome, ev.Class, ev.NextAction} }

func TestDocumentedErrors(t *testing.T) {
	for _, d := range documented {
		for _, code := range strings.Fields(d.codes) {
			for _, call := range calls {
				ev := classify(call, testAccount, testRequest(), answered(d.status, errorBody(d.status, code)))
				if got := rulingOf(ev); got != d.want {
					t.Errorf("%s, %d %s: got %+v, want %+v", call, d.status, code, got, d.want)
				}
				if ev.ErrorCode != code || ev.Message != "It did not work." || ev.ErrorDetail != "validation" || ev.RequestID != testPSP || ev.Status != d.status {
					t.Errorf("%s, %d %s: not told: %s", call, d.status, code, ev.JSON())
				}
				again := classify(call, testAccount, testRequest(), transient(answered(d.status, errorBody(d.status, code))))
				want := d.want
				if want.outcome == models.OutcomeLost {
					want = inProgress
				}
				if got := rulingOf(again); got != want {
					t.Errorf("%s, %d %s, transient: got %+v, want %+v", call, d.status, code, got, want)
				}
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	lost := ruling{next: gateway.NextRetry}
	good := receivedBody(nil)
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   ruling
	}{
		{"received", answered(201, good), ruling{outcome: models.OutcomeAccepted}},
		{"received with 200", answered(200, good), ruling{outcome: models.OutcomeAccepted}},
		{"without a reference, which is not required", answered(201, receivedBody(func(r *received) { r.Reference = "" })), ruling{outcome: models.OutcomeAccepted}},
		{"without an amount, as of a cancel", answered(201, receivedBody(func(r *received) { r.Amount = nil })), ruling{outcome: models.OutcomeAccepted}},
		{"another status", answered(201, receivedBody(func(r *received) { r.Status = "refused" })), lost},
		{"another payment", answered(201, receivedBody(func(r *received) { r.Payment = "8536516988942432" })), lost},
		{"another account", answered(201, receivedBody(func(r *received) { r.MerchantAccount = "Other" })), lost},
		{"another reference", answered(201, receivedBody(func(r *received) { r.Reference = "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb" })), lost},
		{"no reference of its own", answered(201, receivedBody(func(r *received) { r.PSP = "" })), lost},
		{"a path as reference", answered(201, receivedBody(func(r *received) { r.PSP = "../x" })), lost},
		{"half of it", answered(201, good[:len(good)/2]), lost},
		{"empty", answered(200, ""), lost},
		{"204", answered(204, ""), lost},
		{"302", answered(302, good), lost},
		{"201 with a page", answered(201, "<html>"), lost},
		{"500", answered(500, errorBody(500, "905")), lost},
		{"500, may be tried again", transient(answered(500, errorBody(500, "905"))), inProgress},
		{"500 with a code that is config elsewhere", answered(500, errorBody(500, "901")), lost},
		{"502 with a page", answered(502, "<html>"), lost},
		{"401 of anybody", answered(401, `{"error":"go away"}`), lost},
		{"401 with a page", answered(401, "<html>"), lost},
		{"401 with another code", answered(401, errorBody(401, "901")), lost},
		{"403 with another code", answered(403, errorBody(403, "905")), lost},
		{"403 without a body", answered(403, ""), lost},
		{"404", answered(404, errorBody(404, "000")), lost},
		{"409", answered(409, errorBody(409, "704")), lost},
		{"422 without a body", answered(422, ""), lost},
		{"422 with a page", answered(422, "<html>"), lost},
		{"400 with another code", answered(400, errorBody(400, "000")), badRequest},
		{"429 with a page", answered(429, "<html>"), lost},
		{"never left", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry}},
		{"never came back", gateway.Answer{Phase: gateway.PhaseSent, Status: 201, Body: []byte(good)}, lost},
	} {
		ev := classify(gateway.CallCapture, testAccount, testRequest(), tt.answer)
		if got := rulingOf(ev); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		if ev.Message == "" || ev.Source != models.FromAnswer || ev.Answered || ev.HoldGone {
			t.Errorf("%s: %s", tt.name, ev.JSON())
		}
	}
	got := classify(gateway.CallCapture, testAccount, testRequest(), answered(201, good))
	want := models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeAccepted, Status: 201, RequestID: testPSP, GatewayTransactionID: testPSP, Token: testPSP,
		AmountCents: 1500, CurrencyCode: "EUR", Message: "received; Adyen tells by webhook what becomes of it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestNumbersAreNoCards: a reference of 16 digits may look like a card number and
// must come through as it is.
func TestNumbersAreNoCards(t *testing.T) {
	const psp = "4111111111111111"
	ev := classify(gateway.CallCapture, testAccount, testRequest(), answered(201, receivedBody(func(r *received) { r.PSP = psp })))
	if ev.GatewayTransactionID != psp || ev.RequestID != psp {
		t.Errorf("got %s", ev.JSON())
	}
	x := item{PSP: psp, Original: testHold, Account: testAccount, Reference: ourRef, Event: "CAPTURE", Success: "true", Amount: amountOf(1500)}
	if n := x.notice(testAccount); n.EventID != psp+":CAPTURE:true" || n.Evidence.GatewayTransactionID != psp {
		t.Errorf("got %+v", n)
	}
}

// FuzzClassify: nothing that is not listed is refused, declined, or not sent; and
// nothing at all is confirmed by an answer.
func FuzzClassify(f *testing.F) {
	for _, d := range documented {
		for _, code := range strings.Fields(d.codes) {
			f.Add(2, d.status, errorBody(d.status, code), "")
		}
	}
	f.Add(2, 201, receivedBody(nil), "true")
	f.Add(2, 500, "<html>", "true")
	f.Add(0, 0, "", "")
	f.Fuzz(func(t *testing.T, phase, status int, body, again string) {
		a := answered(status, body)
		a.Phase = gateway.Phase(abs(phase) % 3)
		a.Header.Set("Transient-Error", again)
		r := testRequest()
		for _, call := range calls {
			ev := classify(call, testAccount, r, a)
			switch ev.Outcome {
			case models.OutcomeLost:
			case models.OutcomeNotSent:
				e, ok := parseError(a.Body)
				listed := ok && (status == 401 && e.Code == "000" || status == 403 && strings.Contains(" 000 010 901 ", " "+e.Code+" "))
				if a.Phase != gateway.PhaseNotSent && !(a.Phase == gateway.PhaseAnswered && listed) {
					t.Fatalf("%d %q is taken for not sent", status, body)
				}
			case models.OutcomeAccepted:
				var got received
				if json.Unmarshal(a.Body, &got) != nil || got.Payment != r.Hold || got.Status != "received" || a.Phase != gateway.PhaseAnswered {
					t.Fatalf("%d %q is taken for accepted", status, body)
				}
			default:
				t.Fatalf("%d %q is taken for %s", status, body, ev.Outcome)
			}
			if ev.RetryAfter < 0 || ev.RetryAfter > time.Hour {
				t.Fatalf("%d %q is to be tried again after %s", status, body, ev.RetryAfter)
			}
		}
	})
}

func abs(n int) int {
	if n < 0 && -n > 0 {
		return -n
	}
	return max(n, 0)
}

func amountOf(value int64) *itemAmount { return &itemAmount{Value: &value, Currency: "EUR"} }

func TestOurs(t *testing.T) {
	real := models.GatewayReference("adyen", testHold, models.Capture, 1)
	if !ours(real, "cap_") {
		t.Errorf("%s is not known for ours", real)
	}
	for _, name := range []string{"", "cap_", "order 1", real + "a", real[:len(real)-1], strings.ToUpper(real), "ref_" + real[4:], fmt.Sprintf("cap_%26s", "")} {
		if ours(name, "cap_") {
			t.Errorf("%q is taken for ours", name)
		}
	}
}
