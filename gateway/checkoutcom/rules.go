package checkoutcom

import (
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// ruling is what an error, or the result of an action, proves about the call.
// No error marks its key: Checkout.com keeps only answers of 2xx.
type ruling struct {
	outcome  models.Outcome
	class    models.Class
	holdGone bool
	next     string
}

var (
	throttled  = ruling{outcome: models.OutcomeNotSent, class: models.ClassThrottled, next: gateway.NextRetry}
	config     = ruling{outcome: models.OutcomeNotSent, class: models.ClassConfig, next: gateway.NextContact}
	inProgress = ruling{outcome: models.OutcomeLost, class: models.ClassInProgress, next: gateway.NextRetry}
	badRequest = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, next: gateway.NextContact}
	lookFirst  = ruling{outcome: models.OutcomeLost, next: gateway.NextRetry}
	holdGone   = ruling{outcome: models.OutcomeRefused, holdGone: true, next: gateway.NextReauthorize}
	refused    = ruling{outcome: models.OutcomeRefused, next: gateway.NextCancel}
	barred     = ruling{outcome: models.OutcomeRefused, next: gateway.NextContact}
	declined   = ruling{outcome: models.OutcomeDeclined, next: gateway.NextRetry}
)

const money = "capture refund void"

// rule is one row of the table of error codes: calls is a list of call labels,
// codes a list of error codes.
type rule struct {
	calls string
	codes string
	then  ruling
}

// rules is the table of documented error codes of a 422, first match wins. Most
// of the documented codes speak of requesting a payment, of its card, its payer
// or its recipient: an answer to a capture that carries one is not understood, and
// proves nothing.
var rules = []rule{
	{money, "request_invalid request_json_invalid parameter_invalid metadata_key_invalid endpoint_invalid", badRequest},
	{money, "payment_invalid payment_type_invalid payment_method_invalid", badRequest},
	{"capture refund", "amount_invalid currency_invalid currency_required", badRequest},
	{"void", "void_amount_invalid", badRequest},

	// The account's own set-up. It stands against this one request, and not in
	// general against the credentials: those are 401.
	{money, "business_invalid business_settings_missing channel_details_invalid channel_url_missing", badRequest},
	{money, "processing_key_required processing_value_required processing_channel_id_required server_api_not_allowed", badRequest},

	{"capture", "capture_value_greater_than_authorized", refused},
	// Something was taken from the hold: by us or not, only a look-up tells.
	{"capture", "capture_value_greater_than_remaining_authorized", lookFirst},
	{"capture", "payment_expired", holdGone},
	// What a void is for may have happened by itself.
	{"void", "payment_expired", lookFirst},
	{"refund", "payment_expired", badRequest},
	// A refund that is too large may be the echo of our own first one under a key
	// that is forgotten: a look-up decides, and a person if that finds nothing.
	{"refund", "amount_exceeds_balance", badRequest},
	{money, "action_failure_limit_exceeded", barred},
	{money, "api_calls_quota_exceeded", throttled},
}

// errorTypes are the types under which the codes above are documented.
var errorTypes = map[string]bool{"request_invalid": true, "processing_error": true}

// slow are the codes that a 429 may carry. One with any other code may speak of
// the key, as 429 once did, and not of the rate.
var slow = map[string]bool{"too_many_requests": true, "rate_limit_exceeded": true, "api_calls_quota_exceeded": true}

// ruleOf finds what an error with a status of 400 to 499 proves; e is never nil.
// Several codes prove what they all prove, and nothing when they differ.
// Everything unlisted is Lost.
//
// 401 and 429 are answered before any endpoint runs. 403 is documented for every
// action as "not allowed": the payment's state stands against it.
func ruleOf(call gateway.Label, status int, e apiError) ruling {
	switch status {
	case http.StatusUnauthorized:
		return config
	case http.StatusTooManyRequests:
		for _, code := range e.Codes {
			if !slow[code] {
				return lookFirst
			}
		}
		return throttled
	case http.StatusConflict:
		return inProgress
	case http.StatusNotFound:
		if call != gateway.CallLookUp {
			return badRequest // the account knows no such payment: wrong account, wrong mode or wrong id
		}
	case http.StatusUnprocessableEntity:
		return ruleOfCodes(call, e)
	}
	return lookFirst
}

func ruleOfCodes(call gateway.Label, e apiError) ruling {
	if len(e.Codes) == 0 || !errorTypes[e.Type] {
		return lookFirst
	}
	then := find(call, e.Codes[0])
	for _, code := range e.Codes[1:] {
		if find(call, code) != then {
			return lookFirst
		}
	}
	return then
}

func find(call gateway.Label, code string) ruling {
	for _, r := range rules {
		if listed(r.codes, code) && listed(r.calls, string(call)) {
			return r.then
		}
	}
	return lookFirst
}

func listed(list, word string) bool {
	return word != "" && !strings.Contains(word, " ") && strings.Contains(" "+list+" ", " "+word+" ")
}
