package checkoutcom

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// paid is a payment of 15 EUR that these actions happened to, latest last, as a
// look-up reads it.
func paid(status string, b *balances, actions ...action) sight {
	if b != nil && b.Authorized == 0 {
		b.Authorized = 1500
	}
	s := sight{
		ev: models.Evidence{Source: models.FromLookUp, Status: 200}, ok: true, at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		pay:     payment{ID: testHold, Status: status, Amount: 1500, Currency: "EUR", Balances: b, Expires: timestamp{time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)}},
		actions: []action{{ID: "act_auth", Type: actionAuthorization, Amount: 1500, Approved: &yes, Code: "10000", Reference: "ORD-7"}},
	}
	for i, x := range actions {
		if x.ID == "" {
			x.ID = fmt.Sprintf("act_%d", i)
		}
		s.actions = append([]action{x}, s.actions...)
	}
	return s
}

func took(kind string, amount int64, reference string) action {
	return action{Type: kind, Amount: amount, Approved: &yes, Code: "10000", Reference: reference}
}

func failed(amount int64, code, key string) action {
	return action{Type: actionCapture, Amount: amount, Approved: &no, Code: code, Reference: ourRef, Metadata: metadata{ourRef, key}}
}

func TestLookedUp(t *testing.T) {
	type want struct {
		outcome models.Outcome
		cents   int64
		marks   string // foreign, gone, answered
		code    string
	}
	fresh := func() *balances { return &balances{Voidable: 1500, Capturable: 1500} }
	taken := func(cents int64) *balances {
		return &balances{Captured: cents, Voidable: 1500 - cents, Capturable: 1500 - cents, Refundable: cents}
	}
	ended := func(cents int64) *balances {
		return &balances{Captured: cents, Voided: 1500 - cents, Refundable: cents}
	}
	returned := func(cents int64) *balances {
		return &balances{Captured: 1500, Refunded: cents, Refundable: 1500 - cents}
	}
	none := want{outcome: models.OutcomeNone}
	lost := want{}
	const c, r, v = models.Capture, models.Refund, models.Void
	for _, tt := range []struct {
		name string
		kind models.Kind
		many bool // it is not the only one
		s    sight
		want want
	}{
		{"nothing happened", c, false, paid("Authorized", fresh()), none},
		{"nothing happened, and no balances", c, false, paid("Authorized", nil), none},
		{"the payer is still at it", c, false, paid("Pending", fresh()), none},
		{"captured", c, false, paid("Captured", taken(1500), took(actionCapture, 1500, ourRef)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"captured, and found by its metadata", c, false, paid("Captured", taken(1500), action{Type: actionCapture, Amount: 1500, Approved: &yes, Code: "10000", Metadata: metadata{ourRef, ourKey}}),
			want{models.OutcomeConfirmed, 1500, "", ""}},
		{"captured under an earlier key", c, false, paid("Captured", taken(1500), action{Type: actionCapture, Amount: 1500, Approved: &yes, Code: "10000", Metadata: metadata{ourRef, ourRef + "_e9"}}),
			want{models.OutcomeConfirmed, 1500, "", ""}},
		{"captured, and the payment does not know yet", c, false, paid("Authorized", fresh(), took(actionCapture, 1500, ourRef)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"captured another amount", c, false, paid("Partially Captured", taken(700), took(actionCapture, 700, ourRef)), want{models.OutcomeConfirmed, 700, "", ""}},
		{"captured twice", c, false, paid("Captured", taken(1400), took(actionCapture, 700, ourRef), took(actionCapture, 700, ourRef)), want{models.OutcomeConfirmed, 1400, "", ""}},
		{"refunded since", c, false, paid("Refunded", returned(1500), took(actionCapture, 1500, ourRef), took(actionRefund, 1500, "ref_x")), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"on its way", c, false, paid("Authorized", fresh(), action{Type: actionCapture, Amount: 1500, Reference: ourRef}), want{models.OutcomeAccepted, 0, "", ""}},
		{"one took effect, one is on its way", c, false, paid("Partially Captured", taken(700), took(actionCapture, 700, ourRef), action{Type: actionCapture, Amount: 700, Reference: ourRef}),
			want{models.OutcomeAccepted, 700, "", ""}},
		{"declined", c, false, paid("Authorized", fresh(), failed(1500, "20051", ourKey)), want{models.OutcomeDeclined, 0, "answered", "20051"}},
		{"declined for good", c, false, paid("Authorized", fresh(), failed(1500, "30041", ourKey)), want{models.OutcomeRefused, 0, "answered", "30041"}},
		{"declined for a reason nobody knows", c, false, paid("Authorized", fresh(), failed(1500, "99999", ourKey)), want{models.OutcomeLost, 0, "answered", "99999"}},
		{"declined, and the try is not told", c, false, paid("Authorized", fresh(), failed(1500, "20051", "")), want{models.OutcomeLost, 0, "", "20051"}},
		{"declined for good, and the try is not told", c, false, paid("Authorized", fresh(), failed(1500, "30041", "")), want{models.OutcomeLost, 0, "", "30041"}},
		{"an earlier try declined", c, false, paid("Authorized", fresh(), failed(1500, "20051", ourRef+"_e9")), none},
		{"an earlier try declined, this one on its way", c, false, paid("Authorized", fresh(), failed(1500, "20051", ourRef+"_e9"), action{Type: actionCapture, Reference: ourRef}), want{models.OutcomeAccepted, 0, "", ""}},
		{"declined, then captured", c, false, paid("Captured", taken(1500), failed(1500, "20051", ourKey), took(actionCapture, 1500, ourRef)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"captured, then declined", c, false, paid("Captured", taken(1500), took(actionCapture, 1500, ourRef), failed(1500, "20051", ourKey)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"a sibling's action with our metadata", c, true, withAmount(paid("Partially Captured", taken(500), action{Type: actionCapture, Amount: 500, Approved: &yes, Code: "10000", Reference: siblingRef, Metadata: metadata{ourRef, ourKey}}), 3000), none},
		{"declined, with a sibling's metadata", c, false, paid("Authorized", fresh(), action{Type: actionCapture, Amount: 1500, Approved: &no, Code: "20051", Reference: ourRef, Metadata: metadata{siblingRef, siblingRef + "_e0"}}), want{models.OutcomeLost, 0, "", "20051"}},
		{"our reference on a refund", c, false, paid("Captured", taken(1500), took(actionRefund, 1500, ourRef)), lost},
		{"our reference on the authorization", c, false, paid("Authorized", fresh(), took(actionAuthorization, 1500, ourRef)), lost},
		{"a sibling took a part", c, true, paid("Partially Captured", taken(0+0), took(actionCapture, 0, siblingRef)), lost},
		{"a sibling took a part and enough is left", c, true, withAmount(paid("Partially Captured", taken(500), took(actionCapture, 500, siblingRef)), 3000), none},
		{"siblings used it up", c, true, paid("Captured", taken(1500), took(actionCapture, 1500, siblingRef)), want{models.OutcomeRefused, 0, "gone", "capture_value_greater_than_remaining_authorized"}},
		{"siblings left too little", c, true, paid("Partially Captured", taken(500), took(actionCapture, 500, siblingRef)), want{models.OutcomeRefused, 0, "", "capture_value_greater_than_remaining_authorized"}},
		{"a final sibling released the rest", c, true, paid("Partially Captured", ended(500), took(actionCapture, 500, siblingRef)), want{models.OutcomeRefused, 0, "gone", "capture_value_greater_than_remaining_authorized"}},
		{"a sibling that we forgot", c, false, paid("Captured", taken(1500), took(actionCapture, 1500, siblingRef)), want{models.OutcomeConfirmed, 1500, "foreign", ""}},
		{"somebody else captured it", c, false, paid("Captured", taken(1500), took(actionCapture, 1500, "INV-7")), want{models.OutcomeConfirmed, 1500, "foreign", ""}},
		{"somebody captured it without a name, and only one was asked", c, false, paid("Captured", taken(1500), took(actionCapture, 1500, "")), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"somebody captured it without a name, and more were asked", c, true, paid("Captured", taken(1500), took(actionCapture, 1500, "")), want{models.OutcomeConfirmed, 1500, "foreign", ""}},
		{"captured in two parts without names", c, false, paid("Captured", taken(1500), took(actionCapture, 500, ""), took(actionCapture, 1000, "")), want{models.OutcomeConfirmed, 500, "foreign", ""}},
		{"captured, and no action explains it", c, false, paid("Captured", taken(1500)), lost},
		{"captured by its status, not by its balances", c, false, paid("Captured", fresh()), lost},
		{"an action that the balances do not know", c, false, paid("Authorized", fresh(), took(actionCapture, 500, "INV-7")), lost},
		{"an action that is not decided", c, false, paid("Authorized", fresh(), action{Type: actionCapture, Amount: 500, Reference: "INV-7"}), lost},
		{"an action that is not understood", c, false, paid("Authorized", fresh(), action{Type: actionCapture, Amount: 500, Reference: "INV-7", Approved: &yes, Code: "77777"}), lost},
		{"captured, and no balances", c, false, paid("Captured", nil, took(actionCapture, 500, "INV-7")), lost},
		{"stands, and nothing can be captured", c, false, paid("Authorized", &balances{}), lost},
		{"a negative balance", c, false, paid("Authorized", &balances{Capturable: 1500, Voided: -1}), lost},
		{"voided", c, false, paid("Voided", ended(0), took(actionVoid, 1500, "")), want{models.OutcomeRefused, 0, "gone", "payment_voided"}},
		{"voided, and no balances", c, false, paid("Voided", nil), want{models.OutcomeRefused, 0, "gone", "payment_voided"}},
		{"expired", c, false, paid("Expired", ended(0)), want{models.OutcomeRefused, 0, "gone", "payment_expired"}},
		{"canceled", c, false, paid("Canceled", ended(0)), want{models.OutcomeRefused, 0, "gone", "payment_canceled"}},
		{"declined by the bank", c, false, paid("Declined", nil), want{models.OutcomeRefused, 0, "gone", "payment_declined"}},
		{"a status nobody knows", c, false, paid("Half-captured", fresh()), lost},

		{"not voided", v, false, paid("Authorized", fresh()), none},
		{"not voided, and pending", v, false, paid("Pending", fresh()), none},
		{"voided under our name", v, false, paid("Voided", ended(0), took(actionVoid, 1500, ourRef)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"voided by somebody", v, false, paid("Voided", ended(0), took(actionVoid, 1500, "")), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"the rest voided by somebody", v, false, paid("Partially Captured", ended(500), took(actionCapture, 500, siblingRef)), want{models.OutcomeConfirmed, 1000, "", ""}},
		{"the rest not voided", v, false, paid("Partially Captured", taken(500), took(actionCapture, 500, siblingRef)), none},
		{"expired instead", v, false, paid("Expired", nil), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"past its end", v, false, late(paid("Authorized", fresh())), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"a capture past its end", c, false, late(paid("Authorized", fresh())), none},
		{"captured instead", v, false, paid("Captured", taken(1500), took(actionCapture, 1500, siblingRef)), want{models.OutcomeRefused, 0, "gone", "payment_captured"}},
		{"of a declined payment", v, false, paid("Declined", nil), want{models.OutcomeRefused, 0, "gone", "payment_declined"}},
		{"a status nobody knows, for a void", v, false, paid("Half-voided", fresh()), lost},
		{"nothing to void", v, false, paid("Authorized", &balances{}), lost},

		{"not refunded", r, false, paid("Captured", taken(1500), took(actionCapture, 1500, siblingRef)), none},
		{"refunded", r, false, paid("Partially Refunded", returned(1500), took(actionCapture, 1500, siblingRef), took(actionRefund, 1500, ourRef)), want{models.OutcomeConfirmed, 1500, "", ""}},
		{"refunded by somebody", r, false, paid("Refunded", returned(1500), took(actionCapture, 1500, siblingRef), took(actionRefund, 1500, "")), want{models.OutcomeConfirmed, 1500, "foreign", ""}},
		{"a refund that the payment does not know", r, false, paid("Captured", taken(1500), took(actionCapture, 1500, siblingRef), took(actionRefund, 500, "")), lost},
		{"refunded, and no balances", r, false, paid("Refunded", nil, took(actionCapture, 1500, siblingRef), took(actionRefund, 1500, "")), lost},
	} {
		t.Run(string(tt.kind)+" "+tt.name, func(t *testing.T) {
			ev := lookedUp(testRequest(tt.kind, !tt.many), tt.s)
			var marks []string
			for name, on := range map[string]bool{"foreign": ev.Foreign, "gone": ev.HoldGone, "answered": ev.Answered} {
				if on {
					marks = append(marks, name)
				}
			}
			if got := (want{ev.Outcome, ev.AmountCents, strings.Join(marks, " "), ev.ErrorCode}); got != tt.want {
				t.Errorf("got %+v, want %+v: %s", got, tt.want, ev.JSON())
			}
			if ev.Source != models.FromLookUp || ev.HoldEndsAt == nil || ev.Token != testHold {
				t.Errorf("incomplete: %s", ev.JSON())
			}
		})
	}
}

// withAmount makes the hold larger.
func withAmount(s sight, amount int64) sight {
	more := amount - s.pay.Balances.Authorized
	s.pay.Balances.Authorized += more
	s.pay.Balances.Capturable += more
	s.pay.Balances.Voidable += more
	return s
}

func late(s sight) sight {
	s.at = s.at.AddDate(0, 1, 0)
	return s
}

// FuzzLookedUp: whatever a payment and its list of actions say, what is not
// under our reference never becomes our decline or our success, and what is there
// under it never becomes None.
func FuzzLookedUp(f *testing.F) {
	pay := `{"id":"` + testHold + `","status":"Captured","amount":1500,"currency":"EUR","balances":{"total_authorized":1500,"total_captured":1500}}`
	list := `[{"id":"act_1","type":"Capture","amount":1500,"approved":true,"response_code":"10000","reference":"` + ourRef + `"},{"id":"act_0","type":"Authorization"}]`
	for _, kind := range models.Kinds {
		f.Add(string(kind), pay, list)
		f.Add(string(kind), strings.Replace(pay, "Captured", "Voided", 1), strings.Replace(list, ourRef, "x", 1))
	}
	f.Add("capture", `{"id":"`+testHold+`","status":"Authorized","amount":1500,"currency":"EUR"}`, `[{"id":"act_0","type":"Authorization"}]`)
	f.Add("capture", `{}`, `null`)
	f.Fuzz(func(t *testing.T, kind, payment, list string) {
		s := sight{ev: models.Evidence{Source: models.FromLookUp, Status: 200}}
		var fit, whole bool
		s.pay, fit = parsePayment([]byte(payment))
		s.actions, whole = parseActions([]byte(list))
		s.ok = fit && whole
		r := testRequest(models.Kind(kind), true)
		ev := lookedUp(r, s)
		if !s.ok && ev.Outcome != models.OutcomeLost {
			t.Fatalf("unreadable, and %s", ev.JSON())
		}
		mine := false
		for _, x := range s.actions {
			mine = mine || x.belongs(r) && (x.try() == ourKey || x.Approved == nil || *x.Approved)
		}
		switch {
		case ev.Outcome == models.OutcomeNone && mine, ev.Outcome == models.OutcomeDeclined && !mine, ev.Outcome == models.OutcomeAccepted && !mine,
			ev.Outcome == models.OutcomeConfirmed && (ev.AmountCents < 0 || ev.CurrencyCode == ""), ev.Outcome == models.OutcomeNotSent, ev.Outcome == models.OutcomeTakenBack:
			t.Fatalf("%s of %s %s", ev.JSON(), payment, list)
		}
	})
}

func TestUnreadableObjects(t *testing.T) {
	authorized := `{"id":"act_0","type":"Authorization"}`
	for _, list := range []string{
		``, `null`, `{}`, `[]`, `17`, `[null]`, `[{}]`, `[` + authorized, `[{"id":"act_1","type":"Capture"}]`,
		`[` + authorized + `,{"id":"../x","type":"Capture"}]`, `[` + authorized + `,{"id":"act_1"}]`,
		`[` + authorized + `,{"id":"act_1","type":"Capture","amount":"15"}]`, `[` + authorized + `,{"id":"act_1","type":"Capture","amount":1.5}]`,
	} {
		if all, ok := parseActions([]byte(list)); ok {
			t.Errorf("%s is read as %+v", list, all)
		}
	}
	if all, ok := parseActions([]byte(`[` + authorized + `,{"id":"act_1","type":"Capture","amount":15,"metadata":{"capstan_key":7,"x":{}}}]`)); !ok || len(all) != 2 {
		t.Errorf("metadata of others spoils the list: %+v", all)
	}
	for _, body := range []string{``, `null`, `{}`, `{"id":"pay_1"}`, `{"id":"p","status":"Authorized"}`, `{"id":"pay_1","status":"Authorized","amount":"1500"}`} {
		if p, ok := parsePayment([]byte(body)); ok {
			t.Errorf("%s is read as %+v", body, p)
		}
	}
	if p, ok := parsePayment([]byte(`{"id":"pay_1","status":"Authorized","expires_on":17}`)); !ok || !p.Expires.IsZero() {
		t.Errorf("an unreadable time spoils the payment: %+v", p)
	}
}

// TestDescribedFacts: what cannot be told is not made up.
func TestDescribedFacts(t *testing.T) {
	for _, tt := range []struct {
		body string
		ok   bool
		want gateway.HoldFacts
	}{
		{`{"id":"pay_1","status":"Authorized","amount":1500,"currency":"EUR"}`, true, gateway.HoldFacts{AmountCents: 1500, CurrencyCode: "EUR", Open: true, Status: "Authorized"}},
		{`{"id":"pay_1","status":"Captured","amount":1500,"currency":"EUR"}`, false, gateway.HoldFacts{}},
		{`{"id":"pay_1","status":"Authorized","amount":1500,"currency":"XTS"}`, false, gateway.HoldFacts{}},
		{`{"id":"pay_1","status":"Partially Captured","amount":1500,"currency":"CLP","balances":{"total_authorized":150000,"total_captured":50000,"available_to_capture":100000}}`, true,
			gateway.HoldFacts{AmountCents: 1500, CapturedCents: 500, CurrencyCode: "CLP", Open: true, Status: "Partially Captured"}},
		{`{"id":"pay_1","status":"Voided","amount":1500,"currency":"EUR","balances":{"total_voided":1500}}`, true, gateway.HoldFacts{AmountCents: 1500, CurrencyCode: "EUR", Status: "Voided"}},
	} {
		var p payment
		if err := json.Unmarshal([]byte(tt.body), &p); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.facts(); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %+v, %v", tt.body, got, ok)
		}
	}
}
