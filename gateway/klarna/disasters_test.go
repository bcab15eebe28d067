package klarna_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// TestReview: an order under review is not captured yet, a rejected one never,
// and a refusal that its key repeats is not asked for again under that key.
func TestReview(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now})
	hold := w.hold(t, 1500, "pending=6h")
	r := request(models.Capture, hold, 1500)
	for range 2 {
		ev := w.Capture(t.Context(), r)
		if ev.Outcome != models.OutcomeDeclined || ev.NextAction != "retry" || ev.ErrorCode != "CAPTURE_NOT_ALLOWED" || !ev.Answered || ev.ErrorDetail == "" {
			t.Fatalf("under review: %s", ev.JSON())
		}
	}
	if facts, err := w.Describe(t.Context(), hold); err != nil || !facts.Open || facts.Status != "AUTHORIZED, review PENDING" {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	clock.Add(7 * time.Hour)
	must(t, w.LookUp(t.Context(), r), models.OutcomeNone, 0)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeLost || ev.Class != models.ClassBadRequest || !ev.Answered {
		t.Fatalf("the key repeats its refusal, and nothing stands against the capture: %s", ev.JSON())
	}
	r.Key = models.IdempotencyKey(r.Reference, 1)
	must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)

	bad := request(models.Capture, w.hold(t, 1500, "decline_hard"), 1500)
	for what, ev := range map[string]models.Evidence{"call": w.Capture(t.Context(), bad), "look-up": w.LookUp(t.Context(), bad)} {
		if ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "FRAUD_REJECTED" {
			t.Errorf("%s of a rejected order: %s", what, ev.JSON())
		}
	}
	if facts, err := w.Describe(t.Context(), bad.Hold); err != nil || facts.Open {
		t.Errorf("describe: %+v, %v", facts, err)
	}
}

// TestLateEcho: a capture whose answer was lost, asked for again under a key that
// Klarna has forgotten, is refused because it was made; that is a success.
func TestLateEcho(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "charge_then_drop,amnesia")
	r := request(models.Capture, hold, 1500)
	must(t, w.Capture(t.Context(), r), models.OutcomeLost, 0)
	ev := must(t, w.Capture(t.Context(), r), models.OutcomeConfirmed, 1500)
	if ev.Foreign || ev.Source != models.FromAnswer || ev.Answered {
		t.Fatalf("got %s", ev.JSON())
	}
	refund := request(models.Refund, hold, 1500)
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 1500)
	refund.Key = "another"
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 1500)
	if book := w.sandbox.BookOf(hold); len(book.Captures) != 1 || len(book.Refunds) != 1 {
		t.Fatalf("book: %+v", book)
	}
}

