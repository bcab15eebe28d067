package models_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/models"
)

// occasions says, for every trigger, on which occasion it captures what: the
// design's words. "approved" and "started" are what the order must be then.
const occasions = `
	approval       approval       approved
	approval       authorization  approved
	authorization  approval       any
	authorization  authorization  any
	fulfillment    fulfillment    approved
	fulfillment    approval       started
	fulfillment    authorization  started
	delay          approval       approved
	delay          authorization  approved
	at             approval       approved
	at             authorization  approved
`

// wantedCause reads the table above for one order, or answers "" for no capture.
func wantedCause(p models.Policy, o models.Order, on models.Occasion) models.Cause {
	approved := o.Status == models.OrderApproved
	met := map[string]bool{"any": true, "approved": approved, "started": approved && o.FulfillmentStatus != models.Unfulfilled}
	switch {
	case !p.AutoCapture, o.Status == models.OrderCancelled, o.CancelRequestedAt != nil, o.TotalAmountCents == 0:
		return ""
	case p.AutoCaptureMaxAmountCents != nil && o.TotalAmountCents > *p.AutoCaptureMaxAmountCents:
		return ""
	case on == models.OnLastChance:
		if approved && p.LastChanceSeconds != nil {
			return models.CauseLastChance
		}
		return ""
	case p.CaptureTrigger == models.TriggerAt && o.CaptureAt == nil, p.CaptureTrigger == models.TriggerDelay && o.ApprovedAt == nil:
		return ""
	}
	for _, w := range lines(occasions) {
		if w[0] == string(p.CaptureTrigger) && w[1] == string(on) && met[w[2]] {
			return models.Cause(p.CaptureTrigger)
		}
	}
	return ""
}

var statuses = []models.OrderStatus{models.OrderPending, models.OrderPlaced, models.OrderEditing, models.OrderApproved, models.OrderCancelled}

// eachPolicy calls fn with every combination of a policy and an order of 1,500
// with one hold of 2,000.
func eachPolicy(fn func(models.Policy, models.Order, models.Occasion)) {
	flags := []string{"auto", "last chance", "started", "approved at", "capture at", "cancel requested", "free"}
	for _, trigger := range append([]models.Trigger{"no such trigger"}, models.Triggers...) {
		for _, on := range models.Occasions {
			for _, status := range statuses {
				for _, limit := range []*int64{nil, ptr(int64(1499)), ptr(int64(1500)), ptr(int64(1501))} {
					subsets(flags, func(set []string) {
						has := func(flag string) bool { return slices.Contains(set, flag) }
						p := models.Policy{AutoCapture: has("auto"), CaptureTrigger: trigger, CaptureDelaySeconds: 60, AutoCaptureMaxAmountCents: limit}
						o := models.Order{Status: status, TotalAmountCents: 1500, FulfillmentStatus: models.Unfulfilled}
						if has("last chance") {
							p.LastChanceSeconds = ptr(int64(3600))
						}
						if has("started") {
							o.FulfillmentStatus = models.InProgress
						}
						if has("approved at") {
							o.ApprovedAt = ptr(noon.Add(-10 * time.Second))
						}
						if has("capture at") {
							o.CaptureAt = ptr(noon.Add(time.Hour))
						}
						if has("cancel requested") {
							o.CancelRequestedAt = ptr(noon)
						}
						if has("free") {
							o.TotalAmountCents = 0
						}
						fn(p, o, on)
					})
				}
			}
		}
	}
}

