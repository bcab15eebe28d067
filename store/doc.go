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
//   - sweep.go: the scheduled reconciliation;
//   - difference.go: what is captured above a total; withheld.go: what is not given
//     back by itself; expiry.go: holds that end soon;
//   - renewals.go: holds that are renewed at their gateway;
//   - listing.go, listed.go: a gateway's own list beside the ledger; adopt.go: rows
//     for what happened there without us;
//   - lookfirst.go: a database that was restored, and what it doubts;
//   - verdicts.go, resolutions.go: what was found, and what people made of it;
//     report.go: the state of everything, of one moment;
//   - inbox.go and deliveries.go: webhooks in and out;
//   - read.go, list.go: what pages and programs list; attach.go: what clients attach;
//   - partitions.go and retention.go: months of history, and how old ones leave;
//   - audit.go, audit_run.go: how the invariants are checked; audit_rules.go,
//     audit_history.go: the invariants; anchors.go: a hash of each day;
//   - unavailable.go: which errors mean "come again".
//
// Rows are locked in one order: order, authorization, capture, other
// operations. Money is decided at READ COMMITTED by row locks, guarded updates
// and CHECKs, never by isolation. No network call is made inside a transaction.
package store
