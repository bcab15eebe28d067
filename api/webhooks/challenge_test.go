package webhooks

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/capstan-pay/capstan/api"
)

// A sender that tests the address gets its answer as plain text, and anybody
// else a 404, as of a path that is not there.
func TestChallenged(t *testing.T) {
	handle := challenged(Source{Challenge: func(query url.Values) (string, bool) { return "key|" + query.Get("q"), query.Get("q") == "abc" }})
	rec := httptest.NewRecorder()
	if err := handle(rec, httptest.NewRequest("GET", "/webhooks/x?q=abc", nil)); err != nil || rec.Body.String() != "key|abc" || rec.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%v: %q %v", err, rec.Body, rec.Header())
	}
	rec = httptest.NewRecorder()
	problem, ok := handle(rec, httptest.NewRequest("GET", "/webhooks/x", nil)).(*api.Problem)
	if !ok || problem.Status != 404 || rec.Body.Len() != 0 {
		t.Errorf("%+v: %q", problem, rec.Body)
	}
}
