package store_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// aged is a shop with 90 finished captures in each of the four months before
// this one, and one of this month.
func aged(t *testing.T) bench {
	t.Helper()
	b := benchAt(t, onApproval, devstacktest.NewDatabase(t, agedLedger))
	b.paid(t)
	return b
}

// retired is what aged is after b.retain.
func retired(t *testing.T) bench {
	t.Helper()
	return benchAt(t, onApproval, devstacktest.NewDatabase(t, retiredLedger))
}

func agedLedger(ctx context.Context, url string) error {
	s, err := store.Open(ctx, url, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Migrate(ctx); err != nil {
		return err
	}
	return fill(ctx, s, url, 360, 4)
}

func retiredLedger(ctx context.Context, url string) error {
	if err := agedLedger(ctx, url); err != nil {
		return err
	}
	s, err := store.Open(ctx, url, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Retain(ctx, store.Retention{OlderThan: 2, Actor: "person"})
	return err
}

// retain detaches what is older than two months: of aged, two months.
func (b bench) retain(t *testing.T) store.RetentionReport {
	t.Helper()
	report, err := b.Retain(context.Background(), store.Retention{OlderThan: 2, Actor: "person"})
	must(t, err)
	return report
}

// ofMonth reads the captures of the month now-n.
func (b bench) ofMonth(t *testing.T, n int) []models.Operation {
	t.Helper()
	ids := column[string](t, b, `SELECT DISTINCT operation_id::text FROM `+months("attempts", -n, -n)[0]+` ORDER BY 1`)
	var ops []models.Operation
	for _, id := range ids {
		op, err := b.Operation(t.Context(), models.Test, models.Capture, id)
		must(t, err)
		ops = append(ops, op)
	}
	return ops
}

// detachedOne is a capture whose history is detached.
func (b bench) detachedOne(t *testing.T) models.Operation {
	t.Helper()
	id := read[string](t, b, `SELECT c.id FROM captures AS c JOIN history_anchors AS a ON a.from_id <= c.id AND c.id < a.to_id ORDER BY c.id LIMIT 1`)
	op, err := b.Operation(t.Context(), models.Test, models.Capture, id)
	must(t, err)
	return op
}

// broken names the invariants that do not hold.
func (b bench) broken(t *testing.T) map[string][]string {
	t.Helper()
	found, err := b.Audit(t.Context())
	must(t, err)
	wrong := map[string][]string{}
	for _, i := range found {
		if i.BrokenCount > 0 {
			wrong[i.ID] = i.Broken
		}
	}
	return wrong
}

// behind runs SQL with every trigger asleep, as somebody who owns the server can.
func (b bench) behind(t *testing.T, statement string, args ...any) {
	t.Helper()
	conn, err := b.db.Conn(t.Context())
	must(t, err)
	defer conn.Close()
	for _, s := range []string{"SET session_replication_role = replica", statement, "RESET session_replication_role"} {
		if s == statement {
			_, err = conn.ExecContext(t.Context(), s, args...)
		} else {
			_, err = conn.ExecContext(t.Context(), s)
		}
		must(t, err)
	}
}

// What the loader makes is a ledger like any other.
func TestOldLedgerIsGood(t *testing.T) {
	b := aged(t)
	b.verify(t)
	b.audited(t)
}

func TestRetain(t *testing.T) {
	b := aged(t)
	dry, err := b.Retain(t.Context(), store.Retention{OlderThan: 2, DryRun: true})
	must(t, err)
	report := b.retain(t)
	if len(dry.Months) != 2 || len(report.Months) != 2 {
		t.Fatalf("said %+v\ndid %+v", dry, report)
	}
	total := int64(0)
	for i, m := range report.Months {
		d := dry.Months[i]
		if d.Anchor != "" || len(d.Detached) > 0 || d.Operations != m.Operations || d.Events != m.Events {
			t.Errorf("said %+v, did %+v", d, m)
		}
		if m.Refused != "" || len(m.Anchor) != 64 || m.Events != 2*m.Operations || m.Attempts != m.Operations || m.AttemptResults != m.Operations || m.Bytes == 0 {
			t.Errorf("%+v", m)
		}
		total += m.Operations
	}
	for _, table := range history {
		if diff := cmp.Diff(append(months(table, -2, 3), table+"_default"), b.partitions(t, table)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", table, diff)
		}
		for _, name := range months(table, -4, -3) {
			if n := read[int](t, b, `SELECT count(*) FROM detached.`+name); n == 0 {
				t.Errorf("detached.%s is empty", name)
			}
			for _, statement := range []string{"DELETE FROM ", "TRUNCATE "} {
				if _, err := b.db.Exec(statement + "detached." + name); code(err) != guarded {
					t.Errorf("%s detached.%s: %v", statement, name, err)
				}
			}
		}
	}
	for i, name := range months("events", -4, -3) { // a dump is proven to be what the anchor stands for, as docs/storage.md says
		heads := read[string](t, b, strings.NewReplacer("events_2025_09", name, "attempts_2025_09", months("attempts", -4, -3)[i]).Replace(dumpQuery(t)))
		if want := read[string](t, b, `SELECT encode(heads, 'hex') FROM history_anchors WHERE number = $1`, i+1); heads != want {
			t.Errorf("the tables of %s fold to %s, the anchor has %s", name, heads, want)
		}
	}
	if n := read[int64](t, b, `SELECT sum(operations) FROM history_anchors WHERE actor = 'person'`); n != total || total < 150 {
		t.Errorf("anchored %d of %d", n, total)
	}
	b.audited(t)
	if again := b.retain(t); len(again.Months) != 0 {
		t.Errorf("again: %+v", again)
	}
	for _, name := range append(months("events", -4, -3), months("attempts", -4, -3)...) { // as the runbook says
		b.exec(t, `DROP TABLE detached.`+name)
	}
	_, op := b.approved(t)
	b.record(t, b.claim(t, op), confirmed(op))
	b.audited(t)
	if _, err := b.Retain(t.Context(), store.Retention{}); err == nil {
		t.Error("everything may be detached")
	}
}

// dumpQuery is the query of docs/storage.md that proves a dump.
func dumpQuery(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/storage.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(page), "```sql\n")
	query, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(query, "detached.events_2025_09") {
		t.Fatal("docs/storage.md does not say how to prove a dump")
	}
	return query
}

// A month stays when something in it is not over, or not right. Others go.
func TestRetainRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		brew   func(t *testing.T, b bench, op models.Operation)
		reason string
	}{
		{"an open operation", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `UPDATE captures SET state = 'unknown', confirmed_cents = NULL WHERE id = $1`, op.ID)
		}, "1 operations are open"},
		{"work left behind", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `INSERT INTO work (operation_id, kind, payment_gateway_id, due_at) VALUES ($1, 'capture', $2, now())`, op.ID, op.PaymentGatewayID)
		}, "1 operations are open"},
		{"a changed event", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `UPDATE events SET amount_cents = 1 WHERE operation_id = $1 AND version = 3`, op.ID)
		}, "I9 is broken"},
		{"a missing attempt", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `DELETE FROM attempts WHERE operation_id = $1`, op.ID)
		}, "I5 is broken"},
		{"a missing last event", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `DELETE FROM events WHERE operation_id = $1 AND version = 3`, op.ID)
		}, "I9 is broken"},
		{"another end", func(t *testing.T, b bench, op models.Operation) {
			b.behind(t, `UPDATE captures SET chain_hash = 'x' WHERE id = $1`, op.ID)
		}, "I15 is broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := aged(t)
			op := b.ofMonth(t, 4)[7]
			c.brew(t, b, op)
			report := b.retain(t)
			if len(report.Months) != 2 || !strings.HasPrefix(report.Months[0].Refused, c.reason) || report.Months[1].Refused != "" {
				t.Fatalf("%+v", report)
			}
			if names := strings.Join(report.Months[0].Names, " "); !strings.Contains(names, op.ID) {
				t.Errorf("it does not name %s: %s", op.ID, names)
			}
			if got := b.partitions(t, "events"); !slices.Contains(got, months("events", -4, -4)[0]) || slices.Contains(got, months("events", -3, -3)[0]) {
				t.Errorf("%v", got)
			}
		})
	}
}

