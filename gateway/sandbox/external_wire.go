package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// ExternalSecret signs the calls of an external gateway whose secrets nobody chose.
const ExternalSecret = gateway.Secret("sandbox-shared-secret")

// ExternalConfig is how the merchant's external gateway behaves.
type ExternalConfig struct {
	// Secrets are the shared secrets that its callers may sign with. Default
	// ExternalSecret.
	Secrets []gateway.Secret
}

func (c ExternalConfig) withDefaults() ExternalConfig {
	if len(c.Secrets) == 0 {
		c.Secrets = []gateway.Secret{ExternalSecret}
	}
	return c
}

// externalRoutes is a merchant's external gateway, below its own prefix.
func (s *Server) externalRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /holds", s.serveExternal(callCreate, s.externalCreate))
	mux.HandleFunc("POST /capture", s.serveExternal(callCapture, s.externalAsked))
	mux.HandleFunc("POST /void", s.serveExternal(callCancel, s.externalAsked))
	mux.HandleFunc("POST /refund", s.serveExternal(callRefund, s.externalAsked))
	mux.HandleFunc("/", s.serveExternal(callOther, func(*call) reply { return externalError(404, "no such endpoint") }))
	return mux
}

// externalDocument is the part of a call's document that is read.
type externalDocument struct {
	Data     externalResource   `json:"data"`
	Included []externalResource `json:"included"`
}

type externalResource struct {
	ID         string `json:"id"`
	Type       string `json:"type"`
	Attributes struct {
		Token    string `json:"token"`
		Currency string `json:"currency_code"`
		Capture  *int64 `json:"capture_amount_cents"`
		Void     *int64 `json:"void_balance_cents"`
		Refund   *int64 `json:"refund_amount_cents"`
		Metadata struct {
			Reference string `json:"capstan_reference"`
		} `json:"metadata"`
	} `json:"attributes"`
}

// find returns the first included resource of a type.
func (d externalDocument) find(kind string) (externalResource, bool) {
	for _, r := range d.Included {
		if r.Type == kind {
			return r, true
		}
	}
	return externalResource{}, false
}

// asked is what a document asks for: the hold's token, the capture's for a
// refund, the amount and its currency. It is false where the document does not fit.
func (d externalDocument) asked(kind string) (hold, capture string, amount int64, currency string, ok bool) {
	a, cents := d.Data.Attributes, (*int64)(nil)
	switch {
	case kind == callRefund && d.Data.Type == "captures":
		auth, _ := d.find("authorizations")
		hold, capture, cents = auth.Attributes.Token, a.Token, a.Refund
	case kind == callCapture && d.Data.Type == "authorizations":
		hold, cents = a.Token, a.Capture
	case kind == callCancel && d.Data.Type == "authorizations":
		hold, cents = a.Token, a.Void
	}
	_, order := d.find("orders")
	if cents == nil || !order || hold == "" || a.Metadata.Reference == "" || d.Data.ID == "" {
		return hold, capture, 0, "", false
	}
	return hold, capture, *cents, a.Currency, true
}

// serveExternal runs one route: the same steps as serve, in the contract's words.
func (s *Server) serveExternal(name string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newID("ext"), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writeExternal}
		w.Header().Set("X-Request-Id", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, externalError(413, "the body is too large"))
			return
		}
		c.key = r.Header.Get("Idempotency-Key")
		c.print = fingerprint(c.method, c.path, string(c.json))
		var d externalDocument
		_ = json.Unmarshal(c.json, &d) // what is wrong with it is told by the endpoint
		c.hold, _, _, _, _ = d.asked(name)
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: d.Data.Attributes.Metadata.Reference, Key: c.key, At: c.at}
		s.calls.add(c.record)
		if name != callCreate && !s.externalSigned(r.Header.Get("X-Commercelayer-Signature"), c.json) {
			s.write(w, c, externalError(401, "Unauthorized"))
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, false))
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.externalInTurn(r, c, do))
	}
}

func (s *Server) externalSigned(header string, body []byte) bool {
	given, err := base64.StdEncoding.DecodeString(header)
	for _, secret := range s.config.External.Secrets {
		if err == nil && hmac.Equal(given, externalMAC(body, secret)) {
			return true
		}
	}
	return false
}

func externalMAC(body []byte, secret gateway.Secret) []byte {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write(body)
	return mac.Sum(nil)
}

// signExternal signs a callback as the contract wants it.
func signExternal(h http.Header, body []byte, secret gateway.Secret) {
	h.Set("X-CommerceLayer-Signature", base64.StdEncoding.EncodeToString(externalMAC(body, secret)))
}

