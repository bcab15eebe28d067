package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	loopback    = "127.0.0.1"
	pollEvery   = 5 * time.Millisecond
	portTries   = 20
	portRetry   = 50 * time.Millisecond
	startLimit  = 90 * time.Second // crash recovery of a large cluster included
	stopDefault = 30 * time.Second
)

// server is one server program: how to start it, and the child that runs it now.
// The Stack's mutex guards it.
type server struct {
	name    string // "PostgreSQL", "Redis"
	logPath string
	log     *slog.Logger
	failed  chan<- error

	prepare func() error                                  // before every start
	command func(port int, log *os.File) command          // the program
	ready   func(ctx context.Context, pid, port int) bool // polled until true

	port     int // 0 until the first start succeeded; then fixed, since clients know it
	child    *child
	expected chan struct{} // closed when the child is being stopped by us
}

// start starts the server and waits until it is ready. The port is taken between
// our choice and the server's bind now and then, so that case is tried again.
func (s *server) start(ctx context.Context) error {
	if s.child != nil && !s.child.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for try := 1; ; try++ {
		port := s.port
		if port == 0 {
			var err error
			if port, err = freePort(); err != nil {
				return err
			}
		}
		taken, err := s.startOn(ctx, port)
		if err == nil {
			s.port = port
			return nil
		}
		if !taken || try == portTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(portRetry):
		}
	}
}

// startOn starts the server on one port; taken says that another program has it.
func (s *server) startOn(ctx context.Context, port int) (taken bool, err error) {
	if err := s.prepare(); err != nil {
		return false, err
	}
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return false, fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	defer log.Close() // the child has its own copy
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return false, fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	ch, err := s.command(port, log).start()
	if err != nil {
		return false, err
	}
	if err := s.waitReady(ctx, ch, port); err != nil {
		return addressInUse(s.logPath, before), err
	}
	s.child, s.expected = ch, make(chan struct{})
	go watch(s.name, s.logPath, ch, s.expected, s.log, s.failed)
	return false, nil
}

func (s *server) waitReady(ctx context.Context, ch *child, port int) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !s.ready(ctx, ch.process.Pid, port) {
		if ch.ended() {
			return fmt.Errorf("start %s: it ended at once: %w%s", s.name, ch.err, logTail(s.logPath))
		}
		select {
		case <-ctx.Done():
			_ = ch.process.Kill()
			<-ch.done
			return fmt.Errorf("start %s: it was not ready in time: %w%s", s.name, ctx.Err(), logTail(s.logPath))
		case <-tick.C:
		}
	}
	return nil
}

// watch reports a server that ends without being told to.
func watch(name, logPath string, ch *child, expected <-chan struct{}, log *slog.Logger, failed chan<- error) {
	select {
	case <-expected:
		return
	case <-ch.done:
	}
	select {
	case <-expected: // both at once: it was told to
		return
	default:
	}
	err := fmt.Errorf("%s ended by itself: %v%s", name, ch.err, logTail(logPath))
	log.Error("server ended", "server", name, "error", err)
	select {
	case failed <- err:
	default: // nobody reads, and earlier failures are in the channel already
	}
}

// stop ends the server. Stopping a stopped server does nothing.
func (s *server) stop(ctx context.Context, signal syscall.Signal) error {
	if s.child == nil {
		return nil
	}
	ch := s.child
	s.child = nil
	close(s.expected)
	if ch.ended() {
		return nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stopDefault)
		defer cancel()
	}
	if signal != sigKill {
		_ = ch.process.Signal(sigResume) // a paused process would never see the other one
	}
	if err := ch.stop(ctx, signal); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}

func (s *server) signal(signal syscall.Signal) error {
	if s.child == nil || s.child.ended() {
		return fmt.Errorf("signal %s: it does not run", s.name)
	}
	return s.child.process.Signal(signal)
}

// freePort finds a port that nobody listens on, below the range that the kernel
// uses for outgoing connections: while a server is stopped by a fault test, such a
// connection could otherwise take its port for good.
func freePort() (int, error) {
	const low, high = 15000, 32000
	var errs []error
	for range portTries {
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp4", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port on %s between %d and %d: %w", loopback, low, high, errors.Join(errs...))
}

// addressInUse reports whether the server complained about its port since offset.
func addressInUse(logPath string, offset int64) bool {
	f, err := os.Open(logPath)
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return false
	}
	b, err := io.ReadAll(f)
	return err == nil && strings.Contains(string(b), "Address already in use")
}
