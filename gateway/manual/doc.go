// Package manual stands for an account whose money a person moves: a wire
// transfer, cash, a cheque. It calls nobody.
//
//   - A hold is a promise to pay, registered under any id of the shop's own, or made
//     here under an id that follows from its reference.
//   - A capture, a refund and a void are accepted at once, and moved by a person,
//     who says afterwards that it happened, or that it did not.
//   - Nobody can be asked what became of one: the person tells.
//
// The same call again asks nobody for anything, so it is harmless for ever.
package manual
