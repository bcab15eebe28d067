// Package enqueuer turns an approval into capture rows, inside the caller's own
// transaction, and tells Redis of them after it committed.
//
//	tx, err := db.BeginTx(ctx, nil)
//	// … the shop's own work on tx …
//	approval, err := captures.Approve(ctx, tx, models.Live, orderID, "shop")
//	err = tx.Commit()
//	approval.Publish(ctx) // the captures start now; without it, within a second
//
// What waits travels as it fits: a few captures each in a task of their own, many
// of one gateway account together, as many as the workers say they get through
// ([Enqueuer] cuts them in bundle.go). What has failed before goes alone.
//
// [Enqueuer.ApproveMany] does the same for many orders at the cost of one, each
// with its own answer; [Enqueuer.ApproveNow] is for callers that have no
// transaction of their own, and publishes by itself.
//
// What a crash means: before the commit nothing happened; after it the capture
// is open work in Postgres, and [Relay] publishes it whether or not Publish was
// called. Redis may lose everything: the sweep has it published again.
package enqueuer
