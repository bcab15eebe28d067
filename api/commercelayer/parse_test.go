package commercelayer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/api"
)

// Whatever is sent, parse answers with a value that survives being written
// again, or with a problem; and it takes nothing that encoding/json refuses.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"data":{"type":"orders","attributes":{"total_amount_cents":1500}}}`, `[1,2,{"a":null}]`, `{"a":1,"a":2}`, `{"a":1}{}`, `1e400`, `"\u0000"`,
		strings.Repeat(`[`, 100), `{"a":`, "\xff", `{"\ud800":1}`, ` `, `nul`, `[1,]`, `{"a" 1}`, `-`, `01`, `[1}`, `{"a":1]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parse(body)
		if err != nil {
			if p, ok := errors.AsType[*api.Problem](err); !ok || p.Status != http.StatusBadRequest || len(p.Pointer) > 300 {
				t.Fatalf("parse(%q) fails with %v", body, err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("parse took %q, which is no JSON", body)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("parse(%q) gives what cannot be written: %v", body, err)
		}
		if bytes.Contains(again, []byte(`\u0000`)) && !bytes.Contains(body, []byte(`\\u0000`)) {
			t.Fatalf("a NUL came through: %q", again)
		}
	})
}

// Whatever is asked, the query becomes filters and pages from the allow-list,
// or a 400.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"page[number]=2&page[size]=25", "filter[q][id_eq]=x&sort=-id", "include=order.captures", "page%5Bsize%5D=%00", "sort=;", "filter[q][]=1", "include=,,,", "a=b&a=c",
	} {
		f.Add(s)
	}
	a := New(Config{Now: time.Now})
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := readQuery(&http.Request{URL: &url.URL{RawQuery: raw}}, a.captureType, true)
		if err != nil {
			if p, ok := errors.AsType[*api.Problem](err); !ok || p.Status != http.StatusBadRequest {
				t.Fatalf("%q fails with %v", raw, err)
			}
			return
		}
		if q.page.Number < 1 || q.page.Size < 1 || q.page.Size > maxPageSize || len(q.includes) > maxIncludes {
			t.Fatalf("%q gives %+v", raw, q)
		}
		for name := range q.filters {
			if a.captureType.relation(name) != nil || !strings.Contains(strings.Join(a.captureType.filters, " "), name) {
				t.Fatalf("%q filters by %q", raw, name)
			}
		}
	})
}

func TestAccept(t *testing.T) {
	for accept, ok := range map[string]bool{
		"": true, "*/*": true, "application/*": true, "application/vnd.api+json": true, "application/json": true, "text/html, */*;q=0.1": true,
		"application/vnd.api+json;profile=\"https://example.com/x\"": true, "application/vnd.api+json;q=0.5": true,
		"text/html": false, "application/vnd.api+json;q=0": false, "application/vnd.api+json;ext=\"x\"": false, "image/png, text/plain": false, "nonsense": false,
		"application/vnd.api+json;version=1, application/vnd.api+json": true,
	} {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if got := acceptable(r) == nil; got != ok {
			t.Errorf("Accept %q: %t", accept, got)
		}
	}
}

// Every published link of every resource type leads to a route.
func TestEveryRelationHasRoutes(t *testing.T) {
	a := New(Config{Now: time.Now})
	served := map[string]bool{}
	for _, r := range a.Dialect().Routes {
		served[r.Method+" "+r.Pattern] = true
	}
	for _, typ := range []*resourceType{a.orderType, a.holdType, a.captureType, a.refundType, a.voidType, a.methodType, a.verdictType, a.reconciliationType} {
		for _, path := range []string{"", "/{id}"} {
			if !served["GET /api/"+typ.name+path] {
				t.Errorf("GET /api/%s%s is not served", typ.name, path)
			}
		}
		for _, rel := range typ.relations {
			for _, path := range []string{"/{id}/" + rel.name, "/{id}/relationships/" + rel.name} {
				if !served["GET /api/"+typ.name+path] {
					t.Errorf("GET /api/%s%s is not served", typ.name, path)
				}
			}
			if rel.target == nil {
				t.Errorf("%s.%s has no target", typ.name, rel.name)
			}
		}
	}
}
