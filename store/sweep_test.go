package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// publish marks all work as told to Redis, as the relay does.
func (b bench) publish(t tester) []store.Publication {
	t.Helper()
	ps, err := b.Unpublished(context.Background(), 1000)
	must(t, err)
	must(t, b.MarkPublished(context.Background(), ps))
	return ps
}

// The sweep publishes again exactly what no living task can be working on.
func TestSweepRepublishesOnlyWhatIsOverdue(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for _, c := range []struct {
		name  string
		brew  func(t *testing.T, op models.Operation)
		again bool
	}{
		{"published and due a minute ago", func(t *testing.T, op models.Operation) { b.pass(t, 61*time.Second) }, true},
		{"published just now", func(t *testing.T, op models.Operation) {}, false},
		{"published and not due", func(t *testing.T, op models.Operation) {
			b.exec(t, `UPDATE captures SET next_at = now() + interval '1 hour' WHERE id = $1`, op.ID)
			b.exec(t, `UPDATE work SET due_at = now() + interval '1 hour' WHERE operation_id = $1`, op.ID)
			b.pass(t, 61*time.Second)
		}, false},
		{"due a moment ago, published long ago", func(t *testing.T, op models.Operation) {
			b.pass(t, 61*time.Second)
			b.exec(t, `UPDATE work SET due_at = now() - interval '9 seconds' WHERE operation_id = $1`, op.ID)
		}, false},
		{"not published", func(t *testing.T, op models.Operation) {
			b.exec(t, `UPDATE work SET published_at = NULL WHERE operation_id = $1`, op.ID)
			b.pass(t, 61*time.Second)
		}, false},
		{"claimed, its lease running", func(t *testing.T, op models.Operation) {
			b.pass(t, 50*time.Second)
			b.claim(t, op)
			b.pass(t, 50*time.Second)
		}, false},
		{"claimed, its lease over", func(t *testing.T, op models.Operation) { b.claim(t, op); b.pass(t, 61*time.Second) }, true},
		{"unknown, its look due", func(t *testing.T, op models.Operation) {
			b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeLost))
			b.pass(t, 2*time.Minute)
		}, true},
		{"unknown, its look to come", func(t *testing.T, op models.Operation) {
			b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeLost))
			b.pass(t, 29*time.Second)
		}, false},
		{"submitted, its look due", func(t *testing.T, op models.Operation) {
			b.record(t, b.claim(t, op), evidence(op, models.FromAnswer, models.OutcomeAccepted))
			b.pass(t, 2*time.Minute)
		}, true},
		{"flagged and never sent", func(t *testing.T, op models.Operation) {
			_, err := b.Apply(t.Context(), store.Move{Op: op, Decision: models.Decision{Event: models.Flagged, Flag: "x"}, Actor: "test"})
			must(t, err)
			b.pass(t, 2*time.Minute)
		}, false},
		{"unknown and flagged", func(t *testing.T, op models.Operation) {
			ev := evidence(op, models.FromAnswer, models.OutcomeLost)
			ev.Class = models.ClassBadRequest
			b.record(t, b.claim(t, op), ev)
			b.pass(t, 2*time.Minute)
		}, true},
		{"ended", func(t *testing.T, op models.Operation) {
			b.record(t, b.claim(t, op), confirmed(op))
			b.pass(t, time.Hour)
		}, false},
		{"paused", func(t *testing.T, op models.Operation) {
			must(t, b.PauseGateway(t.Context(), "stripe", "test"))
			b.pass(t, time.Hour)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.exec(t, `UPDATE work SET published_at = now() + interval '1 year'`) // what earlier cases left is not looked at
			_, op := b.approved(t)
			b.publish(t)
			generation := func() string {
				return strings.Join(column[string](t, b, `SELECT generation::text || COALESCE(' ' || published_at::date, '') FROM work WHERE operation_id = $1`, op.ID), "")
			}
			c.brew(t, op)
			before := generation()
			found := 0
			for _, f := range b.sweep(t).Findings {
				if f.OperationID == op.ID && f.Verdict == models.Republish {
					found++
				}
			}
			if (found == 1) != c.again || (generation() != before) != c.again {
				t.Errorf("republished %v, want %v: %q then %q", found, c.again, before, generation())
			}
			if again := b.sweep(t); again.Counts[models.Republish] != 0 {
				t.Errorf("a second sweep republished %+v", again.Findings)
			}
			must(t, b.ResumeGateway(t.Context(), "stripe"))
		})
	}
}

