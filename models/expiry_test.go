package models_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// A hold that ends soon is warned of at 48 and at 24 hours, each once, whatever is
// under way and whether or not the order is approved.
func TestReviewWarns(t *testing.T) {
	ends := func(in time.Duration) *time.Time { return ptr(noon.Add(in)) }
	held := func(in time.Duration, change ...func(*models.Authorization)) models.Authorization {
		h := models.Authorization{ID: "hold", AmountCents: 1500, CaptureBefore: ends(in)}
		for _, f := range change {
			f(&h)
		}
		return h
	}
	warned := func(hours int) func(*models.Authorization) {
		return func(h *models.Authorization) { h.WarnedHours = &hours }
	}
	estimated := func(h *models.Authorization) { h.EstimatedBefore, h.CaptureBefore = h.CaptureBefore, nil }
	for _, c := range []struct {
		name     string
		order    models.Order
		ops      []models.Operation
		hold     models.Authorization
		hours    int // 0 is none
		cents    int64
		atRisk   bool
		again    time.Duration
		approved bool
	}{
		{name: "not yet", hold: held(50 * time.Hour), again: 2 * time.Hour},
		{name: "at 48 hours", hold: held(48 * time.Hour), hours: 48, cents: 1500, atRisk: true, again: 24 * time.Hour},
		{name: "once", hold: held(47*time.Hour, warned(48)), atRisk: true, again: 23 * time.Hour},
		{name: "at 24 hours", hold: held(24*time.Hour, warned(48)), hours: 24, cents: 1500, atRisk: true, again: 24 * time.Hour},
		{name: "once, too", hold: held(23*time.Hour, warned(24)), atRisk: true, again: 23 * time.Hour},
		{name: "only the nearer, for a hold that comes late", hold: held(2 * time.Hour), hours: 24, cents: 1500, atRisk: true, again: 2 * time.Hour},
		{name: "for what is estimated", hold: held(47*time.Hour, estimated), hours: 48, cents: 1500, atRisk: true, again: 23 * time.Hour},
		{name: "not after an estimate that passed", hold: held(-time.Hour, estimated)},
		{name: "for an order that is not approved", order: models.Order{Status: models.OrderPending}, hold: held(time.Hour), hours: 24, cents: 1500, atRisk: true, again: time.Hour},
		{name: "while it is captured", order: models.Order{LiveOperations: 1}, ops: []models.Operation{{Kind: models.Capture, ID: "open", State: models.Unknown}},
			hold: held(time.Hour, func(h *models.Authorization) { h.RequestedCents, h.LiveOperationID = 1500, ptr("open") }), hours: 24, cents: 1500, atRisk: true, again: time.Minute},
		{name: "not while it is voided", order: models.Order{LiveOperations: 1}, hold: held(time.Hour, func(h *models.Authorization) { h.LiveOperationID = ptr("void") }), again: time.Minute},
		{name: "not for a cancelled order", order: models.Order{Status: models.OrderCancelled}, hold: held(time.Hour)},
		{name: "not for one that will be", order: models.Order{CancelRequestedAt: &noon, LiveOperations: 1}, hold: held(time.Hour), again: time.Minute},
		{name: "not for a closed hold", hold: held(time.Hour, func(h *models.Authorization) { h.ClosedAt = &noon })},
		{name: "not for one that was taken", hold: held(time.Hour, func(h *models.Authorization) { h.ConfirmedCents = 1500 }), again: time.Hour},
		{name: "for what is left of it", hold: held(time.Hour, func(h *models.Authorization) { h.ConfirmedCents, h.RequestedCents = 1000, 1000 }), hours: 24, cents: 500, atRisk: true, again: time.Hour},
		{name: "for no more than the order has to pay", order: models.Order{CapturedCents: 1200}, hold: held(time.Hour), hours: 24, cents: 300, atRisk: true, again: time.Hour},
		{name: "not for a spare hold", order: models.Order{CapturedCents: 1500}, hold: held(time.Hour), again: time.Hour},
		{name: "not after a refund", order: models.Order{CapturedCents: 1500, RefundedCents: 1500}, hold: held(time.Hour), again: time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.order
			o.TotalAmountCents = 1500
			if o.Status == "" {
				o.Status = models.OrderApproved
			}
			got := models.ReviewOrder(o, c.ops, []models.Authorization{c.hold}, models.Policy{}, models.Tempo{}, noon, cancelAfter)
			var want []models.Warning
			if c.hours > 0 {
				want = []models.Warning{{AuthorizationID: "hold", Hours: c.hours, Cents: c.cents, Deadline: *c.hold.Deadline()}}
			}
			for i := range got.Warnings {
				if got.Warnings[i].Rule == "" {
					t.Error("the warning gives no reason")
				}
				got.Warnings[i].Rule = ""
			}
			if diff := cmp.Diff(want, got.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if (got.Deadline != nil) != c.atRisk {
				t.Errorf("the nearest end at risk is %v", got.Deadline)
			}
			again := time.Time{}
			if c.again > 0 {
				again = noon.Add(c.again)
			}
			if !got.Again.Equal(again) {
				t.Errorf("looked at again at %s, want %s", got.Again, again)
			}
		})
	}
}

