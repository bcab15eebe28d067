package elasticpath

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// op is an operation of 1,500 in a state, sent unless it is pending.
func op(kind models.Kind, state models.State, change func(*models.Operation)) models.Operation {
	one := int64(1)
	o := models.Operation{Kind: kind, State: state, AmountCents: 1500, CurrencyCode: "EUR", NotBefore: noon.Add(-time.Hour)}
	if state != models.Pending {
		o.SentVersion = &one
	}
	if change != nil {
		change(&o)
	}
	return o
}

// TestWords is every state of a transaction in Elastic Path's words.
func TestWords(t *testing.T) {
	c := &call{api: &API{now: func() time.Time { return noon }}}
	past, closed := noon.Add(-time.Minute), noon
	captured := func(state models.State, change func(*models.Operation)) history {
		return history{captures: []models.Operation{op(models.Capture, state, change)}}
	}
	refunded := func(state models.State, cents int64) history {
		h := captured(models.Succeeded, func(o *models.Operation) { o.RefundedCents = cents })
		h.refunds = []models.Operation{op(models.Refund, state, nil)}
		return h
	}
	type words struct {
		Type, Status, Detail string
		Next                 []string
		Amount, Refunded     int64
	}
	both := []string{"cancel", "capture"}
	for _, row := range []struct {
		name string
		ops  history
		hold func(*models.Authorization)
		want words
	}{
		{"a hold", history{}, nil, words{"authorize", "complete", "", both, 2000, 0}},
		{"its end has come", history{}, func(h *models.Authorization) { h.CaptureBefore = &past }, words{"authorize", "complete", "expired_uncaptured_charge", []string{"cancel"}, 2000, 0}},
		{"its end was only guessed", history{}, func(h *models.Authorization) { h.EstimatedBefore = &past }, words{"authorize", "complete", "", both, 2000, 0}},
		{"it expired", history{}, func(h *models.Authorization) { h.ClosedAt, h.ClosedReason = &closed, models.ClosedExpired }, words{"authorize", "complete", "expired_uncaptured_charge", []string{}, 2000, 0}},
		{"it is gone", captured(models.Failed, nil), func(h *models.Authorization) { h.ClosedAt, h.ClosedReason = &closed, models.ClosedGone }, words{"authorize", "complete", "expired_uncaptured_charge", []string{}, 2000, 0}},
		{"a void under way", history{voids: []models.Operation{op(models.Void, models.Unknown, nil)}}, nil, words{"authorize", "pending", "", []string{}, 2000, 0}},
		{"voided", history{voids: []models.Operation{op(models.Void, models.Succeeded, nil)}}, func(h *models.Authorization) { h.ClosedAt, h.ClosedReason = &closed, models.ClosedVoided }, words{"authorize", "failed", "canceled", []string{}, 2000, 0}},
		{"planned for later", captured(models.Pending, func(o *models.Operation) { o.NotBefore = noon.Add(time.Hour) }), nil, words{"authorize", "complete", "", both, 2000, 0}},
		{"pending", captured(models.Pending, nil), nil, words{"capture", "pending", "", nil, 1500, 0}},
		{"capturing", captured(models.Capturing, nil), nil, words{"capture", "pending", "", nil, 1500, 0}},
		{"submitted", captured(models.Submitted, nil), nil, words{"capture", "pending", "", nil, 1500, 0}},
		{"unknown", captured(models.Unknown, nil), nil, words{"capture", "pending", "", nil, 1500, 0}},
		{"flagged", captured(models.Succeeded, func(o *models.Operation) { o.NeedsAttention = models.FlagAmount }), nil, words{"capture", "pending", "", nil, 1500, 0}},
		{"succeeded", captured(models.Succeeded, nil), nil, words{"capture", "complete", "", nil, 1500, 0}},
		{"the gateway took less", captured(models.Succeeded, func(o *models.Operation) { cents := int64(1400); o.ConfirmedCents = &cents }), nil, words{"capture", "complete", "", nil, 1400, 0}},
		{"failed, and can be tried again", captured(models.Failed, nil), nil, words{"authorize", "complete", "", both, 2000, 0}},
		{"withdrawn", captured(models.Cancelled, nil), nil, words{"authorize", "complete", "", both, 2000, 0}},
		{"captured, and the rest released", history{captures: captured(models.Succeeded, nil).captures, voids: []models.Operation{op(models.Void, models.Succeeded, nil)}}, nil, words{"capture", "complete", "", nil, 1500, 0}},
		{"reversed", captured(models.Reversed, nil), nil, words{"capture", "failed", "", nil, 1500, 0}},
		{"given back by cancel", captured(models.Reset, func(o *models.Operation) { o.RefundedCents = 1500 }), nil, words{"refund", "complete", "", nil, 1500, 1500}},
		{"a refund under way", refunded(models.Capturing, 0), nil, words{"refund", "pending", "", nil, 1500, 0}},
		{"refunded in part", refunded(models.Succeeded, 400), nil, words{"refund", "complete", "", nil, 1500, 400}},
		{"a refund that failed", refunded(models.Failed, 0), nil, words{"capture", "complete", "", nil, 1500, 0}},
	} {
		hold := models.Authorization{AmountCents: 2000, CurrencyCode: "EUR"}
		if row.hold != nil {
			row.hold(&hold)
		}
		d := c.render("order", Account{Gateways: []string{"card"}}, hold, row.ops)
		got := words{Type: d.TransactionType, Status: d.Status, Amount: d.Amount, Refunded: d.RefundedAmount}
		if d.PaymentDetails != nil {
			got.Detail = d.PaymentDetails.DetailedStatus
		}
		if d.NextActions != nil {
			got.Next = *d.NextActions
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s:\n%s", row.name, diff)
		}
	}
}

// TestNames: what a client may have written into the metadata of a hold is shown
// only where it is one of the account's names.
func TestNames(t *testing.T) {
	c := &call{api: &API{now: func() time.Time { return noon }}}
	account := Account{Gateways: []string{"first", "second"}}
	for metadata, want := range map[string][]string{
		``: {"first", ""}, `{}`: {"first", ""}, `{"elastic_path":{"gateway":"second","name":"Card"}}`: {"second", "Card"},
		`{"elastic_path":{"gateway":"third"}}`: {"first", ""}, `{"elastic_path":"x"}`: {"first", ""}, `{"elastic_path":{"gateway":7}}`: {"first", ""},
	} {
		d := c.render("order", account, models.Authorization{CurrencyCode: "EUR", Labels: models.Labels{Metadata: []byte(metadata)}}, history{})
		if got := []string{d.Gateway, d.Name}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", metadata, got, want)
		}
	}
}

// TestRefundable picks the capture that an amount is given back of.
func TestRefundable(t *testing.T) {
	taken := func(cents, asked int64) models.Operation {
		return op(models.Capture, models.Succeeded, func(o *models.Operation) { o.ID, o.ConfirmedCents, o.RefundRequestedCents = "x", &cents, asked })
	}
	captures := []models.Operation{op(models.Capture, models.Failed, nil), taken(500, 500), taken(700, 300), taken(900, 0)}
	for amount, want := range map[int64]int64{100: 400, 400: 400, 401: 900, 900: 900, 901: 900} {
		if got := refundable(captures, amount).RefundBalance(); got != want {
			t.Errorf("%d is given back of a capture with %d left, want %d", amount, got, want)
		}
	}
	if got := refundable(captures[:1], 1); got.State != models.Failed {
		t.Errorf("got %+v", got)
	}
}
