package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/store"
)

// The audit says what holds and what does not, by id and by its exit status,
// keeps its result unless it is told that the ledger is a copy, and names the
// last anchor.
func TestAudit(t *testing.T) {
	t.Parallel()
	url := devstacktest.NewDatabase(t, nil)
	env := map[string]string{"DATABASE_URL": url}
	if out, status := capstan(t, env, "audit"); status != exitUsage {
		t.Fatalf("without a schema: exit %d, %s", status, out)
	}
	if out, status := capstan(t, env, "migrate"); status != exitOK {
		t.Fatalf("migrate: exit %d, %s", status, out)
	}
	s, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.EnsurePartitionsSince(t.Context(), time.Now().AddDate(0, -1, 0)); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	exec(benchLedgerSQL)
	exec(`SELECT pg_temp.bench_ledger(1, 20, 20, 1)`)
	kept := func() int {
		last, err := s.LastAudits(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(last)
	}
	if out, status := capstan(t, env, "audit", "anchors"); status != exitOK || !strings.HasPrefix(out, "No day is anchored yet") {
		t.Errorf("anchors: exit %d, %s", status, out)
	}
	if err := s.AnchorDays(t.Context(), 100, func(store.DailyAnchor) {}); err != nil {
		t.Fatal(err)
	}
	out, status := capstan(t, env, "audit", "--offline")
	if status != exitOK || !strings.Contains(out, "The last anchor is number ") || !strings.Contains(out, "I15") || kept() != 0 {
		t.Errorf("of a copy: exit %d, %d kept, %s", status, kept(), out)
	}
	if out, status := capstan(t, env, "audit", "--recent"); status != exitOK || kept() != 1 {
		t.Errorf("recent: exit %d, %s", status, out)
	}
	if out, status := capstan(t, env, "audit", "--gateways"); status != exitUsage {
		t.Errorf("without an account: exit %d, %s", status, out)
	}
	if out, status := capstan(t, env, "audit", "anchors", "--size", "2"); status != exitOK || strings.Count(out, "\n") != 3 {
		t.Errorf("anchors: exit %d, %s", status, out)
	}
	exec(`SET session_replication_role = replica; UPDATE orders SET voided_cents = 1 WHERE number = (SELECT min(number) FROM orders)`)
	if out, status := capstan(t, env, "audit"); status != exitFailed || strings.Count(out, "  019") != 1 && strings.Count(out, "  01a") != 1 || kept() != 2 {
		t.Errorf("broken: exit %d, %d kept, %s", status, kept(), out)
	}
	out, status = capstan(t, env, "audit", "--json")
	var result auditResult
	if err := json.Unmarshal([]byte(out), &result); err != nil || status != exitFailed || result.Broken != 1 || result.Anchor == nil || result.Scope != store.AuditFull {
		t.Errorf("exit %d, %v, %s", status, err, out)
	}
}
