package paypal_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// specification reads PayPal's published document and has it speak of our sandbox.
func specification(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(paypal.SpecFile(t))
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = openapi3.Servers{{URL: "/paypal"}}
	return doc
}

// judge stands between adapter and sandbox and holds both to the document.
type judge struct {
	next   http.Handler
	router routers.Router
	t      *testing.T

	mu     sync.Mutex
	judged map[string]int
}

func newJudge(t *testing.T, doc *openapi3.T) *judge {
	t.Helper()
	router, err := legacy.NewRouter(doc, openapi3.DisableExamplesValidation(), openapi3.DisableSchemaPatternValidation(), openapi3.DisableSchemaDefaultsValidation())
	if err != nil {
		t.Fatal(err)
	}
	return &judge{router: router, t: t, judged: map[string]int{}}
}

// ServeHTTP lets everything pass; what breaks the document fails the test.
func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/paypal/v2/payments/") {
		j.next.ServeHTTP(w, r) // the token and the order are of other documents
		return
	}
	route, params, err := j.router.FindRoute(r)
	if err != nil {
		j.t.Errorf("%s %s is no call of the document: %v", r.Method, r.URL.Path, err)
		return
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true}
	options.SchemaValidationOptions = []openapi3.SchemaValidationOption{openapi3.DisablePatternValidation()}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller gave up
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if err := openapi3filter.ValidateRequest(context.WithoutCancel(r.Context()), in); err != nil {
		j.t.Errorf("%s %s: the adapter's request: %v", r.Method, r.URL.Path, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	seen := httptest.NewRecorder()
	j.next.ServeHTTP(seen, r)
	out := (&openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: seen.Code, Header: seen.Header(), Options: options}).SetBodyBytes(seen.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(r.Context()), out); err != nil {
		j.t.Errorf("%s %s: the sandbox's answer %d %s: %v", r.Method, r.URL.Path, seen.Code, seen.Body, err)
	}
	j.mu.Lock()
	j.judged[fmt.Sprintf("%s %d", route.Operation.OperationID, seen.Code)]++
	j.mu.Unlock()
	for name, values := range seen.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(seen.Code)
	_, _ = w.Write(seen.Body.Bytes())
}

// TestContract drives every call of the document, well and badly.
func TestContract(t *testing.T) {
	j := newJudge(t, specification(t))
	clock := newClock()
	w := newWorldBehind(t, sandbox.Config{Now: clock.Now, PayPal: sandbox.PayPalConfig{HonorPeriod: time.Millisecond}}, func(h http.Handler) http.Handler {
		j.next = h
		return j
	})
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
	for _, what := range []string{
		"authorizations.get 200", "authorizations.get 404", "authorizations.get 500", "authorizations.capture 201", "authorizations.capture 422",
		"authorizations.capture 404", "authorizations.capture 409", "authorizations.capture 500", "authorizations.reauthorize 201",
		"authorizations.void 200", "authorizations.void 409", "authorizations.void 422", "captures.refund 201", "captures.refund 422",
		"captures.get 200", "captures.get 404", "refunds.get 200",
	} {
		if j.judged[what] == 0 {
			t.Errorf("nothing was judged of %s: %v", what, j.judged)
		}
	}
	var _ gateway.Gateway = w.Adapter
}
