package models_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// The zero value of an outcome proves nothing: a forgotten case costs a look-up.
func TestForgottenOutcomeIsLost(t *testing.T) {
	var o models.Outcome
	if o != models.OutcomeLost || o.String() != "lost" {
		t.Errorf("the zero outcome is %s", o)
	}
	words := map[string]bool{}
	for _, o := range models.Outcomes {
		text, err := o.MarshalText()
		if err != nil || words[string(text)] {
			t.Errorf("outcome %d is written %q, %v", o, text, err)
		}
		words[string(text)] = true
	}
	if len(words) != 9 || len(words) != len(models.Outcomes) {
		t.Errorf("%d outcomes", len(words))
	}
}

func TestEvidenceAsJSON(t *testing.T) {
	ev := models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeDeclined, AmountCents: 1500, CurrencyCode: "EUR", Message: "no \"funds\" \x00\xff",
		Status: 402, RetryAfter: time.Second,
	}
	var got map[string]any
	if err := json.Unmarshal(ev.JSON(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"source": "answer", "outcome": "declined", "amount_cents": 1500.0, "currency_code": "EUR", "message": "no \"funds\" \x00\ufffd",
		"status": 402.0, "retry_after": 1e9,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}

func TestVerdictsAreTheDesigns(t *testing.T) {
	want := lines(`in_sync republish forward retry fail cancel amount_conflict duplicate late_success expiring wait needs_attention`)[0]
	var got []string
	for _, v := range models.Verdicts {
		got = append(got, string(v))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

func TestWhatIsLeft(t *testing.T) {
	hold := models.Authorization{AmountCents: 1500, RequestedCents: 400}
	if got := hold.Left(); got != 1100 {
		t.Errorf("an open hold has %d left", got)
	}
	hold.ClosedAt = &noon
	if got := hold.Left(); got != 0 {
		t.Errorf("a closed hold has %d left", got)
	}
	o := models.Order{TotalAmountCents: 1500, HeldCents: 1, VoidedCents: 2, CapturedCents: 3, RefundedCents: 4, ResetCents: 5}
	if diff := cmp.Diff(models.Sums{Total: 1500, Held: 1, Voided: 2, Captured: 3, Refunded: 4, Reset: 5}, o.Sums()); diff != "" {
		t.Errorf("sums (-want +got):\n%s", diff)
	}
	for _, kind := range models.Kinds {
		for _, state := range models.States {
			op := models.Operation{Kind: kind, State: state, AmountCents: 1500, ConfirmedCents: ptr(int64(1400)), RefundRequestedCents: 1000}
			want := int64(0)
			if kind == models.Capture && state == models.Succeeded {
				want = 400
			}
			if got := op.RefundBalance(); got != want {
				t.Errorf("%s %s has %d to refund, want %d", state, kind, got, want)
			}
		}
	}
	over := models.Operation{Kind: models.Capture, State: models.Succeeded, ConfirmedCents: ptr(int64(1)), RefundRequestedCents: 2}
	if over.RefundBalance() != 0 || (models.Operation{Kind: models.Capture, State: models.Succeeded}).RefundBalance() != 0 {
		t.Error("a balance is never negative, and nothing without a figure")
	}
}
