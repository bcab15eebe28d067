// Package enqueuer turns an approval into capture rows, inside the caller's own
// transaction, and tells Redis of them after it committed.
//
//	tx, err := db.BeginTx(ctx, nil)
//	// … the shop's own work on tx …
//	approval, err := captures.Approve(ctx, tx, models.Live, orderID, "shop")
//	err = tx.Commit()
//	approval.Publish(ctx) // the captures start now; without it, within a second
//
// What a crash means: before the commit nothing happened; after it the capture
// is open work in Postgres, and [Relay] publishes it whether or not Publish was
// called. Redis may lose everything: the sweep has it published again.
package enqueuer
