package sandbox

import (
	"bytes"
	"crypto/rand"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// BraintreeConfig is how Braintree's wire behaves. The zero value behaves as
// Braintree documents it and takes any keys.
type BraintreeConfig struct {
	// Keys are the public keys that are good, with their private keys; empty takes any.
	Keys map[string]gateway.Secret
	// HoldLife is how long a Visa's authorization lives; the others live as much
	// longer or shorter as at Braintree. Default 8 days.
	HoldLife time.Duration
	// Settles is how long after it was submitted a transaction has settled.
	// Default 24 hours.
	Settles time.Duration
}

func (c BraintreeConfig) withDefaults() BraintreeConfig {
	if c.HoldLife <= 0 {
		c.HoldLife = 8 * 24 * time.Hour
	}
	if c.Settles <= 0 {
		c.Settles = 24 * time.Hour
	}
	return c
}

// braintreeRoutes is Braintree's wire, below its own prefix, with the calls by
// which its own sandbox lets tests settle.
func (s *Server) braintreeRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	const one = "/merchants/{merchant}/transactions/{id}"
	mux.Handle("POST /merchants/{merchant}/transactions", s.serveBraintree(callCreate, s.braintreeSale))
	mux.Handle("GET "+one, s.serveBraintree(callLookUp, s.braintreeFind))
	mux.Handle("PUT "+one+"/submit_for_settlement", s.serveBraintree(callCapture, s.braintreeSubmit))
	mux.Handle("PUT "+one+"/void", s.serveBraintree(callCancel, s.braintreeVoid))
	mux.Handle("POST "+one+"/refund", s.serveBraintree(callRefund, s.braintreeRefund))
	for verb, status := range map[string]string{"settle": btSettled, "settlement_confirm": "settlement_confirmed", "settlement_pending": btPending, "settlement_decline": btSettleDeclined} {
		mux.Handle("PUT "+one+"/"+verb, s.serveBraintree(callOther, func(c *call) reply { return s.braintreeSimulate(c, status) }))
	}
	mux.Handle("/", s.serveBraintree(callOther, func(*call) reply { return braintreeFail(404, "") }))
	return mux
}

// serveBraintree runs one route: the same steps as serve, in Braintree's words.
// There are no idempotency keys, so the work is done for every call.
func (s *Server) serveBraintree(name string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newBraintreeID(20), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writeBraintree}
		w.Header().Set("X-Request-Id", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, braintreeFail(413, ""))
			return
		}
		s.locked(func(b *book) {
			if h := b.holds[r.PathValue("id")]; h != nil {
				c.hold = h.id
			} else if h := b.refunds[r.PathValue("id")]; h != nil {
				c.hold = h.id
			}
		})
		body, _ := readBraintree(c.json) // what is wrong with it is told by the endpoint
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: body.OrderID, At: c.at, Amount: body.Amount}
		s.calls.add(c.record)
		if !s.braintreeAuthenticate(r, c) {
			s.write(w, c, fail(unauthorized("")))
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, true)) // a hold described first uses up no fault
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		var rep reply
		s.locked(func(*book) { rep = s.runBraintree(c, do) })
		s.after(w, r, c, rep)
	}
}

func (s *Server) runBraintree(c *call, do endpoint) reply {
	if c.fault.mode == modeSticky500 { // nothing sticks where there are no keys
		return fail(serverError(false))
	}
	return s.run(c, do)
}

func (s *Server) braintreeAuthenticate(r *http.Request, c *call) bool {
	public, private, _ := r.BasicAuth()
	c.live = strings.HasPrefix(public, "live")
	if len(s.config.Braintree.Keys) == 0 {
		return public != "" && private != ""
	}
	want, known := s.config.Braintree.Keys[public]
	return known && want.Reveal() == private
}

// braintreeProblem marks an error in Braintree's words: Code is that of a
// validation error.
const braintreeProblem = "braintree"

// braintreeCodes are the validation errors that the sandbox answers.
var braintreeCodes = map[string]struct{ attribute, message string }{
	"81502": {"amount", "Amount is required."},
	"81503": {"amount", "Amount is an invalid format."},
	"81528": {"amount", "Amount is too large."},
	"81531": {"amount", "Amount must be greater than zero."},
	"91501": {"order_id", "Order ID is too long."},
	"91504": {"base", "Transaction can only be voided if status is authorized, submitted_for_settlement, or - for PayPal - settlement_pending."},
	"91506": {"base", "Cannot refund transaction unless it is settled."},
	"91507": {"base", "Cannot submit for settlement unless status is authorized."},
	"91512": {"base", "Transaction has already been completely refunded."},
	"91513": {"merchant_account_id", "Merchant account ID is invalid."},
	"91521": {"amount", "Refund amount is too large."},
	"91522": {"amount", "Settlement amount is too large."},
	"91523": {"type", "Transaction type is invalid."},
	"91526": {"custom_fields", "Custom field is invalid: fault."},
	"91575": {"base", "Cannot transition transaction to the wanted status."},
	"95602": {"base", "The authorization could not be adjusted."},
	"95603": {"base", "The authorization could not be adjusted now. Try again."},
}

func braintreeFail(status int, code string) reply {
	return fail(&apiError{Status: status, Type: braintreeProblem, Code: code, Message: braintreeCodes[code].message})
}

// writeBraintree answers without any fault, in Braintree's shape. An error that
// is told by its status alone has no body.
func (s *Server) writeBraintree(w http.ResponseWriter, c *call, r reply) {
	body := []byte(r.body)
	if r.err != nil {
		body = nil
		if r.err.Status == http.StatusUnprocessableEntity {
			body = []byte(braintreeErrorXML(r.err.Code))
		}
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status = r.status })
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

// newBraintreeID makes an id as Braintree's look: digits and small letters.
func newBraintreeID(n int) string {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return string(b)
}

// xmlText is a text as it stands between two tags.
func xmlText(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
