// Package sandbox is a payment gateway with a book of its own. It speaks
// Stripe's wire, well enough for Stripe's SDKs, and PayPal's, and can be told to
// fail in every way a real gateway fails. Development, demos, tests and
// benchmarks run against it.
//
// # The book
//
// What the sandbox booked stands in an append-only file of JSON lines that is
// flushed to disk before the answer goes out, and is read again at the next
// start: killed at any moment, it knows afterwards exactly what it had booked,
// and answers a repeated idempotency key as before. At booking time it checks
// that a hold is never captured beyond its amount; if it would be, it refuses,
// logs an error, and writes a violation into the book. GET /_sandbox/book lists
// everything, ?hold=pi_… one hold.
//
// # The wire
//
// POST and GET /v1/payment_intents, GET and POST /v1/payment_intents/{id} and
// its /confirm, /capture and /cancel, POST and GET /v1/refunds, GET
// /v1/refunds/{id}, GET /v1/charges/{id}, GET /v1/disputes, GET /v1/balance,
// GET /v1/balance_transactions. Any secret key (sk_… or rk_…) is good; test and
// live keys do not see each other's objects.
// The first answer under an Idempotency-Key is repeated for 24 hours with
// Idempotent-Replayed: true, errors and a 500 included; other parameters under
// the key are an idempotency_error, a second request while the first runs is a
// 409; what fails validation is not kept.
//
// # Other wires
//
// Stripe's wire has the root; every other provider speaks below a prefix of its
// own name, over the same book, faults, keys and webhooks: give its adapter the
// sandbox's address with that path as base URL. A hold belongs to the wire it
// was made on, and the other wires do not know it. Such a wire is a file
// <provider>_wire.go with routes, and a function that runs them in the steps of
// serve: read the request into a call, authenticate, pick the fault, before,
// the work under the book's lock once per key, after. The call's answer renders
// replies and the errors of faults in the provider's words; what its entries
// say beyond the common fields stands in one member of entry, applied in
// <provider>_book.go; its events name the wire, and go to the endpoints that do.
//
// /paypal speaks PayPal's: POST /v1/oauth2/token (any client id and secret), POST
// /v2/checkout/orders with intent AUTHORIZE and GET of it and POST of its
// /authorize, which make holds as a checkout does, and Payments v2: GET
// authorizations, captures and refunds, POST /capture, /reauthorize, /void and
// /refund. A purchase unit's custom_id may carry the fault: "fault=decline:2". A
// PayPal-Request-Id answers for 45 days with what became of its request; errors
// are not kept. A capture of more than the hold is refused, where PayPal itself
// would take 115 percent. Holds live for 29 days, an invoice id captures once.
// Endpoints with "wire":"paypal" get PayPal's events; their secret is the
// webhook id.
//
// /adyen/v72 speaks Adyen's: POST /payments (any API key, any merchant account)
// makes an authorised payment that is captured by hand, with the fault in
// metadata.fault or as the reference "fault=decline"; POST /payments/{psp}/captures,
// /cancels, /refunds and /reversals are answered 201 received, and what became of
// them is told by webhook only. Keys live for 31 days. Config.Adyen says whether
// several partial captures are enabled. Endpoints with "wire":"adyen" get Adyen's
// events; their secret is the hexadecimal HMAC key. A decline is a webhook, and
// final; pending=30s has it told later; an internal error is not kept for a key. The
// dashboard knows capture, refund, cancel, dispute, and what befalls the newest
// capture or refund days later: capture_failed, recapture, refund_failed.
//
// /checkoutcom speaks Checkout.com's: POST /payments (any sk_… key) with capture
// false makes a payment that is a hold, with the fault in metadata.fault; GET
// /payments/{id} and its /actions, POST /captures, /voids and /refunds. These are
// answered 202 and decided a moment later (Config.CheckoutCom), a decline included; until
// then the action stands in the list without a result. Keys answer for 24 hours with
// what was accepted, and for a 5xx with nothing. Endpoints with "wire":"checkoutcom" get
// Checkout.com's events; their secret is the signature key.
//
// /klarna speaks Klarna's: POST /payments/v1/authorizations/{any token}/order makes an
// order as a checkout does (any username and password; its lines must add up), with
// the fault in merchant_data or merchant_reference2: "fault=decline:2". Order
// Management v1: GET of an order, its captures and refunds, POST /captures, /refunds,
// /cancel, /release-remaining-authorization and /extend-authorization-time. Under a
// Klarna-Idempotency-Key the first answer is repeated for 24 hours whatever else the
// request says, a 403 included and a 5xx not. Orders live for 28 days. Nothing is sent:
// Klarna signs nothing.
//
// /external is a merchant's external gateway, by Commerce Layer's contract: POST
// /external/holds with amount_cents and currency_code makes a hold as a checkout
// does, with the fault in metadata.fault; POST /capture, /void and /refund take
// signed documents (secrets in Config.External) and book once per Idempotency-Key
// and once per capstan_reference, for 30 days. With "async":"2s" in the hold, or
// under pending=2s, the answer is 202 with an action_id, and the endpoints with
// "wire":"external" are called back so much later, signed with their secret.
// Refusals are final: a soft decline is none here.
//
// /braintree speaks Braintree's gateway API, in XML, below /merchants/{any id} with any pair
// of keys: POST /transactions makes a sale that is authorized (the merchant account's id is
// its currency, the nonce of Braintree's own sandbox says how it is paid, and the custom
// field fault, or an order id "fault=…", carries the fault), GET /transactions/{id} shows it
// or a refund, PUT /submit_for_settlement and /void, POST /refund, and PUT /settle and
// /settlement_decline as Braintree's sandbox has them for tests. What was submitted settles
// by itself after Config.Braintree.Settles; until then a void returns it, which stands in
// the book as a refund, and after that a refund does. There are no keys. Endpoints with
// "wire":"braintree" get Braintree's events; their secret is "public:private". The dashboard
// knows capture, void, settling, settle, settlement_declined, refund, refund_failed,
// dispute and dispute_won.
//
// # Faults
//
// For one hold: metadata[fault] of its PaymentIntent. For the whole sandbox:
// PUT /_sandbox/fault with {"fault":"charge_then_drop","times":3,"call":
// "capture","probability":0.1}; with "hold":"pi_…" for one hold after the fact.
// DELETE clears. GET shows. The hold's own faults come first.
//
// A fault is a list, separated by commas, of steps
//
//	[call.]mode[=value][:times]
//
// A call takes the first step that fits it and has times left. The call is
// capture, refund, cancel, look_up, webhook or any (capture, refund and
// cancel); without it a step fits every call its mode makes sense for. Times is a
// number or * for always; without it transient modes happen once, and decline,
// decline_hard, expired and the webhook modes always. "ok:2,charge_then_drop"
// lets two calls pass and breaks the third. Reading a hold as a registration
// does, a PaymentIntent with its charge or a PayPal authorization, is no look-up
// until something was asked of the hold.
//
//	ok                   nothing
//	decline              402 card_error insufficient_funds, nothing booked
//	                     (PayPal: 201 with a capture that is DECLINED; Klarna: 403, the
//	                     order is under review until the next capture)
//	decline_hard         402 card_error stolen_card, nothing booked
//	                     (PayPal: 422 TRANSACTION_REFUSED; Klarna: 403, rejected)
//	expired              the hold is released first, as at the end of its life
//	drop_before          connection closed, nothing booked
//	charge_then_drop     booked, connection closed without an answer
//	charge_then_rst      booked, connection reset
//	charge_then_500      booked, 500 answered, and repeated for the key
//	charge_then_502html  booked, an HTML page with 502 from something in between
//	charge_then_hang     booked, no answer until the caller gives up
//	truncated            booked, half an answer
//	empty200             booked, 200 without a body
//	hang                 nothing booked, no answer until the caller gives up
//	book_after=30s       connection closed now, booked later
//	sticky_500           500, nothing booked, and repeated for the key
//	500_unbooked         500, nothing booked, not repeated
//	amnesia              the idempotency key is forgotten before the call
//	409_in_progress      409 idempotency_key_in_use, nothing booked
//	429[=seconds]        429 with Retry-After, nothing booked
//	lock_timeout         429 lock_timeout, nothing booked
//	401                  401, nothing booked
//	wrong_amount[=n]     booked with another amount
//	wrong_currency       booked in another currency
//	partial              booked with half the amount
//	pending=30s          booked, and told as pending for so long (PayPal's wire,
//	                     Braintree's, and Checkout.com's, where 0s is at once; Klarna: 403, the order is
//	                     under review for so long)
//	lookup_404           reading answers 404
//	lookup_500           reading answers 500
//	lookup_stale         reading answers what was true before the last change
//	webhook_delay=5s     events go out later
//	webhook_dup=3        each event goes out so many times
//	webhook_reorder      the events of one change go out last first, apart
//	webhook_drop         events are not sent
//	webhook_forged       a forged event with a bad signature goes out before each
//	webhook_old_secret   events are signed with the endpoint's old secret
//	webhook_before_answer  events are delivered before the call is answered
//
// # Behind our back
//
// POST /_sandbox/dashboard {"action":"capture","hold":"pi_…","amount":500} books
// what a person does in the gateway's dashboard, or the payer's bank: capture,
// refund, dispute, dispute_won. Without an amount it is all there is; with
// "silent":true no webhook tells of it.
//
// # Webhooks
//
// Events go to the configured endpoints, signed as Stripe signs, retried, and
// in order per hold unless a fault says otherwise. PUT /_sandbox/webhooks
// [{"url":"…","secret":"…"}] changes the endpoints; POST
// /_sandbox/webhooks/flush sends what waits and returns when nothing does.
// POST /_sandbox/expire?hold=pi_… ends a hold at once.
package sandbox
