// Package store keeps the ledger in Postgres, through bun. It is concrete:
// methods are named after what the business does, and each is one transaction.
//
// Where to look:
//
//   - claim.go, claim.sql: a worker takes operations, the intent committed before a call;
//   - apply.go, apply.sql: the one place that moves an operation, with its
//     history row and its effects on capture, hold, order and open work;
//   - committer.go: claims and outcomes that share statements; pinned.go, lists.go:
//     how such statements are run;
//   - create.go, create.sql: the one place that makes operations, under both caps;
//   - orders.go, approve.go, snapshot.go, byhand.go, edit.go: what a shop does to an order;
//   - observe.go: evidence from outside a claim;
//   - work.go: open work for the relay and the sweep; review.go: orders to look at again;
//   - inbox.go and deliveries.go: webhooks in and out;
//   - read.go, list.go: what pages and programs list; attach.go: what clients attach;
//   - partitions.go and retention.go: months of history, and how old ones leave;
//   - audit.go: the invariants; unavailable.go: which errors mean "come again".
//
// Rows are locked in one order: order, authorization, capture, other
// operations. Money is decided at READ COMMITTED by row locks, guarded updates
// and CHECKs, never by isolation. No network call is made inside a transaction.
package store
