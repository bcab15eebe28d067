// Package stripe speaks to Stripe's PaymentIntents API on behalf of Capstan.
//
// A hold is a PaymentIntent (pi_…) with capture_method=manual in state
// requires_capture. Capturing, cancelling and reading it, and refunding it, are
// all that this adapter does; [Adapter.Authorize] makes holds for tests, demos
// and shops without a checkout of their own.
//
// What is peculiar to Stripe, and what follows from it here:
//
//   - A capture has no id of its own. The PaymentIntent's id is used for it
//     everywhere, and the charge's id (ch_…) is reported as the token.
//   - Our reference travels as metadata[capstan_reference]: a capture writes it
//     on the PaymentIntent together with the money, a refund carries it. A
//     cancellation cannot carry one, so a void is proven by the state alone.
//   - The first answer under an idempotency key is repeated for at least 24
//     hours, a 500 included. After proof of no effect the key must rotate.
//   - payment_intent_unexpected_state is three facts under one name; the
//     PaymentIntent embedded in the error decides (classify.go).
//   - A capture is final: what it leaves of the hold is released.
//
// classify is one pure function over everything an answer carries. It knows a
// table of documented errors; what the table does not list is Lost, so that a
// word Stripe invents tomorrow costs a look-up and nothing else.
package stripe
