package contract_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/gatewaytest/contract"
)

// complaints counts what a judge says instead of failing.
type complaints struct {
	testing.TB
	said int
}

func (c *complaints) Errorf(string, ...any) { c.said++ }
func (c *complaints) Helper()               {}

const published = `{"openapi":"3.0.0","info":{"title":"t","version":"1"},"paths":{
	"/pay":{"post":{"operationId":"pay","requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/order"}}}},
		"responses":{"200":{"description":"ok","content":{"application/json":{"schema":{"$ref":"#/components/schemas/paid"}}}}}}},
	"/other":{"get":{"responses":{"200":{"description":"ok","content":{"application/json":{"schema":{"$ref":"#/components/schemas/unused"}}}}}}}},
	"components":{"schemas":{
		"order":{"type":"object","required":["cents"],"properties":{"cents":{"$ref":"#/components/schemas/cents"}},"additionalProperties":false},
		"cents":{"type":"integer","minimum":1},"paid":{"type":"object","required":["id"],"properties":{"id":{"type":"string"}}},"unused":{"type":"string"}}}}`

// A judge that never objects proves nothing: each side's mistake is told, and
// what passes is passed on unchanged.
func TestJudge(t *testing.T) {
	for _, row := range []struct {
		name, path, request, answer string
		status, said                int
	}{
		{"both right", "/base/pay", `{"cents":1}`, `{"id":"a"}`, 200, 0},
		{"the request is wrong", "/base/pay", `{"cents":0}`, `{"id":"a"}`, 200, 1},
		{"it says too much", "/base/pay", `{"cents":1,"x":1}`, `{"id":"a"}`, 200, 1},
		{"the answer is wrong", "/base/pay", `{"cents":1}`, `{"id":1}`, 200, 1},
		{"both wrong", "/base/pay", `{}`, `{}`, 200, 2},
		{"a status that is not published", "/base/pay", `{"cents":1}`, `{}`, 418, 1},
		{"a call that is not published", "/base/refund", `{}`, `{}`, 200, 1},
		{"a path that was left out", "/base/other", `{}`, `{}`, 200, 1},
		{"of another document", "/elsewhere", `{}`, `{}`, 200, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &complaints{TB: t}
			judge := contract.New(c, contract.Load(t, []byte(published), "/pay"), contract.Options{
				Base: "base", Skip: func(r *http.Request) bool { return r.URL.Path == "/elsewhere" },
			})
			handler := judge.Before(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.answer))
			}))
			r := httptest.NewRequest(http.MethodPost, row.path, strings.NewReader(row.request))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if c.said != row.said {
				t.Errorf("%d complaints, want %d", c.said, row.said)
			}
			if row.path == "/base/pay" && (w.Code != row.status || w.Body.String() != row.answer) {
				t.Errorf("passed on %d %s", w.Code, w.Body)
			}
			c.said = 0
			judge.Want("pay 200", "refund 200")
			if judged := row.path == "/base/pay" && row.status == 200; judged != (c.said == 1) {
				t.Errorf("%d operations were not judged", c.said)
			}
		})
	}
	c := &complaints{TB: t}
	judge := contract.New(c, contract.Load(t, []byte(published)), contract.Options{})
	judge.Sent("/pay", "application/json", []byte(`{"cents":2}`))
	judge.Want("pay")
	if c.said != 0 {
		t.Errorf("a good message: %d complaints", c.said)
	}
	judge.Sent("/pay", "application/json", []byte(`{"cents":"2"}`))
	contract.Fits(c, contract.Load(t, []byte(published)), "paid", []byte(`{"id":2}`))
	if c.said != 2 {
		t.Errorf("a bad message and a bad value: %d complaints", c.said)
	}
}

// The documents that tests use can be read and routed, 3.1 as well as 3.0.
func TestPublishedDocuments(t *testing.T) {
	for name, paths := range map[string][]string{
		"paypal-payments-v2.json": nil,
		"adyen-checkout-v72.json": {"/payments/{paymentPspReference}/captures", "/payments/{paymentPspReference}/refunds", "/payments/{paymentPspReference}/cancels", "/payments/{paymentPspReference}/reversals"},
		"adyen-webhooks-v1.json":  {"/CAPTURE", "/CAPTURE_FAILED", "/REFUND", "/CANCELLATION", "/EXPIRE"},
	} {
		t.Run(name, func(t *testing.T) {
			contract.New(t, contract.Document(t, name, paths...), contract.Options{Base: "/x"})
		})
	}
}
