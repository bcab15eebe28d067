package sandbox_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-go/v85"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// newSDK is Stripe's own client, pointed at the sandbox.
func newSDK(b *box, key string, retries int64) *stripe.Client {
	return stripe.NewClient(key, stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(b.url), HTTPClient: &http.Client{Timeout: 10 * time.Second}, MaxNetworkRetries: &retries,
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull}, EnableTelemetry: stripe.Bool(false),
	})))
}

func holdParams(amount int64, metadata map[string]string) *stripe.PaymentIntentCreateParams {
	return &stripe.PaymentIntentCreateParams{
		Amount: &amount, Currency: stripe.String("eur"), CaptureMethod: stripe.String("manual"), Confirm: stripe.Bool(true),
		PaymentMethod: stripe.String("pm_card_visa"), Description: stripe.String("order 1"),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{
			Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never"),
		},
		Params: stripe.Params{Metadata: metadata},
	}
}

func TestSDKLifeOfAPayment(t *testing.T) {
	b := newBox(t, sandbox.Config{Dir: t.TempDir()})
	sdk, ctx := newSDK(b, "sk_test_sdk", 0), t.Context()

	create := holdParams(2000, map[string]string{"order": "A1"})
	create.AddExpand("latest_charge")
	pi, err := sdk.V1PaymentIntents.Create(ctx, create)
	if err != nil {
		t.Fatal(err)
	}
	if pi.Status != stripe.PaymentIntentStatusRequiresCapture || pi.AmountCapturable != 2000 || pi.Metadata["order"] != "A1" || pi.Livemode || pi.LastResponse.RequestID == "" {
		t.Fatalf("hold: %+v", pi)
	}
	ends := time.Unix(pi.LatestCharge.PaymentMethodDetails.Card.CaptureBefore, 0)
	if left := time.Until(ends); left < 6*24*time.Hour || left > 7*24*time.Hour+time.Minute || pi.LatestCharge.Captured {
		t.Errorf("charge: captured %t, ends in %s", pi.LatestCharge.Captured, left)
	}

	part := &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(1500), Metadata: map[string]string{"capstan_reference": "cap_1"}}
	part.SetIdempotencyKey("cap_1_e0")
	pi, err = sdk.V1PaymentIntents.Capture(ctx, pi.ID, part)
	if err != nil {
		t.Fatal(err)
	}
	if pi.Status != stripe.PaymentIntentStatusSucceeded || pi.AmountReceived != 1500 || pi.AmountCapturable != 0 || pi.Metadata["capstan_reference"] != "cap_1" || pi.Metadata["order"] != "A1" {
		t.Fatalf("captured: %+v", pi)
	}

	refund := &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(500), Reason: stripe.String("requested_by_customer")}
	re, err := sdk.V1Refunds.Create(ctx, refund)
	if err != nil {
		t.Fatal(err)
	}
	if re.Status != stripe.RefundStatusSucceeded || re.Amount != 500 || re.PaymentIntent.ID != pi.ID || re.Reason != stripe.RefundReasonRequestedByCustomer {
		t.Fatalf("refund: %+v", re)
	}
	rest, err := sdk.V1Refunds.Create(ctx, &stripe.RefundCreateParams{Charge: &pi.LatestCharge.ID})
	if err != nil || rest.Amount != 1000 {
		t.Fatalf("refund of the rest: %+v, %v", rest, err)
	}
	if again, err := sdk.V1Refunds.Retrieve(ctx, re.ID, nil); err != nil || again.Amount != 500 {
		t.Errorf("refund read again: %+v, %v", again, err)
	}
	ch, err := sdk.V1Charges.Retrieve(ctx, pi.LatestCharge.ID, nil)
	if err != nil || !ch.Captured || ch.AmountCaptured != 1500 || ch.AmountRefunded != 1500 || !ch.Refunded {
		t.Errorf("charge: %+v, %v", ch, err)
	}
	if balance, err := sdk.V1Balance.Retrieve(ctx, nil); err != nil || len(balance.Available) == 0 {
		t.Errorf("balance: %+v, %v", balance, err)
	}

	second, err := sdk.V1PaymentIntents.Create(ctx, holdParams(900, nil))
	if err != nil {
		t.Fatal(err)
	}
	second, err = sdk.V1PaymentIntents.Cancel(ctx, second.ID, &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String("abandoned")})
	if err != nil || second.Status != stripe.PaymentIntentStatusCanceled || second.CancellationReason != stripe.PaymentIntentCancellationReasonAbandoned || second.CanceledAt == 0 {
		t.Fatalf("cancelled: %+v, %v", second, err)
	}
	book := b.Book()
	got := []int{len(book.Holds), len(book.Captures), len(book.Refunds), len(book.Cancels), len(book.Violations)}
	if diff := cmp.Diff([]int{2, 1, 2, 1, 0}, got); diff != "" {
		t.Errorf("book (-want +got):\n%s", diff)
	}
}

