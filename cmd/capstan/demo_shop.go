package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
)

// shop is a shop's side of the demo: it speaks to the gateway's wire and to the
// API over HTTP, as any client does.
type shop struct {
	api     config.Remote
	gateway string
	// shared signs Commerce Layer's webhooks.
	shared  gateway.Secret
	methods map[string]string
}

// sale is one order of the demo.
type sale struct {
	story     *story
	gateway   string // the account's slug
	Reference string
	Total     int64
	Hold      string // at the gateway
	HoldCents int64
	OrderID   string
	AuthID    string
}

// setUp makes the payment methods that the stories name: all of them for Stripe,
// and one for each other gateway.
func (s *shop) setUp(ctx context.Context, sources map[string]string) error {
	for name, attributes := range map[string]map[string]any{
		onApproval:         {"auto_capture": true, "auto_capture_max_amount_cents": demoLimit, "capture_trigger": "approval"},
		"on authorization": {"auto_capture": true, "capture_trigger": "authorization"},
		"by hand":          {"auto_capture": false},
	} {
		if name == onApproval {
			attributes["reference"], attributes["reference_origin"] = commerceLayerMethod, "commercelayer"
		}
		if err := s.method(ctx, stripeAccount, name, sources[stripeAccount], attributes); err != nil {
			return err
		}
	}
	for _, slug := range slices.Sorted(maps.Keys(sources)) {
		if slug == stripeAccount {
			continue
		}
		if err := s.method(ctx, slug, onApproval, sources[slug], map[string]any{"auto_capture": true, "capture_trigger": "approval"}); err != nil {
			return err
		}
	}
	return nil
}

// onApproval is the method that captures what is approved.
const onApproval = "on approval"

func (s *shop) method(ctx context.Context, slug, name, source string, attributes map[string]any) error {
	attributes["name"], attributes["payment_source_type"], attributes["currency_code"] = slug+", captured "+name, source, "EUR"
	var method resource
	if err := call(ctx, s.api, http.MethodPost, "/api/payment_methods", map[string]any{"type": "payment_methods", "attributes": attributes}, &method); err != nil {
		return err
	}
	s.methods[slug+" "+name] = method.ID
	return nil
}

// order tells Capstan of the order and its hold.
func (s *shop) order(ctx context.Context, o *sale) error {
	var made resource
	err := call(ctx, s.api, http.MethodPost, "/api/orders", map[string]any{
		"type": "orders", "attributes": map[string]any{"reference": o.Reference, "currency_code": "EUR", "total_amount_cents": o.Total},
		"relationships": relation("payment_method", "payment_methods", s.methods[o.gateway+" "+o.story.method]),
	}, &made)
	if err != nil {
		return err
	}
	o.OrderID = made.ID
	var hold resource
	err = call(ctx, s.api, http.MethodPost, "/api/authorizations", map[string]any{
		"type": "authorizations", "attributes": map[string]any{"amount_cents": o.HoldCents, "gateway_transaction_id": o.Hold},
		"relationships": relation("order", "orders", o.OrderID),
	}, &hold)
	o.AuthID = hold.ID
	return err
}

func relation(name, typ, id string) map[string]any {
	return map[string]any{name: map[string]any{"data": map[string]any{"type": typ, "id": id}}}
}

func (s *shop) patchOrder(ctx context.Context, o *sale, attributes map[string]any) error {
	return call(ctx, s.api, http.MethodPatch, "/api/orders/"+o.OrderID, map[string]any{"type": "orders", "id": o.OrderID, "attributes": attributes}, nil)
}

// approveAll approves orders by one request, which answers each.
func (s *shop) approveAll(ctx context.Context, sales []*sale) error {
	orders := make([]map[string]string, len(sales))
	for i, o := range sales {
		orders[i] = map[string]string{"type": "orders", "id": o.OrderID}
	}
	var answered []approval
	if err := call(ctx, s.api, http.MethodPost, "/api/orders/approve", orders, &answered); err != nil {
		return err
	}
	for i, a := range answered {
		if len(a.Errors) > 0 {
			return fmt.Errorf("approve %s: %s", sales[i].Reference, a.Errors[0].Detail)
		}
	}
	return nil
}

// paymentStatus reads what the order says.
func (s *shop) paymentStatus(ctx context.Context, o *sale) (string, error) {
	var order resource
	err := call(ctx, s.api, http.MethodGet, "/api/orders/"+o.OrderID, nil, &order)
	return text(order.Attributes["payment_status"]), err
}

// captures reads the order's captures.
func (s *shop) captures(ctx context.Context, o *sale) ([]resource, error) {
	var captures []resource
	err := call(ctx, s.api, http.MethodGet, "/api/orders/"+o.OrderID+"/captures", nil, &captures)
	return captures, err
}

// commerceLayerMethod is the id of the shop's payment method at Commerce Layer.
const commerceLayerMethod = "xKZbnSDMLp"

// announce sends Commerce Layer's orders.approve webhook for an order that was
// authorized there: the document as Commerce Layer sends it, correctly signed.
func (s *shop) announce(ctx context.Context, o *sale) error {
	document, err := json.Marshal(map[string]any{
		"data": map[string]any{
			"id": o.Reference, "type": "orders",
			"attributes": map[string]any{
				"number": o.Reference, "status": "approved", "payment_status": "authorized", "currency_code": "EUR",
				"total_amount_cents": o.Total, "total_amount_with_taxes_cents": o.Total, "approved_at": time.Now().UTC().Format(time.RFC3339),
			},
			"relationships": map[string]any{
				"authorizations": map[string]any{"data": []any{map[string]any{"type": "authorizations", "id": "auth" + o.Reference}}},
				"captures":       map[string]any{"data": []any{}},
				"payment_method": map[string]any{"data": map[string]any{"type": "payment_methods", "id": commerceLayerMethod}},
			},
			"meta": map[string]any{"mode": "test"},
		},
		"included": []any{
			map[string]any{"id": "auth" + o.Reference, "type": "authorizations", "attributes": map[string]any{
				"currency_code": "EUR", "amount_cents": o.HoldCents, "succeeded": true, "token": o.Hold, "gateway_transaction_id": o.Hold,
			}},
			map[string]any{"id": commerceLayerMethod, "type": "payment_methods", "attributes": map[string]any{
				"payment_source_type": "stripe_payments", "auto_capture": false, "currency_code": "EUR",
			}},
		},
	})
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(s.shared.Reveal()))
	mac.Write(document)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.api.URL+"/webhooks/commercelayer", bytes.NewReader(document))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.api+json")
	req.Header.Set("X-CommerceLayer-Topic", "orders.approve")
	req.Header.Set("X-CommerceLayer-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("send the orders.approve webhook: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("send the orders.approve webhook: HTTP %d %s", res.StatusCode, body)
	}
	return nil
}

// find fills in the ids of an order that came by webhook.
func (s *shop) find(ctx context.Context, o *sale, lookUp func(ctx context.Context, reference string) (string, error)) error {
	return until(ctx, "the webhook of "+o.Reference+" is applied", func() (bool, error) {
		id, err := lookUp(ctx, o.Reference)
		o.OrderID = id
		return id != "", err
	})
}

// until asks again, every so often, until done says so or ctx ends.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
