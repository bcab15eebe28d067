package stripe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

const (
	testHold = "pi_hold"
	ourRef   = "cap_ours"
)

var operations = []gateway.Label{gateway.CallAuthorize, gateway.CallCapture, gateway.CallRefund, gateway.CallVoid, gateway.CallLookUp}

func testRequest(call gateway.Label, onlyOne bool) gateway.Request {
	r := gateway.Request{Kind: models.Capture, Reference: ourRef, Key: ourRef + "_e0", AmountCents: 1500, CurrencyCode: "EUR", Hold: testHold, OnlyOne: onlyOne}
	switch call {
	case gateway.CallRefund:
		r.Kind = models.Refund
	case gateway.CallVoid:
		r.Kind = models.Void
	}
	return r
}

func answered(status int, body string) gateway.Answer {
	return gateway.Answer{Phase: gateway.PhaseAnswered, Status: status, Header: http.Header{"Request-Id": {"req_1"}}, Body: []byte(body)}
}

// intentBody is a PaymentIntent on the wire.
func intentBody(status string, received int64, reference string) string {
	meta := "{}"
	if reference != "" {
		meta = fmt.Sprintf(`{"capstan_reference":%q}`, reference)
	}
	capturable := int64(0)
	if status == statusRequiresCapture {
		capturable = 1500
	}
	return fmt.Sprintf(`{"id":%q,"object":"payment_intent","amount":1500,"amount_capturable":%d,"amount_received":%d,"currency":"eur","status":%q,"latest_charge":"ch_1","metadata":%s}`,
		testHold, capturable, received, status, meta)
}

func errorBody(typ, code, decline, intent string) string {
	m := map[string]any{"type": typ, "message": "words"}
	if code != "" {
		m["code"] = code
	}
	if decline != "" {
		m["decline_code"] = decline
	}
	if intent != "" {
		m["payment_intent"] = json.RawMessage(intent)
	}
	b, err := json.Marshal(map[string]any{"error": m})
	if err != nil {
		panic(err)
	}
	return string(b)
}

type want struct {
	outcome  models.Outcome
	class    models.Class
	holdGone bool
	answered bool
	foreign  bool
}

func got(ev models.Evidence) want {
	return want{ev.Outcome, ev.Class, ev.HoldGone, ev.Answered, ev.Foreign}
}

