package models_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func TestNextActions(t *testing.T) {
	sent := func(o *models.Operation) { o.SentVersion = ptr(int64(2)) }
	flagged := func(flag string) func(*models.Operation) {
		return func(o *models.Operation) { sent(o); o.NeedsAttention = flag }
	}
	for _, tt := range []struct {
		name   string
		kind   models.Kind
		state  models.State
		change func(*models.Operation)
		want   string
	}{
		{"a capture that waits", models.Capture, models.Pending, nil, "retry cancel"},
		{"one that is parked", models.Capture, models.Pending, flagged(models.FlagBadRequest), "forward retry cancel contact_gateway"},
		{"one under way", models.Capture, models.Capturing, sent, ""},
		{"one that nobody knows about", models.Capture, models.Unknown, flagged(models.FlagUnknown), "forward retry"},
		{"for thirty days", models.Capture, models.Unknown, flagged(models.FlagUnresolved), "forward retry contact_gateway"},
		{"one that succeeded", models.Capture, models.Succeeded, sent, "cancel refund"},
		{"of which a part was taken back", models.Capture, models.Succeeded, flagged(models.FlagPartlyReversed), "acknowledge contact_gateway"},
		{"and was given back", models.Capture, models.Succeeded, func(o *models.Operation) { o.RefundRequestedCents = 1500 }, ""},
		{"one that came late", models.Capture, models.Succeeded, flagged(models.FlagLateSuccess), "cancel refund acknowledge"},
		{"one that failed", models.Capture, models.Failed, sent, "forward retry new_authorization"},
		{"because its hold ended", models.Capture, models.Failed, func(o *models.Operation) { o.ErrorCode = models.ErrorHoldEnded }, "new_authorization"},
		{"one that was charged back", models.Capture, models.Reversed, flagged(models.FlagReversed), "acknowledge contact_gateway new_authorization"},
		{"one that was cancelled unsent", models.Capture, models.Cancelled, nil, ""},
		{"one that was reset", models.Capture, models.Reset, sent, ""},
		{"one that a person moves", models.Capture, models.Submitted, flagged(models.FlagWord), "assert"},
		{"a refund that a person moves", models.Refund, models.Submitted, flagged(models.FlagWord), "assert"},
		{"one whose gateway cannot be asked", models.Capture, models.Unknown, flagged(models.FlagNoLookUp), "forward assert retry contact_gateway"},
		{"one that a person made", models.Capture, models.Succeeded, func(o *models.Operation) { o.Mechanism = models.MechanismManual }, "refund_by_hand"},
		{"a refund that failed", models.Refund, models.Failed, sent, "forward retry"},
		{"a refund that waits", models.Refund, models.Pending, nil, "retry"},
	} {
		o := models.Operation{Kind: tt.kind, State: tt.state, AmountCents: 1500, ConfirmedCents: ptr(int64(1500))}
		if tt.change != nil {
			tt.change(&o)
		}
		if got := strings.Join(models.NextActions(o), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Whatever carries a flag offers something, and nothing that has no name.
func TestEveryFlagHasAWayOut(t *testing.T) {
	for _, kind := range models.Kinds {
		for _, state := range models.States {
			for _, flag := range append([]string{"any other"}, models.Flags...) {
				o := models.Operation{Kind: kind, State: state, NeedsAttention: flag}
				next := models.NextActions(o)
				if state != models.Capturing && len(next) == 0 {
					t.Errorf("a %s %s flagged %s has no way out", state, kind, flag)
				}
				for _, a := range next {
					if !slices.Contains(models.Actions, a) {
						t.Errorf("no such action: %s", a)
					}
				}
			}
		}
	}
}
