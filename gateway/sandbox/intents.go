package sandbox

import (
	"math"
	"strings"
	"time"
)

const createParams = `amount currency capture_method confirm metadata description payment_method payment_method_types
	automatic_payment_methods confirmation_method customer off_session on_behalf_of payment_method_options payment_method_data
	receipt_email return_url setup_future_usage shipping statement_descriptor statement_descriptor_suffix transfer_data
	transfer_group use_stripe_sdk application_fee_amount error_on_requires_action mandate mandate_data radar_options`

// testMethods are the payment methods that do not give a hold at once. Any
// other one is a good card.
var testMethods = map[string]struct{ decline, message string }{
	"pm_card_chargeDeclined":                  {"generic_decline", "Your card was declined."},
	"pm_card_visa_chargeDeclined":             {"generic_decline", "Your card was declined."},
	"pm_card_chargeDeclinedInsufficientFunds": {"insufficient_funds", "Your card has insufficient funds."},
	"pm_card_chargeDeclinedLostCard":          {"lost_card", "Your card was declined."},
	"pm_card_chargeDeclinedStolenCard":        {"stolen_card", "Your card was declined."},
	"pm_card_chargeDeclinedFraudulent":        {"fraudulent", "Your card was declined."},
	"pm_card_authenticationRequired":          {"", ""}, // stays requires_action
}

// createIntent is POST /v1/payment_intents.
func (s *Server) createIntent(c *call) reply {
	p := c.params
	if err := p.known(createParams); err != nil {
		return fail(err)
	}
	amount, given, err := p.amount("amount", s.config.MaxAmount)
	switch {
	case err != nil:
		return fail(err)
	case !given:
		return fail(invalid("amount", "parameter_missing", "Missing required param: amount."))
	}
	currency, err := p.currency()
	if err == nil {
		err = checkStep("amount", amount, currency)
	}
	if err != nil {
		return fail(err)
	}
	method := p.Get("capture_method")
	if method == "" {
		method = "automatic"
	}
	if method != "manual" && method != "automatic" && method != "automatic_async" {
		return fail(invalid("capture_method", "", "Invalid capture_method: must be one of automatic, automatic_async, or manual"))
	}
	metadata, err := p.metadata(nil)
	if err == nil {
		err = checkFault(metadata)
	}
	if err != nil {
		return fail(err)
	}
	h := &hold{intent: intent{
		id: newID("pi"), amount: amount, currency: currency, method: method, metadata: metadata, live: c.live,
		description: p.Get("description"), paymentMethod: p.Get("payment_method"), status: needsMethod, created: s.book.now(),
	}}
	if p.bool("confirm") {
		return s.confirmHold(c, h)
	}
	if h.paymentMethod != "" {
		h.status = needsConfirm
	}
	return s.bookHold(c, h, nil)
}

func checkFault(metadata map[string]string) *apiError {
	if f := metadata["fault"]; f != "" {
		if _, err := parsePlan(f); err != nil {
			return invalid("metadata[fault]", "", "%s", err.Error())
		}
	}
	return nil
}

// confirmIntent is POST /v1/payment_intents/{id}/confirm.
func (s *Server) confirmIntent(c *call) reply {
	h, err := s.find(c)
	if err == nil {
		err = c.params.known(createParams)
	}
	if err != nil {
		return fail(err)
	}
	if h.status != needsConfirm && h.status != needsMethod && h.status != needsAction {
		return fail(unexpected(h.intent, "confirmed", needsMethod+", "+needsConfirm+", "+needsAction))
	}
	next := &hold{intent: h.intent}
	if pm := c.params.Get("payment_method"); pm != "" {
		next.paymentMethod = pm
	}
	return s.confirmHold(c, next)
}

// confirmHold charges the payment method: a hold, or the money at once.
func (s *Server) confirmHold(c *call, h *hold) reply {
	if h.paymentMethod == "" {
		h.paymentMethod = "pm_card_visa"
	}
	if bad, ok := testMethods[h.paymentMethod]; ok {
		if bad.decline == "" {
			h.status = needsAction
			return s.bookHold(c, h, nil)
		}
		h.status = needsMethod
		r := s.bookHold(&call{id: c.id, params: c.params, live: c.live, fault: c.fault}, h, nil)
		if r.err == nil {
			r.err = cardDeclined(h.intent, bad.decline, bad.message)
			r.events = []event{s.event("payment_intent.payment_failed", c, intentView{h.intent}, h.id)}
		}
		return r
	}
	h.charge = newID("ch")
	if h.method == "manual" {
		h.status, h.captureBefore = needsCapture, s.book.now().Add(s.config.HoldLife).Truncate(time.Second)
		if s.config.HoldLife < time.Minute {
			h.captureBefore = s.book.now().Add(s.config.HoldLife)
		}
		return s.bookHold(c, h, []string{"payment_intent.amount_capturable_updated"})
	}
	quiet := &call{id: c.id, params: c.params, live: c.live}
	h.status = needsConfirm
	if r := s.bookHold(quiet, h, nil); r.err != nil {
		return r
	}
	return s.bookCapture(c, s.book.holds[h.id], h.amount, h.currency, h.metadata)
}

