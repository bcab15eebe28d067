package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestLookFirstCommand: what an operator types after a restore that the workers
// cannot notice, and what the doctor says of it.
func TestLookFirstCommand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devstacktest.NewDatabase(t, nil), "REDIS_URL": devstacktest.NewRedis(t), "CAPSTAN_TIME_SCALE": "20"}
	if out, status := capstan(t, env, "migrate"); status != 0 {
		t.Fatalf("migrate: status %d %s", status, out)
	}
	st, err := store.Open(t.Context(), env["DATABASE_URL"], store.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, slug := range []string{"stripe", "other"} {
		if _, err := st.EnsureGateway(t.Context(), slug, "stripe", models.Test); err != nil {
			t.Fatal(err)
		}
	}
	doctor := func(want string) {
		t.Helper()
		if out, _ := capstan(t, env, "doctor"); !strings.Contains(out, want) {
			t.Errorf("the doctor does not say %q:\n%s", want, out)
		}
	}
	doctor("look-first mode  off")
	for _, args := range [][]string{
		{"--look-first", "--look-first-off"}, {"--look-first", "--dry-run"}, {"--look-first", "--gateway", "nobody"},
	} {
		if out, status := capstan(t, env, append([]string{"reconcile"}, args...)...); status != exitUsage {
			t.Errorf("%v: status %d, want %d: %s", args, status, exitUsage, out)
		}
	}
	out, status := capstan(t, env, "reconcile", "--look-first", "--for", "2h", "--gateway", "stripe", "--once")
	if status != 0 || !strings.Contains(out, "stripe: everything is looked up before it is sent, until 20") || strings.Contains(out, "other") || !strings.Contains(out, "Nothing is overdue") {
		t.Fatalf("status %d: %s", status, out)
	}
	doctor("on, as after a restore: stripe until 20")
	out, status = capstan(t, env, "reconcile", "--look-first", "--json")
	var modes []mode
	if err := json.Unmarshal([]byte(out), &modes); err != nil || status != 0 || len(modes) != 2 || modes[0].Until == nil {
		t.Fatalf("status %d, %v: %s", status, err, out)
	}
	if out, status = capstan(t, env, "reconcile", "--look-first-off"); status != 0 || !strings.Contains(out, "stripe: nothing is doubted") {
		t.Fatalf("status %d: %s", status, out)
	}
	doctor("look-first mode  off")
}