func TestPlanOnEveryOccasion(t *testing.T) {
	holds := []models.Hold{{Authorization: models.Authorization{ID: "hold", AmountCents: 2000}}}
	captured := 0
	eachPolicy(func(p models.Policy, o models.Order, on models.Occasion) {
		var want []models.Wanted
		if cause := wantedCause(p, o, on); cause != "" {
			due := noon
			switch cause {
			case models.CauseDelay:
				due = o.ApprovedAt.Add(time.Minute)
			case models.CauseAt:
				due = *o.CaptureAt
			}
			want = []models.Wanted{{AuthorizationID: "hold", AmountCents: 1500, Cause: cause, DueAt: due}}
			captured++
		}
		if diff := cmp.Diff(want, models.Plan(p, o, holds, on, noon)); diff != "" {
			t.Fatalf("%s on %s, order %s (-want +got):\n%s\n%+v\n%+v", p.CaptureTrigger, on, o.Status, diff, p, o)
		}
	})
	if captured == 0 {
		t.Error("the table captured nothing")
	}
}

// A moment that passed is now.
func TestDueIsNeverInThePast(t *testing.T) {
	holds := []models.Hold{{Authorization: models.Authorization{ID: "hold", AmountCents: 1500}}}
	o := models.Order{Status: models.OrderApproved, TotalAmountCents: 1500, ApprovedAt: ptr(noon.Add(-time.Hour)), CaptureAt: ptr(noon.Add(-time.Minute))}
	for _, trigger := range []models.Trigger{models.TriggerDelay, models.TriggerAt} {
		got := models.Plan(models.Policy{AutoCapture: true, CaptureTrigger: trigger, CaptureDelaySeconds: 60}, o, holds, models.OnAuthorization, noon)
		if len(got) != 1 || !got[0].DueAt.Equal(noon) {
			t.Errorf("%s: %+v, want one due now", trigger, got)
		}
	}
}

var byApproval = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}

func TestPlanOverSeveralHolds(t *testing.T) {
	hold := func(id string, amount int64, change ...func(*models.Hold)) models.Hold {
		h := models.Hold{Authorization: models.Authorization{ID: id, AmountCents: amount}}
		for _, c := range change {
			c(&h)
		}
		return h
	}
	closed := func(h *models.Hold) { h.ClosedAt = ptr(noon) }
	busy := func(h *models.Hold) { h.LiveOperationID = ptr("op") }
	ends := func(in time.Duration) func(*models.Hold) {
		return func(h *models.Hold) { h.CaptureBefore = ptr(noon.Add(in)) }
	}
	taken := func(cents int64) func(*models.Hold) { return func(h *models.Hold) { h.RequestedCents = cents } }
	caused := func(c models.Cause) func(*models.Hold) {
		return func(h *models.Hold) { h.Causes = append(h.Causes, c) }
	}
	for _, c := range []struct {
		name  string
		order models.Order
		holds []models.Hold
		want  string
	}{
		{"one hold covers it", models.Order{}, []models.Hold{hold("a", 3000)}, "a 1500"},
		{"the oldest first", models.Order{}, []models.Hold{hold("a", 1000), hold("b", 1000), hold("c", 1000)}, "a 1000, b 500"},
		{"holds short of the total", models.Order{}, []models.Hold{hold("a", 400), hold("b", 300)}, "a 400, b 300"},
		{"what is left of a hold", models.Order{}, []models.Hold{hold("a", 1000, taken(700)), hold("b", 5000)}, "a 300, b 1200"},
		{"a spent hold", models.Order{}, []models.Hold{hold("a", 1000, taken(1000)), hold("b", 5000)}, "b 1500"},
		{"a closed hold", models.Order{}, []models.Hold{hold("a", 1500, closed), hold("b", 1500)}, "b 1500"},
		{"a busy hold", models.Order{}, []models.Hold{hold("a", 1500, busy), hold("b", 1500)}, "b 1500"},
		{"a hold that ended", models.Order{}, []models.Hold{hold("a", 1500, ends(0)), hold("b", 1500, ends(time.Nanosecond))}, "b 1500"},
		{"a hold that was captured for this cause", models.Order{}, []models.Hold{hold("a", 3000, caused(models.CauseApproval)), hold("b", 1500)}, "b 1500"},
		{"a hold that was captured for another", models.Order{}, []models.Hold{hold("a", 3000, caused(models.CauseAuthorization), taken(100))}, "a 1500"},
		{"what another capture is about to cover", models.Order{LiveCents: 1100}, []models.Hold{hold("a", 1500)}, "a 400"},
		{"what was captured", models.Order{CapturedCents: 1500}, []models.Hold{hold("a", 1500)}, ""},
		{"what was captured and refunded", models.Order{CapturedCents: 1500, RefundedCents: 500}, []models.Hold{hold("a", 1500)}, "a 500"},
		{"more refunded than captured", models.Order{CapturedCents: 1500, RefundedCents: 1600}, []models.Hold{hold("a", 3000)}, "a 1500"},
		{"more captured than the total", models.Order{CapturedCents: 1600}, []models.Hold{hold("a", 3000)}, ""},
		{"no hold", models.Order{}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.order.Status, c.order.TotalAmountCents = models.OrderApproved, 1500
			var got []string
			for _, w := range models.Plan(byApproval, c.order, c.holds, models.OnApproval, noon) {
				got = append(got, fmt.Sprintf("%s %d", w.AuthorizationID, w.AmountCents))
			}
			if joined := strings.Join(got, ", "); joined != c.want {
				t.Errorf("captures %q, want %q", joined, c.want)
			}
		})
	}
}

