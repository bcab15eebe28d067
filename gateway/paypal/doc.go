// Package paypal speaks to PayPal's Payments API (v2) on behalf of Capstan.
//
// A hold is an authorization that a checkout made with PayPal's Orders API.
// Capturing, voiding, renewing and reading it, and refunding its captures, are
// all that this adapter does; it makes no holds.
//
// What is peculiar to PayPal, and what follows from it here:
//
//   - Every call needs an access token, which is fetched once however many calls
//     wait for it, and within the deadline of the call that needs it. Without a
//     token nothing was sent: that is the one thing a failed token proves.
//   - Our reference travels as invoice_id (a refund carries it as custom_id,
//     too). Neither an authorization nor the published specification lists the
//     captures of a hold; the order that it belongs to does, with its refunds.
//     A look-up reads the authorization, and the order when that is needed. A
//     hold without an order can be read, but not what was taken from it.
//   - A PayPal-Request-Id is remembered for 45 days and answers with the latest
//     state of what it made, a declined capture included. Errors are not
//     repeated. So a key rotates after a decline, and after nothing else.
//   - The answer to a capture may be PENDING for days.
//   - AUTHORIZATION_ALREADY_CAPTURED and DUPLICATE_INVOICE_ID say that something
//     was captured, not by whom or how much: they are looked up.
//   - No status says that an authorization has expired; its expiration time does.
//   - Funds are certain for an honor period of three days. A hold lives for 29,
//     and can be renewed once between the two, under a new id. A renewal cannot
//     be voided; the authorization it renews can, which Void finds by itself.
//   - Amounts are decimal strings, and some currencies with a minor unit have
//     none at PayPal (money.go).
//   - A webhook is signed over a CRC32 of its body, which proves no body. It is
//     a hint to look, whatever it says.
//
// classify is one pure function over everything an answer carries. It knows a
// table of documented errors; what the table does not list is Lost.
package paypal
