package sandbox_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// TestSDKListsTheBalance: Stripe's own client reads what came and went, also
// after a restart of the sandbox.
func TestSDKListsTheBalance(t *testing.T) {
	dir := t.TempDir()
	b := newBox(t, sandbox.Config{Dir: dir})
	hold := b.hold(t)
	for _, body := range []string{
		`{"action":"capture","hold":"` + hold + `","amount":1000}`, `{"action":"refund","hold":"` + hold + `","amount":300}`,
		`{"action":"dispute","hold":"` + hold + `"}`, `{"action":"dispute_won","hold":"` + hold + `"}`,
	} {
		if a := b.admin(t, "POST", "/_sandbox/dashboard", body); a.status != 200 {
			t.Fatalf("%s: %+v", body, a)
		}
	}
	for body, status := range map[string]int{
		`{"action":"refund","hold":"` + hold + `","amount":701}`: 409, `{"action":"dispute_won","hold":"` + hold + `"}`: 409,
		`{"action":"steal","hold":"` + hold + `"}`: 409, `{"action":"refund","hold":"pi_none"}`: 404, `[`: 400,
		`{"action":"capture","hold":"` + hold + `","amount":501}`: 409,
	} {
		if a := b.admin(t, "POST", "/_sandbox/dashboard", body); a.status != status {
			t.Errorf("%s: %d %s, want %d", body, a.status, a.raw, status)
		}
	}
	first := listLines(t, b)
	want := []string{"adjustment dispute_reversal 700 dispute", "adjustment dispute -700 dispute", "refund refund -300 refund", "charge charge 1000 charge"}
	var got []string
	for _, l := range first {
		got = append(got, string(l.Type)+" "+string(l.ReportingCategory)+" "+num(l.Amount)+" "+string(l.Source.Type))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if pi := first[0].Source.Dispute.PaymentIntent; pi == nil || pi.ID != hold || first[3].Source.Charge.PaymentIntent.ID != hold {
		t.Errorf("the dispute is of %+v", pi)
	}
	snap := b.BookOf(hold)
	if len(snap.Captures) != 1 || len(snap.Refunds) != 1 || len(snap.Disputes) != 1 || len(snap.DisputesWon) != 1 || len(snap.Violations) != 0 || snap.Captures[0].Reference != "" {
		t.Errorf("the book: %+v", snap)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := listLines(t, newBox(t, sandbox.Config{Dir: dir}))
	for i := range first {
		if len(again) != len(first) || again[i].ID != first[i].ID {
			t.Fatalf("after a restart other lines are listed: %d of %d", len(again), len(first))
		}
	}
}

func listLines(t *testing.T, b *box) []*stripe.BalanceTransaction {
	t.Helper()
	p := &stripe.BalanceTransactionListParams{}
	p.AddExpand("data.source")
	p.Limit = stripe.Int64(2)
	var out []*stripe.BalanceTransaction
	for l, err := range newSDK(b, "sk_test_sdk", 0).V1BalanceTransactions.List(t.Context(), p).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func num(n int64) string { return strconv.FormatInt(n, 10) }
