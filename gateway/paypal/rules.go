package paypal

import (
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// ruling is what an error proves about the call it answers. No error marks its
// key: PayPal does not repeat errors.
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
	// holdGone: such a hold cannot be renewed any more; only a new payment helps.
	holdGone = ruling{outcome: models.OutcomeRefused, holdGone: true, next: gateway.NextCancel}
	taken    = ruling{outcome: models.OutcomeRefused, holdGone: true, next: gateway.NextCancel}
	refused  = ruling{outcome: models.OutcomeRefused, next: gateway.NextCancel}
	barred   = ruling{outcome: models.OutcomeRefused, next: gateway.NextContact}
	declined = ruling{outcome: models.OutcomeDeclined, next: gateway.NextRetry}
	// unfunded: the payer's money is not there now; a renewal asks for it again.
	unfunded = ruling{outcome: models.OutcomeDeclined, next: gateway.NextReauthorize}
)

// rule is one row of the table. Empty calls match any; calls is a list of call
// labels. An empty issue matches only an error without details.
type rule struct {
	calls  string
	status int
	name   string
	issue  string
	then   ruling
}

const (
	allMoney = "capture refund void reauthorize"
	asking   = "capture refund reauthorize"
	notWell  = "UNPROCESSABLE_ENTITY"
)

// rules is the table of documented errors with a status of 400 to 499, first
// match wins.
//
// 401, 403 and 429 are answered before any endpoint runs. An account of the
// merchant that is locked or restricted is a matter of the account, not of the
// one capture: it stops, and fails nothing.
var rules = []rule{
	{status: 401, name: "invalid_token", then: config},
	{status: 401, name: "AUTHENTICATION_FAILURE", then: config},
	{status: 401, name: "AUTHENTICATION_FAILURE", issue: "INVALID_ACCOUNT_STATUS", then: config},
	{status: 403, name: "NOT_AUTHORIZED", then: config},
	{status: 403, name: "NOT_AUTHORIZED", issue: "PERMISSION_DENIED", then: config},
	{status: 429, name: "RATE_LIMIT_REACHED", then: throttled},
	{status: 409, name: "RESOURCE_CONFLICT", issue: "PREVIOUS_REQUEST_IN_PROGRESS", then: inProgress},

	// The account knows no such hold: wrong account, wrong mode or wrong id. The
	// worker probes the credentials to tell a bad account from a bad row.
	{calls: allMoney, status: 404, name: "RESOURCE_NOT_FOUND", issue: "INVALID_RESOURCE_ID", then: config},

	{status: 400, name: "INVALID_REQUEST", then: badRequest},
	{status: 400, name: "INVALID_REQUEST", issue: "INVALID_PARAMETER_VALUE", then: badRequest},
	{status: 400, name: "INVALID_REQUEST", issue: "MISSING_REQUIRED_PARAMETER", then: badRequest},
	{status: 400, name: "INVALID_REQUEST", issue: "INVALID_STRING_LENGTH", then: badRequest},
	{status: 400, name: "INVALID_REQUEST", issue: "INVALID_STRING_MAX_LENGTH", then: badRequest},
	{status: 400, name: "INVALID_REQUEST", issue: "INVALID_PARAMETER_SYNTAX", then: badRequest},

	{calls: asking, status: 422, name: notWell, issue: "INVALID_CURRENCY_CODE", then: badRequest},
	{calls: asking, status: 422, name: notWell, issue: "CANNOT_BE_ZERO_OR_NEGATIVE", then: badRequest},
	{calls: "refund", status: 422, name: notWell, issue: "CANNOT_BE_NEGATIVE", then: badRequest},
	{calls: asking, status: 422, name: notWell, issue: "DECIMAL_PRECISION", then: badRequest},
	{calls: asking, status: 422, name: notWell, issue: "DECIMALS_NOT_SUPPORTED", then: badRequest},
	{calls: asking, status: 422, name: notWell, issue: "PAYEE_ACCOUNT_LOCKED_OR_CLOSED", then: config},
	{calls: asking, status: 422, name: notWell, issue: "PAYEE_ACCOUNT_RESTRICTED", then: config},
	{calls: asking, status: 422, name: notWell, issue: "PAYER_ACCOUNT_LOCKED_OR_CLOSED", then: refused},

	// Something was captured under this hold or this reference: by us or not, and
	// how much, only a look-up tells.
	{calls: "capture reauthorize", status: 422, name: notWell, issue: "AUTHORIZATION_ALREADY_CAPTURED", then: lookFirst},
	{calls: "capture refund", status: 422, name: notWell, issue: "DUPLICATE_INVOICE_ID", then: lookFirst},

	{calls: "capture reauthorize", status: 422, name: notWell, issue: "AUTHORIZATION_VOIDED", then: holdGone},
	{calls: "capture", status: 422, name: notWell, issue: "AUTHORIZATION_EXPIRED", then: holdGone},
	{calls: "capture", status: 422, name: notWell, issue: "AUTHORIZATION_DENIED", then: holdGone},
	{calls: "capture reauthorize", status: 422, name: notWell, issue: "TRANSACTION_REFUSED", then: refused},
	{calls: "capture reauthorize", status: 422, name: notWell, issue: "PAYER_CANNOT_PAY", then: unfunded},
	{calls: "capture", status: 422, name: notWell, issue: "AUTH_CAPTURE_CURRENCY_MISMATCH", then: refused},
	{calls: "capture", status: 422, name: notWell, issue: "MAX_CAPTURE_AMOUNT_EXCEEDED", then: refused},
	{calls: "capture", status: 422, name: notWell, issue: "MAX_CAPTURE_COUNT_EXCEEDED", then: barred},

	{calls: "reauthorize", status: 422, name: notWell, issue: "REAUTHORIZATION_NOT_SUPPORTED", then: refused},
	{calls: "reauthorize", status: 422, name: notWell, issue: "AUTH_CURRENCY_MISMATCH", then: refused},

	{calls: "void", status: 422, name: notWell, issue: "PREVIOUSLY_CAPTURED", then: taken},
	{calls: "void", status: 422, name: notWell, issue: "PREVIOUSLY_VOIDED", then: lookFirst},
	{calls: "void", status: 422, name: notWell, issue: "CANNOT_BE_VOIDED", then: barred},

	// A refund that is too large may be the echo of our own first one under a
	// key that PayPal has forgotten: a look-up decides, and a person if that
	// finds nothing.
	{calls: "refund", status: 422, name: notWell, issue: "CAPTURE_FULLY_REFUNDED", then: lookFirst},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_AMOUNT_EXCEEDED", then: badRequest},
	{calls: "refund", status: 422, name: notWell, issue: "CURRENCY_MISMATCH", then: refused},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_CAPTURE_CURRENCY_MISMATCH", then: refused},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_NOT_ALLOWED", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_TIME_LIMIT_EXCEEDED", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_AMOUNT_TOO_LOW", then: refused},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_FAILED_INSUFFICIENT_FUNDS", then: declined},
	{calls: "refund", status: 422, name: notWell, issue: "PENDING_CAPTURE", then: declined},
	{calls: "refund", status: 422, name: notWell, issue: "PARTIAL_REFUND_NOT_ALLOWED", then: refused},
	{calls: "refund", status: 422, name: notWell, issue: "MAX_NUMBER_OF_REFUNDS_EXCEEDED", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "TRANSACTION_DISPUTED", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "REFUND_IS_RESTRICTED", then: barred},
	{calls: "refund", status: 422, name: notWell, issue: "PLATFORM_FEE_EXCEEDED", then: badRequest},
	{calls: "refund", status: 422, name: notWell, issue: "PLATFORM_FEE_NOT_ENABLED", then: badRequest},
}

