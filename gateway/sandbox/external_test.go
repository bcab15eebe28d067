package sandbox_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// merchant calls the wire of external gateways by hand.
type merchant struct {
	t   *testing.T
	url string
}

func signExternal(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func (m merchant) post(path, key, secret, body string) (int, map[string]any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.url+"/external"+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("X-CommerceLayer-Signature", signExternal(secret, body))
	}
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		m.t.Fatalf("%s: status %d: %v", path, resp.StatusCode, err)
	}
	return resp.StatusCode, out
}

func (m merchant) hold(more string) string {
	m.t.Helper()
	status, out := m.post("/holds", "", "", `{"amount_cents":1500,"currency_code":"EUR"`+more+`}`)
	if status != 201 {
		m.t.Fatalf("status %d: %v", status, out)
	}
	return dataOf(out)["transaction_token"].(string)
}

func dataOf(out map[string]any) map[string]any {
	data, _ := out["data"].(map[string]any)
	return data
}

func captureDocument(hold, reference string, cents int) string {
	return fmt.Sprintf(`{"data":{"id":"1","type":"authorizations","attributes":{"token":%q,"currency_code":"EUR","capture_amount_cents":%d,"metadata":{"capstan_reference":%q}}},"included":[{"id":"2","type":"orders"}]}`, hold, cents, reference)
}

// TestExternalWire: who may call, what a document must have, and that an
// operation is booked once by its key, by its reference, and after a restart.
func TestExternalWire(t *testing.T) {
	const secret = string(sandbox.ExternalSecret)
	dir := t.TempDir()
	box := newBox(t, sandbox.Config{Dir: dir})
	m := merchant{t, box.url}
	hold := m.hold("")
	document := captureDocument(hold, "cap_1", 1500)
	for _, row := range []struct {
		name, path, secret, body string
		status                   int
	}{
		{"no signature", "/capture", "", document, 401},
		{"another secret", "/capture", "guess", document, 401},
		{"no JSON", "/capture", secret, "{", 400},
		{"no order", "/capture", secret, strings.Replace(document, `"orders"`, `"markets"`, 1), 400},
		{"no reference", "/capture", secret, strings.Replace(document, "cap_1", "", 1), 400},
		{"the document of a capture, to refund", "/refund", secret, document, 400},
		{"the document of a capture, to void", "/void", secret, document, 400},
		{"another currency", "/capture", secret, strings.Replace(document, "EUR", "USD", 1), 422},
		{"too much", "/capture", secret, captureDocument(hold, "cap_1", 1501), 422},
		{"nobody's hold", "/capture", secret, captureDocument("ext_auth_x", "cap_1", 1500), 422},
		{"nothing there", "/settle", secret, document, 404},
		{"a hold of nothing", "/holds", "", `{"amount_cents":0,"currency_code":"EUR"}`, 422},
		{"a hold of no money", "/holds", "", `{"amount_cents":1,"currency_code":"XAU"}`, 422},
		{"a hold with no fault", "/holds", "", `{"amount_cents":1,"currency_code":"EUR","metadata":{"fault":"explode"}}`, 422},
	} {
		if status, out := m.post(row.path, "", row.secret, row.body); status != row.status || out["success"] == true {
			t.Errorf("%s: status %d, want %d: %v", row.name, status, row.status, out)
		}
	}
	status, first := m.post("/capture", "key", secret, document)
	if status != 200 || first["success"] != true || dataOf(first)["amount_cents"] != 1500.0 {
		t.Fatalf("status %d: %v", status, first)
	}
	again := func(url, key string) {
		t.Helper()
		status, out := merchant{t, url}.post("/capture", key, secret, document)
		if status != 200 || fmt.Sprint(out) != fmt.Sprint(first) {
			t.Errorf("under %q: status %d: %v, first %v", key, status, out, first)
		}
	}
	again(box.url, "key")
	again(box.url, "another-key")
	if status, out := m.post("/capture", "key", secret, captureDocument(hold, "cap_2", 1500)); status != 409 || out["success"] == true {
		t.Errorf("another document under the key: status %d: %v", status, out)
	}
	if status, out := m.post("/capture", "key-2", secret, captureDocument(hold, "cap_2", 1)); status != 422 || out["success"] != false {
		t.Errorf("captured twice: status %d: %v", status, out)
	}
	if book := box.BookOf(hold); len(book.Captures) != 1 || len(book.Violations) != 1 {
		t.Errorf("the book has %+v", book)
	}
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	reopened, err := sandbox.New(sandbox.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(reopened.Handler())
	t.Cleanup(func() { srv.Close(); _ = reopened.Close() })
	again(srv.URL, "key")
	again(srv.URL, "a-third-key")
	if n := len(reopened.BookOf(hold).Captures); n != 1 {
		t.Errorf("%d captures after the restart", n)
	}
}

// TestExternalCallback: what was accepted is called back, signed, and a
// repetition says until then that it is under way.
func TestExternalCallback(t *testing.T) {
	const secret = string(sandbox.ExternalSecret)
	var mu sync.Mutex
	var heard []string
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("X-CommerceLayer-Signature") == signExternal("callback-secret", string(body)) {
			heard = append(heard, string(body))
		}
	}))
	defer hooks.Close()
	box := newBox(t, sandbox.Config{Webhooks: []sandbox.Endpoint{{URL: hooks.URL, Secret: gateway.Secret("callback-secret"), Wire: "external"}}})
	m := merchant{t, box.url}
	for fault, success := range map[string]bool{"": true, "decline": false} {
		hold := m.hold(`,"async":"1h","metadata":{"fault":"` + fault + `"}`)
		document := captureDocument(hold, "cap_"+hold, 1500)
		status, first := m.post("/capture", hold, secret, document)
		again, second := m.post("/capture", hold, secret, document)
		if status != 202 || again != 202 || dataOf(first)["action_id"] == nil || fmt.Sprint(first) != fmt.Sprint(second) || first["success"] != true {
			t.Errorf("%q: %d %v, then %d %v", fault, status, first, again, second)
		}
		if n := len(box.BookOf(hold).Captures); (n == 1) != success {
			t.Errorf("%q: %d captures", fault, n)
		}
		hold = m.hold(`,"async":"0s","metadata":{"fault":"` + fault + `"}`)
		_, first = m.post("/capture", hold, secret, captureDocument(hold, "cap_"+hold, 1500))
		action, _ := dataOf(first)["action_id"].(string)
		waitFor(t, "the callback", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, body := range heard {
				if action != "" && strings.Contains(body, action) {
					return strings.Contains(body, fmt.Sprintf(`"success":%t`, success))
				}
			}
			return false
		})
	}
}
