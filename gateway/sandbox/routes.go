package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// routes is the whole surface.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	byPath := func(r *http.Request, _ params) string { return r.PathValue("id") }
	byNothing := func(*http.Request, params) string { return "" }
	mux.Handle("POST /v1/payment_intents", s.serve(callCreate, byNothing, s.createIntent))
	mux.Handle("GET /v1/payment_intents", s.serve(callOther, byNothing, s.listIntents))
	mux.Handle("GET /v1/payment_intents/{id}", s.serve(callLookUp, byPath, s.getIntent))
	mux.Handle("POST /v1/payment_intents/{id}", s.serve(callOther, byPath, s.updateIntent))
	mux.Handle("POST /v1/payment_intents/{id}/confirm", s.serve(callConfirm, byPath, s.confirmIntent))
	mux.Handle("POST /v1/payment_intents/{id}/capture", s.serve(callCapture, byPath, s.captureIntent))
	mux.Handle("POST /v1/payment_intents/{id}/cancel", s.serve(callCancel, byPath, s.cancelIntent))
	mux.Handle("POST /v1/refunds", s.serve(callRefund, s.holdOfRefund, s.createRefund))
	mux.Handle("GET /v1/refunds", s.serve(callLookUp, s.holdOfRefund, s.listRefunds))
	mux.Handle("GET /v1/refunds/{id}", s.serve(callLookUp, byNothing, s.getRefund))
	mux.Handle("GET /v1/charges/{id}", s.serve(callLookUp, byNothing, s.getCharge))
	mux.Handle("GET /v1/disputes", s.serve(callLookUp, s.holdOfRefund, s.listDisputes))
	mux.Handle("GET /v1/balance", s.serve(callOther, byNothing, s.getBalance))
	mux.Handle("GET /v1/balance_transactions", s.serve(callOther, byNothing, s.listBalance))
	mux.Handle("/v1/", s.serve(callOther, byNothing, func(c *call) reply {
		e := invalid("", "", "Unrecognized request URL (%s: %s).", c.method, c.path)
		e.Status = 404
		return fail(e)
	}))
	mux.Handle("/paypal/", http.StripPrefix("/paypal", s.paypalRoutes()))
	mux.Handle("/klarna/", http.StripPrefix("/klarna", s.klarnaRoutes()))
	mux.Handle("/external/", http.StripPrefix("/external", s.externalRoutes()))
	mux.Handle("/checkoutcom/", http.StripPrefix("/checkoutcom", s.checkoutRoutes()))
	mux.Handle("/braintree/", http.StripPrefix("/braintree", s.braintreeRoutes()))
	mux.Handle("/adyen/", http.StripPrefix("/adyen", s.adyenRoutes()))
	mux.HandleFunc("GET /_sandbox/book", s.showBook)
	mux.HandleFunc("GET /_sandbox/fault", func(w http.ResponseWriter, _ *http.Request) { tell(w, 200, s.faults.texts()) })
	mux.HandleFunc("PUT /_sandbox/fault", s.putFault)
	mux.HandleFunc("DELETE /_sandbox/fault", func(w http.ResponseWriter, _ *http.Request) {
		s.faults.setRules(nil)
		tell(w, 200, []faultRule{})
	})
	mux.HandleFunc("POST /_sandbox/expire", s.expireNow)
	mux.HandleFunc("POST /_sandbox/dashboard", s.dashboard)
	mux.HandleFunc("PUT /_sandbox/webhooks", s.putWebhooks)
	mux.HandleFunc("POST /_sandbox/webhooks/flush", s.flushNow)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		tell(w, 200, map[string]any{"sandbox": "Capstan's payment gateway for tests; no money moves here", "book": "/_sandbox/book", "faults": Modes()})
	})
	return mux
}

func (s *Server) showBook(w http.ResponseWriter, r *http.Request) {
	tell(w, 200, s.bookOf(r.URL.Query().Get("hold")))
}

// faultRule is a fault for the whole sandbox, or for one hold, on the wire.
type faultRule struct {
	Fault string `json:"fault"`
	// Hold puts the fault on one hold instead of everywhere.
	Hold string `json:"hold,omitempty"`
	// Call is capture, refund, cancel, look_up, webhook or any; empty fits
	// whatever the mode fits.
	Call string `json:"call,omitempty"`
	// Times replaces the number of every step; 0 leaves it, and a single mode
	// for the whole sandbox without any number stays until it is cleared.
	Times       int      `json:"times,omitempty"`
	Probability *float64 `json:"probability,omitempty"`
	// Left is shown by GET: calls it still meets, -1 for always.
	Left *int `json:"left,omitempty"`
}

