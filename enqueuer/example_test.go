package enqueuer_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
)

// A shop approves an order together with work of its own: both happen, or neither.
func Example_approve() {
	ship := func(ctx context.Context, db *sql.DB, captures *enqueuer.Enqueuer, orderID string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, `INSERT INTO parcels (order_id) VALUES ($1)`, orderID); err != nil {
			return fmt.Errorf("book the parcel of order %s: %w", orderID, err)
		}
		approval, err := captures.Approve(ctx, tx, models.Live, orderID, "shipping")
		if err != nil {
			return fmt.Errorf("approve order %s: %w", orderID, err)
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		// The captures start now. Without this call, or when Redis is away, the
		// relay starts them within a second.
		_ = approval.Publish(ctx)
		return nil
	}
	_ = ship
}
