package worker_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// stuck makes the call of a purchase's operation once and leaves it where that ended.
func (w *world) stuck(t *testing.T, p purchase) models.Operation {
	t.Helper()
	r := w.runner(t, staff{name: "first"})
	return w.runs(t, r, p, "its call was made", func(o models.Operation) bool { return o.SentVersion != nil || !o.State.Live() })
}

// settled waits until enough time has passed since the last send for "none" to
// be proof.
func (w *world) settledAtTheGateway(t *testing.T, p purchase) {
	t.Helper()
	op := w.reread(t, p)
	if op.LastSentAt == nil {
		return
	}
	conclusive := op.LastSentAt.Add(tempo.Budget() + tempo.Of(10*time.Second))
	eventually(t, "a look-up is conclusive", func() (bool, any) { return time.Now().After(conclusive), conclusive })
}

func (w *world) forward(t *testing.T, p purchase) (models.Decision, error) {
	t.Helper()
	return w.runner(t, staff{name: "console"}).Forward(t.Context(), models.Test, p.op.Kind, p.op.ID, "olga", "the customer called")
}

// wantRefusal checks the rule that said no.
func wantRefusal(t *testing.T, err error, rule string, busy bool) {
	t.Helper()
	r, ok := refused(err)
	if !ok || r.Rule != rule || r.Busy != busy || r.Detail == "" {
		t.Errorf("refusal = %#v (%v), want %s, busy %t, and a reason", r, err, rule, busy)
	}
}

// TestForwardFindsIt: each kind of operation, stuck after the money moved.
func TestForwardFindsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, kind := range models.Kinds {
		p := crash{fault: "charge_then_drop"}.begin(t, kind, w)
		if op := w.stuck(t, p); op.State != models.Unknown {
			t.Fatalf("the %s is %s, want unknown", kind, op.State)
		}
		d, err := w.forward(t, p)
		if err != nil || d.Event != models.Confirmed || d.Verdict != models.Forward {
			t.Errorf("forward the %s: %+v %v", kind, d, err)
		}
		want := crash{}.expected(kind)
		if op := w.reread(t, p); op.State != want.state {
			t.Errorf("the %s = %+v, want %s", kind, op, want.state)
		}
		if got := w.verdicts(t, p.op.ID); !slices.Equal(got, []models.Verdict{models.Forward}) {
			t.Errorf("verdicts %v, want one forward", got)
		}
		w.check(t, p, want.truth)
		history, err := w.store.History(t.Context(), p.op.ID)
		if err != nil {
			t.Fatal(err)
		}
		if last := history[len(history)-1]; last.Actor != "olga" {
			t.Errorf("the history names %q, want who did it", last.Actor)
		}
		if !strings.Contains(history[len(history)-3].Reason, "the customer called") {
			t.Errorf("the history has lost why: %+v", history[len(history)-3])
		}
		if _, err := w.forward(t, p); err == nil {
			t.Errorf("forwarded twice")
		} else {
			wantRefusal(t, err, "already_succeeded", false)
		}
	}
}

// TestForwardFindsNothing: the refusal says so, nothing was moved by it, and the
// row goes on by itself.
func TestForwardFindsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "drop_before")
	w.stuck(t, p)
	w.settledAtTheGateway(t, p)
	_, err := w.forward(t, p)
	wantRefusal(t, err, "not_found_at_gateway", false)
	if b := w.book(t, p.hold); len(b.Captures) != 0 {
		t.Errorf("forwarding moved money: %+v", b.Captures)
	}
	if op := w.reread(t, p); op.State != models.Pending {
		t.Errorf("capture = %+v, want pending", op)
	}
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
}

// TestForwardCannotTell: too early, gateway away, gateway confused.
func TestForwardCannotTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{tempo: &models.Tempo{}}) // at real time nothing is conclusive yet
	for _, fault := range []string{"drop_before", "charge_then_drop,lookup_500:*", "charge_then_drop,lookup_404:*"} {
		p := w.order(t, fault)
		w.stuck(t, p)
		_, err := w.forward(t, p)
		wantRefusal(t, err, "inconclusive", true)
		if r, _ := refused(err); r != nil && !strings.Contains(r.Detail, "looked up again at 20") {
			t.Errorf("%q does not say when it will be known", r.Detail)
		}
		if op := w.reread(t, p); op.State != models.Unknown {
			t.Errorf("%s: capture = %+v, want unknown", fault, op)
		}
	}
	p := w.order(t, "charge_then_drop")
	w.stuck(t, p)
	w.front.down()
	_, err := w.forward(t, p)
	wantRefusal(t, err, "inconclusive", true)
	w.front.up(t)
	if _, err := w.forward(t, p); err != nil {
		t.Errorf("forward when the gateway is back: %v", err)
	}
	w.check(t, p, truth{captured: total})
}

