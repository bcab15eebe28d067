package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// PayPalConfig is how PayPal's wire behaves. The zero value behaves as PayPal
// documents it and takes any client.
type PayPalConfig struct {
	// Clients are the client ids that are good, with their secrets; empty takes any.
	Clients map[string]gateway.Secret
	// TokenLife is how long an access token is good. Default 9 hours.
	TokenLife time.Duration
	// AuthorizationLife and HonorPeriod are those of an authorization: it can be
	// renewed between the two. Defaults 29 and 3 days.
	AuthorizationLife time.Duration
	HonorPeriod       time.Duration
}

func (c PayPalConfig) withDefaults() PayPalConfig {
	if c.TokenLife <= 0 {
		c.TokenLife = 9 * time.Hour
	}
	if c.AuthorizationLife <= 0 {
		c.AuthorizationLife = 29 * 24 * time.Hour
	}
	if c.HonorPeriod <= 0 {
		c.HonorPeriod = 3 * 24 * time.Hour
	}
	return c
}

// paypalTokens are the access tokens that are good. They are lost when the
// sandbox ends, as PayPal may end them at any time.
type paypalTokens struct {
	life time.Duration

	mu    sync.Mutex
	known map[string]paypalToken
}

type paypalToken struct {
	ends time.Time
	live bool
}

func newPayPalTokens(c PayPalConfig) *paypalTokens {
	return &paypalTokens{life: c.TokenLife, known: map[string]paypalToken{}}
}

func (t *paypalTokens) issue(now time.Time, live bool) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, k := range t.known {
		if !now.Before(k.ends) {
			delete(t.known, name)
		}
	}
	name := "A21AA" + newPayPalID() + newPayPalID() + newPayPalID()
	t.known[name] = paypalToken{ends: now.Add(t.life), live: live}
	return name
}

func (t *paypalTokens) find(name string, now time.Time) (paypalToken, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.known[name]
	return k, ok && now.Before(k.ends)
}

// RevokePayPalTokens ends every access token, as PayPal may at any time.
func (s *Server) RevokePayPalTokens() {
	s.paypal.mu.Lock()
	defer s.paypal.mu.Unlock()
	clear(s.paypal.known)
}

// paypalRoutes is PayPal's wire, below its own prefix.
func (s *Server) paypalRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/oauth2/token", s.paypalToken)
	mux.Handle("POST /v2/checkout/orders", s.servePayPal(callCreate, nil, s.paypalCreateOrder))
	mux.Handle("GET /v2/checkout/orders/{id}", s.servePayPal(callLookUp, s.holdOfOrder, s.paypalGetOrder))
	mux.Handle("POST /v2/checkout/orders/{id}/authorize", s.servePayPal(callConfirm, s.holdOfOrder, s.paypalAuthorizeOrder))
	mux.Handle("GET /v2/payments/authorizations/{id}", s.servePayPal(callLookUp, sameID, s.paypalGetAuthorization))
	mux.Handle("POST /v2/payments/authorizations/{id}/capture", s.servePayPal(callCapture, sameID, s.paypalCapture))
	mux.Handle("POST /v2/payments/authorizations/{id}/reauthorize", s.servePayPal(callConfirm, sameID, s.paypalReauthorize))
	mux.Handle("POST /v2/payments/authorizations/{id}/void", s.servePayPal(callCancel, sameID, s.paypalVoid))
	mux.Handle("GET /v2/payments/captures/{id}", s.servePayPal(callLookUp, s.holdOfCapture, s.paypalGetCapture))
	mux.Handle("POST /v2/payments/captures/{id}/refund", s.servePayPal(callRefund, s.holdOfCapture, s.paypalRefund))
	mux.Handle("GET /v2/payments/refunds/{id}", s.servePayPal(callLookUp, s.holdOfPayPalRefund, s.paypalGetRefund))
	mux.HandleFunc("GET /v1/notifications/certs/{id}", s.showPayPalCertificate)
	mux.Handle("/", s.servePayPal(callOther, nil, func(*call) reply { return paypalFail(404, "INVALID_RESOURCE_ID", "") }))
	return mux
}

func sameID(id string) string { return id }

func (s *Server) holdOfOrder(id string) (hold string) {
	s.locked(func(b *book) {
		if all := b.paypal.orders[id]; len(all) > 0 {
			hold = all[0].id
		}
	})
	return hold
}

