package paypal

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// maxLinked bounds the captures that are read one by one.
const maxLinked = 20

// LookUp reads the authorization, and what was paid on its order when the
// authorization's status does not say enough.
func (a *Adapter) LookUp(ctx context.Context, r gateway.Request) models.Evidence {
	ev := a.lookUp(ctx, r)
	a.client.Count(gateway.CallLookUp, ev.Outcome)
	return ev
}

func (a *Adapter) lookUp(ctx context.Context, r gateway.Request) models.Evidence {
	if err := checkID("authorization", r.Hold); err != nil {
		return models.Evidence{Source: models.FromLookUp, ErrorCode: "hold_not_valid", Message: err.Error(), NextAction: gateway.NextContact}
	}
	return lookedUp(r, a.read(ctx, gateway.CallLookUp, r))
}

// sight is what a look-up saw. It is plain data, so that what it proves is
// decided by a pure function.
type sight struct {
	call gateway.Label   // what the requests are counted as
	ev   models.Evidence // of the last answer; how a look ends that saw nothing
	ok   bool            // auth was read
	auth authorization
	// listed: paid is everything that was paid on the order. Otherwise ev says why not.
	listed bool
	paid   payments
	// at is the gateway's own clock.
	at time.Time
}

// read reads the authorization r.Hold and, where it is needed, the order.
func (a *Adapter) read(ctx context.Context, call gateway.Label, r gateway.Request) sight {
	rep := a.get(ctx, call, authorizationPath(r.Hold))
	s := sight{call: call, ev: rep.judge(gateway.CallLookUp, r)}
	if rep.failed != nil || rep.answer.Phase != gateway.PhaseAnswered || rep.answer.Status != http.StatusOK {
		return s
	}
	if s.auth, s.ok = parseAuthorization(rep.answer.Body); !s.ok || s.auth.ID != r.Hold {
		s.ok, s.ev.Message = false, "status 200 without the authorization that was asked for"
		return s
	}
	s.at, _ = http.ParseTime(rep.answer.Header.Get("Date"))
	if !s.needsOrder(r.Kind) {
		return s
	}
	return a.readPaid(ctx, r, s)
}

// needsOrder: of a hold that was never touched the status says everything.
func (s sight) needsOrder(kind models.Kind) bool {
	if kind == models.Refund {
		return true
	}
	switch s.auth.Status {
	case authCaptured:
		return kind != models.Void
	case authPartially:
		return kind != models.Void || s.over()
	}
	return s.auth.Status == authVoided
}

// readPaid reads what was paid on the authorization's order.
func (a *Adapter) readPaid(ctx context.Context, r gateway.Request, s sight) sight {
	id := s.auth.orderID()
	if id == "" {
		return a.readLinked(ctx, r, s)
	}
	rep := a.get(ctx, s.call, orderPath(id))
	s.ev = rep.judge(gateway.CallLookUp, r)
	if rep.failed != nil || rep.answer.Phase != gateway.PhaseAnswered || rep.answer.Status != http.StatusOK {
		return s
	}
	if s.paid, s.listed = parseOrder(rep.answer.Body, id); !s.listed {
		s.ev.Message = "status 200 without the order that was asked for"
	}
	return s
}

// readLinked reads the captures that the authorization itself links to. Without
// an order that is all that can be found, and never all there may be of refunds.
func (a *Adapter) readLinked(ctx context.Context, r gateway.Request, s sight) sight {
	const marker = "/v2/payments/captures/"
	if r.Kind == models.Refund {
		s.ev.Message, s.ev.NextAction = "the authorization belongs to no order, so that its refunds cannot be listed", gateway.NextContact
		return s
	}
	for _, l := range s.auth.Links {
		id := linked([]link{l}, "", marker)
		if id == "" || strings.HasSuffix(l.Href, "/refund") {
			continue
		}
		if len(s.paid.Captures) == maxLinked {
			s.ev.Message = "the authorization has more captures than are ever read"
			return s
		}
		rep := a.get(ctx, s.call, capturePath(id))
		ev := rep.judge(gateway.CallLookUp, r)
		c, ok := parseCapture(rep.answer.Body)
		if rep.failed != nil || rep.answer.Phase != gateway.PhaseAnswered || rep.answer.Status != http.StatusOK || !ok || c.ID != id {
			s.ev = ev
			return s
		}
		s.paid.Captures = append(s.paid.Captures, c)
	}
	if s.listed = len(s.paid.Captures) > 0; !s.listed {
		s.ev.Message, s.ev.NextAction = "the authorization belongs to no order, so that its captures cannot be listed", gateway.NextContact
	}
	return s
}

