package models_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// What an approved order's captures stand above its total is shown, and given
// back only if the policy says so: exactly that, once.
func TestReviewOfADifference(t *testing.T) {
	giveBack := models.Policy{RefundDifference: true}
	order := func(captured, refunded, total int64) models.Order {
		return models.Order{Status: models.OrderApproved, CapturedCents: captured, RefundedCents: refunded, TotalAmountCents: total, CurrencyCode: "EUR"}
	}
	flagged := func(flag string) func(*models.Operation) {
		return func(o *models.Operation) { o.NeedsAttention = flag }
	}
	returned := func(state models.State, cents, total int64) models.Operation {
		op := models.Operation{Kind: models.Refund, Cause: models.CauseDifference, State: state, AmountCents: 300, OrderTotalCents: total}
		if state == models.Succeeded {
			op.ConfirmedCents = &cents
		}
		return op
	}
	small := captureFor(1000, func(o *models.Operation) { o.ID = "small" })
	const above = "captured 1500 and refunded 0 for an approved order of 1200: 300 above its total"
	shown := func(id, rule string, cents int64, total string) models.Review {
		return models.Review{Difference: &models.Difference{CaptureID: id, Cents: cents, Total: total, Rule: rule}}
	}
	back := func(id string, cents int64, rule string) models.Review {
		return models.Review{Needs: []models.Need{{
			Kind: models.Refund, Cause: models.CauseDifference, CaptureID: id, AuthorizationID: "hold", AmountCents: cents, Verdict: models.Cancel, Rule: rule,
		}}}
	}
	for _, c := range []struct {
		name   string
		order  models.Order
		ops    []models.Operation
		policy models.Policy
		want   models.Review
	}{
		{"it is shown", order(1500, 0, 1200), []models.Operation{captureFor(1500)}, models.Policy{}, shown("capture", above, 300, "above the total of 1200 EUR")},
		{"or given back", order(1500, 0, 1200), []models.Operation{captureFor(1500)}, giveBack, back("capture", 300, above)},
		{"refunds by hand count", order(1500, 300, 1200), []models.Operation{captureFor(1500)}, giveBack, models.Review{}},
		{"and only the rest is given back", order(1500, 100, 1200), []models.Operation{captureFor(1500, func(o *models.Operation) { o.RefundRequestedCents = 100 })}, giveBack,
			back("capture", 200, "captured 1500 and refunded 100 for an approved order of 1200: 200 above its total")},
		{"of the newest capture that covers it", order(2500, 0, 2200), []models.Operation{captureFor(1500), small}, giveBack,
			back("small", 300, "captured 2500 and refunded 0 for an approved order of 2200: 300 above its total")},
		{"of an older one if only that covers it", order(2500, 0, 1200), []models.Operation{captureFor(1500), small}, giveBack,
			back("capture", 1300, "captured 2500 and refunded 0 for an approved order of 1200: 1300 above its total")},
		{"one after the other if none does", order(2500, 0, 500), []models.Operation{captureFor(1500), small}, giveBack,
			back("small", 1000, "captured 2500 and refunded 0 for an approved order of 500: 2000 above its total")},
		{"never again for the same total after it failed", order(1500, 0, 1200), []models.Operation{captureFor(1500), returned(models.Failed, 0, 1200)}, giveBack,
			shown("capture", above, 300, "above the total of 1200 EUR")},
		{"nor after it gave back less", order(1500, 200, 1200), []models.Operation{captureFor(1500), returned(models.Succeeded, 200, 1200)}, giveBack,
			shown("capture", "captured 1500 and refunded 200 for an approved order of 1200: 100 above its total", 100, "above the total of 1200 EUR")},
		{"nor after it was taken back", order(1500, 0, 1200), []models.Operation{captureFor(1500), returned(models.Reversed, 0, 1200)}, giveBack,
			shown("capture", above, 300, "above the total of 1200 EUR")},
		{"but for another total", order(1500, 0, 1200), []models.Operation{captureFor(1500), returned(models.Failed, 0, 1300)}, giveBack, back("capture", 300, above)},
		{"and after one that gave back all", order(1500, 0, 1200), []models.Operation{captureFor(1500), returned(models.Succeeded, 300, 1200)}, giveBack, back("capture", 300, above)},
		{"not while a person is to say what a capture is", order(2500, 0, 2200), []models.Operation{captureFor(1500, flagged(models.FlagLateSuccess)), small}, giveBack,
			shown("small", "captured 2500 and refunded 0 for an approved order of 2200: 300 above its total", 300, "above the total of 2200 EUR")},
		{"and a flag is not put over another", order(1500, 0, 1200), []models.Operation{captureFor(1500, flagged(models.FlagAmount))}, giveBack, models.Review{}},
		{"its own flag does not stand against it", order(1500, 0, 1200), []models.Operation{captureFor(1500, flagged(models.FlagAboveTotal))}, giveBack, back("capture", 300, above)},
		{"its flag ends with it", order(1500, 300, 1200), []models.Operation{captureFor(1500, flagged(models.FlagAboveTotal))}, giveBack, models.Review{Settled: []string{"capture"}}},
		{"another flag does not", order(1500, 300, 1200), []models.Operation{captureFor(1500, flagged(models.FlagLateSuccess))}, giveBack, models.Review{}},
		{"nothing happens before the change has stood", func() models.Order {
			o := order(1500, 0, 1200)
			o.TotalChangedAt = ptr(noon.Add(-time.Minute))
			return o
		}(), []models.Operation{captureFor(1500)}, giveBack, models.Review{Again: noon.Add(9 * time.Minute)}},
		{"nor while anything is under way", func() models.Order {
			o := order(1500, 0, 1200)
			o.LiveOperations = 1
			return o
		}(), []models.Operation{captureFor(1500)}, giveBack, models.Review{Again: noon.Add(time.Minute)}},
		{"an open order's is a cancel's business", func() models.Order {
			o := order(1500, 0, 1200)
			o.Status = models.OrderPlaced
			return o
		}(), []models.Operation{captureFor(1500, func(o *models.Operation) { o.OrderTotalCents = 1200 })}, giveBack, models.Review{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.ops { // as they would be of this order
				if c.ops[i].Kind == models.Capture && c.order.Status == models.OrderApproved {
					c.ops[i].AuthorizationID = "hold"
				}
			}
			got := models.ReviewOrder(c.order, c.ops, nil, c.policy, models.Tempo{}, noon, cancelAfter)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("review (-want +got):\n%s", diff)
			}
		})
	}
}

