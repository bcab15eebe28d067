package checkoutcom

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const (
	testHold   = "pay_y3oqhf46pyzuxjbcn2giaqnb44"
	testAction = "act_y3oqhf46pyzuxjbcn2giaqnb44"
	ourRef     = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	ourKey     = ourRef + "_e0"
	siblingRef = "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var calls = []gateway.Label{gateway.CallCapture, gateway.CallRefund, gateway.CallVoid, gateway.CallLookUp}

func testRequest(kind models.Kind, onlyOne bool) gateway.Request {
	return gateway.Request{
		Kind: kind, Reference: ourRef, Key: ourKey, AmountCents: 1500, CurrencyCode: "EUR", Hold: testHold, OnlyOne: onlyOne, HoldCents: 1500, Final: true,
	}
}

func answered(status int, body string) gateway.Answer {
	return gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Header: http.Header{}, Body: []byte(body)}
}

func errorBody(kind string, codes ...string) string {
	raw, _ := json.Marshal(map[string]any{"request_id": "0HL80RJLS76I7", "error_type": kind, "error_codes": codes})
	return string(raw)
}

func rulingOf(ev models.Evidence) ruling {
	return ruling{ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction}
}

// documented are the error codes of Checkout.com's documentation that are about
// what this adapter asks for, with the calls, and what they must prove there.
var documented = []struct {
	calls string
	code  string
	want  ruling
}{
	{"capture refund void", "action_failure_limit_exceeded", barred},
	{"refund", "amount_exceeds_balance", badRequest},
	{"capture refund", "amount_invalid", badRequest},
	{"capture refund void", "api_calls_quota_exceeded", throttled},
	{"capture refund void", "business_invalid", badRequest},
	{"capture refund void", "business_settings_missing", badRequest},
	{"capture", "capture_value_greater_than_authorized", refused},
	{"capture", "capture_value_greater_than_remaining_authorized", lookFirst},
	{"capture refund void", "channel_details_invalid", badRequest},
	{"capture refund void", "channel_url_missing", badRequest},
	{"capture refund", "currency_invalid", badRequest},
	{"capture refund", "currency_required", badRequest},
	{"capture refund void", "endpoint_invalid", badRequest},
	{"capture refund void", "metadata_key_invalid", badRequest},
	{"capture refund void", "parameter_invalid", badRequest},
	{"capture", "payment_expired", holdGone},
	{"refund", "payment_expired", badRequest},
	{"capture refund void", "payment_invalid", badRequest},
	{"capture refund void", "payment_method_invalid", badRequest},
	{"capture refund void", "payment_type_invalid", badRequest},
	{"capture refund void", "processing_channel_id_required", badRequest},
	{"capture refund void", "processing_key_required", badRequest},
	{"capture refund void", "processing_value_required", badRequest},
	{"capture refund void", "request_invalid", badRequest},
	{"capture refund void", "request_json_invalid", badRequest},
	{"capture refund void", "server_api_not_allowed", badRequest},
	{"void", "void_amount_invalid", badRequest},
}

// elsewhere are the other documented error codes: of requests for payments, of
// cards, payers, recipients, tokens and plans. Here they prove nothing.
const elsewhere = `3ds_malfunction 3ds_not_configured 3ds_not_enabled_for_card 3ds_not_supported 3ds_payment_required 3ds_version_invalid
	3ds_version_not_supported address_invalid amount_limit_exceeded billing_descriptor_city_invalid billing_descriptor_city_required
	billing_descriptor_name_invalid billing_descriptor_name_required card_authorization_failed card_disabled card_expired
	card_expiry_month_invalid card_expiry_month_required card_expiry_year_invalid card_expiry_year_required card_holder_invalid
	card_not_eligible_cross_border_money_transfer card_not_eligible_domestic_money_transfer card_not_found card_number_invalid
	card_number_required charge_details_invalid city_invalid country_address_invalid country_invalid country_phone_code_invalid
	country_phone_code_length_invalid customer_already_exists customer_email_invalid customer_id_invalid customer_mismatch
	customer_not_found customer_number_invalid customer_plan_edit_failed customer_plan_id_invalid cvv_invalid destination_amount_invalid
	destination_id_invalid destination_token_invalid destination_token_required email_in_use email_invalid email_required
	expiry_date_format_invalid fail_url_invalid first_name_required ip_address_invalid issuer_network_unavailable last_name_required
	password_invalid payment_source_required phone_number_invalid phone_number_length_invalid previous_payment_id_invalid
	processing_error recipient_account_number_invalid recipient_account_number_required recipient_dob_invalid recipient_dob_required
	recipient_last_name_required recipient_zip_invalid recipient_zip_required recurring_plan_exists recurring_plan_not_exist
	recurring_plan_removal_failed risk_enabled_required service_unavailable source_email_invalid source_email_required source_id_invalid
	source_id_or_email_required source_id_required source_id_unknown source_invalid source_or_destination_required source_token_invalid
	source_token_required source_token_type_invalid source_token_type_required source_type_required sub_entities_count_invalid
	success_url_invalid success_url_required token_data_invalid token_expired token_in_use token_invalid token_required
	token_type_invalid token_type_required token_used velocity_amount_limit_exceeded velocity_count_limit_exceeded wallet_id_invalid
	zip_invalid`

