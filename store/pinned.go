package store

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

// pinned runs statements that are prepared once, on connections of their own
// whose plans do not depend on what the tables held when they were made.
//
// A plan frozen over empty tables reads them from end to end for ever after.
// Here every access is by an index, whatever the statistics say. Only what moves
// or finds rows by their keys runs here; reports and the audit do not.
type pinned struct {
	db *bun.DB

	mu    sync.Mutex
	ready map[string]bun.Stmt
}

// hastyConns is how many batches may be in the database at once. More gain
// nothing: a batch keeps a core busy, and the rest only queue for locks.
const hastyConns = 4

// planSettings pin the plans. Compiling them would cost more than running them.
var planSettings = map[string]string{
	"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
}

// newPinned opens a pool of at most conns such connections. lockTimeout ends a
// statement that waits for a row for so long, so that one order which a shop's
// transaction holds does not hold up a whole batch; 0 waits as long as the
// statement may take.
func newPinned(cfg *pgx.ConnConfig, conns int, lockTimeout time.Duration) *pinned {
	cfg = cfg.Copy()
	for name, value := range planSettings {
		cfg.RuntimeParams[name] = value
	}
	if lockTimeout > 0 {
		cfg.RuntimeParams["lock_timeout"] = fmt.Sprint(max(1, lockTimeout.Milliseconds()))
	}
	pool := connect(cfg)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(min(conns, hastyConns))
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return &pinned{db: bun.NewDB(pool, pgdialect.New()), ready: map[string]bun.Stmt{}}
}

// query runs a statement whose arguments stand as ?0, ?1, … and scans its rows
// into dest, a pointer to a slice of structs.
func (p *pinned) query(ctx context.Context, dest any, sql string, args ...any) error {
	stmt, err := p.statement(ctx, sql)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return p.db.ScanRows(ctx, rows, dest) // closes rows
}

// run is query for lists.
func (p *pinned) run(ctx context.Context, dest any, sql string, args lists) error {
	return p.query(ctx, dest, sql, args...)
}

// statement returns the prepared statement of sql. database/sql prepares it
// again on each connection that first runs it.
func (p *pinned) statement(ctx context.Context, sql string) (bun.Stmt, error) {
	p.mu.Lock()
	stmt, ok := p.ready[sql]
	p.mu.Unlock()
	if ok {
		return stmt, nil
	}
	stmt, err := p.db.PrepareContext(ctx, numbered(sql))
	if err != nil {
		return stmt, fmt.Errorf("prepare a statement: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.ready[sql]; ok { // two prepared it at once
		return first, stmt.Close()
	}
	p.ready[sql] = stmt
	return stmt, nil
}

func (p *pinned) close() error { return p.db.Close() }

var placeholder = regexp.MustCompile(`\?(\d+)`)

// numbered turns bun's placeholders, which count from 0, into Postgres' own.
func numbered(sql string) string {
	return placeholder.ReplaceAllStringFunc(sql, func(p string) string {
		n, _ := strconv.Atoi(p[1:])
		return "$" + strconv.Itoa(n+1)
	})
}