// A hold of 3,000 on an order of 1,500 with the trigger authorization, then
// approved: 1,500 once.
func TestAuthorizationThenApprovalCapturesOnce(t *testing.T) {
	p := models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization}
	o := models.Order{Status: models.OrderPlaced, TotalAmountCents: 1500}
	h := models.Hold{Authorization: models.Authorization{ID: "hold", AmountCents: 3000, MultiCapture: true}}
	first := models.Plan(p, o, []models.Hold{h}, models.OnAuthorization, noon)
	if len(first) != 1 || first[0].AmountCents != 1500 {
		t.Fatalf("on authorization: %+v", first)
	}
	h.RequestedCents, h.Causes, h.LiveOperationID, o.LiveCents = 1500, []models.Cause{models.CauseAuthorization}, ptr("op"), 1500
	o.Status = models.OrderApproved
	if again := models.Plan(p, o, []models.Hold{h}, models.OnApproval, noon); len(again) != 0 {
		t.Errorf("on approval, while it is under way: %+v", again)
	}
	h.LiveOperationID, o.LiveCents, o.CapturedCents = nil, 0, 1500
	if again := models.Plan(p, o, []models.Hold{h}, models.OnApproval, noon); len(again) != 0 {
		t.Errorf("on approval, afterwards: %+v", again)
	}
}

// Whatever the holds are, a plan never exceeds hold or order, takes each hold
// once, and leaves an older hold only when nothing more is wanted of it.
func TestPlanKeepsTheCaps(t *testing.T) {
	cents := rapid.Int64Range(0, 5000)
	rapid.Check(t, func(t *rapid.T) {
		o := models.Order{
			Status: models.OrderApproved, TotalAmountCents: cents.Draw(t, "total"), LiveCents: cents.Draw(t, "live"),
			CapturedCents: cents.Draw(t, "captured"), RefundedCents: cents.Draw(t, "refunded"),
		}
		holds := make([]models.Hold, rapid.IntRange(0, 5).Draw(t, "holds"))
		for i := range holds {
			h := &holds[i]
			h.ID, h.AmountCents = fmt.Sprint(i), rapid.Int64Range(1, 5000).Draw(t, "hold")
			h.RequestedCents = rapid.Int64Range(0, h.AmountCents).Draw(t, "requested")
			if rapid.Bool().Draw(t, "closed") {
				h.ClosedAt = &noon
			}
			if rapid.Bool().Draw(t, "busy") {
				h.LiveOperationID = ptr("op")
			}
			if rapid.Bool().Draw(t, "caused") {
				h.Causes = []models.Cause{models.CauseApproval}
			}
		}
		left := o.Left()
		if left < 0 || left > o.TotalAmountCents {
			t.Fatalf("%d of %d left", left, o.TotalAmountCents)
		}
		plan := models.Plan(byApproval, o, holds, models.OnApproval, noon)
		for _, h := range holds {
			free := h.ClosedAt == nil && h.LiveOperationID == nil && len(h.Causes) == 0
			want := min(left, h.AmountCents-h.RequestedCents)
			if !free || want <= 0 {
				continue
			}
			if len(plan) == 0 || plan[0].AuthorizationID != h.ID || plan[0].AmountCents != want {
				t.Fatalf("hold %s: planned %+v, want %d of it", h.ID, plan, want)
			}
			plan, left = plan[1:], left-want
		}
		if len(plan) > 0 {
			t.Fatalf("planned beside the rules: %+v", plan)
		}
	})
}

