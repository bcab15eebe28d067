package sandbox

import (
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// element writes <name>text</name>, or an element that is nil.
func element(b *strings.Builder, name, text string) {
	if text == "" {
		b.WriteString("<" + name + ` nil="true"/>`)
		return
	}
	b.WriteString("<" + name + ">" + xmlText(text) + "</" + name + ">")
}

func elementTime(b *strings.Builder, name string, at time.Time) {
	b.WriteString("<" + name + ` type="datetime">` + at.UTC().Format(time.RFC3339) + "</" + name + ">")
}

// braintreeMoney is an amount with at most two decimals.
func braintreeMoney(cents int64, currency string) string {
	value := models.Decimal(cents, strings.ToUpper(currency))
	if whole, part, _ := strings.Cut(value, "."); len(part) > 2 && strings.HasSuffix(part, "0") {
		return whole + "." + part[:2]
	}
	return value
}

// braintreeSaleXML is a sale as Braintree shows it. Its amount is that of the
// settlement, once it was submitted.
func braintreeSaleXML(i intent, bt braintreeHold, disputes []dispute) string {
	amount := i.amount
	if bt.wasTaken() {
		amount = i.captured
	}
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<transaction>")
	element(&b, "id", i.id)
	element(&b, "status", bt.status())
	element(&b, "type", "sale")
	element(&b, "currency-iso-code", strings.ToUpper(bt.currency))
	element(&b, "amount", braintreeMoney(amount, bt.currency))
	element(&b, "merchant-account-id", bt.account)
	element(&b, "order-id", bt.order)
	elementTime(&b, "created-at", i.created)
	elementTime(&b, "updated-at", bt.updated)
	element(&b, "payment-instrument-type", bt.instrument)
	if bt.card != "" {
		b.WriteString("<credit-card>")
		element(&b, "card-type", bt.card)
		element(&b, "last-4", "1111")
		b.WriteString("</credit-card>")
	}
	element(&b, "processor-response-code", "1000")
	element(&b, "processor-response-text", "Approved")
	element(&b, "processor-response-type", "approved")
	element(&b, "processor-settlement-response-code", bt.code)
	element(&b, "processor-settlement-response-text", bt.text)
	elementTime(&b, "authorization-expires-at", i.captureBefore)
	if len(bt.refunds) > 0 {
		element(&b, "refund-id", bt.refunds[len(bt.refunds)-1].id)
	}
	b.WriteString(`<refund-ids type="array">`)
	for _, r := range bt.refunds {
		element(&b, "item", r.id)
	}
	b.WriteString(`</refund-ids><partial-settlement-transaction-ids type="array"/>`)
	historyXML(&b, bt.history, bt.currency)
	b.WriteString(`<disputes type="array">`)
	for _, d := range disputes {
		if d.reason != btSettleDeclined {
			b.WriteString(braintreeDisputeXML(d, i, bt))
		}
	}
	b.WriteString("</disputes></transaction>\n")
	return b.String()
}

func historyXML(b *strings.Builder, history []braintreeStatus, currency string) {
	b.WriteString(`<status-history type="array">`)
	for _, s := range history {
		b.WriteString("<status-event>")
		elementTime(b, "timestamp", s.at)
		element(b, "status", s.status)
		element(b, "amount", braintreeMoney(s.amount, currency))
		element(b, "user", "capstan")
		element(b, "transaction-source", "api")
		b.WriteString("</status-event>")
	}
	b.WriteString("</status-history>")
}

// braintreeRefundXML is a refund: a transaction of its own.
func braintreeRefundXML(i intent, r braintreeRefund) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<transaction>")
	element(&b, "id", r.id)
	element(&b, "status", r.status())
	element(&b, "type", "credit")
	element(&b, "currency-iso-code", strings.ToUpper(r.currency))
	element(&b, "amount", braintreeMoney(r.amount, r.currency))
	element(&b, "order-id", r.order)
	elementTime(&b, "created-at", r.history[0].at)
	element(&b, "processor-response-code", "1002")
	element(&b, "processor-response-text", "Processed")
	element(&b, "processor-response-type", "approved")
	element(&b, "processor-settlement-response-code", r.code)
	element(&b, "processor-settlement-response-text", r.text)
	element(&b, "refunded-transaction-id", i.id)
	b.WriteString(`<refund-ids type="array"/>`)
	historyXML(&b, r.history, r.currency)
	b.WriteString("</transaction>\n")
	return b.String()
}

func braintreeDisputeXML(d dispute, i intent, bt braintreeHold) string {
	var b strings.Builder
	b.WriteString("<dispute>")
	element(&b, "id", d.id)
	element(&b, "amount", braintreeMoney(d.amount, d.currency))
	element(&b, "amount-disputed", braintreeMoney(d.amount, d.currency))
	status, won := "open", "0.00"
	if !d.won.IsZero() {
		status, won = "won", braintreeMoney(d.amount, d.currency)
	}
	element(&b, "amount-won", won)
	element(&b, "currency-iso-code", strings.ToUpper(d.currency))
	element(&b, "kind", "chargeback")
	element(&b, "status", status)
	element(&b, "reason", "fraud")
	elementTime(&b, "created-at", d.created)
	b.WriteString("<transaction>")
	element(&b, "id", i.id)
	element(&b, "amount", braintreeMoney(i.captured, bt.currency))
	element(&b, "order-id", bt.order)
	b.WriteString("</transaction></dispute>")
	return b.String()
}

// braintreeErrorXML is a validation error.
func braintreeErrorXML(code string) string {
	said := braintreeCodes[code]
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<api-error-response><errors><errors type="array"/><transaction><errors type="array"><error>`)
	element(&b, "code", code)
	b.WriteString(`<attribute type="symbol">` + said.attribute + `</attribute>`)
	element(&b, "message", said.message)
	b.WriteString(`</error></errors></transaction></errors>`)
	element(&b, "message", said.message)
	b.WriteString("</api-error-response>\n")
	return b.String()
}

// braintreeDeclinedXML is what the processor declined: no validation error, and
// the transaction.
func braintreeDeclinedXML(message, transaction string) string {
	_, transaction, _ = strings.Cut(transaction, "\n")
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<api-error-response><errors><errors type="array"/></errors><message>` + xmlText(message) + `</message>` + transaction + `</api-error-response>`
}
