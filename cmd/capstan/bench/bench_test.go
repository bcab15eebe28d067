package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/devstack/meter"
)

func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }

// TestSeedIsAsApprovalLeavesIt: the ledger that the runs begin with holds every
// invariant, and the work that nobody did is not taken for done.
func TestSeedIsAsApprovalLeavesIt(t *testing.T) {
	target := devstacktest.NewDatabase(t, migrate)
	if err := seed(t.Context(), target, template{captures: 50}); err != nil {
		t.Fatal(err)
	}
	if err := audit(t.Context(), target, Case{Name: "seed"}); err != nil {
		t.Error(err)
	}
	first, err := firstCapture(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	err = verify(t.Context(), target, Case{Name: "nobody"}, 50, first, meter.Report{})
	if !errors.Is(err, ErrUnproven) || !strings.Contains(err.Error(), "captures succeeded: 0, not 50") || !strings.Contains(err.Error(), "open work: 50, not 0") {
		t.Errorf("a run that did nothing: %v", err)
	}
}

func TestSeedOfOrders(t *testing.T) {
	target := devstacktest.NewDatabase(t, migrate)
	if err := seed(t.Context(), target, template{orders: true, captures: 20}); err != nil {
		t.Fatal(err)
	}
	if err := audit(t.Context(), target, Case{Name: "orders"}); err != nil {
		t.Error(err)
	}
	conn, err := pgx.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM orders WHERE payment_status = 'authorized' AND status = 'pending'").Scan(&n); err != nil || n != 20 {
		t.Errorf("%d orders wait for their approval: %v", n, err)
	}
}

// figures is a result of two repetitions in which the machine was half as fast
// the second time.
func figures(t *testing.T) Result {
	t.Helper()
	r := Result{Reps: 2}
	cases := map[string]Case{}
	for _, c := range Cases() {
		cases[c.Name] = c
	}
	for rep, speed := range []float64{1, 2} {
		r.add(cases[caseCapstan], rep, 1000, meter.Report{Seconds: 0.05 * speed, CPU: meter.CPU{Go: 10_000, Redis: 1000, Postgres: meter.Unmeasured}})
		r.add(cases[caseNaive], rep, 1000, meter.Report{Seconds: speed})
		r.add(cases["capstan-10%"], rep, 1000, meter.Report{Seconds: 3, Waited: 2.5})
		r.add(cases["naive-10%"], rep, 1000, meter.Report{Seconds: 2, Waited: 0})
	}
	r.addOnce(cases[caseLatency], meter.Report{Samples: []float64{1, 2, 3, 4, 100}, Units: []float64{2, 2, 2}})
	r.addOnce(cases[caseIdle], meter.Report{Seconds: 10, CPU: meter.CPU{Go: 50_000, Redis: 20_000, Postgres: 1}})
	r.addOnce(cases[caseMemory], meter.Report{Memory: []meter.Memory{{Captures: 1, RSS: 50}, {Captures: 2, RSS: 100}, {Captures: 3, RSS: 100}, {Captures: 4, RSS: 120}, {Captures: 5, RSS: 140}}})
	r.finish(Cases())
	return r
}

func TestRatiosAreTakenInsideARepetition(t *testing.T) {
	r := figures(t)
	for _, s := range r.Cases {
		if s.Name != caseCapstan {
			continue
		}
		if s.ToNaive == nil || math.Abs(s.ToNaive.Min-20) > 1e-9 || math.Abs(s.ToNaive.Max-20) > 1e-9 {
			t.Errorf("ratio %+v, though the machine alone was slower", s.ToNaive)
		}
		if s.PerSecond.Min != 10_000 || s.PerSecond.Max != 20_000 || s.PerSecond.Median != 15_000 {
			t.Errorf("%+v", s.PerSecond)
		}
		if s.Micros.Go != 10 || s.Micros.Postgres != meter.Unmeasured {
			t.Errorf("%+v", s.Micros)
		}
	}
}

func TestTargets(t *testing.T) {
	r := figures(t)
	for _, want := range []struct {
		part     string
		measured float64 // below 0: not measured
		met      bool
	}{
		{"against the naive Asynq handler", 20, true},
		{"against River, tuned", -1, false},
		{"with 10 % failures", 4, false}, // the wait is left out: 0.5 s against 2 s
		{"p50 in three", 1.5, true},
		{"p99 in three", 50, false},
		{"idle worker", 0.7, true},
		{"resident memory", 1.3, false},
		{"in a large ledger against", -1, false},
	} {
		found := false
		for _, target := range r.Targets {
			if !strings.Contains(target.What, want.part) {
				continue
			}
			found = true
			if want.measured < 0 {
				if target.Measured != nil || target.Missing == "" || target.Met {
					t.Errorf("%s: %+v", want.part, target)
				}
				break
			}
			if target.Measured == nil || math.Abs(*target.Measured-want.measured) > 1e-9 || target.Met != want.met {
				t.Errorf("%s: %+v, want %g, met %t", want.part, target, want.measured, want.met)
			}
			break
		}
		if !found {
			t.Errorf("no target says %q", want.part)
		}
	}
}

func TestPrintAndJSON(t *testing.T) {
	r := figures(t)
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"15000 [10000-20000]", "20.00 [20.00-20.00]", "n/a", "met", "MISSED", "needs the cases capstan and river", "p99 100.0 ms", "in their favour"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Cases   []struct{ Name string }
		Targets []struct{ Met bool }
	}
	if err := json.Unmarshal(raw, &read); err != nil || len(read.Cases) != 4 || len(read.Targets) != len(r.Targets) {
		t.Errorf("%v %+v", err, read)
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		names        []string
		large, peers bool
		want         string
	}{
		{[]string{"idle", "capstan"}, false, false, "[idle capstan]"},
		{[]string{"naive", "capstan"}, false, false, "[capstan]"},
		{[]string{"naive", "capstan", "capstan-large"}, true, true, "[naive capstan capstan-large]"},
	} {
		cases, err := choose(tt.names, tt.large, tt.peers)
		var names []string
		for _, c := range cases {
			names = append(names, c.Name)
		}
		if got := fmt.Sprint(names); err != nil || got != tt.want {
			t.Errorf("%v: %s %v", tt.names, got, err)
		}
	}
	if _, err := choose([]string{"fast"}, true, true); err == nil || !strings.Contains(err.Error(), "capstan-single") {
		t.Errorf("an unknown case: %v", err)
	}
}
