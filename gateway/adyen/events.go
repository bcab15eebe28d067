package adyen

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// effect is what an event says about money.
type effect int

const (
	// told: the outcome of a request, ours or somebody else's.
	told effect = iota
	// tookBack: what had taken effect did not last.
	tookBack
	// disputed: the payer's bank took money of the payment back.
	disputed
	// released: the hold, or what was left of it, is gone.
	released
	// hinting: something about the payment; nothing that could be recorded.
	hinting
)

// events are the event codes that are about a capture, a refund or a hold. Every
// other code names no payment of ours: that a payment was authorised, for one, is
// registered by the checkout.
var events = map[string]struct {
	kind   models.Kind
	effect effect
}{
	"CAPTURE":           {models.Capture, told},
	"CAPTURE_FAILED":    {models.Capture, tookBack},
	"REFUND":            {models.Refund, told},
	"REFUND_FAILED":     {models.Refund, tookBack},
	"REFUNDED_REVERSED": {models.Refund, tookBack},
	"CANCELLATION":      {models.Void, told},
	"CANCEL_OR_REFUND":  {models.Void, told},
	"TECHNICAL_CANCEL":  {models.Void, released},
	"EXPIRE":            {models.Void, released},
	// The disputed amount leaves the account with these two, and with none of the
	// other events of a dispute.
	"CHARGEBACK":                        {models.Capture, disputed},
	"SECOND_CHARGEBACK":                 {models.Capture, disputed},
	"CHARGEBACK_REVERSED":               {models.Capture, hinting},
	"NOTIFICATION_OF_CHARGEBACK":        {models.Capture, hinting},
	"PREARBITRATION_LOST":               {models.Capture, hinting},
	"PREARBITRATION_WON":                {models.Capture, hinting},
	"SCHEME_ARBITRATION_LOST":           {models.Capture, hinting},
	"SCHEME_ARBITRATION_WON":            {models.Capture, hinting},
	"ISSUER_RESPONSE_TIMEFRAME_EXPIRED": {models.Capture, hinting},
	"POSTPONED_REFUND":                  {models.Refund, hinting},
	"AUTHORISATION_ADJUSTMENT":          {"", hinting},
}

var prefixes = map[models.Kind]string{models.Capture: "cap_", models.Refund: "ref_", models.Void: "void_"}

// notice says what an item is about and what it proves. Its signature is good.
func (x item) notice(merchantAccount string) gateway.Notice {
	n := gateway.Notice{
		EventID: x.eventID(), Type: gateway.CleanText(x.Event), At: x.Date.Time,
		Evidence: models.Evidence{Source: models.FromWebhook, Message: "event " + gateway.CleanText(x.Event)},
	}
	if x.Account != merchantAccount {
		n.Evidence.Message = "it is of another merchant account, " + gateway.CleanText(x.Account)
		return n
	}
	e, known := events[x.Event]
	if !known {
		return n
	}
	n.Hold = x.payment()
	if !x.plain() {
		return n // what its fields are is anybody's guess: a hint
	}
	n.Kind = e.kind
	if prefix := prefixes[e.kind]; (e.effect == told || e.effect == tookBack) && ours(x.Reference, prefix) {
		n.Reference = x.Reference
	}
	n.Evidence = x.evidence(e.kind, e.effect, n.Reference != "", n.Evidence)
	return n
}

// payment is the PSP reference of the payment that the event is about; empty when
// what stands there cannot be one.
func (x item) payment() string {
	id := x.Original
	if id == "" {
		id = x.PSP
	}
	if !validID(id) {
		return ""
	}
	return id
}

// eventID is the same for every delivery of an event. Adyen tells events apart by
// their code and reference. Some may come true more than once for the same
// request: that a capture failed, and that Adyen captured it again by itself. The
// time of those tells them apart, unsigned as it is: an event that is taken for
// another changes nothing, and one that is taken for an old one would be lost.
func (x item) eventID() string {
	if !x.plain() || !validID(x.PSP) || strings.Trim(x.Event, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" || len(x.Event+x.Success) > 100 {
		sum := sha256.Sum256([]byte(x.signed()))
		return "unusual:" + hex.EncodeToString(sum[:])
	}
	// As it is: a reference of 16 digits must not be masked for a card number.
	id := x.PSP + ":" + x.Event + ":" + gateway.CleanText(x.Success)
	if e := events[x.Event]; e.effect == tookBack || x.recaptured() {
		id += ":" + x.Date.UTC().Format(time.RFC3339)
	}
	return id
}

// recaptured: Adyen took a capture again that had failed.
func (x item) recaptured() bool {
	return x.Event == "CAPTURE" && x.Success == "true" && strings.Contains(strings.ToLower(x.Reason), "recaptured")
}

// evidence reads an event of ours, or of the hold.
func (x item) evidence(kind models.Kind, what effect, mine bool, ev models.Evidence) models.Evidence {
	cents, currency, ok := x.money().cents()
	psp := x.PSP
	if !validID(psp) {
		psp, ok = "", false
	}
	reason := gateway.CleanText(x.Reason) // not signed: for people only
	if reason != "" {
		ev.Message += ": " + reason
	}
	switch {
	case what == told && x.Success == "false" && mine:
		ev.Outcome, ev.ErrorCode, ev.ErrorDetail, ev.NextAction = models.OutcomeRefused, x.Event, reason, nextOf(kind)
		ev.GatewayTransactionID, ev.Token = psp, psp
	case x.Success != "true" || !ok || what == hinting:
		return ev
	case what == told:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, cents, currency
		ev.GatewayTransactionID, ev.Token = psp, psp
		ev.Foreign = !mine && kind != models.Void // a hold that is gone is gone, whoever let it go
	case what == released:
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeConfirmed, cents, currency
		ev.GatewayTransactionID, ev.Token = psp, psp
	case what == tookBack:
		ev.Outcome, ev.AmountCents, ev.TookCents, ev.CurrencyCode = models.OutcomeTakenBack, cents, cents, currency
		ev.GatewayTransactionID, ev.Token = psp, psp
		ev.ErrorCode, ev.ErrorDetail, ev.NextAction = x.Event, reason, gateway.NextContact
	case what == disputed:
		// Which capture it is about, and what that took, is not signed.
		ev.Outcome, ev.AmountCents, ev.CurrencyCode = models.OutcomeTakenBack, cents, currency
		ev.ErrorCode, ev.ErrorDetail, ev.NextAction = x.Event, reason, gateway.NextContact
	}
	return ev
}

// nextOf is what a person can do about a refusal. A hold that could not be
// captured or released may be gone, or taken: Adyen's own pages tell which.
func nextOf(kind models.Kind) string {
	if kind == models.Capture {
		return gateway.NextReauthorize
	}
	return gateway.NextContact
}