func TestSDKConfirmLaterAndAutomatic(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	sdk, ctx := newSDK(b, "sk_test_sdk", 0), t.Context()
	p := holdParams(700, nil)
	p.Confirm, p.PaymentMethod = nil, nil
	pi, err := sdk.V1PaymentIntents.Create(ctx, p)
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresPaymentMethod || pi.LatestCharge != nil {
		t.Fatalf("created: %+v, %v", pi, err)
	}
	_, err = sdk.V1PaymentIntents.Capture(ctx, pi.ID, &stripe.PaymentIntentCaptureParams{})
	if e := sdkError(t, err); e.Code != stripe.ErrorCodePaymentIntentUnexpectedState || e.PaymentIntent.Status != stripe.PaymentIntentStatusRequiresPaymentMethod {
		t.Fatalf("captured before it was confirmed: %+v", e)
	}
	pi, err = sdk.V1PaymentIntents.Confirm(ctx, pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_mastercard")})
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture {
		t.Fatalf("confirmed: %+v, %v", pi, err)
	}
	p = holdParams(800, nil)
	p.CaptureMethod = nil
	auto, err := sdk.V1PaymentIntents.Create(ctx, p)
	if err != nil || auto.Status != stripe.PaymentIntentStatusSucceeded || auto.AmountReceived != 800 {
		t.Fatalf("automatic: %+v, %v", auto, err)
	}
	updated, err := sdk.V1PaymentIntents.Update(ctx, pi.ID, &stripe.PaymentIntentUpdateParams{Metadata: map[string]string{"a": "b"}, Description: stripe.String("new")})
	if err != nil || updated.Metadata["a"] != "b" || updated.Description != "new" {
		t.Fatalf("updated: %+v, %v", updated, err)
	}
}

func sdkError(t *testing.T, err error) *stripe.Error {
	t.Helper()
	var e *stripe.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error of Stripe's", err)
	}
	return e
}

