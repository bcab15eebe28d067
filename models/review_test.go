package models_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

const cancelAfter = 10 * time.Minute

// captureFor is a succeeded capture made when the order's total was total.
func captureFor(total int64, change ...func(*models.Operation)) models.Operation {
	c := models.Operation{
		Kind: models.Capture, ID: "capture", AuthorizationID: "hold", State: models.Succeeded, AmountCents: total, ConfirmedCents: &total, OrderTotalCents: total,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func refundOf(cents int64, rule string) []models.Need {
	return []models.Need{{Kind: models.Refund, Cause: models.CauseCancel, CaptureID: "capture", AuthorizationID: "hold", AmountCents: cents, Verdict: models.Cancel, Rule: rule}}
}

// unwarned leaves the warnings to TestReviewWarns.
func unwarned(r models.Review) models.Review {
	r.Warnings, r.Deadline = nil, nil
	return r
}

const (
	orderCancelled = "the order is cancelled and its payment was captured"
	totalDiffers   = "the open order's total differs from the total it was captured for"
	holdOpen       = "the order is cancelled and its hold is still open"
)

func TestReviewOfCaptures(t *testing.T) {
	changed := func(ago time.Duration) *time.Time { return ptr(noon.Add(-ago)) }
	for _, c := range []struct {
		name    string
		order   models.Order
		capture models.Operation
		want    models.Review
	}{
		{"a cancelled order gives its payment back", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500}, captureFor(1500),
			models.Review{Needs: refundOf(1500, orderCancelled)}},
		{"only what is left of it", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500},
			captureFor(1500, func(o *models.Operation) { o.RefundRequestedCents = 600 }), models.Review{Needs: refundOf(900, orderCancelled)}},
		{"nothing is left", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500},
			captureFor(1500, func(o *models.Operation) { o.RefundRequestedCents = 1500 }), models.Review{}},
		{"the gateway's figure is given back, not ours", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500},
			captureFor(1500, func(o *models.Operation) { o.ConfirmedCents = ptr(int64(1400)) }), models.Review{Needs: refundOf(1400, orderCancelled)}},
		{"a capture that did not succeed gives nothing back", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500},
			captureFor(1500, func(o *models.Operation) { o.State = models.Reversed }), models.Review{}},
		{"an edited open order, after the pause", models.Order{Status: models.OrderEditing, TotalAmountCents: 1600, TotalChangedAt: changed(cancelAfter)},
			captureFor(1500), models.Review{Needs: refundOf(1500, totalDiffers)}},
		{"an edited open order, before it", models.Order{Status: models.OrderPending, TotalAmountCents: 1400, TotalChangedAt: changed(time.Minute)},
			captureFor(1500), models.Review{Again: noon.Add(9 * time.Minute)}},
		{"an edited approved order shows the difference", models.Order{Status: models.OrderApproved, TotalAmountCents: 1400, TotalChangedAt: changed(time.Hour)},
			captureFor(1500), models.Review{}},
		{"an order edited back", models.Order{Status: models.OrderPlaced, TotalAmountCents: 1500, TotalChangedAt: changed(time.Hour)}, captureFor(1500), models.Review{}},
		{"a partial capture is no mismatch", models.Order{Status: models.OrderPlaced, TotalAmountCents: 1500},
			captureFor(500, func(o *models.Operation) { o.OrderTotalCents = 1500 }), models.Review{}},
		{"a void or a refund under way comes first", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500, LiveOperations: 1}, captureFor(1500),
			models.Review{Again: noon.Add(time.Minute)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := models.ReviewOrder(c.order, []models.Operation{c.capture}, nil, models.Policy{}, models.Tempo{}, noon, cancelAfter)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("review (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReviewOfHolds(t *testing.T) {
	ends := func(in time.Duration) *time.Time { return ptr(noon.Add(in)) }
	hour := models.Policy{LastChanceSeconds: ptr(int64(3600))}
	void := func(cents int64) []models.Need {
		return []models.Need{{Kind: models.Void, Cause: models.CauseCancel, AuthorizationID: "hold", AmountCents: cents, Verdict: models.Cancel, Rule: holdOpen}}
	}
	for _, c := range []struct {
		name   string
		status models.OrderStatus
		hold   models.Authorization
		policy models.Policy
		want   models.Review
	}{
		{"a spent hold without an end is left alone", models.OrderApproved, models.Authorization{}, hour, models.Review{}},
		{"a free hold of an approved order is planned again", models.OrderApproved, models.Authorization{AmountCents: 1}, hour, models.Review{Plan: true}},
		{"a closed hold too", models.OrderCancelled, models.Authorization{ClosedAt: &noon, CaptureBefore: ends(-time.Hour)}, hour, models.Review{}},
		{"a hold of a cancelled order is voided", models.OrderCancelled, models.Authorization{AmountCents: 1500}, models.Policy{}, models.Review{Needs: void(1500)}},
		{"what is left of it", models.OrderCancelled, models.Authorization{AmountCents: 1500, RequestedCents: 500}, models.Policy{}, models.Review{Needs: void(1000)}},
		{"a hold that ended is closed, not voided", models.OrderCancelled, models.Authorization{AmountCents: 1500, CaptureBefore: ends(0)}, models.Policy{},
			models.Review{Expired: []string{"hold"}}},
		{"a hold's last moment is looked at", models.OrderPending, models.Authorization{CaptureBefore: ends(time.Second)}, models.Policy{},
			models.Review{Again: noon.Add(time.Second)}},
		{"the last chance comes", models.OrderApproved, models.Authorization{AmountCents: 1, CaptureBefore: ends(2 * time.Hour)}, hour,
			models.Review{Plan: true, Again: noon.Add(time.Hour)}},
		{"the last chance is here", models.OrderApproved, models.Authorization{AmountCents: 1, CaptureBefore: ends(time.Hour)}, hour,
			models.Review{Plan: true, LastChance: true, Again: noon.Add(time.Hour)}},
		{"an order that may be approved by then is looked at then", models.OrderPlaced, models.Authorization{CaptureBefore: ends(2 * time.Hour)}, hour,
			models.Review{Again: noon.Add(time.Hour)}},
		{"an order that is not approved has no last chance", models.OrderPlaced, models.Authorization{CaptureBefore: ends(time.Minute)}, hour,
			models.Review{Again: noon.Add(time.Minute)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.hold.ID = "hold"
			got := unwarned(models.ReviewOrder(models.Order{Status: c.status, TotalAmountCents: 1500}, nil, []models.Authorization{c.hold}, c.policy, models.Tempo{}, noon, cancelAfter))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("review (-want +got):\n%s", diff)
			}
		})
	}
}

