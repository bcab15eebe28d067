// Package worker is the Asynq side: it takes tasks from Redis and turns open
// work in Postgres into gateway calls.
//
// Read operate.go first: claim, look, send, record is the whole job, and says at
// each step what a crash there means. The rest stands around it:
//
//   - batch.go: a task of many captures, each of which takes the same path;
//   - account.go: one gateway account: its adapter, breaker, pace and room;
//   - server.go: Asynq's servers and shutdown; retry.go: when a task comes again;
//   - doorbell.go: how idle servers sleep, and who wakes them;
//   - room.go: how large a batch may be, going by how long calls take;
//   - forward.go: the operator's look; settle.go: the look before something that
//     depends on an open outcome; renew.go: holds that are asked about and renewed;
//   - schedule.go: what is done by the clock; sweep.go: the scheduled
//     reconciliation; restored.go: how a restored database is noticed;
//   - listing.go: a gateway's own list, window by window; imported.go: its report;
//     comparer.go: what both do about a line; adopt.go: rows for what happened
//     there without us;
//   - audit.go: when the invariants are checked; books.go: the one about the
//     gateways' books;
//   - deliver.go: outgoing webhooks;
//   - metrics.go, listing_metrics.go: what Prometheus sees.
//
// The package makes no new work by itself: what follows from an outcome is a
// row in the store, and the relay publishes it.
package worker