// A sweep writes its run, a verdict for each thing it did, and gives its lease back.
func TestSweepLeavesEvidence(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	_, op := b.approved(t)
	b.publish(t)
	b.pass(t, 2*time.Minute)
	report := b.sweep(t)
	counted(t, report, models.Republish, 1)
	if n := read[int](t, b, `SELECT count(*) FROM verdicts WHERE reconciliation_id = $1 AND operation_id = $2 AND verdict = 'republish'`, report.ID, op.ID); n != 1 {
		t.Errorf("%d verdicts", n)
	}
	if n := read[int](t, b, `SELECT count(*) FROM reconciliations WHERE id = $1 AND finished_at IS NOT NULL AND counts = '{"republish": 1}' AND NOT dry_run`, report.ID); n != 1 {
		t.Error("the run is not written")
	}
	if n := read[int](t, b, `SELECT count(*) FROM leases`); n != 0 {
		t.Error("the lease is kept")
	}
	settled, err := b.Settled(t.Context(), report.Findings)
	must(t, err)
	if len(settled) != 0 {
		t.Errorf("settled before anybody worked: %v", settled)
	}
	b.record(t, b.claim(t, op), confirmed(op))
	settled, err = b.Settled(t.Context(), report.Findings)
	must(t, err)
	if diff := cmp.Diff(map[string]models.State{op.ID: models.Succeeded}, settled); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
}

// dump is every row of every table as text.
func (b bench) dump(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, table := range b.tables(t) {
		all[table] = strings.Join(column[string](t, b, `SELECT t::text FROM `+table+` AS t ORDER BY 1`), "\n")
	}
	return all
}

// A dry run says what a sweep would do, and touches nothing.
func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerAuthorization})
	cancelled, late := b.order(t, 1500), b.order(t, 1500)
	for _, o := range []models.Order{cancelled, late} {
		b.hold(t, o.ID, 1500)
	}
	op := b.live(t, cancelled.ID)[0]
	b.record(t, b.claim(t, op), confirmed(op))
	must(t, b.changeTotal(cancelled.ID, 1600)) // an edited, captured, open order
	b.holdUntil(t, b.order(t, 0).ID, 700, time.Minute)
	b.publish(t)
	b.pass(t, time.Hour)
	before := b.dump(t)
	dry := store.Sweep{Owner: "dry", Source: "test", DryRun: true, CancelAfter: cancelAfter, Now: time.Now()}
	report, err := b.RunSweep(t.Context(), dry)
	must(t, err)
	if diff := cmp.Diff(before, b.dump(t)); diff != "" {
		t.Errorf("a dry run wrote (-before +after):\n%s", diff)
	}
	for verdict, n := range map[models.Verdict]int{models.Republish: 1, models.Cancel: 1, models.Expiring: 1} {
		counted(t, report, verdict, n)
	}
	if len(report.Findings) != 3 || !report.DryRun {
		t.Errorf("%+v", report)
	}
	real := b.sweep(t)
	if diff := cmp.Diff(report.Counts, real.Counts); diff != "" {
		t.Errorf("said and done (-said +done):\n%s", diff)
	}
	b.verify(t)
}

// One sweep runs at a time, even of the same worker; a dead one's lease runs out.
func TestOneSweepAtATime(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	sweep := store.Sweep{Owner: "sweeper", Source: "test", Now: time.Now()}
	for _, owner := range []string{"sweeper", "another"} {
		b.exec(t, `INSERT INTO leases (name, owner, lease_until) VALUES ('sweep', $1, now() + interval '2 minutes')
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until`, owner)
		if _, err := b.RunSweep(t.Context(), sweep); !errors.Is(err, store.ErrSweeping) {
			t.Errorf("beside the sweep of %s: %v", owner, err)
		}
		if n := read[int](t, b, `SELECT count(*) FROM leases`); n != 1 {
			t.Errorf("the lease of %s was taken away", owner)
		}
	}
	b.pass(t, 3*time.Minute)
	_, err := b.RunSweep(t.Context(), sweep)
	must(t, err)
	if n := read[int](t, b, `SELECT count(*) FROM leases`); n != 0 {
		t.Error("the lease is kept")
	}
}