func (s *Server) holdOfCapture(id string) (hold string) {
	s.locked(func(b *book) {
		if h := b.paypal.captures[id]; h != nil {
			hold = h.id
		}
	})
	return hold
}

func (s *Server) holdOfPayPalRefund(id string) (hold string) {
	s.locked(func(b *book) {
		if h := b.paypal.refunds[id]; h != nil {
			hold = h.id
		}
	})
	return hold
}

// servePayPal runs one route: the same steps as serve, in PayPal's words. The
// id in the path goes into holdOf.
func (s *Server) servePayPal(name string, holdOf func(id string) string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newPayPalDebugID(), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writePayPal}
		w.Header().Set("Paypal-Debug-Id", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, paypalFail(400, "INVALID_STRING_LENGTH", ""))
			return
		}
		c.key = r.Header.Get("PayPal-Request-Id")
		if r.Method == http.MethodPost {
			c.print = fingerprint(c.method, c.path, string(c.json))
		}
		if holdOf != nil {
			c.hold = holdOf(r.PathValue("id"))
		}
		c.expand = map[string]bool{"minimal": r.Method == http.MethodPost && r.Header.Get("Prefer") != "return=representation"}
		var body paypalBody
		_ = json.Unmarshal(c.json, &body) // what is wrong with it is told by the endpoint
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: body.reference(), Key: c.key, At: c.at, Amount: body.Amount.Value}
		s.calls.add(c.record)
		if !s.paypalAuthenticate(w, r, c) {
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, true)) // a hold described first uses up no fault
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.performPayPal(c, do))
	}
}

// paypalToken is POST /v1/oauth2/token.
func (s *Server) paypalToken(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	record := &Request{ID: newPayPalDebugID(), Call: "token", At: s.config.Now()}
	s.calls.add(record)
	w.Header().Set("Paypal-Debug-Id", record.ID)
	answer := func(status int, v any) {
		s.calls.edit(func() { record.Status = status })
		tell(w, status, v)
	}
	want, known := s.config.PayPal.Clients[id]
	switch {
	case id == "" || secret == "", len(s.config.PayPal.Clients) > 0 && (!known || want.Reveal() != secret):
		answer(401, map[string]string{"error": "invalid_client", "error_description": "Client Authentication failed"})
		return
	case r.FormValue("grant_type") != "client_credentials":
		answer(400, map[string]string{"error": "unsupported_grant_type", "error_description": "Grant Type is NULL or not supported"})
		return
	}
	answer(200, map[string]any{
		"scope":        "https://uri.paypal.com/services/payments/payment/authcapture https://uri.paypal.com/services/payments/refund",
		"access_token": s.paypal.issue(s.config.Now(), strings.HasPrefix(id, "live")),
		"token_type":   "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": int64(s.config.PayPal.TokenLife / time.Second),
		"nonce": s.config.Now().UTC().Format(time.RFC3339) + newPayPalID(),
	})
}

// paypalAuthenticate takes an access token that was issued here.
func (s *Server) paypalAuthenticate(w http.ResponseWriter, r *http.Request, c *call) bool {
	name, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	token, ok := s.paypal.find(name, s.config.Now())
	switch {
	case ok:
		c.live = token.live
		return true
	case name == "":
		s.write(w, c, fail(unauthorized("")))
	default:
		s.calls.edit(func() { c.record.Status = 401 })
		tell(w, 401, map[string]string{"error": "invalid_token", "error_description": "Token signature verification failed"})
	}
	return false
}

// performPayPal does the work once per PayPal-Request-Id. A repetition is
// answered with the latest state of what the first made; errors are not kept.
func (s *Server) performPayPal(c *call, do endpoint) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.method != http.MethodPost || c.key == "" {
		return s.runPayPal(c, do)
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
			return paypalFail(422, "DUPLICATE_REQUEST_ID", "The value of PayPal-Request-Id header has already been used.")
		}
		kept, _ := old.view.(paypalKept)
		return reply{status: old.status, view: s.paypalCurrent(kept), replayed: true, original: old.requestID, wait: b.journal.newest(), booked: true}
	}
	b.keys.begin(name, c.print, b.now())
	r := s.runPayPal(c, do)
	r.running = name
	return r
}

