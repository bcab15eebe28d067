package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// command is one program to run as a child.
type command struct {
	path    string
	args    []string
	dir     string
	account account
	death   syscall.Signal // sent to the child when we die
	log     *os.File       // standard output and error; nil = collected by run
	lock    *os.File       // inherited, so that the lock lasts as long as the child
}

// child is a server process. Its methods may be called from several goroutines.
type child struct {
	process *os.Process
	done    chan struct{} // closed when the process has ended
	err     error         // how it ended; read after done
}

// environ is all that a server gets to see: its behaviour must not depend on
// PGPORT, PGDATA, LANG and the like of whoever started us.
func environ(dir string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (c command) build() *exec.Cmd {
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir = c.dir
	cmd.Env = environ(c.dir)
	cmd.SysProcAttr = c.account.attributes(c.death)
	if c.log != nil {
		cmd.Stdout, cmd.Stderr = c.log, c.log
	}
	if c.lock != nil {
		cmd.ExtraFiles = []*os.File{c.lock}
	}
	return cmd
}

// start starts the program and returns once it runs.
func (c command) start() (*child, error) {
	ch := &child{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent-death signal is sent when this thread ends, not the process:
		// the thread has to wait here until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := c.build()
		err := cmd.Start()
		ch.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		ch.err = cmd.Wait()
		close(ch.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s as %s: %w", c.path, c.account.name, err)
	}
	return ch, nil
}

// run runs the program to its end; its output is returned, and part of the error.
func (c command) run(ctx context.Context) (string, error) {
	type result struct {
		out string
		err error
	}
	results := make(chan result, 1)
	processes := make(chan *os.Process, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var out bytes.Buffer
		cmd := c.build()
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Start()
		processes <- cmd.Process
		if err == nil {
			err = cmd.Wait()
		}
		results <- result{out.String(), err}
	}()
	process := <-processes
	var r result
	select {
	case r = <-results:
	case <-ctx.Done():
		if process != nil {
			killGroup(process) // initdb has a child of its own
		}
		r = <-results
		r.err = ctx.Err()
	}
	if r.err != nil {
		return r.out, fmt.Errorf("run %s as %s: %w%s", c.path, c.account.name, r.err, indent(lastLines(r.out, 10)))
	}
	return r.out, nil
}

// stop sends s and waits for the end. When ctx ends first, the child is killed
// and the error says so.
func (c *child) stop(ctx context.Context, s syscall.Signal) error {
	if err := c.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	_ = c.process.Kill()
	<-c.done
	return fmt.Errorf("it did not end on %s in time and was killed: %w", s, ctx.Err())
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// lastLines returns at most n lines from the end of s.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// indent sets s off as a block below an error message.
func indent(s string) string {
	if s == "" {
		return ""
	}
	return "\n    " + strings.ReplaceAll(s, "\n", "\n    ")
}

// logTail is the end of a server's log file, for an error message.
func logTail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return indent(lastLines(string(b), 10))
}
