// Package hellgate speaks Hellgate Commerce's payments: a payment is an order
// with one hold, and its id is the hold's. What it reads and what it answers is
// here; what is done about it is the engine's, the same as for every dialect.
//
// Where to look:
//
//   - api.go: routes, and what the dialect is made of;
//   - payments.go: POST and GET /payments;
//   - actions.go: capture, void, refunds;
//   - words.go: from the ledger's states to Hellgate's words;
//   - input.go: reading a body; pan.go: what must never be in one;
//   - problem.go: the error document.
//
// docs/hellgate.md says what differs from the original.
package hellgate
