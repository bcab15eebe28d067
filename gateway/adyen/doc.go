// Package adyen speaks to Adyen's Checkout API (v72) on behalf of Capstan.
//
// A hold is an authorised payment that a checkout made with manual capture, and
// its id is the payment's PSP reference. Capturing, cancelling, reversing and
// refunding it are all that this adapter does; it makes no holds.
//
// What is peculiar to Adyen, and what follows from it here:
//
//   - Every modification is answered 201 "received". That says that Adyen will
//     try, and nothing about the money: the answer is Accepted, never more. What
//     became of it is told by a webhook, and by nothing else.
//   - Nothing can be looked up. The same key and body again answers as the first
//     time, and moves nothing more, for as long as the key lives: that is the only
//     way to learn whether a call arrived. So the body of a call follows from the
//     request alone, byte for byte.
//   - Our reference travels as reference and comes back, signed, as the webhook's
//     merchantReference. A webhook is believed for the eight fields that its
//     signature covers, and for nothing else that it carries.
//   - CAPTURE with success may be followed by CAPTURE_FAILED days later, and that
//     by another CAPTURE when Adyen tries again by itself. Refunds fail likewise.
//   - A refund is asked of the payment, not of one of its captures.
//   - Whether a payment is captured, only Adyen knows. A void of a hold of which a
//     capture was ever asked is a reversal, which cancels it or gives it back,
//     whichever fits. A reversal is of the whole payment: where a part was
//     captured and the rest is to be released, it is a cancel.
//   - The first capture of a part cancels the rest, unless Adyen has enabled
//     multiple partial captures for the account (Config.MultiCapture).
//   - Some currencies have other minor units at Adyen than in ISO 4217 (money.go).
//   - The address of a live account carries a prefix of its own, so there is no
//     default for it.
//
// classify is one pure function over everything an answer carries. It knows a
// table of documented errors; what the table does not list is Lost. No error says
// that money can never move: refusals, too, come by webhook.
package adyen
