package klarna

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

type proof struct {
	outcome models.Outcome
	cents   int64
	foreign bool
	gone    bool
}

func proofOf(ev models.Evidence) proof {
	return proof{ev.Outcome, ev.AmountCents, ev.Foreign, ev.HoldGone}
}

var (
	none   = proof{outcome: models.OutcomeNone}
	lost   = proof{}
	isGone = proof{outcome: models.OutcomeRefused, gone: true}
)

func confirmedAs(cents int64) proof { return proof{models.OutcomeConfirmed, cents, false, false} }

func foreignAs(cents int64) proof { return proof{models.OutcomeConfirmed, cents, true, false} }

func all(parts ...string) []string { return parts }

func TestLookedUp(t *testing.T) {
	const nothingLeft = `"remaining_authorized_amount":0`
	whole := all(taken("C1", 1500, ourRef))
	capture := func(name string, only bool, order string, want proof) lookTest {
		return lookTest{"capture: " + name, models.Capture, only, order, want}
	}
	void := func(name, order string, want proof) lookTest {
		return lookTest{"void: " + name, models.Void, true, order, want}
	}
	refund := func(name string, captures, refunds []string, want proof, change ...string) lookTest {
		return lookTest{"refund: " + name, models.Refund, true, orderBody("CAPTURED", captures, refunds, change...), want}
	}
	for _, tt := range []lookTest{
		capture("untouched", true, orderBody("AUTHORIZED", nil, nil), none),
		capture("under review", true, orderBody("AUTHORIZED", nil, nil, `"ACCEPTED"`, `"PENDING"`), none),
		capture("rejected", true, orderBody("AUTHORIZED", nil, nil, `"ACCEPTED"`, `"REJECTED"`), isGone),
		capture("rejected, and captured before", false, orderBody("PART_CAPTURED", all(taken("C1", 100, siblingRef)), nil, `"ACCEPTED"`, `"REJECTED"`), proof{models.OutcomeRefused, 0, false, false}),
		capture("cancelled", true, orderBody("CANCELLED", nil, nil), isGone),
		capture("expired", true, orderBody("EXPIRED", nil, nil), isGone),
		capture("expired after another", false, orderBody("EXPIRED", all(taken("C1", 500, siblingRef)), nil), isGone),
		capture("closed", true, orderBody("CLOSED", nil, nil), isGone),
		capture("closed, and holds something", true, orderBody("CLOSED", nil, nil, nothingLeft, `"remaining_authorized_amount":7`), lost),
		capture("ours", true, orderBody("CAPTURED", whole, nil), confirmedAs(1500)),
		capture("ours, expired since", true, orderBody("EXPIRED", all(taken("C1", 500, ourRef)), nil), confirmedAs(500)),
		capture("ours, cancelled since", true, orderBody("CANCELLED", all(taken("C1", 500, ourRef)), nil), confirmedAs(500)),
		capture("ours, closed since", true, orderBody("CLOSED", whole, nil), confirmedAs(1500)),
		capture("ours, in a status nobody knows", true, orderBody("TELEPORTED", whole, nil), confirmedAs(1500)),
		capture("ours among others", false, orderBody("PART_CAPTURED", all(taken("C1", 500, siblingRef), taken("C2", 400, ourRef)), nil), confirmedAs(400)),
		capture("ours twice", true, orderBody("CAPTURED", all(taken("C1", 1000, ourRef), taken("C2", 500, ourRef)), nil), confirmedAs(1500)),
		capture("ours, and the sum is wrong", true, orderBody("CAPTURED", whole, nil, `"captured_amount":1500,"refunded_amount":0,"remaining`, `"captured_amount":9,"refunded_amount":0,"remaining`), confirmedAs(1500)),
		capture("none listed, and something was captured", true, orderBody("PART_CAPTURED", nil, nil, `"captured_amount":0`, `"captured_amount":500`), lost),
		capture("none listed, and no sum", true, orderBody("AUTHORIZED", nil, nil, `"captured_amount":0,`, ``), lost),
		capture("none listed, and nothing said of what is left", true, orderBody("AUTHORIZED", nil, nil, `"remaining_authorized_amount":1500,`, ``), lost),
		capture("captured, and nothing was", true, orderBody("CAPTURED", nil, nil), lost),
		capture("captured in part, and nothing was", true, orderBody("PART_CAPTURED", nil, nil), lost),
		capture("authorized, and something was captured", false, orderBody("AUTHORIZED", all(taken("C1", 500, siblingRef)), nil), lost),
		capture("captured, and something is left", false, orderBody("CAPTURED", all(taken("C1", 1500, siblingRef)), nil, nothingLeft, `"remaining_authorized_amount":7`), lost),
		capture("lowered below it", true, orderBody("AUTHORIZED", nil, nil, `"remaining_authorized_amount":1500`, `"remaining_authorized_amount":700`), none),
		capture("by somebody, without a name", true, orderBody("CAPTURED", all(taken("C1", 1500, "")), nil), confirmedAs(1500)),
		capture("by somebody, without a name, and we asked before", false, orderBody("CAPTURED", all(taken("C1", 1500, "")), nil), foreignAs(1500)),
		capture("by somebody", true, orderBody("CAPTURED", all(taken("C1", 1500, "INV-7")), nil), foreignAs(1500)),
		capture("by two", true, orderBody("CAPTURED", all(taken("C1", 500, ""), taken("C2", 1000, "")), nil), foreignAs(500)),
		capture("by somebody, in part, no room left", true, orderBody("PART_CAPTURED", all(taken("C1", 100, "INV-7")), nil), foreignAs(100)),
		capture("by a sibling, room left", false, orderBody("PART_CAPTURED", all(taken("C1", 100, siblingRef)), nil, `"remaining_authorized_amount":1400`, `"remaining_authorized_amount":1500`), none),
		capture("by our own earlier ones", false, orderBody("CAPTURED", all(taken("C1", 1500, siblingRef)), nil), isGone),
		capture("by our own earlier ones, a little left", false, orderBody("PART_CAPTURED", all(taken("C1", 900, siblingRef)), nil), proof{models.OutcomeRefused, 0, false, false}),
		capture("by a sibling nobody here knows", true, orderBody("CAPTURED", all(taken("C1", 1500, siblingRef)), nil), foreignAs(1500)),
		capture("a status nobody knows", true, orderBody("TELEPORTED", nil, nil), lost),
		capture("a capture without an id", true, orderBody("CAPTURED", all(taken("", 1500, ourRef)), nil), lost),
		capture("a capture of nothing", true, orderBody("AUTHORIZED", all(taken("C1", 0, ourRef)), nil), lost),
		capture("another order", true, orderBody("AUTHORIZED", nil, nil, testHold, "another"), lost),
		capture("a currency that Klarna does not take", true, orderBody("CAPTURED", whole, nil, `"eur"`, `"jpy"`), lost),
		capture("an amount that is no number", true, orderBody("CAPTURED", whole, nil, `"captured_amount":1500,"refunded_amount":0,"remaining`, `"captured_amount":"1500","refunded_amount":0,"remaining`), lost),
		capture("half of it", true, orderBody("CAPTURED", whole, nil)[:200], lost),

		void("untouched", orderBody("AUTHORIZED", nil, nil), none),
		void("part captured", orderBody("PART_CAPTURED", all(taken("C1", 500, "X")), nil), none),
		void("cancelled", orderBody("CANCELLED", nil, nil), confirmedAs(1500)),
		void("expired", orderBody("EXPIRED", nil, nil), confirmedAs(1500)),
		void("expired after a part", orderBody("EXPIRED", all(taken("C1", 500, "X")), nil), confirmedAs(1000)),
		void("released after a part", orderBody("CAPTURED", all(taken("C1", 500, "X")), nil), confirmedAs(1000)),
		void("released, still called part", orderBody("PART_CAPTURED", all(taken("C1", 500, "X")), nil, `"remaining_authorized_amount":1000`, nothingLeft), confirmedAs(1000)),
		void("released, and its amount lowered to what was taken", orderBody("CAPTURED", all(taken("C1", 500, "X")), nil, `"order_amount":1500,"original`, `"order_amount":500,"original`), confirmedAs(1000)),
		void("closed after a part", orderBody("CLOSED", all(taken("C1", 500, "X")), nil), confirmedAs(1000)),
		void("captured", orderBody("CAPTURED", whole, nil), isGone),
		void("closed after all", orderBody("CLOSED", whole, nil), isGone),
		void("captured, and something is left", orderBody("CAPTURED", whole, nil, nothingLeft, `"remaining_authorized_amount":7`), lost),
		void("holds nothing, and nothing was taken", orderBody("AUTHORIZED", nil, nil, `"remaining_authorized_amount":1500`, nothingLeft), lost),
		void("no amount", orderBody("CANCELLED", nil, nil, `"order_amount":1500,`, ``), lost),
		void("more taken than there was", orderBody("CAPTURED", all(taken("C1", 1600, "X")), nil), lost),
		void("a list that does not add up", orderBody("CANCELLED", nil, nil, `"captured_amount":0`, `"captured_amount":5`), lost),
		void("a status nobody knows", orderBody("TELEPORTED", nil, nil), lost),

		refund("none", whole, nil, none),
		refund("ours", whole, all(back("R1", 500, ourRef)), confirmedAs(500)),
		refund("ours twice", whole, all(back("R1", 500, ourRef), back("R2", 500, ourRef)), confirmedAs(1000)),
		refund("ours, and the sum is wrong", whole, all(back("R1", 500, ourRef)), confirmedAs(500), `"refunded_amount":500,"remaining`, `"refunded_amount":9,"remaining`),
		refund("by somebody, and none left", whole, all(back("R1", 1500, "")), foreignAs(1500)),
		refund("by somebody, and there is room", all(taken("C1", 9000, ourRef)), all(back("R1", 500, "")), none),
		refund("a list that does not add up", whole, nil, lost, `"refunded_amount":0,"remaining`, `"refunded_amount":500,"remaining`),
		refund("captures that do not add up", whole, nil, lost, `"captured_amount":1500,"refunded_amount":0,"remaining`, `"captured_amount":9,"refunded_amount":0,"remaining`),
		refund("one without an id", whole, all(back("", 500, ourRef)), lost),
		refund("one of nothing", whole, all(back("R1", 0, ourRef)), lost),
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := lookedUp(testRequest(tt.kind, tt.only), seen(tt.order))
			if got := proofOf(ev); got != tt.want || ev.Source != models.FromLookUp {
				t.Errorf("got %s, want %+v\n%s", ev.JSON(), tt.want, tt.order)
			}
		})
	}
}