func wanted(call gateway.Label, code string) ruling {
	for _, d := range documented {
		if d.code == code && slices.Contains(strings.Fields(d.calls), string(call)) {
			return d.want
		}
	}
	return lookFirst
}

// TestDocumentedErrors: every documented error code, on the calls it speaks of,
// and on none other.
func TestDocumentedErrors(t *testing.T) {
	codes := strings.Fields(elsewhere)
	for _, d := range documented {
		codes = append(codes, d.code)
	}
	for _, code := range codes {
		for _, call := range calls {
			ev := classify(call, testRequest("", true), answered(422, errorBody("request_invalid", code)))
			if got, want := rulingOf(ev), wanted(call, code); got != want {
				t.Errorf("%s, %s: got %+v, want %+v", call, code, got, want)
			}
			if ev.ErrorCode != code || ev.ErrorDetail != "request_invalid" || ev.RequestID != "0HL80RJLS76I7" || ev.Status != 422 || !strings.Contains(ev.Message, code) || ev.Answered {
				t.Errorf("%s, %s: not told: %s", call, code, ev.JSON())
			}
		}
	}
	for _, r := range rules {
		for code := range strings.FieldsSeq(r.codes) {
			if r.then != lookFirst && !slices.Contains(codes, code) {
				t.Errorf("the table lists %s, which is not documented", code)
			}
		}
	}
}

