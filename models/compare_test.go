package models_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

var listed = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func listedHold() *models.Authorization {
	return &models.Authorization{
		ID: "hold", GatewayTransactionID: "pi_1", AmountCents: 1500, CurrencyCode: "EUR", CaptureSequence: 1, RefundSequence: 1, VoidSequence: 1,
	}
}

// listedOperation is an operation of the hold in a state, 1500 EUR, recorded
// when the gateway listed it.
func listedOperation(kind models.Kind, state models.State) models.Operation {
	o := models.Operation{
		Kind: kind, ID: string(kind), State: state, Sequence: 1, AmountCents: 1500, CurrencyCode: "EUR",
		GatewayReference: models.GatewayReference("stripe", "pi_1", kind, 1),
	}
	if !state.Live() {
		at := listed.Add(time.Second)
		o.FinishedAt = &at
	}
	if state == models.Succeeded || state == models.Reset || state == models.Reversed {
		cents := int64(1500)
		o.ConfirmedCents, o.GatewayTransactionID = &cents, map[models.Kind]string{models.Capture: "pi_1", models.Refund: "re_1", models.Void: "pi_1"}[kind]
	}
	return o
}

func listedLine(kind models.MovementKind) models.Movement {
	return models.Movement{ID: "txn_1", Kind: kind, Hold: "pi_1", TransactionID: "pi_1", AmountCents: 1500, CurrencyCode: "EUR", At: listed}
}

// brief is a comparison as the tables write it.
func brief(c models.Comparison) string {
	s := fmt.Sprintf("%s %s %s", c.Verdict, c.Name, c.Action)
	if c.Flag != "" {
		s += " " + c.Flag
	}
	if c.Sequence > 0 {
		s += fmt.Sprintf(" #%d", c.Sequence)
	}
	return s
}

// TestCompareStates says for every kind of line and every state of the
// operation that it is about what follows, with the same and another amount.
func TestCompareStates(t *testing.T) {
	const (
		look, wait, agrees, gaveUp = "forward open_here look", "wait claim_under_way nothing", "in_sync agrees nothing", "late_success given_up_here look"
		taken, under               = "needs_attention taken_back look", "needs_attention taken_back nothing"
		other, open                = "amount_conflict other_amount look", "amount_conflict open_here_other_amount look"
	)
	for _, tt := range []struct {
		line models.MovementKind
		kind models.Kind
		want [9]string // in the order of models.States
		with [9]string // another amount, where that differs
	}{
		{
			models.MovedCaptured, models.Capture, [9]string{look, wait, look, look, agrees, gaveUp, gaveUp, agrees, agrees},
			[9]string{0: open, 2: open, 3: open, 4: other, 7: other, 8: "amount_conflict other_amount flag amount_conflict"},
		},
		{
			models.MovedRefunded, models.Refund, [9]string{look, wait, look, look, agrees, gaveUp, gaveUp, 8: agrees},
			[9]string{0: open, 2: open, 3: open, 4: other, 8: "amount_conflict other_amount flag amount_conflict"},
		},
		{models.MovedTakenBack, models.Capture, [9]string{
			taken, under, taken, taken, "needs_attention taken_back observe", taken, taken, "needs_attention taken_back observe", agrees,
		}, [9]string{}},
		{models.MovedReinstated, models.Capture, [9]string{
			"late_success reinstated look", "needs_attention reinstated nothing", "late_success reinstated look", "late_success reinstated look", agrees,
			"late_success reinstated look", "late_success reinstated look", agrees, "late_success reinstated observe",
		}, [9]string{}},
		{models.MovedFailed, models.Refund, [9]string{
			"needs_attention refund_lost look", "needs_attention refund_lost nothing", "needs_attention refund_lost look", "needs_attention refund_lost look",
			"needs_attention refund_lost observe", agrees, agrees, 8: agrees,
		}, [9]string{}},
		{models.MovedVoided, models.Capture, [9]string{
			"fail hold_ended_there look", wait, "fail hold_ended_there look", "fail hold_ended_there look", "expiring hold_ended_there nothing",
			"expiring hold_ended_there nothing", "expiring hold_ended_there nothing", "expiring hold_ended_there nothing", "expiring hold_ended_there nothing",
		}, [9]string{}},
		{models.MovedVoided, models.Void, [9]string{
			look, wait, look, look, "expiring hold_ended_there nothing", "expiring hold_ended_there nothing", "expiring hold_ended_there nothing", 8: "expiring hold_ended_there nothing",
		}, [9]string{}},
	} {
		for i, state := range models.States {
			if state == models.Reset && tt.kind != models.Capture {
				continue
			}
			o, line := listedOperation(tt.kind, state), listedLine(tt.line)
			if tt.kind == models.Refund {
				line.TransactionID, line.Reference = "re_1", o.GatewayReference
			}
			name := fmt.Sprintf("%s on a %s %s", tt.line, state, tt.kind)
			if got := brief(models.Compare("stripe", line, listedHold(), []models.Operation{o})); got != tt.want[i] {
				t.Errorf("%s: %s, want %s", name, got, tt.want[i])
			}
			line.AmountCents = 1400
			want := tt.with[i]
			if want == "" {
				want = tt.want[i]
			}
			if got := brief(models.Compare("stripe", line, listedHold(), []models.Operation{o})); got != want {
				t.Errorf("%s, another amount: %s, want %s", name, got, want)
			}
		}
	}
}