type lookTest struct {
	name  string
	kind  models.Kind
	only  bool
	order string
	want  proof
}

// TestExplained: what a refusal and the order together prove.
func TestExplained(t *testing.T) {
	declined, badly := proof{outcome: models.OutcomeDeclined}, proof{outcome: models.OutcomeLost}
	for _, tt := range []struct {
		name  string
		kind  models.Kind
		order string
		want  proof
		class models.Class
	}{
		{"under review", models.Capture, orderBody("AUTHORIZED", nil, nil, `"ACCEPTED"`, `"PENDING"`), declined, ""},
		{"under review, and made before", models.Capture, orderBody("CAPTURED", all(taken("C1", 1500, ourRef)), nil, `"ACCEPTED"`, `"PENDING"`), confirmedAs(1500), ""},
		{"made before", models.Capture, orderBody("CAPTURED", all(taken("C1", 1500, ourRef)), nil), confirmedAs(1500), ""},
		{"made by another", models.Capture, orderBody("CAPTURED", all(taken("C1", 1500, "INV-7")), nil), foreignAs(1500), ""},
		{"cancelled", models.Capture, orderBody("CANCELLED", nil, nil), isGone, ""},
		{"lowered", models.Capture, orderBody("AUTHORIZED", nil, nil, `"remaining_authorized_amount":1500`, `"remaining_authorized_amount":700`), proof{outcome: models.OutcomeRefused}, ""},
		{"for no reason", models.Capture, orderBody("AUTHORIZED", nil, nil), badly, models.ClassBadRequest},
		{"a status nobody knows", models.Capture, orderBody("TELEPORTED", nil, nil), badly, ""},
		{"an order that cannot be read", models.Capture, `{}`, badly, ""},
		{"refund: made before", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), all(back("R1", 1500, ourRef))), confirmedAs(1500), ""},
		{"refund: made by another", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), all(back("R1", 1500, ""))), foreignAs(1500), ""},
		{"refund: for no reason", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), nil), badly, models.ClassBadRequest},
		{"refund: of nothing", models.Refund, orderBody("AUTHORIZED", nil, nil), badly, models.ClassBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call, code := gateway.CallCapture, "CAPTURE_NOT_ALLOWED"
			if tt.kind == models.Refund {
				call, code = gateway.CallRefund, "REFUND_NOT_ALLOWED"
			}
			ev := explained(testRequest(tt.kind, true), classify(call, answered(403, errorBody(code))), seen(tt.order))
			if got := proofOf(ev); got != tt.want || ev.Class != tt.class || ev.Source != models.FromAnswer || ev.RequestID != "corr1" {
				t.Errorf("got %s, want %+v %s", ev.JSON(), tt.want, tt.class)
			}
			if open := ev.Outcome == models.OutcomeLost || ev.Outcome == models.OutcomeDeclined; ev.Answered != open {
				t.Errorf("answered: %s", ev.JSON())
			}
		})
	}
}

