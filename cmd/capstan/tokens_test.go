package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
)

// A token is made, listed without its secret, rotated and revoked.
func TestTokens(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devstacktest.NewDatabase(t, nil)}
	if out, status := capstan(t, env, "tokens", "list"); status != exitUsage {
		t.Fatalf("without a schema: exit %d, %s", status, out)
	}
	if out, status := capstan(t, env, "migrate"); status != exitOK {
		t.Fatalf("migrate: exit %d, %s", status, out)
	}
	type token struct {
		ID, Name, Scope, Mode, Status, Token string
		ExpiresAt                            *string `json:"expires_at"`
	}
	decode := func(out string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	out, status := capstan(t, env, "tokens", "create", "shop", "--scope", "operate", "--mode", "live", "--expires", "2160h", "--json")
	var made token
	decode(out, &made)
	if status != exitOK || made.Scope != "operate" || made.Mode != "live" || made.Status != "live" || made.ExpiresAt == nil || !strings.HasPrefix(made.Token, "cap_live_"+made.ID+"_") {
		t.Errorf("create: exit %d, %s", status, out)
	}
	out, status = capstan(t, env, "tokens", "create", "person")
	if fields := strings.Fields(out); status != exitOK || !strings.HasPrefix(out, "cap_test_") || len(fields[0]) != 9+12+1+52+7 || !strings.Contains(out, "scope read") {
		t.Errorf("create: exit %d, %s", status, out)
	}
	for _, wrong := range [][]string{{"shop", "--mode", "live"}, {"a b"}, {"admin"}, {"x", "--scope", "root"}, {"x", "--expires", "1s"}} {
		if out, status := capstan(t, env, append([]string{"tokens", "create"}, wrong...)...); status != exitUsage {
			t.Errorf("create %q: exit %d, %s", wrong, status, out)
		}
	}

	out, status = capstan(t, env, "tokens", "rotate", made.ID, "--overlap", "1h", "--json")
	var next token
	decode(out, &next)
	if status != exitOK || next.ID == made.ID || next.Name != "shop" || next.Token == made.Token || next.ExpiresAt == nil || !strings.HasPrefix(next.Token, "cap_live_") {
		t.Errorf("rotate: exit %d, %s", status, out)
	}
	if out, status = capstan(t, env, "tokens", "revoke", next.ID); status != exitOK || !strings.Contains(out, "is revoked") {
		t.Errorf("revoke: exit %d, %s", status, out)
	}
	for _, args := range [][]string{{"rotate", next.ID}, {"rotate", "nobody"}, {"revoke", "nobody"}} {
		if out, status := capstan(t, env, append([]string{"tokens"}, args...)...); status != exitUsage {
			t.Errorf("%q: exit %d, %s", args, status, out)
		}
	}
	var list []token
	out, status = capstan(t, env, "tokens", "list", "--all", "--json")
	decode(out, &list)
	statuses := map[string]string{}
	for _, x := range list {
		statuses[x.ID] = x.Status
	}
	if status != exitOK || len(list) != 3 || statuses[made.ID] != "replaced" || statuses[next.ID] != "revoked" || strings.Contains(out, "cap_") || strings.Contains(out, "hash") {
		t.Errorf("list: exit %d, %s", status, out)
	}
	if out, status = capstan(t, env, "tokens", "list"); status != exitOK || strings.Contains(out, next.ID) || !strings.Contains(out, made.ID) || !strings.Contains(out, "person") {
		t.Errorf("list: exit %d, %s", status, out)
	}
}