func (s *Server) putFault(w http.ResponseWriter, r *http.Request) {
	var wanted []faultRule
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err == nil && strings.HasPrefix(strings.TrimSpace(string(body)), "[") {
		err = json.Unmarshal(body, &wanted)
	} else if err == nil {
		wanted = make([]faultRule, 1)
		err = json.Unmarshal(body, &wanted[0])
	}
	if err != nil {
		tell(w, 400, map[string]string{"error": "send {\"fault\":\"…\"} or a list of them: " + err.Error()})
		return
	}
	if err := s.setFaults(wanted); err != nil {
		tell(w, 422, map[string]string{"error": err.Error()})
		return
	}
	tell(w, 200, s.faults.texts())
}

// setFaults puts all of them in force, or none.
func (s *Server) setFaults(wanted []faultRule) error {
	var rules []rule
	for _, f := range wanted {
		rl, err := f.rule()
		if err != nil {
			return err
		}
		if f.Hold == "" {
			rules = append(rules, rl)
		}
	}
	for _, f := range wanted {
		if f.Hold != "" {
			if err := s.faults.setHold(f.Hold, f.Fault); err != nil {
				return err
			}
		}
	}
	if rules != nil {
		s.faults.setRules(rules)
	}
	return nil
}

func (f faultRule) rule() (rule, error) {
	p, err := parsePlan(f.Fault)
	if err != nil {
		return rule{}, err
	}
	rl := rule{plan: p, text: f.Fault, call: f.Call, probability: 1}
	if f.Probability != nil {
		rl.probability = *f.Probability
	}
	if rl.probability < 0 || rl.probability > 1 || f.Times < 0 {
		return rule{}, errors.New("probability is between 0 and 1, and times is not negative")
	}
	if !strings.Contains("  any capture refund cancel void look_up webhook ", " "+f.Call+" ") {
		return rule{}, errors.New("call is capture, refund, cancel, look_up, webhook or any")
	}
	for i, part := range strings.Split(f.Fault, ",") {
		switch {
		case f.Times > 0:
			p[i].left = f.Times
		case !strings.Contains(part, ":") && len(p) == 1:
			p[i].left = always
		}
	}
	return rl, nil
}

func (s *Server) expireNow(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("hold")
	var done intent
	var last *batch
	status, problem := 200, ""
	s.locked(func(b *book) {
		switch h := b.holds[id]; {
		case h == nil:
			status, problem = 404, "no such hold"
		case h.status != needsCapture:
			status, problem = 409, "the hold is "+h.status
		case b.expire(h) != nil:
			status, problem = 500, "the book cannot be written"
		default:
			done, last = h.intent, h.last
		}
	})
	if problem == "" && last.wait() != nil {
		status, problem = 500, "the book cannot be written"
	}
	if problem != "" {
		tell(w, status, map[string]string{"error": problem})
		return
	}
	s.hooks.send(s.expiredEvents(done), s.faults.pickHooks(id))
	tell(w, 200, map[string]string{"hold": id, "status": canceled})
}

func (s *Server) putWebhooks(w http.ResponseWriter, r *http.Request) {
	var endpoints []struct {
		URL       string `json:"url"`
		Secret    string `json:"secret"`
		OldSecret string `json:"old_secret"`
		Wire      string `json:"wire"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&endpoints); err != nil {
		tell(w, 400, map[string]string{"error": "send [{\"url\":\"…\",\"secret\":\"…\"}]: " + err.Error()})
		return
	}
	list := make([]Endpoint, 0, len(endpoints))
	for _, e := range endpoints {
		list = append(list, Endpoint{URL: e.URL, Secret: secretOf(e.Secret), OldSecret: secretOf(e.OldSecret), Wire: e.Wire})
	}
	s.SetWebhooks(list)
	tell(w, 200, map[string]int{"endpoints": len(list)})
}

func (s *Server) flushNow(w http.ResponseWriter, r *http.Request) {
	if err := s.Flush(r.Context()); err != nil {
		return // the caller is gone
	}
	tell(w, 200, map[string]int{"waiting": s.hooks.waiting()})
}

func tell(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