// TestConfirmed: what a 201 made is what the order says of it.
func TestConfirmed(t *testing.T) {
	made := func(call gateway.Label, header, id string) models.Evidence {
		return classify(call, answered(201, "", header, id))
	}
	accepted := proof{outcome: models.OutcomeAccepted}
	for _, tt := range []struct {
		name  string
		kind  models.Kind
		order string
		want  proof
	}{
		{"as asked for", models.Capture, orderBody("CAPTURED", all(taken("made", 1500, ourRef)), nil), confirmedAs(1500)},
		{"another amount", models.Capture, orderBody("PART_CAPTURED", all(taken("made", 1200, ourRef)), nil), confirmedAs(1200)},
		{"twice", models.Capture, orderBody("CAPTURED", all(taken("C1", 700, ourRef), taken("made", 800, ourRef)), nil), confirmedAs(1500)},
		{"under another reference", models.Capture, orderBody("CAPTURED", all(taken("made", 1500, siblingRef)), nil), foreignAs(1500)},
		{"without a reference", models.Capture, orderBody("CAPTURED", all(taken("made", 1500, "")), nil), foreignAs(1500)},
		{"not listed", models.Capture, orderBody("CAPTURED", all(taken("C1", 1500, ourRef)), nil), accepted},
		{"not listed yet", models.Capture, orderBody("AUTHORIZED", nil, nil), accepted},
		{"listed as a refund", models.Capture, orderBody("CAPTURED", nil, all(back("made", 1500, ourRef))), accepted},
		{"unreadable", models.Capture, `[]`, accepted},
		{"refund", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), all(back("made", 400, ourRef))), confirmedAs(400)},
		{"refund under another reference", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), all(back("made", 400, ""))), foreignAs(400)},
		{"refund not listed yet", models.Refund, orderBody("CAPTURED", all(taken("C1", 1500, "X")), nil), accepted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			call, header := gateway.CallCapture, captureHeader
			if tt.kind == models.Refund {
				call, header = gateway.CallRefund, refundHeader
			}
			ev := confirmed(testRequest(tt.kind, true), made(call, header, "made"), seen(tt.order))
			if got := proofOf(ev); got != tt.want || ev.Source != models.FromAnswer || ev.Status != 201 || ev.Outcome == models.OutcomeAccepted && ev.GatewayTransactionID != "made" {
				t.Errorf("got %s, want %+v", ev.JSON(), tt.want)
			}
		})
	}
}

