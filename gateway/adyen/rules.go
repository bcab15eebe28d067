package adyen

import (
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// ruling is what an error proves about the call it answers. None proves that the
// operation can never take effect.
type ruling struct {
	outcome models.Outcome
	class   models.Class
	next    string
}

var (
	// config: the account, not the one operation. The worker probes to tell them apart.
	config = ruling{outcome: models.OutcomeNotSent, class: models.ClassConfig, next: gateway.NextContact}
	// inProgress: the same again, a little later, answers.
	inProgress = ruling{outcome: models.OutcomeLost, class: models.ClassInProgress, next: gateway.NextRetry}
	badRequest = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, next: gateway.NextContact}
	// badCall: an error in what a person entered here, by all likelihood.
	badCall   = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, next: gateway.NextCancel}
	lookFirst = ruling{outcome: models.OutcomeLost, next: gateway.NextRetry}
)

// rule is one row of the table: an error code under a status.
type rule struct {
	status int
	code   string
	then   ruling
}

// rules is the table of documented errors with a status of 400 to 499. Any other
// 400 and 422 is a request that Adyen does not take ([badRequest]); anything else
// that is not listed proves nothing.
//
// Only a refusal of the key, of its permission or of the merchant account comes
// before any work is done. An error about the content of a request may follow one
// that did its work under a key which Adyen has forgotten, so it stays unproven.
var rules = []rule{
	{401, "000", config}, // the API key
	{403, "000", config},
	{403, "010", config}, // a role is missing
	{403, "901", config}, // the merchant account

	{400, "702", badRequest}, // the body cannot be parsed
	{422, "000", badRequest},
	{422, "010", badRequest},
	{422, "702", badRequest},

	{422, "100", badCall},    // no amount
	{422, "137", badCall},    // invalid amount
	{422, "138", badCall},    // unsupported currency
	{422, "167", badRequest}, // no payment with this PSP reference in the account
	{422, "168", badRequest}, // no authorisation to modify
	{422, "198", badRequest}, // reference too long
	{422, "800", badRequest}, // contract not found
	{422, "901", badRequest}, // invalid merchant account
	{422, "905", badRequest}, // payment details are not supported
	{422, "906", badRequest}, // the payment is of another environment

	{422, "703", inProgress}, // a resource is unavailable for the moment
	{422, "704", inProgress}, // the key is known, and its first request runs or ran
	{429, "", inProgress},    // too many requests, under whatever code
}

// ruleOf finds what an error proves. transient is Adyen's word that the same
// request under the same key may be sent again.
func ruleOf(status int, code string, transient bool) ruling {
	for _, r := range rules {
		if r.status == status && (r.code == code || r.code == "") {
			if transient && r.then.outcome == models.OutcomeLost {
				return inProgress
			}
			return r.then
		}
	}
	switch {
	case transient:
		return inProgress
	case status == 400 || status == 422:
		return badRequest
	}
	return lookFirst
}