func TestClassifyErrors(t *testing.T) {
	var (
		lost      = want{outcome: models.OutcomeLost, answered: true}
		bad       = want{outcome: models.OutcomeLost, class: models.ClassBadRequest, answered: true}
		busy      = want{outcome: models.OutcomeLost, class: models.ClassInProgress}
		slow      = want{outcome: models.OutcomeNotSent, class: models.ClassThrottled}
		keys      = want{outcome: models.OutcomeNotSent, class: models.ClassConfig}
		gone      = want{outcome: models.OutcomeRefused, holdGone: true, answered: true}
		no        = want{outcome: models.OutcomeRefused, answered: true}
		soft      = want{outcome: models.OutcomeDeclined, answered: true}
		done      = want{outcome: models.OutcomeConfirmed}
		strange   = want{outcome: models.OutcomeConfirmed, foreign: true}
		accepted  = want{outcome: models.OutcomeAccepted, answered: true}
		invalid   = "invalid_request_error"
		state     = "payment_intent_unexpected_state"
		capture   = gateway.CallCapture
		refund    = gateway.CallRefund
		void      = gateway.CallVoid
		ours      = intentBody(statusSucceeded, 1500, ourRef)
		others    = intentBody(statusSucceeded, 1500, "cap_other")
		nobodys   = intentBody(statusSucceeded, 1500, "")
		cancelled = intentBody(statusCanceled, 0, "")
	)
	for _, tt := range []struct {
		name                string
		call                gateway.Label
		status              int
		typ, code, decl, pi string
		several             bool // not the only operation on the hold
		want                want
	}{
		// One code, several facts.
		{"already ours", capture, 400, invalid, state, "", ours, false, done},
		{"already another's", capture, 400, invalid, state, "", others, false, strange},
		{"already nobody's, only one asked", capture, 400, invalid, state, "", nobodys, false, done},
		{"already nobody's, several asked", capture, 400, invalid, state, "", nobodys, true, strange},
		{"succeeded without an amount", capture, 400, invalid, state, "", intentBody(statusSucceeded, 0, ourRef), false, lost},
		{"cancelled", capture, 400, invalid, state, "", cancelled, false, gone},
		{"cancelled after a part", capture, 400, invalid, state, "", intentBody(statusCanceled, 700, ourRef), false, done},
		{"processing", capture, 400, invalid, state, "", intentBody(statusProcessing, 0, ""), false, accepted},
		{"waits for the payer", capture, 400, invalid, state, "", intentBody(statusRequiresAction, 0, ""), false, soft},
		{"waits for confirmation", capture, 400, invalid, state, "", intentBody(statusRequiresConfirmation, 0, ""), false, soft},
		{"has no method", capture, 400, invalid, state, "", intentBody(statusRequiresPaymentMethod, 0, ""), false, soft},
		{"requires_capture makes no sense", capture, 400, invalid, state, "", intentBody(statusRequiresCapture, 0, ""), false, lost},
		{"a status of tomorrow", capture, 400, invalid, state, "", intentBody("requires_magic", 0, ""), false, lost},
		{"no PaymentIntent", capture, 400, invalid, state, "", "", false, lost},
		{"another PaymentIntent", capture, 400, invalid, state, "", strings.ReplaceAll(ours, testHold, "pi_other"), false, lost},
		{"void of a cancelled hold", void, 400, invalid, state, "", cancelled, false, want{outcome: models.OutcomeConfirmed}},
		{"void of a captured hold", void, 400, invalid, state, "", others, false, gone},
		{"void while processing", void, 400, invalid, state, "", intentBody(statusProcessing, 0, ""), false, lost},
		{"refund without a charge", refund, 400, invalid, state, "", intentBody(statusRequiresCapture, 0, ""), false, lost},
		{"card error, and yet it succeeded", capture, 402, "card_error", "card_declined", "stolen_card", ours, false, done},
		{"card error, and the hold is cancelled", capture, 402, "card_error", "card_declined", "insufficient_funds", cancelled, false, gone},

		// Captures.
		{"charge_already_captured", capture, 400, invalid, "charge_already_captured", "", "", false, lost},
		{"charge_expired_for_capture", capture, 400, invalid, "charge_expired_for_capture", "", "", false, gone},
		{"capture_charge_authorization_expired", capture, 400, invalid, "capture_charge_authorization_expired", "", "", false, gone},
		{"capture_unauthorized_payment", capture, 400, invalid, "capture_unauthorized_payment", "", "", false, gone},
		{"amount_too_large", capture, 400, invalid, "amount_too_large", "", "", false, no},
		{"amount_too_small", capture, 400, invalid, "amount_too_small", "", "", false, no},
		{"resource_missing", capture, 404, invalid, "resource_missing", "", "", false, keys},
		{"charge_disputed at capture", capture, 400, invalid, "charge_disputed", "", "", false, bad},
		{"bare 402", capture, 402, "card_error", "", "", "", false, lost},
		{"card declined without a reason", capture, 402, "card_error", "card_declined", "", "", false, soft},
		{"processing_error", capture, 402, "card_error", "processing_error", "", "", false, soft},
		{"processing_error twice", capture, 402, "card_error", "processing_error", "processing_error", "", false, soft},
		{"expired_card", capture, 402, "card_error", "expired_card", "expired_card", "", false, no},
		{"decline of tomorrow", capture, 402, "card_error", "card_declined", "felt_like_it", "", false, lost},
		{"duplicate_transaction may be ours", capture, 402, "card_error", "card_declined", "duplicate_transaction", "", false, lost},
		{"decline beside another code", capture, 402, "card_error", "charge_already_captured", "stolen_card", "", false, lost},
		{"decline with another status", capture, 400, "card_error", "card_declined", "stolen_card", "", false, lost},

		// Refunds.
		{"charge_already_refunded may be ours", refund, 400, invalid, "charge_already_refunded", "", "", false, lost},
		{"refund too large may be ours", refund, 400, invalid, "amount_too_large", "", "", false, bad},
		{"refund too small", refund, 400, invalid, "amount_too_small", "", "", false, no},
		{"refund of a disputed charge", refund, 400, invalid, "charge_disputed", "", "", false, no},
		{"refund_disputed_payment", refund, 400, invalid, "refund_disputed_payment", "", "", false, no},
		{"charge_not_refundable", refund, 400, invalid, "charge_not_refundable", "", "", false, no},
		{"balance_insufficient", refund, 400, invalid, "balance_insufficient", "", "", false, soft},
		{"refund declined by a card", refund, 402, "card_error", "card_declined", "stolen_card", "", false, lost},
		{"refund, no such payment", refund, 404, invalid, "resource_missing", "", "", false, keys},

		// Any call.
		{"rate_limit", capture, 429, invalid, "rate_limit", "", "", false, slow},
		{"429 without a code", refund, 429, invalid, "", "", "", false, slow},
		{"429 with a strange code", capture, 429, invalid, "sun_spots", "", "", false, lost},
		{"lock_timeout", void, 429, invalid, "lock_timeout", "", "", false, slow},
		{"idempotency_key_in_use", capture, 409, invalid, "idempotency_key_in_use", "", "", false, busy},
		{"409 of another kind", capture, 409, invalid, "", "", "", false, lost},
		{"idempotency_error", capture, 400, "idempotency_error", "", "", "", false, bad},
		{"idempotency_error beside our success", capture, 400, "idempotency_error", "", "", ours, false, bad},
		{"401", capture, 401, invalid, "", "", "", false, keys},
		{"api_key_expired", refund, 401, invalid, "api_key_expired", "", "", false, keys},
		{"403", void, 403, invalid, "more_permissions_required", "", "", false, keys},
		{"403 of no known type", void, 403, "proxy_error", "", "", "", false, lost},
		{"parameter_unknown", capture, 400, invalid, "parameter_unknown", "", "", false, bad},
		{"400 without a code", capture, 400, invalid, "", "", "", false, bad},
		{"404 of another kind", capture, 404, invalid, "", "", "", false, bad},
		{"api_error with 400", capture, 400, "api_error", "", "", "", false, lost},
		{"type of tomorrow", capture, 400, "weather_error", "amount_too_large", "", "", false, lost},
		{"424", capture, 424, "api_error", "", "", "", false, lost},
		{"500", capture, 500, "api_error", "", "", "", false, lost},
		{"500 that says declined", capture, 500, "card_error", "card_declined", "stolen_card", "", false, lost},
		{"500 that says it succeeded", capture, 500, "api_error", state, "", ours, false, lost},
		{"503", refund, 503, "api_error", "", "", "", false, lost},
		{"look-up of an unknown hold", gateway.CallLookUp, 404, invalid, "resource_missing", "", "", false, bad},
		{"look-up with a bad key", gateway.CallLookUp, 401, invalid, "", "", "", false, keys},
		{"look-up declined makes no sense", gateway.CallLookUp, 402, "card_error", "card_declined", "stolen_card", "", false, lost},
		{"authorization declined", gateway.CallAuthorize, 402, "card_error", "card_declined", "insufficient_funds", "", false, soft},
		{"authorization refused", gateway.CallAuthorize, 402, "card_error", "card_declined", "stolen_card", "", false, no},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := classify(tt.call, testRequest(tt.call, !tt.several), answered(tt.status, errorBody(tt.typ, tt.code, tt.decl, tt.pi)))
			w := tt.want
			if w.outcome == models.OutcomeConfirmed || w.outcome == models.OutcomeAccepted {
				w.answered = ev.Answered // means nothing beside proof
			}
			if got(ev) != w {
				t.Errorf("got %+v, want %+v\n%s", got(ev), w, ev.JSON())
			}
			if ev.RequestID != "req_1" || ev.Status != tt.status {
				t.Errorf("evidence names request %q and status %d", ev.RequestID, ev.Status)
			}
			if ev.Outcome == models.OutcomeConfirmed && (ev.AmountCents <= 0 || ev.CurrencyCode != "EUR" || ev.GatewayTransactionID != testHold) {
				t.Errorf("confirmed without the figures: %s", ev.JSON())
			}
		})
	}
}

