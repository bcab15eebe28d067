package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody bounds a request's body.
const maxBody = 1 << 20

// call is one request on the wire.
type call struct {
	id     string
	name   string // capture, refund, …: what faults and the log call it
	path   string
	method string
	params params
	expand map[string]bool
	key    string
	print  string
	live   bool
	hold   string // the hold it is about, as far as the request says
	at     time.Time
	fault  fault
	record *Request
	json   []byte                                  // the body, on wires that speak JSON
	answer func(http.ResponseWriter, *call, reply) // how the wire answers; nil is Stripe's way
}

// reply is the outcome of a call. Exactly one of view and err is set.
type reply struct {
	view     view
	status   int    // 200, or what was kept
	body     string // instead of a view, what was kept
	err      *apiError
	replayed bool
	original string  // the request whose answer is repeated
	wait     *batch  // durable before anything may be told
	events   []event // what happened, for webhooks
	booked   bool
	running  string // the key that is in use until this may be told
}

func fail(err *apiError) reply { return reply{err: err, status: err.Status} }

// endpoint does the work of one route. It runs under the book's lock and must
// not block.
type endpoint func(c *call) reply

// serve runs one route: read, authenticate, meet a fault, do the work once per
// idempotency key, wait for the disk, answer, send webhooks.
func (s *Server) serve(name string, holdOf func(*http.Request, params) string, do endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{id: newID("req"), name: name, path: r.URL.Path, method: r.Method, at: s.config.Now()}
		w.Header().Set("Request-Id", c.id)
		w.Header().Set("Stripe-Version", r.Header.Get("Stripe-Version"))
		if err := c.read(r, holdOf); err != nil {
			s.write(w, c, fail(err))
			return
		}
		s.calls.add(c.record)
		if err := s.authenticate(r, c); err != nil {
			s.write(w, c, fail(err))
			return
		}
		c.fault = s.faults.pick(c.hold, s.faults.callOf(c.hold, c.name, c.expand["latest_charge"]))
		s.calls.edit(func() { c.record.Fault = c.fault.mode })
		if s.before(w, r, c, do) {
			return
		}
		s.after(w, r, c, s.perform(c, do))
	}
}

// read takes the whole body first: only then is a caller who gives up noticed.
func (c *call) read(r *http.Request, holdOf func(*http.Request, params) string) *apiError {
	c.params = params{r.URL.Query()}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil || len(body) > maxBody {
			return &apiError{Status: 413, Type: invalidRequest, Message: "The request body could not be read or is too large."}
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return invalid("", "", "Invalid form encoding.")
		}
		for name, values := range form {
			c.params.Values[name] = append(c.params.Values[name], values...)
		}
	}
	c.expand = c.params.expand()
	c.key = r.Header.Get("Idempotency-Key")
	if c.method == http.MethodPost {
		c.print = fingerprint(c.method, c.path, c.params.Encode())
	}
	c.hold = holdOf(r, c.params)
	c.record = &Request{
		ID: c.id, Call: c.name, Hold: c.hold, Reference: c.params.Get("metadata[capstan_reference]"), Key: c.key, At: c.at,
		Amount: c.params.Get("amount") + c.params.Get("amount_to_capture"),
	}
	return nil
}

// authenticate takes a bearer token or the user of basic authentication.
func (s *Server) authenticate(r *http.Request, c *call) *apiError {
	key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if user, _, ok := r.BasicAuth(); ok {
		key = user
	}
	if key == "" {
		return unauthorized("You did not provide an API key. Send 'Authorization: Bearer YOUR_SECRET_KEY'.")
	}
	good := len(s.config.Keys) == 0 && (strings.HasPrefix(key, "sk_") || strings.HasPrefix(key, "rk_"))
	for _, k := range s.config.Keys {
		good = good || k.Reveal() == key
	}
	if !good {
		return unauthorized("Invalid API Key provided.")
	}
	c.live = strings.HasPrefix(key, "sk_live") || strings.HasPrefix(key, "rk_live")
	return nil
}

