package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/devstack/meter"
	"github.com/capstan-pay/capstan/models"
)

// openBun opens a ledger through bun over pgx' database/sql driver, set up as
// the product sets it up.
func openBun(ctx context.Context, job meter.Job, conns int) (ledger, error) {
	cfg, err := pgx.ParseConfig(job.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool := stdlib.OpenDB(*cfg)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	db := bun.NewDB(pool, pgdialect.New())
	if err := warm(ctx, conns, func(ctx context.Context) (func(), error) {
		conn, err := pool.Conn(ctx)
		return func() { _ = conn.Close() }, err
	}); err != nil {
		return nil, err
	}
	return &plain{
		inTx: func(ctx context.Context, fn func(tx) error) error {
			return db.RunInTx(ctx, &sql.TxOptions{}, func(_ context.Context, t bun.Tx) error { return fn(bunTx{t}) })
		},
		lease: models.Tempo{Scale: job.TimeScale}.Lease(), worker: workerName(), closes: db.Close,
		about: fmt.Sprintf("bun over pgx, %d connections", conns),
	}, nil
}

// warm opens all connections of a pool before the window.
func warm(ctx context.Context, conns int, take func(context.Context) (func(), error)) error {
	var back []func()
	defer func() {
		for _, give := range back {
			give()
		}
	}()
	for range conns {
		give, err := take(ctx)
		if err != nil {
			return fmt.Errorf("connect to Postgres: %w", err)
		}
		back = append(back, give)
	}
	return nil
}

type bunTx struct{ bun.Tx }

func (t bunTx) exec(ctx context.Context, sql string, args ...any) error {
	_, err := t.NewRaw(sql, args...).Exec(ctx)
	return err
}

func (t bunTx) row(ctx context.Context, sql string, args []any, dest ...any) error {
	return t.NewRaw(sql, args...).Scan(ctx, dest...)
}

// openNative opens a ledger over a pool of pgx' own, with prepared statements.
func openNative(ctx context.Context, job meter.Job, conns int) (ledger, error) {
	pool, err := openPool(ctx, job, conns)
	if err != nil {
		return nil, err
	}
	var texts sync.Map // a statement in Postgres' own placeholders
	return &plain{
		inTx: func(ctx context.Context, fn func(tx) error) error {
			return pgx.BeginFunc(ctx, pool, func(t pgx.Tx) error { return fn(nativeTx{t, &texts}) })
		},
		lease: models.Tempo{Scale: job.TimeScale}.Lease(), worker: workerName(), closes: func() error { pool.Close(); return nil },
		about: fmt.Sprintf("native pgx, %d connections", conns),
	}, nil
}

func openPool(ctx context.Context, job meter.Job, conns int) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(job.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	cfg.MaxConns, cfg.MinConns = int32(conns), int32(conns)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	return pool, warm(ctx, conns, func(ctx context.Context) (func(), error) {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		return conn.Release, nil
	})
}

type nativeTx struct {
	pgx.Tx
	texts *sync.Map
}

func (t nativeTx) text(sql string) string {
	if text, ok := t.texts.Load(sql); ok {
		return text.(string)
	}
	text := numbered(sql)
	t.texts.Store(sql, text)
	return text
}

func (t nativeTx) exec(ctx context.Context, sql string, args ...any) error {
	_, err := t.Exec(ctx, t.text(sql), args...)
	return err
}

func (t nativeTx) row(ctx context.Context, sql string, args []any, dest ...any) error {
	return t.QueryRow(ctx, t.text(sql), args...).Scan(dest...)
}