// TestReleased: what the answer to a release and the order together prove.
func TestReleased(t *testing.T) {
	done := classify(gateway.CallVoid, answered(204, ""))
	forbade := classify(gateway.CallVoid, answered(403, errorBody("CANCEL_NOT_ALLOWED")))
	accepted := proof{outcome: models.OutcomeAccepted}
	for _, tt := range []struct {
		name  string
		ev    models.Evidence
		order string
		want  proof
	}{
		{"done", done, orderBody("CANCELLED", nil, nil), confirmedAs(1500)},
		{"done after a part", done, orderBody("CAPTURED", all(taken("C1", 500, "X")), nil), confirmedAs(1000)},
		{"done, and not seen yet", done, orderBody("AUTHORIZED", nil, nil), accepted},
		{"done, and all was captured", done, orderBody("CAPTURED", all(taken("C1", 1500, "X")), nil), accepted},
		{"done, and unreadable", done, `{}`, accepted},
		{"not allowed, since it was released", forbade, orderBody("CANCELLED", nil, nil), confirmedAs(1500)},
		{"not allowed, since all was captured", forbade, orderBody("CAPTURED", all(taken("C1", 1500, "X")), nil), isGone},
		{"not allowed, since a part was captured", forbade, orderBody("PART_CAPTURED", all(taken("C1", 500, "X")), nil), lost},
		{"not allowed, for no reason", forbade, orderBody("AUTHORIZED", nil, nil), lost},
		{"not allowed, and unreadable", forbade, `{}`, lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := released(testRequest(models.Void, true), tt.ev, seen(tt.order))
			if got := proofOf(ev); got != tt.want || ev.Source != models.FromAnswer {
				t.Errorf("got %s, want %+v", ev.JSON(), tt.want)
			}
		})
	}
}

