package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/cmd/capstan/bench"
	"github.com/capstan-pay/capstan/devstack/meter"
)

// asProgram makes the test binary behave as the peers' program.
const asProgram = "CAPSTAN_TEST_AS_PEERS"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestPeersWriteALedgerThatAudits: a ratio to a peer means something only when
// the peer does the same work. Every row is verified and the ledger audited.
func TestPeersWriteALedgerThatAudits(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	result, err := bench.Run(ctx, bench.Options{
		Captures: 200, Reps: 1, Cases: []string{"naive", "naive-pgx", "river", "river-batched", "naive-10%"}, Audit: true, Tune: bench.TuneNone,
		Self: []string{self}, Peers: []string{self}, Out: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Cases) != 5 {
		t.Errorf("%d cases were measured, not 5", len(result.Cases))
	}
	for _, c := range result.Cases {
		if c.PerSecond.Median <= 0 || c.Settings == "" {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
}

func TestUnknownPeer(t *testing.T) {
	if _, err := run(t.Context(), meter.Job{Case: "sidekiq"}); err == nil {
		t.Error("an unknown peer ran")
	}
}
