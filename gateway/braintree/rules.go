package braintree

import (
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// operation is what was asked of Braintree. A refund of a whole capture may
// have been sent as a void, which is an undo.
type operation string

const (
	opCapture operation = "capture"
	opRefund  operation = "refund"
	opUndo    operation = "undo"
	opVoid    operation = "void"
	opLook    operation = "look"
)

// ruling is what an answer proves about the call that got it. No error marks a
// key: there is none.
type ruling struct {
	outcome  models.Outcome
	class    models.Class
	holdGone bool
	next     string
	// look: the transaction tells, and is read within the call. Where it shows
	// that nothing happened, the answer proves what otherwise names.
	look      bool
	otherwise *ruling
	// settles: it can only be done once the transaction has settled.
	settles bool
}

var (
	throttled  = ruling{outcome: models.OutcomeNotSent, class: models.ClassThrottled, next: gateway.NextRetry}
	config     = ruling{outcome: models.OutcomeNotSent, class: models.ClassConfig, next: gateway.NextContact}
	badRequest = ruling{outcome: models.OutcomeLost, class: models.ClassBadRequest, next: gateway.NextContact}
	lost       = ruling{outcome: models.OutcomeLost, next: gateway.NextRetry}
	holdGone   = ruling{outcome: models.OutcomeRefused, holdGone: true, next: gateway.NextCancel}
	refused    = ruling{outcome: models.OutcomeRefused, next: gateway.NextCancel}
	barred     = ruling{outcome: models.OutcomeRefused, next: gateway.NextContact}
	declined   = ruling{outcome: models.OutcomeDeclined, next: gateway.NextRetry}
	// suspended: a matter of the merchant's account that people can settle.
	suspended = ruling{outcome: models.OutcomeDeclined, next: gateway.NextContact}
	// unsettled: nothing was done, and nothing is to be done but to wait.
	unsettled = ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry, settles: true}
	// overtaken: it began to settle while it was to be voided; it is refunded now.
	overtaken = ruling{outcome: models.OutcomeNotSent, next: gateway.NextRetry}

	lookFirst    = ruling{next: gateway.NextRetry, look: true}
	lookSettled  = ruling{next: gateway.NextRetry, look: true, otherwise: &unsettled}
	lookTooLarge = ruling{next: gateway.NextRetry, look: true, otherwise: &badRequest}
	lookUndone   = ruling{next: gateway.NextRetry, look: true, otherwise: &overtaken}
)

// rule is one row of the table: a validation error of Braintree's and what it
// proves about the operations it is documented for.
type rule struct {
	ops  string
	code string
	then ruling
}

const money = "capture refund"

// rules is the table of validation errors, first match wins. A validation error
// means that the call was refused before anything was done for it; whether an
// earlier call under the same reference had done it is another question, which
// only the transaction answers.
var rules = []rule{
	{money, "81501", badRequest}, // amount cannot be negative
	{money, "81502", badRequest}, // amount is required
	{money, "81503", badRequest}, // amount is in no valid format
	{money, "81531", badRequest}, // amount must be greater than zero
	{money, "81528", refused},    // amount is too large
	{money, "815193", refused},   // the processor does not support the amount
	{money, "91501", badRequest}, // order id is too long
	{money, "91514", suspended},  // the merchant account is suspended

	{"capture", "91507", lookFirst},   // only authorized transactions can be submitted
	{"capture", "91522", refused},     // more than was authorized
	{"capture", "91551", refused},     // less than the service fee
	{"capture", "91579", holdGone},    // the PayPal authorization has expired
	{"capture", "915107", badRequest}, // the processor does not take another order id
	{"capture", "95601", refused},     // a final authorization settles as it is or not at all
	{"capture", "95602", refused},     // the authorization could not be adjusted, for good
	{"capture", "95603", declined},    // the authorization could not be adjusted now

	// Only authorized or submitted transactions can be voided.
	{"void", "91504", lookFirst},
	{"undo", "91504", lookUndone},

	{"refund", "91505", barred},       // a credit cannot be refunded
	{"refund", "91506", lookSettled},  // only settled transactions can be refunded
	{"refund", "91574", lookSettled},  // it is settling
	{"refund", "91512", lookFirst},    // it was refunded before
	{"refund", "91521", lookTooLarge}, // more than is left of it
	{"refund", "91538", suspended},    // the merchant account is suspended
	{"refund", "91559", suspended},    // the merchant account is pending
	{"refund", "91546", barred},       // the processor does not support credits
	{"refund", "91547", barred},       // the merchant account does not support refunds
	{"refund", "915200", barred},      // the payer's bank declined the refund for good
	{"refund", "915201", declined},    // the payer's bank declined the refund for now
}

// ruleOf finds what an answer's validation errors prove: what they all prove,
// and nothing where they differ. Everything unlisted is Lost.
func ruleOf(op operation, errs []validationError) ruling {
	if len(errs) == 0 {
		return lost
	}
	then := find(op, errs[0].Code)
	for _, e := range errs[1:] {
		if find(op, e.Code) != then {
			return lost
		}
	}
	return then
}

func find(op operation, code string) ruling {
	for _, r := range rules {
		if r.code == code && strings.Contains(" "+r.ops+" ", " "+string(op)+" ") {
			return r.then
		}
	}
	return lost
}