// everyCode and everyDecline are all that Stripe's SDK lists.
var everyCode = strings.Fields(`acss_debit_session_incomplete api_key_expired account_closed account_country_invalid_address
	account_error_country_change_requires_additional_steps account_information_mismatch account_invalid account_number_invalid
	alipay_upgrade_required amount_too_large amount_too_small application_fees_not_allowed authentication_required balance_insufficient
	balance_invalid_parameter bank_account_bad_routing_numbers bank_account_declined bank_account_exists bank_account_restricted
	bank_account_unusable bank_account_unverified bank_account_verification_failed billing_invalid_mandate bitcoin_upgrade_required
	capture_charge_authorization_expired capture_unauthorized_payment card_decline_rate_limit_exceeded card_declined
	cardholder_phone_number_required charge_already_captured charge_already_refunded charge_disputed charge_exceeds_source_limit
	charge_exceeds_transaction_limit charge_expired_for_capture charge_invalid_parameter charge_not_refundable clearing_code_unsupported
	country_code_invalid country_unsupported coupon_expired customer_max_payment_methods customer_max_subscriptions debit_not_authorized
	email_invalid expired_card forwarding_api_upstream_error idempotency_key_in_use incorrect_address incorrect_cvc incorrect_number
	incorrect_zip india_recurring_payment_mandate_canceled insufficient_funds intent_invalid_state intent_verification_method_missing
	invalid_cvc invalid_card_type invalid_characters invalid_charge_amount invalid_expiry_month invalid_expiry_year invalid_number
	invalid_source_usage livemode_mismatch lock_timeout missing no_account not_allowed_on_standard_account out_of_inventory
	parameter_invalid_empty parameter_invalid_integer parameter_invalid_string_blank parameter_invalid_string_empty parameter_missing
	parameter_unknown parameters_exclusive payment_intent_action_required payment_intent_authentication_failure
	payment_intent_incompatible_payment_method payment_intent_invalid_parameter payment_intent_mandate_invalid
	payment_intent_payment_attempt_expired payment_intent_payment_attempt_failed payment_intent_rate_limit_exceeded
	payment_intent_unexpected_state payment_method_customer_decline payment_method_not_available payment_method_provider_decline
	payment_method_provider_timeout payment_method_unactivated payment_method_unexpected_state payment_method_unsupported_type
	platform_api_key_expired platform_account_required postal_code_invalid processing_error product_inactive rate_limit refer_to_customer
	refund_disputed_payment request_blocked resource_already_exists resource_missing return_intent_already_processed
	secret_key_required sepa_unsupported_account setup_attempt_failed shipping_address_invalid state_unsupported
	status_transition_invalid testmode_charges_only tls_version_unsupported token_already_used token_in_use transfers_not_allowed url_invalid`)