func TestErrorOddities(t *testing.T) {
	expired := errorBody("request_invalid", "payment_expired")
	lost, lostBad := ruling{}, ruling{next: gateway.NextRetry}
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   ruling
	}{
		{"401 without a body", answered(401, ""), config},
		{"401 with an error", answered(401, errorBody("unauthorized")), config},
		{"a page with 401", answered(401, "<html>"), lost},
		{"403 without a body", answered(403, ""), lookFirst},
		{"403 with an error", answered(403, errorBody("request_invalid", "payment_expired")), lookFirst},
		{"404 without a body", answered(404, ""), badRequest},
		{"a page with 404", answered(404, "<html>"), lost},
		{"409", answered(409, ""), inProgress},
		{"429 without a body", answered(429, " \n"), throttled},
		{"429 of the rate", answered(429, errorBody("request_invalid", "too_many_requests")), throttled},
		{"429 of the key, as it was once", answered(429, errorBody("request_invalid", "duplicate_request_detected")), lookFirst},
		{"a page with 429", answered(429, "<html>"), lost},
		{"two codes that prove the same", answered(422, errorBody("request_invalid", "amount_invalid", "currency_invalid")), badRequest},
		{"two codes that do not", answered(422, errorBody("request_invalid", "payment_expired", "amount_invalid")), lookFirst},
		{"a known and an unknown code", answered(422, errorBody("request_invalid", "payment_expired", "something_new")), lookFirst},
		{"a known and an empty code", answered(422, errorBody("request_invalid", "payment_expired", "")), lookFirst},
		{"an unknown code", answered(422, errorBody("request_invalid", "something_new")), lookFirst},
		{"two codes in one", answered(422, errorBody("request_invalid", "payment_expired payment_invalid")), lookFirst},
		{"a part of a code", answered(422, errorBody("request_invalid", "expired")), lookFirst},
		{"no code", answered(422, errorBody("request_invalid")), lookFirst},
		{"no body", answered(422, ""), lookFirst},
		{"another type", answered(422, errorBody("something_new", "payment_expired")), lookFirst},
		{"a processing error", answered(422, errorBody("processing_error", "payment_expired")), holdGone},
		{"another status", answered(400, expired), lookFirst},
		{"upper case", answered(422, strings.ToUpper(expired)), lookFirst},
		{"500 with a known code", answered(500, expired), lostBad},
		{"502", answered(502, "<html>"), lostBad},
		{"503", answered(503, ""), lostBad},
		{"a page", answered(422, "<html>"), lost},
		{"an array", answered(422, "["+expired+"]"), lost},
		{"half of it", answered(422, expired[:len(expired)/2]), lost},
		{"an empty object", answered(422, "{}"), lost},
		{"redirect", answered(302, expired), lost},
		{"200", answered(200, `{"action_id":"`+testAction+`"}`), lost},
		{"201", answered(201, `{"action_id":"`+testAction+`"}`), lost},
		{"204", answered(204, ""), lost},
		{"202 without an action", answered(202, `{}`), lost},
		{"202 without a body", answered(202, ``), lost},
		{"202 with half a body", answered(202, `{"action_id":"act_y3oq`), lost},
		{"202 with an id that is none", answered(202, `{"action_id":"../x"}`), lost},
		{"202 for somebody else", answered(202, `{"action_id":"`+testAction+`","reference":"ORD-7"}`), ruling{next: gateway.NextContact}},
		{"202", answered(202, `{"action_id":"`+testAction+`","reference":"`+ourRef+`"}`), ruling{outcome: models.OutcomeAccepted}},
		{"202 that names no reference", answered(202, `{"action_id":"`+testAction+`"}`), ruling{outcome: models.OutcomeAccepted}},
		{"status 0", answered(0, expired), lost},
		{"the zero answer", gateway.Answer{}, lost},
		{"sent, no answer", gateway.Answer{Phase: gateway.PhaseSent, Err: context.DeadlineExceeded}, lost},
		{"sent, a 422 that broke off", gateway.Answer{Phase: gateway.PhaseSent, Status: 422, Body: []byte(expired), Err: errors.New("EOF")}, lost},
		{"not sent", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := classify(gateway.CallCapture, testRequest(models.Capture, true), tt.answer)
			if got := rulingOf(ev); got != tt.want || ev.Answered {
				t.Errorf("got %s, want %+v", ev.JSON(), tt.want)
			}
		})
	}
	slow := answered(429, "")
	slow.Header.Set("Retry-After", "7")
	slow.Header.Set(requestHeader, "hdr9")
	if ev := classify(gateway.CallCapture, testRequest(models.Capture, true), slow); ev.RetryAfter != 7*time.Second || ev.RequestID != "hdr9" || ev.ErrorCode != "too_many_requests" {
		t.Errorf("headers were read as %s", ev.JSON())
	}
	for status := range 600 { // of a look-up nothing but its two proofs that it did not happen
		ev := classify(gateway.CallLookUp, testRequest(models.Capture, true), answered(status, ""))
		if ev.Source != models.FromLookUp || (status == 401 || status == 429) != (ev.Outcome == models.OutcomeNotSent) || ev.Outcome != models.OutcomeNotSent && ev.Outcome != models.OutcomeLost || ev.Class == models.ClassBadRequest {
			t.Errorf("look-up, %d: %s", status, ev.JSON())
		}
	}
}

