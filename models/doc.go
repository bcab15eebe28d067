// Package models is Capstan's domain: what an order, a hold, a capture, a
// refund and a void are, which moves between states exist, when a capture is
// wanted, and what evidence from a gateway means.
//
// It is pure: standard library only, no clock of its own, no input and no
// output. Every rule is data plus one function, so that a test can enumerate
// all of it:
//
//   - [State.Next]: the transition table of operations (state.go);
//   - [Judge]: what a piece of evidence does to an operation (judge.go), and from
//     outside a claim (observed.go);
//   - [JudgeUnsent]: how an operation ends that was never sent (open.go);
//   - [Overdue]: when open work is handed to the queue again (open.go);
//   - [Compare]: what a line of a gateway's own list says about our book (compare.go);
//   - [Plan]: which captures a payment method wants (policy.go);
//   - [Sums.PaymentStatus]: an order's payment status (status.go);
//   - [ReviewOrder]: what a closed, changed or expiring order still needs (review.go, expiry.go);
//   - [NextActions], [Remedy]: what a person can do, and what applying a verdict
//     does (next.go, person.go);
//   - [GatewayReference]: the derived name of an operation (reference.go).
//
// Package store writes what these functions decide; nothing else does.
// Money is always an int64 of minor units beside an ISO 4217 code.
package models
