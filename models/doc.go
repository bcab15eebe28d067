// Package models is Capstan's domain: what an order, a hold, a capture, a
// refund and a void are, which moves between states exist, when a capture is
// wanted, and what evidence from a gateway means.
//
// It is pure: standard library only, no clock of its own, no input and no
// output. Every rule is data plus one function, so that a test can enumerate
// all of it:
//
//   - [State.Next]: the transition table of operations (state.go);
//   - [Judge]: what a piece of evidence does to an operation (judge.go);
//   - [Plan]: which captures a payment method wants (policy.go);
//   - [Sums.PaymentStatus]: an order's payment status (status.go);
//   - [ReviewOrder]: what a closed or changed order still needs (review.go);
//   - [GatewayReference]: the derived name of an operation (reference.go).
//
// Package store writes what these functions decide; nothing else does.
// Money is always an int64 of minor units beside an ISO 4217 code.
package models
