package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// checkouts make an order's hold at each provider, as the shop's checkout does:
// over the provider's own wire, which the sandbox speaks. They return its id.
var checkouts = map[string]func(context.Context, *shop, *sale) (string, error){
	stripeAccount: stripeCheckout,
	paypalAccount: paypalCheckout,
	"adyen":       adyenCheckout,
	"checkoutcom": checkoutcomCheckout,
	"braintree":   braintreeCheckout,
	"klarna":      klarnaCheckout,
	"external":    externalCheckout,
	manualAccount: func(_ context.Context, _ *shop, o *sale) (string, error) { return "transfer-" + o.Reference, nil },
}

// authorize makes the hold at the order's gateway, with the fault that the story wants.
func (s *shop) authorize(ctx context.Context, o *sale) error {
	checkout, ok := checkouts[o.gateway]
	if !ok {
		return fmt.Errorf("the demo's shop has no checkout for %s", o.gateway)
	}
	hold, err := checkout(ctx, s, o)
	if err == nil && hold == "" {
		err = fmt.Errorf("the answer names no hold")
	}
	if err != nil {
		return fmt.Errorf("make a hold of %d at the sandbox's %s: %w", o.HoldCents, o.gateway, err)
	}
	o.Hold = hold
	return nil
}

func stripeCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	form := url.Values{
		"amount": {strconv.FormatInt(o.HoldCents, 10)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"},
		"metadata[order]": {o.Reference},
	}
	if o.story.fault != "" {
		form.Set("metadata[fault]", o.story.fault)
	}
	var intent struct{ ID, Status string }
	err := s.ask(ctx, "/v1/payment_intents", "Bearer sk_test_demo", form, &intent)
	if err == nil && intent.Status != "requires_capture" {
		err = fmt.Errorf("the PaymentIntent is %s", intent.Status)
	}
	return intent.ID, err
}

func paypalCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	var token struct {
		Value string `json:"access_token"`
	}
	if err := s.ask(ctx, "/paypal/v1/oauth2/token", "Basic c2hvcDpzaG9w", url.Values{"grant_type": {"client_credentials"}}, &token); err != nil {
		return "", err
	}
	custom := o.Reference
	if o.story.fault != "" {
		custom = "fault=" + o.story.fault
	}
	unit := map[string]any{
		"amount": map[string]string{"currency_code": "EUR", "value": fmt.Sprintf("%d.%02d", o.HoldCents/100, o.HoldCents%100)}, "custom_id": custom,
	}
	var order struct {
		Units []struct {
			Payments struct {
				Authorizations []struct{ ID string }
			}
		} `json:"purchase_units"`
	}
	body := map[string]any{"intent": "AUTHORIZE", "purchase_units": []any{unit}, "payment_source": map[string]any{"paypal": map[string]any{}}}
	if err := s.ask(ctx, "/paypal/v2/checkout/orders", "Bearer "+token.Value, body, &order); err != nil {
		return "", err
	}
	if len(order.Units) != 1 || len(order.Units[0].Payments.Authorizations) != 1 {
		return "", fmt.Errorf("the order has no authorization: %+v", order)
	}
	return order.Units[0].Payments.Authorizations[0].ID, nil
}

func adyenCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	var payment struct {
		PSP string `json:"pspReference"`
	}
	err := s.ask(ctx, "/adyen/v72/payments", "X-API-Key demo", map[string]any{
		"merchantAccount": "sandbox", "reference": o.Reference, "amount": map[string]any{"value": o.HoldCents, "currency": "EUR"},
		"paymentMethod": map[string]any{"type": "scheme"}, "returnUrl": "https://shop.example", "metadata": o.fault(),
	}, &payment)
	return payment.PSP, err
}

func checkoutcomCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	var payment struct{ ID string }
	err := s.ask(ctx, "/checkoutcom/payments", "Bearer sk_sbox_demo", map[string]any{
		"amount": o.HoldCents, "currency": "EUR", "capture": false, "reference": o.Reference, "source": map[string]any{"type": "token", "token": "tok_demo"}, "metadata": o.fault(),
	}, &payment)
	return payment.ID, err
}

func klarnaCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	body := map[string]any{
		"purchase_country": "DE", "purchase_currency": "EUR", "locale": "de-DE", "order_amount": o.HoldCents, "merchant_reference1": o.Reference,
		"order_lines": []any{map[string]any{"type": "physical", "name": "Rope", "quantity": 1, "unit_price": o.HoldCents, "total_amount": o.HoldCents}},
	}
	if o.story.fault != "" {
		body["merchant_data"] = "fault=" + o.story.fault
	}
	var order struct {
		ID string `json:"order_id"`
	}
	err := s.ask(ctx, "/klarna/payments/v1/authorizations/demo-"+o.Reference+"/order", "Basic c2hvcDpzaG9w", body, &order)
	return order.ID, err
}

func externalCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	var made struct {
		Data struct {
			Token string `json:"transaction_token"`
		} `json:"data"`
	}
	err := s.ask(ctx, "/external/holds", "", map[string]any{"amount_cents": o.HoldCents, "currency_code": "EUR", "metadata": o.fault()}, &made)
	return made.Data.Token, err
}

// fault is the metadata that tells the sandbox what to do with a hold.
func (o *sale) fault() map[string]string {
	m := map[string]string{"order": o.Reference}
	if o.story.fault != "" {
		m["fault"] = o.story.fault
	}
	return m
}

// ask sends a form, or anything else as JSON, to the sandbox. Credentials are
// those of the Authorization header, or a header's name and its value.
func (s *shop) ask(ctx context.Context, path, credentials string, body, into any) error {
	kind, raw := "application/json", []byte(nil)
	if form, ok := body.(url.Values); ok {
		kind, raw = "application/x-www-form-urlencoded", []byte(form.Encode())
	} else {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gateway+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	if name, value, _ := strings.Cut(credentials, " "); strings.HasPrefix(name, "X-") {
		req.Header.Set(name, value)
	} else if credentials != "" {
		req.Header.Set("Authorization", credentials)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("HTTP %d %.300s", res.StatusCode, answer)
	}
	if err == nil {
		err = json.Unmarshal(answer, into)
	}
	return err
}