var everyDecline = strings.Fields(`authentication_required approve_with_id call_issuer card_not_supported card_velocity_exceeded
	currency_not_supported do_not_honor do_not_try_again duplicate_transaction expired_card fraudulent generic_decline incorrect_number
	incorrect_cvc incorrect_pin incorrect_zip insufficient_funds invalid_account invalid_amount invalid_cvc invalid_expiry_month
	invalid_expiry_year invalid_number invalid_pin issuer_not_available lost_card merchant_blacklist new_account_information_available
	no_action_taken not_permitted offline_pin_required online_or_offline_pin_required pickup_card pin_try_exceeded processing_error
	reenter_transaction restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation
	service_not_allowed stolen_card stop_payment_order testmode_decline transaction_not_allowed try_again_later
	withdrawal_count_limit_exceeded`)

// allowed repeats, in other words than rules.go, which errors without a
// PaymentIntent may prove that nothing happened. Everything else must be Lost.
func allowed(call gateway.Label, status int, typ, code, decline string) []models.Outcome {
	invalid := typ == "invalid_request_error"
	capture, refund := call == gateway.CallCapture, call == gateway.CallRefund
	switch {
	case (status == 401 || status == 403) && invalid:
		return []models.Outcome{models.OutcomeNotSent}
	case status == 429 && (code == "rate_limit" || code == "lock_timeout" || code == "" && (invalid || typ == "rate_limit")):
		return []models.Outcome{models.OutcomeNotSent}
	case (status == 400 || status == 409) && code == "lock_timeout":
		return []models.Outcome{models.OutcomeNotSent}
	case status == 404 && invalid && code == "resource_missing" && (capture || refund || call == gateway.CallVoid):
		return []models.Outcome{models.OutcomeNotSent}
	case status == 402 && typ == "card_error" && (capture || call == gateway.CallAuthorize):
		reason := decline
		if reason == "" {
			reason = code
		}
		if (code == "card_declined" || code == reason) && (slices.Contains(everyDecline, reason) && reason != "duplicate_transaction" || reason == "card_declined") {
			return []models.Outcome{models.OutcomeDeclined, models.OutcomeRefused}
		}
	}
	if status >= 500 || !invalid && typ != "card_error" {
		return nil
	}
	switch {
	case capture && (code == "charge_expired_for_capture" || code == "capture_charge_authorization_expired"),
		capture && invalid && code == "capture_unauthorized_payment",
		(capture || call == gateway.CallAuthorize) && invalid && code == "amount_too_large",
		(capture || refund || call == gateway.CallAuthorize) && invalid && code == "amount_too_small",
		refund && invalid && slices.Contains([]string{"charge_disputed", "refund_disputed_payment", "charge_not_refundable"}, code):
		return []models.Outcome{models.OutcomeRefused}
	case refund && invalid && (code == "balance_insufficient" || code == "insufficient_funds"):
		return []models.Outcome{models.OutcomeDeclined}
	}
	return nil
}

