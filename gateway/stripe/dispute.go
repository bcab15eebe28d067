package stripe

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// dispute is what of a chargeback, or of the bank's question before one, is read.
type dispute struct {
	ID            string     `json:"id"`
	Object        string     `json:"object"`
	Amount        int64      `json:"amount"`
	Currency      string     `json:"currency"`
	Status        string     `json:"status"`
	Reason        string     `json:"reason"`
	PaymentIntent expandable `json:"payment_intent"`
	// Transactions are what it moved in the account's balance, which may have
	// another currency: nil when the answer does not tell, empty when nothing moved.
	Transactions []struct {
		Amount int64 `json:"amount"`
	} `json:"balance_transactions"`
}

type disputeList struct {
	Object  string    `json:"object"`
	Data    []dispute `json:"data"`
	HasMore bool      `json:"has_more"`
}

// lookUpCapture reads the PaymentIntent with its charge. Only one that says that
// it is or was disputed costs a second call: a PaymentIntent stays succeeded
// when the payer's bank takes the money back.
func (a *Adapter) lookUpCapture(ctx context.Context, r gateway.Request) models.Evidence {
	answer := a.get(ctx, gateway.CallLookUp, intentPath(r.Hold), url.Values{"expand[]": {"latest_charge"}})
	ev := classify(gateway.CallLookUp, r, answer)
	if ev.Outcome != models.OutcomeConfirmed || !saysDisputed(answer.Body) {
		return ev
	}
	return takenBack(ev, r, a.get(ctx, gateway.CallLookUp, "/v1/disputes", url.Values{"payment_intent": {r.Hold}, "limit": {"100"}}))
}

func saysDisputed(body []byte) bool {
	var ch struct {
		Disputed bool `json:"disputed"`
	}
	pi, ok := parseIntent(body)
	return ok && pi.LatestCharge.object(&ch) && ch.Disputed
}

// takenBack corrects the proof that a capture took effect by its disputes. It is
// pure. As long as nobody knows what they withdrew, nothing is proven.
func takenBack(ev models.Evidence, r gateway.Request, answer gateway.Answer) models.Evidence {
	list, problem := disputesIn(answer, r.Hold)
	if problem != "" {
		return undecided(ev, answer, problem)
	}
	var sum int64
	var last dispute
	for _, d := range list {
		gone, ok := d.withdrawn()
		switch {
		case !ok:
			return undecided(ev, answer, "the dispute's status is not known here: "+gateway.CleanText(d.Status))
		case !gone:
			continue
		case last.ID != "" && last.Currency != d.Currency:
			return undecided(ev, answer, "its disputes have different currencies")
		}
		sum, last = sum+d.Amount, d
	}
	if last.ID == "" {
		return ev // only questions were asked, or the merchant has it back
	}
	cents, currency, ok := fromStripe(sum, last.Currency)
	if !ok || cents == 0 {
		return undecided(ev, answer, "the dispute names no amount")
	}
	if currency == ev.CurrencyCode {
		ev.TookCents = ev.AmountCents
	}
	ev.Outcome, ev.AmountCents, ev.CurrencyCode, ev.NextAction = models.OutcomeTakenBack, cents, currency, gateway.NextContact
	ev.ErrorCode, ev.ErrorDetail = "charge_disputed", gateway.CleanText(last.Reason)
	ev.Message = gateway.CleanText("dispute " + last.ID + " withdrew the money; it is " + last.Status)
	return ev
}

// withdrawn says whether a dispute keeps money of the merchant's now, and false
// for ok when that cannot be told. A question before a dispute, a warning in
// Stripe's words, withdraws nothing, and one that was won gives it back.
func (d dispute) withdrawn() (gone, ok bool) {
	if d.Status == "won" || strings.HasPrefix(d.Status, "warning_") {
		return false, true
	}
	if d.Transactions != nil {
		var sum int64
		for _, t := range d.Transactions {
			sum += t.Amount
		}
		return sum < 0, true
	}
	switch d.Status {
	case "needs_response", "under_review", "lost":
		return true, true
	}
	return false, false
}

// disputesIn reads all of a payment's disputes, or says what stands against it.
func disputesIn(answer gateway.Answer, hold string) (list []dispute, problem string) {
	var page disputeList
	switch {
	case answer.Phase != gateway.PhaseAnswered:
		return nil, answer.Said("no answer")
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		return nil, "let the key read disputes"
	case answer.Status != http.StatusOK, json.Unmarshal(answer.Body, &page) != nil, page.Object != "list":
		return nil, "no list of disputes came"
	case page.HasMore:
		return nil, "the payment has more disputes than are ever listed"
	case len(page.Data) == 0:
		return nil, "none is listed"
	}
	for _, d := range page.Data {
		if d.Object != "dispute" || d.ID == "" || d.PaymentIntent.ID != "" && d.PaymentIntent.ID != hold {
			return nil, "the list holds something that is no dispute of this payment"
		}
	}
	return page.Data, ""
}

// undecided: it took effect and was disputed, and what became of the money is
// not known. Of what the answer proves beside, only that it may be asked again is told.
func undecided(ev models.Evidence, answer gateway.Answer, problem string) models.Evidence {
	said := classify(gateway.CallLookUp, gateway.Request{}, answer)
	out := models.Evidence{
		Source: ev.Source, Status: said.Status, RequestID: said.RequestID, RetryAfter: said.RetryAfter, NextAction: gateway.NextContact,
		Message: gateway.CleanText("the payment was disputed, and what was withdrawn is not known: " + problem),
	}
	if said.Class == models.ClassThrottled || answer.Phase == gateway.PhaseNotSent {
		out.Outcome, out.Class, out.NextAction = models.OutcomeNotSent, said.Class, gateway.NextRetry
	}
	return out
}
