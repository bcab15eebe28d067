package klarna

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
	testHold    = "f3392f8b-6116-4073-ab96-e330819e2c07"
	testCapture = "4ba29b50-be7b-44f5-a492-113e6a865e22"
	testRefund  = "b2cb4f2e-2781-4359-80ad-555735ebb8d8"
	ourRef      = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	siblingRef  = "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var calls = []gateway.Label{gateway.CallCapture, gateway.CallRefund, gateway.CallVoid, gateway.CallReauthorize, gateway.CallLookUp}

func testRequest(kind models.Kind, onlyOne bool) gateway.Request {
	return gateway.Request{
		Kind: kind, Reference: ourRef, Key: ourRef + "_e0", AmountCents: 1500, CurrencyCode: "EUR", Hold: testHold, Capture: testCapture,
		OnlyOne: onlyOne, HoldCents: 1500,
	}
}

func answered(status int, body string, headers ...string) gateway.Answer {
	a := gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Header: http.Header{}, Body: []byte(body)}
	for i := 0; i+1 < len(headers); i += 2 {
		a.Header.Set(headers[i], headers[i+1])
	}
	return a
}

func errorBody(code string) string {
	raw, _ := json.Marshal(apiError{Code: code, Messages: []string{"It did not work.", "At all."}, Correlation: "corr1"})
	return string(raw)
}

// documented is every error that Klarna's documents list, with the calls that they
// list it for, and what it must prove there.
var documented = []struct {
	calls  string
	status int
	code   string
	want   ruling
}{
	{"capture refund void reauthorize look_up", 401, "UNAUTHORIZED", config},
	{"capture", 403, "CAPTURE_NOT_ALLOWED", forbidden},
	{"refund", 403, "REFUND_NOT_ALLOWED", forbidden},
	{"void", 403, "CANCEL_NOT_ALLOWED", forbidden},
	{"void", 403, "NOT_ALLOWED", forbidden},
	{"reauthorize", 403, "NOT_ALLOWED", refused},
	{"capture refund void reauthorize", 404, "NO_SUCH_ORDER", badRequest},
	{"capture refund void reauthorize", 404, "NO_SUCH_CAPTURE", badRequest},
	{"capture refund void reauthorize", 404, "NOT_FOUND", badRequest},
	{"capture refund void reauthorize", 400, "NOT_FOUND", badRequest},
	{"capture refund void reauthorize", 400, "BAD_VALUE", badRequest},
	{"capture refund void reauthorize look_up", 409, "CONFLICT", inProgress},
	{"capture refund void reauthorize", 413, "REQUEST_TOO_LARGE", badRequest},
	{"capture refund void reauthorize", 422, "UNPROCESSABLE_ENTITY", badRequest},
	{"capture refund void reauthorize", 422, "INVALID_ADDRESS", badRequest},
	{"capture refund void reauthorize look_up", 429, "TOO_MANY_REQUESTS", throttled},
	{"", 500, "INTERNAL_SERVER_ERROR", lookFirst},
	{"", 500, "UNEXPECTED_ERROR", lookFirst},
	{"", 502, "TEMPORARILY_UNAVAILABLE", lookFirst},
	{"", 503, "TEMPORARILY_UNAVAILABLE", lookFirst},
	{"", 504, "TEMPORARILY_UNAVAILABLE", lookFirst},
}

func wanted(call gateway.Label, status int, code string) ruling {
	if status == 401 {
		return config
	}
	for _, d := range documented {
		if d.status == status && d.code == code && strings.Contains(" "+d.calls+" ", " "+string(call)+" ") {
			return d.want
		}
	}
	return lookFirst
}

func rulingOf(ev models.Evidence) ruling {
	return ruling{ev.Outcome, ev.Class, ev.Answered, ev.NextAction}
}