func TestCompareWithoutARow(t *testing.T) {
	own := func(kind models.Kind, n int) string { return models.GatewayReference("stripe", "pi_1", kind, n) }
	capture, failed := listedOperation(models.Capture, models.Succeeded), listedOperation(models.Capture, models.Failed)
	second := capture
	second.Sequence, second.ID, second.GatewayReference = 2, "second", own(models.Capture, 2)
	for _, tt := range []struct {
		name      string
		kind      models.MovementKind
		reference string
		at        time.Duration
		noHold    bool
		ops       []models.Operation
		want      string
	}{
		{"a hold we never had", models.MovedCaptured, "", 0, true, nil, "needs_attention unknown_hold nothing"},
		{"the end of a hold we never had", models.MovedVoided, "", 0, true, nil, "in_sync unknown_hold_ended nothing"},
		{"no capture, no name", models.MovedCaptured, "", 0, false, nil, "needs_attention capture_without_row adopt"},
		{"our next name", models.MovedCaptured, own(models.Capture, 2), 0, false, nil, "forward own_capture_without_row adopt #2"},
		{"our next name but one", models.MovedCaptured, own(models.Capture, 3), 0, false, []models.Operation{failed}, "forward own_capture_without_row adopt #3"},
		{"a name used up", models.MovedCaptured, own(models.Capture, 1), 0, false, nil, "needs_attention foreign_capture nothing"},
		{"a name too far ahead", models.MovedCaptured, own(models.Capture, 99), 0, false, nil, "needs_attention foreign_capture nothing"},
		{"a name of another account", models.MovedCaptured, models.GatewayReference("other", "pi_1", models.Capture, 2), 0, false, nil, "needs_attention foreign_capture nothing"},
		{"a foreign name beside ours", models.MovedCaptured, "theirs", 0, false, []models.Operation{capture}, "duplicate foreign_capture flag foreign_operation"},
		{"no name, one of two took effect", models.MovedCaptured, "", 0, false, []models.Operation{failed, second}, "in_sync agrees nothing"},
		{"long after it was recorded", models.MovedCaptured, "", 2 * time.Hour, false, []models.Operation{capture}, "duplicate booked_again look"},
		{"a refund in the dashboard", models.MovedRefunded, "", 0, false, []models.Operation{capture}, "needs_attention foreign_refund flag foreign_refund"},
		{"a refund of a capture that is open", models.MovedRefunded, "", 0, false, []models.Operation{listedOperation(models.Capture, models.Unknown)}, "needs_attention foreign_refund look"},
		{"a refund of a capture being made", models.MovedRefunded, "", 0, false, []models.Operation{listedOperation(models.Capture, models.Capturing)}, "needs_attention foreign_refund nothing"},
		{"a refund without a capture", models.MovedRefunded, "", 0, false, nil, "needs_attention foreign_refund nothing"},
		{"our refund, forgotten", models.MovedRefunded, own(models.Refund, 2), 0, false, []models.Operation{capture}, "forward own_refund_without_row adopt #2"},
		{"our refund, its capture forgotten too", models.MovedRefunded, own(models.Refund, 2), 0, false, nil, "needs_attention foreign_refund nothing"},
		{"a dispute without a capture", models.MovedTakenBack, "", 0, false, nil, "needs_attention taken_back nothing"},
		{"a refund of somebody's that came back", models.MovedFailed, "", 0, false, []models.Operation{capture}, "needs_attention refund_lost nothing"},
		{"nobody knows what", "moved", "", 0, false, nil, "needs_attention unknown_line nothing"},
	} {
		line := listedLine(tt.kind)
		line.Reference, line.At = tt.reference, line.At.Add(tt.at)
		if tt.kind == models.MovedRefunded || tt.kind == models.MovedFailed {
			line.TransactionID = "re_9"
		}
		hold := listedHold()
		if tt.noHold {
			hold = nil
		}
		if got := brief(models.Compare("stripe", line, hold, tt.ops)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestCompareNeverHurts tries every combination for what must hold in all.
func TestCompareNeverHurts(t *testing.T) {
	actions := []models.CompareAction{models.CompareNothing, models.CompareLook, models.CompareObserve, models.CompareAdopt, models.CompareFlag}
	kinds := []models.MovementKind{
		models.MovedCaptured, models.MovedRefunded, models.MovedVoided, models.MovedTakenBack, models.MovedReinstated, models.MovedFailed, "",
	}
	var sets [][]models.Operation
	sets = append(sets, nil)
	for _, a := range models.States {
		capture := listedOperation(models.Capture, a)
		sets = append(sets, []models.Operation{capture})
		for _, b := range models.States {
			if b != models.Reset {
				sets = append(sets, []models.Operation{capture, listedOperation(models.Refund, b)}, []models.Operation{capture, listedOperation(models.Void, b)})
			}
			second := listedOperation(models.Capture, b)
			second.Sequence, second.ID, second.GatewayReference = 2, "second", models.GatewayReference("stripe", "pi_1", models.Capture, 2)
			sets = append(sets, []models.Operation{capture, second})
		}
	}
	references := []string{"", "theirs"}
	for _, kind := range []models.Kind{models.Capture, models.Refund} {
		for n := 1; n <= 3; n++ {
			references = append(references, models.GatewayReference("stripe", "pi_1", kind, n))
		}
	}
	tried := 0
	for _, kind := range kinds {
		for _, reference := range references {
			for _, cents := range []int64{0, 1400, 1500} {
				for _, currency := range []string{"EUR", "USD"} {
					for _, ops := range sets {
						line := listedLine(kind)
						line.Reference, line.AmountCents, line.CurrencyCode = reference, cents, currency
						c := models.Compare("stripe", line, listedHold(), ops)
						tried++
						live := c.Operation != nil && c.Operation.State.Live()
						switch {
						case !slices.Contains(actions, c.Action), !slices.Contains(models.Verdicts, c.Verdict), c.Name == "", c.Rule == "":
							t.Fatalf("%+v on %+v: not decided: %+v", line, ops, c)
						case c.Operation != nil && c.Operation.State == models.Capturing && c.Action != models.CompareNothing:
							t.Fatalf("%+v on %+v breaks a claim's fence: %+v", line, ops, c)
						case live && (c.Action == models.CompareObserve || c.Action == models.CompareFlag):
							t.Fatalf("%+v on %+v believes a line about open work: %+v", line, ops, c)
						case (c.Action == models.CompareFlag) != (c.Flag != ""), c.Action == models.CompareFlag && c.Operation == nil:
							t.Fatalf("%+v on %+v: a flag without a reason or a row: %+v", line, ops, c)
						case c.Action == models.CompareAdopt && (c.Operation != nil || c.Kind == models.Refund && (c.Sequence == 0 || c.Capture == nil)):
							t.Fatalf("%+v on %+v adopts what has a row: %+v", line, ops, c)
						case c.Verdict == models.InSync && c.Action != models.CompareNothing:
							t.Fatalf("%+v on %+v acts on what agrees: %+v", line, ops, c)
						case c.Action == models.CompareLook && c.Operation.State == models.Reversed:
							t.Fatalf("%+v on %+v looks up what was taken back, and would believe that it stands: %+v", line, ops, c)
						case currency == "USD" && kind == models.MovedCaptured && c.Verdict == models.InSync:
							t.Fatalf("%+v on %+v: another currency agrees: %+v", line, ops, c)
						}
					}
				}
			}
		}
	}
	if tried < 50_000 {
		t.Errorf("only %d combinations were tried", tried)
	}
}

func TestCompareAgain(t *testing.T) {
	capture := listedOperation(models.Capture, models.Succeeded)
	c := models.Again(models.Compare("stripe", listedLine(models.MovedCaptured), listedHold(), []models.Operation{capture}))
	if got := brief(c); got != "duplicate second_line look duplicate" {
		t.Errorf("a second line: %s", got)
	}
	failed := models.Compare("stripe", listedLine(models.MovedCaptured), listedHold(), []models.Operation{listedOperation(models.Capture, models.Failed)})
	if d := cmp.Diff(failed, models.Again(failed)); d != "" {
		t.Errorf("a line that does not agree is changed:\n%s", d)
	}
}

// TestCompareWhatAPersonMade: a refund that a person made in the gateway's
// dashboard, and said so here, is no foreign one; two of one amount are told apart
// by nobody.
func TestCompareWhatAPersonMade(t *testing.T) {
	capture, refund := listedOperation(models.Capture, models.Succeeded), listedOperation(models.Refund, models.Succeeded)
	refund.Mechanism, refund.GatewayTransactionID = models.MechanismManual, ""
	line := listedLine(models.MovedRefunded)
	line.TransactionID = "re_9"
	const agrees, foreign = "in_sync agrees nothing", "needs_attention foreign_refund flag foreign_refund"
	other, named := line, line
	other.AmountCents, named.Reference = 700, "ref_of_another_system"
	for _, tt := range []struct {
		name string
		line models.Movement
		ops  []models.Operation
		want string
	}{
		{"the one that was said", line, []models.Operation{capture, refund}, agrees},
		{"another amount", other, []models.Operation{capture, refund}, foreign},
		{"under another name", named, []models.Operation{capture, refund}, foreign},
		{"one of two", line, []models.Operation{capture, refund, refund}, foreign},
		{"one that a gateway made", line, []models.Operation{capture, listedOperation(models.Refund, models.Succeeded)}, foreign},
	} {
		if got := brief(models.Compare("stripe", tt.line, listedHold(), tt.ops)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
