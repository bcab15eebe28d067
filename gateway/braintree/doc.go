// Package braintree speaks to Braintree's gateway API (XML, version 6) on
// behalf of Capstan.
//
// A hold is a sale transaction in status authorized. Capturing it is submitting
// it for settlement; the hold, its capture and, where it is voided, its refund
// are all the same transaction, under one id.
//
// What is peculiar to Braintree, and what follows from it here:
//
//   - No idempotency key protects a call. A transaction is submitted once and
//     voided once by its own nature; a second call is answered by a validation
//     error that says nothing about the first. So such errors are looked up at
//     once, within the call, and again before anything is sent again. Newer
//     accounts may send an api_request_key; nothing here relies on it.
//   - Our reference travels as order-id. Submitting replaces the order-id that
//     the shop gave its sale, which stays in the shop's own books. A refund is a
//     transaction of its own with its own order-id. A void carries nothing.
//   - What was submitted settles with the next batch, hours or days later. Until
//     then it is undone by a void, afterwards by a refund, and never by both. A
//     void gives back all of it, so a refund of a part waits for the settlement,
//     and a refund that says that it returns the whole capture (Request.Whole)
//     voids. Whoever voided, nothing is left to refund: a look-up takes a void
//     for such a refund by the rules for what carries no reference.
//   - A void does not ask whether the transaction was submitted meanwhile: it
//     gives the money back. So a hold is read before it is voided.
//   - Settlement may be declined after it was asked for: the capture did not
//     stand, and is taken back. The same holds for refunds and for disputes.
//   - One hold can be submitted in several parts for PayPal, Venmo and chosen
//     merchants only, as further transactions. That is not offered here, and a
//     hold that somebody else submitted so is left to people.
//   - Calls name no currency: it is the transaction's. Amounts are decimal
//     strings (money.go).
//   - A webhook is signed over its whole payload, so it proves what it says. It
//     has no id; the payload's hash stands for one.
//
// classify is one pure function over everything an answer carries. It knows
// tables of documented errors; what they do not list is Lost.
package braintree