// An order that money was given back for is not captured again by itself, not
// even at the last chance.
func TestReviewCapturesNothingAfterARefund(t *testing.T) {
	o := models.Order{Status: models.OrderApproved, TotalAmountCents: 1500, CapturedCents: 1500, RefundedCents: 1500}
	spare := models.Authorization{ID: "spare", AmountCents: 1500, CaptureBefore: ptr(noon.Add(time.Minute))}
	got := models.ReviewOrder(o, nil, []models.Authorization{spare}, models.Policy{LastChanceSeconds: ptr(int64(3600))}, models.Tempo{}, noon, cancelAfter)
	if diff := cmp.Diff(models.Review{Again: noon.Add(time.Minute)}, got); diff != "" {
		t.Errorf("review (-want +got):\n%s", diff)
	}
}

// A capture whose own time comes after its hold's end is hastened at the last chance.
func TestReviewHastens(t *testing.T) {
	hour := models.Policy{LastChanceSeconds: ptr(int64(3600))}
	waits := models.Operation{Kind: models.Capture, ID: "capture", AuthorizationID: "hold", State: models.Pending, NotBefore: noon.Add(24 * time.Hour)}
	minute := models.Review{Again: noon.Add(time.Minute)}
	for _, c := range []struct {
		name    string
		status  models.OrderStatus
		policy  models.Policy
		ends    time.Duration
		change  func(*models.Operation)
		another int
		want    models.Review
	}{
		{name: "at the last chance", ends: time.Hour, policy: hour, want: models.Review{Hasten: []string{"capture"}, Again: noon.Add(time.Minute)}},
		{name: "and not before", ends: 3 * time.Hour, policy: hour, want: models.Review{Again: noon.Add(2 * time.Hour)}},
		{name: "beside other work it is looked at sooner", ends: 3 * time.Hour, policy: hour, another: 1, want: minute},
		{name: "not without the policy, and it is looked at when the hold ends", ends: time.Hour, want: models.Review{Again: noon.Add(time.Hour)}},
		{name: "nor before approval", ends: time.Hour, policy: hour, status: models.OrderPlaced, want: models.Review{Again: noon.Add(time.Hour)}},
		{name: "not what is due", ends: time.Hour, policy: hour, change: func(o *models.Operation) { o.NotBefore = noon }, want: minute},
		{name: "not what is under way", ends: time.Hour, policy: hour, change: func(o *models.Operation) { o.State = models.Unknown }, want: minute},
		{name: "not of another hold", ends: time.Hour, policy: hour, change: func(o *models.Operation) { o.AuthorizationID = "other" }, want: models.Review{Again: noon.Add(time.Hour)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := models.Order{Status: models.OrderApproved, TotalAmountCents: 1500, LiveOperations: 1 + c.another}
			if c.status != "" {
				o.Status = c.status
			}
			op := waits
			if c.change != nil {
				c.change(&op)
			}
			holds := []models.Authorization{{ID: "hold", AmountCents: 1500, CaptureBefore: ptr(noon.Add(c.ends))}}
			got := unwarned(models.ReviewOrder(o, []models.Operation{op}, holds, c.policy, models.Tempo{}, noon, cancelAfter))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("review (-want +got):\n%s", diff)
			}
		})
	}
}

// Several holds and captures are each judged for themselves; the nearest moment counts.
func TestReviewOfMany(t *testing.T) {
	holds := []models.Authorization{
		{ID: "late", AmountCents: 1, CaptureBefore: ptr(noon.Add(3 * time.Hour))},
		{ID: "over", AmountCents: 1, CaptureBefore: ptr(noon.Add(-time.Hour))},
		{ID: "soon", AmountCents: 1, CaptureBefore: ptr(noon.Add(time.Hour))},
	}
	got := models.ReviewOrder(models.Order{Status: models.OrderApproved}, nil, holds, models.Policy{}, models.Tempo{}, noon, cancelAfter)
	want := models.Review{Expired: []string{"over"}, Plan: true, Again: noon.Add(time.Hour)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("review (-want +got):\n%s", diff)
	}
	got = models.ReviewOrder(models.Order{LiveOperations: 1}, nil, nil, models.Policy{}, models.Tempo{Scale: 20}, noon, cancelAfter)
	if diff := cmp.Diff(models.Review{Again: noon.Add(3 * time.Second)}, got); diff != "" {
		t.Errorf("a scaled review (-want +got):\n%s", diff)
	}
	got = models.ReviewOrder(models.Order{Status: models.OrderCancelled}, []models.Operation{captureFor(1500), captureFor(700)}, holds, models.Policy{}, models.Tempo{}, noon, cancelAfter)
	if len(got.Needs) != 4 || len(got.Expired) != 1 {
		t.Errorf("a cancelled order with two captures and two open holds needs %+v", got)
	}
}