// responseCodes are all documented response codes, by the ranges of the
// documentation.
const (
	softCodes = `20001 20002 20003 20004 20005 20006 20009 20012 20013 20014 20015 20016 20017 20018 20019 20020 20021 20022 20023 20024
	20025 20026 20027 20028 20029 20030 20031 20032 20033 20038 20039 20040 20042 20044 20045 20046 20051 20052 20053 20054 20055 20056
	20057 20058 20059 2005C 20060 20061 20062 20063 20064 20065 20066 20067 20068 2006P 20070 20072 20075 20078 20081 20082 20083 20084
	20085 20086 20087 20088 20089 20090 20091 20092 20093 20094 20095 20096 20097 20098 20099 2009G 200A4 200A5 200A6 200E0 200E2 200E3
	200N0 200N7 200P1 200P9 200R1 200R3 200S4 200T2 200T3 200T5 20100 20101 20102 20103 20104 20105 20106 20107 20108 20109 20110 20111
	20112 20113 20114 20115 20116 20117 20118 20119 20120 20121 20122 20123 20124 20150 20151 20152 20153 20154 20155 20156 20157 20158
	20159 20179 20182 20183 20193 20197 20199`
	hardCodes = `30004 30007 30015 30016 30017 30018 30019 30020 30021 30022 30033 30034 30035 30036 30037 30038 30041 30043 30044 30045
	30046 30401 30402 30403 30404 30405 40101 40201 40202 40203 40204 40205 41101 41201 41202 41203 41204 41205 41206 41301 42101 42201
	42202 42203 42204 42205 42206 42301 43101 43102 43201 43202 43203 43204 43205 43206 43301 43401`
	payoutCodes = `50001 50002 50003 50005 50020 50021 50022 50023 50025 50026 50027 50030 50070 50100 50101 50102 50103 50104 50105 50106
	50150 50180 50200 50240 50260 50280 50399 50401 50402 50403 50404 50405 50406 50407 50408 50409 50410 50441 50451 50452 50453 50454
	50466 50471 50481 50490 50491 50492 50494 50499 50501 50511 50512 50513 50514 50515 50517 50531 50599`
	// unsure speak of a lost or a half answer, or of another thing than a decline.
	unsure = "20009 20020 20032 20068 20095 20099 20118 200A4 200A6 50150 50240 50260 50399 50490 50499 50531 50599"
)

// TestDocumentedResponseCodes: a soft decline is tried again or given up, a hard
// one is given up, and what is unsure proves nothing.
func TestDocumentedResponseCodes(t *testing.T) {
	declinedBy := func(kind models.Kind, code string) models.Evidence {
		return decided(models.Evidence{}, kind, "EUR", action{ID: testAction, Amount: 1500, Approved: &no, Code: code, Summary: "Because"})
	}
	unsureCodes := strings.Fields(unsure)
	seen := map[string]bool{}
	for list, allowed := range map[string][]models.Outcome{
		softCodes:   {models.OutcomeDeclined, models.OutcomeRefused},
		hardCodes:   {models.OutcomeRefused},
		payoutCodes: {models.OutcomeDeclined, models.OutcomeRefused},
	} {
		for code := range strings.FieldsSeq(list) {
			seen[code] = true
			for _, kind := range models.Kinds {
				ev := declinedBy(kind, code)
				nothing := slices.Contains(unsureCodes, code) || list == payoutCodes && kind != models.Refund || code == "20158" && kind != models.Refund
				if nothing != (ev.Outcome == models.OutcomeLost) || !nothing && !slices.Contains(allowed, ev.Outcome) {
					t.Errorf("%s, %s: %s", kind, code, ev.JSON())
				}
				if ev.HoldGone || ev.AmountCents != 0 || ev.ErrorCode != code || ev.ErrorDetail != "Because" || ev.NextAction == "" || ev.GatewayTransactionID != testAction || !ev.Answered {
					t.Errorf("%s, %s: not told: %s", kind, code, ev.JSON())
				}
			}
		}
	}
	for _, r := range results {
		for code := range strings.FieldsSeq(r.codes) {
			if !seen[code] {
				t.Errorf("the table lists %s, which is not documented", code)
			}
		}
	}
	for code, want := range map[string]models.Outcome{
		"20051": models.OutcomeDeclined, "20005": models.OutcomeDeclined, "20091": models.OutcomeDeclined, "20006": models.OutcomeDeclined,
		"20059": models.OutcomeRefused, "20054": models.OutcomeRefused, "20109": models.OutcomeRefused, "30041": models.OutcomeRefused, "40101": models.OutcomeRefused,
		"20068": models.OutcomeLost, "": models.OutcomeLost, "2005": models.OutcomeLost, "20051 20005": models.OutcomeLost, "10000": models.OutcomeLost, "60000": models.OutcomeLost,
	} {
		if ev := declinedBy(models.Capture, code); ev.Outcome != want {
			t.Errorf("%q: %s, want %s", code, ev.JSON(), want)
		}
	}
}

