package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/capstan-pay/capstan/cmd/capstan/bench"
	"github.com/capstan-pay/capstan/config"
)

//go:embed bench_ledger.sql
var benchLedgerSQL string

// benchPeers is the program that the module in bench/ builds.
const benchPeers = "capstan-peers"

// runBench measures and prints. A missed target is no failure; a run whose rows
// are not as they must be is one.
func runBench(ctx context.Context, c config.Bench, stdout, stderr io.Writer, log *slog.Logger) error {
	if len(c.Cases) == 1 && c.Cases[0] == "list" {
		return listCases(stdout)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to run the cases in: %w", err)
	}
	peers, err := findPeers(c.Peers, self)
	if err != nil {
		return err
	}
	if len(peers) == 0 {
		fmt.Fprintf(stderr, "The peers are not here, so that no ratio to them is measured: naive, River. `make bench` builds them, or name their program with --peers.\n")
	}
	tuning := bench.TuneBatched
	if c.Tune {
		tuning = bench.TuneAll
	}
	result, err := bench.Run(ctx, bench.Options{
		Captures: c.Captures, Reps: c.Reps, Cases: c.Cases, MemoryCaptures: c.Memory, Samples: c.Samples, Quiet: c.Quiet,
		Ledger: c.Ledger, LedgerSQL: benchLedgerSQL, Tune: tuning, Audit: !c.NoAudit, Data: c.Data, Profile: c.Profile,
		Self: []string{self, "bench-child"}, Peers: peers, Out: stderr, Log: slog.New(&levelHandler{log.Handler()}),
	})
	if errors.Is(err, bench.ErrUnproven) {
		fmt.Fprintf(stderr, "capstan bench: %v\n", err)
		return errFailed
	}
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	return result.Print(stdout)
}

// findPeers returns the peers' program, or nothing when none was asked for and
// none is beside this program.
func findPeers(asked, self string) ([]string, error) {
	name := benchPeers
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := asked
	if path == "" {
		path = filepath.Join(filepath.Dir(self), name)
	}
	_, err := os.Stat(path)
	if err == nil {
		return []string{path}, nil
	}
	if asked == "" && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return nil, fmt.Errorf("find the peers' program: %w; `make bench` builds it", err)
}

func listCases(out io.Writer) error {
	for _, c := range bench.Cases() {
		if _, err := fmt.Fprintf(out, "%-15s %s\n", c.Name, strings.TrimSpace(c.About)); err != nil {
			return err
		}
	}
	return nil
}
