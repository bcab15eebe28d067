package models_test

import (
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// TestPlansThatStop: a review asks the policy for nothing more where money came
// back, or a person has to say first what became of it.
func TestPlansThatStop(t *testing.T) {
	t.Parallel()
	now := time.Now()
	hour := int64(3600)
	ends := now.Add(time.Minute)
	for name, tt := range map[string]struct {
		refunded int64
		capture  models.Operation
		want     bool
	}{
		"nothing happened":                     {want: true},
		"a capture failed":                     {capture: models.Operation{Kind: models.Capture, State: models.Failed}, want: true},
		"a capture was withdrawn":              {capture: models.Operation{Kind: models.Capture, State: models.Cancelled}, want: true},
		"money was given back":                 {refunded: 1},
		"a capture was charged back":           {capture: models.Operation{Kind: models.Capture, State: models.Reversed, NeedsAttention: models.FlagReversed}},
		"a chargeback was acknowledged":        {capture: models.Operation{Kind: models.Capture, State: models.Reversed}},
		"the gateway listed what it denies":    {capture: models.Operation{Kind: models.Capture, State: models.Cancelled, NeedsAttention: models.FlagNotThere}},
		"somebody has dealt with what it said": {capture: models.Operation{Kind: models.Capture, State: models.Cancelled}, want: true},
	} {
		o := models.Order{Status: models.OrderApproved, TotalAmountCents: 1500, RefundedCents: tt.refunded}
		holds := []models.Authorization{{ID: "h", AmountCents: 1500, CaptureBefore: &ends}}
		r := models.ReviewOrder(o, []models.Operation{tt.capture}, holds, models.Policy{LastChanceSeconds: &hour}, models.Tempo{}, now, 0)
		if r.Plan != tt.want || r.LastChance != tt.want {
			t.Errorf("%s: plan %t, last chance %t, want %t", name, r.Plan, r.LastChance, tt.want)
		}
	}
}
