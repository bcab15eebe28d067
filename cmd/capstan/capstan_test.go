package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestThousandApprovals: one order approved a thousand times at once, through
// three API processes, is captured once at the gateway.
func TestThousandApprovals(t *testing.T) {
	t.Parallel()
	p := newProduction(t, 3, nil)
	s := p.shop(t)
	o := p.sale(t, s, "on approval", 1500, 1500)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	for i := range 1000 {
		wg.Go(func() {
			at := s.api
			at.URL = "http://" + p.apis[i%len(p.apis)]
			approve := func() error {
				return call(t.Context(), at, http.MethodPatch, "/api/orders/"+o.OrderID,
					map[string]any{"type": "orders", "id": o.OrderID, "attributes": map[string]any{"_approve": true}}, nil)
			}
			err := approve()
			for range 3 { // on a busy machine a request may come too late for the server; a shop sends it again
				if !errors.Is(err, errNoAnswer) {
					break
				}
				err = approve()
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err.Error())
			}
		})
	}
	wg.Wait()
	if len(failures) > 0 {
		t.Fatalf("%d approvals failed, the first with %s", len(failures), failures[0])
	}
	p.paidOnce(t, s, o, 1500)
}

// paidOnce waits until the order is paid and asks the gateway's own book.
func (p *production) paidOnce(t *testing.T, s *shop, o *sale, amount int64) {
	t.Helper()
	eventually(t, "order "+o.Reference+" is paid", func() bool {
		status, err := s.paymentStatus(t.Context(), o)
		return err == nil && status == string(models.Paid)
	})
	booked, violations := p.book(t, o.Hold)
	if len(booked) != 1 || booked[0].Amount != amount || violations != 0 {
		t.Fatalf("the gateway's book has %v and %d violations, not one capture of %d", booked, violations, amount)
	}
	captures, err := s.captures(t.Context(), o)
	if err != nil || len(captures) != 1 || captures[0].Attributes["succeeded"] != true {
		t.Fatalf("captures = %v, %v", captures, err)
	}
	if out, status := capstan(t, p.env, "audit"); status != 0 {
		t.Fatalf("audit:\n%s", out)
	}
}

// TestLargerHold: a hold of 3,000 on an order of 1,500, captured on
// authorization and then approved, is captured for 1,500 once.
func TestLargerHold(t *testing.T) {
	t.Parallel()
	p := newProduction(t, 1, nil)
	s := p.shop(t)
	o := p.sale(t, s, "on authorization", 1500, 3000)
	if err := s.patchOrder(t.Context(), o, map[string]any{"_approve": true}); err != nil {
		t.Fatal(err)
	}
	p.paidOnce(t, s, o, 1500)
}

// TestCommands: what an operator types, on a running deployment.
func TestCommands(t *testing.T) {
	t.Parallel()
	p := newProduction(t, 1, map[string]string{"CAPSTAN_MANUAL_GATEWAY": "true"})
	s := p.shop(t)
	o := p.sale(t, s, "on approval", 1500, 1500)
	remote := map[string]string{"CAPSTAN_API_URL": "http://" + p.apis[0], "CAPSTAN_API_TOKEN": productionToken}
	if out, status := capstan(t, remote, "orders", "approve", o.OrderID); status != 0 || !strings.Contains(out, "approved") {
		t.Fatalf("orders approve: %d %s", status, out)
	}
	p.paidOnce(t, s, o, 1500)
	free := p.sale(t, s, "on approval", 1500, 1500)
	if out, status := capstan(t, remote, "orders", "approve", o.OrderID, store.NewID(), free.OrderID); status != exitFailed ||
		!strings.Contains(out, "unchanged") || !strings.Contains(out, "RECORD_NOT_FOUND") || !strings.Contains(out, "approved   approved") {
		t.Fatalf("orders approve of a few: %d\n%s", status, out)
	}
	p.paidOnce(t, s, free, 1500)
	var approvals []approval
	if out, status := capstan(t, remote, "orders", "approve", o.OrderID, "--json"); status != 0 || json.Unmarshal([]byte(out), &approvals) != nil ||
		len(approvals) != 1 || approvals[0].Meta.Result != "unchanged" || approvals[0].Attributes["payment_status"] != "paid" {
		t.Fatalf("orders approve --json: %d\n%s", status, out)
	}

	out, status := capstan(t, remote, "captures", "list", "--json")
	var captures []resource
	if err := json.Unmarshal([]byte(out), &captures); err != nil || status != 0 || len(captures) != 2 {
		t.Fatalf("captures list: %d %v %s", status, err, out)
	}
	id := captures[1].ID // the newest comes first
	if out, status = capstan(t, remote, "captures", "show", id); status != 0 || !strings.Contains(out, "claimed") || !strings.Contains(out, "succeeded") {
		t.Fatalf("captures show: %d %s", status, out)
	}
	if _, status = capstan(t, remote, "captures", "forward", id); status != exitFailed {
		t.Fatalf("captures forward of a succeeded capture: %d", status)
	}
	if out, status = capstan(t, remote, "captures", "refund", id, "--amount", "500"); status != 0 {
		t.Fatalf("captures refund: %d %s", status, out)
	}
	eventually(t, "the refund is recorded", func() bool {
		status, err := s.paymentStatus(t.Context(), o)
		return err == nil && status == string(models.PartiallyRefunded)
	})
	p.showsReport(t, remote, captures[0].ID)
	p.wiredByHand(t, s, remote)
	for _, args := range [][]string{{"reconcile", "--dry-run"}, {"reconcile", "--once"}, {"doctor"}, {"audit", "--json"}, {"migrate"}, {"health", "http://" + p.apis[0] + "/healthz"}} {
		if out, status := capstan(t, p.env, args...); status != 0 {
			t.Errorf("%v: status %d\n%s", args, status, out)
		}
	}
}