func (s *Server) runPayPal(c *call, do endpoint) reply {
	if c.fault.mode == modeSticky500 { // nothing sticks to a key here but success
		return fail(serverError(false))
	}
	return s.run(c, do)
}

// paypalEntryOf begins an entry of the book that ends the work on the call's key.
func (s *Server) paypalEntryOf(c *call, kind string, h *hold, p paypalEntry) entry {
	reference := p.Invoice
	if reference == "" {
		reference = p.Custom
	}
	return entry{
		Type: kind, Hold: h.id, Currency: h.currency, Reference: reference, Metadata: h.metadata, Live: h.live,
		Key: c.key, Print: c.print, RequestID: c.id, Fault: c.fault.mode, PayPal: &p, At: s.book.now(),
	}
}

// paypalProblem marks an error in PayPal's words: Code is the issue, Message
// its description.
const paypalProblem = "paypal"

func paypalFail(status int, issue, description string) reply {
	if d, ok := paypalIssues[issue]; ok && description == "" {
		description = d
	}
	return fail(&apiError{Status: status, Type: paypalProblem, Code: issue, Message: description})
}

type paypalErrorJSON struct {
	Name    string              `json:"name"`
	Message string              `json:"message"`
	DebugID string              `json:"debug_id"`
	Details []paypalErrorDetail `json:"details,omitempty"`
	Links   []paypalLink        `json:"links"`
}

type paypalErrorDetail struct {
	Issue       string `json:"issue"`
	Description string `json:"description,omitempty"`
}

// paypalNames are the name and the message of an error, which say no more than
// its status.
var paypalNames = map[int][2]string{
	400: {"INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."},
	401: {"AUTHENTICATION_FAILURE", "Authentication failed due to missing authorization header, or invalid authentication credentials."},
	403: {"NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."},
	404: {"RESOURCE_NOT_FOUND", "The specified resource does not exist."},
	409: {"RESOURCE_CONFLICT", "The server has detected a conflict while processing this request."},
	422: {"UNPROCESSABLE_ENTITY", "The requested action could not be performed, semantically incorrect, or failed business validation."},
	429: {"RATE_LIMIT_REACHED", "Too many requests. Blocked due to rate limiting."},
	500: {"INTERNAL_SERVER_ERROR", "An internal server error occurred."},
}

// paypalGeneric are the issues of errors that faults make on every wire.
var paypalGeneric = map[int]string{404: "INVALID_RESOURCE_ID", 409: "PREVIOUS_REQUEST_IN_PROGRESS"}

// writePayPal answers without any fault, in PayPal's shape.
func (s *Server) writePayPal(w http.ResponseWriter, c *call, r reply) {
	var body []byte
	switch {
	case r.err != nil:
		body, _ = json.Marshal(c.paypalError(*r.err))
	case c.name == callCancel && c.expand["minimal"]:
		r.status = http.StatusNoContent
	case r.view != nil:
		body, _ = json.Marshal(r.view.render(c.expand))
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status, c.record.Replayed = r.status, r.replayed })
	}
	if len(body) > 0 {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

func (c *call) paypalError(e apiError) paypalErrorJSON {
	text := paypalNames[e.Status]
	out := paypalErrorJSON{Name: text[0], Message: text[1], DebugID: c.id, Links: []paypalLink{}}
	issue, description := paypalGeneric[e.Status], ""
	if e.Type == paypalProblem {
		issue, description = e.Code, e.Message
	}
	if issue != "" {
		if description == "" {
			description = paypalIssues[issue]
		}
		out.Details = []paypalErrorDetail{{issue, description}}
		out.Links = append(out.Links, paypalLink{
			Href: "https://developer.paypal.com/docs/api/payments/v2/#error-" + issue, Rel: "information_link", Method: "GET",
		})
	}
	return out
}

// newPayPalID makes an id as PayPal's look: 17 digits and capital letters.
func newPayPalID() string {
	const letters = "0123456789ABCDEFGHJKLMNPRSTUVWXY"
	var b [17]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	return string(b[:])
}

func newPayPalDebugID() string {
	var b [7]byte
	_, _ = rand.Read(b[:])
	id := ""
	for _, x := range b {
		id += strconv.FormatUint(uint64(x)+256, 16)[1:]
	}
	return id[:13]
}
