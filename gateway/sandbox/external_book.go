package sandbox

import (
	"slices"
	"time"
)

// wireExternal marks what came over the wire of external gateways, and
// externalKeyLife is how long its keys are remembered.
const (
	wireExternal    = "external"
	externalKeyLife = 30 * 24 * time.Hour
)

// externalEntry is what an entry of the book says on the wire of external
// gateways beyond the fields that all wires share.
type externalEntry struct {
	// Async, of a hold: what is asked of it is answered with 202, and told to the
	// callback after Delay.
	Async bool          `json:"async,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`
	// Kind and Capture are of what was asked: capture, refund or cancel, and what a
	// refund returns.
	Kind    string `json:"kind,omitempty"`
	Capture string `json:"capture,omitempty"`
	// ActionID names it until SettlesAt.
	ActionID  string    `json:"action_id,omitempty"`
	SettlesAt time.Time `json:"settles_at,omitzero"`
	// Code and Text are why it had no effect.
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
}

// externalHold is what belongs to a hold of an external gateway. The slice only
// grows, so that a copy is a snapshot.
type externalHold struct {
	async bool
	delay time.Duration
	moves []externalMove
}

// externalMove is one thing that was asked for; it never changes.
type externalMove struct {
	externalEntry
	token, reference string
	amount           int64
	currency         string
}

// externalIndex finds the hold of a token and of a reference.
type externalIndex struct{ captures, references map[string]*hold }

func newExternalIndex() externalIndex {
	return externalIndex{captures: map[string]*hold{}, references: map[string]*hold{}}
}

// externalKept is what a key answers: whatever became of what was asked under it.
type externalKept struct{ hold, reference string }

func (externalKept) render(map[string]bool) any { return nil } // never shown: see externalCurrent

func (b *book) applyExternalHold(h *hold, e entry) {
	h.wire = wireExternal
	h.external.async, h.external.delay = e.External.Async, e.External.Delay
}

func (b *book) applyExternal(h *hold, e entry) {
	if e.External != nil { // else it is the hold's own end
		h.external.moves = append(slices.Clip(h.external.moves), externalMove{
			externalEntry: *e.External, token: e.ID, reference: e.Reference, amount: e.Amount, currency: e.Currency,
		})
		b.external.references[e.Reference] = h
	}
	switch e.Type {
	case entryCapture: // the rest is released with the first
		h.captured, h.status = h.captured+e.Amount, succeeded
		b.external.captures[e.ID] = h
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		if h.status != canceled {
			h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
			b.cancels = append(b.cancels, booking(e))
		}
	}
}

// find returns what was asked under a reference.
func (x externalHold) find(reference string) (externalMove, bool) {
	for _, m := range x.moves {
		if m.reference == reference && reference != "" {
			return m, true
		}
	}
	return externalMove{}, false
}

// refundable is how much of a capture has not gone back.
func (x externalHold) refundable(capture string) (left int64, currency string) {
	for _, m := range x.moves {
		switch {
		case m.Kind == callCapture && m.token == capture && m.Code == "":
			left, currency = left+m.amount, m.currency
		case m.Kind == callRefund && m.Capture == capture && m.Code == "":
			left -= m.amount
		}
	}
	return left, currency
}
