package store_test

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
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

// A recent audit reads nothing by a whole table that grows with the ledger.
func TestPlansOfRecentAudits(t *testing.T) {
	t.Parallel()
	b := benchAt(t, onApproval, devstacktest.NewDatabase(t, agedLedger))
	order, op := b.paid(t)
	b.approved(t)
	_, err := b.Receive(t.Context(), "stripe", "evt_1", "x", []byte("{}"))
	must(t, err)
	// What open work or the settings are in may be read whole; and while a table
	// has next to no rows, any index of it will do.
	small := []string{"work", "webhooks", "history_anchors", "payment_methods", "payment_gateways", "order_checks"}
	large := column[string](t, b, `SELECT relname::text FROM pg_class WHERE relkind = 'r' AND reltuples > 50`)
	if len(large) < 10 {
		t.Fatalf("large are only %v", large)
	}
	for _, statement := range b.RecentStatements(order.ID, op.ID, time.Now().Add(-time.Minute)) {
		b.rolledBack(t, func(tx *sql.Tx) {
			_, err := tx.Exec(statement.Settings)
			must(t, err)
			plan := planOf(t, tx, statement.SQL)
			for i, line := range plan {
				if scan := wholeTable.FindStringSubmatch(line); scan != nil && !slices.Contains(small, scan[1]) {
					t.Errorf("%s reads all of %s:\n%s\n%s", statement.Invariant, scan[1], statement.SQL, strings.Join(plan, "\n"))
				}
				// An index read from end to end is no better.
				scan := indexScan.FindStringSubmatch(line)
				if scan != nil && slices.Contains(large, scan[1]) && (i+1 == len(plan) || !strings.Contains(plan[i+1], "Index Cond")) {
					t.Errorf("%s reads all of an index: %s\n%s\n%s", statement.Invariant, line, statement.SQL, strings.Join(plan, "\n"))
				}
			}
		})
	}
}

func planOf(t *testing.T, tx *sql.Tx, statement string) []string {
	t.Helper()
	rows, err := tx.QueryContext(context.Background(), "EXPLAIN "+statement)
	if err != nil {
		t.Fatalf("%v\n%s", err, statement)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var line string
		must(t, rows.Scan(&line))
		plan = append(plan, line)
	}
	must(t, rows.Err())
	return plan
}

var indexScan = regexp.MustCompile(`Index (?:Only )?Scan (?:Backward )?using \S+ on (\S+)`)

// Each scope has one at a time, and leaves its result for whoever asks.
func TestRunAudit(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	ctx := t.Context()
	_, op := b.paid(t)
	old := b.order(t, 1500)
	b.exec(t, `UPDATE webhooks SET enabled_at = now() - interval '1 day'`)
	var nested error
	began := time.Now()
	full, err := b.RunAudit(ctx, store.AuditRun{Scope: store.AuditFull, Owner: "one", Before: func(ctx context.Context) error {
		_, nested = b.RunAudit(ctx, store.AuditRun{Scope: store.AuditFull, Owner: "two"})
		_, err := b.RunAudit(ctx, store.AuditRun{Scope: store.AuditRecent, Owner: "two"})
		return err
	}, Also: func(context.Context) ([]store.Invariant, error) {
		return []store.Invariant{{ID: "I4", Rule: "books", Checked: 1, Broken: []string{"x"}, BrokenCount: 1}}, nil
	}})
	must(t, err)
	if !errors.Is(nested, store.ErrAuditing) {
		t.Errorf("two at once: %v", nested)
	}
	if full.Broken != 1 || len(full.Invariants) < 14 || full.FinishedAt.IsZero() {
		t.Errorf("%+v", full)
	}
	for _, scope := range []store.AuditScope{store.AuditFull, store.AuditRecent} {
		if _, err := b.RunAudit(ctx, store.AuditRun{Scope: scope, Unless: began.Add(-time.Minute)}); !errors.Is(err, store.ErrAudited) {
			t.Errorf("%s again: %v", scope, err)
		}
	}
	b.exec(t, `UPDATE orders SET voided_cents = 1 WHERE id = $1`, old.ID)
	b.exec(t, `UPDATE captures SET reserved_cents = 1 WHERE id = $1`, op.ID)
	recent, err := b.RunAudit(ctx, store.AuditRun{Scope: store.AuditRecent})
	must(t, err)
	if recent.Broken != 2 { // I1 and I13
		t.Errorf("%+v", recent.Invariants)
	}
	last, err := b.LastAudits(ctx)
	must(t, err)
	if len(last) != 2 || last[0].Scope != store.AuditFull || last[0].Broken != 1 || last[1].ID != recent.ID {
		t.Errorf("%+v", last)
	}
	if diff := cmp.Diff(recent.Invariants, last[1].Invariants); diff != "" {
		t.Errorf("as it is kept (-want +got):\n%s", diff)
	}
	if n := read[int](t, b, `SELECT count(*) FROM leases WHERE name LIKE 'audit%'`); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	b.exec(t, `INSERT INTO audits (id, scope, started_at) SELECT gen_random_uuid(), 'full', now() + interval '1 hour' FROM generate_series(1, 3)`) // three that died
	if _, err := b.RunAudit(ctx, store.AuditRun{Scope: store.AuditFull, Unless: time.Now().Add(30 * time.Minute)}); !errors.Is(err, store.ErrAudited) {
		t.Errorf("a fourth try: %v", err)
	}
}

