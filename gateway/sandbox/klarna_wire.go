package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// KlarnaConfig is how Klarna's wire behaves. The zero value behaves as Klarna
// documents it and takes any credential.
type KlarnaConfig struct {
	// Users are the usernames that are good, with their passwords; empty takes any.
	Users map[string]gateway.Secret
	// OrderLife is how long an order can be captured, and how much longer it can
	// after an extension. Default 28 days.
	OrderLife time.Duration
	// LastExtension is how long after an order was made its end can lie at most.
	// Default 180 days.
	LastExtension time.Duration
}

func (c KlarnaConfig) withDefaults() KlarnaConfig {
	if c.OrderLife <= 0 {
		c.OrderLife = 28 * 24 * time.Hour
	}
	if c.LastExtension <= 0 {
		c.LastExtension = 180 * 24 * time.Hour
	}
	return c
}

// klarnaRoutes is Klarna's wire, below its own prefix.
func (s *Server) klarnaRoutes() *http.ServeMux {
	const orders = "/ordermanagement/v1/orders/{id}"
	mux := http.NewServeMux()
	mux.Handle("POST /payments/v1/authorizations/{token}/order", s.serveKlarna(callCreate, s.klarnaCreateOrder))
	mux.Handle("GET "+orders, s.serveKlarna(callLookUp, s.klarnaGetOrder))
	mux.Handle("GET "+orders+"/captures", s.serveKlarna(callLookUp, s.klarnaGetPart))
	mux.Handle("GET "+orders+"/captures/{part}", s.serveKlarna(callLookUp, s.klarnaGetPart))
	mux.Handle("GET "+orders+"/refunds/{part}", s.serveKlarna(callLookUp, s.klarnaGetPart))
	mux.Handle("POST "+orders+"/captures", s.serveKlarna(callCapture, s.klarnaCapture))
	mux.Handle("POST "+orders+"/refunds", s.serveKlarna(callRefund, s.klarnaRefund))
	mux.Handle("POST "+orders+"/cancel", s.serveKlarna(callCancel, s.klarnaCancel))
	mux.Handle("POST "+orders+"/release-remaining-authorization", s.serveKlarna(callCancel, s.klarnaRelease))
	mux.Handle("POST "+orders+"/extend-authorization-time", s.serveKlarna(callConfirm, s.klarnaExtend))
	mux.Handle("/", s.serveKlarna(callOther, func(*call) reply { return klarnaFail(404, "NOT_FOUND", "Not found") }))
	return mux
}

// serveKlarna runs one route: the same steps as serve, in Klarna's words.
func (s *Server) serveKlarna(name string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newKlarnaID(), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writeKlarna}
		w.Header().Set("Klarna-Correlation-Id", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, klarnaFail(413, "REQUEST_TOO_LARGE", "Request is too large"))
			return
		}
		c.key, c.hold = r.Header.Get("Klarna-Idempotency-Key"), r.PathValue("id")
		if c.method == http.MethodPost {
			c.print = fingerprint(c.method, c.path, string(c.json))
		}
		var body klarnaBody
		_ = json.Unmarshal(c.json, &body) // what is wrong with it is told by the endpoint
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: body.Reference, Key: c.key, At: c.at}
		if n := body.amount(); n != 0 {
			c.record.Amount = strconv.FormatInt(n, 10)
		}
		s.calls.add(c.record)
		if !s.klarnaAuthenticate(r, c) {
			s.write(w, c, fail(unauthorized("")))
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, true)) // a hold described first uses up no fault
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.performKlarna(c, do))
	}
}

func (s *Server) klarnaAuthenticate(r *http.Request, c *call) bool {
	user, password, ok := r.BasicAuth()
	want, known := s.config.Klarna.Users[user]
	c.live = strings.HasPrefix(password, "klarna_live_")
	return ok && password != "" && (len(s.config.Klarna.Users) == 0 || known && want.Reveal() == password)
}