// TestDocumentedErrors: every documented error, on the calls it is documented
// for, and on none other. None of them refuses a capture, a refund or a void.
func TestDocumentedErrors(t *testing.T) {
	for _, d := range documented {
		for _, call := range calls {
			ev := classify(call, answered(d.status, errorBody(d.code)))
			if got, want := rulingOf(ev), wanted(call, d.status, d.code); got != want {
				t.Errorf("%s, %d %s: got %+v, want %+v", call, d.status, d.code, got, want)
			}
			if ev.ErrorCode != d.code || ev.Message != "It did not work." || ev.ErrorDetail != "At all." || ev.RequestID != "corr1" || ev.Status != d.status || ev.HoldGone {
				t.Errorf("%s, %d %s: not told: %s", call, d.status, d.code, ev.JSON())
			}
			if ev.Outcome == models.OutcomeRefused && call != gateway.CallReauthorize {
				t.Errorf("%s refused by %d %s alone", call, d.status, d.code)
			}
		}
	}
	for _, r := range rules {
		if r.then == lookFirst || r.status == 401 {
			t.Errorf("rule %+v says nothing", r)
		}
	}
}

func TestAnswers(t *testing.T) {
	forbade := errorBody("CAPTURE_NOT_ALLOWED")
	captureAt := "https://api.klarna.com/ordermanagement/v1/orders/" + testHold + "/captures/" + testCapture
	accepted := ruling{outcome: models.OutcomeAccepted}
	for _, tt := range []struct {
		name   string
		call   gateway.Label
		answer gateway.Answer
		want   ruling
		id     string
	}{
		{"captured", gateway.CallCapture, answered(201, "", captureHeader, testCapture, locationHeader, captureAt), accepted, testCapture},
		{"captured, by its header", gateway.CallCapture, answered(201, "", captureHeader, testCapture), accepted, testCapture},
		{"captured, by its location", gateway.CallCapture, answered(201, "", locationHeader, captureAt), accepted, testCapture},
		{"captured, by a location with a slash", gateway.CallCapture, answered(201, "", locationHeader, captureAt+"/"), accepted, testCapture},
		{"captured, twice named", gateway.CallCapture, answered(201, "", captureHeader, "another", locationHeader, captureAt), ruling{}, ""},
		{"captured, without a name", gateway.CallCapture, answered(201, ""), ruling{}, ""},
		{"captured, with a name that is none", gateway.CallCapture, answered(201, "", captureHeader, "../x"), ruling{}, ""},
		{"a refund in answer to a capture", gateway.CallCapture, answered(201, "", refundHeader, testRefund), ruling{}, ""},
		{"a 200", gateway.CallCapture, answered(200, "", captureHeader, testCapture), ruling{}, ""},
		{"a 202", gateway.CallCapture, answered(202, "", captureHeader, testCapture), ruling{}, ""},
		{"a 204 to a capture", gateway.CallCapture, answered(204, "", captureHeader, testCapture), ruling{}, ""},
		{"refunded", gateway.CallRefund, answered(201, "", refundHeader, testRefund), accepted, testRefund},
		{"refunded, by its location", gateway.CallRefund, answered(201, "", locationHeader, "http://x/refunds/"+testRefund), accepted, testRefund},
		{"voided", gateway.CallVoid, answered(204, ""), accepted, ""},
		{"a 201 to a void", gateway.CallVoid, answered(201, "", captureHeader, testCapture), ruling{}, ""},
		{"extended", gateway.CallReauthorize, answered(204, ""), accepted, ""},
		{"a 204 to a look-up", gateway.CallLookUp, answered(204, ""), ruling{}, ""},
		{"401 without a word", gateway.CallCapture, answered(401, ""), config, ""},
		{"401 with a page", gateway.CallVoid, answered(401, "<html>"), config, ""},
		{"403 with a page", gateway.CallCapture, answered(403, "<html>"), ruling{}, ""},
		{"403 without a word", gateway.CallCapture, answered(403, ""), ruling{}, ""},
		{"403 of something new", gateway.CallCapture, answered(403, errorBody("SOMETHING_NEW")), lookFirst, ""},
		{"403 of another call", gateway.CallRefund, answered(403, forbade), lookFirst, ""},
		{"another status", gateway.CallCapture, answered(400, forbade), lookFirst, ""},
		{"lower case", gateway.CallCapture, answered(403, strings.ToLower(forbade)), lookFirst, ""},
		{"half of it", gateway.CallCapture, answered(403, forbade[:len(forbade)/2]), ruling{}, ""},
		{"an array", gateway.CallCapture, answered(403, "["+forbade+"]"), ruling{}, ""},
		{"429 with a page", gateway.CallCapture, answered(429, "<html>"), ruling{}, ""},
		{"500 with a known code", gateway.CallCapture, answered(500, forbade), lookFirst, ""},
		{"503 with a page", gateway.CallCapture, answered(503, "<html>"), lookFirst, ""},
		{"a redirect", gateway.CallCapture, answered(302, forbade), ruling{}, ""},
		{"status 0", gateway.CallCapture, answered(0, forbade), ruling{}, ""},
		{"the zero answer", gateway.CallCapture, gateway.Answer{}, ruling{}, ""},
		{"sent, no answer", gateway.CallCapture, gateway.Answer{Phase: gateway.PhaseSent, Err: context.DeadlineExceeded}, ruling{}, ""},
		{"sent, a 401 that broke off", gateway.CallCapture, gateway.Answer{Phase: gateway.PhaseSent, Status: 401, Err: errors.New("EOF")}, ruling{}, ""},
		{"not sent", gateway.CallCapture, gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := classify(tt.call, tt.answer)
			if got := rulingOf(ev); got != tt.want || ev.GatewayTransactionID != tt.id || ev.Message == "" || ev.AmountCents != 0 {
				t.Errorf("got %s, want %+v %q", ev.JSON(), tt.want, tt.id)
			}
		})
	}
	ev := classify(gateway.CallCapture, answered(429, errorBody("TOO_MANY_REQUESTS"), "Retry-After", "7", correlationHeader, "hdr9"))
	if ev.RetryAfter != 7*time.Second || ev.RequestID != "hdr9" {
		t.Errorf("headers were read as %s", ev.JSON())
	}
}