// parent finds the authorization that a renewed one took the place of: the
// oldest other one of its order.
func (s sight) parent(hold string) string {
	parent, oldest := "", s.auth.Created.Time
	for _, x := range s.paid.Authorizations {
		if s.listed && validID(x.ID) && x.ID != hold && !x.Created.IsZero() && !x.Created.After(oldest) {
			parent, oldest = x.ID, x.Created.Time
		}
	}
	return parent
}

// ends is when the authorization expires; nil when it does not say.
func (x authorization) ends() *time.Time {
	if x.Expires.IsZero() {
		return nil
	}
	at := x.Expires.Time
	return &at
}

// over reports whether the hold's life has ended by the gateway's own clock.
func (s sight) over() bool {
	return !s.at.IsZero() && !s.auth.Expires.IsZero() && !s.at.Before(s.auth.Expires.Time)
}

// lookedUp says what a look proves. It is pure.
func lookedUp(r gateway.Request, s sight) models.Evidence {
	if !s.ok {
		return s.ev
	}
	s.ev.HoldEndsAt = s.auth.ends()
	switch r.Kind {
	case models.Capture:
		return lookedCapture(r, s)
	case models.Void:
		return lookedVoid(s)
	case models.Refund:
		return lookedRefund(r, s)
	}
	return s.ev
}

// lookedCapture finds our capture among those of the order.
func lookedCapture(r gateway.Request, s sight) models.Evidence {
	ev := s.ev
	switch s.auth.Status {
	case authCreated, authPending:
		// By definition nothing took effect on it.
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold stands and nothing was captured"
		return ev
	case authDenied:
		return gone(ev, s.auth, "AUTHORIZATION_DENIED")
	case authCaptured, authPartially, authVoided:
	default:
		ev.Message = "the authorization's status is not known here: " + gateway.CleanText(s.auth.Status)
		return ev
	}
	if !s.listed {
		return ev
	}
	var ours, others []capture
	strange := false
	for _, c := range s.paid.Captures {
		_, _, live := liveCents(c)
		switch {
		case c.InvoiceID == r.Reference:
			ours = append(ours, c)
		case c.hold() != "" && c.hold() != r.Hold, c.Status == statusDeclined, c.Status == statusFailed:
		case live:
			others = append(others, c)
		default:
			strange = true
		}
	}
	switch {
	case len(ours) > 0:
		return bestCapture(ev, r, ours)
	case strange:
		ev.Message = "the order lists a capture that is not understood here"
		return ev
	}
	return withoutOurs(ev, r, s.auth, others)
}

// withoutOurs: the hold was touched, and not under our reference.
func withoutOurs(ev models.Evidence, r gateway.Request, auth authorization, others []capture) models.Evidence {
	if auth.Status == authVoided {
		return gone(ev, auth, "AUTHORIZATION_VOIDED")
	}
	left, currency, ok := auth.Amount.cents()
	siblings := true
	for _, c := range others {
		cents, code, known := liveCents(c)
		ok = ok && known && code == currency
		left -= cents
		siblings = siblings && made(c.InvoiceID, "cap_")
	}
	switch {
	case len(others) == 0 || !ok:
		ev.Outcome, ev.Message = models.OutcomeLost, "PayPal says the hold was captured and lists no capture that explains it"
		return ev
	case auth.Status == authPartially && left >= r.AmountCents:
		ev.Outcome, ev.Message = models.OutcomeNone, "a part was captured, and nothing under this reference"
		return ev
	case siblings && !r.OnlyOne:
		// Our own earlier captures used the hold up: this one can never be made.
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, gateway.NextCancel
		ev.ErrorCode, ev.Message = "AUTHORIZATION_ALREADY_CAPTURED", "other captures have used the hold up"
		return ev
	}
	ev = captured(ev, others[0], r)
	ev.Foreign = ev.Foreign || len(others) > 1
	if ev.Foreign {
		ev.NextAction = gateway.NextContact
	}
	return ev
}

