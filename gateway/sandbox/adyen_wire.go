package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// AdyenConfig is how Adyen's wire behaves. The zero value behaves as Adyen
// documents it and takes any API key and any merchant account.
type AdyenConfig struct {
	// Accounts are the merchant accounts that exist; empty takes any.
	Accounts []string
	// MultiCapture: multiple partial captures are enabled. Without it the first
	// capture of a part cancels the rest.
	MultiCapture bool
	// AuthorisationLife is how long a hold lives. Default 28 days.
	AuthorisationLife time.Duration
	// Batch puts the events of one change into one webhook.
	Batch bool
}

func (c AdyenConfig) withDefaults() AdyenConfig {
	if c.AuthorisationLife <= 0 {
		c.AuthorisationLife = 28 * 24 * time.Hour
	}
	return c
}

// adyenRoutes is Adyen's wire, below its own prefix.
func (s *Server) adyenRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /v72/payments", s.serveAdyen(callCreate, s.adyenPayment))
	mux.Handle("POST /v72/payments/{id}/captures", s.serveAdyen(callCapture, s.adyenCapture))
	mux.Handle("POST /v72/payments/{id}/cancels", s.serveAdyen(callCancel, s.adyenCancel))
	mux.Handle("POST /v72/payments/{id}/refunds", s.serveAdyen(callRefund, s.adyenRefund))
	mux.Handle("POST /v72/payments/{id}/reversals", s.serveAdyen(callCancel, s.adyenReversal))
	mux.Handle("/", s.serveAdyen(callOther, func(*call) reply { return adyenFail(404, "000", "Not Found") }))
	return mux
}

// adyenBody is what a request may carry. Other members are ignored here.
type adyenBody struct {
	Account   string            `json:"merchantAccount"`
	Amount    *adyenMoney       `json:"amount"`
	Reference string            `json:"reference"`
	Metadata  map[string]string `json:"metadata"`
}

type adyenMoney struct {
	Currency string `json:"currency"`
	Value    int64  `json:"value"`
}

func adyenMoneyOf(value int64, currency string) adyenMoney {
	return adyenMoney{Currency: strings.ToUpper(currency), Value: value}
}

// cents reads an amount, in Adyen's own minor units. The reply is what is wrong with it.
func (m *adyenMoney) cents() (int64, string, reply, bool) {
	if m == nil {
		return 0, "", adyenFail(422, "100", "Required object 'amount' is not provided."), false
	}
	code, err := models.ParseCurrency(m.Currency)
	switch {
	case err != nil || code != m.Currency:
		return 0, "", adyenFail(422, "138", "Unsupported currency specified"), false
	case m.Value <= 0:
		return 0, "", adyenFail(422, "137", "Invalid amount specified"), false
	}
	return m.Value, strings.ToLower(code), reply{}, true
}

// serveAdyen runs one route: the same steps as serve, in Adyen's words.
func (s *Server) serveAdyen(name string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newAdyenPSP(), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writeAdyen, hold: r.PathValue("id")}
		w.Header().Set("Pspreference", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, adyenFail(400, "702", "The request is too large."))
			return
		}
		c.key = r.Header.Get("Idempotency-Key")
		c.print = fingerprint(c.method, c.path, string(c.json))
		var body adyenBody
		_ = json.Unmarshal(c.json, &body) // what is wrong with it is told by the endpoint
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: body.Reference, Key: c.key, At: c.at}
		s.calls.add(c.record)
		if !s.adyenAuthenticate(w, r, c, body.Account) {
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, false))
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.performAdyen(c, do))
	}
}

// adyenAuthenticate takes any API key. One that begins with live_ is of a live account.
func (s *Server) adyenAuthenticate(w http.ResponseWriter, r *http.Request, c *call, account string) bool {
	key := r.Header.Get("X-API-Key")
	if key == "" {
		s.write(w, c, fail(unauthorized("")))
		return false
	}
	c.live = strings.HasPrefix(key, "live_")
	if len(s.config.Adyen.Accounts) > 0 && !slices.Contains(s.config.Adyen.Accounts, account) {
		s.write(w, c, adyenFail(403, "901", "Invalid Merchant Account"))
		return false
	}
	return true
}

