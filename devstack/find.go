package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled is part of the error of Start when a server's binary is not on
// this machine. The text of that error ends with the line to run.
var ErrNotInstalled = errors.New("not installed on this machine")

// oldestPostgres is the oldest major version that Capstan's migrations run on.
const oldestPostgres = 13

// Search is how binaries are found. The zero value searches this machine; tests
// replace the functions to make a machine on which something is missing.
type Search struct {
	LookPath func(file string) (string, error)      // nil = exec.LookPath
	Glob     func(pattern string) ([]string, error) // nil = filepath.Glob
	Getenv   func(name string) string               // nil = os.Getenv; asked for PG_BIN
}

func (s Search) lookPath(file string) (string, error) {
	if s.LookPath != nil {
		return s.LookPath(file)
	}
	return exec.LookPath(file)
}

func (s Search) getenv(name string) string {
	if s.Getenv != nil {
		return s.Getenv(name)
	}
	return os.Getenv(name)
}

func (s Search) glob(pattern string) []string {
	find := s.Glob
	if find == nil {
		find = filepath.Glob
	}
	names, err := find(pattern)
	if err != nil {
		return nil // only for a malformed pattern, and ours are constants
	}
	return names
}

// postgresGlobs are the usual places, apart from PATH.
var postgresGlobs = []string{
	"/usr/lib/postgresql/*/bin",                      // Debian, Ubuntu
	"/usr/pgsql-*/bin",                               // Red Hat
	"/usr/libexec/postgresql*",                       // Alpine
	"/opt/homebrew/opt/postgresql*/bin",              // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",                 // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// postgresBinaries is an installed version.
type postgresBinaries struct {
	dir     string
	major   int
	version string // "15.18"
}

func (p postgresBinaries) path(name string) string { return filepath.Join(p.dir, name) }

// postgresDirs lists the directories to look into, best first.
func (s Search) postgresDirs() []string {
	var dirs []string
	if pgBin := s.getenv("PG_BIN"); pgBin != "" {
		dirs = append(dirs, pgBin)
	}
	if found, err := s.lookPath("postgres"); err == nil {
		// initdb is next to the real file, not next to a link to it.
		if real, err := filepath.EvalSymlinks(found); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
		dirs = append(dirs, filepath.Dir(found))
	}
	for _, pattern := range postgresGlobs {
		names := s.glob(pattern)
		slices.SortFunc(names, func(a, b string) int { return lastNumber(b) - lastNumber(a) })
		dirs = append(dirs, names...)
	}
	var unique []string
	for _, d := range dirs {
		if !slices.Contains(unique, d) {
			unique = append(unique, d)
		}
	}
	return unique
}

var digits = regexp.MustCompile(`\d+`)

// lastNumber orders directories by the version in their name: 16 is after 9.
func lastNumber(path string) int {
	all := digits.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1])
	if err != nil {
		return 0
	}
	return n
}

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// postgres finds the binaries to use: the first that run as the account, or, when
// wantMajor is not 0, the first of that major version.
func (s Search) postgres(ctx context.Context, acc account, wantMajor int) (postgresBinaries, error) {
	var passed []string
	for _, dir := range s.postgresDirs() {
		p, err := probePostgres(ctx, dir, acc)
		switch {
		case err != nil:
			if ctx.Err() != nil {
				return postgresBinaries{}, ctx.Err()
			}
			passed = append(passed, fmt.Sprintf("%s: %v", dir, err))
		case p.major < oldestPostgres:
			passed = append(passed, fmt.Sprintf("%s: version %s is older than %d", dir, p.version, oldestPostgres))
		case wantMajor != 0 && p.major != wantMajor:
			passed = append(passed, fmt.Sprintf("%s: version %s, but the data directory was made by %d", dir, p.version, wantMajor))
		default:
			return p, nil
		}
	}
	if len(passed) > 0 {
		return postgresBinaries{}, fmt.Errorf("PostgreSQL: no usable binaries: %s: %w", strings.Join(passed, "; "), ErrNotInstalled)
	}
	return postgresBinaries{}, fmt.Errorf("PostgreSQL is %w: looked into $PG_BIN, PATH, /usr/lib/postgresql/*/bin, Homebrew and Postgres.app",
		ErrNotInstalled)
}

func probePostgres(ctx context.Context, dir string, acc account) (postgresBinaries, error) {
	var p postgresBinaries
	for _, name := range []string{"initdb", "postgres"} {
		// Run as the account that will need it: a directory under /root is no use.
		out, err := command{path: filepath.Join(dir, name), args: []string{"--version"}, dir: "/", account: acc, death: sigTerm}.run(ctx)
		if err != nil {
			return p, err
		}
		m := postgresVersion.FindStringSubmatch(out)
		if m == nil {
			return p, fmt.Errorf("%s --version answered %q", name, lastLines(out, 1))
		}
		major, err := strconv.Atoi(m[2])
		if err != nil {
			return p, fmt.Errorf("%s --version: %w", name, err)
		}
		p = postgresBinaries{dir: dir, major: major, version: m[1]}
	}
	return p, nil
}

// redisBinary is an installed Redis or Valkey.
type redisBinary struct {
	path    string
	version string // "redis-server 7.0.15"
}

var redisVersion = regexp.MustCompile(`\bv=(\S+)`)

func (s Search) redis(ctx context.Context, acc account) (redisBinary, error) {
	var passed []string
	for _, name := range []string{"redis-server", "valkey-server"} {
		path, err := s.lookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			continue
		}
		out, err := command{path: path, args: []string{"--version"}, dir: "/", account: acc, death: sigTerm}.run(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return redisBinary{}, ctx.Err()
			}
			passed = append(passed, err.Error())
			continue
		}
		version := name
		if m := redisVersion.FindStringSubmatch(out); m != nil {
			version += " " + m[1]
		}
		return redisBinary{path: path, version: version}, nil
	}
	if len(passed) > 0 {
		return redisBinary{}, fmt.Errorf("Redis: %s: %w", strings.Join(passed, "; "), ErrNotInstalled)
	}
	return redisBinary{}, fmt.Errorf("Redis is %w: looked for redis-server and valkey-server on PATH", ErrNotInstalled)
}

// InstallLine is the one line that installs both servers on a machine like this
// one; it is what Start's error and `make deps` say.
func (s Search) InstallLine() string {
	const (
		apt  = "sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql redis-server"
		brew = "brew install postgresql@17 redis"
	)
	if _, err := s.lookPath("apt-get"); err == nil {
		return apt
	}
	if _, err := s.lookPath("brew"); err == nil || runtime.GOOS == "darwin" {
		return brew
	}
	return apt + "   # Debian, Ubuntu\n    " + brew + "   # Homebrew"
}
