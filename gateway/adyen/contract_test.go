package adyen_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
	"github.com/capstan-pay/capstan/gateway/gatewaytest/contract"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const (
	paymentPath = "/payments/{paymentPspReference}/"
	operation   = "post-payments-paymentPspReference-"
)

// events are the webhooks that the sandbox sends, by the names of the document.
var events = []string{"AUTHORISATION", "CAPTURE", "CAPTURE_FAILED", "CANCELLATION", "CANCEL_OR_REFUND", "REFUND", "REFUND_FAILED", "EXPIRE", "CHARGEBACK"}

// TestContract drives every modification, well and badly, and holds what is sent,
// what is answered and what is told afterwards to the published documents.
func TestContract(t *testing.T) {
	var paths []string
	for _, e := range events {
		paths = append(paths, "/"+e)
	}
	told := contract.New(t, contract.Document(t, "adyen-webhooks-v1.json", paths...), contract.Options{})
	called := contract.New(t,
		contract.Document(t, "adyen-checkout-v72.json", paymentPath+"captures", paymentPath+"cancels", paymentPath+"refunds", paymentPath+"reversals"),
		contract.Options{Base: "/adyen/v72", Skip: func(r *http.Request) bool {
			return r.URL.Path == "/adyen/v72/payments" || r.URL.Path == "/_sandbox/dashboard"
		}})
	w := newWorldBehind(t, sandbox.Config{Adyen: sandbox.AdyenConfig{Accounts: []string{testAccount}}}, called.Before)
	drive(t, w)
	names := make([]string, 0, len(events))
	for _, e := range events {
		names = append(names, "post-"+e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, body := range w.bodies {
		var m struct {
			Items []struct {
				Item struct {
					Event string `json:"eventCode"`
				} `json:"NotificationRequestItem"`
			} `json:"notificationItems"`
		}
		if err := json.Unmarshal(body, &m); err != nil || len(m.Items) != 1 {
			t.Fatalf("%v: %s", err, body)
		}
		told.Sent("/"+m.Items[0].Item.Event, "application/json", body)
	}
	told.Want(names...)
	called.Want(
		operation+"captures 201", operation+"captures 401", operation+"captures 403", operation+"captures 422", operation+"captures 500",
		operation+"refunds 201", operation+"refunds 422", operation+"cancels 201", operation+"cancels 422", operation+"reversals 201", operation+"reversals 422",
	)
}

// drive does everything that the wire knows.
func drive(t *testing.T, w *world) {
	t.Helper()
	ctx := t.Context()
	hold := w.hold(t, 1500, "")
	capture := request(models.Capture, hold, 1500)
	w.settle(t, capture, models.OutcomeConfirmed, 1500)
	w.Capture(ctx, capture)
	w.settle(t, request(models.Refund, hold, 300), models.OutcomeConfirmed, 300)
	w.settle(t, nth(models.Refund, hold, 9999, 2), models.OutcomeRefused, 0)
	w.settle(t, request(models.Void, hold, 1500), models.OutcomeRefused, 0)
	reversal := nth(models.Void, hold, 1500, 2)
	reversal.CaptureAsked = true
	w.settle(t, reversal, models.OutcomeConfirmed, 1500)
	for _, fault := range []string{
		"decline", "decline_hard", "expired", "409_in_progress", "lock_timeout", "500_unbooked", "sticky_500", "401", "wrong_amount", "wrong_currency", "partial",
	} {
		w.Capture(ctx, request(models.Capture, w.hold(t, 1500, fault), 1500))
	}
	w.settle(t, request(models.Void, w.hold(t, 1500, ""), 1500), models.OutcomeConfirmed, 1500)
	reversal = request(models.Void, w.hold(t, 1500, ""), 1500)
	reversal.CaptureAsked = true
	w.settle(t, reversal, models.OutcomeConfirmed, 1500)
	for _, kind := range models.Kinds { // of a payment that nobody made
		r := request(kind, "NOSUCHPAYMENT000", 1500)
		w.send(ctx, r)
		r.CaptureAsked = true
		w.send(ctx, r)
	}
	w.adapter(t, adyen.Config{MerchantAccount: "SomebodyElse"}).Capture(ctx, capture)
	if err := w.Probe(ctx); err != nil {
		t.Error(err)
	}
	failed := w.hold(t, 1500, "")
	w.settle(t, request(models.Capture, failed, 1500), models.OutcomeConfirmed, 1500)
	w.settle(t, request(models.Refund, failed, 300), models.OutcomeConfirmed, 300)
	for _, action := range []string{"refund_failed", "capture_failed", "recapture", "dispute"} {
		w.dashboard(t, failed, action)
	}
	if err := w.sandbox.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestPublishedExamples: the webhooks that the document shows are read for what
// they are, once they are signed.
func TestPublishedExamples(t *testing.T) {
	doc := contract.Document(t, "adyen-webhooks-v1.json", "/CAPTURE") // the examples all stay
	want := map[string]models.Outcome{
		"CAPTURE": models.OutcomeConfirmed, "CAPTURE_FAILED": models.OutcomeTakenBack, "CANCELLATION": models.OutcomeConfirmed, "CANCEL_OR_REFUND": models.OutcomeConfirmed,
		"REFUND":        models.OutcomeLost, // it shows a refund that was refused, under a name that is not ours
		"REFUND_FAILED": models.OutcomeTakenBack, "REFUNDED_REVERSED": models.OutcomeTakenBack, "EXPIRE": models.OutcomeConfirmed,
		"CHARGEBACK": models.OutcomeTakenBack, "TECHNICAL_CANCEL": models.OutcomeConfirmed,
	}
	seen := 0
	for name, example := range doc.Components.Examples {
		raw, err := json.Marshal(example.Value.Value)
		if err != nil {
			t.Fatal(err)
		}
		body, event := signExample(t, raw)
		if _, known := want[event]; !known {
			continue
		}
		seen++
		notices, err := adyen.ParseWebhook(body, nil, []gateway.Secret{testKey}, time.Now(), "YOUR_MERCHANT_ACCOUNT")
		if err != nil || len(notices) != 1 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n := notices[0]
		money := n.Evidence.AmountCents == 1000 && n.Evidence.CurrencyCode == "EUR"
		if n.Type != event || n.Hold == "" || n.Evidence.Outcome != want[event] || n.At.IsZero() || money == (want[event] == models.OutcomeLost) {
			t.Errorf("%s: %+v", name, n)
		}
	}
	if seen < len(want) {
		t.Errorf("%d examples of %d events", seen, len(want))
	}
}

// signExample puts a good signature into a published example.
func signExample(t *testing.T, raw []byte) (body []byte, event string) {
	t.Helper()
	var m struct {
		Live  string `json:"live"`
		Items []struct {
			Item map[string]any `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || len(m.Items) != 1 {
		return nil, ""
	}
	it := m.Items[0].Item
	text := func(name string) string { s, _ := it[name].(string); return s }
	amount, _ := it["amount"].(map[string]any)
	value, _ := json.Marshal(amount["value"])
	currency, _ := amount["currency"].(string)
	it["additionalData"] = map[string]any{"hmacSignature": sandbox.AdyenSignature(testKey, [8]string{
		text("pspReference"), text("originalReference"), text("merchantAccountCode"), text("merchantReference"),
		string(value), currency, text("eventCode"), text("success"),
	})}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return body, text("eventCode")
}
