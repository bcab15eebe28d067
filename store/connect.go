package store

import (
	"context"
	"database/sql"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// freshFor: a connection used so lately is taken as it is.
	freshFor = time.Second
	// trustedFor: one that lay idle for longer is asked, whatever it looks like;
	// whatever stands between may have forgotten it without a word.
	trustedFor = time.Minute
)

// connect opens a pool. The driver would ask an idle connection for a sign of
// life before each use, which costs every first request a round trip. A server
// that ended a connection has said so on it, and that is seen without asking.
func connect(cfg *pgx.ConnConfig) *sql.DB {
	return stdlib.OpenDB(*cfg, stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
		return p.IdleDuration > freshFor && (p.IdleDuration > trustedFor || !quiet(p.Conn.PgConn().Conn()))
	}))
}

// plain is the connection under an encrypted one.
func plain(conn net.Conn) net.Conn {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return outer.NetConn()
	}
	return conn
}
