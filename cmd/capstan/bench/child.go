package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/capstan-pay/capstan/devstack/meter"
)

// leaveGrace is how long a child that was told to stop may still take.
const leaveGrace = 10 * time.Second

// child prepares a program that speaks the protocol of package meter. Its
// standard input stays open for as long as it may live.
func child(ctx context.Context, program []string, stderr io.Writer) (*exec.Cmd, io.WriteCloser, error) {
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = leaveGrace
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", program[0], err)
	}
	return cmd, in, nil
}

// ask runs one job in a child process and returns its report.
func ask(ctx context.Context, program []string, job meter.Job) (meter.Report, error) {
	var report meter.Report
	var out, said bytes.Buffer
	cmd, in, err := child(ctx, program, &said)
	if err != nil {
		return report, err
	}
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return report, fmt.Errorf("start %s: %w", program[0], err)
	}
	writeErr := json.NewEncoder(in).Encode(job)
	waitErr := cmd.Wait() // closes the pipe, too
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, fmt.Errorf("case %s: the child gave no report (%v, %v): %s", job.Case, waitErr, writeErr, lastLines(said.String()))
	}
	if report.Error != "" {
		return report, fmt.Errorf("case %s: %s%s", job.Case, report.Error, lastLines(said.String()))
	}
	return report, nil
}

// lastLines is the end of what a child said, for an error.
func lastLines(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	if text := strings.Join(lines, "\n"); text != "" {
		return "\n" + text
	}
	return ""
}