// reasons are what the reasons of a declined capture prove. Without a reason it
// is the payer's money that was not there; a reason that is not listed proves
// nothing.
var reasons = map[string]ruling{
	"":                                      unfunded,
	"OTHER":                                 unfunded,
	"ECHECK":                                unfunded,
	"INTERNATIONAL_WITHDRAWAL":              unfunded,
	"PENDING_REVIEW":                        declined,
	"TRANSACTION_APPROVED_AWAITING_FUNDING": unfunded,
	"BUYER_COMPLAINT":                       barred,
	"CHARGEBACK":                            barred,
	"REFUNDED":                              refused,
	"UNILATERAL":                            barred,
	"VERIFICATION_REQUIRED":                 barred,
	"RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION": barred,
	"DECLINED_BY_RISK_FRAUD_FILTERS":              refused,
}

// ruleOf finds what an error proves. An error with several details proves what
// they all prove, and nothing when they differ. Everything unlisted is Lost.
func ruleOf(call gateway.Label, status int, e apiError) ruling {
	if len(e.Details) == 0 {
		return find(call, status, e.Name, "")
	}
	then := find(call, status, e.Name, e.Details[0].Issue)
	for _, d := range e.Details {
		if d.Issue == "" || find(call, status, e.Name, d.Issue) != then {
			return lookFirst
		}
	}
	return then
}

func find(call gateway.Label, status int, name, issue string) ruling {
	for _, r := range rules {
		if r.status == status && r.name == name && r.issue == issue &&
			(r.calls == "" || strings.Contains(" "+r.calls+" ", " "+string(call)+" ")) {
			return r.then
		}
	}
	return lookFirst
}