// TestUnlistedIsLost walks every call, status, type, code and decline code.
func TestUnlistedIsLost(t *testing.T) {
	codes := append([]string{"", "a_code_of_tomorrow"}, everyCode...)
	declines := append([]string{"", "a_reason_of_tomorrow"}, everyDecline...)
	types := []string{"invalid_request_error", "card_error", "api_error", "idempotency_error", "rate_limit", "temporary_session_expired", "an_error_of_tomorrow"}
	check := func(call gateway.Label, status int, e apiError, outcome models.Outcome) {
		ok := allowed(call, status, e.Type, e.Code, e.DeclineCode)
		if (outcome != models.OutcomeLost || len(ok) != 0) && !slices.Contains(ok, outcome) {
			t.Fatalf("%s %d %s %q %q is %s, allowed %v", call, status, e.Type, e.Code, e.DeclineCode, outcome, ok)
		}
	}
	n := 0
	for _, call := range operations {
		for _, status := range []int{400, 401, 402, 403, 404, 405, 408, 409, 410, 418, 422, 424, 425, 429} {
			for _, typ := range types {
				for _, code := range codes {
					for _, decline := range declines {
						e := apiError{Type: typ, Code: code, DeclineCode: decline}
						check(call, status, e, ruleOf(call, status, e).outcome)
						n++
					}
				}
			}
		}
		for _, status := range []int{402, 500, 503} { // through the whole function
			for _, code := range codes {
				e := apiError{Type: "card_error", Code: code, DeclineCode: "stolen_card"}
				ev := classify(call, testRequest(call, true), answered(status, errorBody(e.Type, e.Code, e.DeclineCode, "")))
				check(call, status, e, ev.Outcome)
				n++
			}
		}
	}
	t.Logf("%d combinations", n)
}

