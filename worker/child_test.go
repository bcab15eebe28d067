package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// childVariable holds the orders of a worker process that a test starts: this
// same binary.
const childVariable = "CAPSTAN_WORKER_UNDER_TEST"

// orders says what a worker process works on, and where a signal meets it.
type orders struct {
	Database, Redis, Gateway, Name string
	Scale                          int
	// Step and Nth: at the n-th arrival there, the process sends itself Signal.
	Step   worker.Step
	Nth    int64
	Signal syscall.Signal
}

// child is a worker process: the real server on the real queue. It ends with
// its parent, whose end of the pipe closes.
func child(config string) int {
	var o orders
	if err := json.Unmarshal([]byte(config), &o); err != nil {
		fmt.Fprintln(os.Stderr, "read the orders:", err)
		return 2
	}
	if err := serveChild(o); err != nil {
		fmt.Fprintln(os.Stderr, "worker process:", err)
		return 2
	}
	return 0
}

func serveChild(o orders) error {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	at := models.Tempo{Scale: o.Scale}
	s, err := store.Open(ctx, o.Database, store.Options{Tempo: at, MaxConns: 3})
	if err != nil {
		return err
	}
	options, err := redis.ParseURL(o.Redis)
	if err != nil {
		return err
	}
	var arrived atomic.Int64
	woken := make(chan os.Signal, 1)
	signal.Notify(woken, syscall.SIGCONT)
	runner := worker.NewRunner(worker.RunnerConfig{
		Store: s, Accounts: gateway.Accounts{account: newAdapter(o.Gateway, at, log)}, Name: o.Name, Log: log,
		AtStep: func(at worker.Step) {
			if at == o.Step && arrived.Add(1) == o.Nth {
				_ = syscall.Kill(os.Getpid(), o.Signal)
				<-woken // the signal is on its way: go no further before it was met
			}
		},
	})
	server := worker.NewServer(worker.Config{
		Runner: runner, Redis: redis.NewClient(options), Connect: func() redis.UniversalClient { return redis.NewClient(options) }, Concurrency: 2, SweepEvery: sweepEvery, CancelAfter: time.Second, PollEvery: pollEvery,
		Deliverer: worker.NewDeliverer(s, nil, time.Now), Metrics: worker.NewMetrics(prometheus.NewRegistry()), Now: time.Now, Log: log,
	})
	if err := server.Start(ctx); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Shutdown()
	return nil
}

// process is a worker in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	err   error
}

// spawn starts a worker process. It ends with the test.
func (w *world) spawn(t testing.TB, o orders) *process {
	t.Helper()
	o.Database, o.Redis, o.Gateway, o.Scale = w.databaseURL, w.redisURL, w.front.url(), w.store.Tempo().Scale
	if o.Name == "" {
		o.Name = "victim"
	}
	config, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), childVariable+"="+string(config))
	cmd.Stderr = t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start a worker process: %v", err)
	}
	p := &process{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process with SIGKILL, if it still runs, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// quit asks the process to stop in order, and waits for it.
func (p *process) quit() {
	_ = p.stdin.Close()
	<-p.ended
}

// died waits until the process has killed itself.
func (p *process) died(t testing.TB) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		t.Fatalf("the worker process never came to its step")
	}
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		t.Fatalf("the worker process ended with %v, want a signal", p.err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the worker process ended with %v, want killed", p.err)
	}
}
