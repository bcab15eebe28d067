package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Tx is a transaction of the caller's: *sql.Tx and bun.Tx both are one.
type Tx = bun.IConn

// Store is the ledger. It is safe for concurrent use.
type Store struct {
	db *bun.DB
	// hasty runs the batches of a Committer, and gives up on a row that someone
	// holds; patient waits for it. Apart, so that no batch waits behind an
	// approval that waits for a shop's transaction.
	hasty, patient *pinned
	// slow runs what reads much: audits and anchors. Nobody's work waits for its
	// connections, and its statements may take hours.
	slow      *bun.DB
	claims    map[models.Kind][2]string
	snapshots string
	config    *pgx.ConnConfig
	tempo     models.Tempo
	onMove    func(Moved)
	tended    atomic.Pointer[time.Time] // when a sweep last looked at the partitions
}

// Moved is told for every step that an operation made, for logs and metrics.
type Moved struct {
	Kind    models.Kind
	ID      string
	Event   models.Event
	State   models.State
	Version int64
	Actor   string
	Reason  string
	// Verdict is the comparison that was kept beside the step, if one was.
	Verdict models.Verdict
}

// Options for [Open]. The zero value is for production.
type Options struct {
	Tempo models.Tempo
	// MaxConns bounds the pool; 0 means 16.
	MaxConns int
	// StatementTimeout ends a statement that runs away; 0 means 15 s.
	StatementTimeout time.Duration
	// OnMove is called for each step, from the goroutine that makes it. A step
	// whose transaction is rolled back later was told all the same.
	OnMove func(Moved)
}

// Open connects to the database at url. It does not migrate: see [Migrate].
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w; it looks like postgres://user:password@host:5432/name", redactURL(err))
	}
	// bun writes arguments into the statement, so a statement cache would only thrash.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	timeout := o.StatementTimeout
	if timeout == 0 {
		timeout = 15 * time.Second
	}
	cfg.RuntimeParams["application_name"] = "capstan"
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["standard_conforming_strings"] = "on" // bun's quoting relies on it
	cfg.RuntimeParams["statement_timeout"] = fmt.Sprint(timeout.Milliseconds())
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "60000"
	cfg.RuntimeParams["jit"] = "off" // these statements are short
	pool := connect(cfg)
	conns := o.MaxConns
	if conns == 0 {
		conns = 16
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	s := &Store{db: bun.NewDB(pool, pgdialect.New()), hasty: newPinned(cfg, hastyConns, o.Tempo.LockTimeout()), patient: newPinned(cfg, conns, 0), config: cfg, tempo: o.Tempo, onMove: o.OnMove}
	s.slow = newSlow(cfg)
	s.claims, s.snapshots = claimStatements(), s.snapshotStatement()
	if s.onMove == nil {
		s.onMove = func(Moved) {}
	}
	if err := s.Ping(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("connect to Postgres at %s:%d: %w; check DATABASE_URL and that the server runs", cfg.Host, cfg.Port, err)
	}
	return s, nil
}

// redactURL keeps a password out of an error: pgx repeats parts of the URL.
func redactURL(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New("it cannot be parsed")
	}
	return err
}

// Ping asks the database for a sign of life.
func (s *Store) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// Now returns the database's time: of the transaction's start when tx is given.
// A process whose clock is wrong must not decide when a hold has ended.
func (s *Store) Now(ctx context.Context, tx Tx) (time.Time, error) {
	var now time.Time
	if err := s.query(ctx, tx, &now, `SELECT now()`); err != nil {
		return now, fmt.Errorf("read the database's time: %w", err)
	}
	return now, nil
}

// Close ends all connections.
func (s *Store) Close() error {
	return errors.Join(s.db.Close(), s.hasty.close(), s.patient.close(), s.slow.Close())
}

// Tempo returns the deadlines the store writes by.
func (s *Store) Tempo() models.Tempo { return s.tempo }

// NewID returns a UUIDv7: ordered by time, so that history partitions by it.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// transactionTries bounds how often our own transaction is repeated after a
// deadlock or a serialization failure. A gateway call is never inside one.
const transactionTries = 5

// InTx runs fn in a transaction and commits it, again after a deadlock. fn may
// run several times, so it changes nothing but the database.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	var err error
	for range transactionTries {
		err = s.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error { return fn(ctx, tx) })
		if !repeatable(err) {
			return err
		}
	}
	return fmt.Errorf("transaction gave up after %d deadlocks: %w", transactionTries, err)
}

// repeatable reports whether the database asks for the transaction again.
func repeatable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// violated reports whether err is the violation of the named constraint.
func violated(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == constraint
}

// query runs SQL on tx, or on the pool when tx is nil, and scans the rows into
// dest: a slice of structs, or pointers to columns of one row.
func (s *Store) query(ctx context.Context, tx Tx, dest any, sql string, args ...any) error {
	return s.on(tx, sql, args...).Scan(ctx, dest)
}

func (s *Store) exec(ctx context.Context, tx Tx, sql string, args ...any) (int64, error) {
	res, err := s.on(tx, sql, args...).Exec(ctx)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (s *Store) on(tx Tx, sql string, args ...any) *bun.RawQuery {
	for i, arg := range args { // a NUL would break the statement
		switch text := arg.(type) {
		case string:
			args[i] = clean(text)
		case *string:
			if text != nil {
				args[i] = clean(*text)
			}
		}
	}
	q := s.db.NewRaw(sql, args...)
	if tx != nil {
		q = q.Conn(tx)
	}
	return q
}

// one scans a single row into dest, and says ErrNotFound when there is none.
func (s *Store) one(ctx context.Context, tx Tx, dest any, what, sql string, args ...any) error {
	err := s.query(ctx, tx, dest, sql, args...)
	if errors.Is(err, errNoRows) {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

var errNoRows = sql.ErrNoRows
