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

// A month goes, with an anchor and word of what to drop; one with an open
// operation stays, is named, and the exit status says so.
func TestRetain(t *testing.T) {
	t.Parallel()
	url := devstacktest.NewDatabase(t, nil)
	env := map[string]string{"DATABASE_URL": url}
	if out, status := capstan(t, env, "retain"); status != exitUsage {
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
	if _, err := s.EnsurePartitionsSince(t.Context(), time.Now().AddDate(0, -3, 0)); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statement := range []string{
		benchLedgerSQL, `SELECT pg_temp.bench_ledger(1, 60, 60, 3)`,
		`SET session_replication_role = replica; UPDATE captures SET state = 'unknown', confirmed_cents = NULL WHERE id = (SELECT max(id::text)::uuid FROM captures
			WHERE created_at < date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 month')`,
	} {
		if _, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	if out, status := capstan(t, env, "retain"); status != exitOK || !strings.HasPrefix(out, "No history before ") {
		t.Errorf("with nothing as old: exit %d, %s", status, out)
	}
	out, status := capstan(t, env, "retain", "--older-than", "1", "--dry-run")
	if status != exitFailed || strings.Count(out, "would be detached") != 1 || strings.Count(out, "1 operations are open") != 1 || strings.Contains(out, "DROP") {
		t.Errorf("dry run: exit %d, %s", status, out)
	}
	out, status = capstan(t, env, "retain", "--older-than", "1")
	if status != exitFailed || strings.Count(out, "its anchor is ") != 1 || strings.Count(out, "DROP TABLE detached.") != 3 || strings.Count(out, " is unknown") != 1 {
		t.Errorf("exit %d, %s", status, out)
	}
	out, status = capstan(t, env, "retain", "--older-than", "1", "--json")
	var report store.RetentionReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != exitFailed || len(report.Months) != 1 || report.Months[0].Refused == "" {
		t.Errorf("exit %d, %v, %s", status, err, out)
	}
	if out, status := capstan(t, env, "retain", "--older-than", "0"); status != exitUsage {
		t.Errorf("everything: exit %d, %s", status, out)
	}
}
