package braintree

import (
	"context"
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
	testHold   = "ezc3pr8w"
	testRefund = "b7k2m9qd"
	ourCapture = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	ourRefund  = "ref_aaaaaaaaaaaaaaaaaaaaaaaaaa"
)

var operations = []operation{opCapture, opRefund, opUndo, opVoid, opLook}

// transactionCodes are all validation errors that Braintree documents for
// transactions.
const transactionCodes = `81501 81502 81503 81509 81520 81527 81528 81531 81534 81535 81536 81571 91501 91504 91505 91506 91507 91508 91510 91511
	91512 91513 91514 91515 91516 91517 91518 91519 91521 91522 91523 91524 91525 91526 91527 91528 91529 91530 91531 91537 91538 91539 91540 91541
	91542 91543 91544 91545 91546 91547 91548 91549 91550 91551 91552 91554 91555 91556 91557 91558 91559 91562 91564 91565 91566 91567 91568 91569
	91570 91572 91573 91574 91575 91576 91577 91578 91579 91580 91581 91582 91583 91584 91585 95601 95602 95603 95606 95801 95803 95804 95805 95806
	96301 96302 96601 96602 97501 97502 815193 815224 915101 915102 915103 915104 915107 915108 915113 915114 915115 915116 915120 915121 915122
	915129 915130 915131 915133 915137 915157 915158 915159 915160 915161 915162 915163 915164 915165 915166 915167 915171 915172 915175 915176
	915177 915178 915179 915180 915184 915185 915186 915195 915196 915197 915198 915199 915200 915201 915202 915203 915204 915206 915213 915218
	915219 915220 915221 915222 915229 915230 915231 915232 915233 915234 915235 915265 915274`

// documented says what each code proves about each operation that it can answer.
// What is not here proves nothing.
var documented = map[operation]map[string]ruling{
	opCapture: {
		"81501": badRequest, "81502": badRequest, "81503": badRequest, "81531": badRequest, "81528": refused, "815193": refused, "91501": badRequest,
		"91514": suspended, "91507": lookFirst, "91522": refused, "91551": refused, "91579": holdGone, "915107": badRequest, "95601": refused,
		"95602": refused, "95603": declined,
	},
	opRefund: {
		"81501": badRequest, "81502": badRequest, "81503": badRequest, "81531": badRequest, "81528": refused, "815193": refused, "91501": badRequest,
		"91514": suspended, "91505": barred, "91506": lookSettled, "91574": lookSettled, "91512": lookFirst, "91521": lookTooLarge, "91538": suspended,
		"91559": suspended, "91546": barred, "91547": barred, "915200": barred, "915201": declined,
	},
	opVoid: {"91504": lookFirst},
	opUndo: {"91504": lookUndone},
	opLook: {},
}

func wanted(op operation, code string) ruling {
	if then, ok := documented[op][code]; ok {
		return then
	}
	return lost
}

func testRequest(kind models.Kind) gateway.Request {
	r := gateway.Request{Kind: kind, Reference: ourCapture, AmountCents: 1500, CurrencyCode: "EUR", Hold: testHold, Capture: testHold, OnlyOne: true, HoldCents: 1500}
	if kind == models.Refund {
		r.Reference = ourRefund
	}
	return r
}

func requestFor(op operation) gateway.Request {
	switch op {
	case opRefund, opUndo:
		r := testRequest(models.Refund)
		r.Whole = op == opUndo
		return r
	case opVoid:
		return testRequest(models.Void)
	}
	return testRequest(models.Capture)
}

func answered(status int, body string) gateway.Answer {
	return gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Header: http.Header{requestHeader: {"req1"}}, Body: []byte(body)}
}

func errorBody(codes ...string) string {
	errs := ""
	for _, c := range codes {
		errs += `<error><code>` + c + `</code><attribute type="symbol">base</attribute><message>It did not work.</message></error>`
	}
	return `<api-error-response><errors><errors type="array"/><transaction><errors type="array">` + errs + `</errors></transaction></errors><message>No.</message></api-error-response>`
}

func rulingOf(v verdict) ruling {
	return ruling{v.Outcome, v.Class, v.HoldGone, v.NextAction, v.look, v.otherwise, v.settles}
}

var compareRulings = cmp.AllowUnexported(ruling{})

