package sandbox

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CheckoutComConfig is how Checkout.com's wire behaves. The zero value behaves
// as Checkout.com documents it and takes any secret key.
type CheckoutComConfig struct {
	// Moment is how long a capture, void or refund takes to be decided after it was
	// accepted. Default 50 ms; the fault pending=… says otherwise for one call.
	Moment time.Duration
	// HoldLife is how long a payment lives uncaptured. Default 7 days.
	HoldLife time.Duration
}

func (c CheckoutComConfig) withDefaults() CheckoutComConfig {
	if c.Moment <= 0 {
		c.Moment = 50 * time.Millisecond
	}
	if c.HoldLife <= 0 {
		c.HoldLife = 7 * 24 * time.Hour
	}
	return c
}

// checkoutRoutes is Checkout.com's wire, below its own prefix.
func (s *Server) checkoutRoutes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /payments", s.serveCheckout(callCreate, s.checkoutPayment))
	mux.Handle("GET /payments/{id}", s.serveCheckout(callLookUp, s.checkoutGet))
	mux.Handle("GET /payments/{id}/actions", s.serveCheckout(callLookUp, s.checkoutActions))
	mux.Handle("POST /payments/{id}/captures", s.serveCheckout(callCapture, s.checkoutCapture))
	mux.Handle("POST /payments/{id}/voids", s.serveCheckout(callCancel, s.checkoutVoid))
	mux.Handle("POST /payments/{id}/refunds", s.serveCheckout(callRefund, s.checkoutRefund))
	mux.Handle("/", s.serveCheckout(callOther, func(*call) reply { return checkoutFail(404) }))
	return mux
}

// serveCheckout runs one route: the same steps as serve, in Checkout.com's words.
func (s *Server) serveCheckout(name string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newCheckoutRequest(), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now(), answer: s.writeCheckout, hold: r.PathValue("id")}
		w.Header().Set("Cko-Request-Id", c.id)
		var err error
		if c.json, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1)); err != nil || len(c.json) > maxBody {
			s.write(w, c, checkoutFail(422, "request_invalid"))
			return
		}
		c.key = r.Header.Get("Cko-Idempotency-Key")
		c.print = fingerprint(c.method, c.path, string(c.json))
		var body checkoutBody
		_ = json.Unmarshal(c.json, &body) // what is wrong with it is told by the endpoint
		c.record = &Request{ID: c.id, Call: c.name, Hold: c.hold, Reference: body.Reference, Key: c.key, At: c.at}
		if body.Amount != nil {
			c.record.Amount = strconv.FormatInt(*body.Amount, 10)
		}
		s.calls.add(c.record)
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !strings.HasPrefix(key, "sk_") {
			s.write(w, c, checkoutFail(401))
			return
		}
		c.live = !strings.HasPrefix(key, "sk_sbox_") && !strings.HasPrefix(key, "sk_test_")
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, true)) // a hold described first uses up no fault
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.performCheckout(c, do))
	}
}

// performCheckout does the work once per key. A repetition is answered as the
// first time, whatever became of what was accepted; errors are not kept.
func (s *Server) performCheckout(c *call, do endpoint) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.method != http.MethodPost || c.key == "" {
		return s.runCheckout(c, do)
	}
	name := keyName(c.live, c.key)
	if c.fault.mode == modeAmnesia {
		b.keys.forget(name)
	}
	if _, running := b.keys.busy[name]; running {
		return fail(inUse())
	}
	if old, ok := b.keys.find(name, b.now()); ok {
		return reply{status: old.status, view: old.view, replayed: true, original: old.requestID, wait: b.journal.newest(), booked: true}
	}
	b.keys.begin(name, c.print, b.now())
	r := s.runCheckout(c, do)
	r.running = name
	return r
}

func (s *Server) runCheckout(c *call, do endpoint) reply {
	if c.fault.mode == modeSticky500 { // nothing sticks to a key here but success
		return fail(serverError(false))
	}
	return s.run(c, do)
}

// checkoutProblem marks an error in Checkout.com's words: Code holds its codes.
const checkoutProblem = "checkoutcom"

func checkoutFail(status int, codes ...string) reply {
	return fail(&apiError{Status: status, Type: checkoutProblem, Code: strings.Join(codes, " ")})
}

type checkoutErrorJSON struct {
	RequestID string   `json:"request_id"`
	Type      string   `json:"error_type"`
	Codes     []string `json:"error_codes"`
}

// writeCheckout answers without any fault, in Checkout.com's shape. Only a 422
// says more than its status.
func (s *Server) writeCheckout(w http.ResponseWriter, c *call, r reply) {
	var body []byte
	switch {
	case r.err == nil && r.view != nil:
		body, _ = json.Marshal(r.view.render(nil))
	case r.err != nil && r.err.Status == http.StatusUnprocessableEntity:
		body, _ = json.Marshal(checkoutErrorJSON{RequestID: c.id, Type: "request_invalid", Codes: strings.Fields(r.err.Code)})
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status, c.record.Replayed = r.status, r.replayed })
	}
	if len(body) > 0 {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

// newCheckoutID makes an id as Checkout.com's look: a prefix and 26 characters.
func newCheckoutID(prefix string) string {
	var b [17]byte
	_, _ = rand.Read(b[:])
	return prefix + "_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))[:26]
}

// newCheckoutRequest makes a request id: a UUID.
func newCheckoutRequest() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	id := ""
	for i, x := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			id += "-"
		}
		id += strconv.FormatUint(uint64(x)+256, 16)[1:]
	}
	return id
}
