package devstacktest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack"
)

const (
	startLimit = 2 * time.Minute
	stopLimit  = 30 * time.Second
)

// binary is what all tests of one test binary share. A package-level variable is
// the only place that outlives a test; nothing but this package reaches it.
var binary shared

type shared struct {
	mu        sync.Mutex
	stack     *devstack.Stack
	err       error
	templates map[uintptr]*template
	databases int
}

// template is a migrated database that tests are cloned from.
type template struct {
	once sync.Once
	name string
	err  error
}

// Main runs the tests and then stops what they shared. Its result is the exit
// status; call os.Exit with it.
//
// Temporary files, the servers' data among them, are kept in memory where the
// machine has a directory with room for that: there a database is made and
// dropped in a third of the time. What a process that dies has written is there
// as it is on a disk; what outlives the machine is not for a test to see.
func Main(m *testing.M) int {
	inMemory, err := useMemory()
	if err != nil {
		fmt.Fprintln(os.Stderr, "devstacktest: temporary files stay on the disk:", err)
	}
	code := m.Run()
	err = binary.stop()
	if inMemory != "" {
		err = errors.Join(err, os.RemoveAll(inMemory))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "devstacktest: clean up after the tests:", err)
		if code == 0 {
			code = 1
		}
	}
	return code
}

// Shared returns the stack of this test binary, Postgres only, and starts it when
// it is the first to ask. Do not stop it.
func Shared(t testing.TB) *devstack.Stack {
	t.Helper()
	s, err := binary.start()
	if err != nil {
		t.Fatalf("start the shared Postgres: %v", err)
	}
	return s
}

// NewStack starts a Postgres and a Redis for this test alone, to be broken at
// will. o.Dir and o.Ephemeral may be left empty; the stack ends with the test.
func NewStack(t testing.TB, o devstack.Options) *devstack.Stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	s, err := devstack.Start(ctx, o)
	if err != nil {
		t.Fatalf("start servers for this test: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the servers of this test: %v", err)
		}
	})
	return s
}

// NewRedis returns the address of an empty Redis process that no other test uses.
// It ends with the test.
func NewRedis(t testing.TB) string {
	t.Helper()
	return NewStack(t, devstack.Options{NoPostgres: true}).RedisURL
}

// NewDatabase returns the address of a fresh database that no other test uses,
// dropped at the end of the test whoever is still connected.
//
// migrate, if not nil, fills the template that the database is cloned from. It
// runs once per test binary and function, on an empty database whose address it
// is given; closures of the same function literal count as one function. It must
// have closed its connections when it returns.
func NewDatabase(t testing.TB, migrate func(ctx context.Context, databaseURL string) error) string {
	t.Helper()
	s := Shared(t)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tpl := binary.template(migrate)
	tpl.once.Do(func() { tpl.err = tpl.make(ctx, s, migrate) })
	if tpl.err != nil {
		t.Fatalf("make the template database: %v", tpl.err)
	}
	name := binary.nextName("test")
	if err := admin(ctx, s, "CREATE DATABASE "+name+" TEMPLATE "+tpl.name); err != nil {
		t.Fatalf("clone the template database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		if err := admin(ctx, s, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the database of this test: %v", err)
		}
	})
	return withDatabase(s.DatabaseURL, name)
}

func (b *shared) start() (*devstack.Stack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stack != nil || b.err != nil {
		return b.stack, b.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	b.stack, b.err = devstack.Start(ctx, devstack.Options{NoRedis: true})
	return b.stack, b.err
}

func (b *shared) stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stack == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return b.stack.Stop(ctx)
}

func (b *shared) template(migrate func(context.Context, string) error) *template {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.templates == nil {
		b.templates = map[uintptr]*template{}
	}
	key := reflect.ValueOf(migrate).Pointer() // 0 for nil
	if b.templates[key] == nil {
		b.templates[key] = &template{}
	}
	return b.templates[key]
}

func (b *shared) nextName(prefix string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.databases++
	return fmt.Sprintf("%s_%d", prefix, b.databases)
}

// make creates and migrates the template. It then refuses connections, so that no
// forgotten one can stand in the way of a clone.
func (tpl *template) make(ctx context.Context, s *devstack.Stack, migrate func(context.Context, string) error) error {
	if migrate == nil {
		tpl.name = "template1"
		return nil
	}
	tpl.name = binary.nextName("template")
	if err := admin(ctx, s, "CREATE DATABASE "+tpl.name); err != nil {
		return err
	}
	if err := migrate(ctx, withDatabase(s.DatabaseURL, tpl.name)); err != nil {
		return fmt.Errorf("migrate it: %w", err)
	}
	return admin(ctx, s,
		"ALTER DATABASE "+tpl.name+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+tpl.name+"'")
}

// admin runs statements, each on its own, in the database that every cluster has.
func admin(ctx context.Context, s *devstack.Stack, statements ...string) (err error) {
	conn, err := pgx.Connect(ctx, withDatabase(s.DatabaseURL, "postgres"))
	if err != nil {
		return fmt.Errorf("connect to the shared Postgres: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// withDatabase is the address of another database of the same server.
func withDatabase(serverURL, name string) string {
	u, err := url.Parse(serverURL)
	if err != nil {
		return serverURL // ours always parses
	}
	u.Path = "/" + name
	return u.String()
}
