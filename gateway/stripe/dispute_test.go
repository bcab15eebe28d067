package stripe

import (
	"errors"
	"fmt"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// disputeBody is a dispute of our hold. moved is its balance_transactions, as JSON;
// "" leaves them out.
func disputeBody(id, status, currency string, amount int64, moved string) string {
	if moved != "" {
		moved = `,"balance_transactions":` + moved
	}
	return fmt.Sprintf(`{"id":%q,"object":"dispute","amount":%d,"currency":%q,"status":%q,"reason":"fraudulent","payment_intent":%q%s}`,
		id, amount, currency, status, testHold, moved)
}

func disputes(bodies ...string) gateway.Answer {
	list := ""
	for i, b := range bodies {
		if i > 0 {
			list += ","
		}
		list += b
	}
	return answered(200, `{"object":"list","has_more":false,"data":[`+list+`]}`)
}

func TestTakenBack(t *testing.T) {
	const (
		withdrawn = `[{"amount":-1500}]`
		given     = `[{"amount":-1500},{"amount":1500}]`
	)
	one := func(status, moved string) gateway.Answer {
		return disputes(disputeBody("dp_1", status, "eur", 1500, moved))
	}
	lost, taken, kept, unsent := models.OutcomeLost, models.OutcomeTakenBack, models.OutcomeConfirmed, models.OutcomeNotSent
	for _, tt := range []struct {
		name   string
		answer gateway.Answer
		want   models.Outcome
		cents  int64
	}{
		{"withdrawn", one("needs_response", withdrawn), taken, 1500},
		{"under review", one("under_review", withdrawn), taken, 1500},
		{"lost", one("lost", withdrawn), taken, 1500},
		{"prevented, and paid for", one("prevented", withdrawn), taken, 1500},
		{"a status of tomorrow, withdrawn", one("lent", withdrawn), taken, 1500},
		{"withdrawn, in the account's own currency", one("lost", `[{"amount":-1630}]`), taken, 1500},
		{"won", one("won", given), kept, 1500},
		{"won, given back later", one("won", withdrawn), kept, 1500},
		{"asked", one("warning_needs_response", `[]`), kept, 1500},
		{"asked, under review", one("warning_under_review", `[]`), kept, 1500},
		{"asked, closed", one("warning_closed", `[]`), kept, 1500},
		{"opened, nothing withdrawn yet", one("needs_response", `[]`), kept, 1500},
		{"given again without being won", one("under_review", given), kept, 1500},
		{"without lines", one("needs_response", ""), taken, 1500},
		{"without lines, lost", one("lost", ""), taken, 1500},
		{"without lines, won", one("won", ""), kept, 1500},
		{"without lines, asked", one("warning_needs_response", ""), kept, 1500},
		{"without lines, a status of tomorrow", one("lent", ""), lost, 0},
		{"in part", disputes(disputeBody("dp_1", "lost", "eur", 400, `[{"amount":-400}]`)), taken, 400},
		{"in two parts", disputes(disputeBody("dp_2", "lost", "eur", 400, withdrawn), disputeBody("dp_1", "needs_response", "eur", 300, withdrawn)), taken, 700},
		{"one won, one not", disputes(disputeBody("dp_2", "won", "eur", 400, given), disputeBody("dp_1", "lost", "eur", 300, withdrawn)), taken, 300},
		{"two currencies", disputes(disputeBody("dp_2", "lost", "usd", 400, withdrawn), disputeBody("dp_1", "lost", "eur", 300, withdrawn)), lost, 0},
		{"no amount", disputes(disputeBody("dp_1", "lost", "eur", 0, withdrawn)), lost, 0},
		{"no currency", disputes(disputeBody("dp_1", "lost", "", 100, withdrawn)), lost, 0},
		{"none", disputes(), lost, 0},
		{"more than a page", answered(200, `{"object":"list","has_more":true,"data":[`+disputeBody("dp_1", "won", "eur", 1500, given)+`]}`), lost, 0},
		{"of another payment", answered(200, `{"object":"list","data":[{"id":"dp_1","object":"dispute","payment_intent":"pi_other","status":"won"}]}`), lost, 0},
		{"no disputes", answered(200, `{"object":"list","data":[{"id":"re_1","object":"refund"}]}`), lost, 0},
		{"no list", answered(200, `{}`), lost, 0},
		{"no JSON", answered(200, `<html>`), lost, 0},
		{"a success without a body", answered(200, ``), lost, 0},
		{"not found", answered(404, errorBody("invalid_request_error", "resource_missing", "", "")), lost, 0},
		{"the key may not read them", answered(403, errorBody("invalid_request_error", "", "", "")), lost, 0},
		{"the key is gone", answered(401, errorBody("invalid_request_error", "", "", "")), lost, 0},
		{"an error", answered(500, errorBody("api_error", "", "", "")), lost, 0},
		{"too many requests", answered(429, errorBody("invalid_request_error", "rate_limit", "", "")), unsent, 0},
		{"no connection", gateway.Answer{Phase: gateway.PhaseNotSent, Err: errors.New("refused")}, unsent, 0},
		{"no answer", gateway.Answer{Phase: gateway.PhaseSent, Err: errors.New("reset")}, lost, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := testRequest(gateway.CallLookUp, true)
			first := classify(gateway.CallLookUp, r, answered(200, intentBody(statusSucceeded, 1500, ourRef)))
			got := takenBack(first, r, tt.answer)
			if got.Outcome != tt.want || got.AmountCents != tt.cents || got.Source != models.FromLookUp || got.HoldGone || got.Foreign {
				t.Errorf("got %s %d %+v, want %s %d", got.Outcome, got.AmountCents, got, tt.want, tt.cents)
			}
			if got.Outcome == taken && (got.GatewayTransactionID != testHold || got.CurrencyCode != "EUR" || got.TookCents != 1500 || got.ErrorCode != "charge_disputed" || got.Message == "") {
				t.Errorf("taken back without its facts: %+v", got)
			}
			if got.Outcome == lost && got.Message == "" || got.Class == models.ClassConfig {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestForeignIsTakenBack: what was taken under another name stays somebody else's.
func TestForeignIsTakenBack(t *testing.T) {
	r := testRequest(gateway.CallLookUp, true)
	first := classify(gateway.CallLookUp, r, answered(200, intentBody(statusSucceeded, 1500, "cap_other")))
	got := takenBack(first, r, disputes(disputeBody("dp_1", "lost", "eur", 1500, "")))
	if got.Outcome != models.OutcomeTakenBack || !got.Foreign {
		t.Errorf("got %+v", got)
	}
}

func TestSaysDisputed(t *testing.T) {
	for charge, want := range map[string]bool{
		`"ch_1"`: false, `null`: false, `{"id":"ch_1","object":"charge"}`: false, `{"id":"ch_1","object":"charge","disputed":false}`: false,
		`{"id":"ch_1","object":"charge","disputed":true}`: true, `{"id":"ch_1","object":"charge","disputed":"yes"}`: false,
	} {
		body := fmt.Sprintf(`{"id":%q,"object":"payment_intent","latest_charge":%s}`, testHold, charge)
		if got := saysDisputed([]byte(body)); got != want {
			t.Errorf("%s: %v, want %v", charge, got, want)
		}
	}
}
