package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/cmd/capstan/bench"
)

// prove runs the large tests at their full size: minutes instead of seconds.
var prove = flag.Bool("prove", false, "run the large tests at their full size")

// TestBench runs the product's own cases, small, as the command line does; with
// -prove all of them. Every row of each is verified and its ledger audited; how
// fast they are is not asked.
func TestBench(t *testing.T) {
	t.Parallel()
	cases, measured := "capstan,capstan-10%,latency,idle,memory", 2
	if *prove {
		cases, measured = "capstan,capstan-single,ceiling,capstan-10%,sandbox,capstan-large,sweep,sweep-large,latency,idle,memory", 8
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := program(ctx, t, nil, "bench", "--json", "--captures", "200", "--reps", "1", "--samples", "10", "--quiet", "1s", "--memory", "300", "--ledger", "200",
		"--data", t.TempDir(), "--cases", cases)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	var result bench.Result
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	if len(result.Cases) != measured || result.Latency == nil || result.Latency.P50 <= 0 || result.Latency.UnitP50 <= 0 || result.Idle == nil || len(result.Memory) != 10 {
		t.Errorf("not everything was measured:\n%s", out.String())
	}
}

// TestBenchEndsOnCtrlC: neither servers, nor children, nor data are left.
func TestBenchEndsOnCtrlC(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := &process{Cmd: program(context.Background(), t, nil, "bench", "--captures", "100", "--reps", "1", "--quiet", "10m", "--cases", "idle", "--data", data)}
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child watches", func() bool { return bytes.Contains([]byte(p.logged()), []byte("watching an idle worker")) })
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	if status := p.ProcessState.ExitCode(); status != exitInterrupted {
		t.Errorf("status %d, not %d:\n%s", status, exitInterrupted, tail(p.logged()))
	}
	left, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left of the data", entry.Name())
	}
}