// Two retentions at once, with the ledger at work beside them: each month goes once.
func TestRetainAtOnce(t *testing.T) {
	b := aged(t)
	ops := b.ofMonth(t, 3)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := b.Retain(context.Background(), store.Retention{OlderThan: 2, Actor: "person"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { // late news of the very month
		for _, op := range ops[:30] {
			if _, err := b.Apply(context.Background(), takenBack(op)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 10 {
		b.paid(t)
	}
	wg.Wait()
	b.retain(t)
	if n := read[int](t, b, `SELECT count(*) FROM history_anchors`); n != 2 {
		t.Errorf("%d anchors", n)
	}
	b.audited(t)
}

func takenBack(op models.Operation) store.Move {
	return store.Move{Op: op, Decision: models.Decision{Event: models.TakenBack, Rule: "charged back"}, Actor: "webhook:stripe"}
}

// News of an operation whose history is detached is recorded and checked like any other.
func TestLateNewsAfterRetention(t *testing.T) {
	b := aged(t)
	op, other := b.ofMonth(t, 4)[3], b.ofMonth(t, 4)[4]
	b.retain(t)
	_, err := b.Apply(t.Context(), takenBack(op))
	must(t, err)
	b.audited(t)
	back := b.reread(t, op) // and the gateway thinks better of it
	_, err = b.Apply(t.Context(), store.Move{Op: back, Decision: models.Decision{Event: models.Confirmed}, Evidence: confirmed(back), Actor: "webhook:stripe"})
	must(t, err)
	if got := b.reread(t, op); got.State != models.Succeeded || got.Version != 5 {
		t.Fatalf("%s at version %d", got.State, got.Version)
	}
	refund, err := b.refund(other.ID, 0) // a new operation on an old capture
	must(t, err)
	b.record(t, b.claim(t, refund), confirmed(refund))
	b.audited(t)
	if n := read[int](t, b, `SELECT count(*) FROM events_default`); n != 2 {
		t.Errorf("%d late events", n)
	}
	if h, err := b.History(t.Context(), op.ID); err != nil || len(h) != 2 {
		t.Errorf("%d steps, %v", len(h), err)
	}
	b.retain(t)
	_, err = b.EnsurePartitionsSince(t.Context(), time.Now().AddDate(0, -6, 0)) // makes no partition for what is detached
	must(t, err)
	if slices.Contains(b.partitions(t, "events"), months("events", -4, -4)[0]) {
		t.Error("a detached month has a partition again")
	}
	b.audited(t)
}

// Whoever changes what an anchor stands for, or the anchor, is found.
func TestTamperingAfterRetention(t *testing.T) {
	for _, c := range []struct {
		name, statement string
		want            string
	}{
		{"a capture's last hash", `UPDATE captures SET chain_hash = sha256('x') WHERE id = $1`, "I15"},
		{"a capture's state", `UPDATE captures SET state = 'reversed' WHERE id = $1`, "I15"},
		{"a capture's version", `UPDATE captures SET version = 4 WHERE id = $1`, "I15"},
		{"a capture that is gone", `DELETE FROM captures WHERE id = $1`, "I15"},
		{"an invented event", `INSERT INTO events (operation_id, version, event, from_state, to_state, actor, occurred_at, hash)
			VALUES ($1, 4, 'taken_back', 'succeeded', 'reversed', 'x', now(), 'x')`, "I9"},
		{"an anchor's figure", `UPDATE history_anchors SET operations = operations + 1 WHERE $1 <> ''`, "I15"},
		{"an anchor's actor", `UPDATE history_anchors SET actor = 'nobody' WHERE $1 <> ''`, "I15"},
		{"an anchor that is gone", `DELETE FROM history_anchors WHERE number = 1 AND $1 <> ''`, "I9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := retired(t)
			op := b.detachedOne(t)
			b.behind(t, c.statement, op.ID)
			wrong := b.broken(t)
			if len(wrong[c.want]) == 0 {
				t.Errorf("not found: %v", wrong)
			}
		})
	}
	t.Run("while resumed", func(t *testing.T) {
		b := retired(t)
		op := b.detachedOne(t)
		_, err := b.Apply(t.Context(), takenBack(op))
		must(t, err)
		b.behind(t, `UPDATE history_resumed SET hash = sha256('x') WHERE operation_id = $1`, op.ID)
		if wrong := b.broken(t); len(wrong["I15"]) < 2 { // the fold, and the step that follows
			t.Errorf("%v", wrong)
		}
	})
	t.Run("without rights", func(t *testing.T) {
		b := retired(t)
		op := b.detachedOne(t)
		_, err := b.Apply(t.Context(), takenBack(op))
		must(t, err)
		for _, table := range []string{"history_anchors", "history_resumed"} {
			for _, statement := range []string{"DELETE FROM %s", "TRUNCATE %s", "UPDATE %s SET hash = 'x'"} {
				if _, err := b.db.Exec(fmt.Sprintf(statement, table)); code(err) != guarded {
					t.Errorf(statement+": %v", table, err)
				}
			}
		}
	})
}

// A dump reads the history for long: nothing is detached, and nobody waits.
func TestRetainBesideADump(t *testing.T) {
	t.Parallel()
	b := aged(t)
	b.Store = openAt(t, b.url, models.Tempo{Scale: 20})
	tx, err := b.db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.Exec(`SELECT count(*) FROM events`)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := b.Retain(ctx, store.Retention{OlderThan: 3, Actor: "person"})
		done <- err
	}()
	b.paid(t)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "come again") {
		t.Errorf("beside a dump: %v", err)
	}
	must(t, tx.Rollback())
	if report := b.retain(t); len(report.Months) != 2 || report.Months[0].Anchor == "" {
		t.Errorf("after the dump: %+v", report)
	}
}
