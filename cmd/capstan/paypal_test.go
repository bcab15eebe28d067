package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// TestPayPalOrders: in `capstan dev` the sandbox stands for PayPal, too. Orders
// paid there are captured once, whatever happens to the answer, and a pending
// capture is told to be complete by a webhook that PayPal's certificate signs.
func TestPayPalOrders(t *testing.T) {
	t.Parallel()
	addr, gate := address(t), address(t)
	start(t, map[string]string{"CAPSTAN_TIME_SCALE": "20"}, "dev", "--data", t.TempDir(), "--ephemeral", "--listen", addr, "--admin-listen", address(t), "--sandbox-listen", gate)
	ready(t, addr)
	p := &production{sandbox: gate, apis: []string{addr}}
	s := &shop{api: config.Remote{URL: "http://" + addr, Token: "dev"}, gateway: "http://" + gate, methods: map[string]string{}}
	var method resource
	attributes := map[string]any{"name": "PayPal", "payment_source_type": "paypal_payments", "currency_code": "EUR", "auto_capture": true}
	if err := call(t.Context(), s.api, http.MethodPost, "/api/payment_methods", map[string]any{"type": "payment_methods", "attributes": attributes}, &method); err != nil {
		t.Fatal(err)
	}
	s.methods["paypal"] = method.ID
	for name, fault := range map[string]string{"plain": "", "answer lost": "charge_then_drop", "pending": "pending=300ms"} {
		t.Run(name, func(t *testing.T) {
			o := &sale{story: &story{method: "paypal"}, Reference: "PP-" + strings.ReplaceAll(name, " ", "-"), Total: 1500, HoldCents: 1500, Hold: paypalHold(t, gate, fault)}
			if err := s.order(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := s.patchOrder(t.Context(), o, map[string]any{"_approve": true}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the order is paid", func() bool {
				status, err := s.paymentStatus(t.Context(), o)
				return err == nil && status == string(models.Paid)
			})
			booked, violations := p.book(t, o.Hold)
			if len(booked) != 1 || booked[0].Amount != 1500 || violations != 0 {
				t.Fatalf("the gateway's book has %v and %d violations, not one capture of 1500", booked, violations)
			}
		})
	}
}

// paypalHold makes a hold as a checkout at PayPal does.
func paypalHold(t *testing.T, gate, fault string) string {
	t.Helper()
	ask := func(path, kind, authorization string, body []byte, into any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+gate+"/paypal"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Authorization", authorization)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(into); err != nil || res.StatusCode > 299 {
			t.Fatalf("%s: status %d, %v", path, res.StatusCode, err)
		}
	}
	var token struct {
		Value string `json:"access_token"`
	}
	ask("/v1/oauth2/token", "application/x-www-form-urlencoded", "Basic c2hvcDpzaG9w", []byte("grant_type=client_credentials"), &token)
	unit := map[string]any{"amount": map[string]string{"currency_code": "EUR", "value": "15.00"}, "custom_id": "order-" + time.Now().Format("150405")}
	if fault != "" {
		unit["custom_id"] = "fault=" + fault
	}
	raw, err := json.Marshal(map[string]any{"intent": "AUTHORIZE", "purchase_units": []any{unit}, "payment_source": map[string]any{"paypal": map[string]any{}}})
	if err != nil {
		t.Fatal(err)
	}
	var order struct {
		Units []struct {
			Payments struct {
				Authorizations []struct{ ID string }
			}
		} `json:"purchase_units"`
	}
	ask("/v2/checkout/orders", "application/json", "Bearer "+token.Value, raw, &order)
	if len(order.Units) != 1 || len(order.Units[0].Payments.Authorizations) != 1 {
		t.Fatalf("no authorization: %+v", order)
	}
	return order.Units[0].Payments.Authorizations[0].ID
}
