package sandbox_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
)

// braintreeWire calls Braintree's wire by hand.
type braintreeWire struct {
	t   *testing.T
	box *box
	// user and password are the API keys.
	user, password string
}

type braintreeAnswer struct {
	status int
	raw    string
	ID     string   `xml:"id"`
	Status string   `xml:"status"`
	Amount string   `xml:"amount"`
	Order  string   `xml:"order-id"`
	Back   []string `xml:"refund-ids>item"`
	Codes  []string `xml:"errors>transaction>errors>error>code"`
}

func (w braintreeWire) call(method, path, body string) braintreeAnswer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.box.url+"/braintree/merchants/shop/transactions"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth(w.user, w.password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	a := braintreeAnswer{status: resp.StatusCode, raw: string(raw)}
	if len(raw) > 0 && xml.Unmarshal(raw, &a) != nil {
		w.t.Fatalf("%s %s: %s", method, path, raw)
	}
	return a
}

func newBraintreeWire(t *testing.T, c sandbox.Config) braintreeWire {
	t.Helper()
	return braintreeWire{t: t, box: newBox(t, c), user: "public", password: "private"}
}

func (w braintreeWire) sale(body string) string {
	w.t.Helper()
	a := w.call("POST", "", "<transaction><type>sale</type><amount>15.00</amount>"+body+"</transaction>")
	if a.status != 201 || a.ID == "" {
		w.t.Fatalf("sale: %+v", a)
	}
	return a.ID
}

func TestBraintreeWireRefuses(t *testing.T) {
	w := newBraintreeWire(t, sandbox.Config{})
	held, taken, settled := w.sale(""), w.sale("<options><submit-for-settlement>true</submit-for-settlement></options>"), w.sale("<options><submit_for_settlement type=\"boolean\">true</submit_for_settlement></options>")
	if a := w.call("PUT", "/"+settled+"/settle", ""); a.Status != "settled" {
		t.Fatalf("settle: %+v", a)
	}
	back := w.call("POST", "/"+settled+"/refund", "<transaction><amount>5.00</amount><order_id>R1</order_id></transaction>")
	if back.status != 201 || back.Order != "R1" {
		t.Fatalf("refund: %+v", back)
	}
	amount := func(s string) string { return "<transaction><amount>" + s + "</amount></transaction>" }
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "", amount("15.00"), 422, "91523"},
		{"POST", "", "<transaction><type>sale</type></transaction>", 422, "81502"},
		{"POST", "", "<transaction><type>sale</type><amount>15.001</amount></transaction>", 422, "81503"},
		{"POST", "", "<transaction><type>sale</type><amount>15.50</amount><merchant-account-id>JPY</merchant-account-id></transaction>", 422, "81503"},
		{"POST", "", "<transaction><type>sale</type><amount>15.00</amount><merchant-account-id>gold</merchant-account-id></transaction>", 422, "91513"},
		{"POST", "", "<transaction><type>sale</type><amount>15.00</amount><order-id>fault=moon</order-id></transaction>", 422, "91526"},
		{"POST", "", "<transaction", 422, "81503"},
		{"PUT", "/" + held + "/submit_for_settlement", amount("0.00"), 422, "81531"},
		{"PUT", "/" + held + "/submit_for_settlement", amount("-1"), 422, "81503"},
		{"PUT", "/" + held + "/submit_for_settlement", amount("15.01"), 422, "91522"},
		{"PUT", "/" + held + "/submit_for_settlement", "<transaction><order-id>" + strings.Repeat("x", 256) + "</order-id></transaction>", 422, "91501"},
		{"POST", "/" + held + "/refund", "", 422, "91506"},
		{"PUT", "/" + held + "/settle", "", 422, "91575"},
		{"PUT", "/" + taken + "/submit_for_settlement", "", 422, "91507"},
		{"POST", "/" + taken + "/refund", "", 422, "91506"},
		{"PUT", "/" + settled + "/void", "", 422, "91504"},
		{"POST", "/" + settled + "/refund", amount("10.01"), 422, "91521"},
		{"PUT", "/" + back.ID + "/void", "", 422, "91504"},
		{"POST", "/" + back.ID + "/refund", "", 422, "91506"},
		{"PUT", "/" + back.ID + "/submit_for_settlement", "", 422, "91507"},
		{"GET", "/nothere", "", 404, ""},
		{"PUT", "/nothere/void", "", 404, ""},
		{"DELETE", "/" + held, "", 404, ""},
	} {
		a := w.call(tt.method, tt.path, tt.body)
		if a.status != tt.status || len(a.Codes) != min(1, len(tt.code)) || tt.code != "" && a.Codes[0] != tt.code {
			t.Errorf("%s %s %s: %d %v, want %d %s", tt.method, tt.path, tt.body, a.status, a.Codes, tt.status, tt.code)
		}
	}
	live := w
	live.user = "live_public"
	if a := live.call("GET", "/"+held, ""); a.status != 404 {
		t.Errorf("a live key sees a test transaction: %+v", a)
	}
	live.user = ""
	if a := live.call("GET", "/"+held, ""); a.status != 401 {
		t.Errorf("no key: %+v", a)
	}
	// The one violation is the capture of more than the hold, which was refused.
	if book := w.box.Book(); len(book.Violations) != 1 || len(book.Captures) != 2 || len(book.Refunds) != 1 {
		t.Errorf("book: %+v", book)
	}
	closed := newBraintreeWire(t, sandbox.Config{Braintree: sandbox.BraintreeConfig{Keys: map[string]gateway.Secret{"public": "other"}}})
	if a := closed.call("POST", "", amount("1.00")); a.status != 401 {
		t.Errorf("another private key: %+v", a)
	}
}