// A mismatched capture is given back beside another that is under way: only a
// refund or a void stands in the way.
func TestCancelBesideACapture(t *testing.T) {
	open := models.Operation{Kind: models.Capture, ID: "open", State: models.Unknown}
	o := models.Order{Status: models.OrderEditing, TotalAmountCents: 1600, LiveOperations: 1}
	got := models.ReviewOrder(o, []models.Operation{captureFor(1500), open}, nil, models.Policy{}, models.Tempo{}, noon, cancelAfter)
	want := models.Review{Needs: refundOf(1500, totalDiffers), Again: noon.Add(time.Minute)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("review (-want +got):\n%s", diff)
	}
	o.LiveOperations = 2
	got = models.ReviewOrder(o, []models.Operation{captureFor(1500), open}, nil, models.Policy{}, models.Tempo{}, noon, cancelAfter)
	if len(got.Needs) != 0 {
		t.Errorf("beside a refund under way: %+v", got.Needs)
	}
}

// By hand the same guards hold, and the one that failed is named.
func TestCancellable(t *testing.T) {
	edited := models.Order{Status: models.OrderPlaced, TotalAmountCents: 1600}
	for _, c := range []struct {
		name    string
		order   models.Order
		capture models.Operation
		guard   string
	}{
		{"an edited open order's", edited, captureFor(1500), ""},
		{"a cancelled order's", models.Order{Status: models.OrderCancelled, TotalAmountCents: 1500}, captureFor(1500), ""},
		{"not one that failed", edited, captureFor(1500, func(o *models.Operation) { o.State = models.Failed }), "not_succeeded"},
		{"not one that was reset", edited, captureFor(1500, func(o *models.Operation) { o.State = models.Reset }), "not_succeeded"},
		{"not one that was refunded", edited, captureFor(1500, func(o *models.Operation) { o.RefundRequestedCents = 1500 }), "nothing_left"},
		{"not one that was taken back in part", edited, captureFor(1500, func(o *models.Operation) { o.NeedsAttention = models.FlagPartlyReversed }), "taken_back"},
		{"nor one that may be", edited, captureFor(1500, func(o *models.Operation) { o.NeedsAttention = models.FlagReversed }), "taken_back"},
		{"not beside a refund", models.Order{Status: models.OrderPlaced, TotalAmountCents: 1600, LiveOperations: 1}, captureFor(1500), "operation_under_way"},
		{"not while the order closes", models.Order{Status: models.OrderApproved, TotalAmountCents: 1500, CancelRequestedAt: &noon}, captureFor(1500), "operation_under_way"},
		{"not an approved order's", models.Order{Status: models.OrderApproved, TotalAmountCents: 1600}, captureFor(1500), "order_approved"},
		{"not an open order's that fits", models.Order{Status: models.OrderPlaced, TotalAmountCents: 1500}, captureFor(1500), "no_mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rule, guard, why := models.Cancellable(c.order, c.capture, []models.Operation{c.capture})
			if guard != c.guard || (rule == "") != (c.guard != "") || (why == "") != (c.guard == "") {
				t.Errorf("rule %q, guard %q (%s), want the guard %q", rule, guard, why, c.guard)
			}
		})
	}
}
