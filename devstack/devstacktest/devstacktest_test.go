package devstacktest_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
)

func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }

// migrations counts how often the template was filled.
var migrations atomic.Int32

func migrate(ctx context.Context, databaseURL string) (err error) {
	migrations.Add(1)
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	_, err = conn.Exec(ctx, "CREATE TABLE orders (reference text PRIMARY KEY)")
	return err
}

func exec(t *testing.T, databaseURL, sql string, args ...any) {
	t.Helper()
	conn := connect(t, databaseURL)
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t *testing.T, databaseURL string) int {
	t.Helper()
	var n int
	if err := connect(t, databaseURL).QueryRow(t.Context(), "SELECT count(*) FROM orders").Scan(&n); err != nil {
		t.Fatalf("count orders: %v", err)
	}
	return n
}

// connect leaves its connection open: dropping the database has to cope with it.
func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return conn
}

func TestDatabasesAreMigratedOnceAndApart(t *testing.T) {
	for _, name := range []string{"one", "two", "three"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := devstacktest.NewDatabase(t, migrate)
			if n := count(t, url); n != 0 {
				t.Errorf("a fresh database has %d orders, want 0", n)
			}
			exec(t, url, "INSERT INTO orders VALUES ($1)", name)
			if n := count(t, url); n != 1 {
				t.Errorf("orders = %d, want the 1 of this test", n)
			}
			if n := migrations.Load(); n != 1 {
				t.Errorf("migrate ran %d times, want once per binary", n)
			}
		})
	}
}

func TestDatabaseWithoutMigrations(t *testing.T) {
	url := devstacktest.NewDatabase(t, nil)
	exec(t, url, "CREATE TABLE orders (id int)") // would exist if the migrated template were used
}

func TestDatabaseIsDurable(t *testing.T) {
	conn := connect(t, devstacktest.NewDatabase(t, nil))
	for setting, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "server_encoding": "UTF8",
		"TimeZone": "UTC", "max_connections": "200",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil {
			t.Fatalf("read setting %s: %v", setting, err)
		}
		if got != want {
			t.Errorf("setting %s = %q, want %q", setting, got, want)
		}
	}
	var collation string
	if err := conn.QueryRow(t.Context(), "SELECT datcollate FROM pg_database WHERE datname = current_database()").Scan(&collation); err != nil {
		t.Fatalf("read the collation: %v", err)
	}
	if collation != "C" {
		t.Errorf("collation = %q, want C", collation)
	}
}

func TestRedisesAreApart(t *testing.T) {
	client := func() *redis.Client {
		o, err := redis.ParseURL(devstacktest.NewRedis(t))
		if err != nil {
			t.Fatalf("parse the address: %v", err)
		}
		c := redis.NewClient(o)
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Errorf("close the client: %v", err)
			}
		})
		return c
	}
	a, b := client(), client()
	if err := a.Set(t.Context(), "asynq:queues", "x", 0).Err(); err != nil {
		t.Fatalf("set: %v", err)
	}
	if n, err := b.DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("the other Redis has %d keys (%v), want 0", n, err)
	}
	sub := b.Subscribe(t.Context(), "asynq:cancel")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	if n, err := a.Publish(t.Context(), "asynq:cancel", "x").Result(); err != nil || n != 0 {
		t.Errorf("a message reached %d subscribers of the other Redis (%v), want 0", n, err)
	}
	policy, err := a.ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || policy["maxmemory-policy"] != "noeviction" {
		t.Errorf("maxmemory-policy = %v (%v), want noeviction", policy, err)
	}
}
