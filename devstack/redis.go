package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func redisDir(base string) string     { return filepath.Join(base, "redis") }
func redisPIDFile(base string) string { return filepath.Join(redisDir(base), "redis.pid") }

func redisURL(port int) string { return "redis://" + loopback + ":" + strconv.Itoa(port) + "/0" }

func (s *Stack) firstRedis(ctx context.Context, bin redisBinary) error {
	if bin.path == "" {
		return s.startInProcess()
	}
	dir := redisDir(s.Dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory of Redis: %w", err)
	}
	if err := s.account.own(dir); err != nil {
		return fmt.Errorf("make the data directory of Redis: %w", err)
	}
	r := &server{
		name: "Redis", logPath: filepath.Join(s.Dir, "redis.log"), log: s.log, failed: s.failed,
		prepare: func() error { return nil },
		command: func(port int, log *os.File) command {
			return command{path: bin.path, args: redisArgs(s.Dir, port), dir: dir, account: s.account, death: sigTerm, log: log, lock: s.lock}
		},
		ready: redisReady,
	}
	if err := os.Truncate(r.logPath, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("empty the log of Redis: %w", err)
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.redis = r
	s.mu.Unlock()
	s.RedisURL = redisURL(r.port)
	s.RedisFrom = fmt.Sprintf("%s (%s), data in %s", bin.version, bin.path, dir)
	s.log.Info("server ready", "server", r.name, "version", bin.version, "port", r.port, "data", dir)
	return nil
}

func redisArgs(base string, port int) []string {
	return []string{
		"--bind", loopback,
		"--port", strconv.Itoa(port),
		"--daemonize", "no",
		"--dir", redisDir(base),
		"--pidfile", redisPIDFile(base),
		"--maxmemory-policy", "noeviction",
		"--appendonly", "yes",
		"--appendfsync", "everysec",
		"--save", "",
	}
}

// emptyRedisDir removes what Redis had written.
func emptyRedisDir(base string) error {
	entries, err := os.ReadDir(redisDir(base))
	if err != nil {
		return fmt.Errorf("empty the data directory of Redis: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(redisDir(base), e.Name())); err != nil {
			return fmt.Errorf("empty the data directory of Redis: %w", err)
		}
	}
	return nil
}

// redisReady reports whether the Redis on port is the process pid (another test's
// Redis may have got the port first) and has loaded its data.
func redisReady(ctx context.Context, pid, port int) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	defer conn.Close()
	// Short: on a port that is not ours, whoever listens may never answer.
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return false
	}
	if _, err := io.WriteString(conn, "INFO server\r\nPING\r\n"); err != nil {
		return false
	}
	r := bufio.NewReader(conn)
	ours := false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		switch line = strings.TrimSpace(line); {
		case line == "process_id:"+strconv.Itoa(pid):
			ours = true
		case strings.HasPrefix(line, "+PONG"):
			return ours
		case strings.HasPrefix(line, "-"):
			return false // LOADING, most likely
		}
	}
}

// inProcessRedis is the imitation. It has no clock of its own: keys expire only
// because a goroutine moves its time along.
type inProcessRedis struct {
	redis *miniredis.Miniredis
	quit  chan struct{}
	done  sync.WaitGroup
}

const inProcessTick = 100 * time.Millisecond

func (s *Stack) startInProcess() error {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(net.JoinHostPort(loopback, "0")); err != nil {
		return fmt.Errorf("start the in-process Redis: %w", err)
	}
	p := &inProcessRedis{redis: m, quit: make(chan struct{})}
	p.done.Go(p.run)
	s.mu.Lock()
	s.inProc = p
	s.mu.Unlock()
	s.RedisURL = "redis://" + m.Addr() + "/0"
	s.RedisFrom = "an imitation inside this process (no redis-server found): slower, and it forgets everything when this process ends"
	s.log.Warn("no Redis found, using an imitation inside this process", "keeps_data", false)
	return nil
}

func (p *inProcessRedis) run() {
	tick := time.NewTicker(inProcessTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-p.quit:
			return
		case now := <-tick.C:
			p.redis.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (p *inProcessRedis) stop() {
	close(p.quit)
	p.done.Wait()
	p.redis.Close()
}
