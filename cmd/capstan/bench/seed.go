package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/store"
)

//go:embed seed.sql
var seedSQL string

//go:embed seed_orders.sql
var seedOrdersSQL string

// shape makes a UUID of version 7 from its milliseconds and a hash.
const shape = `(ms || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 3) || substr(h, 7, 12))::uuid`

// template is a database that runs are cloned from.
type template struct {
	orders   bool
	captures int
}

func (t template) name() string {
	if t.orders {
		return fmt.Sprintf("template_orders_%d", t.captures)
	}
	return fmt.Sprintf("template_captures_%d", t.captures)
}

// admin is the connection to the cluster itself: databases are made, cloned
// and dropped through it.
type admin struct {
	conn *pgx.Conn
	url  string // of any database of the cluster
	// strategy is how a database is copied fastest by this version.
	strategy string
}

func openAdmin(ctx context.Context, serverURL string) (*admin, error) {
	conn, err := pgx.Connect(ctx, at(serverURL, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("connect to the benchmark's Postgres: %w", err)
	}
	a := &admin{conn: conn, url: serverURL}
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, errors.Join(fmt.Errorf("ask Postgres for its version: %w", err), conn.Close(ctx))
	}
	if version >= 150_000 {
		a.strategy = " STRATEGY file_copy"
	}
	return a, nil
}

func (a *admin) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := a.conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// clone makes a database from a template and returns its address.
func (a *admin) clone(ctx context.Context, name, from string) (string, error) {
	return at(a.url, name), a.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+from+a.strategy)
}

func (a *admin) drop(ctx context.Context, name string) error {
	return a.exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// make makes a template: the schema, then what the case begins with, then the
// planner's statistics.
func (a *admin) make(ctx context.Context, t template) error {
	name := t.name()
	if err := a.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	target := at(a.url, name)
	if err := migrate(ctx, target); err != nil {
		return err
	}
	if err := seed(ctx, target, t); err != nil {
		return err
	}
	return a.exec(ctx, "CHECKPOINT")
}

func migrate(ctx context.Context, target string) error {
	s, err := store.Open(ctx, target, store.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	return errors.Join(err, s.Close())
}

// seed writes what t begins with into a migrated database.
func seed(ctx context.Context, target string, t template) (err error) {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return fmt.Errorf("connect to seed: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	script := seedSQL
	if t.orders {
		script = seedOrdersSQL
	}
	script = strings.NewReplacer("?shape", shape, "?captures", strconv.Itoa(t.captures)).Replace(script)
	if _, err := conn.Exec(ctx, "BEGIN;\n"+script+";\nCOMMIT", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("seed %d captures: %w", t.captures, err)
	}
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("analyze the seed: %w", err)
	}
	return nil
}

// at is the address of another database of the same server.
func at(serverURL, database string) string {
	u, err := url.Parse(serverURL)
	if err != nil {
		return serverURL // ours always parses
	}
	u.Path = "/" + database
	return u.String()
}