func TestClassifySuccess(t *testing.T) {
	for _, tt := range []struct {
		name string
		call gateway.Label
		body string
		want models.Outcome
	}{
		{"captured", gateway.CallCapture, intentBody(statusSucceeded, 1500, ourRef), models.OutcomeConfirmed},
		{"captured, metadata not shown", gateway.CallCapture, intentBody(statusSucceeded, 1500, ""), models.OutcomeConfirmed},
		{"processing", gateway.CallCapture, intentBody(statusProcessing, 0, ourRef), models.OutcomeAccepted},
		{"still requires_capture", gateway.CallCapture, intentBody(statusRequiresCapture, 0, ourRef), models.OutcomeLost},
		{"no amount", gateway.CallCapture, intentBody(statusSucceeded, 0, ourRef), models.OutcomeLost},
		{"negative amount", gateway.CallCapture, intentBody(statusSucceeded, -1500, ourRef), models.OutcomeLost},
		{"amount as a string", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), `"amount_received":1500`, `"amount_received":"1500"`, 1), models.OutcomeLost},
		{"amount as a fraction", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), `"amount_received":1500`, `"amount_received":15.5`, 1), models.OutcomeLost},
		{"amount out of range", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), `"amount_received":1500`, `"amount_received":99999999999999999999`, 1), models.OutcomeLost},
		{"no currency", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), `"eur"`, `""`, 1), models.OutcomeLost},
		{"another hold", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), testHold, "pi_other", 1), models.OutcomeLost},
		{"another object", gateway.CallCapture, strings.Replace(intentBody(statusSucceeded, 1500, ourRef), `"payment_intent"`, `"charge"`, 1), models.OutcomeLost},
		{"empty", gateway.CallCapture, "", models.OutcomeLost},
		{"empty object", gateway.CallCapture, "{}", models.OutcomeLost},
		{"null", gateway.CallCapture, "null", models.OutcomeLost},
		{"html", gateway.CallCapture, "<html>ok</html>", models.OutcomeLost},
		{"half", gateway.CallCapture, intentBody(statusSucceeded, 1500, ourRef)[:60], models.OutcomeLost},
		{"twice", gateway.CallCapture, intentBody(statusSucceeded, 1500, ourRef) + intentBody(statusSucceeded, 1500, ourRef), models.OutcomeLost},
		{"voided", gateway.CallVoid, intentBody(statusCanceled, 0, ""), models.OutcomeConfirmed},
		{"void answered, not cancelled", gateway.CallVoid, intentBody(statusRequiresCapture, 0, ""), models.OutcomeLost},
		{"authorized", gateway.CallAuthorize, intentBody(statusRequiresCapture, 0, ""), models.OutcomeConfirmed},
		{"authorization waits", gateway.CallAuthorize, intentBody(statusRequiresAction, 0, ""), models.OutcomeAccepted},
		{"authorization captured at once", gateway.CallAuthorize, intentBody(statusSucceeded, 1500, ""), models.OutcomeLost},
		{"refunded", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"succeeded","payment_intent":"pi_hold"}`, models.OutcomeConfirmed},
		{"refund pending", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"pending","payment_intent":"pi_hold"}`, models.OutcomeAccepted},
		{"refund needs the payer", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"requires_action","payment_intent":"pi_hold"}`, models.OutcomeAccepted},
		{"refund failed", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"failed","payment_intent":"pi_hold","failure_reason":"declined"}`, models.OutcomeRefused},
		{"refund canceled", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"canceled","payment_intent":"pi_hold"}`, models.OutcomeRefused},
		{"refund of tomorrow", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"teleported","payment_intent":"pi_hold"}`, models.OutcomeLost},
		{"refund of another payment", gateway.CallRefund, `{"id":"re_1","object":"refund","amount":1500,"currency":"eur","status":"succeeded","payment_intent":"pi_other"}`, models.OutcomeLost},
		{"look-up: nothing taken", gateway.CallLookUp, intentBody(statusRequiresCapture, 0, ""), models.OutcomeNone},
		{"look-up: nothing taken, an old reference", gateway.CallLookUp, intentBody(statusRequiresCapture, 0, ourRef), models.OutcomeNone},
		{"look-up: taken in part", gateway.CallLookUp, intentBody(statusRequiresCapture, 700, ourRef), models.OutcomeConfirmed},
		{"look-up: waits for the payer", gateway.CallLookUp, intentBody(statusRequiresAction, 0, ""), models.OutcomeNone},
		{"look-up: taken", gateway.CallLookUp, intentBody(statusSucceeded, 1500, ourRef), models.OutcomeConfirmed},
		{"look-up: cancelled", gateway.CallLookUp, intentBody(statusCanceled, 0, ""), models.OutcomeRefused},
		{"look-up: status of tomorrow", gateway.CallLookUp, intentBody("quantum", 0, ""), models.OutcomeLost},
		{"look-up: empty", gateway.CallLookUp, "", models.OutcomeLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := classify(tt.call, testRequest(tt.call, true), answered(200, tt.body))
			if ev.Outcome != tt.want {
				t.Fatalf("got %s, want %s", ev.JSON(), tt.want)
			}
			if ev.Outcome == models.OutcomeConfirmed && (ev.AmountCents <= 0 || ev.CurrencyCode != "EUR") {
				t.Errorf("confirmed without the figures: %s", ev.JSON())
			}
		})
	}
}