func TestSDKErrors(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	sdk, ctx := newSDK(b, "sk_test_sdk", 0), t.Context()
	capture := func(id string, amount int64) error {
		_, err := sdk.V1PaymentIntents.Capture(ctx, id, &stripe.PaymentIntentCaptureParams{AmountToCapture: &amount})
		return err
	}
	taken, released := b.hold(t), b.hold(t)
	if err := capture(taken, 1500); err != nil {
		t.Fatal(err)
	}
	if _, err := sdk.V1PaymentIntents.Cancel(ctx, released, nil); err != nil {
		t.Fatal(err)
	}
	card := func(pm string) error {
		p := holdParams(100, nil)
		p.PaymentMethod = &pm
		_, err := sdk.V1PaymentIntents.Create(ctx, p)
		return err
	}
	refund := func(id string, amount int64) error {
		_, err := sdk.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &id, Amount: &amount})
		return err
	}
	for _, tt := range []struct {
		name    string
		err     error
		status  int
		typ     stripe.ErrorType
		code    stripe.ErrorCode
		decline stripe.DeclineCode
		state   stripe.PaymentIntentStatus
	}{
		{"captured twice", capture(taken, 1500), 400, "invalid_request_error", stripe.ErrorCodePaymentIntentUnexpectedState, "", "succeeded"},
		{"captured after release", capture(released, 1500), 400, "invalid_request_error", stripe.ErrorCodePaymentIntentUnexpectedState, "", "canceled"},
		{"too large", capture(b.hold(t), 1501), 400, "invalid_request_error", stripe.ErrorCodeAmountTooLarge, "", ""},
		{"zero", capture(b.hold(t), 0), 400, "invalid_request_error", stripe.ErrorCodeParameterInvalidInteger, "", ""},
		{"negative", capture(b.hold(t), -1), 400, "invalid_request_error", stripe.ErrorCodeParameterInvalidInteger, "", ""},
		{"no such hold", capture("pi_nothere", 1), 404, "invalid_request_error", stripe.ErrorCodeResourceMissing, "", ""},
		{"soft decline", capture(b.hold(t, "metadata[fault]", "decline"), 1), 402, "card_error", stripe.ErrorCodeCardDeclined, stripe.DeclineCodeInsufficientFunds, "requires_capture"},
		{"hard decline", capture(b.hold(t, "metadata[fault]", "decline_hard"), 1), 402, "card_error", stripe.ErrorCodeCardDeclined, stripe.DeclineCodeStolenCard, "requires_capture"},
		{"expired", capture(b.hold(t, "metadata[fault]", "expired"), 1), 400, "invalid_request_error", stripe.ErrorCodePaymentIntentUnexpectedState, "", "canceled"},
		{"500", capture(b.hold(t, "metadata[fault]", "500_unbooked"), 1), 500, "api_error", "", "", ""},
		{"429", capture(b.hold(t, "metadata[fault]", "429"), 1), 429, "invalid_request_error", stripe.ErrorCodeRateLimit, "", ""},
		{"409", capture(b.hold(t, "metadata[fault]", "409_in_progress"), 1), 409, "invalid_request_error", stripe.ErrorCodeIdempotencyKeyInUse, "", ""},
		{"card declined", card("pm_card_chargeDeclined"), 402, "card_error", stripe.ErrorCodeCardDeclined, stripe.DeclineCodeGenericDecline, "requires_payment_method"},
		{"refund too large", refund(taken, 1501), 400, "invalid_request_error", stripe.ErrorCodeAmountTooLarge, "", ""},
		{"refund of nothing", refund(released, 1), 400, "invalid_request_error", stripe.ErrorCodePaymentIntentUnexpectedState, "", "canceled"},
		{"refund of nobody", refund("pi_nothere", 1), 404, "invalid_request_error", stripe.ErrorCodeResourceMissing, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := sdkError(t, tt.err)
			var state stripe.PaymentIntentStatus
			if e.PaymentIntent != nil {
				state = e.PaymentIntent.Status
			}
			if e.HTTPStatusCode != tt.status || e.Type != tt.typ || e.Code != tt.code || e.DeclineCode != tt.decline || state != tt.state {
				t.Errorf("got %d %s %s %s %s (%s)", e.HTTPStatusCode, e.Type, e.Code, e.DeclineCode, state, e.Msg)
			}
			if !strings.HasPrefix(e.RequestID, "req_") {
				t.Errorf("request id %q", e.RequestID)
			}
		})
	}
	if err := refund(taken, 1500); err != nil {
		t.Fatal(err)
	}
	if e := sdkError(t, refund(taken, 1)); e.Code != stripe.ErrorCodeChargeAlreadyRefunded {
		t.Errorf("refunded twice: %+v", e)
	}
}