// Eight sweeps at once over a backlog: each late row is published again once.
func TestSweepsAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for range 40 {
		b.approved(t)
	}
	b.publish(t)
	b.pass(t, 2*time.Minute)
	var mu sync.Mutex
	total := 0
	for _, err := range atOnce(times(8, func() error {
		report, err := b.RunSweep(context.Background(), store.Sweep{Owner: "sweeper", Source: "test", Now: time.Now()})
		mu.Lock()
		defer mu.Unlock()
		total += report.Counts[models.Republish]
		return err
	})...) {
		if err != nil && !errors.Is(err, store.ErrSweeping) {
			t.Error(err)
		}
	}
	if generations := read[string](t, b, `SELECT min(generation) || ' ' || max(generation) FROM work`); total != 40 || generations != "2 2" {
		t.Errorf("%d republished, generations %s", total, generations)
	}
}

// A backlog larger than a batch is worked to its end.
func TestSweepOfALargeBacklog(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	for range 3 {
		b.approved(t)
	}
	b.publish(t)
	b.pass(t, time.Hour)
	b.rolledInto(t, 1100)
	report := b.sweep(t)
	if n := read[int](t, b, `SELECT count(*) FROM work WHERE published_at IS NOT NULL`); n != 0 || report.Counts[models.Republish] != 1100 {
		t.Errorf("%d republished, %d left", report.Counts[models.Republish], n)
	}
}

// rolledInto copies a capture until there are n with open work: rows as a sweep
// sees them, without the rest of the ledger.
func (b bench) rolledInto(t *testing.T, n int) {
	t.Helper()
	b.exec(t, `WITH one AS (SELECT * FROM captures LIMIT 1), many AS (
			INSERT INTO captures (kind, id, mode, number, order_id, authorization_id, payment_gateway_id, cause, sequence, gateway_reference, amount_cents, currency_code,
				order_version, order_total_cents, state, version, chain_hash, next_at)
			SELECT kind, gen_random_uuid(), mode, number, order_id, authorization_id, payment_gateway_id, 'manual', 2, 'cap_' || i, amount_cents, currency_code,
				order_version, order_total_cents, state, version, chain_hash, next_at FROM one, generate_series(1, $1 - 3) AS i RETURNING id, next_at, payment_gateway_id
		) INSERT INTO work (operation_id, kind, payment_gateway_id, due_at, published_at) SELECT id, 'capture', payment_gateway_id, next_at, next_at FROM many`, n)
}

// An order whose review fails does not keep the others from theirs.
func TestOneBadReviewStopsNoOther(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	var orders []models.Order
	for range 3 {
		o, _ := b.paid(t)
		b.exec(t, `UPDATE orders SET status = 'cancelled', cancelled_at = now() WHERE id = $1`, o.ID)
		b.exec(t, `INSERT INTO order_checks VALUES ($1, now())`, o.ID)
		orders = append(orders, o)
	}
	b.exec(t, `UPDATE orders SET live_operations = 1 WHERE id = $1`, orders[1].ID) // reviewed later, for it has work under way
	b.exec(t, `CREATE FUNCTION nope() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'`)
	b.exec(t, fmt.Sprintf(`CREATE TRIGGER nope BEFORE INSERT ON refunds FOR EACH ROW WHEN (NEW.order_id = '%s') EXECUTE FUNCTION nope()`, orders[0].ID))
	report, err := b.RunSweep(t.Context(), store.Sweep{Owner: "sweeper", Source: "test", Now: time.Now()})
	if err == nil || !strings.Contains(err.Error(), orders[0].ID) {
		t.Errorf("the failed review is not told: %v", err)
	}
	counted(t, report, models.Cancel, 1)
	b.refundOf(t, orders[2].ID)
	if n := read[int](t, b, `SELECT count(*) FROM reconciliations WHERE finished_at IS NOT NULL`); n != 1 {
		t.Error("the run is left open")
	}
}
