package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// Options of a [Judge].
type Options struct {
	// Base is the path below which the sandbox speaks this provider's wire; empty
	// is its root.
	Base string
	// Skip says which requests are of other documents and are let through.
	Skip func(r *http.Request) bool
}

// Judge stands between an adapter and the sandbox and lets everything pass; what
// breaks the document fails the test. It is safe for concurrent use.
type Judge struct {
	t      testing.TB
	router routers.Router
	skip   func(r *http.Request) bool
	base   string

	mu     sync.Mutex
	judged map[string]int
}

// New makes a judge of the document's paths.
func New(t testing.TB, doc *openapi3.T, o Options) *Judge {
	t.Helper()
	base := "/" + strings.Trim(o.Base, "/")
	doc.Servers = openapi3.Servers{{URL: base}}
	router, err := legacy.NewRouter(doc, openapi3.DisableExamplesValidation(), openapi3.DisableSchemaPatternValidation(), openapi3.DisableSchemaDefaultsValidation())
	if err != nil {
		t.Fatalf("read the published document: %v", err)
	}
	if o.Skip == nil {
		o.Skip = func(*http.Request) bool { return false }
	}
	return &Judge{t: t, router: router, skip: o.Skip, base: strings.TrimSuffix(base, "/"), judged: map[string]int{}}
}

// Before returns a handler that judges what goes into next and comes out of it.
func (j *Judge) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if j.skip(r) {
			next.ServeHTTP(w, r)
			return
		}
		in, body, ok := j.request(r)
		if !ok {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		seen := httptest.NewRecorder()
		next.ServeHTTP(seen, r)
		j.answer(in, seen)
		maps.Copy(w.Header(), seen.Header())
		w.WriteHeader(seen.Code)
		_, _ = w.Write(seen.Body.Bytes())
	})
}

// Sent judges a message that a provider posts to its merchants, where its
// document describes that: path is the message's there.
func (j *Judge) Sent(path, contentType string, body []byte) {
	j.t.Helper()
	r := httptest.NewRequest(http.MethodPost, j.base+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	if in, _, ok := j.request(r); ok {
		j.count(in, 0)
	}
}

// request judges a request and returns its body.
func (j *Judge) request(r *http.Request) (*openapi3filter.RequestValidationInput, []byte, bool) {
	route, params, err := j.router.FindRoute(r)
	if err != nil {
		j.t.Errorf("%s %s is no call of the document: %v", r.Method, r.URL.Path, err)
		return nil, nil, false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, false // the caller gave up
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, IncludeResponseStatus: true, SchemaValidationOptions: lenient,
	}}
	if err := openapi3filter.ValidateRequest(context.WithoutCancel(r.Context()), in); err != nil {
		j.t.Errorf("%s %s %s: the request: %v", r.Method, r.URL.Path, body, err)
	}
	return in, body, true
}

func (j *Judge) answer(in *openapi3filter.RequestValidationInput, seen *httptest.ResponseRecorder) {
	out := (&openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: seen.Code, Header: seen.Header(), Options: in.Options}).SetBodyBytes(seen.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(in.Request.Context()), out); err != nil {
		j.t.Errorf("%s %s: the answer %d %s: %v", in.Request.Method, in.Request.URL.Path, seen.Code, seen.Body, err)
	}
	j.count(in, seen.Code)
}

func (j *Judge) count(in *openapi3filter.RequestValidationInput, status int) {
	name := in.Route.Operation.OperationID
	if name == "" {
		name = in.Route.Method + " " + in.Route.Path
	}
	if status != 0 {
		name = fmt.Sprintf("%s %d", name, status)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.judged[name]++
}

// Want fails the test where one of these was never judged: "operation status" of
// a call, "operation" of a message. An operation is called by its id in the
// document, or by its method and path where it has none.
func (j *Judge) Want(names ...string) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, name := range names {
		if j.judged[name] == 0 {
			j.t.Errorf("nothing was judged of %s, but of %s", name, slices.Sorted(maps.Keys(j.judged)))
		}
	}
}