// TestForwardConflicts: the gateway has something else.
func TestForwardConflicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	other := w.order(t, "wrong_currency")
	w.stuck(t, other)
	_, err := w.forward(t, other)
	wantRefusal(t, err, string(models.AmountConflict), false)
	// A hold that somebody took without us: its amount is booked as it is.
	foreign := w.order(t, "drop_before")
	w.stuck(t, foreign)
	form := strings.NewReader("amount_to_capture=1500&metadata[capstan_reference]=cap_somebodyelse")
	w.call(t, http.MethodPost, "/v1/payment_intents/"+foreign.hold+"/capture", form, nil)
	_, err = w.forward(t, foreign)
	wantRefusal(t, err, string(models.Duplicate), false)
	if op := w.reread(t, foreign); op.State != models.Unknown || op.NeedsAttention != models.FlagForeign {
		t.Errorf("capture = %+v, want unknown and flagged", op)
	}
	w.audit(t)
}

// TestForwardWhileClaimed: a claim that is alive is left alone.
func TestForwardWhileClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "")
	if claims, err := w.store.ClaimAll(t.Context(), models.Capture, []string{p.op.ID}, "somebody"); err != nil || len(claims) != 1 {
		t.Fatalf("claim: %v %v", claims, err)
	}
	before := w.reread(t, p)
	_, err := w.forward(t, p)
	wantRefusal(t, err, "operation_under_way", true)
	if diff := cmp.Diff(before, w.reread(t, p)); diff != "" {
		t.Errorf("the claimed row changed: %s", diff)
	}
	w.start(t, staff{})
	w.settle(t)
	w.check(t, p, truth{captured: total})
}

// TestForwardLateSuccess: given up here, and taken there after all.
func TestForwardLateSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "decline_hard")
	if op := w.stuck(t, p); op.State != models.Failed {
		t.Fatalf("capture = %+v, want failed", op)
	}
	w.exec(t, `UPDATE captures SET last_sent_at = now() + interval '1 minute'`)
	_, err := w.forward(t, p)
	wantRefusal(t, err, "inconclusive", true) // a call might still land
	w.exec(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour'`)
	_, err = w.forward(t, p)
	wantRefusal(t, err, "not_found_at_gateway", false)
	w.setHoldFault(t, p.hold, "")
	form := strings.NewReader("amount_to_capture=1500&metadata[capstan_reference]=" + p.op.GatewayReference)
	w.call(t, http.MethodPost, "/v1/payment_intents/"+p.hold+"/capture", form, nil)
	d, err := w.forward(t, p)
	if err != nil || d.Verdict != models.LateSuccess {
		t.Errorf("forward: %+v %v, want a late success", d, err)
	}
	if op := w.reread(t, p); op.State != models.Succeeded || op.NeedsAttention != models.FlagLateSuccess {
		t.Errorf("capture = %+v, want succeeded and flagged", op)
	}
	if got := w.orderNow(t, p).PaymentStatus; got != models.Paid {
		t.Errorf("the order is %s, want paid", got)
	}
	w.check(t, p, truth{captured: total})
}

// TestForwardOfNothing: ids that are not there, and the other mode's.
func TestForwardOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "")
	r := w.runner(t, staff{})
	for name, try := range map[string]func() error{
		"unknown id": func() error {
			_, err := r.Forward(t.Context(), models.Test, models.Capture, store.NewID(), "olga", "x")
			return err
		},
		"no id": func() error {
			_, err := r.Forward(t.Context(), models.Test, models.Capture, "x", "olga", "x")
			return err
		},
		"other kind": func() error {
			_, err := r.Forward(t.Context(), models.Test, models.Refund, p.op.ID, "olga", "x")
			return err
		},
		"other mode": func() error {
			_, err := r.Forward(t.Context(), models.Live, models.Capture, p.op.ID, "olga", "x")
			return err
		},
		"inspect it":  func() error { _, _, err := r.Inspect(t.Context(), models.Live, models.Capture, p.op.ID); return err },
		"inspect nil": func() error { _, _, err := r.Inspect(t.Context(), models.Test, models.Capture, ""); return err },
	} {
		if err := try(); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
}