// performAdyen does the work once per key. A repetition is answered as the first
// time; errors are not kept.
func (s *Server) performAdyen(c *call, do endpoint) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.key == "" {
		return s.runAdyen(c, do)
	}
	if len(c.key) > 64 {
		return adyenFail(422, "000", "The idempotency key is too long.")
	}
	name := keyName(c.live, c.key)
	if c.fault.mode == modeAmnesia {
		b.keys.forget(name)
	}
	if _, running := b.keys.busy[name]; running {
		return fail(inUse())
	}
	if old, ok := b.keys.find(name, b.now()); ok {
		if old.print != c.print {
			return adyenFail(422, "704", "The request was already processed, and this one is another.")
		}
		return reply{status: old.status, view: old.view, replayed: true, original: old.requestID, wait: b.journal.newest(), booked: true}
	}
	b.keys.begin(name, c.print, b.now())
	r := s.runAdyen(c, do)
	r.running = name
	return r
}

func (s *Server) runAdyen(c *call, do endpoint) reply {
	if c.fault.mode == modeSticky500 { // an internal error may be tried again here
		return fail(serverError(false))
	}
	return s.run(c, do)
}

// adyenProblem marks an error in Adyen's words.
const adyenProblem = "adyen"

func adyenFail(status int, code, message string) reply {
	return fail(&apiError{Status: status, Type: adyenProblem, Code: code, Message: message})
}

type adyenErrorJSON struct {
	Status  int    `json:"status"`
	Code    string `json:"errorCode"`
	Message string `json:"message"`
	Type    string `json:"errorType"`
	PSP     string `json:"pspReference,omitempty"`
}

// adyenError words an error that a fault or an endpoint made. again: the same
// request may be sent again.
func (c *call) adyenError(e apiError) (out adyenErrorJSON, again bool) {
	out = adyenErrorJSON{Status: e.Status, Code: e.Code, Message: e.Message, Type: "validation", PSP: c.id}
	switch {
	case e.Type == adyenProblem && e.Status == 403:
		out.Type = "security"
	case e.Type == adyenProblem:
	case e.Status == 401:
		return adyenErrorJSON{Status: 401, Code: "000", Message: "HTTP Status Response - Unauthorized", Type: "security"}, false
	case e.Code == "lock_timeout":
		out.Status, out.Code, out.Message, again = 422, "703", "Required resource temporarily unavailable", true
	case e.Status == 409:
		out.Status, out.Code, out.Message, again = 422, "704", "request already processed or in progress", true
	case e.Status == 429:
		out.Code, out.Message, again = "000", "Too many requests", true
	default:
		out.Status, out.Code, out.Message, out.Type, again = 500, "903", "Internal error", "internal", true
	}
	return out, again
}

// writeAdyen answers without any fault, in Adyen's shape.
func (s *Server) writeAdyen(w http.ResponseWriter, c *call, r reply) {
	var body []byte
	if r.err != nil {
		problem, again := c.adyenError(*r.err)
		r.status = problem.Status
		if again {
			w.Header().Set("Transient-Error", "true")
		}
		body, _ = json.Marshal(problem)
	} else {
		body, _ = json.Marshal(r.view.render(nil))
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status, c.record.Replayed = r.status, r.replayed })
	}
	w.Header().Set("Content-Type", "application/json")
	if c.key != "" {
		w.Header().Set("Idempotency-Key", c.key)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

// newAdyenPSP makes a PSP reference as Adyen's look: 16 digits and capital letters.
func newAdyenPSP() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ23456789ABCD"
	var b [16]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return string(b[:])
}