// TestUnaskedVoid: an order that cannot be read is one for which nothing was
// asked; one that is not there, or not understood, is a person's.
func TestUnaskedVoid(t *testing.T) {
	failing := func(status int, code string) sight {
		return sight{ev: classify(gateway.CallLookUp, answered(status, errorBody(code)))}
	}
	for _, tt := range []struct {
		name  string
		s     sight
		want  models.Outcome
		class models.Class
		renew models.Outcome
	}{
		{"unreadable", seen(`{}`), models.OutcomeLost, "", models.OutcomeNotSent},
		{"not understood", seen(orderBody("TELEPORTED", nil, nil)), models.OutcomeLost, "", models.OutcomeNotSent},
		{"amounts that make no sense", seen(orderBody("AUTHORIZED", nil, nil, `"remaining_authorized_amount":1500`, `"remaining_authorized_amount":0`)), models.OutcomeLost, "", models.OutcomeNotSent},
		{"no such order", failing(404, "NO_SUCH_ORDER"), models.OutcomeLost, models.ClassBadRequest, models.OutcomeNotSent},
		{"another 404", failing(404, "WHAT"), models.OutcomeNotSent, "", models.OutcomeNotSent},
		{"bad credentials", failing(401, "UNAUTHORIZED"), models.OutcomeNotSent, models.ClassConfig, models.OutcomeNotSent},
		{"throttled", failing(429, "TOO_MANY_REQUESTS"), models.OutcomeNotSent, models.ClassThrottled, models.OutcomeNotSent},
		{"failing", failing(503, "TEMPORARILY_UNAVAILABLE"), models.OutcomeNotSent, "", models.OutcomeNotSent},
		{"lost", sight{ev: classify(gateway.CallLookUp, gateway.Answer{})}, models.OutcomeNotSent, "", models.OutcomeNotSent},
		{"cancelled", seen(orderBody("CANCELLED", nil, nil)), models.OutcomeConfirmed, "", models.OutcomeRefused},
		{"expired", seen(orderBody("EXPIRED", nil, nil)), models.OutcomeConfirmed, "", models.OutcomeRefused},
		{"captured", seen(orderBody("CAPTURED", all(taken("C1", 1500, "X")), nil)), models.OutcomeRefused, "", models.OutcomeRefused},
	} {
		ev, stop := releasable(testRequest("", true), tt.s)
		if !stop || ev.Outcome != tt.want || ev.Class != tt.class || ev.Source != models.FromAnswer || ev.Outcome == models.OutcomeLost && ev.NextAction != gateway.NextContact {
			t.Errorf("void, %s: %s", tt.name, ev.JSON())
		}
		ev, stop = extendable(tt.s)
		if !stop || ev.Outcome != tt.renew || ev.Source != models.FromAnswer || ev.HoldGone != (tt.name == "cancelled" || tt.name == "expired") {
			t.Errorf("extension, %s: %s", tt.name, ev.JSON())
		}
	}
	if _, stop := extendable(seen(orderBody("AUTHORIZED", nil, nil))); stop {
		t.Error("a good order is not extended")
	}
}

