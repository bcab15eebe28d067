// Package external speaks the contract of Commerce Layer's external payment
// gateways, in the place of Commerce Layer: whatever a merchant wrote for its
// capture_url, void_url and refund_url works with Capstan, and may call back.
//
// A hold is an authorization that the merchant's gateway made; its id is the
// transaction_token that the gateway gave it.
//
// What is peculiar to the contract, and what follows from it here:
//
//   - There is no look-up. What became of a call is asked by sending the same
//     document under the same key again, for as long as [Config].IdempotencyWindow.
//     So the receiver must know a call again by its Idempotency-Key, or by
//     capstan_reference in the metadata, and answer what became of the first.
//     Nothing in the document changes between two sends: see [Document].
//   - The contract has no word for an unknown outcome. Commerce Layer makes a
//     failed transaction of a time-out; here that is Lost, and asked again.
//   - success:false with an error's code and message is the gateway's final word.
//     So is success:true with a token and an amount. Anything else, and both at
//     once, is Lost.
//   - 202 with an action_id is accepted; its outcome comes to the callback. The
//     callback may change the message and the error's words, never the amount or
//     the token: [ParseWebhook] says so, and the ledger keeps what was answered.
//   - Amounts are minor units of the order's currency, as ours are. An answer may
//     name currency_code beside the contract; then it must be ours.
//   - The URLs are somebody else's input: package netguard stands before every
//     connection, and nothing of an answer is shown to whoever asked for the call.
//
// classify is one pure function over everything an answer carries.
package external
