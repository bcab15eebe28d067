package devstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	databaseUser = "capstan"
	databaseName = "capstan"
	// socketPathLimit is the shortest sun_path of the platforms, less the NUL.
	socketPathLimit = 103
)

func clusterDir(base string) string      { return filepath.Join(base, "postgres") }
func postgresPIDFile(base string) string { return filepath.Join(clusterDir(base), "postmaster.pid") }

// databaseURL names a database of the server on port.
func databaseURL(port int, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(databaseUser), Host: loopback + ":" + strconv.Itoa(port), Path: "/" + database,
		RawQuery: "sslmode=disable"}
	return u.String()
}

// matchCluster returns the binaries for the cluster in base: a data directory
// opens only with the major version that made it.
func matchCluster(ctx context.Context, o Options, base string, acc account, found postgresBinaries) (postgresBinaries, error) {
	b, err := os.ReadFile(filepath.Join(clusterDir(base), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, fmt.Errorf("read the version of the cluster in %s: %w", clusterDir(base), err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return found, fmt.Errorf("read the version of the cluster in %s: %w", clusterDir(base), err)
	}
	if major == found.major {
		return found, nil
	}
	other, err := o.Search.postgres(ctx, acc, major)
	if err != nil {
		return found, fmt.Errorf("open the cluster in %s, made by PostgreSQL %d: %w; install that version, or remove the directory", clusterDir(base), major, err)
	}
	return other, nil
}

// firstPostgres makes the cluster if there is none, starts it, and makes the
// database if there is none.
func (s *Stack) firstPostgres(ctx context.Context, bin postgresBinaries) error {
	if err := s.initCluster(ctx, bin); err != nil {
		return err
	}
	run, err := s.socketDir()
	if err != nil {
		return err
	}
	p := &server{
		name: "PostgreSQL", logPath: filepath.Join(s.Dir, "postgres.log"), log: s.log, failed: s.failed,
		prepare: func() error { return clearStale(s.Dir, run) },
		command: func(port int, log *os.File) command {
			return command{path: bin.path("postgres"), args: postgresArgs(clusterDir(s.Dir), run, port), dir: clusterDir(s.Dir),
				account: s.account, death: sigFast, log: log, lock: s.lock}
		},
		ready: func(_ context.Context, pid, _ int) bool { return postmasterReady(s.Dir, pid) },
	}
	if err := os.Truncate(p.logPath, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("empty the log of PostgreSQL: %w", err)
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.postgres, s.binaries = p, bin
	s.mu.Unlock()
	if err := ensureDatabase(ctx, p.port); err != nil {
		return err
	}
	s.DatabaseURL = databaseURL(p.port, databaseName)
	s.PostgresFrom = fmt.Sprintf("PostgreSQL %s from %s, data in %s", bin.version, bin.dir, clusterDir(s.Dir))
	s.log.Info("server ready", "server", p.name, "version", bin.version, "port", p.port, "data", clusterDir(s.Dir))
	return nil
}

// initCluster runs initdb. The cluster is made under another name first: a
// directory named postgres is always a whole one, however a first run ended.
func (s *Stack) initCluster(ctx context.Context, bin postgresBinaries) error {
	data := clusterDir(s.Dir)
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return nil
	}
	fresh := data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("clear a cluster that was not finished: %w", err)
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	if err := s.account.own(fresh); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	s.log.Info("making a database cluster", "version", bin.version, "data", data)
	args := []string{"-D", fresh, "-U", databaseUser, "-A", "trust", "-E", "UTF8", "--locale=C"}
	if s.remove {
		args = append(args, "--no-sync") // an empty cluster that no crash of the machine will outlive
	}
	init := command{path: bin.path("initdb"), args: args, dir: fresh, account: s.account, death: sigTerm, lock: s.lock}
	if _, err := init.run(ctx); err != nil {
		return fmt.Errorf("make the cluster in %s: %w", fresh, err)
	}
	if err := os.Rename(fresh, data); err != nil {
		return fmt.Errorf("make the cluster: %w", err)
	}
	return nil
}

// plainPath is what unix_socket_directories takes without quoting.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+@-]+$`)

// socketDir makes the directory of the socket; "" where a socket cannot be.
func (s *Stack) socketDir() (string, error) {
	dir := filepath.Join(s.Dir, "run")
	if len(filepath.Join(dir, ".s.PGSQL.65535.lock")) > socketPathLimit || !plainPath.MatchString(dir) {
		s.log.Info("no unix socket: its path would be too long", "dir", dir)
		return "", nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the socket directory: %w", err)
	}
	if err := s.account.own(dir); err != nil {
		return "", fmt.Errorf("make the socket directory: %w", err)
	}
	return dir, nil
}

func postgresArgs(data, run string, port int) []string {
	args := []string{"-D", data}
	for _, setting := range []string{
		"listen_addresses=" + loopback,
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=" + run,
		"unix_socket_permissions=0700",
		"max_connections=200",
		"shared_buffers=128MB",
		"fsync=on",
		"full_page_writes=on",
		"synchronous_commit=on",
		"timezone=UTC",
		"log_timezone=UTC",
		"lc_messages=C", // addressInUse reads the log
		"log_destination=stderr",
		"logging_collector=off",
		"ssl=off",
	} {
		args = append(args, "-c", setting)
	}
	return args
}

// clearStale removes what a server that was killed left behind. We hold the lock
// of the directory, so no server of ours is alive; but the pid it wrote may belong
// to a stranger by now, at which Postgres would refuse to start.
func clearStale(base, run string) error {
	b, err := os.ReadFile(postgresPIDFile(base))
	if err == nil && !runsPostgres(b) {
		err = os.Remove(postgresPIDFile(base))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear a stale postmaster.pid: %w", err)
	}
	if run == "" {
		return nil
	}
	names, err := filepath.Glob(filepath.Join(run, ".s.PGSQL.*"))
	if err != nil {
		return fmt.Errorf("clear stale sockets: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("clear a stale socket: %w", err)
		}
	}
	return nil
}

// runsPostgres reports whether the process named by a postmaster.pid may be a
// Postgres, started by hand in our directory: then Postgres shall decide.
func runsPostgres(pidFile []byte) bool {
	first, _, _ := strings.Cut(string(pidFile), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || !alive(pid) {
		return false
	}
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return true // no /proc to ask
	}
	return strings.HasPrefix(string(comm), "postgres")
}

// postmasterReady reads what Postgres itself writes for pg_ctl: line 1 is the pid,
// line 8 the status. A server of somebody else on our port cannot be taken for it.
func postmasterReady(base string, pid int) bool {
	b, err := os.ReadFile(postgresPIDFile(base))
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

func ensureDatabase(ctx context.Context, port int) (err error) {
	conn, err := pgx.Connect(ctx, databaseURL(port, "postgres"))
	if err != nil {
		return fmt.Errorf("connect to the new PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, databaseName).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", databaseName, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+databaseName); err != nil {
		return fmt.Errorf("create database %s: %w", databaseName, err)
	}
	return nil
}
