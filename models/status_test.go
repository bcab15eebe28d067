package models_test

import (
	"testing"

	"github.com/capstan-pay/capstan/models"
)

// The design's payment statuses, one line each: total, held, voided, captured,
// refunded, reset, order, status.
func TestPaymentStatus(t *testing.T) {
	for _, c := range []struct {
		name string
		sums models.Sums
		on   models.OrderStatus
		want models.PaymentStatus
	}{
		{"nothing happened", models.Sums{Total: 1500}, models.OrderPending, models.Unpaid},
		{"it costs nothing", models.Sums{}, models.OrderApproved, models.Free},
		{"it costs nothing and is cancelled", models.Sums{}, models.OrderCancelled, models.Free},
		{"held in full", models.Sums{Total: 1500, Held: 1500}, models.OrderPlaced, models.Authorized},
		{"held beyond the total", models.Sums{Total: 1500, Held: 3000}, models.OrderPlaced, models.Authorized},
		{"held in part", models.Sums{Total: 1500, Held: 1499}, models.OrderPlaced, models.PartiallyAuthorized},
		{"held in part, voided in part", models.Sums{Total: 1500, Held: 1, Voided: 1499}, models.OrderPlaced, models.PartiallyVoided},
		{"voided", models.Sums{Total: 1500, Voided: 1500}, models.OrderPlaced, models.Voided},
		{"cancelled and voided", models.Sums{Total: 1500, Voided: 1500}, models.OrderCancelled, models.Voided},
		{"held again after a void", models.Sums{Total: 1500, Held: 1500, Voided: 1500}, models.OrderPlaced, models.Authorized},
		{"captured in full", models.Sums{Total: 1500, Captured: 1500}, models.OrderApproved, models.Paid},
		{"captured beyond the total", models.Sums{Total: 1500, Captured: 1600}, models.OrderApproved, models.Paid},
		{"captured in part", models.Sums{Total: 1500, Captured: 1499, Held: 1}, models.OrderApproved, models.PartiallyPaid},
		{"captured for a total that became nothing", models.Sums{Captured: 1500}, models.OrderApproved, models.Paid},
		{"refunded in part", models.Sums{Total: 1500, Captured: 1500, Refunded: 1}, models.OrderApproved, models.PartiallyRefunded},
		{"refunded", models.Sums{Total: 1500, Captured: 1500, Refunded: 1500}, models.OrderApproved, models.Refunded},
		{"refunded beyond what was captured", models.Sums{Total: 1500, Captured: 1500, Refunded: 1600}, models.OrderApproved, models.Refunded},
		{"a part captured and refunded", models.Sums{Total: 1500, Captured: 500, Refunded: 500}, models.OrderApproved, models.Refunded},
		{"reset: unpaid again", models.Sums{Total: 1500, Reset: 1500}, models.OrderEditing, models.Unpaid},
		{"reset, with a hold left", models.Sums{Total: 1500, Reset: 1500, Held: 1500}, models.OrderEditing, models.Authorized},
		{"reset and cancelled: nobody pays it again", models.Sums{Total: 1500, Reset: 1500}, models.OrderCancelled, models.Refunded},
		{"reset and cancelled, its hold not yet voided", models.Sums{Total: 1500, Reset: 500, Held: 1000}, models.OrderCancelled, models.Refunded},
		{"one of two captures reset", models.Sums{Total: 1500, Reset: 500, Captured: 1000}, models.OrderPlaced, models.PartiallyPaid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.sums.PaymentStatus(c.on); got != c.want {
				t.Errorf("%+v on a %s order is %s, want %s", c.sums, c.on, got, c.want)
			}
		})
	}
}

// Whatever the sums are, there is a status, and its word is true.
func TestPaymentStatusIsTrue(t *testing.T) {
	steps := []int64{0, 1, 1499, 1500, 1501}
	for _, status := range statuses {
		for n := range 15625 {
			at := func(i int) int64 {
				for range i {
					n /= len(steps)
				}
				return steps[n%len(steps)]
			}
			s := models.Sums{Total: at(0), Held: at(1), Voided: at(2), Captured: at(3), Refunded: at(4), Reset: at(5)}
			var truth bool
			switch got := s.PaymentStatus(status); got {
			case models.Unpaid:
				truth = s.Total > 0 && s.Captured == 0 && s.Held == 0
			case models.Free:
				truth = s.Total == 0 && s.Captured == 0
			case models.Authorized:
				truth = s.Held >= s.Total && s.Captured == 0
			case models.PartiallyAuthorized, models.PartiallyVoided:
				truth = s.Held > 0 && s.Held < s.Total && s.Captured == 0 && (s.Voided > 0) == (got == models.PartiallyVoided)
			case models.Voided:
				truth = s.Voided > 0 && s.Held == 0 && s.Captured == 0
			case models.Paid:
				truth = s.Captured > 0 && s.Captured >= s.Total && s.Refunded == 0
			case models.PartiallyPaid:
				truth = s.Captured > 0 && s.Captured < s.Total && s.Refunded == 0
			case models.PartiallyRefunded:
				truth = s.Refunded > 0 && s.Refunded < s.Captured
			case models.Refunded:
				truth = s.Captured > 0 && s.Refunded >= s.Captured || status == models.OrderCancelled && s.Reset > 0 && s.Captured == 0
			}
			if !truth {
				t.Fatalf("%+v on a %s order is said to be %s", s, status, s.PaymentStatus(status))
			}
		}
	}
}

func TestOrderStatusOpen(t *testing.T) {
	open := map[models.OrderStatus]bool{models.OrderPending: true, models.OrderPlaced: true, models.OrderEditing: true}
	for _, s := range statuses {
		if s.Open() != open[s] {
			t.Errorf("%s open = %v", s, s.Open())
		}
	}
}