// externalBusy is how long a request waits for another one under its key, as at a
// receiver with a lock on each payment.
const externalBusy = 200 * time.Millisecond

func (s *Server) externalInTurn(r *http.Request, c *call, do endpoint) reply {
	limit := time.NewTimer(externalBusy)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		rep, busy := s.performExternal(c, do)
		if !busy {
			return rep
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return rep
		case <-r.Context().Done():
			return rep
		}
	}
}

// performExternal does the work once per key, and once per reference of ours: a
// receiver that has forgotten one still knows the other. A repetition is answered
// with what became of the first.
func (s *Server) performExternal(c *call, do endpoint) (r reply, busy bool) {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.key == "" || c.name == callCreate {
		return s.runPayPal(c, do), false
	}
	name := keyName(c.live, c.key)
	if c.fault.mode == modeAmnesia {
		b.keys.forget(name)
	}
	if _, running := b.keys.busy[name]; running {
		return externalError(409, "the same request is being worked on"), true
	}
	if old, ok := b.keys.find(name, b.now()); ok {
		if old.print != c.print {
			return externalError(409, "the same key came with another document before"), false
		}
		kept, _ := old.view.(externalKept)
		return s.externalAgain(kept, old.requestID), false
	}
	if h := b.external.references[c.record.Reference]; h != nil && c.record.Reference != "" {
		return s.externalAgain(externalKept{h.id, c.record.Reference}, ""), false
	}
	b.keys.begin(name, c.print, b.now())
	r = s.runPayPal(c, do)
	r.running = name
	return r, false
}

func (s *Server) externalAgain(k externalKept, original string) reply {
	status, v := s.externalCurrent(k)
	return reply{status: status, view: v, replayed: true, original: original, wait: s.book.journal.newest(), booked: true}
}

// externalCurrent shows what became of what was asked under a reference.
func (s *Server) externalCurrent(k externalKept) (int, externalView) {
	h := s.book.holds[k.hold]
	m, _ := h.external.find(k.reference)
	if m.ActionID != "" && s.book.now().Before(m.SettlesAt) {
		return 202, s.externalAccepted(h, m)
	}
	return 200, s.externalOutcome(h, m)
}

// externalAccepted is what is answered as long as the outcome is nobody's business.
func (s *Server) externalAccepted(h *hold, m externalMove) externalView {
	m.Code = ""
	v := s.externalOutcome(h, m)
	v.Data.ActionID = m.ActionID
	return v
}

// externalOutcome is what was answered, or will be told to the callback.
func (s *Server) externalOutcome(h *hold, m externalMove) externalView {
	v := externalView{Success: m.Code == "", Data: externalData{Token: m.token, Cents: m.amount}}
	if m.Code != "" {
		v.Data.Error = &externalProblem{Code: m.Code, Message: m.Text}
	}
	if m.currency != h.currency {
		v.Data.Currency = currencyCode(m.currency)
	}
	return v
}

// externalCallback tells the callback how something ended.
func (s *Server) externalCallback(h *hold, m externalMove) event {
	v := s.externalOutcome(h, m)
	v.Data.ActionID = m.ActionID
	return event{hold: h.id, wire: wireExternal, body: eventJSON{ID: m.ActionID}, raw: v}
}

// callBackLater calls back when what was accepted has ended.
func (s *Server) callBackLater(h *hold, m externalMove, wait time.Duration) {
	s.work.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.stop.Done():
			return
		}
		var told event
		s.locked(func(*book) { told = s.externalCallback(h, m) })
		s.hooks.send([]event{told}, s.faults.pickHooks(told.hold))
	})
}

type externalView struct {
	Success bool         `json:"success"`
	Data    externalData `json:"data"`
}

func (v externalView) render(map[string]bool) any { return v }

type externalData struct {
	Token    string           `json:"transaction_token"`
	Cents    int64            `json:"amount_cents"`
	Currency string           `json:"currency_code,omitempty"`
	ActionID string           `json:"action_id,omitempty"`
	Error    *externalProblem `json:"error,omitempty"`
}

type externalProblem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// externalError is an answer that is none of the contract's: it decides nothing.
func externalError(status int, message string) reply {
	return fail(&apiError{Status: status, Message: message})
}

// writeExternal answers without any fault.
func (s *Server) writeExternal(w http.ResponseWriter, c *call, r reply) {
	var body []byte
	if r.err != nil {
		body, _ = json.Marshal(map[string]string{"error": r.err.Message})
	} else {
		body, _ = json.Marshal(r.view.render(nil))
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status, c.record.Replayed = r.status, r.replayed })
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}