func TestClassifyPhases(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   want
	}{
		{"not sent", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, want{outcome: models.OutcomeNotSent}},
		{"sent, no answer", gateway.Answer{Phase: gateway.PhaseSent, Err: context.DeadlineExceeded}, want{}},
		{"sent, a 200 that broke off", gateway.Answer{Phase: gateway.PhaseSent, Status: 200, Err: errors.New("EOF")}, want{}},
		{"sent, a 500 that broke off", gateway.Answer{Phase: gateway.PhaseSent, Status: 500, Err: errors.New("EOF")}, want{answered: true}},
		{"sent, a 401 that broke off", gateway.Answer{Phase: gateway.PhaseSent, Status: 401, Err: errors.New("EOF")}, want{answered: true}},
		{"redirect", answered(302, ""), want{}},
		{"201 with the right body", answered(201, intentBody(statusSucceeded, 1500, ourRef)), want{}},
		{"204", answered(204, ""), want{}},
		{"502 html", answered(502, "<html>"), want{answered: true}},
		{"400 html", answered(400, "<html>"), want{answered: true}},
		{"401 html", answered(401, "<html>"), want{answered: true}},
		{"429 html", answered(429, "<html>"), want{answered: true}},
		{"status 0", answered(0, ""), want{}},
		{"the zero answer", gateway.Answer{}, want{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, call := range operations {
				if ev := classify(call, testRequest(call, true), tt.answer); got(ev) != tt.want {
					t.Errorf("%s: got %+v, want %+v", call, got(ev), tt.want)
				}
			}
		})
	}
	a := answered(429, errorBody("invalid_request_error", "rate_limit", "", ""))
	a.Header.Set("Retry-After", "7")
	if ev := classify(gateway.CallCapture, testRequest(gateway.CallCapture, true), a); ev.RetryAfter.Seconds() != 7 {
		t.Errorf("Retry-After was read as %s", ev.RetryAfter)
	}
}

// FuzzClassify: no input at all is proof that nothing happened unless it is
// listed, and none is a success without figures.
func FuzzClassify(f *testing.F) {
	f.Add(uint8(1), uint8(2), 200, intentBody(statusSucceeded, 1500, ourRef), "", true)
	f.Add(uint8(1), uint8(2), 400, errorBody("invalid_request_error", "payment_intent_unexpected_state", "", intentBody(statusCanceled, 0, "")), "3", true)
	f.Add(uint8(2), uint8(2), 402, errorBody("card_error", "card_declined", "stolen_card", ""), "", false)
	f.Add(uint8(3), uint8(2), 429, errorBody("invalid_request_error", "rate_limit", "", ""), "Wed, 21 Oct 2015 07:28:00 GMT", false)
	f.Add(uint8(4), uint8(0), 0, "", "", false)
	f.Add(uint8(1), uint8(2), 400, `{"error":{"TYPE":"card_error","type":"x"}}`, "-9999999999999999999", false)
	f.Fuzz(func(t *testing.T, call, phase uint8, status int, body, retry string, onlyOne bool) {
		label := operations[int(call)%len(operations)]
		r := testRequest(label, onlyOne)
		a := answered(status, body)
		a.Phase = gateway.Phase(phase % 3)
		a.Header.Set("Retry-After", retry)
		ev := classify(label, r, a)
		if ev.RetryAfter < 0 {
			t.Fatalf("negative Retry-After %s", ev.RetryAfter)
		}
		if !json.Valid(ev.JSON()) || strings.ContainsRune(string(ev.JSON()), 0) || string(ev.JSON()) == "{}" {
			t.Fatalf("evidence does not encode: %q", ev.JSON())
		}
		switch ev.Outcome {
		case models.OutcomeLost, models.OutcomeAccepted, models.OutcomeNone:
			return
		case models.OutcomeConfirmed:
			if a.Phase != gateway.PhaseAnswered || ev.AmountCents < 0 || len(ev.CurrencyCode) != 3 || ev.GatewayTransactionID == "" || status >= 500 {
				t.Fatalf("confirmed by %d %q: %s", status, body, ev.JSON())
			}
			return
		case models.OutcomeNotSent:
			if a.Phase == gateway.PhaseNotSent {
				return
			}
		}
		if a.Phase != gateway.PhaseAnswered || status >= 500 || status < 200 {
			t.Fatalf("%s by phase %s, status %d", ev.Outcome, a.Phase, status)
		}
		if status == 200 {
			if ev.Outcome != models.OutcomeRefused || !strings.Contains(strings.ToLower(body), "cancel") && !strings.Contains(body, "fail") &&
				!strings.Contains(body, `\u`) && !strings.Contains(body, statusSucceeded) {
				t.Fatalf("%s by status 200 and %q", ev.Outcome, body)
			}
			return
		}
		e := parseError([]byte(body))
		if e == nil {
			t.Fatalf("%s without an error object: %d %q", ev.Outcome, status, body)
		}
		if slices.Contains(allowed(label, status, e.Type, e.Code, e.DeclineCode), ev.Outcome) {
			return
		}
		pi := e.PaymentIntent
		if pi == nil || pi.ID != testHold || label != gateway.CallCapture && label != gateway.CallVoid {
			t.Fatalf("%s by %d %q", ev.Outcome, status, body)
		}
	})
}