func TestDecided(t *testing.T) {
	for _, tt := range []struct {
		name     string
		x        action
		currency string
		want     models.Outcome
		cents    int64
	}{
		{"approved", action{Amount: 1500, Approved: &yes, Code: "10000"}, "EUR", models.OutcomeConfirmed, 1500},
		{"approved otherwise", action{Amount: 1500, Approved: &yes, Code: "10077"}, "EUR", models.OutcomeConfirmed, 1500},
		{"approved in part", action{Amount: 700, Approved: &yes, Code: "10010"}, "EUR", models.OutcomeConfirmed, 700},
		{"of pesos", action{Amount: 150000, Approved: &yes, Code: "10000"}, "CLP", models.OutcomeConfirmed, 1500},
		{"of half a peso", action{Amount: 150050, Approved: &yes, Code: "10000"}, "CLP", models.OutcomeLost, 0},
		{"without an amount", action{Approved: &yes, Code: "10000"}, "EUR", models.OutcomeLost, 0},
		{"a negative amount", action{Amount: -1500, Approved: &yes, Code: "10000"}, "EUR", models.OutcomeLost, 0},
		{"a currency that is none", action{Amount: 1500, Approved: &yes, Code: "10000"}, "XTS", models.OutcomeLost, 0},
		{"a currency in lower case", action{Amount: 1500, Approved: &yes, Code: "10000"}, "eur", models.OutcomeLost, 0},
		{"without a code", action{Amount: 1500, Approved: &yes}, "EUR", models.OutcomeLost, 0},
		{"with the code of a decline", action{Amount: 1500, Approved: &yes, Code: "20051"}, "EUR", models.OutcomeLost, 0},
		{"a code alone", action{Amount: 1500, Code: "10000"}, "EUR", models.OutcomeLost, 0},
		{"declined with a good code", action{Amount: 1500, Approved: &no, Code: "10000"}, "EUR", models.OutcomeLost, 0},
		{"declined without a code", action{Amount: 1500, Approved: &no}, "EUR", models.OutcomeLost, 0},
		{"not decided", action{Amount: 1500}, "EUR", models.OutcomeAccepted, 0},
		{"deferred", action{Amount: 1500, Approved: &yes, Code: "10200"}, "EUR", models.OutcomeAccepted, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := decided(models.Evidence{}, models.Capture, tt.currency, tt.x)
			if ev.Outcome != tt.want || ev.AmountCents != tt.cents || (ev.CurrencyCode != "") != (tt.cents > 0) {
				t.Errorf("got %s", ev.JSON())
			}
		})
	}
}

// FuzzClassify: nothing unlisted is refused, declined or not sent, and an answer
// to a call confirms nothing.
func FuzzClassify(f *testing.F) {
	for _, call := range calls {
		f.Add(string(call), 422, errorBody("request_invalid", "payment_expired"))
		f.Add(string(call), 202, `{"action_id":"`+testAction+`"}`)
		f.Add(string(call), 429, errorBody("x", "too_many_requests"))
	}
	f.Add("capture", 401, "")
	f.Add("void", 403, `{"error_codes":["a","b"]}`)
	f.Fuzz(func(t *testing.T, call string, status int, body string) {
		ev := classify(gateway.Label(call), testRequest(models.Capture, true), answered(status, body))
		e := parseError([]byte(body))
		known := func() bool {
			if status != 422 || e == nil || len(e.Codes) == 0 || !errorTypes[e.Type] {
				return false
			}
			for _, code := range e.Codes {
				if wanted(gateway.Label(call), code) == lookFirst {
					return false
				}
			}
			return true
		}
		switch ev.Outcome {
		case models.OutcomeLost:
		case models.OutcomeAccepted:
			if x, ok := parseAccepted([]byte(body)); status != 202 || !ok || x.Reference != "" && x.Reference != ourRef {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		case models.OutcomeNotSent:
			if e == nil || status != 401 && status != 429 && !known() {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		case models.OutcomeRefused:
			if !known() {
				t.Fatalf("%d %q: %s", status, body, ev.JSON())
			}
		default:
			t.Fatalf("%d %q: %s", status, body, ev.JSON())
		}
		if again := classify(gateway.Label(call), testRequest(models.Capture, true), answered(status, body)); !cmp.Equal(ev, again) {
			t.Fatal("not pure")
		}
	})
}