// perform does the work once per idempotency key.
func (s *Server) perform(c *call, do endpoint) reply {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.method != http.MethodPost || c.key == "" {
		return s.run(c, do)
	}
	if len(c.key) > 255 {
		return fail(invalid("", "", "Idempotency keys can have at most 255 characters."))
	}
	name := keyName(c.live, c.key)
	if c.fault.mode == modeAmnesia {
		b.keys.forget(name)
	}
	if print, running := b.keys.busy[name]; running {
		if print != c.print {
			return fail(otherParameters())
		}
		return fail(inUse())
	}
	if old, ok := b.keys.find(name, b.now()); ok {
		if old.print != c.print {
			return fail(otherParameters())
		}
		return reply{status: old.status, view: old.view, body: old.body, replayed: true, original: old.requestID, wait: b.journal.newest(), booked: true}
	}
	b.keys.begin(name, c.print, b.now())
	r := s.run(c, do)
	r.running = name
	return r
}

func otherParameters() *apiError {
	return &apiError{Status: 400, Type: idempotency,
		Message: "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a different key if you meant to execute a different request."}
}

func inUse() *apiError {
	return &apiError{Status: 409, Type: invalidRequest, Code: "idempotency_key_in_use",
		Message: "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through)."}
}

// run does the work and writes errors that are kept into the book. The caller
// holds the lock.
func (s *Server) run(c *call, do endpoint) reply {
	var r reply
	if c.fault.mode == modeSticky500 {
		r = fail(serverError(true))
	} else {
		r = do(c)
	}
	if r.err == nil {
		if r.status == 0 {
			r.status = 200
		}
		return r
	}
	r.status = r.err.Status
	if !r.err.kept || c.key == "" {
		return r
	}
	body, err := json.Marshal(r.err.body())
	if err == nil {
		r.wait, err = s.keepAnswer(c, r.status, string(body))
	}
	if err != nil {
		s.config.Log.Error("an answer is not kept for its key", "error", err)
	}
	return r
}

// keepAnswer writes an error into the book, to be repeated for the key.
func (s *Server) keepAnswer(c *call, status int, body string) (*batch, error) {
	e := entry{
		Type: entryAnswer, Hold: c.hold, Key: c.key, Print: c.print, RequestID: c.id, Live: c.live, Fault: c.fault.mode,
		AnswerStatus: status, Answer: body, At: s.book.now(),
	}
	batch, err := s.book.append(e)
	if err != nil {
		return nil, err
	}
	return batch, s.book.apply(e)
}

// entry begins an entry of the book that ends the work on the call's key.
func (s *Server) entry(c *call, kind string, h *hold) entry {
	e := entry{
		Type: kind, Hold: h.id, Currency: h.currency, Reference: c.params.Get("metadata[capstan_reference]"), Metadata: h.metadata,
		Live: h.live, Key: c.key, Print: c.print, RequestID: c.id, Fault: c.fault.mode, At: s.book.now(),
	}
	if c.fault.mode == modeCharge500 {
		body, _ := json.Marshal(serverError(true).body())
		e.AnswerStatus, e.Answer = 500, string(body)
	}
	return e
}

// write answers without any fault.
func (s *Server) write(w http.ResponseWriter, c *call, r reply) {
	if c.answer != nil {
		c.answer(w, c, r)
		return
	}
	body, err := r.encode(c.expand)
	if errors.Is(err, errClosed) || err != nil {
		r.status, body = 500, []byte(`{"error":{"type":"api_error","message":"The answer could not be made."}}`)
	}
	if c.record != nil {
		s.calls.edit(func() { c.record.Status, c.record.Replayed = r.status, r.replayed })
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if c.key != "" {
		h.Set("Idempotency-Key", c.key)
	}
	switch { // what Stripe's SDKs go by
	case r.status == 409, r.status == 500 && r.err != nil && !r.err.kept:
		h.Set("Stripe-Should-Retry", "true")
	case r.status == 500:
		h.Set("Stripe-Should-Retry", "false") // the key would only repeat it
	}
	if r.replayed {
		h.Set("Idempotent-Replayed", "true")
		h.Set("Original-Request", r.original)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(body)
}

func (r reply) encode(expand map[string]bool) ([]byte, error) {
	switch {
	case r.err != nil:
		return json.Marshal(r.err.body())
	case r.view != nil:
		return json.Marshal(r.view.render(expand))
	}
	return []byte(r.body), nil
}
