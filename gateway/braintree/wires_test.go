package braintree_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/models"
)

const shownSale = `<transaction><id>%s</id><status>settled</status><type>sale</type><currency-iso-code>EUR</currency-iso-code><amount>15.00</amount>%s</transaction>`

// scripted is an adapter whose gateway answers each path with a text, and notes
// what it was asked.
func scripted(t *testing.T, answer func(path string) string) (*braintree.Adapter, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		mu.Lock()
		asked = append(asked, fmt.Sprintf("%s %s v%s %s %s/%s %s", r.Method, r.URL.EscapedPath(), r.Header.Get("X-ApiVersion"), r.Header.Get("Accept"), user, password, body))
		mu.Unlock()
		_, _ = io.WriteString(rw, answer(r.URL.Path))
	}))
	t.Cleanup(srv.Close)
	a := braintree.New(braintree.Config{Account: "braintree", MerchantID: "my shop", PublicKey: "public", PrivateKey: "hunter2", BaseURL: srv.URL})
	t.Cleanup(a.Close)
	return a, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
}

// TestWhatIsSent, to the letter: once, without a key, and with our reference
// where Braintree takes one.
func TestWhatIsSent(t *testing.T) {
	status := "authorized"
	a, asked := scripted(t, func(string) string {
		return strings.Replace(fmt.Sprintf(shownSale, "ezc3pr8w", ""), "settled", status, 1)
	})
	ctx := t.Context()
	capture, refund := request(models.Capture, "ezc3pr8w", 1500), request(models.Refund, "ezc3pr8w", 500)
	a.Capture(ctx, capture)
	a.Refund(ctx, refund)
	a.Void(ctx, request(models.Void, "ezc3pr8w", 1500))
	status = "submitted_for_settlement"
	a.Refund(ctx, whole("ezc3pr8w", 1500))
	const path, head = "/merchants/my%20shop/transactions/ezc3pr8w", "v6 application/xml public/hunter2 "
	want := []string{
		"PUT " + path + "/submit_for_settlement " + head + "<transaction><amount>15.00</amount><order-id>" + capture.Reference + "</order-id></transaction>",
		"POST " + path + "/refund " + head + "<transaction><amount>5.00</amount><order-id>" + refund.Reference + "</order-id></transaction>",
		"GET " + path + " " + head, "PUT " + path + "/void " + head,
		"GET " + path + " " + head, "PUT " + path + "/void " + head,
	}
	if diff := cmp.Diff(want, asked()); diff != "" {
		t.Error(diff)
	}
}

// A whole refund that was declined once is made again: what a look finds of the
// first does not stand for it.
func TestWholeRefundAfterADecline(t *testing.T) {
	r := whole("ezc3pr8w", 1500)
	credit := `<transaction><id>%s</id><status>%s</status><type>credit</type><currency-iso-code>EUR</currency-iso-code><amount>15.00</amount><order-id>` + r.Reference +
		`</order-id><refunded-transaction-id>ezc3pr8w</refunded-transaction-id><processor-response-code>2046</processor-response-code></transaction>`
	a, asked := scripted(t, func(path string) string {
		switch {
		case strings.HasSuffix(path, "/refund"):
			return fmt.Sprintf(credit, "credit2", "submitted_for_settlement")
		case strings.HasSuffix(path, "/credit1"):
			return fmt.Sprintf(credit, "credit1", "processor_declined")
		}
		return fmt.Sprintf(shownSale, "ezc3pr8w", "<refund-ids><item>credit1</item></refund-ids>")
	})
	must(t, a.LookUp(t.Context(), r), models.OutcomeNone, 0)
	if ev := must(t, a.Refund(t.Context(), r), models.OutcomeConfirmed, 1500); ev.GatewayTransactionID != "credit2" {
		t.Errorf("%s after %q", ev.JSON(), asked())
	}
}

// TestStrangeAnswersToLooks prove nothing.
func TestStrangeAnswersToLooks(t *testing.T) {
	many := "<refund-ids>"
	for i := range 21 {
		many += fmt.Sprintf("<item>refund%d</item>", i)
	}
	many += "</refund-ids>"
	credit := strings.Replace(fmt.Sprintf(shownSale, "refund1", "<refunded-transaction-id>another1</refunded-transaction-id>"), "sale", "credit", 1)
	for name, tt := range map[string]struct {
		sale, refund string
		calls        int
	}{
		"another sale":               {fmt.Sprintf(shownSale, "another1", ""), "", 1},
		"a refund":                   {strings.Replace(fmt.Sprintf(shownSale, "ezc3pr8w", ""), "sale", "credit", 1), "", 1},
		"nothing":                    {"", "", 1},
		"more refunds than are read": {fmt.Sprintf(shownSale, "ezc3pr8w", many), "", 1},
		"a refund that is a path":    {fmt.Sprintf(shownSale, "ezc3pr8w", "<refund-id>../../x</refund-id>"), "", 1},
		"another's refund":           {fmt.Sprintf(shownSale, "ezc3pr8w", "<refund-id>refund1</refund-id>"), credit, 2},
		"a sale as its refund":       {fmt.Sprintf(shownSale, "ezc3pr8w", "<refund-id>refund1</refund-id>"), fmt.Sprintf(shownSale, "refund1", ""), 2},
		"no refund":                  {fmt.Sprintf(shownSale, "ezc3pr8w", "<refund-id>refund1</refund-id>"), "<html/>", 2},
	} {
		a, asked := scripted(t, func(path string) string {
			if strings.HasSuffix(path, "/ezc3pr8w") {
				return tt.sale
			}
			return tt.refund
		})
		r := request(models.Refund, "ezc3pr8w", 500)
		if ev := a.LookUp(t.Context(), r); ev.Outcome != models.OutcomeLost || ev.Source != models.FromLookUp {
			t.Errorf("%s: %s", name, ev.JSON())
		}
		if n := len(asked()); n != tt.calls {
			t.Errorf("%s: asked %d times: %q", name, n, asked())
		}
		// A cancel that cannot see what there is sends nothing.
		if ev := a.Refund(t.Context(), whole("ezc3pr8w", 500)); ev.Outcome != models.OutcomeNotSent {
			t.Errorf("%s: cancelled with %s", name, ev.JSON())
		}
		for _, q := range asked() {
			if !strings.HasPrefix(q, http.MethodGet) {
				t.Errorf("%s: sent %s", name, q)
			}
		}
	}
}
