package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// identified writes the body of a bulk approval.
func identified(ids ...string) string {
	entries := make([]string, len(ids))
	for i, id := range ids {
		entries[i] = fmt.Sprintf(`{"type":"orders","id":%q}`, id)
	}
	return `{"data":[` + strings.Join(entries, ",") + `]}`
}

func (w *world) approveMany(t testing.TB, token, body string) reply {
	t.Helper()
	return w.send(t, token, http.MethodPost, "/api/orders/approve", body)
}

// TestApproveMany: each order is answered by itself, in the order of the request.
func TestApproveMany(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	fine, before, cancelled := w.place(t, method, 1500, 1500, ""), w.place(t, method, 1500, 1500, ""), w.place(t, method, 1500, 1500, "")
	bare := w.post(t, "orders", `{"currency_code":"EUR","total_amount_cents":700,"reference":"bare"}`, to("payment_method", "payment_methods", method)).id(t)
	w.approve(t, before)
	w.patch(t, "orders", cancelled.order, `{"_cancel":true}`).want(t, http.StatusOK, nil)
	unknown := store.NewID()

	body := identified(fine.order, before.order, cancelled.order, unknown, bare, "not an id", strings.ToUpper(fine.order))
	r := w.approveMany(t, operator, body).want(t, http.StatusOK, map[string]any{
		"meta.approved": 2, "meta.unchanged": 1, "meta.refused": 3,
		"data.0.id": fine.order, "data.0.type": "orders", "data.0.meta.result": "approved", "data.0.meta.mode": "test",
		"data.0.attributes.status": "approved", "data.0.attributes.payment_status": "authorized", "data.0.attributes.total_amount_cents": 1500,
		"data.1.id": before.order, "data.1.meta.result": "unchanged", "data.1.attributes.status": "approved", "data.1.meta.captures": []any{},
		"data.2.id": cancelled.order, "data.2.meta.result": "refused", "data.2.errors.0.code": "ORDER_CANCELLED", "data.2.errors.0.status": "422", "data.2.errors.0.source.pointer": "/data/2", "data.2.attributes": nil,
		"data.3.id": unknown, "data.3.errors.0.code": "RECORD_NOT_FOUND", "data.3.errors.0.status": "404",
		"data.4.id": bare, "data.4.meta.result": "approved", "data.4.attributes.reference": "bare", "data.4.attributes.payment_status": "unpaid",
		"data.5.id": "not an id", "data.5.errors.0.status": "404",
		"data.6.id": fine.order, "data.6.meta.result": "approved", "data.7": nil,
	})
	if r.header.Get("Content-Type") != "application/vnd.api+json" {
		t.Errorf("Content-Type %q", r.header.Get("Content-Type"))
	}
	captures := w.get(t, "/api/orders/"+fine.order+"/captures").want(t, http.StatusOK, map[string]any{"meta.record_count": 1})
	if got, want := r.at(t, "data.0.meta.captures.0"), captures.at(t, "data.0.id"); got != want {
		t.Errorf("the answer names the capture %v, the order has %v", got, want)
	}
	// The order reads as it was answered.
	order := w.get(t, "/api/orders/"+fine.order)
	attributes, _ := r.at(t, "data.0.attributes").(map[string]any)
	for name, want := range attributes {
		if got := order.at(t, "data.attributes."+name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: answered %v, reads %v", name, want, got)
		}
	}
	// And the other mode sees none of it.
	w.approveMany(t, livery, identified(fine.order)).want(t, http.StatusOK, map[string]any{"meta.refused": 1, "data.0.errors.0.code": "RECORD_NOT_FOUND"})
	w.approveMany(t, operator, body).want(t, http.StatusOK, map[string]any{"meta.approved": 0, "meta.unchanged": 3, "meta.refused": 3})
}

// TestApproveManyIsStrict: what is wrong is named, and nothing is approved then.
func TestApproveManyIsStrict(t *testing.T) {
	w := newWorld(t)
	order := w.place(t, w.method(t, ""), 1500, 1500, "").order
	good := fmt.Sprintf(`{"type":"orders","id":%q}`, order)
	ids := make([]string, 1001)
	for i := range ids {
		ids[i] = store.NewID()
	}
	ids[0] = order
	before := w.rows(t)
	for name, c := range map[string]struct {
		body    string
		status  int
		pointer string
	}{
		"one resource":      {`{"data":` + good + `}`, 400, "/data"},
		"no data":           {`{}`, 400, "/data"},
		"no list":           {`{"data":null}`, 400, "/data"},
		"nothing":           {`{"data":[]}`, 422, "/data"},
		"too many":          {identified(ids...), 422, "/data"},
		"no object":         {`{"data":[` + good + `,"x"]}`, 400, "/data/1"},
		"no type":           {`{"data":[` + good + `,{"id":"x"}]}`, 400, "/data/1/type"},
		"another type":      {`{"data":[` + good + `,{"type":"captures","id":"x"}]}`, 409, "/data/1/type"},
		"no id":             {`{"data":[` + good + `,{"type":"orders"}]}`, 400, "/data/1/id"},
		"an empty id":       {`{"data":[` + good + `,{"type":"orders","id":""}]}`, 400, "/data/1/id"},
		"a number":          {`{"data":[` + good + `,{"type":"orders","id":1}]}`, 400, "/data/1/id"},
		"an attribute":      {`{"data":[` + good + `,{"type":"orders","id":"x","attributes":{"_cancel":true}}]}`, 422, "/data/1/attributes/_cancel"},
		"no attributes":     {`{"data":[` + good + `,{"type":"orders","id":"x","attributes":7}]}`, 400, "/data/1/attributes"},
		"a document behind": {identified(order) + identified(order), 400, ""},
		"a member twice":    {`{"data":[` + good + `],"data":[` + good + `]}`, 400, ""},
		"too large":         {`{"data":[` + good + strings.Repeat(" ", 256<<10) + `]}`, 413, ""},
	} {
		r := w.approveMany(t, operator, c.body)
		if r.status != c.status || c.pointer != "" && r.at(t, "errors.0.source.pointer") != c.pointer {
			t.Errorf("%s: status %d at %v, want %d at %s: %s", name, r.status, r.at(t, "errors.0.source.pointer"), c.status, c.pointer, r.body)
		}
	}
	w.send(t, operator, http.MethodPost, "/api/orders/approve?include=captures", identified(order)).want(t, 400, nil)
	w.send(t, operator, http.MethodGet, "/api/orders/approve", "").want(t, 405, nil)
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
}

// TestApproveThousand orders in one request, of the size that is allowed.
func TestApproveThousand(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, "")
	ids := make([]string, 1000)
	for i := range ids {
		o, _, err := w.store.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: method, CurrencyCode: "EUR", TotalAmountCents: 1500})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = o.ID
	}
	gateway, err := w.store.GatewayBySlug(t.Context(), "stripe")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, _, _, err := w.enqueuer.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: ids[999], PaymentGatewayID: gateway.ID, GatewayTransactionID: "pi_1", CurrencyCode: "EUR", AmountCents: 1500,
		}, "test")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	pretty, err := json.MarshalIndent(json.RawMessage(identified(ids...)), "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	w.approveMany(t, operator, string(pretty)).want(t, http.StatusOK, map[string]any{
		"meta.approved": 1000, "data.0.id": ids[0], "data.999.id": ids[999], "data.999.attributes.payment_status": "authorized",
	})
	w.get(t, "/api/captures").want(t, http.StatusOK, map[string]any{"meta.record_count": 1})
}