// An id is kept as it is, though its digits could be those of a card.
func TestIDsAreNotMasked(t *testing.T) {
	const id = "4111-1111-1111-1111"
	if ev := classify(gateway.CallCapture, answered(201, "", captureHeader, id)); ev.Outcome != models.OutcomeAccepted || ev.GatewayTransactionID != id {
		t.Errorf("%s", ev.JSON())
	}
}

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		ok       bool
	}{
		{1, "EUR", true}, {1500, "SEK", true}, {1550, "HUF", true}, {maxCents, "USD", true}, {1500, "eur", true},
		{maxCents + 1, "USD", false}, {0, "EUR", false}, {-1, "EUR", false}, {1500, "JPY", false}, {1500, "KWD", false}, {1500, "XXX", false},
	} {
		if got, err := toKlarna(tt.cents, tt.currency); (err == nil) != tt.ok || tt.ok && got != tt.cents {
			t.Errorf("%d %s: %d, %v", tt.cents, tt.currency, got, err)
		}
	}
	for _, code := range strings.Fields(currencies) {
		if got, ok := currencyOf(strings.ToLower(code)); !ok || got != code || models.Exponent(code) != 2 {
			t.Errorf("%s: %s %t", code, got, ok)
		}
	}
}

// TestExpiredAsTold: the evidence that people see of an order that ended.
func TestExpiredAsTold(t *testing.T) {
	refusal := classify(gateway.CallCapture, answered(403, `{"error_code":"CAPTURE_NOT_ALLOWED",
		"error_messages":["Order `+testHold+` is expired. Capture not possible."],"correlation_id":"66782175-ae05"}`))
	got := explained(testRequest(models.Capture, true), refusal, seen(orderBody("EXPIRED", nil, nil)))
	want := models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeRefused, HoldGone: true, Status: 403, RequestID: "66782175-ae05", ErrorCode: "ORDER_EXPIRED",
		Message: "the order is EXPIRED at Klarna", NextAction: "cancel", GatewayTransactionID: testHold, HoldEndsAt: got.HoldEndsAt,
	}
	if diff := cmp.Diff(want, got); diff != "" || got.HoldEndsAt == nil {
		t.Error(diff)
	}
}

