//go:build unix

package devstack_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/devstack"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
)

// parentEnv makes this test binary a parent that starts a stack in the directory
// it names, writes its addresses, and waits to be killed.
const parentEnv = "DEVSTACK_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentEnv); dir != "" {
		os.Exit(parent(dir))
	}
	os.Exit(devstacktest.Main(m))
}

func parent(dir string) int {
	s, err := devstack.Start(context.Background(), devstack.Options{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.DatabaseURL)
	fmt.Println(s.RedisURL)
	select {}
}

// pidOf reads the first line of a pid file.
func pidOf(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read a pid: %v", err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		t.Fatalf("read a pid from %s: %v", path, err)
	}
	return pid
}

func refuses(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}

func TestChildrenEndWithKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a parent-death signal")
	}
	dir := dataDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var addresses []string
	for len(addresses) < 2 && lines.Scan() {
		addresses = append(addresses, lines.Text())
	}
	if len(addresses) < 2 {
		_ = cmd.Process.Kill()
		t.Fatalf("the parent ended early: %v", cmd.Wait())
	}
	sql(t, &devstack.Stack{DatabaseURL: addresses[0]}, "CREATE TABLE committed (v text)")
	set(t, &devstack.Stack{RedisURL: addresses[1]}, "acknowledged")

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the parent ended by itself, want killed")
	}
	// No wait here: this start has to hold off until the old servers are gone.
	s := start(t, devstack.Options{Dir: dir})
	for _, a := range addresses {
		if a != s.DatabaseURL && a != s.RedisURL && !refuses(a) {
			t.Errorf("%s still answers after its parent was killed", a)
		}
	}
	if got := sql(t, s, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'committed'"); got != "1" {
		t.Error("what was committed before the kill is gone")
	}
	if n := keys(t, s); n != 1 {
		t.Errorf("keys = %d, want the 1 acknowledged before the kill", n)
	}
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("was not properly shut down")) {
		t.Errorf("Postgres had to recover, so it was not interrupted but killed:\n%s", log)
	}
}

func TestServersAreOutsideOurProcessGroup(t *testing.T) {
	s := start(t, devstack.Options{})
	for _, name := range []string{"postgres/postmaster.pid", "redis/redis.pid"} {
		group, err := syscall.Getpgid(pidOf(t, filepath.Join(s.Dir, name)))
		if err != nil {
			t.Fatalf("process group: %v", err)
		}
		if group == syscall.Getpgrp() {
			t.Errorf("%s: a Ctrl-C in the terminal would reach this server before its clients are done", name)
		}
	}
}

func TestServerThatEndsByItselfIsReported(t *testing.T) {
	var log bytes.Buffer
	s := start(t, devstack.Options{NoPostgres: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := syscall.Kill(pidOf(t, filepath.Join(s.Dir, "redis/redis.pid")), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.Failed():
		if !strings.Contains(err.Error(), "Redis ended by itself") {
			t.Errorf("error = %v", err)
		}
	case <-time.After(wait):
		t.Fatal("nothing was reported")
	}
	if err := s.StartRedis(t.Context()); err != nil {
		t.Fatalf("StartRedis after a failure: %v", err)
	}
	set(t, s, "k")
}

func TestPausedRedisAnswersLater(t *testing.T) {
	s := start(t, devstack.Options{NoPostgres: true})
	c := redisClient(t, s)
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.PauseRedis(); err != nil {
		t.Fatalf("PauseRedis: %v", err)
	}
	o := *c.Options()
	o.ReadTimeout, o.MaxRetries = 100*time.Millisecond, -1
	impatient := redis.NewClient(&o)
	defer impatient.Close()
	if err := impatient.Ping(t.Context()).Err(); err == nil {
		t.Error("a paused Redis answered")
	}
	if err := s.ResumeRedis(); err != nil {
		t.Fatalf("ResumeRedis: %v", err)
	}
	eventually(t, "Redis answers again", func() bool { return c.Ping(t.Context()).Err() == nil })
	if err := s.PauseRedis(); err != nil {
		t.Fatalf("PauseRedis: %v", err)
	}
	if err := s.StopRedis(t.Context(), false); err != nil {
		t.Errorf("StopRedis of a paused Redis: %v", err)
	}
}

// After a crash of the machine the pid in the file may be anybody's.
func TestStalePostmasterPID(t *testing.T) {
	dir := dataDir(t)
	first := start(t, devstack.Options{Dir: dir, NoRedis: true})
	sql(t, first, "CREATE TABLE kept (v text)")
	file := filepath.Join(dir, "postgres", "postmaster.pid")
	stale, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, first)
	// Process 1 is alive and is no Postgres.
	_, rest, _ := bytes.Cut(stale, []byte("\n"))
	if err := os.WriteFile(file, append([]byte("1\n"), rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, devstack.Options{Dir: dir, NoRedis: true})
	if got := sql(t, s, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'kept'"); got != "1" {
		t.Error("the data is gone")
	}
}

func TestRootGetsAReachableDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root runs the servers as somebody else")
	}
	asked := filepath.Join(t.TempDir(), "data") // the parent of t.TempDir is 0700
	var log bytes.Buffer
	o := devstack.Options{Dir: asked, NoRedis: true, Log: slog.New(slog.NewTextHandler(&log, nil))}
	s := start(t, o)
	t.Cleanup(func() {
		stop(t, s)
		if err := os.RemoveAll(s.Dir); err != nil {
			t.Error(err)
		}
	})
	if s.Dir == asked {
		t.Skip("the servers' user can enter the tests' temporary directory here")
	}
	if !strings.Contains(log.String(), asked) || !strings.Contains(log.String(), s.Dir) {
		t.Errorf("the log names not both directories:\n%s", log.String())
	}
	sql(t, s, "CREATE TABLE kept (v text)")
	stop(t, s)
	again := start(t, o)
	if again.Dir != s.Dir {
		t.Errorf("the same Dir led to %s, then to %s", s.Dir, again.Dir)
	}
	if got := sql(t, again, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'kept'"); got != "1" {
		t.Error("the data is gone")
	}
	stop(t, again)
	if err := os.Chmod(s.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := devstack.Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "only this user can write") {
		t.Errorf("a stand-in that everybody can write to: error = %v, want a refusal", err)
	}
}

// A cancelled start must leave neither processes nor directories, whenever the
// cancel comes: before initdb, in it, or while the server starts.
func TestCancelledStartLeavesNothing(t *testing.T) {
	for _, after := range []string{"", "postgres.new/PG_VERSION", "postgres.new/global", "postgres.new/base/1/PG_VERSION", "postgres.log"} {
		t.Run("after "+after, func(t *testing.T) {
			parent := filepath.Dir(dataDir(t))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if after == "" {
				cancel()
			}
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					if found, err := filepath.Glob(filepath.Join(parent, "ephemeral-*", after)); err != nil || len(found) > 0 {
						cancel()
					}
					<-tick.C
				}
			}()
			s, err := devstack.Start(ctx, devstack.Options{Dir: parent, Ephemeral: true, NoRedis: true})
			cancel()
			<-watched
			if err == nil { // it was faster than the cancel
				stop(t, s)
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("error = %v, want context.Canceled", err)
			}
			left, err := os.ReadDir(parent)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
