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
//   - forward.go: the operator's look;
//   - sweep.go: the scheduled reconciliation;
//   - deliver.go: outgoing webhooks;
//   - metrics.go: what Prometheus sees.
//
// The package makes no new work by itself: what follows from an outcome is a
// row in the store, and the relay publishes it.
package worker