func TestSDKIdempotency(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	sdk, ctx := newSDK(b, "sk_test_sdk", 0), t.Context()
	id := b.hold(t)
	capture := func(amount int64) (*stripe.PaymentIntent, error) {
		p := &stripe.PaymentIntentCaptureParams{AmountToCapture: &amount}
		p.SetIdempotencyKey("k1")
		return sdk.V1PaymentIntents.Capture(ctx, id, p)
	}
	first, err := capture(1000)
	if err != nil {
		t.Fatal(err)
	}
	again, err := capture(1000)
	if err != nil {
		t.Fatal(err)
	}
	if h := again.LastResponse.Header; h.Get("Idempotent-Replayed") != "true" || h.Get("Original-Request") != first.LastResponse.RequestID {
		t.Errorf("replayed with %v", h)
	}
	if string(first.LastResponse.RawJSON) != string(again.LastResponse.RawJSON) {
		t.Errorf("another answer:\n%s\n%s", first.LastResponse.RawJSON, again.LastResponse.RawJSON)
	}
	_, err = capture(1001)
	if e := sdkError(t, err); e.HTTPStatusCode != 400 || e.Type != stripe.ErrorTypeIdempotency {
		t.Errorf("other parameters: %+v", e)
	}
}

// TestSDKRetries: the SDK's own retries get through transient faults, and book once.
func TestSDKRetries(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	sdk := newSDK(b, "sk_test_sdk", 3)
	for _, fault := range []string{"drop_before", "charge_then_drop", "lock_timeout", "charge_then_rst,truncated", "charge_then_502html:2"} {
		id := b.hold(t, "metadata[fault]", fault)
		pi, err := sdk.V1PaymentIntents.Capture(t.Context(), id, &stripe.PaymentIntentCaptureParams{})
		if err != nil || pi.AmountReceived != 1500 {
			t.Errorf("%s: %+v, %v", fault, pi, err)
		}
		if n := len(b.BookOf(id).Captures); n != 1 {
			t.Errorf("%s: %d captures", fault, n)
		}
	}
}

func TestSDKLists(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	sdk, ctx := newSDK(b, "sk_test_sdk", 0), t.Context()
	id := b.hold(t)
	if _, err := sdk.V1PaymentIntents.Capture(ctx, id, &stripe.PaymentIntentCaptureParams{}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for range 25 {
		re, err := sdk.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &id, Amount: stripe.Int64(10)})
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{re.ID}, want...)
	}
	list := &stripe.RefundListParams{PaymentIntent: &id}
	list.Limit = stripe.Int64(7)
	list.AddExpand("data.charge")
	var got []string
	for re, err := range sdk.V1Refunds.List(ctx, list).All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if re.Charge == nil || re.Charge.AmountCaptured != 1500 {
			t.Fatalf("charge not expanded: %+v", re.Charge)
		}
		got = append(got, re.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refunds in pages (-want +got):\n%s", diff)
	}
	for range 11 {
		b.hold(t)
	}
	n := 0
	for _, err := range sdk.V1PaymentIntents.List(ctx, &stripe.PaymentIntentListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(5)}}).All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 12 {
		t.Errorf("%d PaymentIntents listed, want 12", n)
	}
}

func TestSDKKeysAndModes(t *testing.T) {
	b := newBox(t, sandbox.Config{})
	ctx := t.Context()
	for _, key := range []string{"", "pk_test_public", "hello"} {
		if key == "" {
			if a := b.call(t, "GET", "/v1/balance", "Authorization", ""); a.status != 401 {
				t.Errorf("no key: %+v", a)
			}
			continue
		}
		_, err := newSDK(b, key, 0).V1Balance.Retrieve(ctx, nil)
		if e := sdkError(t, err); e.HTTPStatusCode != 401 {
			t.Errorf("key %q: %+v", key, e)
		}
	}
	live, err := newSDK(b, "sk_live_a", 0).V1PaymentIntents.Create(ctx, holdParams(100, nil))
	if err != nil || !live.Livemode {
		t.Fatalf("live: %+v, %v", live, err)
	}
	_, err = newSDK(b, "sk_test_a", 0).V1PaymentIntents.Retrieve(ctx, live.ID, nil)
	if e := sdkError(t, err); e.HTTPStatusCode != 404 || e.Code != stripe.ErrorCodeResourceMissing {
		t.Errorf("a live object seen by a test key: %+v", e)
	}
}
