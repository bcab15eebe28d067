package devstack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
)

// wait is how long a condition may take before a test gives up.
const wait = 30 * time.Second

func start(t *testing.T, o devstack.Options) *devstack.Stack {
	t.Helper()
	s, err := devstack.Start(t.Context(), o)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *devstack.Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// dataDir is a directory that the servers' user can reach; t.TempDir is not, when
// root runs the tests.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	if err != nil {
		t.Fatalf("make a directory: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatalf("open the directory: %v", err)
	}
	return filepath.Join(dir, ".capstan")
}

func sql(t *testing.T, s *devstack.Stack, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	if err != nil {
		t.Fatalf("connect to %s: %v", s.DatabaseURL, err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(values, ",")
}

func redisClient(t *testing.T, s *devstack.Stack) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatalf("parse %s: %v", s.RedisURL, err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	return c
}

func set(t *testing.T, s *devstack.Stack, key string) {
	t.Helper()
	if err := redisClient(t, s).Set(t.Context(), key, "1", 0).Err(); err != nil {
		t.Fatalf("set %s: %v", key, err)
	}
}

func keys(t *testing.T, s *devstack.Stack) int64 {
	t.Helper()
	n, err := redisClient(t, s).DBSize(t.Context()).Result()
	if err != nil {
		t.Fatalf("count keys: %v", err)
	}
	return n
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestWarmStartKeepsData(t *testing.T) {
	dir := dataDir(t)
	cold := start(t, devstack.Options{Dir: dir})
	if cold.Dir != dir {
		t.Fatalf("Dir = %s, want %s", cold.Dir, dir)
	}
	for name, from := range map[string]string{"PostgresFrom": cold.PostgresFrom, "RedisFrom": cold.RedisFrom} {
		if !strings.Contains(from, dir) {
			t.Errorf("%s = %q does not say where the data is", name, from)
		}
	}
	sql(t, cold, "CREATE TABLE kept (v text)")
	sql(t, cold, "INSERT INTO kept VALUES ('here')")
	set(t, cold, "kept")
	cluster := sql(t, cold, "SELECT system_identifier::text FROM pg_control_system()")
	stop(t, cold)

	warm := start(t, devstack.Options{Dir: dir})
	if got := sql(t, warm, "SELECT v FROM kept"); got != "here" {
		t.Errorf("row after a restart = %q, want %q", got, "here")
	}
	if got := sql(t, warm, "SELECT system_identifier::text FROM pg_control_system()"); got != cluster {
		t.Errorf("the cluster was made anew: %s, was %s", got, cluster)
	}
	if n := keys(t, warm); n != 1 {
		t.Errorf("keys after a restart = %d, want 1", n)
	}
}

func TestTemporaryDataIsRemoved(t *testing.T) {
	s := start(t, devstack.Options{})
	if !exists(s.Dir) {
		t.Fatalf("the data directory %s does not exist", s.Dir)
	}
	stop(t, s)
	if exists(s.Dir) {
		t.Errorf("%s is still there after Stop", s.Dir)
	}
	stop(t, s) // the second time does nothing
}

func TestEphemeralLeavesLastingDataAlone(t *testing.T) {
	dir := dataDir(t)
	lasting := start(t, devstack.Options{Dir: dir, NoRedis: true})
	sql(t, lasting, "CREATE TABLE lasting (v text)")

	short := start(t, devstack.Options{Dir: dir, NoRedis: true, Ephemeral: true})
	if got := sql(t, short, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'lasting'"); got != "0" {
		t.Errorf("an ephemeral stack sees the lasting table")
	}
	stop(t, short)
	if exists(short.Dir) {
		t.Errorf("%s is still there after Stop", short.Dir)
	}
	if got := sql(t, lasting, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'lasting'"); got != "1" {
		t.Errorf("the lasting table is gone")
	}
}

func TestGivenServersAreUsedAsGiven(t *testing.T) {
	nothing := devstack.Search{
		LookPath: func(string) (string, error) { t.Error("looked for a binary"); return "", exec.ErrNotFound },
		Glob:     func(string) ([]string, error) { t.Error("looked for a binary"); return nil, nil },
	}
	s := start(t, devstack.Options{DatabaseURL: "postgres://db.example/x", RedisURL: "redis://cache.example", Search: nothing})
	if s.DatabaseURL != "postgres://db.example/x" || s.RedisURL != "redis://cache.example" {
		t.Errorf("addresses = %s, %s: not those given", s.DatabaseURL, s.RedisURL)
	}
	if s.PostgresFrom != "DATABASE_URL" || s.RedisFrom != "REDIS_URL" {
		t.Errorf("origins = %q, %q, want the names of the variables", s.PostgresFrom, s.RedisFrom)
	}
	if err := s.StopPostgres(t.Context(), devstack.Fast); err == nil {
		t.Error("StopPostgres stopped a server that is not ours")
	}
	if err := s.StopRedis(t.Context(), true); err == nil {
		t.Error("StopRedis stopped a server that is not ours")
	}
}

func TestMissingBinaries(t *testing.T) {
	only := func(names ...string) devstack.Search {
		return devstack.Search{
			LookPath: func(file string) (string, error) {
				for _, n := range names {
					if n != file {
						continue
					}
					if file == "apt-get" || file == "brew" {
						return "/usr/bin/" + file, nil
					}
					return exec.LookPath(file)
				}
				return "", fmt.Errorf("%s: %w", file, exec.ErrNotFound)
			},
			Glob: func(pattern string) ([]string, error) {
				if !slices.Contains(names, "postgres") {
					return nil, nil
				}
				return filepath.Glob(pattern)
			},
			Getenv: func(string) string { return "" },
		}
	}
	const apt = "sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql redis-server"
	for _, tt := range []struct {
		name   string
		search devstack.Search
		want   []string
		absent string
	}{
		{"both on Debian", only("apt-get"), []string{"PostgreSQL is not installed", "Redis is not installed", apt, "DATABASE_URL"}, "brew install"},
		{"both with Homebrew", only("brew"), []string{"PostgreSQL is not installed", "brew install postgresql"}, "apt-get"},
		{"Redis only", only("apt-get", "postgres"), []string{"Redis is not installed", "redis-server and valkey-server", apt}, "PostgreSQL is not"},
		{"Postgres only", only("apt-get", "redis-server"), []string{"PostgreSQL is not installed", "$PG_BIN", apt}, "Redis is not"},
		{"nothing known", only(), []string{apt, "brew install"}, "valkey-cli"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := dataDir(t)
			_, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, Search: tt.search})
			if !errors.Is(err, devstack.ErrNotInstalled) {
				t.Fatalf("error = %v, want ErrNotInstalled", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error does not say %q:\n%v", w, err)
				}
			}
			if strings.Contains(err.Error(), tt.absent) {
				t.Errorf("error says %q:\n%v", tt.absent, err)
			}
			if exists(dir) {
				t.Errorf("a data directory was made though nothing could start")
			}
		})
	}
}

