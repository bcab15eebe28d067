// Package klarna speaks to Klarna's Order Management API (v1) on behalf of Capstan.
//
// A hold is a Klarna order: what a checkout got for the token of an authorized
// Klarna payment. Capturing, releasing, extending, refunding and reading it is
// all that this adapter does; it makes no orders.
//
// What is peculiar to Klarna, and what follows from it here:
//
//   - A success has no body. A 201 names the capture or the refund in a header and
//     says no amount, and the idempotency key alone decides what it answers: the
//     same key with another amount is answered with what was made first. So what
//     a 201 made is read before it is believed; until then it is Accepted.
//   - Our reference travels as the reference of a capture or a refund, and an
//     order lists both, each with a sum: a list that does not add up to its sum
//     proves nothing about what is not in it.
//   - One code refuses a capture for whatever reason. Which it was is read from the
//     order, within the same call.
//   - A key is good for 24 hours and answers with its first result, so an error may
//     come again and again under it: it rotates once a look-up has found nothing.
//   - Refunds are of the order, not of one capture of it.
//   - An order may be under review (fraud_status PENDING, up to a day, where an
//     account has that): nothing can be captured until it is over.
//   - An order nobody captured anything of is cancelled; of one that was captured
//     in part the rest is released. These are two calls.
//   - Nothing Klarna sends by itself is signed: its pushes are taken as nothing, and
//     there is no webhook. Outcomes come from answers and look-ups.
//
// classify is one pure function over everything an answer carries. It knows a
// table of documented errors; what the table does not list is Lost.
package klarna