// What is estimated starts the last chance, and ends nothing.
func TestAnEstimateEndsNothing(t *testing.T) {
	hour := models.Policy{LastChanceSeconds: ptr(int64(3600))}
	o := models.Order{Status: models.OrderApproved, TotalAmountCents: 1500}
	for _, in := range []time.Duration{time.Hour, -24 * time.Hour} {
		h := models.Authorization{ID: "hold", AmountCents: 1500, EstimatedBefore: ptr(noon.Add(in))}
		got := models.ReviewOrder(o, nil, []models.Authorization{h}, hour, models.Tempo{}, noon, cancelAfter)
		if !got.LastChance || len(got.Expired) != 0 || h.Ended(noon) {
			t.Errorf("with an estimate of %s from now: %+v", in, got)
		}
	}
}

func TestHoldActions(t *testing.T) {
	for _, c := range []struct {
		name string
		hold models.Authorization
		want []string
	}{
		{"an ordinary one", models.Authorization{AmountCents: 1}, []string{}},
		{"one that ends soon", models.Authorization{AmountCents: 1, WarnedHours: ptr(48)}, []string{"capture", "reauthorize", "void"}},
		{"one under way", models.Authorization{AmountCents: 1, WarnedHours: ptr(48), LiveOperationID: ptr("x")}, []string{}},
		{"one that ended", models.Authorization{AmountCents: 1, CaptureBefore: &noon}, []string{"new_authorization"}},
		{"one that expired", models.Authorization{ClosedAt: &noon, ClosedReason: models.ClosedExpired}, []string{"new_authorization"}},
		{"one that is gone", models.Authorization{ClosedAt: &noon, ClosedReason: models.ClosedGone}, []string{"new_authorization"}},
		{"one that was taken", models.Authorization{ClosedAt: &noon, ClosedReason: models.ClosedCaptured, WarnedHours: ptr(24)}, []string{}},
		{"one that was voided", models.Authorization{ClosedAt: &noon, ClosedReason: models.ClosedVoided}, []string{}},
	} {
		if diff := cmp.Diff(c.want, models.HoldActions(c.hold, noon, true)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if other := models.HoldActions(c.hold, noon, false); slices.Contains(other, models.ActReauthorize) || len(c.want) < 3 && len(other) != len(c.want) {
			t.Errorf("%s, where the gateway renews nothing: %q", c.name, other)
		}
	}
}

// A renewal's name is its hold's and its number's, whatever id the hold has now.
func TestRenewalReference(t *testing.T) {
	first := models.Authorization{GatewayTransactionID: "A"}
	again := models.Authorization{GatewayTransactionID: "B", FirstTransactionID: "A"}
	if models.RenewalReference("paypal", first) != models.RenewalReference("paypal", again) {
		t.Error("the name changes with the hold's id")
	}
	again.Renewals = 1
	if models.RenewalReference("paypal", first) == models.RenewalReference("paypal", again) {
		t.Error("the second renewal has the name of the first")
	}
}
