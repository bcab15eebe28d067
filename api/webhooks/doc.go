// Package webhooks takes what others send: payment gateways about operations,
// and Commerce Layer about orders.
//
//	hooks, err := webhooks.New(webhooks.Config{Store: s, Enqueuer: e, Sources: sources, CommerceLayer: cl, …})
//	server, err := api.New(config, hooks.Dialect())
//	go hooks.Run(ctx) // in any process; several may run
//
// A message is read whole, verified on its raw bytes, stored in the inbox and
// answered at once; the sender's event id makes a repetition harmless. Applying
// it comes afterwards, from the inbox ([Webhooks.RunOnce]), through the same
// judgement as a worker's own look at the gateway. What cannot be proven is a
// hint to look, never a fact.
//
// What a crash means: before the insert the sender got no 200 and sends again;
// after it the message is due again within a minute. Applying a message twice
// changes nothing the second time. A message whose operation is not known yet is
// kept and tried again, up to 30 days, and then parked with the reason; nothing
// is ever dropped.
package webhooks