// TestInspectChangesNothing, whatever it sees.
func TestInspectChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, tt := range []struct {
		fault   string
		runs    bool
		outcome models.Outcome
		verdict models.Verdict
	}{
		{"", false, models.OutcomeNone, models.Retry},
		{"", true, models.OutcomeConfirmed, models.InSync},
		{"charge_then_drop", true, models.OutcomeConfirmed, models.Forward},
		{"drop_before", true, models.OutcomeNone, models.Wait},
		{"charge_then_drop,lookup_500", true, models.OutcomeLost, models.Wait},
		{"wrong_currency", true, models.OutcomeConfirmed, models.AmountConflict},
		{"expired", true, models.OutcomeRefused, models.InSync},
	} {
		p := w.order(t, tt.fault)
		if tt.runs {
			w.stuck(t, p)
		}
		before := []any{w.reread(t, p), w.orderNow(t, p), w.count(t, `SELECT count(*) FROM verdicts`), w.count(t, `SELECT count(*) FROM events`)}
		ev, d, err := w.runner(t, staff{}).Inspect(t.Context(), models.Test, models.Capture, p.op.ID)
		if err != nil || ev.Outcome != tt.outcome || d.Verdict != tt.verdict {
			t.Errorf("%s: %s, %+v, %v; want %s and %s", tt.fault, ev.Outcome, d, err, tt.outcome, tt.verdict)
		}
		after := []any{w.reread(t, p), w.orderNow(t, p), w.count(t, `SELECT count(*) FROM verdicts`), w.count(t, `SELECT count(*) FROM events`)}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: inspecting changed it: %s", tt.fault, diff)
		}
	}
}

// setHoldFault replaces what is to happen to one hold.
func (w *world) setHoldFault(t *testing.T, hold, fault string) {
	t.Helper()
	if fault == "" {
		fault = "ok:99"
	}
	body := strings.NewReader(`{"fault":"` + fault + `","hold":"` + hold + `"}`)
	w.call(t, http.MethodPut, "/_sandbox/fault", body, nil)
}

// TestHintDoesNotHasten: being told that something happened at the gateway makes
// a capture be looked at, not be made before its time.
func TestHintDoesNotHasten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{policy: &models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerDelay, CaptureDelaySeconds: 3600}})
	byWebhook, byHand := w.order(t, ""), w.order(t, "")
	w.start(t, staff{})
	_, err := w.store.Observe(t.Context(), store.Observation{
		Kind: models.Capture, ID: byWebhook.op.ID, Actor: "webhook:stripe", Evidence: models.Evidence{Source: models.FromWebhook},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hinted capture was looked up", func() (bool, any) {
		_, looks := w.claims(t, byWebhook.op.ID)
		return looks == 1, w.reread(t, byWebhook)
	})
	_, err = w.forward(t, byHand)
	wantRefusal(t, err, "not_found_at_gateway", false)
	eventually(t, "both wait again", func() (bool, any) {
		n := w.count(t, `SELECT count(*) FROM captures WHERE state IN ('pending', 'succeeded')`)
		return n == 2, n
	})
	for _, p := range []purchase{byWebhook, byHand} {
		op := w.reread(t, p)
		if op.State != models.Pending || op.NextAt == nil || time.Until(*op.NextAt) < 50*time.Minute {
			t.Errorf("capture = %+v, want pending and due in an hour", op)
		}
		w.check(t, p, truth{})
	}
}

// TestDeclineScheduleSurvivesWebhooks: the gateway tells of each decline by a
// webhook, too. That must not make the next try come sooner; with -prove, nor the
// one after that.
func TestDeclineScheduleSurvivesWebhooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	p := w.order(t, "decline")
	w.start(t, staff{})
	tries := 1
	if *prove {
		tries = 2
	}
	for try := 1; try <= tries; try++ {
		eventually(t, "the capture is declined", func() (bool, any) {
			op := w.reread(t, p)
			return op.Tries == try && op.State == models.Pending, op
		})
		due := *w.reread(t, p).NextAt
		for range 3 {
			_, err := w.store.Observe(t.Context(), store.Observation{
				Kind: models.Capture, ID: p.op.ID, Actor: "webhook:stripe", Evidence: models.Evidence{Source: models.FromWebhook, Outcome: models.OutcomeDeclined},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the next try is made", func() (bool, any) {
			n := 0
			for _, r := range w.book(t, p.hold).Requests {
				if r.Call == "capture" {
					n++
				}
				if r.Call == "capture" && n == try+1 && r.At.Before(due) {
					t.Errorf("try %d was made at %v, its time was %v", n, r.At, due)
				}
			}
			return n > try, n
		})
	}
}