func TestEveryValidationError(t *testing.T) {
	for _, op := range operations {
		for _, code := range strings.Fields(transactionCodes) {
			v := classify(op, requestFor(op), answered(422, errorBody(code)))
			if diff := cmp.Diff(wanted(op, code), rulingOf(v), compareRulings); diff != "" {
				t.Errorf("%s, %s: %s", op, code, diff)
			}
			if v.ErrorCode != code || v.ErrorDetail != "It did not work." || v.Message != "No." || v.RequestID != "req1" || v.Status != 422 {
				t.Errorf("%s, %s: not told: %s", op, code, v.JSON())
			}
		}
	}
	for _, r := range rules {
		if !strings.Contains(transactionCodes, r.code) {
			t.Errorf("%s is no code of Braintree's", r.code)
		}
	}
}

func TestStatuses(t *testing.T) {
	for _, op := range operations {
		notFound := config
		if op == opLook {
			notFound = ruling{}
		}
		for _, tt := range []struct {
			status int
			want   ruling
		}{
			{401, config}, {403, config}, {404, notFound}, {408, lost}, {426, badRequest}, {429, throttled}, {500, ruling{next: gateway.NextRetry}}, {502, ruling{next: gateway.NextRetry}},
			{503, lost}, {504, ruling{next: gateway.NextRetry}}, {400, ruling{}}, {409, ruling{}}, {204, ruling{}}, {302, ruling{}}, {0, ruling{}}, {418, ruling{}}, {422, ruling{}},
		} {
			if got := rulingOf(classify(op, requestFor(op), answered(tt.status, "<html>"))); !cmp.Equal(got, tt.want, compareRulings) {
				t.Errorf("%s, status %d: %+v, want %+v", op, tt.status, got, tt.want)
			}
		}
	}
	slow := answered(429, "")
	slow.Header.Set("Retry-After", "7")
	if v := classify(opCapture, testRequest(models.Capture), slow); v.RetryAfter != 7*time.Second {
		t.Errorf("headers were read as %s", v.JSON())
	}
}

func TestErrorOddities(t *testing.T) {
	declinedSale := `<api-error-response><errors><errors type="array"/></errors><message>Settlement Declined</message>` + saleXML("settlement_declined", "15.00", "", "4001", "authorized 15.00", "settlement_declined 15.00") + `</api-error-response>`
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   ruling
	}{
		{"two errors that prove the same", answered(422, errorBody("81501", "81502")), badRequest},
		{"two errors that do not", answered(422, errorBody("81501", "91522")), lost},
		{"a known and an unknown error", answered(422, errorBody("91522", "99999")), lost},
		{"an unknown error", answered(422, errorBody("99999")), lost},
		{"an empty code", answered(422, errorBody("")), lost},
		{"no error", answered(422, errorBody()), ruling{}},
		{"deeper", answered(422, strings.Replace(errorBody("91522"), "<transaction>", "<transaction><options>", 1)), ruling{}}, // not whole
		{"deeper and whole", answered(422, `<api-error-response><errors><a><b><c><errors><error><code>91522</code></error></errors></c></b></a></errors></api-error-response>`), refused},
		{"the processor declined the sale", answered(422, declinedSale), ruling{outcome: models.OutcomeRefused, holdGone: true, next: gateway.NextContact}},
		{"of another hold", answered(422, strings.ReplaceAll(declinedSale, testHold, "another1")), ruling{}},
		{"for a reason nobody knows", answered(422, strings.Replace(declinedSale, "4001", "4999", 1)), lost},
		{"without having been declined", answered(422, strings.Replace(declinedSale, "<status>settlement_declined</status>", "<status>settling</status>", 1)), ruling{}},
		{"already captured", answered(422, strings.Replace(declinedSale, "4001", "4003", 1)), lookFirst},
		{"another shape", answered(422, saleXML("settled", "15.00", ourCapture, "")), ruling{}},
		{"a page", answered(422, "<html>"), ruling{}},
		{"JSON", answered(422, `{"errors":[]}`), ruling{}},
		{"half of it", answered(422, errorBody("91522")[:80]), ruling{}},
		{"two documents", answered(422, errorBody("91522")+errorBody("91522")), ruling{}},
		{"nothing", answered(422, ""), ruling{}},
		{"the zero answer", gateway.Answer{}, ruling{}},
		{"sent, no answer", gateway.Answer{Phase: gateway.PhaseSent, Err: context.DeadlineExceeded}, ruling{}},
		{"sent, a 422 that broke off", gateway.Answer{Phase: gateway.PhaseSent, Status: 422, Body: []byte(errorBody("91522")), Err: errors.New("EOF")}, ruling{}},
		{"not sent", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := classify(opCapture, testRequest(models.Capture), tt.answer)
			if diff := cmp.Diff(tt.want, rulingOf(v), compareRulings); diff != "" || v.Answered {
				t.Errorf("%s\n%s", v.JSON(), diff)
			}
		})
	}
}

