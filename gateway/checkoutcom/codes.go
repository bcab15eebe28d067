package checkoutcom

import (
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// The response codes of an action that took effect. 10010 took effect in part;
// the action's amount says how much. 10200 is decided later.
const (
	approvedCodes = "10000 10008 10010 10011 10076 10077 10081 10100"
	deferredCode  = "10200"
)

// result is one row of the table of response codes: kinds is a list of kinds of
// operations, empty for all.
type result struct {
	kinds string
	codes string
	then  ruling
}

// results is the table of documented response codes of an action that was not
// approved, first match wins. Every row is a decision of Checkout.com or the
// bank: this action had no effect.
//
// 20xxx are soft declines by the documentation. Those that speak of the card, the
// payer's will, the law or the set-up are not tried again here, since time does
// not change them. Those that speak of a lost or a half answer prove nothing and
// are not listed: 20009, 20020, 20032, 20068, 20095, 20099, 20118, 200A4, 200A6.
var results = []result{
	{codes: "20001 20002 20005 20006 20012 20013 20019 20021 20022 20030 20046 20051 20060 20061 20064 20065 20066", then: declined},
	{codes: "20088 20089 20090 20091 20092 20094 20096 20097 20098 200E3 200N0 200P1 200P9 20104 20105 20119 20121", then: declined},
	{codes: "20024 20025 20026 20027 20028 20029 20085 20086 200S4 200T2", then: declined},

	// The authorization was reversed, completed, or never that large.
	{codes: "20109 20110 20111", then: refused},
	// The card or its account.
	{codes: "20004 20014 20015 20016 20038 20039 20042 20044 20045 20052 20053 20054 20055 20056 20057 20058 2005C 20062 20067", then: refused},
	{codes: "20070 20072 20075 20078 20081 20082 20083 20084 20087 200E2 200N7 200T3 200T5 20100 20101 20103 20107 20108 20120 20123 20124", then: refused},
	// The payer, the bank's suspicion, or the law.
	{codes: "20017 20018 20059 20063 2006P 20093 2009G 200R1 200R3 20179 20182 20183", then: refused},
	{codes: "20150 20151 20152 20153 20154 20155 20159", then: refused},
	// The set-up of the account, or what was asked for.
	{codes: "20003 20023 20031 20033 20040 200A5 200E0 20102 20106 20112 20113 20114 20115 20116 20117 20122 20156 20157 20193 20197 20199", then: barred},
	{kinds: "refund", codes: "20158", then: barred},

	// Hard declines.
	{codes: "30004 30007 30015 30016 30017 30018 30019 30020 30021 30022 30033 30034 30035 30036 30037 30038 30041 30043 30044 30045 30046", then: refused},
	{codes: "30401 30402 30403", then: refused},
	{codes: "30404 30405", then: barred},
	// Risk responses, with those of before.
	{codes: "40101 40201 40202 40203 40204 40205 41101 41201 41202 41203 41204 41205 41206 41301", then: refused},
	{codes: "42101 42201 42202 42203 42204 42205 42206 42301 43101 43102 43201 43202 43203 43204 43205 43206 43301 43401", then: refused},

	// Declines of payouts and refunds. The first are about the account's balance,
	// which fills again.
	{kinds: "refund", codes: "50003 50280", then: declined},
	{kinds: "refund", codes: "50001 50002 50005 50020 50021 50022 50023 50025 50026 50027 50030 50070 50100 50101 50102 50103 50104 50105 50106", then: barred},
	{kinds: "refund", codes: "50180 50200 50401 50402 50403 50404 50405 50406 50407 50408 50409 50410 50441 50451 50452 50453 50454 50466 50471", then: barred},
	{kinds: "refund", codes: "50481 50491 50492 50494 50501 50511 50512 50513 50514 50515 50517", then: barred},
}

// resultOf finds what a response code proves about an action of the kind that
// was not approved. An unlisted one proves nothing.
func resultOf(kind models.Kind, code string) ruling {
	for _, r := range results {
		if listed(r.codes, code) && (r.kinds == "" || listed(r.kinds, string(kind))) {
			return r.then
		}
	}
	return lookFirst
}

// decided says what an action, wherever it was found, proves: approved is nil
// where nothing says so. The caller has matched it with the operation.
func decided(ev models.Evidence, kind models.Kind, currency string, x action) models.Evidence {
	cents, code, ok := fromWire(x.Amount, currency)
	ok = ok && cents > 0
	ev.GatewayTransactionID = gateway.CleanID(x.ID)
	yes, no := x.Approved != nil && *x.Approved, x.Approved != nil && !*x.Approved
	switch {
	case yes && listed(approvedCodes, x.Code) && ok:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.Message, ev.NextAction = models.OutcomeConfirmed, cents, code, "", ""
	case yes && listed(approvedCodes, x.Code):
		ev.Message, ev.NextAction = "Checkout.com approved it and names no amount that fits", gateway.NextContact
	case x.Approved == nil && x.Code == "", yes && x.Code == deferredCode:
		ev.Outcome, ev.Message, ev.NextAction = models.OutcomeAccepted, "Checkout.com has not decided it yet", ""
	case no:
		then := resultOf(kind, x.Code)
		ev.Outcome, ev.Class, ev.HoldGone, ev.NextAction = then.outcome, then.class, then.holdGone, then.next
		ev.ErrorCode, ev.ErrorDetail = cleaned(x.Code), cleaned(x.Summary)
		ev.Message = "Checkout.com declined the " + strings.ToLower(actionOf[kind])
		ev.Answered = true // its key answers with the acceptance of before
	default:
		ev.Message = "the result of the action is not understood: " + cleaned(x.Code)
	}
	return ev
}
