package external

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

var asked = gateway.Request{Kind: models.Capture, Reference: "cap_abcdefghijklmnopqrstuvwxyz", Key: "k", AmountCents: 1500, CurrencyCode: "EUR", Hold: "auth"}

const (
	good  = `{"success":true,"data":{"transaction_token":"tok_1","amount_cents":1500,"metadata":{"foo":"bar"}}}`
	bad   = `{"success":false,"data":{"transaction_token":"tok_2","amount_cents":1500,"error":{"code":"NO_FUNDS","message":"Not enough"}}}`
	later = `{"success":true,"data":{"transaction_token":"tok_3","amount_cents":1500,"action_id":"act_1"}}`
)

func answered(status int, body string) gateway.Answer {
	return gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Body: []byte(body), Header: http.Header{}}
}

// TestClassify: what the contract documents, and what is like it and is not.
func TestClassify(t *testing.T) {
	data := func(more string) string { return `{"success":true,"data":{` + more + `}}` }
	whole := `"transaction_token":"tok_1","amount_cents":1500`
	for _, tt := range []struct {
		name string
		kind models.Kind
		a    gateway.Answer
		want models.Outcome
	}{
		{"success", models.Capture, answered(200, good), models.OutcomeConfirmed},
		{"success, created", models.Refund, answered(201, good), models.OutcomeConfirmed},
		{"accepted", models.Capture, answered(202, later), models.OutcomeAccepted},
		{"error", models.Capture, answered(200, bad), models.OutcomeRefused},
		{"error with 422", models.Void, answered(422, bad), models.OutcomeRefused},
		{"error with 400", models.Capture, answered(400, bad), models.OutcomeRefused},
		{"error with 402", models.Capture, answered(402, bad), models.OutcomeRefused},
		{"error to something asynchronous", models.Capture, answered(202, bad), models.OutcomeRefused},
		{"a void of nothing", models.Void, answered(200, data(`"transaction_token":"t","amount_cents":0`)), models.OutcomeConfirmed},
		{"members that nobody knows", models.Capture, answered(200, `{"success":true,"x":[1],"data":{`+whole+`,"y":{"z":null}}}`), models.OutcomeConfirmed},
		{"null members", models.Capture, answered(200, data(whole+`,"error":null,"action_id":null,"metadata":null,"currency_code":null`)), models.OutcomeConfirmed},

		{"a time-out", models.Capture, gateway.Answer{Phase: gateway.PhaseSent, Err: errors.New("timed out")}, models.OutcomeLost},
		{"a broken answer", models.Capture, gateway.Answer{Phase: gateway.PhaseSent, Status: 200}, models.OutcomeLost},
		{"no connection", models.Capture, gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, models.OutcomeNotSent},
		{"500 with a success", models.Capture, answered(500, good), models.OutcomeLost},
		{"500 with an error", models.Capture, answered(500, bad), models.OutcomeLost},
		{"502 with HTML", models.Capture, answered(502, "<html>"), models.OutcomeLost},
		{"503", models.Capture, answered(503, ""), models.OutcomeLost},
		{"a redirect", models.Capture, answered(302, good), models.OutcomeLost},
		{"a redirect with an error", models.Capture, answered(307, bad), models.OutcomeLost},
		{"not modified", models.Capture, answered(304, ""), models.OutcomeLost},
		{"HTML with 200", models.Capture, answered(200, "<html></html>"), models.OutcomeLost},
		{"empty", models.Capture, answered(200, ""), models.OutcomeLost},
		{"no content", models.Capture, answered(204, good), models.OutcomeLost},
		{"401", models.Capture, answered(401, `{"error":"Unauthorized"}`), models.OutcomeLost},
		{"401 with an error of the contract", models.Capture, answered(401, bad), models.OutcomeLost},
		{"403", models.Capture, answered(403, bad), models.OutcomeLost},
		{"404", models.Capture, answered(404, bad), models.OutcomeLost},
		{"408", models.Capture, answered(408, bad), models.OutcomeLost},
		{"409", models.Capture, answered(409, bad), models.OutcomeLost},
		{"429", models.Capture, answered(429, bad), models.OutcomeLost},
		{"a success with 400", models.Capture, answered(400, good), models.OutcomeLost},
		{"a success with 202 and no action", models.Capture, answered(202, good), models.OutcomeLost},
		{"an action with 200", models.Capture, answered(200, later), models.OutcomeLost},
		{"an error with an action", models.Capture, answered(202, strings.Replace(bad, `"error"`, `"action_id":"a","error"`, 1)), models.OutcomeLost},
		{"success and error at once", models.Capture, answered(200, data(whole+`,"error":{"code":"A","message":"b"}`)), models.OutcomeLost},
		{"success and an empty error", models.Capture, answered(200, data(whole+`,"error":{}`)), models.OutcomeLost},
		{"no token", models.Capture, answered(200, data(`"amount_cents":1500`)), models.OutcomeLost},
		{"an empty token", models.Capture, answered(200, data(`"transaction_token":"","amount_cents":1500`)), models.OutcomeLost},
		{"a token with blanks", models.Capture, answered(200, data(`"transaction_token":"a b","amount_cents":1500`)), models.OutcomeLost},
		{"a token that is a number", models.Capture, answered(200, data(`"transaction_token":7,"amount_cents":1500`)), models.OutcomeLost},
		{"a long token", models.Capture, answered(200, data(`"transaction_token":"`+strings.Repeat("x", 256)+`","amount_cents":1500`)), models.OutcomeLost},
		{"no amount", models.Capture, answered(200, data(`"transaction_token":"t"`)), models.OutcomeLost},
		{"no amount, accepted", models.Capture, answered(202, data(`"transaction_token":"t","action_id":"a"`)), models.OutcomeLost},
		{"an amount of nothing", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":0`)), models.OutcomeLost},
		{"a negative amount", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":-1500`)), models.OutcomeLost},
		{"a fraction", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":1500.0`)), models.OutcomeLost},
		{"an exponent", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":15e2`)), models.OutcomeLost},
		{"an amount in quotes", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":"1500"`)), models.OutcomeLost},
		{"an amount beyond all", models.Capture, answered(200, data(`"transaction_token":"t","amount_cents":99999999999999999999`)), models.OutcomeLost},
		{"no currency", models.Capture, answered(200, data(whole+`,"currency_code":"eur"`)), models.OutcomeLost},
		{"success as a word", models.Capture, answered(200, strings.Replace(good, "true", `"true"`, 1)), models.OutcomeLost},
		{"success as null", models.Capture, answered(200, strings.Replace(good, "true", `null`, 1)), models.OutcomeLost},
		{"no success", models.Capture, answered(200, `{"data":{`+whole+`}}`), models.OutcomeLost},
		{"other capitals", models.Capture, answered(200, `{"Success":true,"data":{`+whole+`}}`), models.OutcomeLost},
		{"twice", models.Capture, answered(200, `{"success":false,"success":true,"data":{`+whole+`}}`), models.OutcomeLost},
		{"two amounts", models.Capture, answered(200, data(whole+`,"amount_cents":1`)), models.OutcomeLost},
		{"more behind", models.Capture, answered(200, good+good), models.OutcomeLost},
		{"half", models.Capture, answered(200, good[:len(good)/2]), models.OutcomeLost},
		{"a list", models.Capture, answered(200, "["+good+"]"), models.OutcomeLost},
		{"data as a list", models.Capture, answered(200, `{"success":true,"data":[]}`), models.OutcomeLost},
		{"data as null", models.Capture, answered(200, `{"success":false,"data":null}`), models.OutcomeLost},
		{"an error without a code", models.Capture, answered(200, `{"success":false,"data":{"error":{"message":"x"}}}`), models.OutcomeLost},
		{"an error without a message", models.Capture, answered(200, `{"success":false,"data":{"error":{"code":"x"}}}`), models.OutcomeLost},
		{"an error that is a word", models.Capture, answered(200, `{"success":false,"data":{"error":"no"}}`), models.OutcomeLost},
		{"no success and no error", models.Capture, answered(200, `{"success":false,"data":{"transaction_token":"t"}}`), models.OutcomeLost},
		{"metadata that is a list", models.Capture, answered(200, data(whole+`,"metadata":[]`)), models.OutcomeLost},
		{"metadata without end", models.Capture, answered(200, data(whole+`,"metadata":{"x":"`+strings.Repeat("x", maxMetadata)+`"}`)), models.OutcomeLost},
		{"metadata with many members", models.Capture, answered(200, data(whole+`,"metadata":{`+many(maxMembers+1)+`}`)), models.OutcomeLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := asked
			r.Kind = tt.kind
			ev := classify(r, tt.a)
			if ev.Outcome != tt.want {
				t.Fatalf("got %s, want %s", ev.JSON(), tt.want)
			}
			if ev.Source != models.FromAnswer || ev.Message == "" && tt.want != models.OutcomeConfirmed || len(ev.Message) > 300 {
				t.Errorf("its words: %s", ev.JSON())
			}
			if tt.want == models.OutcomeLost && (ev.GatewayTransactionID != "" || ev.AmountCents != 0) {
				t.Errorf("what proves nothing has figures: %s", ev.JSON())
			}
		})
	}
}

func many(n int) string {
	var out []string
	for i := range n {
		out = append(out, `"m`+strconv.Itoa(i)+`":1`)
	}
	return strings.Join(out, ",")
}

// TestWords: what people and programs are told.
func TestWords(t *testing.T) {
	a := answered(200, good)
	a.Header.Set("X-Request-Id", "req_1")
	ev := classify(asked, a)
	if ev.Token != "tok_1" || ev.GatewayTransactionID != "tok_1" || ev.AmountCents != 1500 || ev.CurrencyCode != "EUR" || ev.RequestID != "req_1" || ev.NextAction != "" {
		t.Errorf("success: %s", ev.JSON())
	}
	if ev.Metadata != `{"foo":"bar"}` {
		t.Errorf("metadata: %s", ev.Metadata)
	}
	ev = classify(asked, answered(202, later))
	if ev.Token != "act_1" || ev.GatewayTransactionID != "tok_3" || ev.AmountCents != 1500 || ev.CurrencyCode != "EUR" {
		t.Errorf("accepted: %s", ev.JSON())
	}
	ev = classify(asked, answered(200, bad))
	if ev.ErrorCode != "NO_FUNDS" || ev.Message != "Not enough" || ev.Token != "tok_2" || ev.NextAction != "cancel" || ev.HoldGone || ev.AmountCents != 0 {
		t.Errorf("error: %s", ev.JSON())
	}
	for _, code := range goneCodes {
		gone := answered(422, strings.Replace(bad, "NO_FUNDS", code, 1))
		if !classify(asked, gone).HoldGone {
			t.Errorf("%s: the hold is not gone", code)
		}
		refund := asked
		refund.Kind = models.Refund
		if classify(refund, gone).HoldGone {
			t.Errorf("%s: a refund needs no hold", code)
		}
	}
	other := classify(asked, answered(200, strings.Replace(good, `"metadata"`, `"currency_code":"USD","metadata"`, 1)))
	if other.Outcome != models.OutcomeConfirmed || other.CurrencyCode != "USD" {
		t.Errorf("another currency: %s", other.JSON())
	}
	nasty := classify(asked, answered(200, strings.Replace(bad, "Not enough", `card 4242424242424242 \u0000 Bearer abcdefghijkl`, 1)))
	if strings.Contains(nasty.Message, "4242") || strings.Contains(nasty.Message, "abcdefgh") || strings.ContainsRune(nasty.Message, 0) {
		t.Errorf("not cleaned: %q", nasty.Message)
	}
}

// TestMetadata: what is kept of a receiver's own words is little, flat and clean.
func TestMetadata(t *testing.T) {
	for sent, want := range map[string]string{
		`{}`:                                     "",
		`{"b":"x","a":7,"c":true}`:               `{"a":7,"b":"x","c":true}`,
		`{"a":{"b":1},"c":[1],"d":null,"e":1.5}`: "",
		`{"a":"4242 4242 4242 4242","n":"x\u0000y"}`:                                       `{"a":"***","n":"x y"}`,
		`{"capstan_reference":"x","with blank":"x","":"x"}`:                                "",
		`{"id":12345678901234567890,"big":1234567890123456789}`:                            `{"big":"1234567890123456789"}`,
		`{"a":"` + strings.Repeat("ä", 4000) + `","b":"` + strings.Repeat("x", 299) + `"}`: `{"a":"` + strings.Repeat("ä", 150) + `","b":"` + strings.Repeat("x", 299) + `"}`,
	} {
		all, err := members([]byte(sent))
		if err != nil {
			t.Fatal(err)
		}
		if got := kept(all); got != want {
			t.Errorf("%.80s: kept %.200s, want %.200s", sent, got, want)
		}
	}
	all, err := members([]byte("{" + strings.ReplaceAll(many(50), ":1", `:"`+strings.Repeat("y", 300)+`"`) + "}"))
	if err != nil || len(kept(all)) > maxKept || len(kept(all)) < maxKept/2 {
		t.Errorf("%d bytes are kept, %v", len(kept(all)), err)
	}
}

// FuzzClassify: nothing unlisted is confirmed, accepted, refused, declined or not
// sent, and a success always names a token and an amount.
func FuzzClassify(f *testing.F) {
	for _, body := range []string{good, bad, later, "", "<html>", "{}", `{"success":true}`, `{"success":false,"data":{"error":{}}}`} {
		for _, status := range []int{200, 202, 302, 401, 422, 500} {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		ev := classify(asked, answered(status, body))
		switch ev.Outcome {
		case models.OutcomeLost:
			return
		case models.OutcomeConfirmed:
			if status != 200 && status != 201 || ev.GatewayTransactionID == "" || ev.AmountCents <= 0 || !strings.Contains(body, "true") {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		case models.OutcomeAccepted:
			if status != 202 || ev.Token == "" || ev.AmountCents <= 0 {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		case models.OutcomeRefused:
			if status >= 500 || status < 200 || status >= 300 && status < 400 || !strings.Contains(body, "false") || !strings.Contains(body, "code") {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		default:
			t.Fatalf("%d %q: %s", status, body, ev.JSON())
		}
	})
}
