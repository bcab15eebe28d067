package braintree

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// The statuses of transactions.
const (
	statusAuthorizing       = "authorizing"
	statusAuthorized        = "authorized"
	statusExpired           = "authorization_expired"
	statusSubmitted         = "submitted_for_settlement"
	statusSettling          = "settling"
	statusConfirmed         = "settlement_confirmed"
	statusSettled           = "settled"
	statusPending           = "settlement_pending"
	statusSettleDeclined    = "settlement_declined"
	statusSettleFailed      = "settlement_failed"
	statusFailed            = "failed"
	statusProcessorDeclined = "processor_declined"
	statusRejected          = "gateway_rejected"
	statusVoided            = "voided"
)

const (
	typeSale   = "sale"
	typeCredit = "credit"
)

// taking are the statuses of a transaction whose money moves or has moved;
// gone are those of one whose money did not, in the end.
var (
	taking = []string{statusSubmitted, statusSettling, statusConfirmed, statusSettled, statusPending}
	gone   = []string{statusSettleDeclined, statusSettleFailed, statusFailed}
)

// transaction holds the few fields that are read. Whatever else an answer
// carries is dropped at the door. An element that is nil is empty.
type transaction struct {
	XMLName    xml.Name  `xml:"transaction"`
	ID         string    `xml:"id"`
	Status     string    `xml:"status"`
	Type       string    `xml:"type"`
	Currency   string    `xml:"currency-iso-code"`
	Amount     string    `xml:"amount"`
	OrderID    string    `xml:"order-id"`
	RefundIDs  []string  `xml:"refund-ids>item"`
	RefundID   string    `xml:"refund-id"`
	Refunded   string    `xml:"refunded-transaction-id"`
	Parts      []string  `xml:"partial-settlement-transaction-ids>item"`
	Expires    timestamp `xml:"authorization-expires-at"`
	Created    timestamp `xml:"created-at"`
	Instrument string    `xml:"payment-instrument-type"`
	CardType   string    `xml:"credit-card>card-type"`
	ApplePay   string    `xml:"apple-pay>card-type"`
	GooglePay  string    `xml:"android-pay-card>source-card-type"`

	ResponseCode   string `xml:"processor-response-code"`
	ResponseText   string `xml:"processor-response-text"`
	ResponseType   string `xml:"processor-response-type"`
	SettlementCode string `xml:"processor-settlement-response-code"`
	SettlementText string `xml:"processor-settlement-response-text"`
	Additional     string `xml:"additional-processor-response"`

	History  []statusEvent `xml:"status-history>status-event"`
	Disputes []dispute     `xml:"disputes>dispute"`
}

type statusEvent struct {
	Status string `xml:"status"`
	Amount string `xml:"amount"`
}

type dispute struct {
	XMLName     xml.Name `xml:"dispute"`
	ID          string   `xml:"id"`
	Kind        string   `xml:"kind"`
	Status      string   `xml:"status"`
	Reason      string   `xml:"reason"`
	Currency    string   `xml:"currency-iso-code"`
	Amount      string   `xml:"amount"`
	Disputed    string   `xml:"amount-disputed"`
	Won         string   `xml:"amount-won"`
	Transaction struct {
		ID      string `xml:"id"`
		Amount  string `xml:"amount"`
		OrderID string `xml:"order-id"`
	} `xml:"transaction"`
}

// apiError is the error of an answer with status 422: validation errors at any
// depth, and where the processor declined, the transaction.
type apiError struct {
	XMLName     xml.Name     `xml:"api-error-response"`
	Message     string       `xml:"message"`
	Errors      errorTree    `xml:"errors"`
	Transaction *transaction `xml:"transaction"`
}

// errorTree collects the errors of all objects below it.
type errorTree struct {
	all []validationError
}

type validationError struct {
	Code      string `xml:"code"`
	Message   string `xml:"message"`
	Attribute string `xml:"attribute"`
}

// maxErrors bounds what of an answer's errors is kept.
const maxErrors = 50

// UnmarshalXML reads every error below start, however deep.
func (t *errorTree) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	for depth := 1; depth > 0; {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local != "error" {
				depth++
				continue
			}
			var v validationError
			if err := d.DecodeElement(&v, &e); err != nil {
				return err
			}
			if t.all = append(t.all, v); len(t.all) > maxErrors {
				return errors.New("more errors than are ever read")
			}
		case xml.EndElement:
			depth--
		}
	}
	return nil
}

// timestamp is a time that may be absent or unreadable, which is the zero time:
// it never spoils the object around it.
type timestamp struct{ time.Time }

// UnmarshalText never fails.
func (t *timestamp) UnmarshalText(b []byte) error {
	t.Time = time.Time{}
	if at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b))); err == nil {
		t.Time = at.UTC()
	}
	return nil
}

// decode reads exactly one XML document.
func decode(body []byte, into any) bool {
	d := xml.NewDecoder(bytes.NewReader(body))
	if d.Decode(into) != nil {
		return false
	}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if text, blank := token.(xml.CharData); err != nil || !blank || len(bytes.TrimSpace(text)) > 0 {
			return false
		}
	}
}

func parseTransaction(body []byte) (transaction, bool) {
	var t transaction
	ok := decode(body, &t) && t.good()
	return t, ok
}

func (t transaction) good() bool {
	return validID(t.ID) && t.Status != "" && (t.Type == typeSale || t.Type == typeCredit)
}

func parseError(body []byte) *apiError {
	var e apiError
	if !decode(body, &e) {
		return nil
	}
	return &e
}

// refunds are the ids of what was given back, each once.
func (t transaction) refunds() []string {
	var ids []string
	for _, id := range append([]string{t.RefundID}, t.RefundIDs...) {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// held is what was authorized: the amount is that of the settlement since.
func (t transaction) held() (int64, string, bool) {
	for _, e := range t.History {
		if e.Status == statusAuthorized {
			return fromBraintree(e.Amount, t.Currency)
		}
	}
	return fromBraintree(t.Amount, t.Currency)
}

// took reports whether the transaction was ever submitted for settlement, by
// its history, whatever became of it.
func (t transaction) took() bool {
	return t.takes() || slices.ContainsFunc(t.History, func(e statusEvent) bool { return slices.Contains(taking, e.Status) })
}

// taken is how much was submitted for settlement.
func (t transaction) taken() (int64, string, bool) {
	amount := t.Amount
	if !t.takes() {
		for _, e := range t.History {
			if slices.Contains(taking, e.Status) && e.Amount != "" {
				amount = e.Amount
			}
		}
	}
	return fromBraintree(amount, t.Currency)
}

// validID reports whether s can be an id of Braintree's. Ids go into the paths
// of calls, and come from outside.
func validID(s string) bool {
	return len(s) >= 1 && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// made recognises a reference that some Capstan made.
func made(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
