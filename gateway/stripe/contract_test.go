package stripe_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-mock/embedded"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/gatewaytest/contract"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// expanded are the objects that this test wants judged where a member that is
// an id may hold them as a whole. Everything else may only be an id: Stripe's
// document leads from any object to a thousand others.
var expanded = []string{"charge", "refund", "payment_intent", "dispute", "balance_transaction"}

// withoutExpansions takes all others out of a part of the document.
func withoutExpansions(v any) any {
	switch in := v.(type) {
	case map[string]any:
		if alternatives, ok := in["anyOf"].([]any); ok && in["x-expansionResources"] != nil {
			delete(in, "x-expansionResources")
			in["anyOf"] = slices.DeleteFunc(alternatives, func(a any) bool {
				ref, _ := a.(map[string]any)["$ref"].(string)
				return ref != "" && !slices.Contains(expanded, strings.TrimPrefix(ref, "#/components/schemas/"))
			})
		}
		// What Stripe calls a deep object of a list is written expand[]=a&expand[]=b.
		if schema, ok := in["schema"].(map[string]any); ok && in["style"] == "deepObject" && schema["type"] == "array" {
			in["name"], in["style"] = fmt.Sprint(in["name"], "[]"), "form"
		}
		for name, value := range in {
			in[name] = withoutExpansions(value)
		}
	case []any:
		for i, value := range in {
			in[i] = withoutExpansions(value)
		}
	}
	return v
}

// TestContract drives every call that the adapter makes, well and badly, with
// the specification that Stripe publishes in between.
func TestContract(t *testing.T) {
	doc := contract.LoadCut(t, embedded.OpenAPISpec, withoutExpansions, "/v1/payment_intents", "/v1/payment_intents/{intent}",
		"/v1/payment_intents/{intent}/capture", "/v1/payment_intents/{intent}/cancel", "/v1/refunds",
		"/v1/disputes", "/v1/balance", "/v1/balance_transactions")
	judge := contract.New(t, doc, contract.Options{Skip: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/_sandbox/") }})
	w := newWorldBehind(t, sandbox.Config{}, judge.Before)
	ctx := t.Context()
	hold := w.hold(t, 1500, "EUR", "look_up.lookup_500")
	capture := request(models.Capture, hold, 1200)
	w.LookUp(ctx, capture) // 500
	if ev := w.LookUp(ctx, capture); ev.Outcome != models.OutcomeNone {
		t.Error(string(ev.JSON()))
	}
	if ev := w.Capture(ctx, capture); ev.Outcome != models.OutcomeConfirmed {
		t.Error(string(ev.JSON()))
	}
	w.LookUp(ctx, capture)
	another := capture
	another.Key = "another"
	w.Capture(ctx, another) // 400, captured before
	refund := request(models.Refund, hold, 300)
	if ev := w.Refund(ctx, refund); ev.Outcome != models.OutcomeConfirmed {
		t.Error(string(ev.JSON()))
	}
	w.LookUp(ctx, refund)
	refund.Key, refund.AmountCents = "more", 999999
	w.Refund(ctx, refund) // 400, more than there is
	w.dashboard(t, "dispute", hold, 0)
	w.LookUp(ctx, capture)
	for _, fault := range []string{"decline", "decline_hard", "expired", "409_in_progress", "429", "500_unbooked", "401", "wrong_amount", "partial", "lookup_404"} {
		r := request(models.Capture, w.hold(t, 1500, "USD", fault), 1500)
		r.CurrencyCode = "USD"
		w.Capture(ctx, r)
		w.LookUp(ctx, r)
		if _, err := w.Describe(ctx, r.Hold); err != nil && fault != "lookup_404" {
			t.Error(err)
		}
	}
	void := request(models.Void, w.hold(t, 700, "JPY", "cancel.409_in_progress"), 700)
	w.Void(ctx, void) // 409
	w.Void(ctx, void)
	void.Key = "again"
	w.Void(ctx, void) // 400
	w.LookUp(ctx, void)
	w.Capture(ctx, request(models.Capture, "pi_nosuchintent", 1500))
	if err := w.Probe(ctx); err != nil {
		t.Error(err)
	}
	if _, err := w.List(ctx, gateway.ListRequest{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}); err != nil {
		t.Error(err)
	}
	judge.Want(
		"PostPaymentIntents 200", "GetPaymentIntentsIntent 200", "GetPaymentIntentsIntent 404", "GetPaymentIntentsIntent 500",
		"PostPaymentIntentsIntentCapture 200", "PostPaymentIntentsIntentCapture 400", "PostPaymentIntentsIntentCapture 401", "PostPaymentIntentsIntentCapture 402",
		"PostPaymentIntentsIntentCapture 404", "PostPaymentIntentsIntentCapture 409", "PostPaymentIntentsIntentCapture 429", "PostPaymentIntentsIntentCapture 500",
		"PostPaymentIntentsIntentCancel 200", "PostPaymentIntentsIntentCancel 400", "PostPaymentIntentsIntentCancel 409",
		"PostRefunds 200", "PostRefunds 400", "GetRefunds 200", "GetDisputes 200", "GetBalance 200", "GetBalanceTransactions 200",
	)
}
