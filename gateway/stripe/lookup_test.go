package stripe

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// listed is one refund of a charge of which 1500 were captured.
func listed(id, reference, status string, amount, refundedInAll int64, reason string) refund {
	body := fmt.Sprintf(`{"id":%q,"object":"refund","amount":%d,"currency":"eur","status":%q,"reason":%q,"payment_intent":"pi_hold","metadata":{"capstan_reference":%q},
		"charge":{"id":"ch_1","object":"charge","amount":1500,"amount_captured":1500,"amount_refunded":%d,"currency":"eur"}}`,
		id, amount, status, reason, reference, refundedInAll)
	var re refund
	if err := json.Unmarshal([]byte(body), &re); err != nil {
		panic(err)
	}
	return re
}

func TestMatchRefund(t *testing.T) {
	const ours = "ref_ours"
	other := listed("re_x", "ref_other", "succeeded", 500, 500, "")
	stripped := other
	stripped.Charge = expandable{ID: "ch_1"}
	elsewhere := other
	elsewhere.PaymentIntent.ID = "pi_other"
	for _, tt := range []struct {
		name    string
		ask     int64
		all     []refund // newest first
		want    models.Outcome
		foreign bool
		id      string
		cents   int64
	}{
		{"none at all", 1500, nil, models.OutcomeNone, false, "", 0},
		{"ours", 500, []refund{listed("re_1", ours, "succeeded", 500, 500, "")}, models.OutcomeConfirmed, false, "re_1", 500},
		{"ours among others", 500, []refund{other, listed("re_1", ours, "succeeded", 500, 1000, ""), other}, models.OutcomeConfirmed, false, "re_1", 500},
		{"ours with another amount", 500, []refund{listed("re_1", ours, "succeeded", 400, 400, "")}, models.OutcomeConfirmed, false, "re_1", 400},
		{"ours, pending", 500, []refund{listed("re_1", ours, "pending", 500, 500, "")}, models.OutcomeAccepted, false, "re_1", 500},
		{"ours, failed", 500, []refund{listed("re_1", ours, "failed", 500, 0, "")}, models.OutcomeRefused, false, "re_1", 0},
		{"ours, status of tomorrow", 500, []refund{listed("re_1", ours, "lent", 500, 0, "")}, models.OutcomeLost, false, "re_1", 0},
		{"ours failed first, then succeeded", 500, []refund{listed("re_2", ours, "succeeded", 500, 500, ""), listed("re_1", ours, "failed", 500, 500, "")}, models.OutcomeConfirmed, false, "re_2", 500},
		{"ours succeeded first, then failed", 500, []refund{listed("re_2", ours, "failed", 500, 500, ""), listed("re_1", ours, "succeeded", 500, 500, "")}, models.OutcomeConfirmed, false, "re_1", 500},
		{"ours twice", 500, []refund{listed("re_2", ours, "succeeded", 500, 1000, ""), listed("re_1", ours, "succeeded", 500, 1000, "")}, models.OutcomeConfirmed, false, "re_1", 1000},
		{"ours twice, one pending", 500, []refund{listed("re_2", ours, "pending", 500, 1000, ""), listed("re_1", ours, "succeeded", 500, 1000, "")}, models.OutcomeAccepted, false, "re_1", 1000},
		{"another's, and enough is left", 1000, []refund{other}, models.OutcomeNone, false, "", 0},
		{"another's, and too little is left", 1001, []refund{other}, models.OutcomeConfirmed, true, "re_x", 500},
		{"another's, charge not shown", 1001, []refund{stripped}, models.OutcomeNone, false, "", 0},
		{"another's failed", 1500, []refund{listed("re_x", "", "failed", 500, 0, "")}, models.OutcomeNone, false, "", 0},
		{"the release of an expired hold", 1500, []refund{listed("re_x", "", "succeeded", 1500, 1500, reasonExpired)}, models.OutcomeNone, false, "", 0},
		{"of another payment", 500, []refund{elsewhere}, models.OutcomeLost, false, "", 0},
		{"no refund", 500, []refund{{ID: "ch_1", Object: "charge"}}, models.OutcomeLost, false, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := gateway.Request{Kind: models.Refund, Reference: ours, Hold: "pi_hold", AmountCents: tt.ask, CurrencyCode: "EUR"}
			ev := matchRefund(models.Evidence{Source: models.FromLookUp}, r, tt.all)
			if ev.Outcome != tt.want || ev.Foreign != tt.foreign || ev.GatewayTransactionID != tt.id || ev.AmountCents != tt.cents {
				t.Errorf("got %s", ev.JSON())
			}
		})
	}
}

func TestMoney(t *testing.T) {
	for _, tt := range []struct {
		cents    int64
		currency string
		wire     int64 // 0: cannot be expressed
	}{
		{1500, "EUR", 1500}, {1500, "eur", 1500}, {1500, "JPY", 1500}, {1500, "KWD", 1500}, {1501, "KWD", 0}, {5, "ISK", 500},
		{7, "UGX", 700}, {500, "MGA", 5}, {550, "MGA", 0}, {0, "EUR", 0}, {-1, "EUR", 0}, {1, "XXX", 0}, {1, "", 0},
		{models.MaxCents, "ISK", models.MaxCents * 100}, {models.MaxCents + 1, "EUR", 0},
	} {
		wire, err := toStripe(tt.cents, tt.currency)
		if (err != nil) != (tt.wire == 0) || wire != tt.wire {
			t.Errorf("%d %s became %d, %v, want %d", tt.cents, tt.currency, wire, err, tt.wire)
			continue
		}
		if err != nil {
			continue
		}
		if cents, code, ok := fromStripe(wire, tt.currency); !ok || cents != tt.cents || len(code) != 3 {
			t.Errorf("%d %s came back as %d %s %t", tt.cents, tt.currency, cents, code, ok)
		}
	}
	for _, tt := range []struct {
		wire     int64
		currency string
	}{{150, "isk"}, {-1, "eur"}, {1, ""}, {1, "euro"}, {1, "e1r"}, {1, "éu"}, {1 << 62, "mga"}} {
		if cents, code, ok := fromStripe(tt.wire, tt.currency); ok {
			t.Errorf("%d %q was read as %d %s", tt.wire, tt.currency, cents, code)
		}
	}
}
