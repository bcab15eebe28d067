package sandbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// klarnaWire calls Klarna's wire by hand.
type klarnaWire struct {
	t   *testing.T
	url string
}

func (w klarnaWire) call(method, path, key, body string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth("user", "password")
	if key != "" {
		req.Header.Set("Klarna-Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if len(raw) > 0 && json.Unmarshal(raw, &a.body) != nil && raw[0] != '[' {
		w.t.Fatalf("%s %s: %s", method, path, raw)
	}
	return a
}

// order makes an order and returns its id.
func (w klarnaWire) order(data string) string {
	w.t.Helper()
	a := w.call("POST", "/payments/v1/authorizations/token/order", "", `{"purchase_country":"SE","purchase_currency":"sek","locale":"sv-SE","order_amount":1500,
		"order_lines":[{"name":"a","quantity":1,"unit_price":1000,"total_amount":1000},{"name":"b","quantity":1,"unit_price":500,"total_amount":500}],"merchant_data":"`+data+`"}`)
	if a.status != 200 || a.str("fraud_status") != "ACCEPTED" {
		w.t.Fatalf("order: %d %s", a.status, a.raw)
	}
	return a.str("order_id")
}

// TestKlarnaBook: what was booked over Klarna's wire, and what its keys answer,
// is known after a restart.
func TestKlarnaBook(t *testing.T) {
	dir := t.TempDir()
	orders := "/ordermanagement/v1/orders/"
	var id, made, refunded string
	t.Run("before", func(t *testing.T) {
		w := klarnaWire{t, newBox(t, sandbox.Config{Dir: dir}).url + "/klarna"}
		id = w.order("")
		a := w.call("POST", orders+id+"/captures", "k1", `{"captured_amount":900,"reference":"one","description":"shipped"}`)
		if made = a.header.Get("Capture-Id"); a.status != 201 || made == "" || a.raw != "" || !strings.HasSuffix(a.header.Get("Location"), orders+id+"/captures/"+made) {
			t.Fatalf("capture: %d %q %v", a.status, a.raw, a.header)
		}
		a = w.call("POST", orders+id+"/refunds", "k2", `{"refunded_amount":300,"reference":"back"}`)
		if refunded = a.header.Get("Refund-Id"); a.status != 201 || refunded == "" {
			t.Fatalf("refund: %d %s", a.status, a.raw)
		}
		if a := w.call("POST", orders+id+"/cancel", "k3", `{}`); a.status != 403 || a.str("error_code") != "CANCEL_NOT_ALLOWED" || a.str("correlation_id") == "" {
			t.Fatalf("cancel: %d %s", a.status, a.raw)
		}
	})
	t.Run("after", func(t *testing.T) {
		box := newBox(t, sandbox.Config{Dir: dir})
		w := klarnaWire{t, box.url + "/klarna"}
		// The key alone decides, whatever is asked for under it.
		for _, again := range []string{orders + id + "/captures", orders + id + "/refunds"} {
			if a := w.call("POST", again, "k1", `{"captured_amount":5}`); a.status != 201 || a.header.Get("Capture-Id") != made {
				t.Errorf("%s: %d %s %v", again, a.status, a.raw, a.header)
			}
		}
		if a := w.call("POST", orders+id+"/release-remaining-authorization", "k3", `{}`); a.status != 403 || a.str("error_code") != "CANCEL_NOT_ALLOWED" {
			t.Errorf("the refusal is not repeated: %d %s", a.status, a.raw)
		}
		a := w.call("GET", orders+id, "", "")
		if a.str("status") != "PART_CAPTURED" || a.str("purchase_currency") != "SEK" || a.body["captured_amount"] != 900.0 || a.body["refunded_amount"] != 300.0 || a.body["remaining_authorized_amount"] != 600.0 {
			t.Errorf("order: %s", a.raw)
		}
		if a := w.call("GET", orders+id+"/captures/"+made, "", ""); a.str("reference") != "one" || a.str("description") != "shipped" || a.body["refunded_amount"] != 300.0 {
			t.Errorf("capture: %s", a.raw)
		}
		if a := w.call("GET", orders+id+"/refunds/"+refunded, "", ""); a.str("reference") != "back" {
			t.Errorf("refund: %s", a.raw)
		}
		if a := w.call("GET", orders+id+"/refunds/nosuch", "", ""); a.status != 404 || a.str("error_code") != "NO_SUCH_REFUND" {
			t.Errorf("no such refund: %d %s", a.status, a.raw)
		}
		if a := w.call("POST", orders+id+"/release-remaining-authorization", "k4", `{}`); a.status != 204 || a.raw != "" {
			t.Errorf("release: %d %s", a.status, a.raw)
		}
		book := box.BookOf(id)
		if len(book.Captures) != 1 || book.Captures[0].Reference != "one" || len(book.Refunds) != 1 || len(book.Cancels) != 1 || book.Cancels[0].Amount != 600 || len(book.Violations) != 0 {
			t.Errorf("book: %+v", book)
		}
	})
}

// TestKlarnaRefusals: what Klarna does not allow is not booked.
func TestKlarnaRefusals(t *testing.T) {
	box := newBox(t, sandbox.Config{})
	w := klarnaWire{t, box.url + "/klarna"}
	orders := "/ordermanagement/v1/orders/"
	id, rejected, done := w.order(""), w.order("fault=decline_hard"), w.order("")
	if a := w.call("POST", orders+done+"/cancel", "", `{}`); a.status != 204 {
		t.Fatalf("cancel: %d %s", a.status, a.raw)
	}
	for _, tt := range []struct {
		path, body string
		status     int
		code       string
	}{
		{orders + id + "/captures", `{"captured_amount":1501}`, 403, "CAPTURE_NOT_ALLOWED"},
		{orders + id + "/captures", `{"captured_amount":0}`, 400, "BAD_VALUE"},
		{orders + id + "/captures", `{"captured_amount":"15.00"}`, 400, "BAD_REQUEST"},
		{orders + id + "/captures", `{"captured_amount":1,"reference":"` + strings.Repeat("x", 256) + `"}`, 422, "UNPROCESSABLE_ENTITY"},
		{orders + id + "/refunds", `{"refunded_amount":1}`, 403, "REFUND_NOT_ALLOWED"},
		{orders + id + "/release-remaining-authorization", `{}`, 403, "NOT_ALLOWED"},
		{orders + rejected + "/captures", `{"captured_amount":1}`, 403, "CAPTURE_NOT_ALLOWED"},
		{orders + done + "/captures", `{"captured_amount":1}`, 403, "CAPTURE_NOT_ALLOWED"},
		{orders + done + "/cancel", `{}`, 403, "CANCEL_NOT_ALLOWED"},
		{orders + done + "/extend-authorization-time", `{}`, 403, "NOT_ALLOWED"},
		{orders + "nosuch/captures", `{"captured_amount":1}`, 404, "NO_SUCH_ORDER"},
		{"/payments/v1/authorizations/t/order", `{"purchase_currency":"EUR","order_amount":5,"order_lines":[{"total_amount":4}]}`, 400, "BAD_VALUE"},
		{"/payments/v1/authorizations/t/order", `{"purchase_currency":"EUR","order_amount":5,"order_lines":[{"total_amount":5}],"merchant_reference2":"fault=moon"}`, 400, "BAD_VALUE"},
		{"/nothing", `{}`, 404, "NOT_FOUND"},
	} {
		if a := w.call("POST", tt.path, "", tt.body); a.status != tt.status || a.str("error_code") != tt.code {
			t.Errorf("%s %s: %d %s, want %d %s", tt.path, tt.body, a.status, a.raw, tt.status, tt.code)
		}
	}
	book := box.Book()
	if len(book.Captures) != 0 || len(book.Refunds) != 0 || len(book.Cancels) != 1 || len(book.Violations) != 1 {
		t.Errorf("book: %+v", book)
	}
	// Nothing is told without credentials.
	resp, err := http.Get(box.url + "/klarna" + orders + id)
	if err != nil || resp.StatusCode != 401 {
		t.Errorf("without credentials: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}
