package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/store"
)

const (
	// ledgerName is the database with the finished captures.
	ledgerName = "ledger"
	// ledgerMonths is over how many months they are spread.
	ledgerMonths = 12
	// ledgerStep is how many are written at a time.
	ledgerStep = 250_000
)

// makeLedger makes the database in which the large case runs: finished captures
// of the months before this one, in the partitions of their months.
func (r *runner) makeLedger(ctx context.Context) (err error) {
	if err := r.admin.exec(ctx, "CREATE DATABASE "+ledgerName); err != nil {
		return err
	}
	r.large = at(r.stack.DatabaseURL, ledgerName)
	if err := migrateSince(ctx, r.large, time.Now().AddDate(0, -ledgerMonths-1, 0)); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, r.large)
	if err != nil {
		return fmt.Errorf("connect to load the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, r.o.LedgerSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("prepare to load the ledger: %w", err)
	}
	for from := 1; from <= r.o.Ledger; from += ledgerStep {
		to := min(from+ledgerStep-1, r.o.Ledger)
		if _, err := conn.Exec(ctx, "SELECT pg_temp.bench_ledger($1, $2, $3, $4)", from, to, r.o.Ledger, ledgerMonths); err != nil {
			return fmt.Errorf("load the captures from %d to %d: %w", from, to, err)
		}
		r.say("loaded %d of %d finished captures", to, r.o.Ledger)
	}
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("analyze the ledger: %w", err)
	}
	return r.admin.exec(ctx, "CHECKPOINT")
}

func migrateSince(ctx context.Context, target string, since time.Time) error {
	s, err := store.Open(ctx, target, store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	if err == nil {
		_, err = s.EnsurePartitionsSince(ctx, since)
	}
	return errors.Join(err, s.Close())
}