// TestAdminListener: the dashboard and the metrics are behind the token, by
// bearer or as a browser's password; health is not.
func TestAdminListener(t *testing.T) {
	t.Parallel()
	p := newProduction(t, 1, nil)
	get := func(path string, auth func(*http.Request)) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		auth(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body bytes.Buffer
		_, _ = body.ReadFrom(res.Body)
		return res.StatusCode, body.String()
	}
	nobody := func(*http.Request) {}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+productionToken) }
	browser := func(r *http.Request) { r.SetBasicAuth("anyone", productionToken) }
	wrong := func(r *http.Request) { r.SetBasicAuth("anyone", "wrong") }
	for _, tt := range []struct {
		path   string
		auth   func(*http.Request)
		status int
		has    string
	}{
		{"/healthz", nobody, 200, "ok"},
		{"/readyz", nobody, 200, "postgres"},
		{"/metrics", nobody, 401, ""},
		{"/metrics", wrong, 401, ""},
		{"/metrics", bearer, 200, "capstan_open_operations"},
		{"/asynqmon/", nobody, 401, ""},
		{"/asynqmon/", browser, 200, "<html"},
		{"/asynqmon/api/queues", bearer, 200, "queues"},
		{"/debug/pprof/", bearer, 404, ""},
	} {
		status, body := get(tt.path, tt.auth)
		if status != tt.status || !strings.Contains(body, tt.has) {
			t.Errorf("GET %s: %d, want %d with %q", tt.path, status, tt.status, tt.has)
		}
	}
	eventually(t, "a worker audits by itself", func() bool {
		_, body := get("/metrics", bearer)
		return strings.Contains(body, `capstan_audit_last_success_timestamp_seconds{scope="recent"}`)
	})
}

// TestRefusesToStart: what is missing or contradicts itself is told, all at once.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want []string
	}{
		{"nothing set", []string{"worker"}, nil, []string{"DATABASE_URL", "REDIS_URL", "CAPSTAN_API_TOKEN"}},
		{"live key in test mode", []string{"worker"}, map[string]string{
			"DATABASE_URL": "postgres://x", "REDIS_URL": "redis://x", "CAPSTAN_API_TOKEN": productionToken, "STRIPE_SECRET_KEY": "sk_live_x",
		}, []string{"live key"}},
		{"nobody there", []string{"migrate"}, map[string]string{"DATABASE_URL": "postgres://user:hunter2@127.0.0.1:1/x"}, []string{"127.0.0.1:1", "DATABASE_URL"}},
		{"unknown command", []string{"frobnicate"}, nil, []string{"frobnicate", "--help"}},
		{"bad scale", []string{"demo"}, map[string]string{"CAPSTAN_TIME_SCALE": "0"}, []string{"CAPSTAN_TIME_SCALE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t.Context(), t, tt.env, tt.args...)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != exitUsage {
				t.Fatalf("status %d, want %d\n%s", cmd.ProcessState.ExitCode(), exitUsage, out)
			}
			for _, want := range tt.want {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
			if bytes.Contains(out, []byte("hunter2")) || bytes.Contains(out, []byte("sk_live_x")) {
				t.Errorf("prints a secret:\n%s", out)
			}
		})
	}
}

// TestDemo runs the demo small: every story once, every invariant checked.
func TestDemo(t *testing.T) {
	t.Parallel()
	out, status := capstan(t, nil, "demo", "--orders", "20", "--json")
	var r demoResult
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("status %d: %v\n%s", status, err, out)
	}
	if status != 0 || !r.OK || len(r.Invariants) != len(demoInvariants) {
		t.Fatalf("status %d\n%s", status, out)
	}
}

// TestExample runs the README's first order against `capstan dev`, as a reader does.
func TestExample(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the example needs %s, which is not installed", tool)
		}
	}
	api, gateway := address(t), address(t)
	dir := t.TempDir()
	start(t, nil, "dev", "--data", dir, "--ephemeral", "--listen", api, "--admin-listen", address(t), "--sandbox-listen", gateway)
	ready(t, api)
	cmd := exec.CommandContext(t.Context(), "../../examples/first-order.sh")
	cmd.Env = append(os.Environ(), "CAPSTAN_API_URL=http://"+api, "CAPSTAN_SANDBOX_URL=http://"+gateway)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), `{"status":"approved","payment_status":"paid"}`) {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestDevKeepsItsData: an order made before a restart is there after it.
func TestDevKeepsItsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var id string
	for round := range 2 {
		t.Run(fmt.Sprint("round ", round+1), func(t *testing.T) {
			api, admin := address(t), address(t)
			start(t, nil, "dev", "--data", dir, "--listen", api, "--admin-listen", admin, "--sandbox-listen", address(t))
			ready(t, api)
			ready(t, admin) // the last to listen: stopped before that, it was interrupted while it started
			remote := config.Remote{URL: "http://" + api, Token: "dev"}
			if round == 0 {
				s := &shop{api: remote, methods: map[string]string{}}
				if err := s.setUp(t.Context(), onlyStripe); err != nil {
					t.Fatal(err)
				}
				var order resource
				err := call(t.Context(), remote, http.MethodPost, "/api/orders", map[string]any{
					"type": "orders", "attributes": map[string]any{"currency_code": "EUR", "total_amount_cents": 100},
					"relationships": relation("payment_method", "payment_methods", s.methods[stripeAccount+" by hand"]),
				}, &order)
				if err != nil {
					t.Fatal(err)
				}
				id = order.ID
				return
			}
			if err := call(t.Context(), remote, http.MethodGet, "/api/orders/"+id, nil, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}