// TestEveryProcessorResponse: a refund that the processor declined, by its code
// and by what it says of itself.
func TestEveryProcessorResponse(t *testing.T) {
	shown, ok := parseTransaction([]byte(creditXML("processor_declined", "5.00", ourRefund, "processor_declined 5.00")))
	if !ok {
		t.Fatal("no refund")
	}
	declinedBy := func(code, kind string) ruling {
		shown.ResponseCode, shown.ResponseType = code, kind
		return declineOf(shown)
	}
	body := `<api-error-response><errors/><message>Processor Declined</message>` + strings.Replace(creditXML("processor_declined", "5.00", ourRefund, "processor_declined 5.00"),
		"<x/>", "<processor-response-code>2004</processor-response-code><processor-response-type>hard_declined</processor-response-type>", 1) + `</api-error-response>`
	if v := classify(opRefund, testRequest(models.Refund), answered(422, body)); !cmp.Equal(rulingOf(v), barred, compareRulings) || v.ErrorCode != "2004" {
		t.Errorf("read as %s", v.JSON())
	}
	hard := 0
	for n := 1990; n <= 3010; n++ {
		code := fmt.Sprint(n)
		isHard, listed := processorCodes[code]
		if listed && (n < 2000 || n > 3000) {
			t.Errorf("%s is no decline", code)
		}
		if isHard {
			hard++
		}
		for _, kind := range []string{"hard_declined", "soft_declined", "approved", ""} {
			want := lost
			switch {
			case listed && isHard && kind == hardDeclined:
				want = barred
			case listed:
				want = declined
			}
			if got := declinedBy(code, kind); !cmp.Equal(got, want, compareRulings) {
				t.Errorf("%s %s: %+v, want %+v", code, kind, got, want)
			}
		}
	}
	for code, isHard := range map[string]bool{"2000": false, "2001": false, "2004": true, "2012": true, "2013": true, "2014": true, "2038": false, "2046": false, "2053": true, "3000": false} {
		if got, ok := processorCodes[code]; !ok || got != isHard {
			t.Errorf("%s: hard %v (%v)", code, got, ok)
		}
	}
	if hard < 60 {
		t.Errorf("only %d hard codes", hard)
	}
	for code, want := range map[string]ruling{
		"4001": barred, "4003": lookFirst, "4004": lookFirst, "4005": refused, "4006": refused, "4018": barred, "4019": barred, "4020": barred, "4021": barred,
		"4022": barred, "4023": barred, "4024": barred, "4025": refused, "4026": barred, "4000": lost, "4002": lost, "4999": lost,
	} {
		body := `<api-error-response><errors/><message>No</message>` + strings.Replace(creditXML("settlement_declined", "5.00", ourRefund, "submitted_for_settlement 5.00"),
			"<x/>", "<processor-settlement-response-code>"+code+"</processor-settlement-response-code>", 1) + `</api-error-response>`
		if got := rulingOf(classify(opRefund, testRequest(models.Refund), answered(422, body))); !cmp.Equal(got, want, compareRulings) {
			t.Errorf("%s: %+v, want %+v", code, got, want)
		}
	}
}

// saleXML is a sale with a history of lines "status amount".
func saleXML(status, amount, order, settlement string, history ...string) string {
	return `<transaction><id>` + testHold + `</id><status>` + status + `</status><type>sale</type><currency-iso-code>EUR</currency-iso-code><amount>` + amount + `</amount>` +
		`<order-id>` + order + `</order-id><processor-settlement-response-code>` + settlement + `</processor-settlement-response-code>` + historyOf(history) + `</transaction>`
}

func creditXML(status, amount, order string, history ...string) string {
	return `<transaction><id>` + testRefund + `</id><status>` + status + `</status><type>credit</type><currency-iso-code>EUR</currency-iso-code><amount>` + amount + `</amount>` +
		`<order-id>` + order + `</order-id><refunded-transaction-id>` + testHold + `</refunded-transaction-id><x/>` + historyOf(history) + `</transaction>`
}

func historyOf(lines []string) string {
	out := `<status-history type="array">`
	for _, l := range lines {
		status, amount, _ := strings.Cut(l, " ")
		out += `<status-event><timestamp type="datetime">2026-03-01T10:00:00Z</timestamp><status>` + status + `</status><amount>` + amount + `</amount></status-event>`
	}
	return out + `</status-history>`
}