// TestUnreadSuccess: what a 201 made and nobody could read is accepted, and found
// by a look-up; what was released likewise.
func TestUnreadSuccess(t *testing.T) {
	var blind sync.Map
	w := newWorldBehind(t, sandbox.Config{}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, off := blind.Load("on"); off && r.Method == http.MethodGet {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	hold := w.hold(t, 1500, "")
	r := request(models.Capture, hold, 1500)
	refund := request(models.Refund, hold, 400)
	blind.Store("on", true)
	if ev := w.Capture(t.Context(), r); ev.Outcome != models.OutcomeAccepted || ev.GatewayTransactionID == "" {
		t.Fatalf("capture: %s", ev.JSON())
	}
	if ev := w.Refund(t.Context(), refund); ev.Outcome != models.OutcomeAccepted || ev.GatewayTransactionID == "" {
		t.Fatalf("refund: %s", ev.JSON())
	}
	// Which call releases the order is not known, so none was made.
	if ev := w.Void(t.Context(), request(models.Void, w.hold(t, 100, ""), 100)); ev.Outcome != models.OutcomeNotSent {
		t.Fatalf("void: %s", ev.JSON())
	}
	must(t, w.LookUp(t.Context(), r), models.OutcomeLost, 0)
	blind.Delete("on")
	must(t, w.LookUp(t.Context(), r), models.OutcomeConfirmed, 1500)
	must(t, w.LookUp(t.Context(), refund), models.OutcomeConfirmed, 400)
}

// TestExpiry: an order that ends is told, and can be extended only before.
func TestExpiry(t *testing.T) {
	clock := sandboxtest.NewClock()
	w := newWorld(t, sandbox.Config{Now: clock.Now})
	hold := w.hold(t, 1500, "")
	renew := func(n int) gateway.Request {
		r := request(models.Void, hold, 1500)
		r.Kind, r.Key = "", fmt.Sprintf("renew_%d", n)
		return r
	}
	clock.Add(20 * 24 * time.Hour)
	first := must(t, w.Reauthorize(t.Context(), renew(1)), models.OutcomeConfirmed, 1500)
	if want := clock.Now().Add(28 * 24 * time.Hour); first.GatewayTransactionID != hold || first.HoldEndsAt == nil || !first.HoldEndsAt.Equal(want) {
		t.Fatalf("extended: %s, want %v", first.JSON(), want)
	}
	clock.Add(time.Hour)
	if again := must(t, w.Reauthorize(t.Context(), renew(1)), models.OutcomeConfirmed, 1500); !again.HoldEndsAt.Equal(*first.HoldEndsAt) {
		t.Fatalf("the same key extends it again: %s", again.JSON())
	}
	for n := range 6 {
		clock.Add(26 * 24 * time.Hour)
		if ev := w.Reauthorize(t.Context(), renew(n+2)); ev.Outcome != models.OutcomeConfirmed && n < 5 {
			t.Fatalf("extension %d: %s", n+2, ev.JSON())
		}
	}
	facts, err := w.Describe(t.Context(), hold)
	if err != nil || facts.CaptureBefore == nil || facts.CaptureBefore.After(sandboxtest.NewClock().Now().Add(180*24*time.Hour)) {
		t.Fatalf("describe: %+v, %v", facts, err)
	}
	clock.Add(40 * 24 * time.Hour)
	if ev := w.Reauthorize(t.Context(), renew(20)); ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "ORDER_EXPIRED" {
		t.Fatalf("after its end: %s", ev.JSON())
	}
	capture := request(models.Capture, hold, 1500)
	for what, ev := range map[string]models.Evidence{"call": w.Capture(t.Context(), capture), "look-up": w.LookUp(t.Context(), capture)} {
		if ev.Outcome != models.OutcomeRefused || !ev.HoldGone || ev.ErrorCode != "ORDER_EXPIRED" {
			t.Errorf("%s of an expired order: %s", what, ev.JSON())
		}
	}
	must(t, w.LookUp(t.Context(), request(models.Void, hold, 1500)), models.OutcomeConfirmed, 1500)
	must(t, w.Void(t.Context(), request(models.Void, hold, 1500)), models.OutcomeConfirmed, 1500)
}

func TestForeignMoney(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	hold := w.hold(t, 1500, "")
	w.send(t, http.MethodPost, "/ordermanagement/v1/orders/"+hold+"/captures", []byte(`{"captured_amount":1500,"reference":"INV-7"}`), 201, nil)
	r := request(models.Capture, hold, 1500)
	for what, ev := range map[string]models.Evidence{"look-up": w.LookUp(t.Context(), r), "call": w.Capture(t.Context(), r)} {
		if ev.Outcome != models.OutcomeConfirmed || !ev.Foreign || ev.NextAction != "contact gateway" {
			t.Errorf("%s: somebody else's capture: %s", what, ev.JSON())
		}
	}
	w.send(t, http.MethodPost, "/ordermanagement/v1/orders/"+hold+"/refunds", []byte(`{"refunded_amount":1400}`), 201, nil)
	refund := request(models.Refund, hold, 500)
	for what, ev := range map[string]models.Evidence{"look-up": w.LookUp(t.Context(), refund), "call": w.Refund(t.Context(), refund)} {
		if ev.Outcome != models.OutcomeConfirmed || !ev.Foreign {
			t.Errorf("%s: somebody else's refund: %s", what, ev.JSON())
		}
	}
	refund.AmountCents, refund.Key = 100, models.IdempotencyKey(refund.Reference, 1) // the first key repeats its refusal
	must(t, w.LookUp(t.Context(), refund), models.OutcomeNone, 0)
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 100)
	uncaptured := request(models.Refund, w.hold(t, 100, ""), 100)
	if ev := w.Refund(t.Context(), uncaptured); ev.Outcome != models.OutcomeLost || ev.Class != models.ClassBadRequest {
		t.Errorf("a refund of what was never captured: %s", ev.JSON())
	}
}