func TestPolicyValidate(t *testing.T) {
	good := models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}
	const year = 366 * 24 * 3600
	for _, c := range []struct {
		name   string
		change func(*models.Policy)
		faults []string
	}{
		{"as it is", func(*models.Policy) {}, nil},
		{"no trigger", func(p *models.Policy) { p.CaptureTrigger = "" }, []string{"capture_trigger"}},
		{"an unknown trigger", func(p *models.Policy) { p.CaptureTrigger = "Approval" }, []string{"capture_trigger"}},
		{"a limit of nothing", func(p *models.Policy) { p.AutoCaptureMaxAmountCents = ptr(int64(0)) }, nil},
		{"the largest limit", func(p *models.Policy) { p.AutoCaptureMaxAmountCents = ptr(models.MaxCents) }, nil},
		{"a negative limit", func(p *models.Policy) { p.AutoCaptureMaxAmountCents = ptr(int64(-1)) }, []string{"auto_capture_max_amount_cents"}},
		{"too large a limit", func(p *models.Policy) { p.AutoCaptureMaxAmountCents = ptr(models.MaxCents + 1) }, []string{"auto_capture_max_amount_cents"}},
		{"a delay without its trigger", func(p *models.Policy) { p.CaptureDelaySeconds = 60 }, nil},
		{"a negative delay", func(p *models.Policy) { p.CaptureDelaySeconds = -1 }, []string{"capture_delay_seconds"}},
		{"a delay of years", func(p *models.Policy) { p.CaptureDelaySeconds = year + 1 }, []string{"capture_delay_seconds"}},
		{"the trigger delay without a delay", func(p *models.Policy) { p.CaptureTrigger = models.TriggerDelay }, []string{"capture_delay_seconds"}},
		{"the trigger delay", func(p *models.Policy) { p.CaptureTrigger, p.CaptureDelaySeconds = models.TriggerDelay, year }, nil},
		{"last chance off", func(p *models.Policy) { p.LastChanceSeconds = ptr(int64(0)) }, []string{"last_chance_seconds"}},
		{"last chance", func(p *models.Policy) { p.LastChanceSeconds = ptr(int64(year)) }, nil},
		{"last chance of years", func(p *models.Policy) { p.LastChanceSeconds = ptr(int64(year + 1)) }, []string{"last_chance_seconds"}},
		{"everything at once", func(p *models.Policy) {
			*p = models.Policy{CaptureTrigger: "x", AutoCaptureMaxAmountCents: ptr(int64(-1)), CaptureDelaySeconds: -1, LastChanceSeconds: ptr(int64(-1))}
		}, []string{"capture_trigger", "auto_capture_max_amount_cents", "capture_delay_seconds", "last_chance_seconds"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good
			c.change(&p)
			err := p.Validate()
			if (err == nil) != (len(c.faults) == 0) {
				t.Fatalf("error %v, want faults %v", err, c.faults)
			}
			for _, fault := range c.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("%v does not name %s", err, fault)
				}
			}
		})
	}
}
