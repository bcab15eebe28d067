package stripe

import (
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// ruling is what an error proves about the call it answers.
type ruling struct {
	outcome  models.Outcome
	class    models.Class
	holdGone bool
	// answered: the endpoint ran, so that the answer may be repeated for the key.
	answered bool
	next     string
}

var (
	throttled  = ruling{outcome: models.OutcomeNotSent, class: models.ClassThrottled, next: gateway.NextRetry}
	config     = ruling{outcome: models.OutcomeNotSent, class: models.ClassConfig, next: gateway.NextContact}
	inProgress = ruling{outcome: models.OutcomeLost, class: models.ClassInProgress, next: gateway.NextRetry}
	badRequest = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, answered: true, next: gateway.NextContact}
	lookFirst  = ruling{outcome: models.OutcomeLost, answered: true, next: gateway.NextRetry}
	holdGone   = ruling{outcome: models.OutcomeRefused, holdGone: true, answered: true, next: gateway.NextCancel}
	refused    = ruling{outcome: models.OutcomeRefused, answered: true, next: gateway.NextCancel}
	declined   = ruling{outcome: models.OutcomeDeclined, answered: true, next: gateway.NextRetry}
	hard       = ruling{outcome: models.OutcomeRefused, answered: true, next: gateway.NextCancel}
)

// rule is one row of the table. Empty fields match anything; calls is a list
// of call labels.
type rule struct {
	calls  string
	status int
	typ    string
	code   string
	then   ruling
}

// rules is the table of documented errors with a status of 400 to 499, first
// match wins. Declines of a card have their own tables below, and an error
// that carries the PaymentIntent is decided on it where that says more.
//
// 401 and 403 are answered before the idempotency layer and before any
// endpoint runs; so is 429. They are the only statuses that prove "not sent".
var rules = []rule{
	{status: 401, typ: "invalid_request_error", then: config},
	{status: 403, typ: "invalid_request_error", then: config},
	{status: 429, code: "rate_limit", then: throttled},
	{status: 429, code: "lock_timeout", then: throttled},
	{status: 409, code: "lock_timeout", then: throttled},
	{status: 400, code: "lock_timeout", then: throttled},
	{status: 429, typ: "invalid_request_error", code: none, then: throttled},
	{status: 429, typ: "rate_limit", code: none, then: throttled},
	{status: 409, code: "idempotency_key_in_use", then: inProgress},
	{status: 400, code: "idempotency_key_in_use", then: inProgress},
	{typ: "idempotency_error", then: badRequest},
	{typ: "api_error", then: lookFirst},

	// The account knows no such hold: wrong account, wrong mode or wrong id. The
	// worker probes the credentials to tell a bad account from a bad row.
	{calls: "capture refund void", status: 404, typ: "invalid_request_error", code: "resource_missing", then: config},

	// Three facts in one code; without the PaymentIntent it says nothing.
	{code: "payment_intent_unexpected_state", then: lookFirst},
	{code: "charge_already_captured", then: lookFirst},
	{calls: "capture", typ: "invalid_request_error", code: "charge_expired_for_capture", then: holdGone},
	{calls: "capture", typ: "invalid_request_error", code: "capture_charge_authorization_expired", then: holdGone},
	{calls: "capture", typ: "card_error", code: "charge_expired_for_capture", then: holdGone},
	{calls: "capture", typ: "card_error", code: "capture_charge_authorization_expired", then: holdGone},
	{calls: "capture", typ: "invalid_request_error", code: "capture_unauthorized_payment", then: holdGone},
	{calls: "capture authorize", typ: "invalid_request_error", code: "amount_too_large", then: refused},
	{calls: "capture authorize refund", typ: "invalid_request_error", code: "amount_too_small", then: refused},

	// A refund that is too large may be the echo of our own first one under a
	// key that Stripe has forgotten: a look-up decides, and a person if that
	// finds nothing.
	{calls: "refund", code: "amount_too_large", then: badRequest},
	{calls: "refund", code: "charge_already_refunded", then: lookFirst},
	{calls: "refund", typ: "invalid_request_error", code: "charge_disputed", then: refused},
	{calls: "refund", typ: "invalid_request_error", code: "refund_disputed_payment", then: refused},
	{calls: "refund", typ: "invalid_request_error", code: "charge_not_refundable", then: refused},
	{calls: "refund", typ: "invalid_request_error", code: "balance_insufficient", then: declined},
	{calls: "refund", typ: "invalid_request_error", code: "insufficient_funds", then: declined},

	{status: 400, typ: "invalid_request_error", then: badRequest},
	{status: 404, typ: "invalid_request_error", then: badRequest},
}

// none in a rule's code matches only an error without a code.
const none = "(none)"

// softDeclines may succeed later with the same card, hardDeclines never. They
// count only in an error of type card_error with status 402.
var (
	softDeclines = words(`insufficient_funds processing_error issuer_not_available try_again_later reenter_transaction
		approve_with_id card_velocity_exceeded withdrawal_count_limit_exceeded generic_decline do_not_honor call_issuer
		no_action_taken card_declined`)
	hardDeclines = words(`authentication_required card_not_supported currency_not_supported do_not_try_again expired_card
		fraudulent incorrect_number incorrect_cvc incorrect_pin incorrect_zip invalid_account invalid_amount invalid_cvc
		invalid_expiry_month invalid_expiry_year invalid_number invalid_pin lost_card merchant_blacklist
		new_account_information_available not_permitted offline_pin_required online_or_offline_pin_required pickup_card
		pin_try_exceeded restricted_card revocation_of_all_authorizations revocation_of_authorization security_violation
		service_not_allowed stolen_card stop_payment_order testmode_decline transaction_not_allowed`)
)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// ruleOf finds what an error object proves. Everything unlisted is Lost.
func ruleOf(call gateway.Label, status int, e apiError) ruling {
	if status == 402 && e.Type == "card_error" && (call == gateway.CallCapture || call == gateway.CallAuthorize) {
		if r, ok := declineOf(e); ok {
			return r
		}
	}
	for _, r := range rules {
		if r.matches(call, status, e) {
			return r.then
		}
	}
	return lookFirst
}

func (r rule) matches(call gateway.Label, status int, e apiError) bool {
	if r.calls != "" && !strings.Contains(" "+r.calls+" ", " "+string(call)+" ") {
		return false
	}
	if r.status != 0 && r.status != status || r.typ != "" && r.typ != e.Type {
		return false
	}
	return r.code == "" || r.code == e.Code || r.code == none && e.Code == ""
}

// declineOf reads a card's decline. The code must be card_declined or the
// reason itself: an error that mixes anything else with a decline code is not
// one Stripe documents.
func declineOf(e apiError) (ruling, bool) {
	reason := e.DeclineCode
	if reason == "" {
		reason = e.Code
	}
	if e.Code != "card_declined" && e.Code != reason {
		return ruling{}, false
	}
	switch {
	case softDeclines[reason]:
		return declined, true
	case hardDeclines[reason]:
		return hard, true
	}
	return ruling{}, false
}