func TestTimesNeverSpoilAnObject(t *testing.T) {
	for _, raw := range []string{`17`, `null`, `"soon"`, `{}`, `"2026-13-41T00:00:00Z"`} {
		s := seen(orderBody("AUTHORIZED", nil, nil, `"2026-03-30T09:00:00.000Z"`, raw))
		if !s.ok || s.order.ends() != nil {
			t.Errorf("%s: %t %v", raw, s.ok, s.order.Expires)
		}
		if ev := extended(classify(gateway.CallReauthorize, answered(204, "")), s); ev.Outcome != models.OutcomeLost {
			t.Errorf("%s: extended until nobody knows: %s", raw, ev.JSON())
		}
	}
}

// FuzzLookedUp: whatever an order holds, only a status that is known refuses or
// finds nothing, only a list that adds up does, and no success is without figures.
func FuzzLookedUp(f *testing.F) {
	for _, status := range []string{"AUTHORIZED", "PART_CAPTURED", "CAPTURED", "CANCELLED", "EXPIRED", "CLOSED", "X"} {
		f.Add(uint8(0), true, orderBody(status, nil, nil))
		f.Add(uint8(0), false, orderBody(status, all(taken("C1", 1500, siblingRef)), nil))
		f.Add(uint8(1), false, orderBody(status, all(taken("C1", 500, ourRef)), all(back("R1", 500, ourRef))))
		f.Add(uint8(2), true, orderBody(status, all(taken("C1", 500, "")), nil))
	}
	f.Add(uint8(2), false, `{}`)
	f.Fuzz(func(t *testing.T, kind uint8, only bool, body string) {
		s := seen(body)
		r := testRequest(models.Kinds[int(kind)%len(models.Kinds)], only)
		for what, ev := range map[string]models.Evidence{
			"look": lookedUp(r, s), "refused": explained(r, classify(gateway.CallCapture, answered(403, errorBody("CAPTURE_NOT_ALLOWED"))), s),
			"made": confirmed(r, classify(gateway.CallCapture, answered(201, "", captureHeader, "C1")), s),
		} {
			if !json.Valid(ev.JSON()) {
				t.Fatalf("evidence: %q", ev.JSON())
			}
			_, summed := s.order.captured()
			switch ev.Outcome {
			case models.OutcomeConfirmed:
				if !s.ok || ev.AmountCents <= 0 || len(ev.CurrencyCode) != 3 || ev.GatewayTransactionID == "" {
					t.Fatalf("%s: confirmed by %q: %s", what, body, ev.JSON())
				}
			case models.OutcomeRefused, models.OutcomeDeclined, models.OutcomeNone:
				known := strings.Contains(" AUTHORIZED PART_CAPTURED CAPTURED CANCELLED EXPIRED CLOSED ", " "+s.order.Status+" ")
				if !s.ok || !summed || !known && r.Kind != models.Refund {
					t.Fatalf("%s: %s by %q", what, ev.Outcome, body)
				}
			case models.OutcomeNotSent:
				t.Fatalf("%s: not sent by %q", what, body)
			}
		}
	})
}