// What a recent audit reads follows what happened, whatever the age of the order.
func TestRecentAuditFollowsWhatMoved(t *testing.T) {
	b := aged(t)
	since := time.Now().Add(-time.Minute)
	checked := func() map[string]int64 {
		all := map[string]int64{}
		b.rolledBack(t, func(tx *sql.Tx) {
			found, err := b.AuditIn(t.Context(), tx, store.AuditRecent, since)
			must(t, err)
			for _, i := range found {
				all[i.ID] = i.Checked
				if i.BrokenCount > 0 {
					t.Errorf("%s: %v", i.ID, i.Broken)
				}
			}
		})
		return all
	}
	before := checked()
	if before["I13"] != 1 { // of aged's 361 orders
		t.Errorf("%d orders", before["I13"])
	}
	op := b.ofMonth(t, 4)[3]
	_, err := b.Apply(t.Context(), takenBack(op))
	must(t, err)
	if after := checked(); after["I13"] != 2 || after["I15"] <= before["I15"] {
		t.Errorf("after an old capture was taken back: %v, before %v", after, before)
	}
}

// Audits beside work that never rests find nothing: each statement reads one
// moment, whatever came since the audit began.
func TestAuditsBesideWork(t *testing.T) {
	t.Parallel()
	b := newBench(t, onApproval)
	must(t, b.EnsureWebhook(t.Context(), "shop", "https://example.com/"))
	b.exec(t, `UPDATE webhooks SET enabled_at = now() - interval '1 day'`)
	done := make(chan struct{})
	var auditing sync.WaitGroup
	for _, scope := range []store.AuditScope{store.AuditRecent, store.AuditFull} {
		auditing.Go(func() {
			for audits, over := 1, false; !over || audits < 4; audits++ {
				select {
				case <-done:
					over = true
				default:
				}
				report, err := b.RunAudit(context.Background(), store.AuditRun{Scope: scope})
				if err != nil || report.Broken > 0 {
					t.Errorf("%s audit %d: %v: %+v", scope, audits, err, report)
				}
			}
		})
	}
	for range 12 {
		o, op := b.paid(t)
		refund, err := b.refund(op.ID, 100)
		must(t, err)
		b.record(t, b.claim(t, refund), confirmed(refund))
		_, lost := b.approved(t)
		b.record(t, b.claim(t, lost), evidence(lost, models.FromAnswer, models.OutcomeLost))
		must(t, b.cancelOrder(o.ID))
	}
	close(done)
	auditing.Wait()
}
