package store

import (
	"context"
	"embed"
	"fmt"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock that keeps two migrations apart. bun's own
// lock is a row that a crash leaves behind for ever.
const migrationLock = 0x63617073 // "caps"

// Migrate brings the schema up to date and returns the names of what it
// applied. Migrations go forward only; each runs in a transaction of its own
// and counts as applied only when it succeeded, so a crash repeats it.
//
// It has two connections of its own, one for the lock and one for the work:
// a small pool cannot starve it, and a large table may take its time.
func (s *Store) Migrate(ctx context.Context) ([]string, error) {
	cfg := s.config.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0"
	db := bun.NewDB(stdlib.OpenDB(*cfg), pgdialect.New())
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock(?)", migrationLock); err != nil {
		return nil, fmt.Errorf("wait for another migration to end: %w", err)
	}
	defer func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(?)", migrationLock)
	}()
	m, err := migrator(db)
	if err != nil {
		return nil, err
	}
	if err := m.Init(ctx); err != nil {
		return nil, fmt.Errorf("create the migration tables: %w", err)
	}
	group, err := m.Migrate(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w; nothing of the failed step was kept, run it again after mending the cause", err)
	}
	if err := s.firstPartitions(ctx, db); err != nil {
		return nil, err
	}
	var names []string
	for _, a := range group.Migrations {
		names = append(names, a.Name+"_"+a.Comment)
	}
	return names, nil
}

// Pending returns how many migrations the schema lacks.
func (s *Store) Pending(ctx context.Context) (int, error) {
	m, err := migrator(s.db)
	if err != nil {
		return 0, err
	}
	all, err := m.MigrationsWithStatus(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the state of the schema: %w; run `capstan migrate`", err)
	}
	return len(all.Unapplied()), nil
}

func migrator(db *bun.DB) (*migrate.Migrator, error) {
	found := migrate.NewMigrations()
	if err := found.Discover(migrations); err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return migrate.NewMigrator(db, found, migrate.WithMarkAppliedOnSuccess(true)), nil
}