// bookHold writes a new or changed PaymentIntent.
func (s *Server) bookHold(c *call, h *hold, types []string) reply {
	e := s.entry(c, entryHold, h)
	e.Amount, e.Status, e.Method, e.PaymentMethod = h.amount, h.status, h.method, h.paymentMethod
	e.Charge, e.Description, e.CaptureBefore = h.charge, h.description, h.captureBefore
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	r := s.shown(c, s.book.holds[h.id])
	for _, t := range types {
		r.events = append(r.events, s.event(t, c, r.view, h.id))
	}
	return r
}

// shown answers with a PaymentIntent as it is now.
func (s *Server) shown(_ *call, h *hold) reply {
	return reply{view: intentView{h.intent}, wait: h.last, booked: true}
}

func (s *Server) unbooked(err error) reply {
	s.config.Log.Error("nothing was booked", "error", err)
	return fail(serverError(false))
}

// find returns the hold that the call names, ended first if its life is over.
func (s *Server) find(c *call) (*hold, *apiError) {
	h := s.book.holds[c.hold]
	if h == nil || h.live != c.live {
		return nil, missing("payment_intent", c.hold, "intent")
	}
	if s.book.due(h) {
		if err := s.book.expire(h); err != nil {
			return nil, serverError(false)
		}
		s.hooks.send(s.expiredEvents(h.intent), s.faults.pickHooks(h.id))
	}
	return h, nil
}

// getIntent is GET /v1/payment_intents/{id}.
func (s *Server) getIntent(c *call) reply {
	h, err := s.find(c)
	if err != nil {
		return fail(err)
	}
	r := s.shown(c, h)
	if c.fault.mode == modeLookUpStale && h.before != nil {
		r.view = intentView{*h.before}
	}
	return r
}

