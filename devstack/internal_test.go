package devstack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPostgresDirsNewestFirst(t *testing.T) {
	s := Search{
		LookPath: func(string) (string, error) { return "", os.ErrNotExist },
		Getenv:   func(string) string { return "/given" },
		Glob: func(pattern string) ([]string, error) {
			if strings.HasPrefix(pattern, "/usr/lib/") {
				return []string{"/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/17/bin"}, nil
			}
			return nil, nil
		},
	}
	want := []string{"/given", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin"}
	if diff := cmp.Diff(want, s.postgresDirs()); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
}

func TestPostgresOnPathResolvesLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	for _, d := range []string{real, link} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(real, "postgres"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(link, "postgres")); err != nil {
		t.Fatal(err)
	}
	s := Search{
		LookPath: func(string) (string, error) { return filepath.Join(link, "postgres"), nil },
		Glob:     func(string) ([]string, error) { return nil, nil },
		Getenv:   func(string) string { return "" },
	}
	if diff := cmp.Diff([]string{real, link}, s.postgresDirs()); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
}

func TestPortTakenIsToldApart(t *testing.T) {
	acc, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := Search{}.redis(t.Context(), acc)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	r := &server{
		name: "Redis", logPath: filepath.Join(dir, "redis.log"),
		prepare: func() error { return nil },
		command: func(port int, log *os.File) command {
			args := []string{"--bind", loopback, "--port", fmt.Sprint(port), "--save", ""}
			return command{path: bin.path, args: args, dir: "/", account: acc, death: sigTerm, log: log}
		},
		ready: redisReady,
	}
	taken, err := r.startOn(t.Context(), l.Addr().(*net.TCPAddr).Port)
	if err == nil || !taken {
		t.Errorf("taken = %t, error = %v; want true and an error", taken, err)
	}
}

func TestSweepRemovesOnlyTheDead(t *testing.T) {
	parent := t.TempDir()
	old := time.Now().Add(-2 * sweepAge)
	mkdir := func(name string, age time.Time) string {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, "lock"), age, age); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dead := mkdir(tempPrefix+"dead", old)
	young := mkdir(tempPrefix+"young", time.Now())
	lasting := mkdir(standInPrefix+"lasting", old)
	living := mkdir(tempPrefix+"living", old)
	lock, err := lockDir(t.Context(), living)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.Chtimes(filepath.Join(living, "lock"), old, old); err != nil {
		t.Fatal(err)
	}

	sweep(parent, tempPrefix)
	for dir, want := range map[string]bool{dead: false, young: true, lasting: true, living: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: there = %t, want %t", filepath.Base(dir), err == nil, want)
		}
	}
}