// FuzzClassify: no input at all is proof that nothing happened unless it is
// listed, and none alone is a success.
func FuzzClassify(f *testing.F) {
	f.Add(uint8(0), uint8(2), 201, "", testCapture, "3")
	f.Add(uint8(2), uint8(2), 204, "", "", "")
	f.Add(uint8(3), uint8(2), 403, errorBody("NOT_ALLOWED"), "", "")
	f.Add(uint8(0), uint8(2), 401, "<html>", "", "Wed, 21 Oct 2015 07:28:00 GMT")
	f.Add(uint8(0), uint8(1), 403, errorBody("CAPTURE_NOT_ALLOWED"), "", "-9999999999999999999")
	f.Add(uint8(1), uint8(2), 403, `{"ERROR_CODE":"REFUND_NOT_ALLOWED","error_messages":[""]}`, "/captures/x", "")
	for _, d := range documented {
		f.Add(uint8(0), uint8(2), d.status, errorBody(d.code), "", "")
	}
	f.Fuzz(func(t *testing.T, call, phase uint8, status int, body, made, retry string) {
		label := calls[int(call)%len(calls)]
		a := answered(status, body, "Retry-After", retry, captureHeader, made, refundHeader, made, correlationHeader, made)
		a.Phase = gateway.Phase(phase % 3)
		ev := classify(label, a)
		if ev.RetryAfter < 0 || !json.Valid(ev.JSON()) || strings.ContainsRune(string(ev.JSON()), 0) || string(ev.JSON()) == "{}" {
			t.Fatalf("evidence: %q", ev.JSON())
		}
		if ev.Outcome == models.OutcomeLost || ev.Outcome == models.OutcomeNotSent && a.Phase == gateway.PhaseNotSent {
			return
		}
		if a.Phase != gateway.PhaseAnswered {
			t.Fatalf("%s by phase %s", ev.Outcome, a.Phase)
		}
		switch ev.Outcome {
		case models.OutcomeAccepted:
			if status != 201 && status != 204 || (label == gateway.CallCapture || label == gateway.CallRefund) && !validID(ev.GatewayTransactionID) {
				t.Fatalf("accepted by %d %q: %s", status, made, ev.JSON())
			}
		case models.OutcomeNotSent, models.OutcomeRefused:
			code := ""
			if e := parseError([]byte(body)); e != nil {
				code = e.Code
			}
			if want := wanted(label, status, code); want.outcome != ev.Outcome {
				t.Fatalf("%s: %s by %d %q, which is not listed", label, ev.Outcome, status, body)
			}
		default:
			t.Fatalf("%s by an answer alone: %d %q", ev.Outcome, status, body)
		}
	})
}

// orderBody is an order of 1500 EUR in minor units, with its sums as they should
// be. A cancelled, expired or captured one holds nothing any more.
func orderBody(status string, captures, refunds []string, change ...string) string {
	taken, back := amounts(captures, "captured_amount"), amounts(refunds, "refunded_amount")
	left := 1500 - taken
	if !strings.Contains(" AUTHORIZED PART_CAPTURED ", " "+status+" ") {
		left = 0
	}
	body := fmt.Sprintf(`{"order_id":%q,"status":%q,"fraud_status":"ACCEPTED","purchase_currency":"eur","order_amount":1500,"original_order_amount":1500,
		"captured_amount":%d,"refunded_amount":%d,"remaining_authorized_amount":%d,"expires_at":"2026-03-30T09:00:00.000Z","captures":[%s],"refunds":[%s]}`,
		testHold, status, taken, back, left, strings.Join(captures, ","), strings.Join(refunds, ","))
	return strings.NewReplacer(change...).Replace(body)
}

func amounts(parts []string, field string) int {
	sum := 0
	for _, p := range parts {
		var m map[string]any
		if json.Unmarshal([]byte(p), &m) == nil {
			n, _ := m[field].(float64)
			sum += int(n)
		}
	}
	return sum
}

func taken(id string, cents int, reference string) string {
	return fmt.Sprintf(`{"capture_id":%q,"captured_amount":%d,"reference":%q,"refunded_amount":0,"captured_at":"2026-03-01T10:00:00.000Z"}`, id, cents, reference)
}

func back(id string, cents int, reference string) string {
	return fmt.Sprintf(`{"refund_id":%q,"refunded_amount":%d,"reference":%q}`, id, cents, reference)
}

// seen is what read makes of a good answer.
func seen(body string) sight {
	s := sight{ev: models.Evidence{Source: models.FromLookUp, Status: 200}}
	if s.order, s.ok = parseOrder([]byte(body), testHold); s.ok {
		s.ev.HoldEndsAt = s.order.ends()
	}
	return s
}
