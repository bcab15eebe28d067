// Package checkoutcom speaks to Checkout.com's Payments API on behalf of
// Capstan.
//
// A hold is a payment that a checkout requested with capture false. Capturing,
// voiding and reading it, and refunding it, are all that this adapter does; it
// makes no holds.
//
// What is peculiar to Checkout.com, and what follows from it here:
//
//   - Captures, voids and refunds are asynchronous: 202 names an action, whose
//     result comes by webhook, or is read from the payment's list of actions.
//   - Our reference travels as the action's reference, and once more, with the
//     idempotency key, in its metadata. A look-up reads the payment and its
//     actions and matches on either. The key tells the tries of one operation
//     apart: only a decline of the present one is news.
//   - A Cko-Idempotency-Key keeps an answer of 2xx for 24 hours, and no error. So
//     a 5xx is looked up, and may be sent again under its key; but the key of an
//     action that was accepted and then declined answers 202 for ever, and rotates.
//   - 403 says that the payment is not in a state for this. Which state that is,
//     the payment tells: it is read at once, and only what it shows is proof.
//   - A payment and its actions are read one after the other. Where their sums
//     differ, one of them is not up to date, and nothing is concluded.
//   - A capture is NonFinal while more is to come; the first Final one releases
//     the rest.
//   - Amounts are in the units of Checkout.com's own table (money.go).
//   - A webhook's signature covers its whole body: it proves what it says where it
//     names our reference, and is a hint to look where it does not.
//
// classify and its tables (rules.go, codes.go) are pure: the same answer always
// proves the same. What they do not list is Lost.
package checkoutcom
