package paypal_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/gatewaytest/contract"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/sandbox/sandboxtest"
	"github.com/capstan-pay/capstan/models"
)

// TestContract drives every call of the document, well and badly.
func TestContract(t *testing.T) {
	judge := contract.New(t, contract.Document(t, "paypal-payments-v2.json"), contract.Options{Base: "/paypal", Skip: func(r *http.Request) bool {
		return !strings.HasPrefix(r.URL.Path, "/paypal/v2/payments/") // the token and the order are of other documents
	}})
	clock := sandboxtest.NewClock()
	w := newWorldBehind(t, sandbox.Config{Now: clock.Now, PayPal: sandbox.PayPalConfig{HonorPeriod: time.Millisecond}}, judge.Before)
	ctx := t.Context()
	hold := w.hold(t, 1500, "pending=1s,500_unbooked")
	capture := request(models.Capture, hold, 1000)
	capture.Final, capture.HoldCents = false, 1500
	if ev := w.Capture(ctx, capture); ev.Outcome != models.OutcomeAccepted {
		t.Fatal(string(ev.JSON()))
	}
	clock.Add(time.Minute)
	looked := must(t, w.LookUp(ctx, capture), models.OutcomeConfirmed, 1000)
	second := nth(models.Capture, hold, 100, 2)
	w.Capture(ctx, second) // 500
	w.Capture(ctx, second) // 201
	w.Capture(ctx, nth(models.Capture, hold, 100, 3))
	refund := request(models.Refund, hold, 300)
	refund.Capture = looked.GatewayTransactionID
	must(t, w.Refund(ctx, refund), models.OutcomeConfirmed, 300)
	refund.Key, refund.Reference, refund.AmountCents = "another", "ref_another", 999999
	w.Refund(ctx, refund)
	w.Void(ctx, request(models.Void, hold, 1500))
	for _, fault := range []string{"decline", "decline_hard", "expired", "409_in_progress", "wrong_amount", "lookup_500", "lookup_404"} {
		r := request(models.Capture, w.hold(t, 1500, fault), 1500)
		w.Capture(ctx, r)
		w.LookUp(ctx, r)
	}
	other := w.hold(t, 1500, "cancel.409_in_progress")
	clock.Add(time.Minute)
	renew := request(models.Void, other, 1500)
	renew.Kind, renew.Key = "", "renew_1"
	hasty := w.adapter(t, paypal.Config{HonorPeriod: time.Millisecond, HoldLife: 100 * 365 * 24 * time.Hour})
	must(t, hasty.Reauthorize(ctx, renew), models.OutcomeConfirmed, 1500)
	void := request(models.Void, other, 1500)
	w.Void(ctx, void)
	w.Void(ctx, void)
	w.Void(ctx, void)
	w.Capture(ctx, request(models.Capture, other, 1500))
	w.Capture(ctx, request(models.Capture, "NOSUCHAUTH0000000", 1500))
	if err := w.Probe(ctx); err != nil {
		t.Error(err)
	}
	if _, err := w.Describe(ctx, hold); err != nil {
		t.Error(err)
	}
	for _, id := range []string{hold, "/captures/" + looked.GatewayTransactionID, "/refunds/" + w.sandbox.BookOf(hold).Refunds[0].ID} {
		path := "/v2/payments/authorizations/" + id
		if strings.HasPrefix(id, "/") {
			path = "/v2/payments" + id
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.token(t))
		call(t, req, 200, &struct{}{})
	}
	judge.Want(
		"authorizations.get 200", "authorizations.get 404", "authorizations.get 500", "authorizations.capture 201", "authorizations.capture 422",
		"authorizations.capture 404", "authorizations.capture 409", "authorizations.capture 500", "authorizations.reauthorize 201",
		"authorizations.void 200", "authorizations.void 409", "authorizations.void 422", "captures.refund 201", "captures.refund 422",
		"captures.get 200", "captures.get 404", "refunds.get 200",
	)
	var _ gateway.Gateway = w.Adapter
}
