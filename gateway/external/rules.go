package external

import (
	"slices"

	"github.com/capstan-pay/capstan/models"
)

// form is what an answer of the contract looks like.
type form struct {
	success, action bool
}

// rule is one row of the table: the statuses with which a form means something.
type rule struct {
	form     form
	statuses []int
	outcome  models.Outcome
}

// rules is everything that proves something. The contract names 202 with an
// action_id, and leaves the status of the other answers open: they count with the
// statuses that agree with them, and are lost with all others.
var rules = []rule{
	{form{success: true}, []int{200, 201}, models.OutcomeConfirmed},
	{form{success: true, action: true}, []int{202}, models.OutcomeAccepted},
	{form{success: false}, []int{200, 201, 202, 400, 402, 422}, models.OutcomeRefused},
}

func ruleOf(status int, f form) models.Outcome {
	for _, r := range rules {
		if r.form == f && slices.Contains(r.statuses, status) {
			return r.outcome
		}
	}
	return models.OutcomeLost
}

// goneCodes are error codes beside the contract, by which a receiver says that
// the hold cannot be captured any more. docs/external.md names them.
var goneCodes = []string{"AUTHORIZATION_EXPIRED", "AUTHORIZATION_VOIDED", "AUTHORIZATION_DENIED", "AUTHORIZATION_NOT_FOUND"}