func TestInProcessRedisOnlyWhenAllowed(t *testing.T) {
	none := devstack.Search{LookPath: func(string) (string, error) { return "", exec.ErrNotFound }}
	if _, err := devstack.Start(t.Context(), devstack.Options{NoPostgres: true, Search: none}); !errors.Is(err, devstack.ErrNotInstalled) {
		t.Fatalf("without leave: error = %v, want ErrNotInstalled", err)
	}
	var log bytes.Buffer
	s := start(t, devstack.Options{NoPostgres: true, Search: none, AllowInProcessRedis: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(s.RedisFrom, "imitation") || !strings.Contains(log.String(), "imitation") {
		t.Errorf("RedisFrom %q and the log %q do not say that it is no Redis", s.RedisFrom, log.String())
	}
	c := redisClient(t, s)
	if err := c.Set(t.Context(), "k", "v", 10*time.Millisecond).Err(); err != nil {
		t.Fatalf("set: %v", err)
	}
	eventually(t, "the key expires", func() bool { return keys(t, s) == 0 })
}

func TestDirectoryInUse(t *testing.T) {
	dir := dataDir(t)
	first := start(t, devstack.Options{Dir: dir, NoPostgres: true})
	_, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, NoPostgres: true})
	if !errors.Is(err, devstack.ErrInUse) {
		t.Fatalf("error = %v, want ErrInUse", err)
	}
	for _, want := range []string{dir, fmt.Sprint(os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
	set(t, first, "untouched")
	stop(t, first)
	start(t, devstack.Options{Dir: dir, NoPostgres: true})
}

func TestClusterOfAnotherVersion(t *testing.T) {
	dir := dataDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgres"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "postgres", "PG_VERSION"), []byte("11\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := devstack.Start(t.Context(), devstack.Options{Dir: dir, NoRedis: true})
	if err == nil || !strings.Contains(err.Error(), "made by PostgreSQL 11") {
		t.Errorf("error = %v, want one that names the version", err)
	}
}

// A first run that was killed while it made the cluster must not leave a
// directory that later runs take for a whole one.
func TestUnfinishedClusterIsMadeAnew(t *testing.T) {
	dir := dataDir(t)
	if err := os.MkdirAll(filepath.Join(dir, "postgres.new", "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "postgres.new", "PG_VERSION"), []byte("15\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, devstack.Options{Dir: dir, NoRedis: true})
	if got := sql(t, s, "SELECT current_database()::text"); got != "capstan" {
		t.Errorf("database = %q, want capstan", got)
	}
}

func TestPostgresStopsAndStarts(t *testing.T) {
	s := start(t, devstack.Options{NoRedis: true})
	url := s.DatabaseURL
	sql(t, s, "CREATE TABLE kept (v text)")
	for _, mode := range []devstack.StopMode{devstack.Fast, devstack.Immediate} {
		t.Run(string(mode), func(t *testing.T) {
			sql(t, s, "INSERT INTO kept VALUES ('"+string(mode)+"')")
			if err := s.StopPostgres(t.Context(), mode); err != nil {
				t.Fatalf("StopPostgres: %v", err)
			}
			if _, err := pgx.Connect(t.Context(), url); err == nil {
				t.Error("connected to a stopped server")
			}
			if err := s.StopPostgres(t.Context(), mode); err != nil {
				t.Errorf("StopPostgres again: %v", err)
			}
			if err := s.StartPostgres(t.Context()); err != nil {
				t.Fatalf("StartPostgres: %v", err)
			}
			if s.DatabaseURL != url {
				t.Errorf("address = %s, was %s", s.DatabaseURL, url)
			}
			if got := sql(t, s, "SELECT v FROM kept ORDER BY ctid DESC LIMIT 1"); got != string(mode) {
				t.Errorf("last row = %q, want the committed %q", got, mode)
			}
		})
	}
	select {
	case err := <-s.Failed():
		t.Errorf("a stop on purpose was reported as a failure: %v", err)
	default:
	}
}

func TestRedisStopsAndStarts(t *testing.T) {
	s := start(t, devstack.Options{NoPostgres: true})
	for _, tt := range []struct {
		name string
		lose bool
		want int64
	}{
		{"keep", false, 1},
		{"lose", true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set(t, s, "k")
			if err := s.StopRedis(t.Context(), tt.lose); err != nil {
				t.Fatalf("StopRedis: %v", err)
			}
			if err := s.StartRedis(t.Context()); err != nil {
				t.Fatalf("StartRedis: %v", err)
			}
			if n := keys(t, s); n != tt.want {
				t.Errorf("keys = %d, want %d", n, tt.want)
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("gave up after %s waiting until %s", wait, what)
		case <-tick.C:
		}
	}
}