// performKlarna does the work once per key, whatever else the request says: only
// the key matters. Its first answer is repeated, a refusal included.
func (s *Server) performKlarna(c *call, do endpoint) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.method != http.MethodPost || c.key == "" {
		return s.runKlarna(c, do)
	}
	name := keyName(c.live, c.key)
	if c.fault.mode == modeAmnesia {
		b.keys.forget(name)
	}
	if _, running := b.keys.busy[name]; running {
		return fail(inUse())
	}
	if old, ok := b.keys.find(name, b.now()); ok {
		return reply{status: old.status, view: old.view, body: old.body, replayed: true, original: old.requestID, wait: b.journal.newest(), booked: true}
	}
	b.keys.begin(name, c.print, b.now())
	r := s.runKlarna(c, do)
	r.running = name
	return r
}

// runKlarna does the work. A failure of Klarna's own does not stick to a key: the
// same call is to be made again under it.
func (s *Server) runKlarna(c *call, do endpoint) reply {
	if c.fault.mode == modeSticky500 {
		return fail(serverError(false))
	}
	r := s.run(c, do)
	if r.err == nil || r.err.Status != http.StatusForbidden || c.key == "" {
		return r
	}
	body, err := json.Marshal(c.klarnaError(*r.err))
	if err == nil {
		r.wait, err = s.keepAnswer(c, r.status, string(body))
	}
	if err != nil {
		s.config.Log.Error("an answer is not kept for its key", "error", err)
	}
	return r
}

// klarnaProblem marks an error in Klarna's words.
const klarnaProblem = "klarna"

func klarnaFail(status int, code, format string, args ...any) reply {
	return fail(&apiError{Status: status, Type: klarnaProblem, Code: code, Message: fmt.Sprintf(format, args...)})
}

type klarnaErrorJSON struct {
	Code        string   `json:"error_code"`
	Messages    []string `json:"error_messages"`
	Correlation string   `json:"correlation_id"`
}

// klarnaGeneric are the errors that faults make on every wire, in Klarna's words.
var klarnaGeneric = map[int][2]string{
	401: {"UNAUTHORIZED", "Unauthorized"},
	404: {"NO_SUCH_ORDER", "Order cannot be found"},
	409: {"CONFLICT", "The request conflicts with one that is being worked on"},
	429: {"TOO_MANY_REQUESTS", "Too many requests"},
	500: {"INTERNAL_SERVER_ERROR", "Unexpected server error"},
}

func (c *call) klarnaError(e apiError) klarnaErrorJSON {
	code, text := e.Code, e.Message
	if e.Type != klarnaProblem {
		code, text = klarnaGeneric[e.Status][0], klarnaGeneric[e.Status][1]
	}
	return klarnaErrorJSON{Code: code, Messages: []string{text}, Correlation: c.id}
}

// writeKlarna answers without any fault, in Klarna's shape: what was made is named
// in headers.
func (s *Server) writeKlarna(w http.ResponseWriter, c *call, r reply) {
	var body []byte
	switch v := r.view.(type) {
	case nil:
		body = []byte(r.body)
		if r.err != nil {
			body, _ = json.Marshal(c.klarnaError(*r.err))
		}
	case klarnaMade:
		switch path := klarnaHost + "/ordermanagement/v1/orders/" + v.order; {
		case v.kind == entryCapture:
			w.Header().Set("Capture-Id", v.id)
			w.Header().Set("Location", path+"/captures/"+v.id)
		case v.kind == entryRefund:
			w.Header().Set("Refund-Id", v.id)
			w.Header().Set("Location", path+"/refunds/"+v.id)
		case r.status == http.StatusOK:
			body, _ = json.Marshal(v.render(nil))
		}
	default:
		body, _ = json.Marshal(v.render(c.expand))
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

func newKlarnaID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newKlarnaReference makes the reference that people are told, such as K4MADNYX.
func newKlarnaReference() string { return "K" + newPayPalID()[:7] }
