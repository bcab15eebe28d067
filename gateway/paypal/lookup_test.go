package paypal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
)

func authBody(id, status, expires string) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"amount":{"currency_code":"EUR","value":"15.00"},"expiration_time":%q,"create_time":"2026-03-01T09:00:00Z",
		"supplementary_data":{"related_ids":{"order_id":%q}}}`, id, status, expires, testOrder)
}

func paid(id, status, value, invoice string) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"amount":{"currency_code":"EUR","value":%q},"invoice_id":%q,"create_time":"2026-03-01T10:00:00Z",
		"links":[{"rel":"up","href":"https://x/v2/payments/authorizations/%s"}]}`, id, status, value, invoice, testHold)
}

func back(id, status, value, custom string) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"amount":{"currency_code":"EUR","value":%q},"custom_id":%q,
		"links":[{"rel":"up","href":"https://x/v2/payments/captures/%s"}]}`, id, status, value, custom, testCapture)
}

func orderBody(captures, refunds []string) string {
	return fmt.Sprintf(`{"id":%q,"purchase_units":[{"payments":{"captures":[%s],"refunds":[%s]}}]}`,
		testOrder, strings.Join(captures, ","), strings.Join(refunds, ","))
}

// seen is what read makes of two good answers; an empty order was not asked for.
func seen(auth, order, date string) sight {
	s := sight{ev: models.Evidence{Source: models.FromLookUp, Status: 200}}
	s.auth, s.ok = parseAuthorization([]byte(auth))
	s.at, _ = http.ParseTime(date)
	if order != "" {
		s.paid, s.listed = parseOrder([]byte(order), s.auth.orderID())
	}
	return s
}

func TestLookedUp(t *testing.T) {
	const ended, before, after = "2026-03-30T09:00:00Z", "Sun, 29 Mar 2026 09:00:00 GMT", "Mon, 30 Mar 2026 09:00:00 GMT"
	auth := func(status string) string { return authBody(testHold, status, ended) }
	list := func(captures ...string) string { return orderBody(captures, nil) }
	refunds := func(all ...string) string {
		return orderBody([]string{paid(testCapture, "PARTIALLY_REFUNDED", "15.00", "X")}, all)
	}
	type want struct {
		outcome models.Outcome
		cents   int64
		foreign bool
		gone    bool
	}
	none, lost := want{outcome: models.OutcomeNone}, want{}
	gone := want{outcome: models.OutcomeRefused, gone: true}
	confirmed := func(cents int64) want { return want{models.OutcomeConfirmed, cents, false, false} }
	foreign := func(cents int64) want { return want{models.OutcomeConfirmed, cents, true, false} }
	for _, tt := range []struct {
		name  string
		kind  models.Kind
		only  bool
		auth  string
		order string
		date  string
		want  want
	}{
		{"capture: untouched", models.Capture, true, auth("CREATED"), "", before, none},
		{"capture: untouched and over", models.Capture, true, auth("CREATED"), "", after, none},
		{"capture: under review", models.Capture, true, auth("PENDING"), "", before, none},
		{"capture: denied", models.Capture, true, auth("DENIED"), "", before, gone},
		{"capture: ours", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", ourRef)), before, confirmed(1500)},
		{"capture: ours among others", models.Capture, false, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "5.00", siblingRef), paid("C2", "COMPLETED", "4.00", ourRef)), before, confirmed(400)},
		{"capture: ours, refunded since", models.Capture, true, auth("CAPTURED"), list(paid("C1", "REFUNDED", "15.00", ourRef)), before, confirmed(1500)},
		{"capture: ours, pending", models.Capture, true, auth("CAPTURED"), list(paid("C1", "PENDING", "15.00", ourRef)), before, want{outcome: models.OutcomeAccepted, cents: 1500}},
		{"capture: ours twice", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "10.00", ourRef), paid("C2", "COMPLETED", "10.00", ourRef)), before, confirmed(2000)},
		{"capture: ours declined, then made", models.Capture, true, auth("CAPTURED"), list(paid("C1", "DECLINED", "15.00", ourRef), paid("C2", "COMPLETED", "15.00", ourRef)), before, confirmed(1500)},
		{"capture: ours declined beside a sibling", models.Capture, false, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "5.00", siblingRef), paid("C2", "DECLINED", "10.00", ourRef)), before, want{outcome: models.OutcomeDeclined}},
		{"capture: ours before the void", models.Capture, true, auth("VOIDED"), list(paid("C1", "COMPLETED", "5.00", ourRef)), before, confirmed(500)},
		{"capture: voided", models.Capture, true, auth("VOIDED"), list(), before, gone},
		{"capture: voided, order not read", models.Capture, true, auth("VOIDED"), "", before, lost},
		{"capture: captured, order not read", models.Capture, true, auth("CAPTURED"), "", before, lost},
		{"capture: captured, and nothing is listed", models.Capture, true, auth("CAPTURED"), list(), before, lost},
		{"capture: captured, and only a decline is listed", models.Capture, true, auth("CAPTURED"), list(paid("C1", "DECLINED", "15.00", "X")), before, lost},
		{"capture: by somebody, without a name", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", "")), before, confirmed(1500)},
		{"capture: by somebody, without a name, and we asked before", models.Capture, false, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", "")), before, foreign(1500)},
		{"capture: by somebody", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", "INV-7")), before, foreign(1500)},
		{"capture: by two", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "5.00", ""), paid("C2", "COMPLETED", "10.00", "")), before, foreign(500)},
		{"capture: by somebody, in part, no room left", models.Capture, true, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "1.00", "INV-7")), before, foreign(100)},
		{"capture: by our own earlier ones", models.Capture, false, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", siblingRef)), before, gone},
		{"capture: by a sibling nobody here knows", models.Capture, true, auth("CAPTURED"), list(paid("C1", "COMPLETED", "15.00", siblingRef)), before, foreign(1500)},
		{"capture: by another hold of the order", models.Capture, true, auth("CAPTURED"), list(strings.ReplaceAll(paid("C1", "COMPLETED", "15.00", "INV-7"), testHold, "OTHERHOLD")), before, lost},
		{"capture: beside one of a status nobody knows", models.Capture, false, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "5.00", siblingRef), paid("C2", "TELEPORTED", "5.00", "X")), before, lost},
		{"capture: beside one without an amount", models.Capture, false, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "", siblingRef)), before, lost},
		{"capture: ours beside one of a status nobody knows", models.Capture, true, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "15.00", ourRef), paid("C2", "TELEPORTED", "5.00", "X")), before, confirmed(1500)},
		{"capture: beside one of no money", models.Capture, false, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "0.00", siblingRef)), before, lost},
		{"capture: a status nobody knows", models.Capture, true, auth("TELEPORTED"), list(), before, lost},
		{"capture: a capture without an id", models.Capture, true, auth("CAPTURED"), list(paid("", "COMPLETED", "15.00", ourRef)), before, lost},

		{"void: untouched", models.Void, true, auth("CREATED"), "", before, none},
		{"void: under review", models.Void, true, auth("PENDING"), "", before, none},
		{"void: part captured", models.Void, true, auth("PARTIALLY_CAPTURED"), "", before, none},
		{"void: over", models.Void, true, auth("CREATED"), "", after, confirmed(1500)},
		{"void: over after a part", models.Void, true, auth("PARTIALLY_CAPTURED"), list(paid("C1", "COMPLETED", "5.00", "X")), after, confirmed(1000)},
		{"void: voided", models.Void, true, auth("VOIDED"), list(), before, confirmed(1500)},
		{"void: voided after a part", models.Void, true, auth("VOIDED"), list(paid("C1", "REFUNDED", "5.00", "X"), paid("C2", "DECLINED", "5.00", "X")), before, confirmed(1000)},
		{"void: voided, order not read", models.Void, true, auth("VOIDED"), "", before, lost},
		{"void: captured", models.Void, true, auth("CAPTURED"), "", before, gone},
		{"void: denied", models.Void, true, auth("DENIED"), "", before, gone},
		{"void: a status nobody knows", models.Void, true, auth("TELEPORTED"), list(), before, lost},

		{"refund: none", models.Refund, true, auth("CAPTURED"), refunds(), before, none},
		{"refund: order not read", models.Refund, true, auth("CAPTURED"), "", before, lost},
		{"refund: ours", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "COMPLETED", "5.00", ourRef)), before, confirmed(500)},
		{"refund: ours by its invoice", models.Refund, true, auth("CAPTURED"), refunds(strings.Replace(back("R1", "COMPLETED", "5.00", ourRef), "custom_id", "invoice_id", 1)), before, confirmed(500)},
		{"refund: ours, pending", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "PENDING", "5.00", ourRef)), before, want{outcome: models.OutcomeAccepted, cents: 500}},
		{"refund: ours failed", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "FAILED", "5.00", ourRef)), before, want{outcome: models.OutcomeRefused}},
		{"refund: ours failed, then made", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "FAILED", "5.00", ourRef), back("R2", "COMPLETED", "5.00", ourRef)), before, confirmed(500)},
		{"refund: ours twice", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "COMPLETED", "5.00", ourRef), back("R2", "COMPLETED", "5.00", ourRef)), before, confirmed(1000)},
		{"refund: by somebody, and there is room", models.Refund, true, auth("CAPTURED"), orderBody([]string{paid(testCapture, "PARTIALLY_REFUNDED", "99.00", "X")}, []string{back("R1", "COMPLETED", "5.00", "")}), before, none},
		{"refund: beside one of a status nobody knows", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "TELEPORTED", "5.00", "")), before, lost},
		{"refund: beside one without an amount", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "COMPLETED", "", "")), before, lost},
		{"refund: beside a failed one", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "FAILED", "15.00", "")), before, none},
		{"refund: by somebody, and none left", models.Refund, true, auth("CAPTURED"), refunds(back("R1", "COMPLETED", "15.00", "")), before, foreign(1500)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := lookedUp(testRequest(tt.kind, tt.only), seen(tt.auth, tt.order, tt.date))
			if got := (want{ev.Outcome, ev.AmountCents, ev.Foreign, ev.HoldGone}); got != tt.want || ev.Source != models.FromLookUp {
				t.Errorf("got %s, want %+v", ev.JSON(), tt.want)
			}
		})
	}
}

func TestIDsInLinks(t *testing.T) {
	for href, want := range map[string]string{
		"https://api-m.paypal.com/v2/checkout/orders/5O190127TN364715T":      "5O190127TN364715T",
		"https://evil.example/v2/checkout/orders/5O190127TN364715T/anything": "5O190127TN364715T",
		"https://api-m.paypal.com/v2/checkout/orders/../../v1/oauth2":        "",
		"https://api-m.paypal.com/v2/checkout/orders/":                       "",
		"": "",
	} {
		if got := (authorization{Links: []link{{Href: href, Rel: "up"}}}).orderID(); got != want {
			t.Errorf("%s: %q", href, got)
		}
	}
}

func TestTimesNeverSpoilAnObject(t *testing.T) {
	for _, raw := range []string{`17`, `null`, `"soon"`, `{}`, `"2026-13-41T00:00:00Z"`} {
		var x authorization
		if err := json.Unmarshal([]byte(`{"id":"A","expiration_time":`+raw+`}`), &x); err != nil || !x.Expires.IsZero() {
			t.Errorf("%s: %v %v", raw, x.Expires, err)
		}
	}
}

func TestOldestFirst(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	got := byTime([]time.Time{at(3), {}, at(1), at(2), at(1)}, func(x time.Time) time.Time { return x })
	for i := 1; i < len(got); i++ {
		if !got[i].IsZero() && !got[i-1].IsZero() && got[i].Before(got[i-1]) {
			t.Fatalf("out of order: %v", got)
		}
	}
	if len(got) != 5 {
		t.Fatalf("%d of 5", len(got))
	}
}

// FuzzLookedUp: whatever two answers hold, only a status that is known refuses
// or finds nothing, and no success is without figures.
func FuzzLookedUp(f *testing.F) {
	for _, status := range []string{"CREATED", "CAPTURED", "PARTIALLY_CAPTURED", "VOIDED", "DENIED", "PENDING", "X"} {
		f.Add(uint8(0), true, authBody(testHold, status, "2026-03-30T09:00:00Z"), orderBody([]string{paid("C1", "COMPLETED", "15.00", ourRef)}, nil), "Mon, 30 Mar 2026 09:00:00 GMT")
		f.Add(uint8(1), false, authBody(testHold, status, ""), orderBody(nil, []string{back("R1", "COMPLETED", "5.00", ourRef)}), "")
	}
	f.Add(uint8(2), false, `{}`, ``, ``)
	f.Fuzz(func(t *testing.T, kind uint8, only bool, auth, order, date string) {
		s := seen(auth, order, date)
		r := testRequest(models.Kinds[int(kind)%len(models.Kinds)], only)
		ev := lookedUp(r, s)
		switch ev.Outcome {
		case models.OutcomeConfirmed:
			if !s.ok || ev.AmountCents < 0 || ev.AmountCents == 0 && r.Kind != models.Void || len(ev.CurrencyCode) != 3 || ev.GatewayTransactionID == "" {
				t.Fatalf("confirmed by %q and %q: %s", auth, order, ev.JSON())
			}
		case models.OutcomeNotSent:
			t.Fatalf("a look-up that answered was not sent: %s", ev.JSON())
		case models.OutcomeRefused, models.OutcomeDeclined, models.OutcomeNone:
			known := strings.Contains(" CREATED CAPTURED PARTIALLY_CAPTURED VOIDED DENIED PENDING ", " "+s.auth.Status+" ")
			if !s.ok || !known && !(r.Kind == models.Refund && s.listed) {
				t.Fatalf("%s by %q and %q", ev.Outcome, auth, order)
			}
			if !s.listed && (s.auth.Status == authPartially && r.Kind == models.Capture || r.Kind == models.Refund) {
				t.Fatalf("%s without the list: %q", ev.Outcome, auth)
			}
		}
		if !json.Valid(ev.JSON()) {
			t.Fatalf("evidence: %q", ev.JSON())
		}
	})
}