func TestSuccessfulAnswers(t *testing.T) {
	type want struct {
		outcome models.Outcome
		cents   int64
		foreign bool
	}
	const held, took = "authorized 15.00", "submitted_for_settlement 15.00"
	sale := saleXML("submitted_for_settlement", "15.00", ourCapture, "", held, took)
	for _, tt := range []struct {
		name string
		op   operation
		body string
		want want
	}{
		{"submitted", opCapture, sale, want{models.OutcomeConfirmed, 1500, false}},
		{"settled at once", opCapture, saleXML("settled", "15.00", ourCapture, "", held, took), want{models.OutcomeConfirmed, 1500, false}},
		{"another amount", opCapture, saleXML("settling", "14.99", ourCapture, "", held), want{models.OutcomeConfirmed, 1499, false}},
		{"the shop's order id", opCapture, saleXML("settling", "15.00", "SHOP-7", "", held), want{models.OutcomeConfirmed, 1500, false}},
		{"another capture's order id", opCapture, saleXML("settling", "15.00", "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb", "", held), want{models.OutcomeConfirmed, 1500, true}},
		{"pending", opCapture, saleXML("settlement_pending", "15.00", ourCapture, "", held), want{models.OutcomeAccepted, 1500, false}},
		{"still authorized", opCapture, saleXML("authorized", "15.00", "", "", held), want{}},
		{"declined after it was submitted", opCapture, saleXML("settlement_declined", "15.00", ourCapture, "4001", held, took), want{}},
		{"a status nobody knows", opCapture, saleXML("teleported", "15.00", ourCapture, "", held), want{}},
		{"no amount", opCapture, saleXML("settled", "", ourCapture, "", held, "submitted_for_settlement "), want{}},
		{"a negative amount", opCapture, saleXML("settled", "-15.00", ourCapture, ""), want{}},
		{"zero", opCapture, saleXML("settled", "0.00", ourCapture, ""), want{}},
		{"a tenth of a cent", opCapture, saleXML("settled", "15.001", ourCapture, ""), want{}},
		{"exponents", opCapture, saleXML("settled", "1e3", ourCapture, ""), want{}},
		{"no currency", opCapture, strings.Replace(sale, "EUR", "", 1), want{}},
		{"of another hold", opCapture, strings.Replace(sale, testHold, "another1", 1), want{}},
		{"a credit", opCapture, strings.Replace(sale, "<type>sale", "<type>credit", 1), want{}},
		{"no id", opCapture, strings.Replace(sale, testHold, "", 1), want{}},
		{"something after it", opCapture, sale + "<x/>", want{}},
		{"half of it", opCapture, sale[:len(sale)-30], want{}},
		{"nothing", opCapture, "", want{}},
		{"a page", opCapture, "<html></html>", want{}},
		{"JSON", opCapture, `{"id":"x"}`, want{}},

		{"refund submitted", opRefund, creditXML("submitted_for_settlement", "5.00", ourRefund, "submitted_for_settlement 5.00"), want{models.OutcomeConfirmed, 500, false}},
		{"refund without our reference", opRefund, creditXML("settling", "5.00", "", "submitted_for_settlement 5.00"), want{models.OutcomeConfirmed, 500, false}},
		{"refund pending", opRefund, creditXML("settlement_pending", "5.00", ourRefund), want{models.OutcomeAccepted, 500, false}},
		{"refund rejected", opRefund, creditXML("gateway_rejected", "5.00", ourRefund), want{models.OutcomeRefused, 0, false}},
		{"refund of another sale", opRefund, strings.Replace(creditXML("settled", "5.00", ourRefund), testHold, "another1", 1), want{}},
		{"the sale instead of the refund", opRefund, sale, want{}},
		{"refund without an amount", opRefund, creditXML("settled", "", ourRefund), want{}},
		{"refund of a status nobody knows", opRefund, creditXML("done", "5.00", ourRefund), want{}},

		{"voided", opVoid, saleXML("voided", "15.00", "", "", held, "voided 15.00"), want{models.OutcomeConfirmed, 1500, false}},
		{"voided without a history", opVoid, saleXML("voided", "15.00", "", ""), want{}},
		{"voided, and it is not", opVoid, saleXML("authorized", "15.00", "", "", held), want{}},
		{"undone", opUndo, saleXML("voided", "15.00", ourCapture, "", held, took, "voided 15.00"), want{models.OutcomeConfirmed, 1500, false}},
		{"undone, and it is not", opUndo, sale, want{}},
		{"undone without an amount", opUndo, saleXML("voided", "", ourCapture, ""), want{}},
		{"a look says nothing by itself", opLook, sale, want{}},
	} {
		for _, status := range []int{200, 201} {
			v := classify(tt.op, requestFor(tt.op), answered(status, tt.body))
			if got := (want{v.Outcome, v.AmountCents, v.Foreign}); got != tt.want || v.look || v.Outcome == models.OutcomeLost && tt.op != opLook && v.Message == "" {
				t.Errorf("%s: got %s, want %+v", tt.name, v.JSON(), tt.want)
			}
		}
	}
}

