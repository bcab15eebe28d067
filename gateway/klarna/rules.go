package klarna

import (
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// ruling is what an error proves about the call it answers. Answered: the key
// may repeat it.
type ruling struct {
	outcome  models.Outcome
	class    models.Class
	answered bool
	next     string
}

var (
	throttled  = ruling{outcome: models.OutcomeNotSent, class: models.ClassThrottled, next: gateway.NextRetry}
	config     = ruling{outcome: models.OutcomeNotSent, class: models.ClassConfig, next: gateway.NextContact}
	inProgress = ruling{outcome: models.OutcomeLost, class: models.ClassInProgress, next: gateway.NextRetry}
	badRequest = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, next: gateway.NextContact}
	// forbidden: not allowed as the order stands, and the order says why.
	forbidden = ruling{outcome: models.OutcomeLost, answered: true, next: gateway.NextRetry}
	refused   = ruling{outcome: models.OutcomeRefused, next: gateway.NextCancel}
	lookFirst = ruling{outcome: models.OutcomeLost, next: gateway.NextRetry}
)

// rule is one row of the table. Empty calls match any; calls is a list of call
// labels.
type rule struct {
	calls  string
	status int
	code   string
	then   ruling
}

const allMoney = "capture refund void reauthorize"

// rules is the table of documented errors with a status of 400 to 499, first
// match wins. A 401 is documented by its status alone, so it stands in ruleOf.
//
// No error of Klarna's says why it is one: CAPTURE_NOT_ALLOWED is an order that
// was cancelled, has expired, is under review or was captured already, by whom
// ever. So none of them refuses a movement of money here; the order does, when it
// is read (explain.go). An extension moves none, and its refusal is one.
var rules = []rule{
	{status: 429, code: "TOO_MANY_REQUESTS", then: throttled},
	{status: 409, code: "CONFLICT", then: inProgress},

	{calls: "capture", status: 403, code: "CAPTURE_NOT_ALLOWED", then: forbidden},
	{calls: "refund", status: 403, code: "REFUND_NOT_ALLOWED", then: forbidden},
	{calls: "void", status: 403, code: "CANCEL_NOT_ALLOWED", then: forbidden},
	{calls: "void", status: 403, code: "NOT_ALLOWED", then: forbidden},
	{calls: "reauthorize", status: 403, code: "NOT_ALLOWED", then: refused},

	// The account knows no such order: wrong account, region, mode or id. It says
	// nothing about the operation, and a person must put it right.
	{calls: allMoney, status: 404, code: "NO_SUCH_ORDER", then: badRequest},
	{calls: allMoney, status: 404, code: "NO_SUCH_CAPTURE", then: badRequest},
	{calls: allMoney, status: 404, code: "NOT_FOUND", then: badRequest},

	{calls: allMoney, status: 400, code: "NOT_FOUND", then: badRequest},
	{calls: allMoney, status: 400, code: "BAD_VALUE", then: badRequest},
	{calls: allMoney, status: 413, code: "REQUEST_TOO_LARGE", then: badRequest},
	{calls: allMoney, status: 422, code: "UNPROCESSABLE_ENTITY", then: badRequest},
	{calls: allMoney, status: 422, code: "INVALID_ADDRESS", then: badRequest},
}

// ruleOf finds what an error proves. Everything unlisted is Lost.
func ruleOf(call gateway.Label, status int, code string) ruling {
	if status == 401 {
		return config
	}
	for _, r := range rules {
		if r.status == status && r.code == code && (r.calls == "" || strings.Contains(" "+r.calls+" ", " "+string(call)+" ")) {
			return r.then
		}
	}
	return lookFirst
}