// made recognises a reference that some Capstan made.
func made(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

func gone(ev models.Evidence, auth authorization, code string) models.Evidence {
	ev.Outcome, ev.HoldGone, ev.NextAction, ev.ErrorCode = models.OutcomeRefused, true, gateway.NextCancel, code
	ev.GatewayTransactionID, ev.Message = gateway.CleanID(auth.ID), "the hold is "+auth.Status+" at PayPal"
	return ev
}

// bestCapture judges all captures under our reference: a success outweighs what
// is pending, which outweighs the last decline. Several that live are told as
// their sum, so that the difference is seen.
func bestCapture(ev models.Evidence, r gateway.Request, ours []capture) models.Evidence {
	var verdicts []models.Evidence
	for _, c := range byTime(ours, func(c capture) time.Time { return c.Created.Time }) {
		verdicts = append(verdicts, captured(ev, c, r))
	}
	return best(verdicts, "more than one capture under the same reference")
}

// byTime orders a few things by their time, those without one last.
func byTime[T any](all []T, at func(T) time.Time) []T {
	out := make([]T, 0, len(all))
	for _, x := range all {
		i := len(out)
		for i > 0 && !at(x).IsZero() && at(out[i-1]).After(at(x)) {
			i--
		}
		out = append(out[:i], append([]T{x}, out[i:]...)...)
	}
	return out
}

func best(verdicts []models.Evidence, twice string) models.Evidence {
	verdict := verdicts[0]
	for _, next := range verdicts[1:] {
		switch {
		case live(next) && live(verdict) && next.CurrencyCode == verdict.CurrencyCode:
			verdict.AmountCents += next.AmountCents
			verdict.Message = twice
			if next.Outcome == models.OutcomeAccepted {
				verdict.Outcome = models.OutcomeAccepted
			}
		case !live(verdict):
			verdict = next
		}
	}
	return verdict
}

func live(ev models.Evidence) bool {
	return ev.Outcome == models.OutcomeConfirmed || ev.Outcome == models.OutcomeAccepted
}

func lookedVoid(s sight) models.Evidence {
	ev := s.ev
	switch s.auth.Status {
	case authVoided:
		return releasedOf(s)
	case authCaptured:
		ev.Outcome, ev.HoldGone, ev.NextAction = models.OutcomeRefused, true, gateway.NextCancel
		ev.GatewayTransactionID, ev.ErrorCode = gateway.CleanID(s.auth.ID), "PREVIOUSLY_CAPTURED"
		ev.Message = "the hold was captured; it can only be refunded"
		return ev
	case authDenied:
		return gone(ev, s.auth, "AUTHORIZATION_DENIED")
	case authCreated, authPartially:
		if s.over() { // what nobody captured in time is the payer's again: what a void is for
			return releasedOf(s)
		}
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold is not voided"
	case authPending:
		ev.Outcome, ev.Message = models.OutcomeNone, "the hold is not voided"
	default:
		ev.Message = "the authorization's status is not known here: " + gateway.CleanText(s.auth.Status)
	}
	return ev
}

// releasedOf is a hold that holds nothing any more, by whomever.
func releasedOf(s sight) models.Evidence {
	var before []capture
	for _, c := range s.paid.Captures {
		if c.hold() == "" || c.hold() == s.auth.ID {
			before = append(before, c)
		}
	}
	if !s.listed && s.auth.Status != authCreated && s.auth.orderID() != "" {
		return s.ev // the order could not be read now; later it can
	}
	return voided(s.ev, s.auth, before)
}

// lookedRefund finds our refund among those of the order. A refund that
// somebody made without our reference is not ours, but when it leaves less than
// ours needs, ours can never be made: that is told as foreign, for a person.
func lookedRefund(r gateway.Request, s sight) models.Evidence {
	ev := s.ev
	if !s.listed {
		return ev
	}
	var ours []models.Evidence
	var others []refund
	strange := false
	for _, re := range byTime(s.paid.Refunds, func(re refund) time.Time { return re.Created.Time }) {
		switch {
		case re.CustomID == r.Reference, re.InvoiceID == r.Reference:
			ours = append(ours, refunded(ev, re))
		case re.capture() != "" && re.capture() != r.Capture, re.Status == statusFailed, re.Status == statusCancelled:
		case re.Status == statusCompleted, re.Status == statusPending:
			others = append(others, re)
		default:
			strange = true
		}
	}
	switch {
	case len(ours) > 0:
		return best(ours, "more than one refund under the same reference")
	case strange:
		ev.Message = "the order lists a refund that is not understood here"
		return ev
	}
	left, ok := refundable(r.Capture, s.paid.Captures, others)
	switch {
	case len(others) == 0:
	case !ok:
		ev.Message = "what is left of the capture cannot be told from the order"
		return ev
	case left < r.AmountCents:
		if ev = refunded(ev, others[0]); ev.Outcome != models.OutcomeLost {
			ev.Foreign, ev.NextAction = true, gateway.NextContact
		}
		return ev
	}
	ev.Outcome, ev.Message = models.OutcomeNone, "the order has no refund under this reference"
	return ev
}

// refundable is how much of the capture can still be given back.
func refundable(id string, captures []capture, back []refund) (int64, bool) {
	for _, c := range captures {
		left, currency, ok := liveCents(c)
		if c.ID != id || !ok {
			continue
		}
		for _, re := range back {
			cents, code, good := re.Amount.cents()
			if !good || code != currency {
				return 0, false
			}
			left -= cents
		}
		return left, true
	}
	return 0, false
}