// FuzzClassify: no input at all is proof that nothing happened unless it is
// listed, and none is a success without figures.
func FuzzClassify(f *testing.F) {
	f.Add(uint8(0), uint8(2), 200, saleXML("settled", "15.00", ourCapture, "", "authorized 15.00"), "")
	f.Add(uint8(0), uint8(2), 200, saleXML("settlement_declined", "15.00", ourCapture, "4001", "submitted_for_settlement 15.00"), "3")
	f.Add(uint8(1), uint8(2), 201, creditXML("processor_declined", "5.00", ourRefund), "")
	f.Add(uint8(2), uint8(2), 200, saleXML("voided", "15.00", ourCapture, "", "submitted_for_settlement 15.00"), "")
	f.Add(uint8(3), uint8(2), 200, saleXML("voided", "15.00", "", "", "authorized 15.00"), "")
	f.Add(uint8(0), uint8(2), 401, "", "Wed, 21 Oct 2015 07:28:00 GMT")
	f.Add(uint8(4), uint8(2), 404, "", "-9999999999999999999")
	f.Add(uint8(0), uint8(1), 422, errorBody("91522"), "")
	f.Add(uint8(1), uint8(2), 422, `<api-error-response><errors/>`+creditXML("processor_declined", "5.00", ourRefund)+`</api-error-response>`, "")
	for _, code := range strings.Fields(transactionCodes)[:60] {
		f.Add(uint8(len(code)), uint8(2), 422, errorBody(code), "")
	}
	f.Fuzz(func(t *testing.T, call, phase uint8, status int, body, retry string) {
		op := operations[int(call)%len(operations)]
		a := answered(status, body)
		a.Phase = gateway.Phase(phase % 3)
		a.Header.Set("Retry-After", retry)
		v := classify(op, requestFor(op), a)
		if v.RetryAfter < 0 || !json.Valid(v.JSON()) || strings.ContainsRune(string(v.JSON()), 0) || string(v.JSON()) == "{}" {
			t.Fatalf("evidence: %q", v.JSON())
		}
		if v.look && (op == opLook || v.Outcome != models.OutcomeLost || status != 422) {
			t.Fatalf("%s looks after %d %q", op, status, body)
		}
		if v.Outcome == models.OutcomeLost || v.Outcome == models.OutcomeNotSent && a.Phase == gateway.PhaseNotSent {
			return
		}
		if a.Phase != gateway.PhaseAnswered {
			t.Fatalf("%s by phase %s", v.Outcome, a.Phase)
		}
		success := status == 200 || status == 201
		switch v.Outcome {
		case models.OutcomeConfirmed:
			if !success || v.AmountCents < 0 || v.AmountCents == 0 && op != opVoid || len(v.CurrencyCode) != 3 || v.GatewayTransactionID == "" {
				t.Fatalf("confirmed by %d %q: %s", status, body, v.JSON())
			}
		case models.OutcomeAccepted:
			if !success || v.GatewayTransactionID == "" {
				t.Fatalf("accepted by %d %q: %s", status, body, v.JSON())
			}
		case models.OutcomeNotSent:
			if status != 401 && status != 403 && status != 404 && status != 429 {
				t.Fatalf("not sent by %d %q", status, body)
			}
		case models.OutcomeRefused, models.OutcomeDeclined:
			if !success && status != 422 || success && !parses(body) {
				t.Fatalf("%s by %d %q", v.Outcome, status, body)
			}
			if e := parseError([]byte(body)); status == 422 && (e == nil || len(e.Errors.all) > 0 && find(op, e.Errors.all[0].Code).outcome != v.Outcome) {
				t.Fatalf("%s by %q, which is not listed", v.Outcome, body)
			}
		default:
			t.Fatalf("%s by an answer: %q", v.Outcome, body)
		}
	})
}

func parses(body string) bool {
	_, ok := parseTransaction([]byte(body))
	return ok
}