// TestBraintreeTime: authorizations end, and what was submitted settles, when
// their time has come, also in a book that is read again.
func TestBraintreeTime(t *testing.T) {
	var mu sync.Mutex
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	dir := t.TempDir()
	s, err := sandbox.New(sandbox.Config{Dir: dir, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	w := braintreeWire{t: t, box: serveBox(t, s), user: "public", password: "private"}
	held, paypal := w.sale("<order-id>S1</order-id>"), w.sale("<payment-method-nonce>fake-paypal-one-time-nonce</payment-method-nonce>")
	taken, undone := w.sale(""), w.sale("")
	for _, id := range []string{taken, undone} {
		if a := w.call("PUT", "/"+id+"/submit_for_settlement", "<transaction><amount>12.00</amount><order-id>C1</order-id></transaction>"); a.Status != "submitted_for_settlement" || a.Amount != "12.00" {
			t.Fatalf("%+v", a)
		}
	}
	if a := w.call("PUT", "/"+undone+"/void", ""); a.Status != "voided" || a.Amount != "12.00" {
		t.Fatalf("%+v", a)
	}
	pass(25 * time.Hour)
	if a := w.call("GET", "/"+taken, ""); a.Status != "settled" || a.Order != "C1" {
		t.Fatalf("a day later: %+v", a)
	}
	if a := w.call("POST", "/"+taken+"/refund", "<transaction><amount>2.00</amount></transaction>"); a.status != 201 {
		t.Fatalf("refund: %+v", a)
	}
	pass(8 * 24 * time.Hour)
	for id, want := range map[string]string{held: "authorization_expired", paypal: "authorized"} {
		if a := w.call("GET", "/"+id, ""); a.Status != want {
			t.Errorf("nine days later: %+v, want %s", a, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sandbox.New(sandbox.Config{Dir: dir, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	w.box = serveBox(t, again)
	for id, want := range map[string]string{held: "authorization_expired", paypal: "authorized", taken: "settled", undone: "voided"} {
		if a := w.call("GET", "/"+id, ""); a.Status != want || id == taken && len(a.Back) != 1 {
			t.Errorf("read again: %+v, want %s", a, want)
		}
	}
	book := again.BookOf(undone)
	if len(book.Captures) != 1 || len(book.Refunds) != 1 || book.Refunds[0].Amount != 1200 || len(book.Cancels) != 0 {
		t.Errorf("the void of a capture is a refund in the book: %+v", book)
	}
}

// serveBox puts a sandbox that the test closes by itself behind a listener.
func serveBox(t *testing.T, s *sandbox.Server) *box {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return &box{Server: s, url: srv.URL}
}