// updateIntent is POST /v1/payment_intents/{id}: metadata and description.
func (s *Server) updateIntent(c *call) reply {
	h, err := s.find(c)
	if err == nil {
		err = c.params.known("metadata description receipt_email shipping statement_descriptor_suffix transfer_group")
	}
	if err != nil {
		return fail(err)
	}
	metadata, err := c.params.metadata(h.metadata)
	if err == nil {
		err = checkFault(metadata)
	}
	if err != nil {
		return fail(err)
	}
	e := s.entry(c, entryUpdate, h)
	e.Metadata, e.Description = metadata, h.description
	if c.params.Has("description") {
		e.Description = c.params.Get("description")
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	return s.shown(c, h)
}

// listIntents is GET /v1/payment_intents, newest first.
func (s *Server) listIntents(c *call) reply {
	pg, err := c.params.page()
	if err == nil {
		err = c.params.known("limit starting_after ending_before created customer")
	}
	if err != nil {
		return fail(err)
	}
	var views []view
	var ids []string
	for i := len(s.book.order) - 1; i >= 0; i-- {
		h := s.book.order[i]
		if at := h.created.Unix(); h.live == c.live && h.wire == "" && at >= pg.from && at <= pg.to {
			views, ids = append(views, intentView{h.intent}), append(ids, h.id)
		}
	}
	return s.paged(pg, "/v1/payment_intents", views, ids)
}

// paged cuts one page out of everything.
func (s *Server) paged(pg page, url string, views []view, ids []string) reply {
	start, end := 0, len(ids)
	for i, id := range ids {
		if id == pg.after {
			start = i + 1
		}
		if id == pg.before {
			end = i
		}
	}
	more := false
	if pg.before != "" && pg.after == "" {
		more = end-start > pg.limit
		start = max(start, end-pg.limit)
	} else if end-start > pg.limit {
		end, more = start+pg.limit, true
	}
	return reply{view: listView{url: url, data: views[start:max(start, end)], more: more}, wait: s.book.journal.newest(), booked: true}
}

// cancelIntent is POST /v1/payment_intents/{id}/cancel.
func (s *Server) cancelIntent(c *call) reply {
	h, err := s.find(c)
	if err == nil {
		err = c.params.known("cancellation_reason")
	}
	reason := c.params.Get("cancellation_reason")
	if err == nil && !strings.Contains(" duplicate fraudulent requested_by_customer abandoned ", " "+reason+" ") && reason != "" {
		err = invalid("cancellation_reason", "", "Invalid cancellation_reason: %s", reason)
	}
	if err == nil {
		err = s.expireFault(c, h)
	}
	if err != nil {
		return fail(err)
	}
	if h.status == canceled || h.status == succeeded {
		return fail(unexpected(h.intent, "canceled", strings.Join([]string{needsMethod, needsCapture, needsConfirm, needsAction, "processing"}, ", ")))
	}
	e := s.entry(c, entryCancel, h)
	e.Amount, e.Reason = h.amount, reason
	if h.status == needsCapture {
		e.ID = newID("re")
	}
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	r := s.shown(c, h)
	r.events = []event{s.event("payment_intent.canceled", c, r.view, h.id)}
	return r
}

// expireFault ends the hold first when the fault says so.
func (s *Server) expireFault(c *call, h *hold) *apiError {
	if c.fault.mode != modeExpired || h.status != needsCapture {
		return nil
	}
	if err := s.book.expire(h); err != nil {
		return serverError(false)
	}
	s.hooks.send(s.expiredEvents(h.intent), s.faults.pickHooks(h.id))
	return nil
}

// captureIntent is POST /v1/payment_intents/{id}/capture.
func (s *Server) captureIntent(c *call) reply {
	h, err := s.find(c)
	if err == nil {
		err = c.params.known(`amount_to_capture final_capture metadata statement_descriptor statement_descriptor_suffix
			application_fee_amount transfer_data amount_details payment_details hooks`)
	}
	if err == nil {
		err = s.expireFault(c, h)
	}
	if err != nil {
		return fail(err)
	}
	amount, given, err := c.params.amount("amount_to_capture", math.MaxInt64)
	metadata, badMeta := c.params.metadata(h.metadata)
	switch {
	case err != nil:
		return fail(err)
	case badMeta != nil:
		return fail(badMeta)
	case c.params.Get("final_capture") == "false":
		return fail(invalid("final_capture", "", "This account is not eligible for multicapture; leave final_capture out."))
	case h.status != needsCapture:
		return fail(unexpected(h.intent, "captured", needsCapture))
	case given && amount > h.amount:
		s.book.violation(s.entry(&call{id: c.id, params: c.params, key: c.key}, entryCapture, &hold{intent: intent{id: h.id}}),
			"a capture of more than the hold was asked for: "+c.params.Get("amount_to_capture"))
		return fail(invalid("amount_to_capture", "amount_too_large",
			"The amount to capture must be less than or equal to the amount of the PaymentIntent, %d.", h.amount))
	case !given:
		amount = h.amount
	}
	if err := checkStep("amount_to_capture", amount, h.currency); err != nil {
		return fail(err)
	}
	if r, over := s.declined(c, h); over {
		return r
	}
	amount, currency := spoiled(c.fault, amount, h.amount, h.currency)
	return s.bookCapture(c, h, amount, currency, metadata)
}

// declined answers as a card issuer that does not want to pay now, or ever.
func (s *Server) declined(c *call, h *hold) (reply, bool) {
	var r reply
	switch c.fault.mode {
	case modeDecline:
		r = fail(cardDeclined(h.intent, "insufficient_funds", "Your card has insufficient funds."))
	case modeDeclineHard:
		r = fail(cardDeclined(h.intent, "stolen_card", "Your card was declined."))
	default:
		return r, false
	}
	r.events = []event{s.event("payment_intent.payment_failed", c, intentView{h.intent}, h.id)}
	return r, true
}

// spoiled is what a faulty gateway books instead, never more than limit.
func spoiled(f fault, amount, limit int64, currency string) (int64, string) {
	switch f.mode {
	case modeWrongAmount:
		switch {
		case f.num > 0:
			amount = min(f.num, limit)
		case amount > 1:
			amount--
		case limit > 1:
			amount++
		}
	case modePartial:
		amount = max(1, amount/2)
	case modeWrongCurrency:
		if currency == "usd" {
			currency = "eur"
		} else {
			currency = "usd"
		}
	}
	return amount, currency
}

func (s *Server) bookCapture(c *call, h *hold, amount int64, currency string, metadata map[string]string) reply {
	e := s.entry(c, entryCapture, h)
	e.ID, e.Amount, e.Currency, e.Metadata = h.charge, amount, currency, metadata
	if err := s.book.commit(e); err != nil {
		return s.unbooked(err)
	}
	r := s.shown(c, h)
	r.events = []event{
		s.event("charge.captured", c, chargeView{h.intent}, h.id),
		s.event("payment_intent.succeeded", c, r.view, h.id),
	}
	return r
}
