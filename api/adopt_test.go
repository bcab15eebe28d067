package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// A refund from the gateway's dashboard is found by the gateway's own list, and
// recorded when a person applies the finding: no money moves by that.
func TestDashboardRefundIsAdopted(t *testing.T) {
	w := newWorld(t)
	p, id := w.captured(t, w.method(t, ""))
	body := fmt.Sprintf(`{"action":"refund","hold":%q,"amount":300}`, p.hold)
	res, err := http.Post(w.sandboxURL+"/_sandbox/dashboard", "application/json", strings.NewReader(body))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("refund in the dashboard: %v %v", res, err)
	}
	_ = res.Body.Close()

	adapter := stripe.New(stripe.Config{Account: "stripe", SecretKey: "sk_test_key", BaseURL: w.sandboxURL, Timeout: tempo.Budget()})
	t.Cleanup(adapter.Close)
	lister := worker.NewRunner(worker.RunnerConfig{
		Store: w.store, Accounts: gateway.Accounts{"stripe": adapter}, Name: "lister", Log: w.log,
		Listing: &store.ListingSpan{Overlap: time.Hour, Longest: 24 * time.Hour, First: time.Hour},
	})
	var found []string
	until(t, "the list to show the refund", func() bool {
		if _, err := lister.CompareListing(t.Context(), "stripe"); err != nil {
			t.Fatal(err)
		}
		found = w.verdictIDs(t, operator, "operation_id_eq="+id, "verdict_eq="+string(models.NeedsAttention), "status_eq=open")
		return len(found) > 0
	})
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{
		"data.attributes.needs_attention": models.FlagForeignRefund, "data.attributes.refund_balance_cents": 1500,
	})

	w.resolve(t, operator, found[0], "_apply", `{"reason":"a colleague did it"}`).want(t, http.StatusOK, map[string]any{"data.attributes.status": "applied"})
	w.get(t, "/api/captures/"+id).want(t, http.StatusOK, map[string]any{
		"data.attributes.needs_attention": nil, "data.attributes.refund_balance_cents": 1200,
	})
	w.get(t, "/api/orders/"+p.order).want(t, http.StatusOK, map[string]any{"data.attributes.payment_status": "partially_refunded"})
	w.resolve(t, operator, found[0], "_apply", `{"reason":"again"}`).want(t, http.StatusUnprocessableEntity, map[string]any{"errors.0.meta.rule": "already_resolved"})
	if book := w.sandbox.Book(); len(book.Refunds) != 1 || book.Refunds[0].Amount != 300 {
		t.Errorf("the gateway's book has %+v", book.Refunds)
	}
}
