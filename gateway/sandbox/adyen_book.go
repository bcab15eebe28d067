package sandbox

import (
	"slices"
	"time"
)

// wireAdyen marks what came over Adyen's wire, and adyenKeyLife is how long its
// keys are remembered: Adyen promises 31 days.
const (
	wireAdyen    = "adyen"
	adyenKeyLife = 31 * 24 * time.Hour
)

// adyenEntry is what an entry of the book says on Adyen's wire beyond the fields
// that all wires share. The entry's ID is the PSP reference of what was asked.
type adyenEntry struct {
	// Account is the merchant account, Reference the caller's own.
	Account   string `json:"merchant_account,omitempty"`
	Reference string `json:"reference,omitempty"`
	// What is the modification, empty for a payment.
	What string `json:"what,omitempty"`
	// Asked is the amount asked for, where the call names one.
	Asked         int64  `json:"asked,omitempty"`
	AskedCurrency string `json:"asked_currency,omitempty"`
	// Refused is why it took no effect; the entry is an update then.
	Refused string `json:"refused,omitempty"`
	// Failed, of an update: the refund with this PSP reference came back.
	Failed string `json:"failed,omitempty"`
}

// adyenHold is what belongs to a payment. The slices only grow, so that a copy
// is a snapshot.
type adyenHold struct {
	account, reference string
	captures, refunds  []adyenMove
}

// adyenMove is one capture or refund. failed: it did not last.
type adyenMove struct {
	psp, reference string
	amount         int64
	currency       string
	failed         bool
}

func (b *book) applyAdyenHold(h *hold, e entry) {
	h.wire = wireAdyen
	h.adyen.account, h.adyen.reference = e.Adyen.Account, e.Adyen.Reference
}

func (b *book) applyAdyen(h *hold, e entry) {
	if e.Adyen == nil { // something behind our back
		e.Adyen = &adyenEntry{}
	}
	move := adyenMove{psp: e.ID, reference: e.Adyen.Reference, amount: e.Amount, currency: e.Currency}
	switch e.Type {
	case entryUpdate:
		if e.Adyen.Failed != "" {
			h.refunded -= e.Amount
			h.adyen.refunds = failedMove(h.adyen.refunds, e.Adyen.Failed, true)
		}
	case entryCapture:
		h.captured += e.Amount
		h.adyen.captures = append(slices.Clip(h.adyen.captures), move)
		if h.captured >= h.amount || e.Status == succeeded {
			h.status = succeeded
		}
		b.captures = append(b.captures, booking(e))
	case entryRefund:
		h.refunded += e.Amount
		h.adyen.refunds = append(slices.Clip(h.adyen.refunds), move)
		b.refundList = append(b.refundList, booking(e))
	case entryCancel:
		h.status, h.reason, h.canceledAt = canceled, e.Reason, e.At
		b.cancels = append(b.cancels, booking(e))
	case entryDispute:
		h.adyen.captures = failedMove(h.adyen.captures, e.ID, true)
	case entryDisputeWon:
		h.adyen.captures = failedMove(h.adyen.captures, e.ID, false)
	}
}

// failedMove marks one move, in a copy.
func failedMove(moves []adyenMove, psp string, failed bool) []adyenMove {
	moves = slices.Clone(moves)
	for i := range moves {
		if moves[i].psp == psp {
			moves[i].failed = failed
		}
	}
	return moves
}

// adyenAnswer is what a modification is answered, the first time and ever after.
type adyenAnswer struct {
	Amount    *adyenMoney `json:"amount,omitempty"`
	Account   string      `json:"merchantAccount"`
	Payment   string      `json:"paymentPspReference"`
	PSP       string      `json:"pspReference"`
	Reference string      `json:"reference,omitempty"`
	Status    string      `json:"status"`
}

func (a adyenAnswer) render(map[string]bool) any { return a }

// adyenPaid is what a payment is answered.
type adyenPaid struct {
	Amount    adyenMoney `json:"amount"`
	Reference string     `json:"merchantReference"`
	PSP       string     `json:"pspReference"`
	Result    string     `json:"resultCode"`
}

func (a adyenPaid) render(map[string]bool) any { return a }

// adyenReply is what an entry answers for its key, and with which status.
func adyenReply(e entry) (view, int) {
	if e.Type == entryHold {
		return adyenPaid{Amount: adyenMoneyOf(e.Amount, e.Currency), Reference: e.Adyen.Reference, PSP: e.Hold, Result: "Authorised"}, 200
	}
	a := adyenAnswer{Account: e.Adyen.Account, Payment: e.Hold, PSP: e.ID, Reference: e.Adyen.Reference, Status: "received"}
	if e.Adyen.Asked > 0 {
		m := adyenMoneyOf(e.Adyen.Asked, e.Adyen.AskedCurrency)
		a.Amount = &m
	}
	return a, 201
}
